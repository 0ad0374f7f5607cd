//! Draws the steps of a schedule: faults of each kind, and what applications send.

use std::time::Duration;

use cluster_core::limits::MAX_CHUNK;

use super::op::MAX_LENGTH;
use super::{Fault, Faults, Identity, Op, Pace, Profile, Rate, Schedule, Setting, Step};
use crate::hostile::{Abuse, Attack, Tempo};
use crate::net::{Block, Fate};
use crate::restart::{Crash, Twin};
use crate::rng::{Purpose, Rng};
use crate::way::Latency;

/// The most nodes of a schedule that is drawn as a whole.
const NODES: u64 = 7;

/// One schedule in so many lasts for up to [`LONG`].
const LONG_ONES: u64 = 50;

const LONG: u64 = 3_600_000;

/// The others last for up to this many milliseconds.
const USUAL: u64 = 120_000;

/// The most bytes that are sent at once.
const MOST: u64 = 3 << 19;

/// One schedule in so many is watched for [`QUIET`] at its end.
const QUIET_ONES: u64 = 8;

const QUIET: Duration = Duration::from_secs(600);

/// The nodes of one schedule in so many have a secret.
const SECURE_ONES: u64 = 3;

/// One hostile host in so many acts fast.
const FAST_ONES: u64 = 10;

/// One time in so many all nodes send the largest message at once, and to the same one.
const ALL_TO_ONE: u64 = 16;

const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Schedule {
    /// A schedule of which everything is drawn from the seed: 2 to 7 nodes for 5 s to 2 min, now and then for an hour,
    /// with [random faults](Faults::random) and traffic.
    #[must_use]
    pub fn random(seed: u64) -> Schedule {
        let mut schedule = Schedule::random_shape(seed);
        schedule.fill(&Faults::random(seed), None);
        schedule
    }

    /// Nodes to which nothing is done yet.
    pub(crate) fn random_shape(seed: u64) -> Schedule {
        let mut rng = Rng::new(seed, Purpose::Shape, 0, 0);
        let nodes = 2 + rng.below(NODES - 1) as u32;
        let long = rng.below(LONG_ONES) == 0;
        let duration = if long { rng.scaled(USUAL, LONG) } else { rng.scaled(5_000, USUAL) };
        let mut schedule = Schedule::new(seed, nodes, Duration::from_millis(duration));
        schedule.profile = Profile::random(&mut rng, nodes);
        if rng.below(QUIET_ONES) == 0 {
            schedule.quiet = QUIET;
        }
        schedule.profile.secure = Rng::new(seed, Purpose::Shape, 0, 2).below(SECURE_ONES) == 0;
        schedule
    }

    /// Adds faults and traffic, whose rate is drawn if it is not given.
    pub(crate) fn fill(&mut self, faults: &Faults, traffic: Option<Rate>) {
        self.add_faults(faults);
        let mut rng = Rng::new(self.seed, Purpose::Shape, 0, 1);
        self.add_traffic(traffic.unwrap_or_else(|| rng.pick(&[Rate::OFF, Rate::LOW, Rate::HIGH])));
    }

    /// Adds faults drawn from the seed. Each kind has a stream of its own: another rate for one does not change what
    /// happens of the others.
    pub fn add_faults(&mut self, faults: &Faults) {
        for kind in Fault::ALL {
            let rng = Rng::new(self.seed, Purpose::Fault, kind as u32, 0);
            let mut drawer = Drawer::new(rng, self);
            drawer.slots(faults.rate(kind), |drawer, at| drawer.fault(kind, at));
            let steps = drawer.steps;
            self.add(steps);
        }
    }

    /// Adds messages of all sizes, drawn from the seed: with [`Rate::HIGH`], some in one slot of five.
    pub fn add_traffic(&mut self, rate: Rate) {
        let rng = Rng::new(self.seed, Purpose::Traffic, 0, 0);
        let mut drawer = Drawer::new(rng, self);
        let profile = self.profile.clone();
        for _ in 0..4 {
            drawer.slots(rate, |drawer, at| drawer.message(&profile, at));
        }
        drawer.slots(rate, |drawer, at| {
            if let Some((from, to)) = drawer.pair() {
                drawer.push(at, Op::Flush { from, to });
            }
        });
        let steps = drawer.steps;
        self.add(steps);
    }

    fn add(&mut self, steps: Vec<Step>) {
        self.steps.extend(steps);
        self.steps.sort_by_key(|step| step.at);
    }
}

