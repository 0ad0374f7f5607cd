//! A whole node in a single loop, made from `cluster-core` alone: non-blocking sockets and [`mio`], no executor, no lock,
//! nothing shared. The smallest honest embedding, to be copied.
//!
//! The program calls [`Node::turn`] forever, and does its own work between two turns. Only a look-up of a name has a thread
//! of its own: it blocks for as long as no name server answers, and no call can end it.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster_core::adapter::BindError;
use cluster_core::{
    Bytes, CloseMode, Config, Disconnect, Event, Incarnation, Input, Instant, LinkId, Message, Node as Core, Start,
    Target,
};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::host::{Host, Todo};

/// How long to wait for room in the table of descriptors before connections are accepted again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections are accepted in one turn.
const ACCEPTS: usize = 16;

/// The most bytes that are taken from the core for one write.
const WRITE: usize = 64 << 10;

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);

/// The others are of links.
fn token(link: LinkId) -> Token {
    Token(link.as_u64() as usize + 2)
}

/// A member of a cluster.
pub struct Node {
    /// For everything that does not wait. What follows from it is done in the next turn.
    pub host: Host<()>,
    epoch: std::time::Instant,
    address: SocketAddr,
    poll: Poll,
    waker: Arc<Waker>,
    ready: Events,
    /// Until the node has left.
    listener: Option<TcpListener>,
    /// Connections may wait to be accepted: when to look.
    accept_at: Option<Instant>,
    links: BTreeMap<Token, Link>,
    /// The outcomes of look-ups.
    resolved: (Sender<Input>, Receiver<Input>),
}

struct Link {
    id: LinkId,
    stream: TcpStream,
    /// Our own end, once the connection stands.
    local: Option<SocketAddr>,
    readable: bool,
    writable: bool,
    /// The other side has ended its direction.
    ended: bool,
}

impl Node {
    pub fn bind(address: &str, config: Config) -> Result<Node, BindError<io::Error>> {
        let failed = |error| BindError::Listen { address: address.into(), error };
        let found = address.to_socket_addrs().and_then(|mut found| found.next().ok_or(io::ErrorKind::NotFound.into()));
        let mut listener = found.and_then(TcpListener::bind).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // Whoever has no secret is to be reached from this machine only, unless that is confirmed.
        config.check_address(address).map_err(BindError::Config)?;
        // Randomness, and a number greater at each start, are ours to give.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let mut start = Start { seed: [0; 32], incarnation: Incarnation(wall), listen: Some(address) };
        getrandom::fill(&mut start.seed).map_err(|error| BindError::Entropy(io::Error::other(error)))?;
        let core = Core::new(config, start, Instant::ZERO).map_err(BindError::Config)?;

        let poll = Poll::new().map_err(BindError::Exhausted)?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE).map_err(BindError::Exhausted)?;
        let waker = Arc::new(Waker::new(registry, WAKER).map_err(BindError::Exhausted)?);
        Ok(Node {
            host: Host::new(core),
            epoch: std::time::Instant::now(),
            address,
            poll,
            waker,
            ready: Events::with_capacity(256),
            listener: Some(listener),
            accept_at: Some(Instant::ZERO),
            links: BTreeMap::new(),
            resolved: channel(),
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Ends the wait of a turn, from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// **1.** Every call gets the time of one monotonic clock.
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }

    /// The next message, if one waits.
    pub fn message(&mut self) -> std::task::Poll<Option<Message>> {
        self.host.message(self.now())
    }

    /// The next event since the beginning, if one waits.
    pub fn event(&mut self) -> std::task::Poll<Option<Event>> {
        self.host.event(self.now())
    }

    /// Does what there is to do, then waits for more, at most so long.
    pub fn turn(&mut self, limit: Duration) -> io::Result<()> {
        let busy = self.serve();
        let due = self.host.tick(self.now()).min(self.accept_at.unwrap_or(Instant::MAX));
        // Nothing is left to do: what the tick has led to is done in the next turn.
        let todo = busy || self.obey();
        let wait = if todo { Duration::ZERO } else { (due - self.now()).min(limit) };
        match self.poll.poll(&mut self.ready, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        // **6.** Time first, so that a node that was itself stalled knows it before it judges others.
        self.host.tick(self.now());
        for input in self.resolved.1.try_iter() {
            let now = Instant::ZERO + self.epoch.elapsed();
            self.host.core.handle(now, input);
        }
        // What came from the network: noted here, read and written in the next turn.
        for event in &self.ready {
            if event.token() == LISTENER {
                self.accept_at = self.accept_at.or(Some(Instant::ZERO));
            } else if let Some(link) = self.links.get_mut(&event.token()) {
                link.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                link.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
            }
        }
        self.accept();
        Ok(())
    }

    /// Does what the core asks for, and moves bytes. Says whether there is more of that to do at once.
    fn serve(&mut self) -> bool {
        let mut busy = self.obey();
        let now = self.now();
        let mut gone = Vec::new();
        for link in self.links.values_mut() {
            match link.turn(&mut self.host, now) {
                Ok(more) => busy |= more,
                Err(cause) => gone.push((link.id, cause)),
            }
        }
        for (link, cause) in gone {
            // **5.** Once, and when nothing of it is open any more.
            self.links.remove(&token(link));
            self.host.gone(now, link, cause);
        }
        // Bytes that came in may have led to more to do.
        self.obey() || busy
    }

    /// **2.** Does what the core asks for, until it asks for nothing more. Says whether it has asked for anything.
    fn obey(&mut self) -> bool {
        let mut asked = false;
        while let Some(todo) = self.host.poll() {
            asked = true;
            match todo {
                Todo::Resolve { target } => self.resolve(target),
                Todo::Dial { link, address } => match TcpStream::connect(address) {
                    Ok(stream) => self.open(link, stream),
                    Err(error) => self.host.gone(self.now(), link, failure(&error)),
                },
                // Every link, and every user, looks in every turn.
                Todo::Wake(()) | Todo::Tell | Todo::Tick => {}
            }
        }
        if self.host.has_left().is_some() {
            self.listener = None;
            self.accept_at = None;
            self.links.clear();
        }
        asked
    }

    /// Looks a name up. The core asks once at a time for each of its targets, so there are no more threads than these.
    fn resolve(&self, target: Target) {
        let (name, to, waker) = (target.clone(), self.resolved.0.clone(), self.waker());
        let look_up = move || {
            let found = name.as_str().to_socket_addrs();
            let outcome = found.map(Iterator::collect).map_err(|error| error.to_string());
            // The node may have ended long before.
            let _ = to.send(Input::Resolved { target: name, outcome }).map(|()| waker.wake());
        };
        if let Err(error) = thread::Builder::new().spawn(look_up) {
            let _ = self.resolved.0.send(Input::Resolved { target, outcome: Err(error.to_string()) });
        }
    }

    /// A connection that the core told to dial, or that it has admitted. It may have changed its mind already.
    fn open(&mut self, id: LinkId, mut stream: TcpStream) {
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut stream, token(id), interest).is_err() {
            self.host.gone(self.now(), id, Disconnect::Exhausted);
        } else if self.host.open(self.now(), id, ()) {
            let link = Link { id, stream, local: None, readable: false, writable: false, ended: false };
            self.links.insert(token(id), link);
        }
    }

    /// Takes a bounded number of connections.
    fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let now = self.now();
            let Some(listener) = self.listener.as_ref().filter(|_| self.accept_at.is_some_and(|at| at <= now)) else {
                return;
            };
            match listener.accept() {
                // Admission is the core's; whoever is refused is just dropped.
                Ok((stream, from)) => drop(self.host.core.accept(now, from).map(|link| self.open(link, stream))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.accept_at = None,
                // Out of descriptors, for example: the connection still waits, so do not spin.
                Err(_) => self.accept_at = Some(now + ACCEPT_PAUSE),
            }
        }
    }
}

