//! What a test does to hosts and to the network between them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cluster_timeline::record::{HostId, Record};

use super::World;
use crate::machine::{Bind, Bursts, Late, Process, Spec, parse};
use crate::net::{Block, Buffers, Fate};
use crate::queue::{Due, nanos};
use crate::restart::{Crash, Id, Later, Restart, Twin};
use crate::rng::{Purpose, Rng};
use crate::schedule::Schedule;
use crate::way::Latency;

/// Hosts.
impl World {
    /// Adds a host with the id and the config of the node that is, or was, on another. It has an address of its own.
    ///
    /// # Panics
    ///
    /// If no node has run there yet.
    #[track_caller]
    pub fn add_clone(&mut self, of: HostId, twin: Twin) -> HostId {
        let run = self.run(of);
        let later = self.wall_clock().max(run.incarnation.0.saturating_add(1));
        let spec = Spec::new(self.machines[of.index()].spec.config.clone()).id(run.id);
        self.add(spec.incarnation(match twin {
            Twin::SameRun => run.incarnation.0,
            Twin::LaterRun => later,
        }))
    }

    /// The host gets another address, at once and without a restart, as by DHCP. Its node goes on listening only if it
    /// is bound to [no address in particular](Spec::unspecified), and is told nothing. Connections that stand keep
    /// their addresses and go on, as over a tunnel; [`sever_connections`](World::sever_connections) ends that.
    ///
    /// # Panics
    ///
    /// If the text is no IP address, or the address is taken.
    #[track_caller]
    pub fn change_address(&mut self, host: HostId, ip: &str) {
        let ip = parse(ip);
        assert!(self.net.owner(ip).is_none_or(|owner| owner == host), "{ip} is taken");
        self.readdress(host, ip);
    }

    #[track_caller]
    fn readdress(&mut self, host: HostId, ip: IpAddr) {
        self.condition(host, format!("moves to {ip}"));
        self.net.readdress(host, ip);
        let machine = &mut self.machines[host.index()];
        if let Some(before) = machine.listen.take() {
            let now = SocketAddr::new(ip, before.port());
            let stays = machine.spec.bind == Bind::Unspecified;
            machine.listen = stays.then_some(now);
            self.net.move_listener(&mut self.queue, before, stays.then_some(now));
        }
        self.wake_all();
    }

    /// The host gets the next address that is free, see [`change_address`](World::change_address).
    #[track_caller]
    pub fn renumber(&mut self, host: HostId) {
        let ip = self.free_ip();
        self.readdress(host, ip);
    }

