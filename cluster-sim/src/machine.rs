//! A host: an address, a clock, and at most one process.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cluster_core::{Config, Incarnation, Input, Instant, NodeId, Run, Target};

use crate::host::{Driver, HostId};
use crate::io::Io;
use crate::log::Log;
use crate::net::{Sock, Wake};
use crate::puppet::Puppet;

/// Ticks in a row that leave another one due.
const BUSY: u32 = 100;

/// A host to be added to a [`World`](crate::World), and the node that runs on it.
///
/// ```
/// use cluster_core::Config;
/// use cluster_sim::{Spec, World};
///
/// let mut world = World::new(1);
/// let spec = Spec::new(Config::insecure_plaintext()).ip("10.0.7.7").port(9_000);
/// let host = world.add(spec);
/// assert_eq!(world.addr(host), "10.0.7.7:9000".parse().unwrap());
/// ```
#[derive(Clone, Debug)]
pub struct Spec {
    pub(crate) config: Config,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: Option<u16>,
    pub(crate) bind: Bind,
    pub(crate) id: Option<NodeId>,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) start: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    Address,
    Unspecified,
    Nothing,
}

impl Spec {
    /// A host with the next free address `10.0.0.x`, port 7000, whose node starts at once.
    #[must_use]
    pub fn new(config: Config) -> Spec {
        Spec { config, ip: None, port: None, bind: Bind::Address, id: None, incarnation: None, start: true }
    }

    /// The host's address. Hosts may share a loopback address; their ports then differ.
    ///
    /// # Panics
    ///
    /// If the text is no IP address.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Spec {
        self.ip = Some(parse(ip));
        self
    }

    /// The port the node listens at. Default 7000, or the next free one from 7000 if the address is a loopback one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Spec {
        self.port = Some(port);
        self
    }

    /// The node is bound to the unspecified address, so that it only knows its port.
    #[must_use]
    pub fn unspecified(mut self) -> Spec {
        self.bind = Bind::Unspecified;
        self
    }

    /// The node does not listen.
    #[must_use]
    pub fn deaf(mut self) -> Spec {
        self.bind = Bind::Nothing;
        self
    }

    /// The node's id. Default: drawn by the node from its seed.
    #[must_use]
    pub fn id(mut self, id: NodeId) -> Spec {
        self.id = Some(id);
        self
    }

    /// The node's first incarnation. Default: the host's wall clock in microseconds.
    #[must_use]
    pub fn incarnation(mut self, incarnation: u64) -> Spec {
        self.incarnation = Some(Incarnation(incarnation));
        self
    }

    /// The node does not start yet: [`World::restart`](crate::World::restart) does it.
    #[must_use]
    pub fn stopped(mut self) -> Spec {
        self.start = false;
        self
    }
}

impl From<Config> for Spec {
    fn from(config: Config) -> Spec {
        Spec::new(config)
    }
}

pub(crate) fn parse(ip: &str) -> IpAddr {
    ip.parse().unwrap_or_else(|_| panic!("{ip:?} is no IP address"))
}

/// A host of the world.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: HostId,
    pub(crate) spec: Spec,
    pub(crate) process: Process,
    /// Counts the processes, the present one included.
    pub(crate) life: u32,
    pub(crate) listen: Option<SocketAddr>,
    /// The latest run of a node here.
    pub(crate) run: Option<Run>,
    pub(crate) inbox: VecDeque<Inbox>,
    pub(crate) paused: bool,
    pub(crate) clock: Clock,
    pub(crate) tick_at: Option<u64>,
    pub(crate) log: Log,
    pub(crate) appetite: Option<u64>,
    pub(crate) reading: Option<u64>,
}

/// What runs on a host.
#[derive(Debug)]
pub(crate) enum Process {
    None,
    Node(Box<Driver>),
    Puppet(Box<Puppet>),
}

/// What the kernel has for a process.
#[derive(Debug)]
pub(crate) enum Inbox {
    Wake(Wake),
    Resolved(Target, Result<Vec<SocketAddr>, String>),
}

/// A host's monotonic clock: the world's time plus an offset, unless it is stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    offset: i128,
    stopped: Option<Instant>,
}

impl Clock {
    pub(crate) fn new(offset: u64) -> Clock {
        Clock { offset: i128::from(offset), stopped: None }
    }

    pub(crate) fn read(&self, now: u64) -> Instant {
        let shown = i128::from(now).saturating_add(self.offset).clamp(0, i128::from(u64::MAX)) as u64;
        self.stopped.unwrap_or(Instant::from_nanos(shown))
    }

    pub(crate) fn jump(&mut self, forward: bool, by: Duration) {
        let by = by.as_nanos() as i128;
        self.offset += if forward { by } else { -by };
    }

    pub(crate) fn stop(&mut self, now: u64, stop: bool) {
        self.stopped = stop.then(|| self.read(now));
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// When, in the world's time, this clock shows `at`: never, if it is stopped.
    pub(crate) fn when(&self, now: u64, at: Instant) -> Option<u64> {
        if at <= self.read(now) {
            return Some(now);
        }
        if self.stopped.is_some() {
            return None;
        }
        u64::try_from(i128::from(at.as_nanos()) - self.offset).ok().map(|when| when.max(now))
    }
}

impl Machine {
    /// Whether a node runs here that has taken in everything the kernel has for it, and has said everything it has to
    /// say on this connection.
    pub(crate) fn has_said_all(&mut self, sock: Sock) -> bool {
        match &mut self.process {
            Process::Node(driver) => !self.paused && self.inbox.is_empty() && driver.has_said_all(sock),
            Process::None | Process::Puppet(_) => false,
        }
    }
}

impl Process {
    pub(crate) fn driver(&self) -> Option<&Driver> {
        match self {
            Process::Node(driver) => Some(driver),
            Process::None | Process::Puppet(_) => None,
        }
    }

    /// Lets the process run until it has nothing left to do.
    pub(crate) fn turn(&mut self, io: &mut Io<'_>, inbox: &mut VecDeque<Inbox>) {
        match self {
            Process::None => inbox.clear(),
            Process::Puppet(puppet) => {
                while let Some(input) = inbox.pop_front() {
                    if let Inbox::Wake(wake) = input {
                        puppet.wake(io, wake);
                    }
                }
            }
            Process::Node(driver) => turn_node(driver, io, inbox),
        }
    }
}

/// The order of every adapter's loop: a due tick, then a bounded batch of inputs, then everything the node asks for.
fn turn_node(driver: &mut Driver, io: &mut Io<'_>, inbox: &mut VecDeque<Inbox>) {
    let mut ticks = 0;
    while !io.oracle.is_broken() {
        if driver.node.next_tick().is_some_and(|at| at <= io.clock()) {
            driver.tick(io);
            ticks += 1;
            if ticks == BUSY {
                io.oracle.fail(io.host, format!("{BUSY} ticks in a row left another one due at {:?}", io.clock()));
            }
            continue;
        }
        match inbox.pop_front() {
            Some(Inbox::Wake(wake)) => driver.wake(io, wake),
            Some(Inbox::Resolved(target, outcome)) => {
                driver.node.handle(io.clock(), Input::Resolved { target, outcome });
                driver.drain(io);
            }
            None => break,
        }
    }
}
