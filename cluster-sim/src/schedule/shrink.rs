//! Makes a schedule that fails as short and simple as possible.

use std::time::Duration;

use cluster_core::Instant;

use super::{Op, Profile, Schedule, Step};
use crate::faults;

/// The most runs that are spent on one failure.
const MAX_RUNS: u32 = 1_000;

/// With so many simulated steps behind it, no other run is begun for the same failure: a minute or so. A bound in time
/// would give other schedules on other machines.
const MAX_STEPS: u64 = 50_000_000;

/// How a run came out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tried {
    /// The time at which it failed in the way that is looked for, if it did.
    pub(crate) failed: Option<Instant>,
    /// How many steps were simulated.
    pub(crate) steps: u64,
}

/// The shortest schedule found that still fails, and how many runs it took. `run` runs one.
///
/// What comes after the failure is cut off; then ever smaller groups of steps, nodes and parameters are taken out, as
/// long as it helps, at most [`MAX_RUNS`] times, and for [`MAX_STEPS`] in all.
pub(crate) fn shrink(found: &Schedule, run: impl FnMut(&Schedule) -> Tried) -> (Schedule, u32) {
    let mut shrinker = Shrinker { best: found.clone(), run, runs: 0, steps: 0 };
    if !shrinker.retry(found.clone()) {
        return (found.clone(), shrinker.runs);
    }
    loop {
        let before = shrinker.best.clone();
        shrinker.fewer_steps();
        shrinker.fewer_nodes();
        shrinker.simpler_profile();
        shrinker.simpler_steps();
        shrinker.shorter_gaps();
        if shrinker.best == before || shrinker.is_spent() {
            return (shrinker.best, shrinker.runs);
        }
    }
}

struct Shrinker<F> {
    best: Schedule,
    run: F,
    runs: u32,
    /// Of all runs.
    steps: u64,
}

impl<F: FnMut(&Schedule) -> Tried> Shrinker<F> {
    /// Takes the candidate if it differs, is possible, and fails.
    fn attempt(&mut self, candidate: Schedule) -> bool {
        candidate != self.best && self.retry(candidate)
    }

    fn retry(&mut self, candidate: Schedule) -> bool {
        let Some(at) = self.fails(&candidate) else { return false };
        self.best = cut(candidate, at - Instant::ZERO);
        true
    }

    fn fails(&mut self, candidate: &Schedule) -> Option<Instant> {
        if self.is_spent() || candidate.check().is_err() {
            return None;
        }
        let Tried { failed, steps } = (self.run)(candidate);
        self.runs += 1;
        self.steps = self.steps.saturating_add(steps);
        failed
    }

    fn is_spent(&self) -> bool {
        self.runs == MAX_RUNS || self.steps >= MAX_STEPS
    }

    /// Takes out groups of steps: halves, quarters, ... single ones.
    fn fewer_steps(&mut self) {
        let mut group = self.best.steps.len().div_ceil(2);
        while group > 0 {
            let mut start = 0;
            while start < self.best.steps.len() {
                let mut candidate = self.best.clone();
                let end = (start + group).min(candidate.steps.len());
                candidate.steps.drain(start..end);
                if !self.attempt(candidate) {
                    start += group;
                }
            }
            group /= 2;
        }
    }

    /// So few nodes that the run fails without any step show nothing: what is to hold counts on more of them.
    fn fewer_nodes(&mut self) {
        for node in (0..self.best.nodes).rev() {
            let candidate = without_node(&self.best, node);
            let nothing_done = Schedule { steps: Vec::new(), ..candidate.clone() };
            if !candidate.steps.is_empty() && self.fails(&nothing_done).is_none() {
                self.attempt(candidate);
            }
        }
    }

    /// Each setting as it is by default, all of them first.
    fn simpler_profile(&mut self) {
        let unwatched = Schedule { quiet: Duration::ZERO, ..self.best.clone() };
        self.attempt(unwatched);
        let default = Profile { seeds: self.best.profile.seeds, ..Profile::default() };
        let mut candidate = self.best.clone();
        candidate.profile = default.clone();
        if self.attempt(candidate) {
            return;
        }
        let reset: [fn(&mut Profile, &Profile); 11] = [
            |profile, default| profile.secure = default.secure,
            |profile, default| profile.pace = default.pace,
            |profile, default| profile.max_message = default.max_message,
            |profile, default| profile.send_window = default.send_window,
            |profile, default| profile.initial_window = default.initial_window,
            |profile, default| profile.recv_window = default.recv_window,
            |profile, default| profile.max_peers = default.max_peers,
            |profile, default| profile.spare_credit = default.spare_credit,
            |profile, default| {
                profile.buffer = default.buffer;
                profile.write_stall = default.write_stall;
                profile.forget_after = default.forget_after;
                profile.tombstone_ttl = default.tombstone_ttl;
            },
            |profile, default| profile.session_ttl = default.session_ttl,
            |profile, default| profile.acknowledge = default.acknowledge,
        ];
        for reset in reset {
            let mut candidate = self.best.clone();
            reset(&mut candidate.profile, &default);
            self.attempt(candidate);
        }
    }

    fn simpler_steps(&mut self) {
        let mut index = 0;
        while let Some(step) = self.best.steps.get(index) {
            for op in faults::simpler(&step.op.clone()) {
                let mut candidate = self.best.clone();
                if let Some(step) = candidate.steps.get_mut(index) {
                    step.op = op;
                    if self.attempt(candidate) {
                        break;
                    }
                }
            }
            index += 1;
        }
    }

