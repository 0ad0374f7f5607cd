//! A host: an address, a clock, and at most one process.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cluster_core::{Config, Incarnation, Input, Instant, LinkId, NodeId, Run, Target};
use cluster_timeline::record::HostId;

use crate::app::Disk;
use crate::driver::Driver;
use crate::io::Io;
use crate::log::Log;
use crate::puppet::Puppet;
use crate::rng::Rng;
use crate::socket::Wake;

/// Ticks in a row that leave another one due.
const BUSY: u32 = 100;

/// Calls of an application in a row that leave another one due.
const BUSY_APP: u32 = 100_000;

/// A host to be added to a [`World`](crate::World), and the node that runs on it.
///
/// ```
/// use cluster_core::Config;
/// use cluster_sim::{Spec, World};
///
/// let mut world = World::new(1);
/// let spec = Spec::new(Config::insecure_plaintext()).ip("10.0.7.7").port(9_000);
/// let host = world.add(spec);
/// assert_eq!(world.host(host).addr(), "10.0.7.7:9000".parse().unwrap());
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

    /// The node's id. Default: drawn by the node from its seed. With a secret it must be that of a node that has run in
    /// this world, whose key this one then has as well; any other is ignored.
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

    /// The node does not start yet: [`HostMut::restart`](crate::HostMut::restart) does it.
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
    /// Counts the pauses, so that the end of an earlier one is recognised.
    pub(crate) pauses: u32,
    pub(crate) clock: Clock,
    pub(crate) tick: Option<Tick>,
    pub(crate) late: Option<Late>,
    pub(crate) log: Log,
    pub(crate) disk: Disk,
    pub(crate) appetite: Option<u64>,
    pub(crate) bursts: Option<Bursts>,
    /// Counts what was said of consuming, so that a late burst is recognised.
    pub(crate) appetites: u32,
    pub(crate) reading: Option<u64>,
    /// The user acknowledges after so many messages; 0: only when told to.
    pub(crate) acknowledging: u64,
}

/// What runs on a host.
#[derive(Debug)]
pub(crate) enum Process {
    /// No process runs.
    Absent,
    Node(Box<Driver>),
    Puppet(Box<Puppet>),
}

/// What the kernel has for a process.
#[derive(Debug)]
pub(crate) enum Inbox {
    Wake(Wake),
    Resolved(Target, Result<Vec<SocketAddr>, String>),
}

/// When a host's process is woken for a deadline, in the world's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) due: u64,
    /// Later than that if the host's ticks come late.
    pub(crate) wake: u64,
}

/// How a host's ticks come late.
#[derive(Debug)]
pub(crate) struct Late {
    pub(crate) up_to: u64,
    pub(crate) rng: Rng,
}

/// A user that takes messages in bursts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bursts {
    pub(crate) count: u64,
    pub(crate) every: u64,
}

/// A host's monotonic clock: the world's time from some start on, at a rate of its own, unless it is stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What the clock showed at `since`.
    shown: i128,
    since: u64,
    /// Millionths that it is too fast; too slow if negative.
    ppm: i32,
    stopped: Option<Instant>,
    behind: Duration,
}

impl Clock {
    pub(crate) fn new(offset: u64) -> Clock {
        Clock { shown: i128::from(offset), since: 0, ppm: 0, stopped: None, behind: Duration::ZERO }
    }

    pub(crate) fn read(&self, now: u64) -> Instant {
        self.stopped.unwrap_or_else(|| self.running(now))
    }

    pub(crate) fn jump(&mut self, forward: bool, by: Duration) {
        self.behind = if forward { self.behind.saturating_sub(by) } else { self.behind.saturating_add(by) };
        let by = by.as_nanos() as i128;
        self.shown += if forward { by } else { -by };
    }

    /// How far it was set back, and not forward again.
    pub(crate) fn behind(&self) -> Duration {
        self.behind
    }

