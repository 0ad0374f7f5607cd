//! What a step of a schedule does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Pace, WorldError, check_span, span};
use crate::hostile::{Abuse, Attack, Tempo};
use crate::net::{Block, Fate};
use crate::restart::{Crash, Twin};
use crate::way::Latency;

/// The most bytes that one message of a step may have.
pub(super) const MAX_LENGTH: u64 = 64 << 20;

/// The most messages that one step may send.
const MAX_COUNT: u32 = 100_000;

/// What comes again and again does not come more often: a run would not end.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// By how many millionths a clock may be wrong, too fast or too slow.
const MAX_DRIFT: u32 = 500_000;

/// One verb of a [`World`](crate::World), with its parameters. Hosts are numbers from 0, in the order in which they
/// were added.
///
/// What makes no sense at the time does nothing: the crash of a host on which nothing runs, a verb of a node that is
/// paused. So a schedule still makes sense when any of its steps is taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are the parameters of the verb that is named")]
pub enum Op {
    /// [`NetMut::set_latency`](crate::NetMut::set_latency).
    Latency { latency: Latency },
    /// [`NetMut::set_latency_from`](crate::NetMut::set_latency_from).
    LatencyFrom { from: u32, to: u32, latency: Latency },
    /// [`NetMut::set_bandwidth_from`](crate::NetMut::set_bandwidth_from).
    Bandwidth { from: u32, to: u32, bytes_per_second: Option<u64> },
    /// [`NetMut::cut`](crate::NetMut::cut).
    Cut { a: u32, b: u32 },
    /// [`NetMut::cut_one_way`](crate::NetMut::cut_one_way).
    CutOneWay { from: u32, to: u32 },
    /// [`NetMut::clog`](crate::NetMut::clog).
    Clog {
        from: u32,
        to: u32,
        #[serde(with = "span")]
        open: Duration,
        #[serde(with = "span")]
        shut: Duration,
    },
    /// [`NetMut::partition`](crate::NetMut::partition). Hosts on neither side reach both.
    Partition { one: Vec<u32>, other: Vec<u32> },
    /// [`NetMut::isolate`](crate::NetMut::isolate).
    Isolate { host: u32 },
    /// [`NetMut::heal`](crate::NetMut::heal).
    Heal { a: u32, b: u32 },
    /// [`NetMut::heal_all`](crate::NetMut::heal_all).
    HealAll,
    /// [`NetMut::block_dials`](crate::NetMut::block_dials).
    BlockDials { from: u32, to: u32, how: Block },
    /// [`NetMut::allow_dials`](crate::NetMut::allow_dials).
    AllowDials { from: u32, to: u32 },
    /// [`NetMut::set_fate`](crate::NetMut::set_fate) of the address at which `host` listens.
    DialFate { host: u32, fate: Option<Fate> },
    /// [`NetMut::reset_connections`](crate::NetMut::reset_connections).
    Reset { a: u32, b: u32 },
    /// [`NetMut::reset_one_side`](crate::NetMut::reset_one_side).
    ResetOneSide { at: u32, peer: u32 },
    /// [`NetMut::half_open`](crate::NetMut::half_open).
    HalfOpen { at: u32, peer: u32 },
    /// [`NetMut::sever_connections`](crate::NetMut::sever_connections).
    Sever { a: u32, b: u32 },
    /// [`HostMut::crash`](crate::HostMut::crash).
    Crash { host: u32, how: Crash },
    /// [`HostMut::restart`](crate::HostMut::restart), at another address if it has `moved`.
    Restart { host: u32, identity: Identity, moved: bool },
    /// [`HostMut::renumber`](crate::HostMut::renumber).
    Renumber { host: u32 },
    /// [`HostMut::pause`](crate::HostMut::pause).
    Pause { host: u32 },
    /// [`HostMut::resume`](crate::HostMut::resume).
    Resume { host: u32 },
    /// [`HostMut::set_late`](crate::HostMut::set_late).
    Late {
        host: u32,
        #[serde(with = "span")]
        up_to: Duration,
    },
    /// [`HostMut::set_drift`](crate::HostMut::set_drift).
    Drift { host: u32, ppm: i32 },
    /// [`HostMut::clock_forward`](crate::HostMut::clock_forward).
    ClockForward {
        host: u32,
        #[serde(with = "span")]
        by: Duration,
    },
    /// [`HostMut::clock_back`](crate::HostMut::clock_back).
    ClockBack {
        host: u32,
        #[serde(with = "span")]
        by: Duration,
    },
    /// [`HostMut::clock_stop`](crate::HostMut::clock_stop).
    ClockStop { host: u32, stopped: bool },
    /// [`HostMut::set_consuming`](crate::HostMut::set_consuming).
    Consuming { host: u32, consuming: bool },
    /// [`HostMut::consume`](crate::HostMut::consume).
    Consume { host: u32, count: u64 },
    /// [`HostMut::consume_in_bursts`](crate::HostMut::consume_in_bursts).
    ConsumeInBursts {
        host: u32,
        count: u64,
        #[serde(with = "span")]
        every: Duration,
    },
    /// [`HostMut::set_reading`](crate::HostMut::set_reading).
    Reading { host: u32, reading: bool },
    /// [`HostMut::read`](crate::HostMut::read).
    Read { host: u32, bytes: u64 },
    /// [`HostMut::exhaust`](crate::HostMut::exhaust).
    Exhaust { host: u32, exhausted: bool },
    /// [`NodeMut::leave`](crate::NodeMut::leave).
    Leave {
        host: u32,
        #[serde(with = "span")]
        timeout: Duration,
    },
    /// [`NodeMut::disconnect`](crate::NodeMut::disconnect).
    Disconnect { host: u32, peer: u32 },
    /// [`NodeMut::join`](crate::NodeMut::join).
    Join { host: u32, to: u32 },
    /// [`NodeMut::join`](crate::NodeMut::join) of the port-forward `10.0.200.(to + 1):7000`, which leads to where `to`
    /// listens now; or to itself, under another address.
    JoinThrough { host: u32, to: u32 },
    /// [`NodeMut::add_seed`](crate::NodeMut::add_seed).
    AddSeed { host: u32, to: u32 },
    /// [`NodeMut::forget_lost`](crate::NodeMut::forget_lost).
    Forget { host: u32 },
    /// [`NodeMut::set_config`](crate::NodeMut::set_config), with one setting changed.
    SetConfig { host: u32, setting: Setting },
    /// [`NodeMut::send_numbered`](crate::NodeMut::send_numbered), `count` times; a message too short for a number is sent
    /// by [`NodeMut::send`](crate::NodeMut::send).
    Send { from: u32, to: u32, length: u64, count: u32 },
    /// [`NodeMut::broadcast`](crate::NodeMut::broadcast) of zeroes.
    Broadcast { from: u32, length: u64 },
    /// [`NodeMut::flush`](crate::NodeMut::flush).
    Flush { from: u32, to: u32 },
    /// [`World::add_outsider`](crate::World::add_outsider) with one attack, unless there are
    /// [enough](Op::MAX_HOSTILE) hostile hosts.
    Outsider { attack: Attack, tempo: Tempo },
    /// [`World::add_insider`](crate::World::add_insider) with one abuse, unless there are
    /// [enough](Op::MAX_HOSTILE) hostile hosts.
    Insider { abuse: Abuse, tempo: Tempo },
}

