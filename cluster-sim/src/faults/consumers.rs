//! Users and processes that take less than comes.

use std::time::Duration;

use cluster_timeline::record::HostId;

use crate::machine::Bursts;
use crate::queue::{Due, nanos};
use crate::schedule::words::duration;
use crate::schedule::{Drawer, Fault, Op};
use crate::world::{HostMut, World};

/// How much the user of a node takes, and its process reads.
impl HostMut<'_> {
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

    /// The user of the host's node takes at most `count` messages now, and again each time that `every` has passed: a
    /// slow consumer, or one that works in batches. Until something else is said.
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
}

impl World {
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
        let machine = &mut self.machines[host.index()];
        machine.appetite = appetite;
        machine.bursts = None;
        machine.appetites = machine.appetites.wrapping_add(1);
        self.feed(host);
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

pub(super) fn apply(world: &mut World, op: &Op) -> Option<bool> {
    match *op {
        Op::Consuming { host, consuming } => world.host_mut(HostId(host)).set_consuming(consuming),
        Op::Consume { host, count } => world.host_mut(HostId(host)).consume(count),
        Op::ConsumeInBursts { host, count, every } => world.host_mut(HostId(host)).consume_in_bursts(count, every),
        Op::Reading { host, reading } => world.host_mut(HostId(host)).set_reading(reading),
        Op::Read { host, bytes } => world.host_mut(HostId(host)).read(bytes),
        _ => return None,
    }
    Some(true)
}

pub(super) fn print(op: &Op) -> Option<String> {
    let call = match op {
        Op::Consuming { host, consuming } => format!("world.host_mut(n[{host}]).set_consuming({consuming});"),
        Op::Consume { host, count } => format!("world.host_mut(n[{host}]).consume({count});"),
        Op::ConsumeInBursts { host, count, every } => {
            format!("world.host_mut(n[{host}]).consume_in_bursts({count}, {});", duration(*every))
        }
        Op::Reading { host, reading } => format!("world.host_mut(n[{host}]).set_reading({reading});"),
        Op::Read { host, bytes } => format!("world.host_mut(n[{host}]).read({bytes});"),
        _ => return None,
    };
    Some(call)
}

pub(super) fn simpler(op: &Op) -> Option<Vec<Op>> {
    let simpler = match *op {
        Op::Consume { host, count: 1.. } => vec![Op::Consume { host, count: 0 }],
        Op::Read { host, bytes: 1.. } => vec![Op::Read { host, bytes: 0 }],
        _ => return None,
    };
    Some(simpler)
}

pub(super) fn draw(drawer: &mut Drawer, kind: Fault, at: u64, host: u32) -> bool {
    match kind {
        Fault::Consumer => consumer(drawer, at, host),
        Fault::Reader => reader(drawer, at, host),
        _ => return false,
    }
    true
}

fn consumer(drawer: &mut Drawer, at: u64, host: u32) {
    if drawer.rng.below(2) == 0 {
        let (count, every) = (drawer.rng.scaled(1, 100), Duration::from_millis(drawer.rng.scaled(1, 5_000)));
        let consuming = Op::Consuming { host, consuming: true };
        return drawer.spell(at, 60_000, Op::ConsumeInBursts { host, count, every }, consuming);
    }
    let mut end = at;
    for _ in 0..drawer.rng.below(5) {
        let count = drawer.rng.scaled(1, 100) - 1;
        drawer.push(end, Op::Consume { host, count });
        end += drawer.rng.scaled(1, 5_000);
    }
    drawer.spell(end, 60_000, Op::Consuming { host, consuming: false }, Op::Consuming { host, consuming: true });
}

fn reader(drawer: &mut Drawer, at: u64, host: u32) {
    let mut end = at;
    for _ in 0..drawer.rng.below(5) {
        let bytes = drawer.rng.scaled(1, 100_000) - 1;
        drawer.push(end, Op::Read { host, bytes });
        end += drawer.rng.scaled(1, 3_000);
    }
    if let Some((from, _)) = drawer.pair().filter(|&(from, _)| from != host) {
        // As much as may be on the way, so that it gets stuck.
        let count = (drawer.window / 60_000 + 1) as u32;
        drawer.push(end + 2, Op::Send { from, to: host, length: 60_000, count });
    }
    drawer.spell(end, 30_000, Op::Reading { host, reading: false }, Op::Reading { host, reading: true });
}
