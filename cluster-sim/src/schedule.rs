//! A run as plain data: the nodes, and what is done to them at which time.

mod draw;
mod error;
mod op;
mod populate;
mod print;
mod profile;
mod rates;
mod shrink;
pub(crate) mod span;
#[cfg(feature = "proptest")]
mod strategy;
pub(crate) mod words;

use std::time::Duration;

use cluster_core::limits::MAX_LIST;
use cluster_timeline::record::HostId;
use serde::{Deserialize, Serialize};

use crate::rng::{Purpose, Rng};

pub(crate) use self::draw::{Drawer, MOST, USUAL};
pub use self::error::{ScheduleError, WorldError};
pub(crate) use self::op::MAX_LENGTH;
pub use self::op::{Fault, Identity, Op, Setting, UnknownFault};
pub(crate) use self::print::test_of_builder;
pub use self::profile::{Pace, Profile};
pub use self::rates::{Faults, Rate};
pub(crate) use self::shrink::{Tried, shrink};
#[cfg(feature = "proptest")]
pub use self::strategy::{ScheduleTree, Schedules, schedules};

/// Everything that decides a run of the simulator, as plain data: the same schedule is the same run, byte for byte.
///
/// As text it is JSON, in which every span is a number of nanoseconds, every host a number from 0, and `version` comes
/// with it; see [`to_json`](Schedule::to_json) and [`from_json`](Schedule::from_json).
///
/// ```
/// use cluster_sim::{Crash, Op, Schedule, Step};
/// use std::time::Duration;
///
/// let mut schedule = Schedule::new(42, 3, Duration::from_secs(60));
/// schedule.push(Duration::from_secs(5), Op::Crash { host: 1, how: Crash::Power });
/// assert_eq!(Schedule::from_json(&schedule.to_json())?, schedule);
/// # Ok::<(), cluster_sim::ScheduleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The version of this format: [`Schedule::VERSION`].
    pub version: u32,
    /// Where the randomness of the world comes from.
    pub seed: u64,
    /// How many nodes there are, from 1 to [`Schedule::MAX_NODES`]. All start at time 0.
    pub nodes: u32,
    /// How long the steps take before the mesh has to heal, at most [`Schedule::MAX_DURATION`].
    #[serde(with = "span")]
    pub duration: Duration,
    /// How long the mesh is watched when it has healed, in which nothing but heartbeats and anti-entropy may happen in
    /// it. At most [`Schedule::MAX_DURATION`]; zero is not at all, and nor is it with a hostile host in the schedule.
    #[serde(with = "span")]
    pub quiet: Duration,
    /// What the nodes are configured to be.
    pub profile: Profile,
    /// What is done, in the order of time, at most [`Schedule::MAX_STEPS`] of them.
    pub steps: Vec<Step>,
}

/// Something that is done at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When, from the beginning of the world.
    #[serde(with = "span")]
    pub at: Duration,
    /// What.
    pub op: Op,
}

impl Schedule {
    /// The version of the format that this crate reads and writes.
    pub const VERSION: u32 = 1;

    /// The most nodes: 513, for no node has more than 512 peers.
    pub const MAX_NODES: u32 = MAX_LIST as u32 + 1;

    /// The most steps.
    pub const MAX_STEPS: usize = 100_000;

