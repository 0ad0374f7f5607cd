//! What happened in a run, as plain data.

use std::net::SocketAddr;

use cluster_core::{Instant, LinkId, PeerState, Run};

use crate::record::{FrameKind, HostId};

/// How many messages a timeline keeps: the newest.
pub const MAX_MESSAGES: usize = 50_000;

/// How many frames a timeline keeps besides heartbeats, and how many heartbeats: the newest of each.
pub const MAX_FRAMES: usize = 50_000;

/// How many notes a timeline keeps: the newest.
pub const MAX_NOTES: usize = 50_000;

/// How many spans of each kind (states, faults, peers, links) a timeline keeps: the newest.
pub const MAX_SPANS: usize = 50_000;

/// What happened in a run of a simulated world, from the moment at which recording began. Plain data, ordered by time
/// within each list.
///
/// The lists are bounded; [`hidden`](Timeline::hidden) says how many of the oldest entries were let go.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// The seed of the world.
    pub seed: u64,
    /// The hash of everything that happened in the world.
    pub hash: u64,
    /// When recording began.
    pub begin: Instant,
    /// When the timeline was taken.
    pub end: Instant,
    /// The hosts, by [index](HostId::index).
    pub hosts: Vec<Lane>,
    /// What each host was doing.
    pub states: Vec<StateSpan>,
    /// What was wrong, and for how long.
    pub faults: Vec<FaultSpan>,
    /// What each node took its peers for.
    pub peers: Vec<PeerSpan>,
    /// The links of each node: one entry for each end.
    pub links: Vec<LinkSpan>,
    /// Messages on their way from user to user.
    pub messages: Vec<MessagePath>,
    /// Frames on their way from node to node.
    pub frames: Vec<FramePath>,
    /// What happened at one time: events, calls, faults.
    pub notes: Vec<Note>,
    /// Broken promises.
    pub violations: Vec<Breach>,
    /// How far the mesh was from being complete. Without gaps.
    pub mesh: Vec<MeshSpan>,
    /// The times during which some hosts could not reach some others.
    pub splits: Vec<SplitSpan>,
    /// What is missing from the lists.
    pub hidden: Hidden,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Its name, such as `n0`.
    pub name: String,
    /// Where its node listens, or would.
    pub address: SocketAddr,
}

/// What a host was doing for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSpan {
    /// Which host.
    pub host: HostId,
    /// What.
    pub state: HostState,
    /// As which run of a node.
    pub run: Option<Run>,
    /// Since when.
    pub from: Instant,
    /// Until when; `None`: still at the end.
    pub until: Option<Instant>,
}

/// What a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HostState {
    /// Nothing has run on it yet.
    Idle,
    /// A node runs.
    Running,
    /// A node's process is paused.
    Paused,
    /// The node has left.
    Left,
    /// The process was killed, or the host lost power.
    Crashed,
    /// A puppet runs: a member that a test plays.
    Puppet,
}

impl HostState {
    /// The name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            HostState::Idle => "idle",
            HostState::Running => "running",
            HostState::Paused => "paused",
            HostState::Left => "left",
            HostState::Crashed => "crashed",
            HostState::Puppet => "puppet",
        }
    }

    /// Whether there is a node that has not left, paused or not.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, HostState::Running | HostState::Paused)
    }
}

/// Something that was wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultSpan {
    /// What.
    pub kind: FaultKind,
    /// With which host; of a way between two, the one it leads from.
    pub host: HostId,
    /// The host that the way leads to.
    pub to: Option<HostId>,
    /// Since when.
    pub from: Instant,
    /// Until when; `None`: still at the end.
    pub until: Option<Instant>,
}

/// What can be wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// Nothing gets from one host to the other.
    Cut,
    /// Dials from one host to the other are never answered.
    DialsDropped,
    /// Dials from one host to the other are refused.
    DialsRefused,
    /// No descriptor is left.
    Exhausted,
    /// The user of the node takes no messages, or a counted number.
    NotConsuming,
    /// The process does not read from its sockets, or a counted number of bytes.
    NotReading,
    /// The monotonic clock stands still.
    ClockStopped,
}

impl FaultKind {
    /// The name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Cut => "cut",
            FaultKind::DialsDropped => "dials dropped",
            FaultKind::DialsRefused => "dials refused",
            FaultKind::Exhausted => "no descriptors",
            FaultKind::NotConsuming => "user takes nothing",
            FaultKind::NotReading => "process reads nothing",
            FaultKind::ClockStopped => "clock stopped",
        }
    }
}

/// What a node took a peer for, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSpan {
    /// Whose node.
    pub host: HostId,
    /// The host of the peer; `None`: a run that the world knows nothing of.
    pub peer: Option<HostId>,
    /// Which run.
    pub run: Run,
    /// Up, or lost and being dialled again.
    pub state: PeerState,
    /// Since when.
    pub from: Instant,
    /// Until when; `None`: still at the end.
    pub until: Option<Instant>,
    /// Why it ended, if the node said so, or its end is the node's own.
    pub ended: Option<String>,
}

