//! What is impossible about a world or a schedule.

use std::fmt;
use std::time::Duration;

use cluster_core::ConfigError;

use super::Schedule;

/// A world that cannot be.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WorldError {
    /// It has no nodes.
    NoNodes,
    /// It has more than [`Schedule::MAX_NODES`].
    TooManyNodes {
        /// How many.
        nodes: u32,
    },
    /// Its nodes cannot be a mesh: none may have as many peers as there are others, hostile members included.
    TooFewPeers {
        /// How many peers a node may have.
        max_peers: usize,
        /// How many others there are.
        others: usize,
    },
    /// Something is to be done to a node that it does not have.
    UnknownNode {
        /// Which.
        node: u32,
        /// How many there are.
        nodes: u32,
    },
    /// A rate of faults is not between 0 and 1.
    Rate {
        /// The rate.
        rate: f64,
    },
    /// A span is longer than [`Schedule::MAX_DURATION`].
    TooLong {
        /// The span.
        span: Duration,
    },
    /// Something would happen again after a shorter span than a millisecond.
    TooShort {
        /// The span.
        span: Duration,
    },
    /// A clock would be wrong by more than half.
    Drift {
        /// By how many millionths.
        ppm: i32,
    },
    /// A way that carries nothing is a cut, and no bandwidth.
    NoBandwidth,
    /// A message, or a number of them, is more than a step may send.
    TooMuch {
        /// Bytes or messages.
        amount: u64,
        /// At most that much.
        most: u64,
    },
    /// Connections have no buffer.
    NoBuffer,
    /// The nodes' config contradicts itself.
    Config(ConfigError),
}

impl fmt::Display for WorldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorldError::NoNodes => f.write_str("a world needs at least one node"),
            WorldError::TooManyNodes { nodes } => write!(f, "{nodes} nodes are more than {}", Schedule::MAX_NODES),
            WorldError::TooFewPeers { max_peers, others } => {
                write!(f, "a node with a max_peers of {max_peers} has no place for {others} others")
            }
            WorldError::UnknownNode { node, nodes } => write!(f, "there is no node {node} among {nodes}"),
            WorldError::Rate { rate } => write!(f, "a fault rate of {rate} is not between 0 and 1"),
            WorldError::TooLong { span } => write!(f, "{span:?} is longer than {:?}", Schedule::MAX_DURATION),
            WorldError::TooShort { span } => {
                write!(f, "{span:?} is shorter than the millisecond after which something may happen again")
            }
            WorldError::Drift { ppm } => write!(f, "{ppm} millionths are more than a clock may drift"),
            WorldError::NoBandwidth => f.write_str("a bandwidth of 0 is a cut"),
            WorldError::TooMuch { amount, most } => write!(f, "{amount} is more than the {most} that a step may send"),
            WorldError::NoBuffer => f.write_str("without a buffer nothing can be sent over a connection"),
            WorldError::Config(error) => write!(f, "the config contradicts itself: {error}"),
        }
    }
}

impl std::error::Error for WorldError {}

impl From<ConfigError> for WorldError {
    fn from(error: ConfigError) -> WorldError {
        WorldError::Config(error)
    }
}

/// A schedule that cannot be run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The text is not the JSON of a schedule; with the place and the reason.
    Syntax(String),
    /// It is of another version than [`Schedule::VERSION`].
    Version {
        /// Its version.
        found: u32,
    },
    /// Its world is impossible.
    World(WorldError),
    /// It has more than [`Schedule::MAX_STEPS`] steps.
    TooManySteps {
        /// How many.
        steps: usize,
    },
    /// A step comes before the one that it follows, or after the duration is over.
    Order {
        /// Which step, counted from 0.
        step: usize,
    },
    /// What a step does is impossible.
    Step {
        /// Which step, counted from 0.
        step: usize,
        /// Why.
        error: WorldError,
    },
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScheduleError::Syntax(words) => write!(f, "this is no schedule: {words}"),
            ScheduleError::Version { found } => {
                write!(f, "the schedule is of version {found}; this crate reads version {}", Schedule::VERSION)
            }
            ScheduleError::World(error) => error.fmt(f),
            ScheduleError::TooManySteps { steps } => write!(f, "{steps} steps are more than {}", Schedule::MAX_STEPS),
            ScheduleError::Order { step } => write!(f, "step {step} is out of order, or after the end"),
            ScheduleError::Step { step, error } => write!(f, "step {step}: {error}"),
        }
    }
}

impl std::error::Error for ScheduleError {}

impl From<WorldError> for ScheduleError {
    fn from(error: WorldError) -> ScheduleError {
        ScheduleError::World(error)
    }
}
