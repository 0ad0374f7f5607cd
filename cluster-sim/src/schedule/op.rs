//! What a step of a schedule does.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Pace, WorldError, check_span, span};
use crate::hostile::{Abuse, Attack, Tempo};
use crate::net::{Block, Fate};
use crate::restart::{Crash, Twin};
use crate::way::Latency;

/// The most bytes that one message of a step may have.
pub(crate) const MAX_LENGTH: u64 = 64 << 20;

/// The most messages that one step may send.
const MAX_COUNT: u32 = 100_000;

/// What comes again and again does not come more often: a run would not end.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// By how many millionths a clock may be wrong, too fast or too slow.
const MAX_DRIFT: u32 = 500_000;

/// The kinds of fault, and of what users do, that a schedule can be drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Ways become slow, all of them or one.
    Latency,
    /// Little gets through in one direction.
    Bandwidth,

    /// Two hosts are cut off from each other.
    Cut,
    /// Nothing gets through in one direction.
    OneWay,
    /// Nothing gets through in one direction now and then.
    Clog,
    /// The hosts fall into two sides, sometimes with hosts between that reach both.
    Partition,
    /// One host is cut off from all others.
    Isolate,
    /// Dials from one host to another are kept out.
    Firewall,
    /// Dials to an address are refused, hang, find no way, or reach somebody who says nothing, closes or resets.
    DialFate,
    /// The connections between two hosts are reset.
    Reset,
    /// The connections between two hosts are reset again and again.
    Flap,
    /// Connections between two hosts break, and only one side, or none, is told.
    OneSided,
    /// A node dies and comes back as a later run of itself.
    Crash,
    /// A node dies and comes back with another id.
    NewIdentity,
    /// A node dies and comes back with its wall clock set back.
    Stale,
    /// A node dies, and a copy of another one starts in its place.
    Clone,
    /// A node dies and comes back at another address, or its host gets another one while it runs, and it starts again
    /// later.
    Move,
    /// A process does not run for 10 ms to 30 min.
    Pause,
    /// A process runs late again and again.
    Late,
    /// A monotonic clock jumps.
    ClockJump,
    /// A monotonic clock stops.
    ClockStop,
    /// A monotonic clock is too fast or too slow.
    Drift,
    /// A user takes no messages, or a few now and then.
    Consumer,
    /// A process does not read from its sockets, or little.
    Reader,
    /// A host runs out of descriptors.
    Exhaust,
    /// A node leaves, and comes back later.
    Leave,
    /// A user disconnects a peer, and wants it back later.
    Disconnect,
    /// A user joins a node, or adds it as a seed.
    Join,
    /// A user changes settings.
    Config,
    /// Somebody who belongs to no cluster attacks in one way until the end.
    Outsider,
    /// A member misbehaves in one way until the end. One that claims to be another node does so only where nodes have a
    /// secret, and prove who they are: elsewhere it rightly keeps a pair apart that is not connected.
    Insider,
    /// A user has the lost peers forgotten.
    Forget,
    /// Very little gets through between two hosts that send each other as much as they may: the connections are there
    /// before, or are made meanwhile, or carry something when it begins.
    Slow,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 33] = [
        Fault::Latency,
        Fault::Bandwidth,
        Fault::Cut,
        Fault::OneWay,
        Fault::Clog,
        Fault::Partition,
        Fault::Isolate,
        Fault::Firewall,
        Fault::DialFate,
        Fault::Reset,
        Fault::Flap,
        Fault::OneSided,
        Fault::Crash,
        Fault::NewIdentity,
        Fault::Stale,
        Fault::Clone,
        Fault::Move,
        Fault::Pause,
        Fault::Late,
        Fault::ClockJump,
        Fault::ClockStop,
        Fault::Drift,
        Fault::Consumer,
        Fault::Reader,
        Fault::Exhaust,
        Fault::Leave,
        Fault::Disconnect,
        Fault::Join,
        Fault::Config,
        Fault::Outsider,
        Fault::Insider,
        Fault::Forget,
        Fault::Slow,
    ];

    /// Its name on a command line, such as `one-way`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::Latency => "latency",
            Fault::Bandwidth => "bandwidth",
            Fault::Slow => "slow",
            Fault::Cut => "cut",
            Fault::OneWay => "one-way",
            Fault::Clog => "clog",
            Fault::Partition => "partition",
            Fault::Isolate => "isolate",
            Fault::Firewall => "firewall",
            Fault::DialFate => "dial-fate",
            Fault::Reset => "reset",
            Fault::Flap => "flap",
            Fault::OneSided => "one-sided",
            Fault::Crash => "crash",
            Fault::NewIdentity => "new-identity",
            Fault::Stale => "stale",
            Fault::Clone => "clone",
            Fault::Move => "move",
            Fault::Pause => "pause",
            Fault::Late => "late",
            Fault::ClockJump => "clock-jump",
            Fault::ClockStop => "clock-stop",
            Fault::Drift => "drift",
            Fault::Consumer => "consumer",
            Fault::Reader => "reader",
            Fault::Exhaust => "exhaust",
            Fault::Leave => "leave",
            Fault::Disconnect => "disconnect",
            Fault::Join => "join",
            Fault::Config => "config",
            Fault::Outsider => "outsider",
            Fault::Insider => "insider",
            Fault::Forget => "forget",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Fault, UnknownFault> {
        let found = Fault::ALL.into_iter().find(|fault| fault.name() == text);
        found.ok_or_else(|| UnknownFault { name: text.to_owned() })
    }
}

/// There is no fault of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFault {
    /// The name.
    pub name: String,
}

impl fmt::Display for UnknownFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        write!(f, "there is no fault {:?}; there are: {}", self.name, names.join(", "))
    }
}

impl std::error::Error for UnknownFault {}

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
    /// [`NetMut::abort_oldest`](crate::NetMut::abort_oldest).
    Abort { at: u32, peer: u32 },
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
            Op::Abort { at, peer } | Op::ResetOneSide { at, peer } | Op::HalfOpen { at, peer } => vec![at, peer],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_and_a_place_of_its_own() {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!((fault as usize, fault.name().parse()), (index, Ok(fault)));
        }
        assert!("quake".parse::<Fault>().unwrap_err().to_string().contains("one-way"));
    }
}