/// One end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSpan {
    /// Whose node.
    pub host: HostId,
    /// Its name at the node.
    pub link: LinkId,
    /// The connection under it, the same number at both ends; `None`: it never came to one.
    pub connection: Option<usize>,
    /// Whether this end dialled.
    pub outbound: bool,
    /// The address of the other end, as this end sees it.
    pub remote: SocketAddr,
    /// The host at the other end, as far as can be told.
    pub peer: Option<HostId>,
    /// When it was dialled or admitted.
    pub opened: Instant,
    /// When the handshake of its channel ended.
    pub connected: Option<Instant>,
    /// When it was granted: an `Accept` went over it.
    pub granted: Option<Instant>,
    /// When it ended; `None`: it has not.
    pub ended: Option<Instant>,
    /// Why it ended.
    pub reason: Option<String>,
}

/// A message from user to user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessagePath {
    /// Who sent it; `None`: nobody known.
    pub from: Option<HostId>,
    /// Who took it, or was to.
    pub to: Option<HostId>,
    /// Its length in bytes.
    pub bytes: usize,
    /// When `send` or `broadcast` accepted it; `None`: before recording began, or by a puppet.
    pub sent: Option<Instant>,
    /// When the receiver's user took it; `None`: it has not.
    pub taken: Option<Instant>,
    /// When the sender's session with that run was over, if the message had not been taken by then.
    pub given_up: Option<Instant>,
}

/// A frame from node to node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramePath {
    /// Whose node sent it.
    pub from: Option<HostId>,
    /// Whose node got it, or was to.
    pub to: Option<HostId>,
    /// What it is.
    pub kind: FrameKind,
    /// Over which connection.
    pub connection: usize,
    /// When the node handed it out; `None`: before recording began, or by a puppet.
    pub sent: Option<Instant>,
    /// When the other node was given it; `None`: it was not.
    pub got: Option<Instant>,
    /// What is in it, in short.
    pub text: String,
}

/// Something that happened at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub at: Instant,
    /// Where; `None`: everywhere.
    pub host: Option<HostId>,
    /// The other host that it is about.
    pub peer: Option<HostId>,
    /// What it is.
    pub kind: NoteKind,
    /// What it is, in a sentence.
    pub text: String,
}

/// What a note stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NoteKind {
    /// A node told its user that a peer is up.
    Up,
    /// A node told its user that a peer is down.
    Down,
    /// A node told its user something else.
    Event,
    /// The user called a node.
    Call,
    /// The test did something to the world, once.
    Fault,
    /// The test had something hold from now on: see [`Timeline::faults`] and [`Timeline::states`] for how long.
    Condition,
    /// A line worth a log: a notice, a connection not admitted, a name looked up.
    Notice,
    /// What a puppet did.
    Puppet,
    /// A line that an application wrote.
    App,
}

impl NoteKind {
    /// The name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NoteKind::Up => "up",
            NoteKind::Down => "down",
            NoteKind::Event => "event",
            NoteKind::Call => "call",
            NoteKind::Fault => "fault",
            NoteKind::Condition => "condition",
            NoteKind::Notice => "notice",
            NoteKind::Puppet => "puppet",
            NoteKind::App => "app",
        }
    }
}

/// A promise that was broken, or an expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// When it was noticed.
    pub at: Instant,
    /// By whose node, if it is one node's.
    pub host: Option<HostId>,
    /// Which.
    pub text: String,
}

/// How complete the mesh was for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshSpan {
    /// Since when.
    pub from: Instant,
    /// How many nodes were up, paused ones included.
    pub nodes: usize,
    /// How many ordered pairs (a, b) of them there were in which a had the present run of b up.
    pub seen: usize,
    /// How many peers that are no more, or are another run by now, they had up.
    pub stale: usize,
}

impl MeshSpan {
    /// How many ordered pairs there were.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.nodes * self.nodes.saturating_sub(1)
    }

    /// Whether there were at least two nodes, and each saw every other and nobody else.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.nodes > 1 && self.seen == self.pairs() && self.stale == 0
    }
}

/// A while during which some hosts could not reach some others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitSpan {
    /// Since when.
    pub from: Instant,
    /// Until when; `None`: still at the end.
    pub until: Option<Instant>,
    /// Hosts that could reach each other, directly or by way of others. One island: only some ways were cut.
    pub islands: Vec<Vec<HostId>>,
    /// Who was cut off from whom, such as `n0 n1 | n2`.
    pub text: String,
}

/// How many of the oldest entries of each list were let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Of [`Timeline::states`], [`faults`](Timeline::faults), [`peers`](Timeline::peers) and
    /// [`links`](Timeline::links).
    pub spans: u64,
    /// Of [`Timeline::messages`].
    pub messages: u64,
    /// Of [`Timeline::frames`], heartbeats left out.
    pub frames: u64,
    /// Of the pings and pongs in [`Timeline::frames`].
    pub heartbeats: u64,
    /// Of [`Timeline::notes`].
    pub notes: u64,
}

impl Hidden {
    /// The lists with something missing, and how much of each.
    pub fn missing(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let lists = [
            ("spans", self.spans),
            ("messages", self.messages),
            ("frames", self.frames),
            ("heartbeats", self.heartbeats),
            ("notes", self.notes),
        ];
        lists.into_iter().filter(|&(_, count)| count > 0)
    }
}