impl Profile {
    fn random(rng: &mut Rng, nodes: u32) -> Profile {
        let initial_window = rng.pick(&[1 << 10, 16 << 10, 64 << 10, 256 << 10, 3 << 19]);
        let max_message = rng.pick(&[1 << 10, MAX_CHUNK as u64, 100_000, 300_000]);
        Profile {
            secure: false,
            pace: rng.pick(&[Pace::Lan, Pace::Lan, Pace::Lan, Pace::Local, Pace::Wan]),
            seeds: 1 + rng.below(u64::from(nodes.min(2))) as u32,
            max_message,
            send_window: rng.pick(&[64 << 10, 1 << 20, 2 << 20]),
            initial_window,
            recv_window: initial_window << rng.below(4),
            max_peers: 16,
            spare_credit: 2 * (max_message + 9) + rng.pick(&[0, 0, 1 << 20]),
            buffer: rng.pick(&[16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20]),
            write_stall: Duration::from_secs(rng.pick(&[10, 10, 3])),
            forget_after: rng.pick(&[DAY, DAY, Duration::from_secs(60)]),
            tombstone_ttl: rng.pick(&[DAY, DAY, Duration::from_secs(30)]),
            session_ttl: Duration::from_secs(rng.pick(&[300, 300, 5, 0])),
            acknowledge: rng.pick(&[0, 0, 0, 1, 10]),
        }
    }
}

/// What is drawn of one kind.
struct Drawer {
    rng: Rng,
    nodes: u32,
    /// The nodes have a secret.
    secure: bool,
    duration: u64,
    /// Bytes that a sender may have accepted for a peer that takes nothing.
    window: u64,
    /// The longest message.
    longest: u64,
    steps: Vec<Step>,
}

impl Drawer {
    fn new(rng: Rng, schedule: &Schedule) -> Drawer {
        let window = schedule.profile.initial_window.min(schedule.profile.send_window).min(MOST);
        // Of a longer one the schedule's own check tells.
        let duration = schedule.duration.min(Schedule::MAX_DURATION).as_millis() as u64;
        let Schedule { nodes, ref profile, .. } = *schedule;
        let (secure, longest) = (profile.secure, profile.max_message);
        Drawer { rng, nodes, secure, duration, window, longest, steps: Vec::new() }
    }

    /// Calls `draw` with a time in each slot in which something happens.
    fn slots(&mut self, rate: Rate, mut draw: impl FnMut(&mut Drawer, u64)) {
        let slots = u64::from(Rate::SLOTS);
        for slot in 0..slots {
            if self.rng.is(rate.per_million()) {
                let at = (slot * self.duration + self.rng.below(self.duration)) / slots;
                draw(self, at);
            }
        }
    }

