//! What the user is told.

use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use bytes::Bytes;

use crate::address::Target;
use crate::id::{FlushId, JoinId, Run};
use crate::reason::{JoinError, Reason};
use crate::wire::Name;

/// Something the user may want to know.
///
/// The events of one peer run always form the word `((PeerUp PeerUpdated* PeerDown)+ Undelivered? PeerGone)*`, and the
/// last `PeerGone` of a run comes before the `PeerUp` of the next run of that node. While the peer is up,
/// `Undelivered? SessionReset` may come in between; `Delivered` and `Flushed` may come at any time before `PeerGone`. No
/// message of a run can be taken before its first `PeerUp`. [`Node::peers`](crate::Node::peers) already reflects an
/// event when it is seen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A peer is connected. Messages can be sent to it and broadcasts include it from here on.
    PeerUp(PeerInfo),
    /// A peer that is up has changed its name, metadata or addresses.
    PeerUpdated(PeerInfo),
    /// A peer that was up is not connected any more.
    PeerDown {
        /// Which run.
        peer: Run,
        /// The label it had.
        name: Option<Name>,
        /// Why. [`Reason::is_transient`] says whether the node tries to connect again by itself.
        reason: Reason,
    },
    /// The session with a run is over: every message that was accepted for it has its outcome, and the next session
    /// begins with its next `PeerUp`. Only if the run is back at this very moment, and knows nothing of the session any
    /// more, do messages of which nothing was handed out go on in the next one.
    PeerGone {
        /// Which run.
        peer: Run,
    },
    /// Messages that `send` accepted will not be delivered, or nobody can tell whether they were: see [`Undelivered`].
    Undelivered(Undelivered),
    /// The peer has taken messages, or acknowledged them where that is up to it. Told at most once per peer in
    /// [`DELIVERED_INTERVAL`](crate::limits::DELIVERED_INTERVAL); only the latest counts.
    Delivered {
        /// Which run.
        peer: Run,
        /// How many messages of this session are delivered so far: since the run's first `PeerUp`, or its first after a
        /// `PeerGone`.
        messages: u64,
    },
    /// A flush has ended: every message accepted for the peer before it has its outcome.
    Flushed {
        /// Which call of flush.
        flush: FlushId,
        /// Which run.
        peer: Run,
        /// How many of those messages were reported as undelivered since the call; the others are delivered.
        undelivered: u64,
    },
    /// A session with a live run began anew, because the other side had lost it. What was unacknowledged is reported
    /// by an [`Event::Undelivered`] just before.
    SessionReset {
        /// Which run.
        peer: Run,
    },
    /// A join has ended well: its peer is up.
    Joined {
        /// Which call of join.
        join: JoinId,
        /// What was joined.
        target: Target,
        /// The peer found there.
        peer: Run,
    },
    /// A join has come to nothing.
    JoinFailed {
        /// Which call of join.
        join: JoinId,
        /// What was to be joined.
        target: Target,
        /// Why.
        error: JoinError,
    },
    /// A peer is connected to a node that this node cannot reach. Told once per such pair and outage.
    PartialPartition {
        /// The peer that named it.
        peer: Run,
        /// The node that this one does not see.
        unseen: Run,
    },
    /// Two live nodes use one id. The one that was there first stays connected.
    DuplicateIdentity {
        /// The run that was refused: another node's, or this one's own. If another live node has this one's
        /// id, this one dials nobody for a minute.
        newcomer: Run,
    },
    /// The node has left: every link is closed and nothing more follows.
    Left {
        /// Messages accepted by `send` that were not taken by their receiver before the deadline.
        undelivered: u64,
    },
    /// The reader of events was too slow, and this many were dropped; [`Node::peers`](crate::Node::peers) is
    /// accurate. Made by adapters, never by the core.
    Lagged {
        /// How many events were dropped.
        missed: u64,
    },
}

/// What is known of a peer.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its node and run.
    pub run: Run,
    /// The label it gave itself.
    pub name: Option<Name>,
    /// What it attached to itself: at most 4 KiB, not interpreted.
    pub metadata: Bytes,
    /// The address preferred for dialling it, if one is known.
    pub address: Option<SocketAddr>,
    /// Whether it is connected.
    pub state: PeerState,
}

/// Shows the size of the metadata, never its content.
impl fmt::Debug for PeerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerInfo")
            .field("run", &self.run)
            .field("name", &self.name)
            .field("metadata", &format_args!("{} bytes", self.metadata.len()))
            .field("address", &self.address)
            .field("state", &self.state)
            .finish()
    }
}

/// Whether a peer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerState {
    /// Connected.
    Up,
    /// Was connected, was lost, and is being dialled again.
    Lost,
}

/// Messages that came to nothing, given back to who sent them.
///
/// Each message that was accepted has one of three outcomes:
///
/// - *delivered*: the other application took it, or acknowledged it where that is up to it. It never does so twice.
///   [`Event::Delivered`] counts them, and a flush waits for them.
/// - *not delivered*: the session ended, and no byte of the message had been handed to a connection.
/// - *in doubt*: the session ended, a byte had been handed to a connection, and the other side never said what it took.
///
/// A lost connection does not end a session: it goes on over the next one. What ends it is that the peer is over (its
/// process was started again, it left, or one of the two users disconnected it), that it was lost for longer than
/// `session_ttl`, that its place was needed for another peer (`max_peers`), that another node answers at its address, or
/// that this node leaves.
///
/// A payload that is given back and sent again is a new message: nobody compares it with the one before. Who sends again
/// what was in doubt has to expect that the other side sees it twice.
#[derive(Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// The run they were meant for.
    pub peer: Run,
    /// Payloads of which no byte was handed to the network, oldest first: certainly not delivered.
    pub not_delivered: Vec<Bytes>,
    /// Payloads that were handed to the network, wholly or in part, and never acknowledged, oldest first: the other
    /// side took them, or not.
    pub in_doubt: Vec<Bytes>,
}

impl Undelivered {
    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.not_delivered.len() + self.in_doubt.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Shows how many, never their content.
impl fmt::Debug for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undelivered")
            .field("peer", &self.peer)
            .field("not_delivered", &self.not_delivered.len())
            .field("in_doubt", &self.in_doubt.len())
            .finish()
    }
}
