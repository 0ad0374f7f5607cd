//! Draws the steps of a schedule: faults of each kind, and what applications send.

use std::time::Duration;

use cluster_core::limits::MAX_CHUNK;

use super::{Op, Pace, Profile, Rate, Schedule, Step};
use crate::rng::{Purpose, Rng};

/// The most nodes of a schedule that is drawn as a whole.
const NODES: u64 = 7;

/// One schedule in so many lasts for up to [`LONG`].
const LONG_ONES: u64 = 50;

const LONG: u64 = 3_600_000;

/// The others last for up to this many milliseconds.
pub(crate) const USUAL: u64 = 120_000;

/// The most bytes that are sent at once.
pub(crate) const MOST: u64 = 3 << 19;

/// One schedule in so many is watched for [`QUIET`] at its end.
const QUIET_ONES: u64 = 8;

const QUIET: Duration = Duration::from_secs(600);

/// The nodes of one schedule in so many have a secret.
const SECURE_ONES: u64 = 3;

const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Schedule {
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

    /// Adds steps, each after those of the same time.
    pub(crate) fn add(&mut self, steps: Vec<Step>) {
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
pub(crate) struct Drawer {
    pub(crate) rng: Rng,
    pub(crate) nodes: u32,
    /// The nodes have a secret.
    pub(crate) secure: bool,
    pub(crate) duration: u64,
    /// Bytes that a sender may have accepted for a peer that takes nothing.
    pub(crate) window: u64,
    /// The longest message.
    pub(crate) longest: u64,
    pub(crate) steps: Vec<Step>,
}

impl Drawer {
    pub(crate) fn new(rng: Rng, schedule: &Schedule) -> Drawer {
        let window = schedule.profile.initial_window.min(schedule.profile.send_window).min(MOST);
        // Of a longer one the schedule's own check tells.
        let duration = schedule.duration.min(Schedule::MAX_DURATION).as_millis() as u64;
        let Schedule { nodes, ref profile, .. } = *schedule;
        let (secure, longest) = (profile.secure, profile.max_message);
        Drawer { rng, nodes, secure, duration, window, longest, steps: Vec::new() }
    }

    /// Calls `draw` with a time in each slot in which something happens.
    pub(crate) fn slots(&mut self, rate: Rate, mut draw: impl FnMut(&mut Drawer, u64)) {
        let slots = u64::from(Rate::SLOTS);
        for slot in 0..slots {
            if self.rng.is(rate.per_million()) {
                let at = (slot * self.duration + self.rng.below(self.duration)) / slots;
                draw(self, at);
            }
        }
    }

    pub(crate) fn pairs(&mut self, at: u64, ops: impl FnOnce(u32, u32) -> (Op, Op)) {
        if let Some((a, b)) = self.pair() {
            let (begin, end) = ops(a, b);
            self.spell(at, 60_000, begin, end);
        }
    }

    /// Something that begins at `at` and ends after 10 to `most` milliseconds.
    pub(crate) fn spell(&mut self, at: u64, most: u64, begin: Op, end: Op) {
        let span = self.rng.scaled(10, most);
        self.push(at, begin);
        self.push(at + span, end);
    }

    /// Times are whole milliseconds and a bit, so that not everything happens in the same instant of a millisecond.
    pub(crate) fn push(&mut self, at: u64, op: Op) {
        if at < self.duration {
            let at = Duration::from_millis(at) + Duration::from_micros(self.rng.below(1_000));
            self.steps.push(Step { at, op });
        }
    }

    /// What goes on until the end is not begun again.
    pub(crate) fn push_once(&mut self, at: u64, op: Op) {
        if self.steps.is_empty() {
            self.push(at, op);
        }
    }

    pub(crate) fn host(&mut self) -> u32 {
        self.rng.below(u64::from(self.nodes)) as u32
    }

    /// Two different hosts, if there are two.
    pub(crate) fn pair(&mut self) -> Option<(u32, u32)> {
        let a = self.host();
        let step = 1 + self.rng.below(u64::from(self.nodes).saturating_sub(1)) as u32;
        (self.nodes > 1).then(|| (a, (a + step) % self.nodes))
    }
}
