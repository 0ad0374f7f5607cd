//! What the tests share.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cluster_std::{Config, Event, Events, Message, Node, NodeId, PeerState, Reason};

/// How long anything may take that should take no time.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Fast timing, without protection.
pub(crate) fn local() -> Config {
    Config::insecure_plaintext().local()
}

pub(crate) fn bind() -> Node {
    bind_with(local())
}

pub(crate) fn bind_with(config: Config) -> Node {
    Node::bind("127.0.0.1:0", config).expect("a port of loopback is free")
}

/// Nodes that are all connected to each other.
pub(crate) fn mesh<const N: usize>() -> [Node; N] {
    let nodes: [Node; N] = std::array::from_fn(|_| bind());
    for node in &nodes[1..] {
        node.join(nodes[0].local_addr()).expect("the first node answers");
    }
    until_complete(&nodes);
    nodes
}

/// The peers that are up.
pub(crate) fn up(node: &Node) -> BTreeSet<NodeId> {
    node.peers().iter().filter(|peer| peer.state == PeerState::Up).map(|peer| peer.run.id).collect()
}

/// Waits until each of the nodes is connected to exactly the others.
pub(crate) fn until_complete(nodes: &[Node]) {
    for node in nodes {
        let others = nodes.iter().map(Node::id).filter(|id| *id != node.id()).collect::<BTreeSet<_>>();
        until("the mesh is complete", || up(node) == others);
    }
}

/// Waits for a condition, looking often.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not for {DEADLINE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Does something in a thread of its own and waits for it, but not for ever.
pub(crate) fn within<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    waiting(work).end(what)
}

/// Begins something that may have to wait.
pub(crate) fn waiting<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Waiting<T> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        // Nobody listens if the test has failed.
        let _ = sender.send(work());
    });
    Waiting(receiver)
}

pub(crate) struct Waiting<T>(std::sync::mpsc::Receiver<T>);

impl<T> Waiting<T> {
    pub(crate) fn end(self, what: &str) -> T {
        self.0.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("{what}: {error}"))
    }
}

/// The first event that is wanted; others are skipped.
pub(crate) fn event<T>(events: &mut Events, what: &str, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let event = events.next_timeout(left).unwrap_or_else(|| panic!("{what}: no such event"));
        if let Some(found) = wanted(event) {
            return found;
        }
    }
}

pub(crate) fn until_up(events: &mut Events, id: NodeId) {
    event(events, "peer up", |event| matches!(event, Event::PeerUp(peer) if peer.run.id == id).then_some(()));
}

pub(crate) fn until_down(events: &mut Events, id: NodeId) -> Reason {
    event(events, "peer down", |event| match event {
        Event::PeerDown { peer, reason, .. } if peer.id == id => Some(reason),
        _ => None,
    })
}

/// The next message.
pub(crate) fn message(node: &Node) -> Message {
    node.recv_timeout(DEADLINE).expect("the node is open").expect("a message comes")
}

/// The payload of the next message, as text.
pub(crate) fn text(node: &Node) -> String {
    String::from_utf8(message(node).payload.to_vec()).expect("the message is text")
}

/// Forwards connections, counts them, and can hold back what is said to the side that dialled.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) answers: Arc<AtomicBool>,
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Proxy {
    pub(crate) fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback is free");
        let address = listener.local_addr().expect("it is bound");
        let proxy = Proxy {
            address,
            connections: Arc::default(),
            answers: Arc::new(AtomicBool::new(true)),
            open: Arc::new(Mutex::new(Some(Vec::new()))),
        };
        let (counter, gate, open) = (proxy.connections.clone(), proxy.answers.clone(), proxy.open.clone());
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let mut open = open.lock().unwrap();
                let Some(open) = open.as_mut() else { return };
                counter.fetch_add(1, Ordering::SeqCst);
                let Ok(far) = TcpStream::connect(target) else { continue };
                let copies = [&near, &far, &near, &far].map(|stream| stream.try_clone().unwrap());
                open.extend([near, far]);
                let [near_read, far_write, near_write, far_read] =
                    [&copies[0], &copies[1], &copies[2], &copies[3]].map(|stream| stream.try_clone().unwrap());
                thread::spawn(move || forward(near_read, far_write, &AtomicBool::new(true)));
                let gate = gate.clone();
                thread::spawn(move || forward(far_read, near_write, &gate));
            }
        });
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for stream in self.open.lock().unwrap().take().into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Its thread looks whether it is wanted after each connection.
        let _ = TcpStream::connect(self.address);
    }
}

/// Forwards while the gate is open. What comes while it is not is held back until something comes when it is.
fn forward(mut from: TcpStream, mut to: TcpStream, gate: &AtomicBool) {
    let mut buffer = [0; 4_096];
    let mut held = Vec::new();
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        held.extend_from_slice(&buffer[..length]);
        if gate.load(Ordering::SeqCst) {
            if to.write_all(&held).is_err() {
                break;
            }
            held.clear();
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
