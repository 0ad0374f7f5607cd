//! What the tests share.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cluster_tokio::{Config, Event, Events, Node, NodeId, PeerState, Reason};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long anything may take that should take no time.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Fast timing, without protection.
pub(crate) fn local() -> Config {
    Config::insecure_plaintext().local()
}

pub(crate) async fn bind() -> Node {
    bind_with(local()).await
}

pub(crate) async fn bind_with(config: Config) -> Node {
    Node::bind("127.0.0.1:0", config).await.expect("a port of loopback is free")
}

/// Nodes that are all connected to each other.
pub(crate) async fn mesh<const N: usize>() -> [Node; N] {
    let mut nodes = Vec::new();
    for _ in 0..N {
        nodes.push(bind().await);
    }
    for node in &nodes[1..] {
        within("join", node.join(nodes[0].local_addr())).await.expect("the first node answers");
    }
    until_complete(&nodes).await;
    nodes.try_into().expect("N nodes")
}

/// The peers that are up.
pub(crate) fn up(node: &Node) -> BTreeSet<NodeId> {
    node.peers().iter().filter(|peer| peer.state == PeerState::Up).map(|peer| peer.run.id).collect()
}

/// Waits until each of the nodes is connected to exactly the others.
pub(crate) async fn until_complete(nodes: &[Node]) {
    for node in nodes {
        let others = nodes.iter().map(Node::id).filter(|id| *id != node.id()).collect::<BTreeSet<_>>();
        until("the mesh is complete", || up(node) == others).await;
    }
}

/// Waits for a condition, looking often.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let looking = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, looking).await;
}

/// Waits for a future, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing for {DEADLINE:?}"),
    }
}

/// Polls a future once and drops it if it is not ready.
pub(crate) async fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = std::future::ready(()) => None,
    }
}

/// The first event that is wanted; others are skipped.
pub(crate) async fn event<T>(events: &mut Events, what: &str, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    within(what, async {
        loop {
            let event = events.next().await.unwrap_or_else(|| panic!("{what}: the events ended"));
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    })
    .await
}

pub(crate) async fn until_up(events: &mut Events, id: NodeId) {
    event(events, "peer up", |event| matches!(event, Event::PeerUp(peer) if peer.run.id == id).then_some(())).await;
}

pub(crate) async fn until_down(events: &mut Events, id: NodeId) -> Reason {
    event(events, "peer down", |event| match event {
        Event::PeerDown { peer, reason, .. } if peer.id == id => Some(reason),
        _ => None,
    })
    .await
}

/// The payload of the next message, as text.
pub(crate) async fn text(node: &Node) -> String {
    let message = within("a message", node.recv()).await.expect("the node is open");
    String::from_utf8(message.payload.to_vec()).expect("the message is text")
}

/// Forwards connections, counts them, and can hold back what is said to the side that dialled.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) answers: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback is free");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let answers = watch::Sender::new(true);
        let gate = answers.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pipes = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let gate = gate.subscribe();
                pipes.spawn(async move {
                    if let Ok(far) = TcpStream::connect(target).await {
                        let (mut near_read, near_write) = near.into_split();
                        let (far_read, mut far_write) = far.into_split();
                        tokio::select! {
                            _ = tokio::io::copy(&mut near_read, &mut far_write) => {}
                            () = gated(far_read, near_write, gate) => {}
                        }
                    }
                });
            }
        });
        Proxy { address, connections, answers, _tasks: tasks }
    }
}

/// Copies while the gate is open.
async fn gated(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<bool>) {
    let mut buffer = [0; 4_096];
    while gate.wait_for(|open| *open).await.is_ok() {
        match from.read(&mut buffer).await {
            Ok(length @ 1..) if to.write_all(&buffer[..length]).await.is_ok() => {}
            _ => return,
        }
    }
}