/// As what a node starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Identity {
    /// With the id it had, and a later incarnation.
    Same,
    /// With the id it had, and an incarnation ten seconds before the one it had: its wall clock was set back.
    Stale,
    /// With a new id.
    New,
    /// As a copy of the node that is, or was, on another host.
    Twin {
        /// The host of the other node.
        of: u32,
        /// Which run it says that it is.
        run: Twin,
    },
}

/// One setting of a running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Setting {
    /// Metadata of so many bytes.
    Metadata(u32),
    /// Every interval and timeout.
    Pace(Pace),
}

impl Op {
    /// The most hostile hosts that the steps of a schedule add.
    pub const MAX_HOSTILE: usize = 16;

    /// Every host that is named.
    #[must_use]
    pub fn hosts(&self) -> Vec<u32> {
        self.clone().hosts_mut().into_iter().map(|host| *host).collect()
    }

    pub(crate) fn hosts_mut(&mut self) -> Vec<&mut u32> {
        match self {
            Op::Latency { .. } | Op::HealAll | Op::Outsider { .. } | Op::Insider { .. } => Vec::new(),
            Op::Cut { a, b } | Op::Heal { a, b } | Op::Reset { a, b } | Op::Sever { a, b } => vec![a, b],
            Op::ResetOneSide { at, peer } | Op::HalfOpen { at, peer } => vec![at, peer],
            Op::Restart { host, identity: Identity::Twin { of, .. }, .. } => vec![host, of],
            Op::LatencyFrom { from, to, .. }
            | Op::Bandwidth { from, to, .. }
            | Op::Clog { from, to, .. }
            | Op::CutOneWay { from, to }
            | Op::BlockDials { from, to, .. }
            | Op::AllowDials { from, to }
            | Op::Send { from, to, .. }
            | Op::Flush { from, to } => vec![from, to],
            Op::Partition { one, other } => one.iter_mut().chain(other).collect(),
            Op::Disconnect { host, peer } => vec![host, peer],
            Op::Join { host, to } | Op::JoinThrough { host, to } | Op::AddSeed { host, to } => vec![host, to],
            Op::Broadcast { from, .. } => vec![from],
            Op::Isolate { host }
            | Op::DialFate { host, .. }
            | Op::Crash { host, .. }
            | Op::Restart { host, .. }
            | Op::Renumber { host }
            | Op::Forget { host }
            | Op::Pause { host }
            | Op::Resume { host }
            | Op::Late { host, .. }
            | Op::Drift { host, .. }
            | Op::ClockForward { host, .. }
            | Op::ClockBack { host, .. }
            | Op::ClockStop { host, .. }
            | Op::Consuming { host, .. }
            | Op::Consume { host, .. }
            | Op::ConsumeInBursts { host, .. }
            | Op::Reading { host, .. }
            | Op::Read { host, .. }
            | Op::Exhaust { host, .. }
            | Op::Leave { host, .. }
            | Op::SetConfig { host, .. } => vec![host],
        }
    }