    /// One fault that begins at `at`, in milliseconds, and its end, if that is not after the end of the schedule.
    fn fault(&mut self, kind: Fault, at: u64) {
        let host = self.host();
        match kind {
            Fault::Latency => self.latency(at),
            Fault::Bandwidth => {
                let rate = Some(self.rng.scaled(1_000, 10_000_000));
                let op = |from, to, bytes_per_second| Op::Bandwidth { from, to, bytes_per_second };
                self.pairs(at, |from, to| (op(from, to, rate), op(from, to, None)));
            }
            Fault::Cut => self.pairs(at, |a, b| (Op::Cut { a, b }, Op::Heal { a, b })),
            Fault::OneWay => self.pairs(at, |from, to| (Op::CutOneWay { from, to }, Op::Heal { a: from, b: to })),
            Fault::Clog => {
                let open = Duration::from_millis(self.rng.scaled(1, 2_000));
                let shut = Duration::from_millis(self.rng.scaled(1, 4_000));
                self.pairs(at, |from, to| (Op::Clog { from, to, open, shut }, Op::Heal { a: from, b: to }));
            }
            Fault::Partition => self.partition(at),
            Fault::Isolate => self.spell(at, 60_000, Op::Isolate { host }, Op::HealAll),
            Fault::Firewall => {
                let how = self.rng.pick(&[Block::Drop, Block::Refuse]);
                self.pairs(at, |from, to| (Op::BlockDials { from, to, how }, Op::AllowDials { from, to }));
            }
            Fault::DialFate => {
                let no_way = [Fate::Refuse, Fate::Hang, Fate::Unreachable];
                let stranger = [Fate::Stall, Fate::Close, Fate::Reset];
                let fates = self.rng.pick(&[no_way, stranger]);
                let fate = Some(self.rng.pick(&fates));
                self.spell(at, 60_000, Op::DialFate { host, fate }, Op::DialFate { host, fate: None });
            }
            Fault::Reset => {
                if let Some((a, b)) = self.pair() {
                    self.push(at, Op::Reset { a, b });
                }
            }
            Fault::Flap => {
                if let Some((a, b)) = self.pair() {
                    let mut at = at;
                    for _ in 0..10 + self.rng.below(70) {
                        self.push(at, Op::Reset { a, b });
                        at += self.rng.scaled(20, 1_000);
                    }
                }
            }
            Fault::OneSided => {
                if let Some((a, b)) = self.pair() {
                    let one = Op::ResetOneSide { at: a, peer: b };
                    let op = self.rng.pick(&[one.clone(), one, Op::HalfOpen { at: a, peer: b }, Op::Sever { a, b }]);
                    self.push(at, op);
                }
            }
            Fault::Crash => self.crash(at, host, Identity::Same, false),
            Fault::NewIdentity => self.crash(at, host, Identity::New, false),
            Fault::Stale => self.crash(at, host, Identity::Stale, false),
            Fault::Clone => {
                if let Some((host, of)) = self.pair() {
                    // The very same run at two places cannot be told from one that dials again, and nothing is promised.
                    let run = Twin::LaterRun;
                    let moved = self.rng.below(2) == 0;
                    self.crash(at, host, Identity::Twin { of, run }, moved);
                    let end = at + self.rng.scaled(1_000, 60_000);
                    self.crash(end, host, Identity::New, false);
                }
            }
            Fault::Move => {
                let identity = self.rng.pick(&[Identity::Same, Identity::New]);
                let live = self.rng.below(2) == 0;
                if live {
                    self.push(at, Op::Renumber { host });
                }
                let at = if live { at + self.rng.scaled(10, 30_000) } else { at };
                self.crash(at, host, identity, !live);
            }
            Fault::Pause => self.spell(at, 1_800_000, Op::Pause { host }, Op::Resume { host }),
            Fault::Late => self.late(at, host),
            Fault::ClockJump => self.clock_jump(at, host),
            Fault::ClockStop => {
                let stop = |stopped| Op::ClockStop { host, stopped };
                self.spell(at, 60_000, stop(true), stop(false));
            }
            Fault::Drift => {
                let most = self.rng.pick(&[100, 10_000, 200_000]);
                let ppm = self.rng.below(2 * most + 1) as i32 - most as i32;
                self.spell(at, 60_000, Op::Drift { host, ppm }, Op::Drift { host, ppm: 0 });
            }
            Fault::Consumer => self.consumer(at, host),
            Fault::Reader => self.reader(at, host),
            Fault::Exhaust => {
                let exhaust = |exhausted| Op::Exhaust { host, exhausted };
                self.spell(at, 60_000, exhaust(true), exhaust(false));
            }
            Fault::Leave => {
                let timeout = Duration::from_millis(self.rng.scaled(1, 5_000));
                let restart = Op::Restart { host, identity: Identity::Same, moved: false };
                self.spell(at, 60_000, Op::Leave { host, timeout }, restart);
            }
            Fault::Disconnect => {
                self.pairs(at, |host, peer| (Op::Disconnect { host, peer }, Op::Join { host, to: peer }));
            }
            Fault::Join => {
                let to = self.host();
                let op =
                    self.rng.pick(&[Op::Join { host, to }, Op::JoinThrough { host, to }, Op::AddSeed { host, to }]);
                self.push(at, op);
            }
            Fault::Config => self.config(at, host),
            Fault::Outsider => {
                let attack = self.rng.pick(Attack::ALL);
                let tempo = self.tempo();
                self.push_once(at, Op::Outsider { attack, tempo });
            }
            Fault::Insider => {
                let may = |&abuse: &Abuse| self.secure || abuse != Abuse::Impostor;
                let abuses: Vec<Abuse> = Abuse::ALL.iter().copied().filter(may).collect();
                let abuse = self.rng.pick(&abuses);
                let tempo = self.tempo();
                self.push_once(at, Op::Insider { abuse, tempo });
            }
            Fault::Forget => self.push(at, Op::Forget { host }),
            Fault::Slow => {
                if let Some((a, b)) = self.pair() {
                    self.slow(at, a, b);
                }
            }
        }
    }