    /// Makes the time before each step, and after the last, shorter, or at least a rounder number.
    fn shorter_gaps(&mut self) {
        for index in 0..=self.best.steps.len() {
            let at =
                |schedule: &Schedule, index: usize| schedule.steps.get(index).map_or(schedule.duration, |step| step.at);
            let start = index.checked_sub(1).map_or(Duration::ZERO, |index| at(&self.best, index));
            if index > self.best.steps.len() {
                return;
            }
            let gap = at(&self.best, index) - start;
            let whole = Duration::from_secs(gap.as_secs());
            let rounded = Duration::from_millis(gap.as_millis() as u64);
            for shorter in [Duration::ZERO, Duration::from_secs(1), gap / 2, whole, rounded] {
                if shorter < gap && self.attempt(earlier(&self.best, index, gap - shorter)) {
                    break;
                }
            }
        }
    }
}

/// The schedule without what comes after the failure.
fn cut(mut schedule: Schedule, at: Duration) -> Schedule {
    if at < schedule.duration {
        schedule.steps.retain(|step| step.at <= at);
        schedule.duration = at;
    }
    schedule
}

/// The schedule with the steps from the `index`-th, and its end, earlier by `by`.
fn earlier(schedule: &Schedule, index: usize, by: Duration) -> Schedule {
    let mut schedule = schedule.clone();
    for step in &mut schedule.steps[index..] {
        step.at = step.at.saturating_sub(by);
    }
    schedule.duration = schedule.duration.saturating_sub(by);
    schedule
}

/// The schedule without a node, and without the steps that cannot be without it.
fn without_node(schedule: &Schedule, node: u32) -> Schedule {
    let mut schedule = schedule.clone();
    schedule.nodes -= 1;
    schedule.profile.seeds = schedule.profile.seeds.min(schedule.nodes);
    schedule.steps.retain_mut(|Step { op, .. }| {
        if let Op::Partition { one, other } = op {
            one.retain(|&host| host != node);
            other.retain(|&host| host != node);
        }
        if op.hosts().contains(&node) {
            return false;
        }
        for host in op.hosts_mut() {
            *host -= u32::from(*host > node);
        }
        true
    });
    schedule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::Crash;

    /// Fails when node `a` crashes and `b` is cut off from somebody later, at that time.
    fn fails(schedule: &Schedule) -> Option<Instant> {
        let crash = schedule.steps.iter().find(|step| matches!(step.op, Op::Crash { .. }))?;
        let cut = |step: &&Step| step.at >= crash.at && matches!(step.op, Op::Cut { .. } | Op::CutOneWay { .. });
        schedule.steps.iter().find(cut).map(|step| Instant::ZERO + step.at)
    }

    fn tried(schedule: &Schedule) -> Tried {
        Tried { failed: fails(schedule), steps: 1_000 }
    }

    #[test]
    fn only_what_is_needed_is_left() {
        let found = (0..200).map(Schedule::random).find(|schedule| fails(schedule).is_some()).unwrap();
        assert!(found.steps.len() > 10);
        let (schedule, runs) = shrink(&found, tried);
        assert_eq!(schedule.steps.len(), 2, "{schedule:?}");
        assert!(schedule.nodes <= 3 && schedule.duration == Duration::ZERO, "{schedule:?}");
        assert!(matches!(schedule.steps[0].op, Op::Crash { how: Crash::Kill, .. }));
        assert!(matches!(schedule.steps[1].op, Op::CutOneWay { .. }));
        assert_eq!(schedule.profile, Profile { seeds: schedule.profile.seeds, ..Profile::default() });
        assert!(runs < MAX_RUNS && schedule.check() == Ok(()));
    }

    #[test]
    fn the_number_of_runs_is_bounded() {
        let found = Schedule::random(3);
        let mut runs = 0;
        let (_, counted) = shrink(&found, |schedule| {
            runs += 1;
            // Fails as long as anything at all was changed back and forth.
            let failed = Some(Instant::ZERO + schedule.duration).filter(|_| runs % 2 == 1);
            Tried { failed, steps: 0 }
        });
        assert_eq!(runs, counted);
        assert!(counted <= MAX_RUNS);
    }

    #[test]
    fn a_failure_whose_runs_are_long_is_worth_fewer_of_them() {
        let failing = (0..200).map(Schedule::random).filter(|schedule| fails(schedule).is_some());
        let found = failing.max_by_key(|schedule| schedule.steps.len()).unwrap();
        let with = |steps| shrink(&found, |schedule| Tried { failed: fails(schedule), steps });
        let ((shortest, enough), (shorter, few)) = (with(0), with(MAX_STEPS / 10));
        assert!(enough > 10, "{enough}");
        assert_eq!((few, with(u64::MAX).1), (10, 1));
        assert!(fails(&shorter).is_some() && shorter.steps.len() < found.steps.len(), "what was found is kept");
        assert!(shortest.steps.len() < shorter.steps.len());
    }

    #[test]
    fn a_schedule_that_does_not_fail_is_left_alone() {
        let found = Schedule::random(4);
        assert_eq!(shrink(&found, |_| Tried { failed: None, steps: 0 }), (found.clone(), 1));
    }

    #[test]
    fn hosts_are_renumbered_when_one_goes() {
        let mut schedule = Schedule::new(1, 4, Duration::from_secs(1));
        schedule.push(Duration::ZERO, Op::Partition { one: vec![0, 1], other: vec![2, 3] });
        schedule.push(Duration::ZERO, Op::Cut { a: 1, b: 2 });
        schedule.push(Duration::ZERO, Op::Cut { a: 2, b: 3 });
        let ops: Vec<Op> = without_node(&schedule, 1).steps.into_iter().map(|step| step.op).collect();
        assert_eq!(ops, [Op::Partition { one: vec![0], other: vec![1, 2] }, Op::Cut { a: 1, b: 2 }]);
    }
}