    pub(crate) fn check(&self, nodes: u32) -> Result<(), WorldError> {
        if let Some(&node) = self.hosts().iter().find(|&&host| host >= nodes) {
            return Err(WorldError::UnknownNode { node, nodes });
        }
        match self {
            Op::Latency { latency } | Op::LatencyFrom { latency, .. } => {
                latency.spans().into_iter().try_for_each(check_span)
            }
            Op::Bandwidth { bytes_per_second: Some(0), .. } => Err(WorldError::NoBandwidth),
            Op::Clog { open, shut, .. } => [*open, *shut].into_iter().try_for_each(check_interval),
            Op::ConsumeInBursts { every, .. } => check_interval(*every),
            Op::Late { up_to: span, .. }
            | Op::ClockForward { by: span, .. }
            | Op::ClockBack { by: span, .. }
            | Op::Leave { timeout: span, .. } => check_span(*span),
            Op::Drift { ppm, .. } if ppm.unsigned_abs() > MAX_DRIFT => Err(WorldError::Drift { ppm: *ppm }),
            Op::Send { length, count, .. } => {
                at_most(*length, MAX_LENGTH)?;
                at_most(u64::from(*count), u64::from(MAX_COUNT))
            }
            Op::Broadcast { length, .. } => at_most(*length, MAX_LENGTH),
            Op::SetConfig { setting: Setting::Metadata(length), .. } => at_most(u64::from(*length), MAX_LENGTH),
            _ => Ok(()),
        }
    }
}

/// A span after which something happens again and again.
fn check_interval(span: Duration) -> Result<(), WorldError> {
    check_span(span)?;
    if span < SHORTEST_INTERVAL { Err(WorldError::TooShort { span }) } else { Ok(()) }
}

fn at_most(amount: u64, most: u64) -> Result<(), WorldError> {
    if amount > most { Err(WorldError::TooMuch { amount, most }) } else { Ok(()) }
}