    fn latency(&mut self, at: u64) {
        let base = Duration::from_micros(self.rng.scaled(50, 1_000_000));
        let jitter = Duration::from_micros(self.rng.scaled(10, 1_000_000));
        let spike = Duration::from_millis(self.rng.scaled(1, 3_000));
        let one_in = self.rng.scaled(2, 200) as u32;
        let latency = self.rng.pick(&[
            Latency::Uniform { base, jitter },
            Latency::Uniform { base, jitter },
            Latency::Constant(base),
            Latency::LongTail { base, half: jitter / 8, cap: spike },
            Latency::Spikes { base, jitter, one_in, spike },
        ]);
        let normal = Latency::default();
        match self.pair().filter(|_| self.rng.below(3) > 0) {
            Some((from, to)) => {
                let op = |latency| Op::LatencyFrom { from, to, latency };
                self.spell(at, 60_000, op(latency), op(normal));
            }
            None => self.spell(at, 60_000, Op::Latency { latency }, Op::Latency { latency: normal }),
        }
    }

    /// A slow way, and long messages on it. One time in three the connections are there before, one time in three they are
    /// made while it is slow, and one time in three it becomes much slower while they carry something.
    fn slow(&mut self, at: u64, a: u32, b: u32) {
        let rate = Some(self.rng.scaled(1_000, 100_000));
        let end = at + self.rng.scaled(1_000, 60_000);
        let mut begin = at;
        match self.rng.below(3) {
            0 => {}
            1 => {
                let soon = at + 1 + self.rng.below(20);
                self.push(soon, Op::Reset { a, b });
            }
            _ => {
                let rate = self.rng.scaled(100_000, 10_000_000);
                self.width(at, a, b, Some(rate));
                self.fill(at + 1, a, b);
                begin = at + 1 + self.rng.scaled(1, 1_000);
            }
        }
        self.width(begin, a, b, rate);
        for _ in 0..1 + self.rng.below(3) {
            let (from, to) = if self.rng.below(4) == 0 { (b, a) } else { (a, b) };
            let when = begin + self.rng.scaled(1, end.saturating_sub(begin).max(2));
            self.fill(when, from, to);
        }
        if self.rng.below(3) == 0 {
            let later = begin + self.rng.scaled(1_000, 60_000);
            self.push(later, Op::Reset { a, b });
        }
        self.width(end.max(begin), a, b, None);
    }

    fn width(&mut self, at: u64, a: u32, b: u32, bytes_per_second: Option<u64>) {
        self.push(at, Op::Bandwidth { from: a, to: b, bytes_per_second });
        self.push(at, Op::Bandwidth { from: b, to: a, bytes_per_second });
    }

    /// As many bytes as may be on the way, in messages as long as they may be.
    fn fill(&mut self, at: u64, from: u32, to: u32) {
        let length = self.longest.min(MOST);
        let count = (self.window / (length + 1)).clamp(1, 500) as u32;
        self.push(at, Op::Send { from, to, length, count });
    }

