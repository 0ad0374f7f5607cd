//! What tests can look at afterwards: every event, message, dial, close and frame count.

use std::net::SocketAddr;

use bytes::Bytes;
use cluster_core::{CloseMode, Disconnect, Event, Instant, LinkId, NodeId, Notice, Reason, Receipt, Run};
use cluster_timeline::record::{FrameKind, HostId};

/// An event that a node told its user.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// When, in the world's time.
    pub at: Instant,
    /// Which run of the host's node told it.
    pub run: Run,
    /// The event.
    pub event: Event,
}

/// A message that a node's user took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// When, in the world's time.
    pub at: Instant,
    /// Which run of the host's node took it.
    pub run: Run,
    /// Who sent it.
    pub from: Run,
    /// What was sent.
    pub payload: Bytes,
    /// For [`NodeMut::acknowledge`](crate::NodeMut::acknowledge), where acknowledging is manual.
    pub receipt: Receipt,
}

/// A dial that a node asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialled {
    /// When, in the world's time.
    pub at: Instant,
    /// By which host.
    pub from: HostId,
    /// The link it was for.
    pub link: LinkId,
    /// Where to.
    pub to: SocketAddr,
}

/// A link that a node asked to be closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// When, in the world's time.
    pub at: Instant,
    /// Which link.
    pub link: LinkId,
    /// Who was at the other end, if it got as far as that.
    pub peer: Option<Run>,
    /// How.
    pub mode: CloseMode,
    /// Why.
    pub reason: Reason,
}

/// A link that ended, as the node was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// When, in the world's time.
    pub at: Instant,
    /// Which link.
    pub link: LinkId,
    /// Why.
    pub cause: Disconnect,
}

/// A line worth a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Noticed {
    /// When, in the world's time.
    pub at: Instant,
    /// The notice.
    pub notice: Notice,
}

/// How many frames of each kind a host's nodes have handed out, and how many bytes they take in records (of data
/// frames, up to a few bytes more).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    frames: [u64; FrameKind::COUNT],
    bytes: [u64; FrameKind::COUNT],
}

impl Wire {
    /// How many frames of this kind.
    #[must_use]
    pub fn frames(&self, kind: FrameKind) -> u64 {
        self.frames[kind as usize]
    }

    /// How many bytes of this kind.
    #[must_use]
    pub fn bytes(&self, kind: FrameKind) -> u64 {
        self.bytes[kind as usize]
    }

    /// Bytes of peer exchange: digests, lists and announcements.
    #[must_use]
    pub fn gossip_bytes(&self) -> u64 {
        [FrameKind::Digest, FrameKind::List, FrameKind::Announce].map(|kind| self.bytes(kind)).iter().sum()
    }

    pub(crate) fn count(&mut self, kind: FrameKind, bytes: usize) {
        self.frames[kind as usize] += 1;
        self.bytes[kind as usize] += bytes as u64;
    }
}

/// A link of a node, as its driver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// Its name at the node.
    pub link: LinkId,
    /// The connection under it: the same number at both ends.
    pub connection: usize,
    /// Whether this end dialled.
    pub outbound: bool,
    /// The address of the other end, as this end sees it.
    pub remote: SocketAddr,
    /// Who is there, once the handshake is over.
    pub peer: Option<Run>,
    /// Whether it was granted: an `Accept` went over it.
    pub granted: bool,
    /// Whether the node has asked to close it.
    pub closing: bool,
}

/// Everything one host's nodes have told and done.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) events: Vec<Logged>,
    /// How many peers are up by the events of the latest run.
    pub(crate) up: usize,
    pub(crate) messages: Vec<Taken>,
    /// How many of them the test has received one by one.
    pub(crate) received: usize,
    pub(crate) taken: u64,
    pub(crate) keep_messages: bool,
    pub(crate) notices: Vec<Noticed>,
    pub(crate) closes: Vec<Closed>,
    pub(crate) ends: Vec<Ended>,
    pub(crate) writable: Vec<(Instant, NodeId)>,
    pub(crate) refused: u64,
    pub(crate) wire: Wire,
}