    /// Ends the node on `host` without any goodbye of its own.
    ///
    /// # Panics
    ///
    /// If nothing runs there.
    #[track_caller]
    pub fn crash(&mut self, host: HostId, how: Crash) {
        self.condition(host, format!("crash {how:?}"));
        let machine = &mut self.machines[host.index()];
        assert!(!matches!(machine.process, Process::None), "nothing runs on {host}");
        machine.process = Process::None;
        machine.inbox.clear();
        machine.listen = None;
        machine.tick = None;
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
    #[track_caller]
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
            Later::Above(number) => wall_clock.max(number.saturating_add(1)),
        };
        let id = match how.id {
            Id::Same => before.map(|run| run.id).or(machine.spec.id),
            Id::New => None,
            Id::This(id) => Some(id),
        };
        let config = machine.spec.config.clone();
        let config = self.with_id(config, id);
        self.start(host, config, incarnation);
    }

    /// Powers a host on without starting a node: its kernel resets what belongs to connections of before.
    #[track_caller]
    pub fn power_on(&mut self, host: HostId) {
        self.condition(host, "power on".to_owned());
        self.net.power_on(&mut self.queue, host);
        self.wake_all();
    }

    /// The process on `host` does not run: bytes queue up in the kernel, and deadlines pass.
    #[track_caller]
    pub fn pause(&mut self, host: HostId) {
        self.condition(host, "pause".to_owned());
        self.set_paused(host, true);
    }

    /// The process on `host` does not run for `span`, unless it is [resumed](World::resume) earlier.
    #[track_caller]
    pub fn pause_for(&mut self, host: HostId, span: Duration) {
        self.condition(host, "pause".to_owned());
        let number = self.set_paused(host, true);
        self.queue.push_after(nanos(span), Due::Resume { host, number });
    }

    /// The process on `host` runs again.
    #[track_caller]
    pub fn resume(&mut self, host: HostId) {
        self.condition(host, "resume".to_owned());
        self.set_paused(host, false);
        self.turn(host);
        self.wake_all();
    }

    /// The process on `host` is woken for its deadlines late, each time by anything up to `up_to`; zero: in time. What
    /// the network has for it wakes it in time, and then it also sees what is due.
    #[track_caller]
    pub fn set_late(&mut self, host: HostId, up_to: Duration) {
        self.condition(host, format!("late by up to {up_to:?}"));
        let rng = Rng::new(self.seed, Purpose::Late, host.0, self.machines[host.index()].life);
        let machine = &mut self.machines[host.index()];
        machine.late = (!up_to.is_zero()).then(|| Late { up_to: nanos(up_to), rng });
        machine.tick = None;
        self.turn(host);
        self.wake_all();
    }

    /// The monotonic clock of `host` is too fast by so many millionths, or too slow if there are fewer than none.
    ///
    /// # Panics
    ///
    /// If it would run at less than half or more than one and a half times the right speed.
    #[track_caller]
    pub fn set_drift(&mut self, host: HostId, ppm: i32) {
        assert!(ppm.unsigned_abs() <= 500_000, "{ppm} millionths are more than a clock may drift");
        self.condition(host, format!("drift {ppm} ppm"));
        let now = self.queue.now();
        let machine = &mut self.machines[host.index()];
        machine.clock.drift(now, ppm);
        machine.tick = None;
        self.turn(host);
        self.wake_all();
    }

    /// The monotonic clock of `host` jumps forward.
    ///
    /// # Panics
    ///
    /// If it jumps by more than [`Schedule::MAX_DURATION`], and by more than it was set back.
    #[track_caller]
    pub fn clock_forward(&mut self, host: HostId, by: Duration) {
        let most = Schedule::MAX_DURATION.max(self.machine(host).clock.behind());
        assert!(by <= most, "a clock jumps forward by {most:?} at the most, and not by {by:?}");
        self.fault(host, format!("clock forward {by:?}"));
        self.machines[host.index()].clock.jump(true, by);
        self.turn(host);
        self.wake_all();
    }

    /// The monotonic clock of `host` jumps back, which none should. A node counts on from the latest time it has
    /// seen, and its deadlines are not reached before the clock is there again.
    #[track_caller]
    pub fn clock_back(&mut self, host: HostId, by: Duration) {
        self.fault(host, format!("clock back {by:?}"));
        let machine = &mut self.machines[host.index()];
        machine.clock.jump(false, by);
        machine.tick = None;
        self.turn(host);
        self.wake_all();
    }

    /// The monotonic clock of `host` shows the same time again and again, or goes on from where it would be.
    #[track_caller]
    pub fn clock_stop(&mut self, host: HostId, stop: bool) {
        self.condition(host, format!("clock stopped: {stop}"));
        let now = self.queue.now();
        let machine = &mut self.machines[host.index()];
        machine.clock.stop(now, stop);
        machine.tick = None;
        self.turn(host);
        self.wake_all();
    }

    /// Whether the user of `host`'s node takes messages as they come (the default) or not at all. Who takes none does
    /// not read of what came to nothing, either.
    #[track_caller]
    pub fn set_consuming(&mut self, host: HostId, consuming: bool) {
        self.condition(host, format!("consuming: {consuming}"));
        self.set_appetite(host, if consuming { None } else { Some(0) });
    }

    /// The user of `host`'s node takes at most `count` messages more, then none.
    #[track_caller]
    pub fn consume(&mut self, host: HostId, count: u64) {
        self.set_appetite(host, Some(count));
    }

    /// The user of `host`'s node takes at most `count` messages now, and again each time that `every` has passed: a slow
    /// consumer, or one that works in batches. Until something else is said.
    ///
    /// # Panics
    ///
    /// If `every` is shorter than a microsecond: time would stand still.
    #[track_caller]
    pub fn consume_in_bursts(&mut self, host: HostId, count: u64, every: Duration) {
        assert!(every >= Duration::from_micros(1), "messages are taken once in a microsecond at the most");
        self.fault(host, format!("consuming: {count} every {every:?}"));
        self.set_appetite(host, Some(0));
        self.machines[host.index()].bursts = Some(Bursts { count, every: nanos(every) });
        self.burst(host);
    }

    /// After how many messages the user of `host`'s node acknowledges all that it has taken, where that is up to it
    /// ([`Acknowledge::Manual`](cluster_core::Acknowledge::Manual)); messages that wait for their number to be reached
    /// are acknowledged at once. With 0, the default, only
    /// [`NodeMut::acknowledge`](crate::NodeMut::acknowledge) acknowledges.
    #[track_caller]
    pub fn set_acknowledging(&mut self, host: HostId, every: u64) {
        self.machine_mut(host).acknowledging = every;
        if self.is_running(host) && !self.machines[host.index()].paused {
            self.with_driver(host, |driver, io| {
                driver.acknowledge_all(io);
                driver.drain(io);
            });
        }
    }

    /// Whether messages are kept for [`World::messages`]. Default: yes.
    #[track_caller]
    pub fn keep_messages(&mut self, host: HostId, keep: bool) {
        self.machine_mut(host).log.keep_messages = keep;
    }

    /// Whether the process on `host` reads from its sockets as bytes come (the default) or not at all, so that TCP
    /// holds the senders back.
    #[track_caller]
    pub fn set_reading(&mut self, host: HostId, reading: bool) {
        self.condition(host, format!("reading: {reading}"));
        self.machines[host.index()].reading = if reading { None } else { Some(0) };
        self.read_on(host);
    }

    /// The process on `host` reads at most `bytes` more from its sockets, then none.
    #[track_caller]
    pub fn read(&mut self, host: HostId, bytes: u64) {
        self.machine_mut(host).reading = Some(bytes);
        self.read_on(host);
    }

    /// No descriptor is left on `host`: its dials fail, and its kernel keeps what connects to it waiting.
    #[track_caller]
    pub fn exhaust(&mut self, host: HostId, exhausted: bool) {
        self.condition(host, format!("exhausted: {exhausted}"));
        self.net.exhaust(host, exhausted);
        self.wake_all();
    }

    /// The next burst of a user that takes messages in bursts.
    pub(crate) fn burst(&mut self, host: HostId) {
        let machine = &mut self.machines[host.index()];
        let Some(Bursts { count, every }) = machine.bursts else { return };
        machine.appetite = Some(count);
        self.queue.push_after(every, Due::Feed { host, number: machine.appetites });
        self.feed(host);
    }

    #[track_caller]
    fn set_appetite(&mut self, host: HostId, appetite: Option<u64>) {
        let machine = self.machine_mut(host);
        machine.appetite = appetite;
        machine.bursts = None;
        machine.appetites = machine.appetites.wrapping_add(1);
        self.feed(host);
    }

    fn set_paused(&mut self, host: HostId, paused: bool) -> u32 {
        let machine = &mut self.machines[host.index()];
        machine.paused = paused;
        machine.pauses = machine.pauses.wrapping_add(1);
        machine.pauses
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
}

