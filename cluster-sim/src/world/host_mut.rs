//! What a test does to one host.

use std::any::type_name;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cluster_timeline::record::HostId;

use super::World;
use crate::app::{App, Ctx};
use crate::machine::{Bind, Bursts, Late, Process, parse};
use crate::net::Buffers;
use crate::queue::{Due, nanos};
use crate::restart::{Crash, Id, Later, Restart};
use crate::rng::{Purpose, Rng};
use crate::schedule::Schedule;

/// A host, to do something to. What can be seen of it is in [`Host`](crate::Host), the verbs of its node in
/// [`NodeMut`](crate::NodeMut).
#[derive(Debug)]
pub struct HostMut<'w> {
    world: &'w mut World,
    host: HostId,
}

impl World {
    /// A host, to do something to.
    ///
    /// # Panics
    ///
    /// If it is no host of this world.
    #[track_caller]
    pub fn host_mut(&mut self, host: HostId) -> HostMut<'_> {
        self.assert_here(host);
        HostMut { world: self, host }
    }
}

impl HostMut<'_> {
    /// Ends the node on the host without any goodbye of its own.
    ///
    /// # Panics
    ///
    /// If nothing runs there.
    #[track_caller]
    pub fn crash(&mut self, how: Crash) {
        let host = self.host;
        self.world.condition(host, format!("crash {how:?}"));
        let machine = &mut self.world.machines[host.index()];
        assert!(!matches!(machine.process, Process::None), "nothing runs on {host}");
        machine.process = Process::None;
        machine.inbox.clear();
        machine.listen = None;
        machine.tick = None;
        self.world.oracle.ended(host);
        match how {
            Crash::Power => self.world.net.power_off(&mut self.world.queue, host),
            Crash::Kill => self.world.net.kill(&mut self.world.queue, host, false),
            Crash::Reset => self.world.net.kill(&mut self.world.queue, host, true),
        }
        self.world.wake_all();
    }

    /// Starts a node on a host whose node has crashed, has left, or was never started. A node that has left is
    /// replaced by the new one.
    ///
    /// # Panics
    ///
    /// If a node that has not left runs there, or the new address is taken.
    #[track_caller]
    pub fn restart(&mut self, how: Restart) {
        let host = self.host;
        assert!(!self.world.host(host).is_running(), "{host} runs already");
        self.world.condition(host, "restart".to_owned());
        self.world.net.power_on(&mut self.world.queue, host);
        if let Some(ip) = how.ip.or_else(|| how.moved.then(|| self.world.free_ip())) {
            assert!(self.world.net.owner(ip).is_none_or(|owner| owner == host), "{ip} is taken");
            self.world.net.readdress(host, ip);
        }
        let wall_clock = self.world.wall_clock();
        let machine = &mut self.world.machines[host.index()];
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
        let config = self.world.with_id(config, id);
        self.world.start(host, config, incarnation);
    }

    /// Powers a host on without starting a node: its kernel resets what belongs to connections of before.
    #[track_caller]
    pub fn power_on(&mut self) {
        let host = self.host;
        self.world.condition(host, "power on".to_owned());
        self.world.net.power_on(&mut self.world.queue, host);
        self.world.wake_all();
    }

    /// The process on the host does not run: bytes queue up in the kernel, and deadlines pass.
    #[track_caller]
    pub fn pause(&mut self) {
        let host = self.host;
        self.world.condition(host, "pause".to_owned());
        self.world.set_paused(host, true);
    }

    /// The process on the host does not run for `span`, unless it is [resumed](Self::resume) earlier.
    #[track_caller]
    pub fn pause_for(&mut self, span: Duration) {
        let host = self.host;
        self.world.condition(host, "pause".to_owned());
        let number = self.world.set_paused(host, true);
        self.world.queue.push_after(nanos(span), Due::Resume { host, number });
    }

    /// The process on the host runs again.
    #[track_caller]
    pub fn resume(&mut self) {
        let host = self.host;
        self.world.condition(host, "resume".to_owned());
        self.world.set_paused(host, false);
        self.world.turn(host);
        self.world.wake_all();
    }

    /// The process on the host is woken for its deadlines late, each time by anything up to `up_to`; zero: in time. What
    /// the network has for it wakes it in time, and then it also sees what is due.
    #[track_caller]
    pub fn set_late(&mut self, up_to: Duration) {
        let host = self.host;
        self.world.condition(host, format!("late by up to {up_to:?}"));
        let rng = Rng::new(self.world.seed, Purpose::Late, host.0, self.world.machines[host.index()].life);
        let machine = &mut self.world.machines[host.index()];
        machine.late = (!up_to.is_zero()).then(|| Late { up_to: nanos(up_to), rng });
        machine.tick = None;
        self.world.turn(host);
        self.world.wake_all();
    }

    /// The monotonic clock of the host is too fast by so many millionths, or too slow if there are fewer than none.
    ///
    /// # Panics
    ///
    /// If it would run at less than half or more than one and a half times the right speed.
    #[track_caller]
    pub fn set_drift(&mut self, ppm: i32) {
        let host = self.host;
        assert!(ppm.unsigned_abs() <= 500_000, "{ppm} millionths are more than a clock may drift");
        self.world.condition(host, format!("drift {ppm} ppm"));
        let now = self.world.queue.now();
        let machine = &mut self.world.machines[host.index()];
        machine.clock.drift(now, ppm);
        machine.tick = None;
        self.world.turn(host);
        self.world.wake_all();
    }

    /// The monotonic clock of the host jumps forward.
    ///
    /// # Panics
    ///
    /// If it jumps by more than [`Schedule::MAX_DURATION`], and by more than it was set back.
    #[track_caller]
    pub fn clock_forward(&mut self, by: Duration) {
        let host = self.host;
        let most = Schedule::MAX_DURATION.max(self.world.machines[host.index()].clock.behind());
        assert!(by <= most, "a clock jumps forward by {most:?} at the most, and not by {by:?}");
        self.world.fault(host, format!("clock forward {by:?}"));
        self.world.machines[host.index()].clock.jump(true, by);
        self.world.turn(host);
        self.world.wake_all();
    }

    /// The monotonic clock of the host jumps back, which none should. A node counts on from the latest time it has
    /// seen, and its deadlines are not reached before the clock is there again.
    #[track_caller]
    pub fn clock_back(&mut self, by: Duration) {
        let host = self.host;
        self.world.fault(host, format!("clock back {by:?}"));
        let machine = &mut self.world.machines[host.index()];
        machine.clock.jump(false, by);
        machine.tick = None;
        self.world.turn(host);
        self.world.wake_all();
    }

    /// The monotonic clock of the host shows the same time again and again, or goes on from where it would be.
    #[track_caller]
    pub fn clock_stop(&mut self, stop: bool) {
        let host = self.host;
        self.world.condition(host, format!("clock stopped: {stop}"));
        let now = self.world.queue.now();
        let machine = &mut self.world.machines[host.index()];
        machine.clock.stop(now, stop);
        machine.tick = None;
        self.world.turn(host);
        self.world.wake_all();
    }

    /// Whether the user of the host's node takes messages as they come (the default) or not at all. Who takes none does
    /// not read of what came to nothing, either.
    #[track_caller]
    pub fn set_consuming(&mut self, consuming: bool) {
        let host = self.host;
        self.world.condition(host, format!("consuming: {consuming}"));
        self.world.set_appetite(host, if consuming { None } else { Some(0) });
    }

    /// The user of the host's node takes at most `count` messages more, then none.
    #[track_caller]
    pub fn consume(&mut self, count: u64) {
        let host = self.host;
        self.world.set_appetite(host, Some(count));
    }

    /// The user of the host's node takes at most `count` messages now, and again each time that `every` has passed: a slow
    /// consumer, or one that works in batches. Until something else is said.
    ///
    /// # Panics
    ///
    /// If `every` is shorter than a microsecond: time would stand still.
    #[track_caller]
    pub fn consume_in_bursts(&mut self, count: u64, every: Duration) {
        let host = self.host;
        assert!(every >= Duration::from_micros(1), "messages are taken once in a microsecond at the most");
        self.world.fault(host, format!("consuming: {count} every {every:?}"));
        self.world.set_appetite(host, Some(0));
        self.world.machines[host.index()].bursts = Some(Bursts { count, every: nanos(every) });
        self.world.burst(host);
    }

    /// After how many messages the user of the host's node acknowledges all that it has taken, where that is up to it
    /// ([`Acknowledge::Manual`](cluster_core::Acknowledge::Manual)); messages that wait for their number to be reached
    /// are acknowledged at once. With 0, the default, only
    /// [`NodeMut::acknowledge`](crate::NodeMut::acknowledge)(crate::NodeMut::acknowledge) acknowledges.
    #[track_caller]
    pub fn set_acknowledging(&mut self, every: u64) {
        let host = self.host;
        self.world.machines[host.index()].acknowledging = every;
        if self.world.host(host).is_running() && !self.world.machines[host.index()].paused {
            self.world.with_driver(host, |driver, io| {
                driver.acknowledge_all(io);
                driver.drain(io);
            });
        }
    }

    /// Whether messages are kept for [`Host::messages`](crate::Host::messages). Default: yes.
    #[track_caller]
    pub fn keep_messages(&mut self, keep: bool) {
        let host = self.host;
        self.world.machines[host.index()].log.keep_messages = keep;
    }

    /// Whether the process on the host reads from its sockets as bytes come (the default) or not at all, so that TCP
    /// holds the senders back.
    #[track_caller]
    pub fn set_reading(&mut self, reading: bool) {
        let host = self.host;
        self.world.condition(host, format!("reading: {reading}"));
        self.world.machines[host.index()].reading = if reading { None } else { Some(0) };
        self.world.read_on(host);
    }

    /// The process on the host reads at most `bytes` more from its sockets, then none.
    #[track_caller]
    pub fn read(&mut self, bytes: u64) {
        let host = self.host;
        self.world.machines[host.index()].reading = Some(bytes);
        self.world.read_on(host);
    }

    /// No descriptor is left on the host: its dials fail, and its kernel keeps what connects to it waiting.
    #[track_caller]
    pub fn exhaust(&mut self, exhausted: bool) {
        let host = self.host;
        self.world.condition(host, format!("exhausted: {exhausted}"));
        self.world.net.exhaust(host, exhausted);
        self.world.wake_all();
    }

    /// The host gets another address, at once and without a restart, as by DHCP. Its node goes on listening only if it
    /// is bound to [no address in particular](crate::Spec::unspecified), and is told nothing. Connections that stand keep
    /// their addresses and go on, as over a tunnel; [`sever_connections`](crate::NetMut::sever_connections) ends that.
    ///
    /// # Panics
    ///
    /// If the text is no IP address, or the address is taken.
    #[track_caller]
    pub fn change_address(&mut self, ip: &str) {
        let host = self.host;
        let ip = parse(ip);
        assert!(self.world.net.owner(ip).is_none_or(|owner| owner == host), "{ip} is taken");
        self.world.readdress(host, ip);
    }

    /// The host gets the next address that is free, see [`change_address`](Self::change_address).
    #[track_caller]
    pub fn renumber(&mut self) {
        let host = self.host;
        let ip = self.world.free_ip();
        self.world.readdress(host, ip);
    }

    /// Dials of the host seem to come from this address; `None`: from its own.
    #[track_caller]
    pub fn masquerade(&mut self, ip: Option<&str>) {
        let host = self.host;
        self.world.net.masquerade(host, ip.map(parse));
    }

    /// The buffers of new connections of this host: its send buffer for what it writes, its receive buffer for what
    /// it reads.
    #[track_caller]
    pub fn set_buffers(&mut self, buffers: Buffers) {
        let host = self.host;
        self.world.net.set_buffers(host, buffers);
    }

    /// Calls a function with the application on the host, as a client of the program would. What it asks for has happened
    /// when this returns.
    ///
    /// # Panics
    ///
    /// If no application of this type runs there, or it is paused.
    #[track_caller]
    pub fn with_app<A: App, T>(&mut self, act: impl FnOnce(&mut A, &mut Ctx<'_>) -> T) -> T {
        let host = self.host;
        assert!(!self.world.machines[host.index()].paused, "{host} is paused: its process does not run");
        assert!(self.world.host(host).find_app::<A>().is_some(), "no {} runs on {host}", type_name::<A>());
        self.world.with_driver(host, |driver, io| driver.with_app(io, act)).expect("it was found")
    }
}

