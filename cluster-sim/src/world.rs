//! The world: what there is, and how time passes.

mod host;
mod host_mut;
mod net;
mod node;
mod observe;
mod puppets;
mod raw;
mod recording;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use cluster_core::{Config, Identity, Instant, Node, NodeId, Run, Start, Target};
use cluster_timeline::record::{HostId, Record};

use crate::app::{App, Ctx, Disk, Factory};
use crate::driver::Driver;
use crate::io::Io;
use crate::log::{Dialled, Log};
use crate::machine::{Bind, Clock, Inbox, Machine, Process, Spec, Tick};
use crate::net::Net as Kernel;
use crate::oracle::{Broken, Oracle};
use crate::queue::{Due, Queue, nanos};
use crate::restart::Twin;
use crate::rng::{Purpose, Rng};
use crate::trace::Trace;
use crate::violation::Violation;

pub use self::host::Host;
pub use self::host_mut::HostMut;
pub use self::net::{Net, NetMut};
pub use self::node::{Dest, NodeMut};
pub use self::puppets::PuppetMut;
pub use self::raw::{RawConn, RawMut, RawState};

/// How many lines a failure shows, unless the environment variable `CLUSTER_SIM_LINES` says otherwise.
const SHOWN: usize = 200;

/// The wall clock of every host when the world begins, in microseconds: incarnations are near it.
const EPOCH: u64 = 1_700_000_000_000_000;

/// Everything is checked at least every so many steps, unless there are more links than that.
const SWEEP: u64 = 1_000;

/// Ten days, so that a clock can jump back by one.
const CLOCKS: u64 = 10 * 24 * 3_600 * 1_000_000_000;

/// A simulated network with nodes on it, in virtual time. The [crate documentation](crate) has an example and a map.
#[derive(Debug)]
pub struct World {
    pub(crate) seed: u64,
    pub(crate) queue: Queue,
    pub(crate) net: Kernel,
    pub(crate) trace: Trace,
    pub(crate) machines: Vec<Machine>,
    pub(crate) oracle: Oracle,
    /// Hosts that act on their own. One that is acting is not here.
    pub(crate) actors: Vec<Option<Box<dyn Actor>>>,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) dials: Vec<Dialled>,
    /// The keys of nodes with a secret, so that a restarted one is who it was.
    identities: BTreeMap<NodeId, Identity>,
    /// How many numbered messages each run has sent to each other run.
    pub(crate) numbers: BTreeMap<(Run, Run), u64>,
    rng: Rng,
    steps: u64,
    /// At which step everything is checked next.
    next_sweep: u64,
    /// The failure was shown already.
    shown: bool,
    /// A failure unwinds with a [`Violation`] and prints nothing.
    quiet: bool,
    invariants: Invariants,
    /// Makes the applications of nodes that start.
    factory: Option<Factory>,
}

