//! What a test does to hosts and to the network between them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cluster_core::{Config, NodeId};
use serde::{Deserialize, Serialize};

use crate::host::HostId;
use crate::machine::{Process, parse};
use crate::net::{Block, Buffers, Fate, Latency};
use crate::trace::What;
use crate::world::{World, nanos};

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crash {
    /// The host loses power: nobody is told, and until the host is up again nobody answers. Afterwards its kernel
    /// answers with a reset to whatever belongs to a connection of before.
    Power,
    /// The process is killed and the operating system closes its connections: what was written is still delivered.
    Kill,
    /// The process is killed and every connection is reset.
    Reset,
}

/// What a node is when it starts again. [`Restart::default`]: same id, later incarnation, same config and address.
#[derive(Clone, Debug, Default)]
pub struct Restart {
    id: Id,
    incarnation: Later,
    ip: Option<IpAddr>,
    port: Option<u16>,
    moved: bool,
    config: Option<Config>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Id {
    #[default]
    Same,
    New,
    This(NodeId),
}

#[derive(Clone, Copy, Debug, Default)]
enum Later {
    #[default]
    Higher,
    Same,
    This(u64),
}

impl Restart {
    /// With an id that it draws itself.
    #[must_use]
    pub fn new_id(mut self) -> Restart {
        self.id = Id::New;
        self
    }

    /// With this id.
    #[must_use]
    pub fn id(mut self, id: NodeId) -> Restart {
        self.id = Id::This(id);
        self
    }

    /// With this incarnation, whatever the one before was.
    #[must_use]
    pub fn incarnation(mut self, incarnation: u64) -> Restart {
        self.incarnation = Later::This(incarnation);
        self
    }

    /// With the incarnation it had.
    #[must_use]
    pub fn same_incarnation(mut self) -> Restart {
        self.incarnation = Later::Same;
        self
    }

    /// At this address.
    ///
    /// # Panics
    ///
    /// If the text is no IP address.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Restart {
        self.ip = Some(parse(ip));
        self
    }

    /// At the next address that is free.
    #[must_use]
    pub fn moved(mut self) -> Restart {
        self.moved = true;
        self
    }

    /// At this port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Restart {
        self.port = Some(port);
        self
    }

    /// With this config.
    #[must_use]
    pub fn config(mut self, config: Config) -> Restart {
        self.config = Some(config);
        self
    }
}

/// Hosts.
impl World {
    /// Ends the node on `host` without any goodbye of its own.
    ///
    /// # Panics
    ///
    /// If nothing runs there.
    pub fn crash(&mut self, host: HostId, how: Crash) {
        self.condition(host, format!("crash {how:?}"));
        let machine = &mut self.machines[host.index()];
        assert!(!matches!(machine.process, Process::None), "nothing runs on {host}");
        machine.process = Process::None;
        machine.inbox.clear();
        machine.listen = None;
        machine.tick_at = None;
        self.oracle.ended(host);
        match how {
            Crash::Power => self.net.power_off(&mut self.queue, host),
            Crash::Kill => self.net.kill(&mut self.queue, host, false),
            Crash::Reset => self.net.kill(&mut self.queue, host, true),
        }
        self.wake_all();
    }

    /// Starts a node on a host whose node has crashed, has left, or was never started. A node that has left is
    /// replaced by the new one.
    ///
    /// # Panics
    ///
    /// If a node that has not left runs there, or the new address is taken.
    pub fn restart(&mut self, host: HostId, how: Restart) {
        assert!(!self.is_running(host), "{host} runs already");
        self.condition(host, "restart".to_owned());
        self.net.power_on(&mut self.queue, host);
        if let Some(ip) = how.ip.or_else(|| how.moved.then(|| self.free_ip())) {
            assert!(self.net.owner(ip).is_none_or(|owner| owner == host), "{ip} is taken");
            self.net.readdress(host, ip);
        }
        let wall_clock = self.wall_clock();
        let machine = &mut self.machines[host.index()];
        if let Some(port) = how.port {
            machine.spec.port = Some(port);
        }
        if let Some(config) = how.config {
            machine.spec.config = config;
        }
        let before = machine.run;
        let first = machine.spec.incarnation.map_or(wall_clock, |number| number.0);
        let incarnation = match how.incarnation {
            Later::Higher => before.map_or(first, |run| wall_clock.max(run.incarnation.0 + 1)),
            Later::Same => before.map_or(first, |run| run.incarnation.0),
            Later::This(number) => number,
        };
        let id = match how.id {
            Id::Same => before.map(|run| run.id).or(machine.spec.id),
            Id::New => None,
            Id::This(id) => Some(id),
        };
        let config = machine.spec.config.clone();
        self.start(host, if let Some(id) = id { config.node_id(id) } else { config }, incarnation);
    }