impl World {
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
        if self.host(host).is_running() && !self.machines[host.index()].paused {
            self.with_driver(host, |driver, io| {
                driver.consume(io);
                driver.drain(io);
            });
        }
    }

    fn read_on(&mut self, host: HostId) {
        if self.host(host).is_running() && !self.machines[host.index()].paused {
            self.with_driver(host, |driver, io| driver.read_all(io));
        }
    }
}

#[cfg(test)]
mod tests {
    use cluster_core::Config;

    use super::*;
    use crate::catch::{Caught, caught};
    use crate::net::Fate;

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
        let partition = words(&mut || world.net_mut().partition(&[near], &[far]));
        assert!(partition.contains("n2 is no host of this world, which has 1") && partition.contains("faults.rs"));
        assert!(words(&mut || world.net_mut().isolate(far)).contains("n2 is no host"));
        assert!(words(&mut || world.host_mut(far).crash(Crash::Kill)).contains("n2 is no host"));
    }

    #[test]
    fn a_clock_jumps_forward_by_thirty_days_or_as_far_as_it_was_set_back() {
        let mut world = World::new(1);
        let host = world.add(Config::insecure_plaintext());
        for by in [Duration::MAX, Schedule::MAX_DURATION + Duration::from_nanos(1)] {
            let Err(Caught::Panic(text)) = caught(|| world.host_mut(host).clock_forward(by)) else {
                panic!("it was refused")
            };
            assert!(text.contains("a clock jumps forward by 2592000s at the most"), "{text}");
        }
        world.host_mut(host).clock_forward(Schedule::MAX_DURATION);
        for _ in 0..2 {
            world.host_mut(host).clock_back(Schedule::MAX_DURATION);
        }
        world.host_mut(host).clock_forward(Schedule::MAX_DURATION * 2);
        world.run_for(Duration::from_secs(1));
        assert!(world.host(host).is_running());
    }

    #[test]
    fn what_a_test_does_to_ways_and_dials_is_in_the_trace() {
        let mut world = World::new(1);
        let hosts = world.add_many(2, &Config::insecure_plaintext());
        world.record();
        let address = world.host(hosts[1]).addr();
        world.net_mut().set_latency(Duration::from_millis(7));
        world.net_mut().set_latency_from(hosts[0], hosts[1], Duration::from_millis(8));
        world.net_mut().set_bandwidth(Some(9_000));
        world.net_mut().set_fate(address, Some(Fate::Stall));
        let (trace, told) = (world.dump(20), world.timeline().to_html());
        for words in ["latency: Constant(7ms)", "latency to n1: Constant(8ms)", "bandwidth: Some(9000)"] {
            assert!(trace.contains(words), "{trace}");
            assert!(told.contains(words), "{told}");
        }
        assert!(trace.contains("dials to 10.0.0.2:7000: Some(Stall)"), "{trace}");
    }
}