/// The network.
impl World {
    /// How long everything takes between hosts that have no latency of their own.
    pub fn set_latency(&mut self, latency: impl Into<Latency>) {
        let latency = latency.into();
        self.trace.add(self.queue.now(), None, Record::Fault(format!("latency: {latency:?}")));
        self.net.set_delay(None, latency.into());
    }

    /// How long everything takes that goes from one host to another.
    #[track_caller]
    pub fn set_latency_from(&mut self, from: HostId, to: HostId, latency: impl Into<Latency>) {
        self.assert_here(to);
        let latency = latency.into();
        self.fault(from, format!("latency to {to}: {latency:?}"));
        self.net.set_delay(Some((from, to)), latency.into());
    }

    /// How many bytes a second get from any host to any other that has no bandwidth of its own; `None`, the default: as
    /// many as there are. All connections from one host to another share it, byte by byte in the order in which they
    /// were written; acknowledgements and dials take none of it.
    ///
    /// # Panics
    ///
    /// If it is 0: that is a [cut](World::cut).
    pub fn set_bandwidth(&mut self, bytes_per_second: Option<u64>) {
        assert_ne!(bytes_per_second, Some(0), "a way that carries nothing is cut");
        self.trace.add(self.queue.now(), None, Record::Fault(format!("bandwidth: {bytes_per_second:?}")));
        self.net.set_rate(&mut self.queue, None, bytes_per_second);
    }