    /// Powers a host on without starting a node: its kernel resets what belongs to connections of before.
    pub fn power_on(&mut self, host: HostId) {
        self.condition(host, "power on".to_owned());
        self.net.power_on(&mut self.queue, host);
        self.wake_all();
    }

    /// The process on `host` does not run: bytes queue up in the kernel, and deadlines pass.
    pub fn pause(&mut self, host: HostId) {
        self.condition(host, "pause".to_owned());
        self.machines[host.index()].paused = true;
    }

    /// The process on `host` runs again.
    pub fn resume(&mut self, host: HostId) {
        self.condition(host, "resume".to_owned());
        self.machines[host.index()].paused = false;
        self.turn(host);
        self.wake_all();
    }

    /// The monotonic clock of `host` jumps forward.
    pub fn clock_forward(&mut self, host: HostId, by: Duration) {
        self.fault(host, format!("clock forward {by:?}"));
        self.machines[host.index()].clock.jump(true, by);
        self.turn(host);
        self.wake_all();
    }

    /// The monotonic clock of `host` jumps back, which none should. A node counts on from the latest time it has
    /// seen, and its deadlines are not reached before the clock is there again.
    pub fn clock_back(&mut self, host: HostId, by: Duration) {
        self.fault(host, format!("clock back {by:?}"));
        let machine = &mut self.machines[host.index()];
        machine.clock.jump(false, by);
        machine.tick_at = None;
        self.turn(host);
        self.wake_all();
    }

    /// The monotonic clock of `host` shows the same time again and again, or goes on from where it would be.
    pub fn clock_stop(&mut self, host: HostId, stop: bool) {
        self.condition(host, format!("clock stopped: {stop}"));
        let now = self.queue.now();
        let machine = &mut self.machines[host.index()];
        machine.clock.stop(now, stop);
        machine.tick_at = None;
        self.turn(host);
        self.wake_all();
    }

    /// Whether the user of `host`'s node takes messages as they come (the default) or not at all.
    pub fn set_consuming(&mut self, host: HostId, consuming: bool) {
        self.condition(host, format!("consuming: {consuming}"));
        self.machines[host.index()].appetite = if consuming { None } else { Some(0) };
        self.feed(host);
    }

    /// The user of `host`'s node takes at most `count` messages more, then none.
    pub fn consume(&mut self, host: HostId, count: u64) {
        self.machines[host.index()].appetite = Some(count);
        self.feed(host);
    }

    /// Whether messages are kept for [`World::messages`]. Default: yes.
    pub fn keep_messages(&mut self, host: HostId, keep: bool) {
        self.machines[host.index()].log.keep_messages = keep;
    }

    /// Whether the process on `host` reads from its sockets as bytes come (the default) or not at all, so that TCP
    /// holds the senders back.
    pub fn set_reading(&mut self, host: HostId, reading: bool) {
        self.condition(host, format!("reading: {reading}"));
        self.machines[host.index()].reading = if reading { None } else { Some(0) };
        self.read_on(host);
    }

    /// The process on `host` reads at most `bytes` more from its sockets, then none.
    pub fn read(&mut self, host: HostId, bytes: u64) {
        self.machines[host.index()].reading = Some(bytes);
        self.read_on(host);
    }

    /// No descriptor is left on `host`: its dials fail, and its kernel keeps what connects to it waiting.
    pub fn exhaust(&mut self, host: HostId, exhausted: bool) {
        self.condition(host, format!("exhausted: {exhausted}"));
        self.net.exhaust(host, exhausted);
        self.wake_all();
    }

    fn feed(&mut self, host: HostId) {
        if self.is_running(host) && !self.machines[host.index()].paused {
            self.with_driver(host, |driver, io| {
                driver.consume(io);
                driver.drain(io);
            });
        }
    }

    fn read_on(&mut self, host: HostId) {
        if self.is_running(host) && !self.machines[host.index()].paused {
            self.with_driver(host, |driver, io| driver.read_all(io));
        }
    }

    /// Something happens to a host once.
    pub(crate) fn fault(&mut self, host: HostId, text: String) {
        self.trace.add(self.queue.now(), Some(host), What::Fault(text));
    }

    /// Something holds of a host, or of a way from it, from now on, if it does not already.
    pub(crate) fn condition(&mut self, host: HostId, text: String) {
        self.trace.add(self.queue.now(), Some(host), What::Condition(text));
    }
}

/// The network.
impl World {
    /// How long everything takes between hosts that have no latency of their own.
    pub fn set_latency(&mut self, base: Duration, jitter: Duration) {
        self.net.latency = Latency { base: nanos(base), jitter: nanos(jitter) };
    }

    /// How long everything takes that goes from one host to another.
    pub fn set_latency_from(&mut self, from: HostId, to: HostId, base: Duration, jitter: Duration) {
        self.net.latencies.insert((from, to), Latency { base: nanos(base), jitter: nanos(jitter) });
    }