impl World {
    /// An empty world. Everything random in it comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> World {
        World {
            seed,
            queue: Queue::default(),
            net: Kernel::new(seed),
            trace: Trace::new(),
            machines: Vec::new(),
            oracle: Oracle::default(),
            actors: Vec::new(),
            names: BTreeMap::new(),
            dials: Vec::new(),
            identities: BTreeMap::new(),
            numbers: BTreeMap::new(),
            rng: Rng::new(seed, Purpose::Test, 0, 0),
            steps: 0,
            next_sweep: SWEEP,
            shown: false,
            quiet: false,
            invariants: Invariants::default(),
            factory: None,
        }
    }

    /// An empty world whose failures unwind with a [`Violation`], for whoever catches it.
    pub(crate) fn quiet(seed: u64) -> World {
        let mut world = World::new(seed);
        world.quiet = true;
        world
    }

    /// Failures panic, with the trace.
    pub(crate) fn be_loud(&mut self) {
        self.quiet = false;
    }

    /// What must hold after every step from now on.
    pub(crate) fn set_invariants(&mut self, invariants: Invariants) {
        self.invariants = invariants;
    }

    /// What runs on the nodes that start from now on.
    pub(crate) fn set_factory(&mut self, factory: Option<Factory>) {
        self.factory = factory;
    }

    /// Whether applications run on the nodes that start.
    pub(crate) fn has_apps(&self) -> bool {
        self.factory.is_some()
    }

    /// Adds a host, and starts a node on it unless the spec says otherwise.
    ///
    /// # Panics
    ///
    /// If the address is taken, or the config contradicts itself.
    pub fn add(&mut self, spec: impl Into<Spec>) -> HostId {
        let spec = spec.into();
        let host = self.add_machine(spec, Process::Absent);
        if self.machines[host.index()].spec.start {
            let Spec { config, id, incarnation, .. } = self.machines[host.index()].spec.clone();
            let config = self.with_id(config, id);
            let incarnation = incarnation.map_or_else(|| self.wall_clock(), |number| number.0);
            self.start(host, config, incarnation);
        }
        host
    }

    /// The config of the node with this id. Without one it is a new node.
    pub(crate) fn with_id(&self, config: Config, id: Option<NodeId>) -> Config {
        match id {
            Some(id) if config.is_secure() => match self.identities.get(&id) {
                Some(identity) => config.identity(identity.clone()),
                None => config,
            },
            Some(id) => config.node_id(id),
            None => config,
        }
    }

    /// Adds `count` hosts with this config.
    pub fn add_many(&mut self, count: usize, config: &Config) -> Vec<HostId> {
        (0..count).map(|_| self.add(config.clone())).collect()
    }

    /// Adds a host with the id and the config of the node that is, or was, on another. It has an address of its own.
    ///
    /// # Panics
    ///
    /// If no node has run there yet.
    #[track_caller]
    pub fn add_clone(&mut self, of: HostId, twin: Twin) -> HostId {
        let run = self.host(of).run();
        let later = self.wall_clock().max(run.incarnation.0.saturating_add(1));
        let spec = Spec::new(self.machines[of.index()].spec.config.clone()).id(run.id);
        self.add(spec.incarnation(match twin {
            Twin::SameRun => run.incarnation.0,
            Twin::LaterRun => later,
        }))
    }

    /// Every node that starts from now on runs an application, which `make` makes when the node has just started. It may
    /// set timers, and read the disk.
    pub fn set_app<A: App>(&mut self, make: impl Fn(&mut Ctx<'_>) -> A + 'static) {
        self.set_factory(Some(Factory::new(make)));
    }

    /// Every application of this type that runs, in the order of hosts.
    pub fn apps<A: App>(&self) -> impl Iterator<Item = (HostId, &A)> {
        self.hosts().filter_map(|host| Some((host, self.host(host).find_app()?)))
    }

    /// The virtual time since the world began.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.queue.now())
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number below `bound` for the test's own choices, from the seed.
    pub fn draw(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    /// Lets `span` pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.queue.now().saturating_add(nanos(span));
        while self.step(end) {}
        self.queue.advance(end);
    }

    /// Lets time pass until `condition` holds, at most `span`. Says whether it came to hold. It is looked at after
    /// each step, so the time is that of the very step that made it true.
    #[must_use]
    pub fn run_until(&mut self, span: Duration, mut condition: impl FnMut(&World) -> bool) -> bool {
        let end = self.queue.now().saturating_add(nanos(span));
        loop {
            if condition(self) {
                return true;
            }
            if !self.step(end) {
                self.queue.advance(end);
                return condition(self);
            }
        }
    }

    /// Lets time pass until `condition` holds.
    ///
    /// # Panics
    ///
    /// If it does not within `span`: with `what` was expected, the seed, and the last lines of the trace.
    #[track_caller]
    pub fn expect(&mut self, what: &str, span: Duration, condition: impl FnMut(&World) -> bool) {
        if !self.run_until(span, condition) {
            self.fail(&format!("within {span:?} was expected: {what}"));
        }
    }

    /// Lets time pass until nothing has happened for two seconds but heartbeats: no event, no dial, no connection
    /// that came or went.
    ///
    /// # Panics
    ///
    /// If that takes more than ten minutes.
    #[track_caller]
    pub fn settle(&mut self) {
        let mut before = self.activity();
        for _ in 0..300 {
            self.run_for(Duration::from_secs(2));
            let after = self.activity();
            if before == after {
                return;
            }
            before = after;
        }
        self.fail("the world does not settle");
    }

    /// The hash of everything that has happened: equal for equal seeds and equal tests.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Keeps this many lines of the trace for [`dump`](World::dump); 0 for speed. Default 4,000.
    pub fn keep_lines(&mut self, lines: usize) {
        self.trace.keep(lines);
    }

    /// The last `lines` lines of the trace, with ids replaced by the names of hosts.
    #[must_use]
    pub fn dump(&self, lines: usize) -> String {
        self.trace.dump(lines)
    }

    /// How many steps were simulated.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Switches the checks off, or on again: for worlds that are to be fast. Default: on.
    ///
    /// # Panics
    ///
    /// If a node has started already: the checks follow everything from the beginning.
    pub fn set_checks(&mut self, on: bool) {
        self.oracle.set(on);
    }

    /// Looks at everything that the checks look at, whatever has changed; that happens by itself every thousand steps,
    /// or as many steps as there are links. Does nothing if the checks are off.
    ///
    /// # Panics
    ///
    /// If a promise is broken.
    pub fn sweep(&mut self) {
        if !self.oracle.is_on() {
            return;
        }
        let mut links = 0;
        for machine in &self.machines {
            if let Some(driver) = machine.process.driver() {
                links += driver.links().count() as u64;
                self.oracle.sweep(machine.id, &driver.node);
            }
        }
        self.oracle.agree_all(&self.net, &mut self.machines);
        self.next_sweep = self.steps + links.max(SWEEP);
        self.judge();
    }

    /// Ends the test with the seed, the time and the last lines of the trace.
    ///
    /// # Panics
    ///
    /// Always. In a world that runs a schedule it unwinds with a [`Violation`] instead, and prints nothing.
    #[track_caller]
    pub fn fail(&mut self, text: &str) -> ! {
        self.violate(None, text.to_owned())
    }

    /// As [`fail`](World::fail), for something that the node on `host` has done.
    #[track_caller]
    pub(crate) fn violate(&mut self, host: Option<HostId>, text: String) -> ! {
        self.shown = true;
        let text = self.trace.named(text);
        let violation = Violation { seed: self.seed, at: self.now(), host, text, tail: self.tail() };
        if let Some(recorder) = self.trace.recording() {
            recorder.violated(violation.at, host, &violation.text);
        }
        if self.quiet {
            std::panic::resume_unwind(Box::new(violation));
        }
        panic!("{violation}");
    }

    /// Whoever is handed a host by a user asks this first.
    #[track_caller]
    pub(crate) fn assert_here(&self, host: HostId) {
        let hosts = self.machines.len();
        assert!(host.index() < hosts, "{host} is no host of this world, which has {hosts}: it is of another one");
    }

    /// Something happens to a host once.
    #[track_caller]
    pub(crate) fn fault(&mut self, host: HostId, text: String) {
        self.assert_here(host);
        self.trace.add(self.queue.now(), Some(host), Record::Fault(text));
    }

    /// Something holds of a host, or of a way from it, from now on, if it does not already.
    #[track_caller]
    pub(crate) fn condition(&mut self, host: HostId, text: String) {
        self.assert_here(host);
        self.trace.add(self.queue.now(), Some(host), Record::Condition(text));
    }

    pub(crate) fn others(&self, host: HostId) -> Vec<HostId> {
        self.machines.iter().map(|machine| machine.id).filter(|&other| other != host).collect()
    }

    pub(crate) fn add_machine(&mut self, spec: Spec, process: Process) -> HostId {
        let ip = spec.ip.unwrap_or_else(|| self.free_ip());
        assert!(ip.is_loopback() || self.net.owner(ip).is_none(), "{ip} is taken");
        let id = self.net.add_host(ip);
        let offset = CLOCKS + Rng::new(self.seed, Purpose::Clock, id.0, 0).below(3_600_000_000_000);
        self.machines.push(Machine {
            id,
            spec,
            process,
            life: 0,
            listen: None,
            run: None,
            inbox: Default::default(),
            paused: false,
            pauses: 0,
            clock: Clock::new(offset),
            tick: None,
            late: None,
            log: Log { keep_messages: true, ..Log::default() },
            disk: Disk::default(),
            appetite: None,
            bursts: None,
            appetites: 0,
            reading: None,
            acknowledging: 0,
        });
        id
    }

    /// Starts a node on a host that runs none.
    pub(crate) fn start(&mut self, host: HostId, config: Config, incarnation: u64) {
        let bind = self.machines[host.index()].spec.bind;
        let address = self.listen_address(host);
        if bind != Bind::Nothing {
            self.net.listen(host, address, None);
        }
        let now = self.queue.now();
        let config = self.with_key(host, config);
        let machine = &mut self.machines[host.index()];
        machine.life += 1;
        let start = Start {
            seed: Rng::new(self.seed, Purpose::Node, host.0, machine.life).bytes(),
            incarnation: cluster_core::Incarnation(incarnation),
            listen: match bind {
                Bind::Address => Some(address),
                Bind::Unspecified => Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port())),
                Bind::Nothing => None,
            },
        };
        let start_listen = start.listen;
        let node = match Node::new(config, start, machine.clock.read(now)) {
            Ok(node) => node,
            Err(error) => panic!("the config of {host} contradicts itself: {error}"),
        };
        let run = node.run();
        machine.run = Some(run);
        machine.listen = (bind != Bind::Nothing).then_some(address);
        machine.process = Process::Node(Box::new(Driver::new(node)));
        machine.log.up = 0;
        machine.inbox.clear();
        machine.paused = false;
        machine.pauses = machine.pauses.wrapping_add(1);
        let clock = machine.clock.read(now);
        if let Some(driver) = machine.process.driver() {
            self.oracle.started(host, &driver.node, start_listen, clock);
        }
        self.trace.name(run.id, host);
        self.trace.add(now, Some(host), Record::Started(run, address));
        let rng = Rng::new(self.seed, Purpose::App, host.0, self.machines[host.index()].life);
        let factory = self.factory.clone();
        self.with_driver(host, |driver, io| {
            if let Some(factory) = &factory {
                driver.start_app(io, factory, rng);
            }
            driver.drain(io);
        });
    }

    /// A node with a secret gets a key of its own here, where it is known when the node starts again.
    fn with_key(&mut self, host: HostId, config: Config) -> Config {
        if !config.is_secure() || config.has_identity() {
            return config;
        }
        let life = self.machines[host.index()].life;
        let identity = Identity::from_bytes(Rng::new(self.seed, Purpose::Identity, host.0, life).bytes());
        self.identities.insert(identity.id(), identity.clone());
        config.identity(identity)
    }

    pub(crate) fn listen_address(&mut self, host: HostId) -> SocketAddr {
        let ip = self.net.ip(host);
        let used = |port: u16| {
            let at = Some(SocketAddr::new(ip, port));
            self.machines.iter().any(|machine| machine.listen == at && machine.id != host)
        };
        let free = || (7_000..=u16::MAX).find(|&port| !used(port)).unwrap_or(7_000);
        let port = self.machines[host.index()].spec.port.unwrap_or_else(free);
        self.machines[host.index()].spec.port = Some(port);
        SocketAddr::new(ip, port)
    }

    /// A later value than any before: the wall clock in microseconds.
    pub(crate) fn wall_clock(&self) -> u64 {
        EPOCH + self.queue.now() / 1_000
    }

    /// Has the driver of a node do something, and then whatever follows from it now.
    pub(crate) fn with_driver<T>(&mut self, host: HostId, act: impl FnOnce(&mut Driver, &mut Io<'_>) -> T) -> T {
        let result = self.with_process(host, |process, io, _| match process {
            Process::Node(driver) => act(driver, io),
            Process::Absent | Process::Puppet(_) => panic!("{host} runs no node"),
        });
        self.turn(host);
        self.wake_all();
        result
    }

    pub(crate) fn with_process<T>(
        &mut self,
        host: HostId,
        act: impl FnOnce(&mut Process, &mut Io<'_>, &mut std::collections::VecDeque<Inbox>) -> T,
    ) -> T {
        let machine = &mut self.machines[host.index()];
        let mut io = Io {
            host,
            life: machine.life,
            run: machine.run.unwrap_or(NOBODY),
            clock: machine.clock.read(self.queue.now()),
            net: &mut self.net,
            queue: &mut self.queue,
            trace: &mut self.trace,
            log: &mut machine.log,
            oracle: &mut self.oracle,
            dials: &mut self.dials,
            appetite: &mut machine.appetite,
            reading: &mut machine.reading,
            acknowledging: machine.acknowledging,
            disk: &mut machine.disk,
        };
        let result = act(&mut machine.process, &mut io, &mut machine.inbox);
        // A node may adopt a later incarnation.
        machine.run = machine.process.driver().map(|driver| driver.node.run()).or(machine.run);
        result
    }

    /// Tells every process what the network has for it.
    pub(crate) fn wake_all(&mut self) {
        while let Some((host, wake)) = self.net.wakes.pop_front() {
            self.machines[host.index()].inbox.push_back(Inbox::Wake(wake));
            self.turn(host);
        }
    }

    /// Lets the process of a host run, unless it is paused, and notes when it wants to run again.
    pub(crate) fn turn(&mut self, host: HostId) {
        if self.machines[host.index()].paused {
            return;
        }
        self.with_process(host, |process, io, inbox| process.turn(io, inbox));
        self.judge();
        let machine = &mut self.machines[host.index()];
        if machine.process.driver().is_some_and(|driver| driver.node.has_left())
            && let Some(address) = machine.listen.take()
        {
            self.net.unlisten(&mut self.queue, address);
        }
        self.schedule(host);
    }

    fn schedule(&mut self, host: HostId) {
        let now = self.queue.now();
        let machine = &mut self.machines[host.index()];
        let Some(at) = machine.process.driver().and_then(Driver::next_deadline) else { return };
        let Some(due) = machine.clock.when(now, at) else { return };
        // An earlier wake-up that is scheduled already finds nothing due, and comes back here.
        if machine.tick.is_none_or(|tick| tick.due > due) {
            let late = machine.late.as_mut().map_or(0, |late| late.rng.below(late.up_to.saturating_add(1)));
            let wake = due.saturating_add(late);
            machine.tick = Some(Tick { due, wake });
            self.queue.push(wake, Due::Tick { host });
        }
    }

    /// Does what is due next, if that is not after `end`.
    fn step(&mut self, end: u64) -> bool {
        self.observe();
        let Some(due) = self.queue.pop(end) else { return false };
        self.steps += 1;
        match due {
            Due::Tick { host } => {
                let machine = &mut self.machines[host.index()];
                if machine.tick.is_some_and(|tick| tick.wake == self.queue.now()) {
                    machine.tick = None;
                    self.turn(host);
                }
            }
            Due::Resolved { host, life, ref target } => self.resolved(host, life, target),
            Due::Hostile { index } => self.turn_actor(index),
            Due::Resume { host, number } if self.machines[host.index()].pauses == number => {
                self.host_mut(host).resume()
            }
            Due::Feed { host, number } if self.machines[host.index()].appetites == number => self.burst(host),
            ref due => self.net.handle(&mut self.queue, due),
        }
        self.wake_all();
        if self.oracle.is_on() {
            self.look_on(&due);
        }
        self.check_invariants();
        true
    }

    /// Checks what a step may have changed between hosts, and now and then everything.
    fn look_on(&mut self, due: &Due) {
        if let Due::Segments { conn, .. } = *due {
            self.oracle.agree(conn, &self.net, &mut self.machines);
            self.judge();
        }
        if self.steps >= self.next_sweep {
            self.sweep();
        }
    }

    fn judge(&mut self) {
        if let Some(Broken { host, text }) = self.oracle.broken() {
            self.violate(Some(host), text);
        }
        if let Some(host) = self.net.leaked() {
            self.violate(Some(host), "O16: what was sent with a secret can be read on the wire".to_owned());
        }
    }

    pub(crate) fn check_invariants(&mut self) {
        if let Some(text) = self.invariants.broken(self) {
            self.fail(&text);
        }
    }

    /// Has an actor act from now on.
    pub(crate) fn unleash(&mut self, actor: Box<dyn Actor>) {
        let index = self.actors.len();
        self.actors.push(Some(actor));
        self.queue.push_after(0, Due::Hostile { index });
    }

    fn turn_actor(&mut self, index: usize) {
        let Some(mut actor) = self.actors.get_mut(index).and_then(Option::take) else { return };
        let wait = actor.act(self);
        self.actors[index] = Some(actor);
        self.queue.push_after(wait, Due::Hostile { index });
    }

    fn resolved(&mut self, host: HostId, life: u32, target: &Target) {
        let outcome = self.look_up(target);
        self.trace.add(self.queue.now(), Some(host), Record::Resolved(target.clone(), outcome.clone()));
        let machine = &mut self.machines[host.index()];
        if machine.life == life {
            if let Ok(addresses) = &outcome {
                self.oracle.resolved(host, target, addresses);
            }
            machine.inbox.push_back(Inbox::Resolved(target.clone(), outcome));
            self.turn(host);
        }
    }

    pub(crate) fn look_up(&self, target: &Target) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = target.literal() {
            return Ok(vec![address]);
        }
        let (name, port) = target.as_str().rsplit_once(':').unwrap_or((target.as_str(), "0"));
        let port = port.parse().unwrap_or(0);
        let records = self.names.get(name).ok_or_else(|| format!("{name}: no such name"))?;
        Ok(records.iter().map(|&ip| SocketAddr::new(ip, port)).collect())
    }

    pub(crate) fn free_ip(&self) -> IpAddr {
        let number = |index: usize| IpAddr::V4(Ipv4Addr::new(10, 0, (index / 250) as u8, (index % 250) as u8 + 1));
        let free = |ip: &IpAddr| self.net.owner(*ip).is_none();
        (self.machines.len()..62_500).map(number).find(free).unwrap_or_else(|| panic!("no address is free"))
    }

    fn activity(&self) -> (usize, usize, usize, u64) {
        let events = self.machines.iter().map(|machine| machine.log.events.len()).sum();
        let ends = self.machines.iter().map(|machine| machine.log.ends.len()).sum();
        (events, ends, self.dials.len(), self.net.opened_in_all)
    }

    fn tail(&self) -> String {
        self.dump(shown_lines())
    }
}

