//! A node in a single thread: `cargo run -p cluster-core --example poll_loop -- --help`.
//!
//! The smallest honest embedding: non-blocking sockets and [`mio`], no executor, no lock, nothing shared. The program's
//! own work would be one more thing that the loop in [`run`] does in each turn. The one thing that blocks it is looking
//! up a name, which the standard library cannot do in any other way; a program that minds gives that to a thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster_cli::{Args, Cluster, Terminal};
use cluster_core::{
    Action, Broadcast, Bytes, Channel, CloseMode, Disconnect, Event, Incarnation, Input, Instant, LinkId, Node, NodeId,
    PeerInfo, SendError, Start, Stats, Target, UnknownPeer,
};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Poll, Token, Waker};

/// How long to wait for room in the table of descriptors before connections are accepted again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);

/// The others are of links.
fn token(link: LinkId) -> Token {
    Token(link.as_u64() as usize + 2)
}

fn main() -> ExitCode {
    let Some(args) = cluster_cli::start() else { return ExitCode::SUCCESS };
    cluster_cli::end(run(args))
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let terminal = Terminal::new(&args);
    // First of all: strangers could take the descriptors that this needs.
    let poll = Poll::new()?;
    let outside = outside(&poll)?;
    let words = |error: io::Error| format!("cannot listen at {}: {error}", args.listen);
    let address = args.listen.to_socket_addrs().map_err(words)?.next().ok_or("the name has no address")?;
    let listener = TcpListener::bind(address).map_err(words)?;
    let address = listener.local_addr()?;
    // Whoever has no secret is to be reached from this machine only, unless that is confirmed.
    args.config.check_address(address)?;

    // What a node is born with: randomness, and a number that is greater at each start.
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
    let start = Start { seed, incarnation: Incarnation(wall), listen: Some(address) };
    let core = RefCell::new(Node::new(args.config, start, Instant::ZERO)?);
    let node = Host { core, epoch: std::time::Instant::now() };
    terminal.listening(node.core.borrow().run().id, address);

    let mut driver = Driver { poll, listener, accept_at: Some(Instant::ZERO), links: BTreeMap::new() };
    driver.poll.registry().register(&mut driver.listener, LISTENER, Interest::READABLE)?;
    args.joins.into_iter().for_each(|target| node.join(target));
    let mut ready = mio::Events::with_capacity(256);
    loop {
        // 1. Do what the core asks for, until it asks for nothing more.
        let busy = driver.serve(&node, terminal);
        if node.core.borrow().has_left() {
            return Ok(());
        }
        // 2. Wait, but only if nothing is left to do, and not beyond what is due.
        let due = node.core.borrow().next_tick().unwrap_or(Instant::MAX);
        let due = driver.accept_at.unwrap_or(Instant::MAX).min(due);
        let wait = if busy { Duration::ZERO } else { due - node.now() };
        match driver.poll.poll(&mut ready, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        // 3. Time first, so that a node that was itself stalled knows it before it judges others.
        node.core.borrow_mut().handle_all(node.now(), []);
        // 4. What came from the network: noted here, read and written in 1.
        for event in &ready {
            if event.token() == LISTENER {
                driver.accept_at = driver.accept_at.or(Some(Instant::ZERO));
            } else if let Some(link) = driver.links.get_mut(&event.token()) {
                link.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                link.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
            }
        }
        driver.accept(&node);
        // 5. What the user wants.
        for line in outside.try_iter().take(16) {
            if !line.is_some_and(|line| terminal.line(&node, &line)) {
                node.core.borrow_mut().leave(node.now(), Duration::from_secs(5));
            }
        }
    }
}

/// Lines of stdin, and `None` for a signal to stop. Each wakes the loop.
fn outside(poll: &Poll) -> io::Result<Receiver<Option<String>>> {
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (sender, outside) = sync_channel(16);
    let (to, wake) = (sender.clone(), Arc::clone(&waker));
    cluster_cli::lines(move |line| to.send(Some(line)).is_ok() && wake.wake().is_ok());
    cluster_cli::on_stop(move || {
        // If nobody listens any more, it is leaving already.
        let _ = sender.send(None).map(|()| waker.wake());
    })?;
    Ok(outside)
}

/// The sockets.
struct Driver {
    poll: Poll,
    listener: TcpListener,
    /// Connections may wait to be accepted: when to look.
    accept_at: Option<Instant>,
    links: BTreeMap<Token, Link>,
}

struct Link {
    id: LinkId,
    stream: TcpStream,
    channel: Channel,
    /// Our own end, once the connection stands.
    local: Option<SocketAddr>,
    readable: bool,
    writable: bool,
    /// The core has frames for this link.
    armed: bool,
    closing: Option<CloseMode>,
    /// The other side has ended its direction.
    ended: bool,
}

impl Driver {
    /// Carries out what the core asks for, and moves bytes. Says whether there is more of that to do at once.
    fn serve(&mut self, node: &Host, terminal: Terminal) -> bool {
        self.act(node, terminal);
        let mut busy = false;
        let mut gone = Vec::new();
        for link in self.links.values_mut() {
            match link.turn(node) {
                Ok(more) => busy |= more,
                Err(cause) => gone.push((link.id, cause)),
            }
        }
        for (link, cause) in gone {
            self.links.remove(&token(link));
            node.core.borrow_mut().handle(node.now(), Input::Disconnected { link, cause });
            busy = true;
        }
        // Bytes that came in may have led to more to do.
        self.act(node, terminal) || busy
    }

    fn act(&mut self, node: &Host, terminal: Terminal) -> bool {
        let mut acted = false;
        loop {
            let action = node.core.borrow_mut().poll_action();
            let Some(action) = action else { return acted };
            acted = true;
            match action {
                Action::Resolve { target } => {
                    let found = target.as_str().to_socket_addrs();
                    let outcome = found.map(Iterator::collect).map_err(|error| error.to_string());
                    node.core.borrow_mut().handle(node.now(), Input::Resolved { target, outcome });
                }
                Action::Dial { link, address } => match TcpStream::connect(address) {
                    Ok(stream) => self.open(node, link, stream),
                    Err(error) => {
                        let cause = failure(&error);
                        node.core.borrow_mut().handle(node.now(), Input::Disconnected { link, cause });
                    }
                },
                Action::Send { link } => {
                    if let Some(link) = self.links.get_mut(&token(link)) {
                        link.armed = true;
                    }
                }
                Action::Close { link, mode, .. } => {
                    if let Some(link) = self.links.get_mut(&token(link)) {
                        link.closing = Some(mode);
                    }
                }
                Action::Deliver => loop {
                    let message = node.core.borrow_mut().poll_message(node.now());
                    let Some(message) = message else { break };
                    terminal.message(node, &message);
                },
                Action::Event(Event::JoinFailed { target, error, .. }) => terminal.join_failed(&target, error),
                Action::Event(Event::Left { undelivered }) => terminal.left(undelivered),
                Action::Event(event) => terminal.event(node, event),
                Action::Writable { .. } | Action::Notice(_) => {}
            }
        }
    }

    /// A connection that the core told to dial, or that it has admitted. It may have changed its mind already.
    fn open(&mut self, node: &Host, id: LinkId, mut stream: TcpStream) {
        let channel = node.core.borrow().channel(id);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut stream, token(id), interest);
        if let (Some(channel), Ok(())) = (channel, registered) {
            let (readable, writable, armed) = (false, false, false);
            let link =
                Link { id, stream, channel, local: None, readable, writable, armed, closing: None, ended: false };
            self.links.insert(token(id), link);
        } else {
            node.core.borrow_mut().handle(node.now(), Input::Disconnected { link: id, cause: Disconnect::Closed });
        }
    }

    /// Takes a bounded number of connections.
    fn accept(&mut self, node: &Host) {
        for _ in 0..16 {
            if self.accept_at.is_none_or(|at| at > node.now()) {
                return;
            }
            match self.listener.accept() {
                Ok((stream, from)) => {
                    let admitted = node.core.borrow_mut().accept(node.now(), from);
                    // Whoever is refused is just dropped.
                    drop(admitted.map(|link| self.open(node, link, stream)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.accept_at = None,
                // Out of descriptors, for example: the connection still waits, so do not spin.
                Err(_) => self.accept_at = Some(node.now() + ACCEPT_PAUSE),
            }
        }
    }
}

impl Link {
    /// Reads once and writes once, if the socket is ready for it. Says whether it still is; or why the link is over.
    fn turn(&mut self, node: &Host) -> Result<bool, Disconnect> {
        if self.closing == Some(CloseMode::Abort) || self.closing.is_some() && self.local.is_none() {
            return Err(Disconnect::Closed);
        }
        if self.local.is_none() && (!self.writable || !self.connected()?) {
            return Ok(false);
        }
        self.read(node)?;
        self.write(node)
    }

    /// Whether the connection stands.
    fn connected(&mut self) -> Result<bool, Disconnect> {
        if let Some(error) = self.stream.take_error().ok().flatten() {
            return Err(failure(&error));
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                let _ = self.stream.set_nodelay(true);
                self.local = self.stream.local_addr().ok();
                Ok(self.local.is_some())
            }
            Err(_) => Ok(false),
        }
    }

    fn read(&mut self, node: &Host) -> Result<(), Disconnect> {
        if !self.readable || self.ended {
            return Ok(());
        }
        let mut buffer = [0; 16 << 10];
        let length = match self.stream.read(&mut buffer) {
            Ok(0) if self.closing.is_some() => {
                self.ended = true;
                return Ok(());
            }
            Ok(0) => return Err(Disconnect::Ended),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(());
            }
            Err(_) => return Err(Disconnect::Reset),
        };
        let (Some(local), None) = (self.local, self.closing) else { return Ok(()) };
        self.channel.receive(Bytes::copy_from_slice(&buffer[..length]));
        let facts = std::iter::from_fn(|| self.channel.poll().transpose());
        let facts: Result<Vec<Input>, _> = facts.map(|fact| Ok(Input::received(self.id, local, fact?))).collect();
        match facts {
            Ok(facts) => {
                node.core.borrow_mut().handle_all(node.now(), facts);
                Ok(())
            }
            Err(error) => {
                // The channel may have a last word, such as why it refuses.
                drop(self.channel.output().pieces().next().map(|piece| self.stream.write(piece)));
                Err(Disconnect::Channel(error))
            }
        }
    }

    fn write(&mut self, node: &Host) -> Result<bool, Disconnect> {
        if self.armed && self.channel.output().is_empty() {
            let mut frames = Vec::new();
            self.armed = node.core.borrow_mut().poll_frames(self.id, 64 << 10, &mut frames);
            frames.into_iter().for_each(|frame| self.channel.send(frame));
        }
        let output = self.channel.output();
        if self.writable && !output.is_empty() {
            let written = output.pieces().next().map_or(Ok(0), |piece| self.stream.write(piece));
            match written {
                Ok(written) => output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(_) => return Err(Disconnect::Reset),
            }
        }
        let left = self.armed || !output.is_empty();
        if self.closing.is_some() && !left {
            // Our direction ends; the link does when the other one has.
            let _ = self.stream.shutdown(Shutdown::Write);
            if self.ended {
                return Err(Disconnect::Closed);
            }
        }
        Ok(self.readable && !self.ended || self.writable && left)
    }
}

/// What a failed dial says about the address, or about us.
fn failure(error: &io::Error) -> Disconnect {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Disconnect::Refused,
        _ => Disconnect::Unreachable,
    }
}

/// The core and its clock, for everything that does not wait.
struct Host {
    core: RefCell<Node>,
    epoch: std::time::Instant,
}

impl Host {
    fn now(&self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }
}

impl Cluster for Host {
    fn join(&self, target: Target) {
        // Its outcome is an event; that there are too many is none.
        let _ = self.core.borrow_mut().join(self.now(), target);
    }

    fn try_send(&self, peer: NodeId, text: String) -> Result<(), SendError> {
        self.core.borrow_mut().send(self.now(), peer, text.into())
    }

    fn broadcast(&self, text: String) -> Result<Broadcast, SendError> {
        self.core.borrow_mut().broadcast(self.now(), text.into())
    }

    fn disconnect(&self, peer: NodeId) -> Result<(), UnknownPeer> {
        self.core.borrow_mut().disconnect(self.now(), peer)
    }

    fn peers(&self) -> Vec<PeerInfo> {
        self.core.borrow().peers().collect()
    }

    fn stats(&self) -> Stats {
        self.core.borrow().stats()
    }
}
