//! Schedules for property tests with `proptest`.

use std::time::Duration;

use cluster_core::limits::MAX_LIST;
use proptest::prelude::any;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::{Faults, Rate, Schedule};

/// Random schedules, as by [`Schedule::random`] unless told otherwise. A failing one is reduced by taking out steps.
///
/// ```
/// use cluster_sim::{schedules, World};
/// use proptest::prelude::*;
/// use std::time::Duration;
///
/// proptest!(ProptestConfig::with_cases(3), |(schedule in schedules().nodes(3).duration(Duration::from_secs(10)))| {
///     let result = World::builder().schedule(schedule).run();
///     prop_assert!(result.is_ok(), "{}", result.unwrap_err());
/// });
/// ```
#[must_use]
pub fn schedules() -> Schedules {
    Schedules::default()
}

/// A [`Strategy`] for schedules; see [`schedules`].
#[derive(Clone, Debug, Default)]
pub struct Schedules {
    nodes: Option<u32>,
    duration: Option<Duration>,
    faults: Option<Faults>,
    traffic: Option<Rate>,
}

impl Schedules {
    /// Always so many nodes.
    #[must_use]
    pub fn nodes(mut self, nodes: u32) -> Schedules {
        self.nodes = Some(nodes);
        self
    }

    /// Always so long.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Schedules {
        self.duration = Some(duration);
        self
    }

    /// Always with faults at these rates.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Schedules {
        self.faults = Some(faults);
        self
    }

    /// Always with so much traffic.
    #[must_use]
    pub fn traffic(mut self, traffic: Rate) -> Schedules {
        self.traffic = Some(traffic);
        self
    }

    fn draw(&self, seed: u64) -> Schedule {
        let mut schedule = Schedule::random_shape(seed);
        schedule.nodes = self.nodes.unwrap_or(schedule.nodes);
        schedule.profile.seeds = schedule.profile.seeds.min(schedule.nodes);
        // A place for each other node and a hostile member.
        let most = (schedule.nodes as usize).min(MAX_LIST);
        schedule.profile.max_peers = schedule.profile.max_peers.max(most);
        schedule.duration = self.duration.unwrap_or(schedule.duration);
        schedule.fill(&self.faults.clone().unwrap_or_else(|| Faults::random(seed)), self.traffic);
        schedule
    }
}

impl Strategy for Schedules {
    type Tree = ScheduleTree;
    type Value = Schedule;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Schedules> {
        let seed = any::<u64>().new_tree(runner)?.current();
        Ok(ScheduleTree::new(self.draw(seed)))
    }
}

/// How a schedule is reduced: groups of steps are taken out, first halves, then quarters, at last single ones.
#[derive(Clone, Debug)]
pub struct ScheduleTree {
    /// The least one that is known to fail.
    best: Schedule,
    /// `best` without a group of steps.
    current: Schedule,
    group: usize,
    start: usize,
}

impl ScheduleTree {
    fn new(schedule: Schedule) -> ScheduleTree {
        let group = schedule.steps.len().div_ceil(2);
        ScheduleTree { best: schedule.clone(), current: schedule, group, start: 0 }
    }
}

impl ValueTree for ScheduleTree {
    type Value = Schedule;

    fn current(&self) -> Schedule {
        self.current.clone()
    }

    fn simplify(&mut self) -> bool {
        self.best = self.current.clone();
        if self.start >= self.best.steps.len() {
            self.start = 0;
            self.group /= 2;
        }
        if self.group == 0 || self.best.steps.is_empty() {
            return false;
        }
        let end = (self.start + self.group).min(self.best.steps.len());
        self.current.steps.drain(self.start..end);
        true
    }

    fn complicate(&mut self) -> bool {
        let changed = self.current != self.best;
        self.current = self.best.clone();
        self.start += self.group;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, Op};

    #[test]
    fn a_failing_schedule_is_reduced_to_the_steps_that_matter() {
        let mut runner = TestRunner::deterministic();
        let isolates = |schedule: &Schedule| schedule.steps.iter().any(|step| matches!(step.op, Op::Isolate { .. }));
        let strategy = schedules().faults(Faults::all(Rate::HIGH));
        let mut tree = strategy.new_tree(&mut runner).unwrap();
        assert!(isolates(&tree.current()) && tree.current().steps.len() > 100);
        let mut failing = tree.current();
        let mut fails = true;
        while if fails { tree.simplify() } else { tree.complicate() } {
            fails = isolates(&tree.current());
            if fails {
                failing = tree.current();
            }
        }
        assert_eq!(failing.steps.len(), 1, "{failing:?}");
    }

    #[test]
    fn what_is_fixed_stays_fixed() {
        let mut runner = TestRunner::deterministic();
        let strategy = schedules().nodes(1).duration(Duration::from_secs(3)).traffic(Rate::OFF);
        for _ in 0..20 {
            let schedule = strategy.new_tree(&mut runner).unwrap().current();
            assert_eq!((schedule.nodes, schedule.duration), (1, Duration::from_secs(3)));
            assert_eq!(schedule.check(), Ok(()));
        }
    }

    #[test]
    fn any_number_of_nodes_may_have_each_other_as_peers() {
        let mut runner = TestRunner::deterministic();
        let faults = Faults::none().with(Fault::Insider, Rate::HIGH);
        let schedule = schedules().nodes(20).faults(faults).new_tree(&mut runner).unwrap().current();
        assert!(schedule.steps.iter().any(|step| matches!(step.op, Op::Insider { .. })), "{schedule:?}");
        assert_eq!(schedule.check(), Ok(()));
    }
}