/// A host that acts in a world on its own, again and again.
pub(crate) trait Actor: fmt::Debug {
    /// Acts, and returns after how many nanoseconds it acts again.
    fn act(&mut self, world: &mut World) -> u64;
}

/// What users want to hold.
#[derive(Clone, Default)]
pub(crate) struct Invariants(Vec<Invariant>);

type Invariant = Rc<dyn Fn(&World) -> Result<(), String>>;

impl Invariants {
    pub(crate) fn add(&mut self, holds: impl Fn(&World) -> Result<(), String> + 'static) {
        self.0.push(Rc::new(holds));
    }

    /// Why the first of them that does not hold does not.
    pub(crate) fn broken(&self, world: &World) -> Option<String> {
        self.0.iter().find_map(|holds| holds(world).err())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Invariants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} invariants", self.0.len())
    }
}

/// How many lines of the trace a failure shows.
pub(crate) fn shown_lines() -> usize {
    std::env::var("CLUSTER_SIM_LINES").ok().and_then(|lines| lines.parse().ok()).unwrap_or(SHOWN)
}

/// A test that fails for a reason of its own shows the trace too.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.shown && !self.quiet {
            eprintln!("seed {}, at {:?}; the last lines of the trace:\n{}", self.seed, self.now(), self.tail());
        }
    }
}

/// A run for a host on which no node has run.
const NOBODY: Run = Run { id: NodeId::from_bytes([0; 16]), incarnation: cluster_core::Incarnation(0) };