    /// Two sides. One time in three every size of them is as likely as any other, one time in three each host takes one
    /// by chance, and one time in three some are on neither side and reach both.
    fn partition(&mut self, at: u64) {
        let how = self.rng.below(3);
        let mut hosts: Vec<u32> = (0..self.nodes).collect();
        self.rng.shuffle(&mut hosts);
        let size = 1 + self.rng.below(u64::from(self.nodes).saturating_sub(1)) as usize;
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for (index, host) in hosts.into_iter().enumerate() {
            let side = if how == 0 { u64::from(index >= size) } else { self.rng.below(1 + how) };
            match side {
                0 => one.push(host),
                1 => other.push(host),
                _ => {}
            }
        }
        one.sort_unstable();
        other.sort_unstable();
        if !one.is_empty() && !other.is_empty() {
            self.spell(at, 120_000, Op::Partition { one, other }, Op::HealAll);
        }
    }

    fn crash(&mut self, at: u64, host: u32, identity: Identity, moved: bool) {
        let how = self.rng.pick(&[Crash::Power, Crash::Kill, Crash::Reset]);
        self.spell(at, 30_000, Op::Crash { host, how }, Op::Restart { host, identity, moved });
    }

    fn late(&mut self, at: u64, host: u32) {
        if self.rng.below(2) == 0 {
            let up_to = Duration::from_millis(self.rng.scaled(1, 3_000));
            return self.spell(at, 60_000, Op::Late { host, up_to }, Op::Late { host, up_to: Duration::ZERO });
        }
        let mut at = at;
        for _ in 0..2 + self.rng.below(6) {
            let (late, well) = (self.rng.scaled(10, 1_500), self.rng.scaled(1, 500));
            self.push(at, Op::Pause { host });
            self.push(at + late, Op::Resume { host });
            at += late + well;
        }
    }

    /// A clock that was set back by long does not reach any deadline for as long: that is a pause. So jumps back are
    /// short.
    fn clock_jump(&mut self, at: u64, host: u32) {
        let op = if self.rng.below(2) == 0 {
            Op::ClockForward { host, by: Duration::from_millis(self.rng.scaled(1, 24 * 3_600_000)) }
        } else {
            Op::ClockBack { host, by: Duration::from_millis(self.rng.scaled(1, 3_000)) }
        };
        self.push(at, op);
    }

    fn consumer(&mut self, at: u64, host: u32) {
        if self.rng.below(2) == 0 {
            let (count, every) = (self.rng.scaled(1, 100), Duration::from_millis(self.rng.scaled(1, 5_000)));
            let consuming = Op::Consuming { host, consuming: true };
            return self.spell(at, 60_000, Op::ConsumeInBursts { host, count, every }, consuming);
        }
        let mut end = at;
        for _ in 0..self.rng.below(5) {
            let count = self.rng.scaled(1, 100) - 1;
            self.push(end, Op::Consume { host, count });
            end += self.rng.scaled(1, 5_000);
        }
        self.spell(end, 60_000, Op::Consuming { host, consuming: false }, Op::Consuming { host, consuming: true });
    }

    fn reader(&mut self, at: u64, host: u32) {
        let mut end = at;
        for _ in 0..self.rng.below(5) {
            let bytes = self.rng.scaled(1, 100_000) - 1;
            self.push(end, Op::Read { host, bytes });
            end += self.rng.scaled(1, 3_000);
        }
        if let Some((from, _)) = self.pair().filter(|&(from, _)| from != host) {
            // As much as may be on the way, so that it gets stuck.
            let count = (self.window / 60_000 + 1) as u32;
            self.push(end + 2, Op::Send { from, to: host, length: 60_000, count });
        }
        self.spell(end, 30_000, Op::Reading { host, reading: false }, Op::Reading { host, reading: true });
    }

    fn config(&mut self, at: u64, host: u32) {
        let setting = match self.rng.below(3) {
            0 => Setting::Pace(self.rng.pick(&[Pace::Lan, Pace::Wan, Pace::Local])),
            _ => Setting::Metadata(self.rng.pick(&[0, 1, 100, 4_096])),
        };
        self.push(at, Op::SetConfig { host, setting });
    }