    /// How many bytes a second get from one host to another; `None`: as many as by
    /// [`set_bandwidth`](World::set_bandwidth).
    ///
    /// # Panics
    ///
    /// If it is 0: that is a [cut](World::cut_one_way).
    #[track_caller]
    pub fn set_bandwidth_from(&mut self, from: HostId, to: HostId, bytes_per_second: Option<u64>) {
        self.assert_here(to);
        assert_ne!(bytes_per_second, Some(0), "a way that carries nothing is cut");
        self.fault(from, format!("bandwidth to {to}: {bytes_per_second:?}"));
        self.net.set_rate(&mut self.queue, Some((from, to)), bytes_per_second);
    }

    /// What goes from one host to another takes a millisecond and finds all the room it needs, as by default, whatever
    /// holds for the others.
    pub(crate) fn clear_way(&mut self, from: HostId, to: HostId) {
        self.net.set_delay(Some((from, to)), Latency::default().into());
        if self.net.is_narrow(from, to) {
            self.set_bandwidth_from(from, to, Some(u64::MAX));
        }
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
    #[track_caller]
    pub fn set_buffers_of(&mut self, host: HostId, buffers: Buffers) {
        self.assert_here(host);
        self.net.set_buffers(host, buffers);
    }

    /// How long TCP keeps sending again what is not acknowledged, before it fails the connection. Default 924 s, as
    /// on Linux.
    pub fn set_give_up(&mut self, span: Duration) {
        self.net.give_up = nanos(span);
    }

    /// Nothing gets from `from` to `to` any more, and nobody is told.
    ///
    /// # Panics
    ///
    /// If one of them is no host of this world.
    #[track_caller]
    pub fn cut_one_way(&mut self, from: HostId, to: HostId) {
        self.assert_here(to);
        self.condition(from, format!("cut towards {to}"));
        self.net.set_cut(&mut self.queue, from, to, true);
    }

    /// What `from` sends gets to `to` again, whether the way was cut or clogged. What it has sent in the meantime
    /// arrives in a burst, as far as the bandwidth allows.
    #[track_caller]
    pub fn heal_one_way(&mut self, from: HostId, to: HostId) {
        self.assert_here(to);
        self.condition(from, format!("heal towards {to}"));
        self.net.unclog(&mut self.queue, from, to);
        self.net.set_cut(&mut self.queue, from, to, false);
        self.wake_all();
    }

    /// From now on nothing gets from `from` to `to` for a random span of up to `shut`, then everything for one of up to
    /// `open`, and so on, until the way is [healed](World::heal_one_way). Nothing is lost, and nobody is told.
    ///
    /// # Panics
    ///
    /// If one of the spans is shorter than a microsecond: time would stand still.
    #[track_caller]
    pub fn clog(&mut self, from: HostId, to: HostId, open: Duration, shut: Duration) {
        self.assert_here(to);
        assert!(open.min(shut) >= Duration::from_micros(1), "a clogged way turns once in a microsecond at the most");
        self.fault(from, format!("clog towards {to}: open {open:?}, shut {shut:?}"));
        self.net.clog(&mut self.queue, from, to, nanos(open), nanos(shut));
        self.wake_all();
    }

    /// Nothing gets from either host to the other any more, and nobody is told.
    ///
    /// # Panics
    ///
    /// If one of them is no host of this world.
    #[track_caller]
    pub fn cut(&mut self, a: HostId, b: HostId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Undoes [`cut`](World::cut), [`cut_one_way`](World::cut_one_way) and [`clog`](World::clog) in both directions.
    #[track_caller]
    pub fn heal(&mut self, a: HostId, b: HostId) {
        self.heal_one_way(a, b);
        self.heal_one_way(b, a);
    }

    /// Cuts every host of one side off from every host of the other. Hosts on neither side reach both.
    ///
    /// # Panics
    ///
    /// If one of them is no host of this world.
    #[track_caller]
    pub fn partition(&mut self, one: &[HostId], other: &[HostId]) {
        for &host in one.iter().chain(other) {
            self.assert_here(host);
        }
        for &a in one {
            for &b in other {
                self.cut(a, b);
            }
        }
    }

    /// Cuts a host off from every other.
    #[track_caller]
    pub fn isolate(&mut self, host: HostId) {
        self.assert_here(host);
        for other in self.others(host) {
            self.cut(host, other);
        }
    }

    /// Undoes every cut and every clog.
    pub fn heal_all(&mut self) {
        for (from, to) in self.net.hindered() {
            self.heal_one_way(from, to);
        }
    }

    /// Keeps dials, but nothing else, of `from` out of `to`.
    #[track_caller]
    pub fn block_dials(&mut self, from: HostId, to: HostId, how: Block) {
        self.assert_here(to);
        self.condition(from, format!("dials to {to}: {how:?}"));
        self.net.set_block(from, to, Some(how));
    }

    /// Undoes [`block_dials`](World::block_dials).
    #[track_caller]
    pub fn allow_dials(&mut self, from: HostId, to: HostId) {
        self.assert_here(to);
        self.condition(from, format!("dials to {to} allowed"));
        self.net.set_block(from, to, None);
    }

    /// Resets every connection between two hosts; both ends notice at once. Returns how many ends were told.
    #[track_caller]
    pub fn reset_connections(&mut self, a: HostId, b: HostId) -> usize {
        self.assert_here(b);
        self.fault(a, format!("reset all with {b}"));
        let count = self.net.reset_between(a, b);
        self.wake_all();
        count
    }

    /// Resets the ends that `at` has of connections with `peer`, of which `peer` learns nothing until it sends: then
    /// the kernel of `at` answers with a reset. Returns how many ends were told.
    #[track_caller]
    pub fn reset_one_side(&mut self, at: HostId, peer: HostId) -> usize {
        self.assert_here(peer);
        self.fault(at, format!("reset towards {peer}, which is not told"));
        let count = self.net.reset_at(at, peer);
        self.wake_all();
        count
    }

    /// Resets the ends that `at` has of connections with `peer`, which are half-open from then on: `peer` never learns
    /// of it, whatever it sends. New connections are as any other. Returns how many ends were told.
    #[track_caller]
    pub fn half_open(&mut self, at: HostId, peer: HostId) -> usize {
        self.assert_here(peer);
        self.fault(at, format!("half-open towards {peer}"));
        self.net.sever(&mut self.queue, at, peer);
        let count = self.net.reset_at(at, peer);
        self.wake_all();
        count
    }

    /// The connections that stand between two hosts carry nothing any more, ever, and neither end is told: something in
    /// between has forgotten them. New connections are as any other. Returns how many there are.
    #[track_caller]
    pub fn sever_connections(&mut self, a: HostId, b: HostId) -> usize {
        self.assert_here(b);
        self.fault(a, format!("connections with {b} severed"));
        self.net.sever(&mut self.queue, a, b)
    }

    /// How many connections the kernels of all hosts know, those included that are closed and still deliver.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.net.connections()
    }

    /// What becomes of every dial to `address`, whoever is there; `None`: what normally would.
    pub fn set_fate(&mut self, address: SocketAddr, fate: Option<Fate>) {
        let to = self.net.owner(address.ip());
        self.trace.add(self.queue.now(), to, Record::Fault(format!("dials to {address}: {fate:?}")));
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
    #[track_caller]
    pub fn masquerade(&mut self, host: HostId, ip: Option<&str>) {
        self.assert_here(host);
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

    pub(crate) fn others(&self, host: HostId) -> Vec<HostId> {
        self.machines.iter().map(|machine| machine.id).filter(|&other| other != host).collect()
    }
}

#[cfg(test)]
mod tests {
    use cluster_core::Config;

    use super::*;
    use crate::catch::{Caught, caught};

    #[test]
    fn a_host_of_another_world_is_refused_by_name() {
        let mut other = World::new(1);
        let far = other.add_many(3, &Config::insecure_plaintext())[2];
        let mut world = World::new(2);
        let near = world.add(Config::insecure_plaintext());
        let words = |act: &mut dyn FnMut()| match caught(act) {
            Err(Caught::Panic(text)) => text,
            other => panic!("{other:?}"),
        };
        let partition = words(&mut || world.partition(&[near], &[far]));
        assert!(partition.contains("n2 is no host of this world, which has 1") && partition.contains("faults.rs"));
        assert!(words(&mut || world.isolate(far)).contains("n2 is no host"));
        assert!(words(&mut || world.crash(far, Crash::Kill)).contains("n2 is no host"));
    }

    #[test]
    fn a_clock_jumps_forward_by_thirty_days_or_as_far_as_it_was_set_back() {
        let mut world = World::new(1);
        let host = world.add(Config::insecure_plaintext());
        for by in [Duration::MAX, Schedule::MAX_DURATION + Duration::from_nanos(1)] {
            let Err(Caught::Panic(text)) = caught(|| world.clock_forward(host, by)) else { panic!("it was refused") };
            assert!(text.contains("a clock jumps forward by 2592000s at the most"), "{text}");
        }
        world.clock_forward(host, Schedule::MAX_DURATION);
        for _ in 0..2 {
            world.clock_back(host, Schedule::MAX_DURATION);
        }
        world.clock_forward(host, Schedule::MAX_DURATION * 2);
        world.run_for(Duration::from_secs(1));
        assert!(world.is_running(host));
    }

    #[test]
    fn what_a_test_does_to_ways_and_dials_is_in_the_trace() {
        let mut world = World::new(1);
        let hosts = world.add_many(2, &Config::insecure_plaintext());
        world.record();
        let address = world.addr(hosts[1]);
        world.set_latency(Duration::from_millis(7));
        world.set_latency_from(hosts[0], hosts[1], Duration::from_millis(8));
        world.set_bandwidth(Some(9_000));
        world.set_fate(address, Some(Fate::Stall));
        let (trace, told) = (world.dump(20), world.timeline().to_html());
        for words in ["latency: Constant(7ms)", "latency to n1: Constant(8ms)", "bandwidth: Some(9000)"] {
            assert!(trace.contains(words), "{trace}");
            assert!(told.contains(words), "{told}");
        }
        assert!(trace.contains("dials to 10.0.0.2:7000: Some(Stall)"), "{trace}");
    }
}
