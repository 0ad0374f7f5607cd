//! The ways between hosts: how fast they are, and whether anything gets through.

use std::time::Duration;

use cluster_timeline::record::{HostId, Record};

use crate::queue::nanos;
use crate::schedule::words::{duration, grouped};
use crate::schedule::{Drawer, Fault, MOST, Op};
use crate::way::Latency;
use crate::world::{NetMut, World};

/// What a test does to the ways between hosts.
impl NetMut<'_> {
    /// How long everything takes between hosts that have no latency of their own.
    pub fn set_latency(&mut self, latency: impl Into<Latency>) {
        let latency = latency.into();
        self.world.trace.add(self.world.queue.now(), None, Record::Fault(format!("latency: {latency:?}")));
        self.world.net.set_delay(None, latency.into());
    }

    /// How long everything takes that goes from one host to another.
    #[track_caller]
    pub fn set_latency_from(&mut self, from: HostId, to: HostId, latency: impl Into<Latency>) {
        self.world.assert_here(to);
        let latency = latency.into();
        self.world.fault(from, format!("latency to {to}: {latency:?}"));
        self.world.net.set_delay(Some((from, to)), latency.into());
    }

    /// How many bytes a second get from any host to any other that has no bandwidth of its own; `None`, the default: as
    /// many as there are. All connections from one host to another share it, byte by byte in the order in which they
    /// were written; acknowledgements and dials take none of it.
    ///
    /// # Panics
    ///
    /// If it is 0: that is a [cut](Self::cut).
    pub fn set_bandwidth(&mut self, bytes_per_second: Option<u64>) {
        assert_ne!(bytes_per_second, Some(0), "a way that carries nothing is cut");
        self.world.trace.add(self.world.queue.now(), None, Record::Fault(format!("bandwidth: {bytes_per_second:?}")));
        self.world.net.set_rate(&mut self.world.queue, None, bytes_per_second);
    }

    /// How many bytes a second get from one host to another; `None`: as many as by
    /// [`set_bandwidth`](Self::set_bandwidth).
    ///
    /// # Panics
    ///
    /// If it is 0: that is a [cut](Self::cut_one_way).
    #[track_caller]
    pub fn set_bandwidth_from(&mut self, from: HostId, to: HostId, bytes_per_second: Option<u64>) {
        self.world.assert_here(to);
        assert_ne!(bytes_per_second, Some(0), "a way that carries nothing is cut");
        self.world.fault(from, format!("bandwidth to {to}: {bytes_per_second:?}"));
        self.world.net.set_rate(&mut self.world.queue, Some((from, to)), bytes_per_second);
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

    /// Nothing gets from `from` to `to` any more, and nobody is told.
    ///
    /// # Panics
    ///
    /// If one of them is no host of this world.
    #[track_caller]
    pub fn cut_one_way(&mut self, from: HostId, to: HostId) {
        self.world.assert_here(to);
        self.world.condition(from, format!("cut towards {to}"));
        self.world.net.set_cut(&mut self.world.queue, from, to, true);
    }

    /// Undoes [`cut`](Self::cut), [`cut_one_way`](Self::cut_one_way) and [`clog`](Self::clog) in both directions.
    #[track_caller]
    pub fn heal(&mut self, a: HostId, b: HostId) {
        self.heal_one_way(a, b);
        self.heal_one_way(b, a);
    }

    /// What `from` sends gets to `to` again, whether the way was cut or clogged. What it has sent in the meantime
    /// arrives in a burst, as far as the bandwidth allows.
    #[track_caller]
    pub fn heal_one_way(&mut self, from: HostId, to: HostId) {
        self.world.assert_here(to);
        self.world.condition(from, format!("heal towards {to}"));
        self.world.net.unclog(&mut self.world.queue, from, to);
        self.world.net.set_cut(&mut self.world.queue, from, to, false);
        self.world.wake_all();
    }

    /// Undoes every cut and every clog.
    pub fn heal_all(&mut self) {
        for (from, to) in self.world.net.hindered() {
            self.heal_one_way(from, to);
        }
    }

    /// From now on nothing gets from `from` to `to` for a random span of up to `shut`, then everything for one of up to
    /// `open`, and so on, until the way is [healed](Self::heal_one_way). Nothing is lost, and nobody is told.
    ///
    /// # Panics
    ///
    /// If one of the spans is shorter than a microsecond: time would stand still.
    #[track_caller]
    pub fn clog(&mut self, from: HostId, to: HostId, open: Duration, shut: Duration) {
        self.world.assert_here(to);
        assert!(open.min(shut) >= Duration::from_micros(1), "a clogged way turns once in a microsecond at the most");
        self.world.fault(from, format!("clog towards {to}: open {open:?}, shut {shut:?}"));
        self.world.net.clog(&mut self.world.queue, from, to, nanos(open), nanos(shut));
        self.world.wake_all();
    }

    /// Cuts every host of one side off from every host of the other. Hosts on neither side reach both.
    ///
    /// # Panics
    ///
    /// If one of them is no host of this world.
    #[track_caller]
    pub fn partition(&mut self, one: &[HostId], other: &[HostId]) {
        for &host in one.iter().chain(other) {
            self.world.assert_here(host);
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
        self.world.assert_here(host);
        for other in self.world.others(host) {
            self.cut(host, other);
        }
    }

    /// What goes from one host to another takes a millisecond and finds all the room it needs, as by default, whatever
    /// holds for the others.
    pub(crate) fn clear_way(&mut self, from: HostId, to: HostId) {
        self.world.net.set_delay(Some((from, to)), Latency::default().into());
        if self.world.net.is_narrow(from, to) {
            self.set_bandwidth_from(from, to, Some(u64::MAX));
        }
    }
}

pub(super) fn apply(world: &mut World, op: &Op) -> Option<bool> {
    let hosts = |numbers: &[u32]| numbers.iter().map(|&number| HostId(number)).collect::<Vec<_>>();
    match *op {
        Op::Latency { latency } => world.net_mut().set_latency(latency),
        Op::LatencyFrom { from, to, latency } => world.net_mut().set_latency_from(HostId(from), HostId(to), latency),
        Op::Bandwidth { from, to, bytes_per_second } => {
            world.net_mut().set_bandwidth_from(HostId(from), HostId(to), bytes_per_second);
        }
        Op::Clog { from, to, open, shut } => world.net_mut().clog(HostId(from), HostId(to), open, shut),
        Op::Cut { a, b } => world.net_mut().cut(HostId(a), HostId(b)),
        Op::CutOneWay { from, to } => world.net_mut().cut_one_way(HostId(from), HostId(to)),
        Op::Partition { ref one, ref other } => world.net_mut().partition(&hosts(one), &hosts(other)),
        Op::Isolate { host } => world.net_mut().isolate(HostId(host)),
        Op::Heal { a, b } => world.net_mut().heal(HostId(a), HostId(b)),
        Op::HealAll => world.net_mut().heal_all(),
        _ => return None,
    }
    Some(true)
}

pub(super) fn print(op: &Op) -> Option<String> {
    let list = |hosts: &[u32]| hosts.iter().map(|host| format!("n[{host}]")).collect::<Vec<_>>().join(", ");
    let call = match op {
        Op::Latency { latency } => format!("world.net_mut().set_latency({});", shape(*latency)),
        Op::LatencyFrom { from, to, latency } => {
            format!("world.net_mut().set_latency_from(n[{from}], n[{to}], {});", shape(*latency))
        }
        Op::Bandwidth { from, to, bytes_per_second } => {
            let rate =
                bytes_per_second.map_or_else(|| "None".to_owned(), |rate| format!("Some({})", grouped(rate.into())));
            format!("world.net_mut().set_bandwidth_from(n[{from}], n[{to}], {rate});")
        }
        Op::Clog { from, to, open, shut } => {
            format!("world.net_mut().clog(n[{from}], n[{to}], {}, {});", duration(*open), duration(*shut))
        }
        Op::Cut { a, b } => format!("world.net_mut().cut(n[{a}], n[{b}]);"),
        Op::CutOneWay { from, to } => format!("world.net_mut().cut_one_way(n[{from}], n[{to}]);"),
        Op::Partition { one, other } => format!("world.net_mut().partition(&[{}], &[{}]);", list(one), list(other)),
        Op::Isolate { host } => format!("world.net_mut().isolate(n[{host}]);"),
        Op::Heal { a, b } => format!("world.net_mut().heal(n[{a}], n[{b}]);"),
        Op::HealAll => "world.net_mut().heal_all();".to_owned(),
        _ => return None,
    };
    Some(call)
}

pub(super) fn simpler(op: &Op) -> Option<Vec<Op>> {
    let simpler = match *op {
        Op::Latency { latency } => plainer(latency).map(|latency| Op::Latency { latency }).collect(),
        Op::LatencyFrom { from, to, latency } => {
            plainer(latency).map(|latency| Op::LatencyFrom { from, to, latency }).collect()
        }
        Op::Clog { from, to, .. } => vec![Op::CutOneWay { from, to }],
        Op::Cut { a, b } => vec![Op::CutOneWay { from: a, to: b }, Op::CutOneWay { from: b, to: a }],
        Op::Partition { ref one, ref other } => partitions(one, other),
        _ => return None,
    };
    Some(simpler)
}

pub(super) fn draw(drawer: &mut Drawer, kind: Fault, at: u64, host: u32) -> bool {
    match kind {
        Fault::Latency => latency(drawer, at),
        Fault::Bandwidth => {
            let rate = Some(drawer.rng.scaled(1_000, 10_000_000));
            let op = |from, to, bytes_per_second| Op::Bandwidth { from, to, bytes_per_second };
            drawer.pairs(at, |from, to| (op(from, to, rate), op(from, to, None)));
        }
        Fault::Cut => drawer.pairs(at, |a, b| (Op::Cut { a, b }, Op::Heal { a, b })),
        Fault::OneWay => drawer.pairs(at, |from, to| (Op::CutOneWay { from, to }, Op::Heal { a: from, b: to })),
        Fault::Clog => {
            let open = Duration::from_millis(drawer.rng.scaled(1, 2_000));
            let shut = Duration::from_millis(drawer.rng.scaled(1, 4_000));
            drawer.pairs(at, |from, to| (Op::Clog { from, to, open, shut }, Op::Heal { a: from, b: to }));
        }
        Fault::Partition => partition(drawer, at),
        Fault::Isolate => drawer.spell(at, 60_000, Op::Isolate { host }, Op::HealAll),
        Fault::Slow => {
            if let Some((a, b)) = drawer.pair() {
                slow(drawer, at, a, b);
            }
        }
        _ => return false,
    }
    true
}

fn latency(drawer: &mut Drawer, at: u64) {
    let base = Duration::from_micros(drawer.rng.scaled(50, 1_000_000));
    let jitter = Duration::from_micros(drawer.rng.scaled(10, 1_000_000));
    let spike = Duration::from_millis(drawer.rng.scaled(1, 3_000));
    let one_in = drawer.rng.scaled(2, 200) as u32;
    let latency = drawer.rng.pick(&[
        Latency::Uniform { base, jitter },
        Latency::Uniform { base, jitter },
        Latency::Constant(base),
        Latency::LongTail { base, half: jitter / 8, cap: spike },
        Latency::Spikes { base, jitter, one_in, spike },
    ]);
    let normal = Latency::default();
    match drawer.pair().filter(|_| drawer.rng.below(3) > 0) {
        Some((from, to)) => {
            let op = |latency| Op::LatencyFrom { from, to, latency };
            drawer.spell(at, 60_000, op(latency), op(normal));
        }
        None => drawer.spell(at, 60_000, Op::Latency { latency }, Op::Latency { latency: normal }),
    }
}

/// A slow way, and long messages on it. One time in three the connections are there before, one time in three they are
/// made while it is slow, and one time in three it becomes much slower while they carry something.
fn slow(drawer: &mut Drawer, at: u64, a: u32, b: u32) {
    let rate = Some(drawer.rng.scaled(1_000, 100_000));
    let end = at + drawer.rng.scaled(1_000, 60_000);
    let mut begin = at;
    match drawer.rng.below(3) {
        0 => {}
        1 => {
            let soon = at + 1 + drawer.rng.below(20);
            drawer.push(soon, Op::Reset { a, b });
        }
        _ => {
            let rate = drawer.rng.scaled(100_000, 10_000_000);
            width(drawer, at, a, b, Some(rate));
            fill(drawer, at + 1, a, b);
            begin = at + 1 + drawer.rng.scaled(1, 1_000);
        }
    }
    width(drawer, begin, a, b, rate);
    for _ in 0..1 + drawer.rng.below(3) {
        let (from, to) = if drawer.rng.below(4) == 0 { (b, a) } else { (a, b) };
        let when = begin + drawer.rng.scaled(1, end.saturating_sub(begin).max(2));
        fill(drawer, when, from, to);
    }
    if drawer.rng.below(3) == 0 {
        let later = begin + drawer.rng.scaled(1_000, 60_000);
        drawer.push(later, Op::Reset { a, b });
    }
    width(drawer, end.max(begin), a, b, None);
}

fn width(drawer: &mut Drawer, at: u64, a: u32, b: u32, bytes_per_second: Option<u64>) {
    drawer.push(at, Op::Bandwidth { from: a, to: b, bytes_per_second });
    drawer.push(at, Op::Bandwidth { from: b, to: a, bytes_per_second });
}

/// As many bytes as may be on the way, in messages as long as they may be.
fn fill(drawer: &mut Drawer, at: u64, from: u32, to: u32) {
    let length = drawer.longest.min(MOST);
    let count = (drawer.window / (length + 1)).clamp(1, 500) as u32;
    drawer.push(at, Op::Send { from, to, length, count });
}

/// Two sides. One time in three every size of them is as likely as any other, one time in three each host takes one
/// by chance, and one time in three some are on neither side and reach both.
fn partition(drawer: &mut Drawer, at: u64) {
    let how = drawer.rng.below(3);
    let mut hosts: Vec<u32> = (0..drawer.nodes).collect();
    drawer.rng.shuffle(&mut hosts);
    let size = 1 + drawer.rng.below(u64::from(drawer.nodes).saturating_sub(1)) as usize;
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for (index, host) in hosts.into_iter().enumerate() {
        let side = if how == 0 { u64::from(index >= size) } else { drawer.rng.below(1 + how) };
        match side {
            0 => one.push(host),
            1 => other.push(host),
            _ => {}
        }
    }
    one.sort_unstable();
    other.sort_unstable();
    if !one.is_empty() && !other.is_empty() {
        drawer.spell(at, 120_000, Op::Partition { one, other }, Op::HealAll);
    }
}

fn shape(latency: Latency) -> String {
    match latency {
        Latency::Constant(base) => duration(base),
        Latency::Uniform { base, jitter } => {
            format!("Latency::Uniform {{ base: {}, jitter: {} }}", duration(base), duration(jitter))
        }
        Latency::LongTail { base, half, cap } => {
            let (base, half, cap) = (duration(base), duration(half), duration(cap));
            format!("Latency::LongTail {{ base: {base}, half: {half}, cap: {cap} }}")
        }
        Latency::Spikes { base, jitter, one_in, spike } => {
            let (base, jitter, spike) = (duration(base), duration(jitter), duration(spike));
            format!("Latency::Spikes {{ base: {base}, jitter: {jitter}, one_in: {one_in}, spike: {spike} }}")
        }
    }
}

fn plainer(latency: Latency) -> impl Iterator<Item = Latency> {
    let [base, ..] = latency.spans();
    Some(Latency::Constant(base)).into_iter().filter(move |&plain| plain != latency)
}

/// The same partition with one host less, on either side.
fn partitions(one: &[u32], other: &[u32]) -> Vec<Op> {
    let without = |side: &[u32], index: usize| {
        let mut side = side.to_vec();
        side.remove(index);
        side
    };
    let mut smaller = Vec::new();
    for index in (0..one.len()).filter(|_| one.len() > 1) {
        smaller.push(Op::Partition { one: without(one, index), other: other.to_vec() });
    }
    for index in (0..other.len()).filter(|_| other.len() > 1) {
        smaller.push(Op::Partition { one: one.to_vec(), other: without(other, index) });
    }
    smaller
}