    /// Messages, of a size that is likely to be special, as far as a step may send one of it.
    fn message(&mut self, profile: &Profile, at: u64) {
        let chunk = MAX_CHUNK as u64;
        let cap = profile.max_message.min(MAX_LENGTH);
        let special = [
            0,
            1,
            64,
            1_000,
            chunk - 1,
            chunk,
            chunk + 1,
            profile.initial_window - 4,
            profile.initial_window,
            profile.initial_window + 1,
            cap,
            cap + 1,
        ];
        if self.rng.below(ALL_TO_ONE) == 0 {
            let to = self.host();
            for from in (0..self.nodes).filter(|from| *from != to) {
                self.push(at, Op::Send { from, to, length: cap, count: 1 });
            }
            return;
        }
        let length = self.rng.pick(&special).min(MAX_LENGTH);
        let from = self.host();
        if self.rng.below(4) == 0 {
            return self.push(at, Op::Broadcast { from, length });
        }
        let most = (200_000 / (length + 1)).clamp(2, 50);
        let count = 1 + self.rng.below(most) as u32;
        if let Some((from, to)) = self.pair() {
            self.push(at, Op::Send { from, to, length, count });
        }
    }

    fn pairs(&mut self, at: u64, ops: impl FnOnce(u32, u32) -> (Op, Op)) {
        if let Some((a, b)) = self.pair() {
            let (begin, end) = ops(a, b);
            self.spell(at, 60_000, begin, end);
        }
    }

    /// Something that begins at `at` and ends after 10 to `most` milliseconds.
    fn spell(&mut self, at: u64, most: u64, begin: Op, end: Op) {
        let span = self.rng.scaled(10, most);
        self.push(at, begin);
        self.push(at + span, end);
    }

    /// Times are whole milliseconds and a bit, so that not everything happens in the same instant of a millisecond.
    fn push(&mut self, at: u64, op: Op) {
        if at < self.duration {
            let at = Duration::from_millis(at) + Duration::from_micros(self.rng.below(1_000));
            self.steps.push(Step { at, op });
        }
    }

    /// What acts fast until the end takes long to simulate, and longest where each connection costs cryptography. So it
    /// does in no schedule that is long.
    fn tempo(&mut self) -> Tempo {
        let fast = self.rng.below(FAST_ONES) == 0;
        let most = if self.secure { USUAL / 6 } else { USUAL };
        if fast && self.duration <= most { Tempo::Fast } else { Tempo::Slow }
    }

    /// What goes on until the end is not begun again.
    fn push_once(&mut self, at: u64, op: Op) {
        if self.steps.is_empty() {
            self.push(at, op);
        }
    }

    fn host(&mut self) -> u32 {
        self.rng.below(u64::from(self.nodes)) as u32
    }

    /// Two different hosts, if there are two.
    fn pair(&mut self) -> Option<(u32, u32)> {
        let a = self.host();
        let step = 1 + self.rng.below(u64::from(self.nodes).saturating_sub(1)) as u32;
        (self.nodes > 1).then(|| (a, (a + step) % self.nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_schedule_is_possible_and_comes_from_the_seed() {
        for seed in 0..300 {
            let schedule = Schedule::random(seed);
            assert_eq!(schedule.check(), Ok(()), "seed {seed}");
            assert_eq!(schedule, Schedule::random(seed));
        }
    }

    #[test]
    fn switching_a_kind_on_does_not_shift_the_others() {
        let draw = |faults: Faults| {
            let mut schedule = Schedule::new(5, 4, Duration::from_secs(60));
            schedule.add_faults(&faults);
            schedule.steps
        };
        let crashes = draw(Faults::none().with(Fault::Crash, Rate::HIGH));
        let both = draw(Faults::none().with(Fault::Crash, Rate::HIGH).with(Fault::Cut, Rate::HIGH));
        assert!(!crashes.is_empty() && both.len() > crashes.len());
        assert!(crashes.iter().all(|step| both.contains(step)));
    }

    #[test]
    fn every_kind_of_fault_can_be_drawn_alone_with_any_number_of_nodes() {
        for (kind, nodes) in Fault::ALL.into_iter().flat_map(|kind| [1, 2, 9].map(|nodes| (kind, nodes))) {
            let mut schedule = Schedule::new(1, nodes, Duration::from_secs(60));
            schedule.profile.seeds = 1;
            schedule.add_faults(&Faults::none().with(kind, Rate::HIGH));
            assert_eq!(schedule.check(), Ok(()), "{kind} with {nodes}");
            assert!(nodes == 1 || !schedule.steps.is_empty(), "{kind} with {nodes}");
        }
    }
}