    pub(crate) fn stop(&mut self, now: u64, stop: bool) {
        self.stopped = stop.then(|| self.read(now));
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// From now on the clock is too fast by so many millionths.
    pub(crate) fn drift(&mut self, now: u64, ppm: i32) {
        self.shown += self.passed(now);
        self.since = now;
        self.ppm = ppm;
    }

    /// When, in the world's time, this clock shows `at`: never, if it is stopped.
    pub(crate) fn when(&self, now: u64, at: Instant) -> Option<u64> {
        if at <= self.read(now) {
            return Some(now);
        }
        if self.stopped.is_some() {
            return None;
        }
        let ahead = i128::from(at.as_nanos()) - self.shown;
        let span = if self.ppm == 0 { ahead } else { (ahead * MILLION + self.rate() - 1) / self.rate() };
        u64::try_from(span + i128::from(self.since)).ok().map(|when| when.max(now))
    }

    fn running(&self, now: u64) -> Instant {
        let shown = self.shown.saturating_add(self.passed(now)).clamp(0, i128::from(u64::MAX));
        Instant::from_nanos(shown as u64)
    }

    /// How much this clock has gone on since `since`.
    fn passed(&self, now: u64) -> i128 {
        let passed = i128::from(now - self.since);
        if self.ppm == 0 { passed } else { passed * self.rate() / MILLION }
    }

    fn rate(&self) -> i128 {
        MILLION + i128::from(self.ppm)
    }
}

const MILLION: i128 = 1_000_000;

impl Machine {
    /// Whether a node runs here that has taken in everything the kernel has for it, and has said everything it has to
    /// say on this connection.
    pub(crate) fn has_said_all(&mut self, link: Option<LinkId>) -> bool {
        match (&mut self.process, link) {
            (Process::Node(driver), Some(link)) => !self.paused && self.inbox.is_empty() && driver.has_said_all(link),
            _ => false,
        }
    }
}

impl Process {
    pub(crate) fn driver(&self) -> Option<&Driver> {
        match self {
            Process::Node(driver) => Some(driver),
            Process::Absent | Process::Puppet(_) => None,
        }
    }

    /// Lets the process run until it has nothing left to do.
    pub(crate) fn turn(&mut self, io: &mut Io<'_>, inbox: &mut VecDeque<Inbox>) {
        match self {
            Process::Absent => inbox.clear(),
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

/// The order of every adapter's loop: a due tick, then what the application is to be told, then an input, and after each
/// everything the node asks for.
fn turn_node(driver: &mut Driver, io: &mut Io<'_>, inbox: &mut VecDeque<Inbox>) {
    let (mut ticks, mut calls) = (0, 0);
    while !io.oracle.is_broken() {
        if driver.node.next_tick().is_some_and(|at| at <= io.clock()) {
            driver.tick(io);
            ticks += 1;
            if ticks == BUSY {
                io.oracle.fail(io.host, format!("{BUSY} ticks in a row left another one due at {:?}", io.clock()));
            }
            continue;
        }
        if driver.turn_app(io) {
            calls += 1;
            if calls == BUSY_APP {
                io.oracle
                    .fail(io.host, format!("the application was called {BUSY_APP} times in a row at {:?}", io.clock()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_drifts_shows_each_time_when_it_says_it_will() {
        for ppm in [-500_000, -1, 0, 1, 200, 500_000] {
            let mut clock = Clock::new(1_000);
            clock.drift(50, ppm);
            for ahead in [1_u64, 2, 999, 1_000_000_007, 1 << 50] {
                let at = Instant::from_nanos(1_050 + ahead);
                let when = clock.when(50, at).unwrap();
                assert!(clock.read(when) >= at && clock.read(when - 1) < at, "{ppm} {ahead}");
            }
        }
    }

    #[test]
    fn a_change_of_rate_makes_no_jump() {
        let mut clock = Clock::new(0);
        clock.drift(0, 100_000);
        clock.drift(1_000, -100_000);
        assert_eq!((clock.read(1_000), clock.read(2_000)), (Instant::from_nanos(1_100), Instant::from_nanos(2_000)));
    }
}