    /// The longest duration, and the longest span anywhere in a step: thirty days.
    pub const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 3_600);

    /// Nodes to which nothing is done.
    #[must_use]
    pub fn new(seed: u64, nodes: u32, duration: Duration) -> Schedule {
        let (version, profile) = (Schedule::VERSION, Profile::default());
        Schedule { version, seed, nodes, duration, quiet: Duration::ZERO, profile, steps: Vec::new() }
    }

    /// Adds a step, after those of the same time.
    pub fn push(&mut self, at: Duration, op: Op) {
        let index = self.steps.partition_point(|step| step.at <= at);
        self.steps.insert(index, Step { at, op });
    }

    /// The hosts that heal after the last step, drawn from the seed: at least two, if there are two, and one of them a
    /// seed, if there are seeds.
    #[must_use]
    pub fn core(&self) -> Vec<HostId> {
        let mut rng = Rng::new(self.seed, Purpose::Core, 0, 0);
        let mut hosts: Vec<u32> = (0..self.nodes).collect();
        rng.shuffle(&mut hosts);
        hosts.truncate(2 + rng.below(u64::from(self.nodes).saturating_sub(1)) as usize);
        let seeds = self.profile.seeds;
        if seeds > 0 && hosts.iter().all(|&host| host >= seeds) {
            hosts[0] = rng.below(u64::from(seeds)) as u32;
        }
        hosts.sort_unstable();
        hosts.into_iter().map(HostId).collect()
    }

    /// How many peers each node must have a place for: the other nodes, and the hostile members that are added.
    pub(crate) fn others(&self) -> usize {
        let insiders = self.steps.iter().filter(|step| matches!(step.op, Op::Insider { .. })).count();
        (self.nodes as usize).saturating_sub(1) + insiders.min(Op::MAX_HOSTILE)
    }

    /// Whether the core is watched at the end. Who means harm never rests, so that there is no quiet to be watched.
    pub(crate) fn is_watched(&self) -> bool {
        let is_hostile = |step: &Step| matches!(step.op, Op::Outsider { .. } | Op::Insider { .. });
        !self.quiet.is_zero() && !self.steps.iter().any(is_hostile)
    }

    /// The schedule as JSON, a line per step.
    #[must_use]
    pub fn to_json(&self) -> String {
        let steps: Vec<String> = self.steps.iter().map(|step| format!("    {}", line(step))).collect();
        let steps = if steps.is_empty() { String::new() } else { format!("\n{}\n  ", steps.join(",\n")) };
        format!(
            "{{\n  \"version\": {},\n  \"seed\": {},\n  \"nodes\": {},\n  \"duration\": {},\n  \"quiet\": {},\n  \"profile\": {},\n  \"steps\": [{steps}]\n}}\n",
            self.version,
            self.seed,
            self.nodes,
            self.duration.as_nanos(),
            self.quiet.as_nanos(),
            line(&self.profile),
        )
    }

    /// Reads what [`to_json`](Schedule::to_json) has written.
    ///
    /// # Errors
    ///
    /// If the text is no schedule, is one of another version, or describes an impossible world.
    pub fn from_json(text: &str) -> Result<Schedule, ScheduleError> {
        /// What every version has.
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let syntax = |error: serde_json::Error| ScheduleError::Syntax(error.to_string());
        let head: Head = serde_json::from_str(text).map_err(syntax)?;
        if head.version != Schedule::VERSION {
            return Err(ScheduleError::Version { found: head.version });
        }
        let schedule: Schedule = serde_json::from_str(text).map_err(syntax)?;
        schedule.check()?;
        Ok(schedule)
    }

    /// Whether this describes a world that can be.
    ///
    /// # Errors
    ///
    /// The first thing that is impossible about it.
    pub fn check(&self) -> Result<(), ScheduleError> {
        if self.version != Schedule::VERSION {
            return Err(ScheduleError::Version { found: self.version });
        }
        check_nodes(self.nodes)?;
        check_span(self.duration)?;
        check_span(self.quiet)?;
        self.profile.check(self.nodes)?;
        check_places(self.profile.max_peers, self.others())?;
        if self.steps.len() > Schedule::MAX_STEPS {
            return Err(ScheduleError::TooManySteps { steps: self.steps.len() });
        }
        let mut before = Duration::ZERO;
        for (index, step) in self.steps.iter().enumerate() {
            if step.at < before || step.at > self.duration {
                return Err(ScheduleError::Order { step: index });
            }
            before = step.at;
            step.op.check(self.nodes).map_err(|error| ScheduleError::Step { step: index, error })?;
        }
        Ok(())
    }
}

/// Plain data with text for keys can always be written.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

pub(crate) fn check_nodes(nodes: u32) -> Result<(), WorldError> {
    match nodes {
        0 => Err(WorldError::NoNodes),
        1..=Schedule::MAX_NODES => Ok(()),
        _ => Err(WorldError::TooManyNodes { nodes }),
    }
}

pub(crate) fn check_places(max_peers: usize, others: usize) -> Result<(), WorldError> {
    if max_peers < others { Err(WorldError::TooFewPeers { max_peers, others }) } else { Ok(()) }
}