    /// Whether new connections split what is written and what is read at random (the default).
    pub fn set_chunked(&mut self, chunked: bool) {
        self.net.chunked = chunked;
    }

    /// The buffers of new connections of hosts that have none of their own.
    pub fn set_buffers(&mut self, buffers: Buffers) {
        self.net.buffers = buffers;
    }

    /// The buffers of new connections of this host: its send buffer for what it writes, its receive buffer for what
    /// it reads.
    pub fn set_buffers_of(&mut self, host: HostId, buffers: Buffers) {
        self.net.set_buffers(host, buffers);
    }

    /// How long TCP keeps sending again what is not acknowledged, before it fails the connection. Default 924 s, as
    /// on Linux.
    pub fn set_give_up(&mut self, span: Duration) {
        self.net.give_up = nanos(span);
    }

    /// Nothing gets from `from` to `to` any more, and nobody is told.
    pub fn cut_one_way(&mut self, from: HostId, to: HostId) {
        self.condition(from, format!("cut towards {to}"));
        self.net.set_cut(&mut self.queue, from, to, true);
    }

    /// What `from` sends gets to `to` again. What it has sent in the meantime arrives in a burst.
    pub fn heal_one_way(&mut self, from: HostId, to: HostId) {
        self.condition(from, format!("heal towards {to}"));
        self.net.set_cut(&mut self.queue, from, to, false);
        self.wake_all();
    }

    /// Nothing gets from either host to the other any more, and nobody is told.
    pub fn cut(&mut self, a: HostId, b: HostId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Undoes [`cut`](World::cut) and [`cut_one_way`](World::cut_one_way).
    pub fn heal(&mut self, a: HostId, b: HostId) {
        self.heal_one_way(a, b);
        self.heal_one_way(b, a);
    }

    /// Cuts every host of one side off from every host of the other.
    pub fn partition(&mut self, one: &[HostId], other: &[HostId]) {
        for &a in one {
            for &b in other {
                self.cut(a, b);
            }
        }
    }

    /// Cuts a host off from every other.
    pub fn isolate(&mut self, host: HostId) {
        for other in self.others(host) {
            self.cut(host, other);
        }
    }

    /// Undoes every cut.
    pub fn heal_all(&mut self) {
        for a in 0..self.machines.len() {
            for b in 0..self.machines.len() {
                let (a, b) = (HostId(a as u32), HostId(b as u32));
                if self.net.is_cut(a, b) {
                    self.heal_one_way(a, b);
                }
            }
        }
    }

    /// Keeps dials, but nothing else, of `from` out of `to`.
    pub fn block_dials(&mut self, from: HostId, to: HostId, how: Block) {
        self.condition(from, format!("dials to {to}: {how:?}"));
        self.net.set_block(from, to, Some(how));
    }

    /// Undoes [`block_dials`](World::block_dials).
    pub fn allow_dials(&mut self, from: HostId, to: HostId) {
        self.condition(from, format!("dials to {to} allowed"));
        self.net.set_block(from, to, None);
    }

    /// Resets every connection between two hosts; both ends notice at once. Returns how many ends were told.
    pub fn reset_connections(&mut self, a: HostId, b: HostId) -> usize {
        self.fault(a, format!("reset all with {b}"));
        let count = self.net.reset_between(a, b);
        self.wake_all();
        count
    }

    /// What becomes of every dial to `address`, whoever is there; `None`: what normally would.
    pub fn set_fate(&mut self, address: SocketAddr, fate: Option<Fate>) {
        self.net.set_fate(address, fate);
    }

    /// A port-forward: connections to `public` go to `inner`, and seem to come from the IP of `public`.
    pub fn forward(&mut self, public: &str, inner: SocketAddr) -> SocketAddr {
        let public = public.parse().unwrap_or_else(|_| panic!("{public:?} is no socket address"));
        self.net.forward(public, Some(inner));
        public
    }

    /// Ends a port-forward: nobody answers there any more. Connections that stand are kept.
    pub fn unforward(&mut self, public: SocketAddr) {
        self.net.forward(public, None);
    }

    /// Dials of `host` seem to come from this address; `None`: from its own.
    pub fn masquerade(&mut self, host: HostId, ip: Option<&str>) {
        self.net.masquerade(host, ip.map(parse));
    }

    /// The addresses that a name has from now on.
    ///
    /// # Panics
    ///
    /// If one of the texts is no IP address.
    pub fn set_name(&mut self, name: &str, ips: &[&str]) {
        self.names.insert(name.to_owned(), ips.iter().map(|ip| parse(ip)).collect());
    }

    /// The name does not exist from now on.
    pub fn remove_name(&mut self, name: &str) {
        self.names.remove(name);
    }

    fn others(&self, host: HostId) -> Vec<HostId> {
        self.machines.iter().map(|machine| machine.id).filter(|&other| other != host).collect()
    }
}