impl Link {
    /// Reads once and writes once, if the socket is ready for it. Says whether it still is; or why the link is over.
    fn turn(&mut self, host: &mut Host<()>, now: Instant) -> Result<bool, Disconnect> {
        let closing = host.closing(self.id);
        if closing == Some(CloseMode::Abort) || closing.is_some() && self.local.is_none() {
            return Err(Disconnect::Closed);
        }
        if self.local.is_none() && (!self.writable || !self.connected()?) {
            return Ok(false);
        }
        self.read(host, now)?;
        self.write(host, now)
    }

    /// Whether the connection stands.
    fn connected(&mut self) -> Result<bool, Disconnect> {
        if let Some(error) = self.stream.take_error().ok().flatten() {
            return Err(failure(&error));
        }
        if self.stream.peer_addr().is_ok() {
            let _ = self.stream.set_nodelay(true);
            self.local = self.stream.local_addr().ok();
        }
        Ok(self.local.is_some())
    }

    /// **3.** What is read is the core's, all of one read in one step.
    fn read(&mut self, host: &mut Host<()>, now: Instant) -> Result<(), Disconnect> {
        let (true, false, Some(local)) = (self.readable, self.ended, self.local) else { return Ok(()) };
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            // The other side has ended; what is left of ours is still written.
            Ok(0) if host.closing(self.id).is_some() => self.ended = true,
            Ok(0) => return Err(Disconnect::Ended),
            Ok(length) => {
                let bytes = Bytes::copy_from_slice(&buffer[..length]);
                if let Err(error) = host.receive(now, self.id, local, bytes) {
                    // The channel may have a last word, such as why it refuses.
                    let _ = host.output(self.id, 0).map(|output| self.stream.write(&output.take()));
                    return Err(Disconnect::Channel(error));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(_) => return Err(Disconnect::Reset),
        }
        Ok(())
    }

    /// **4.** What there is to write is asked for as the socket takes it.
    fn write(&mut self, host: &mut Host<()>, now: Instant) -> Result<bool, Disconnect> {
        let closing = host.closing(self.id).is_some();
        let Some(output) = host.output(self.id, WRITE) else {
            if closing {
                // Our direction ends; the link does when the other one has, or the core has waited long enough.
                let _ = self.stream.shutdown(Shutdown::Write);
                if self.ended {
                    return Err(Disconnect::Closed);
                }
            }
            return Ok(self.readable && !self.ended);
        };
        if self.writable {
            let written = output.pieces().next().map_or(Ok(0), |piece| self.stream.write(piece));
            match written {
                Ok(written) => {
                    output.advance(written);
                    if !output.is_empty() {
                        host.wrote(now, self.id);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(_) => return Err(Disconnect::Reset),
            }
        }
        Ok(self.readable && !self.ended || self.writable)
    }
}

/// What a failed dial says about the address, or about us.
fn failure(error: &io::Error) -> Disconnect {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Disconnect::Refused,
        _ => Disconnect::Unreachable,
    }
}