pub(crate) fn check_span(span: Duration) -> Result<(), WorldError> {
    if span > Schedule::MAX_DURATION { Err(WorldError::TooLong { span }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Abuse, Crash, Tempo};

    fn schedule() -> Schedule {
        let mut schedule = Schedule::new(7, 3, Duration::from_secs(10));
        schedule.push(Duration::from_secs(2), Op::HealAll);
        schedule.push(Duration::from_secs(1), Op::Crash { host: 2, how: Crash::Kill });
        schedule.push(Duration::from_secs(2), Op::Partition { one: vec![0], other: vec![1, 2] });
        schedule
    }

    fn refused(edit: impl FnOnce(&mut Schedule)) -> String {
        let mut schedule = schedule();
        edit(&mut schedule);
        let error = schedule.check().unwrap_err();
        assert_eq!(Schedule::from_json(&schedule.to_json()), Err(error.clone()));
        error.to_string()
    }

    #[test]
    fn steps_are_kept_in_the_order_of_time() {
        let ops: Vec<u64> = schedule().steps.iter().map(|step| step.at.as_secs()).collect();
        assert_eq!(ops, [1, 2, 2]);
        assert_eq!(schedule().steps[1].op, Op::HealAll);
    }

    #[test]
    fn a_schedule_can_be_written_and_read_back() {
        let text = schedule().to_json();
        assert_eq!(Schedule::from_json(&text), Ok(schedule()), "{text}");
        assert_eq!(Schedule::from_json(&Schedule::new(1, 2, Duration::ZERO).to_json()).map(|s| s.nodes), Ok(2));
    }

    #[test]
    fn the_core_is_of_two_hosts_or_more_and_one_of_them_is_a_seed() {
        for seed in 0..200 {
            let schedule = Schedule::random(seed);
            let core = schedule.core();
            assert!(core.len() >= 2 && core.is_sorted() && core.iter().all(|host| host.0 < schedule.nodes));
            assert!(core[0].0 < schedule.profile.seeds);
        }
        assert_eq!(Schedule::new(1, 1, Duration::ZERO).core(), [HostId(0)]);
    }

    #[test]
    fn an_impossible_schedule_is_refused_with_the_reason() {
        assert_eq!(refused(|s| s.version = 9), "the schedule is of version 9; this crate reads version 1");
        assert_eq!(refused(|s| s.nodes = 0), "a world needs at least one node");
        assert_eq!(refused(|s| s.nodes = 514), "514 nodes are more than 513");
        assert_eq!(refused(|s| s.nodes = 2), "step 0: there is no node 2 among 2");
        assert_eq!(refused(|s| s.duration = Duration::from_secs(1)), "step 1 is out of order, or after the end");
        assert_eq!(
            refused(|s| s.profile.max_message = 0),
            "the config contradicts itself: 1 (1) must be at most max_message (0)"
        );
        assert_eq!(refused(|s| s.profile.max_peers = 1), "a node with a max_peers of 1 has no place for 2 others");
        let text = schedule().to_json().replace("\"crash\"", "\"crush\"");
        assert!(matches!(Schedule::from_json(&text), Err(ScheduleError::Syntax(words)) if words.contains("crush")));
        assert!(matches!(Schedule::from_json("{}"), Err(ScheduleError::Syntax(_))));
    }
    #[test]
    fn what_is_too_long_can_be_drawn_and_is_refused_then() {
        let mut schedule = Schedule::new(7, 3, Duration::MAX);
        schedule.add_faults(&Faults::all(Rate::HIGH));
        schedule.add_traffic(Rate::HIGH);
        assert!(!schedule.steps.is_empty());
        assert_eq!(schedule.check(), Err(WorldError::TooLong { span: Duration::MAX }.into()));
    }

    #[test]
    fn every_node_must_have_a_place_for_each_other_and_for_members_that_mean_harm() {
        let mut schedule = Schedule::new(7, Schedule::MAX_NODES, Duration::from_secs(10));
        assert_eq!(schedule.check(), Ok(()));
        let insider = Op::Insider { abuse: Abuse::Chatter, tempo: Tempo::Slow };
        schedule.push(Duration::ZERO, insider.clone());
        let error = WorldError::TooFewPeers { max_peers: 512, others: 513 };
        assert_eq!(schedule.check(), Err(error.into()));
        (schedule.nodes, schedule.profile.max_peers) = (3, 3);
        assert_eq!(schedule.check(), Ok(()));
        schedule.push(Duration::ZERO, insider);
        assert_eq!(schedule.check(), Err(WorldError::TooFewPeers { max_peers: 3, others: 4 }.into()));
    }
}
