//! One node or target to dial: a lost peer, a node from hearsay, or a `host:port` that a user has named.

use core::net::SocketAddr;
use core::time::Duration;

use super::addresses::{Addresses, MAX_HEARSAY};
use crate::backoff::Backoff;
use crate::id::{LinkId, NodeId, Run};
use crate::limits::MAX_ADDRESSES;
use crate::time::Instant;

/// How long hearsay makes a run count as current.
pub(in crate::node) const CURRENT: Duration = Duration::from_secs(60);

/// How long a node that no peer names any longer is kept.
pub(in crate::node) const FORGOTTEN: Duration = Duration::from_secs(3_600);

/// After this many failed dials to a node that a peer is connected to, the node reports a partial partition.
pub(in crate::node) const UNREACHABLE: u32 = 3;

/// The reason for dialling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Origin {
    /// The node has a record in `Pairs`. It is dialled while it is lost.
    Peer,
    /// Peers name the node. It is dialled until it is a peer.
    Heard,
    /// A user has named an address: a join or a seed.
    Target,
}

/// Where to dial, and when.
#[derive(Clone, Debug)]
pub(in crate::node) struct Contact {
    pub(in crate::node) origin: Origin,
    pub(in crate::node) addresses: Addresses,
    /// One schedule for each contact: hearsay about a lost peer must not make it dial faster, and neither must a peer
    /// that makes up later runs.
    pub(in crate::node) backoff: Backoff,
    /// The dial that looks for the node. A target has one for each of its addresses instead.
    pub(in crate::node) dialing: Option<LinkId>,
    /// Do not dial before this time: the other side violated the protocol.
    pub(in crate::node) shunned_until: Instant,
    /// The node has already redialled at once after it told a stale run about this one; it does so only once.
    pub(in crate::node) corrected: bool,
    /// Present if peers have named the node since it was last up.
    pub(in crate::node) hearsay: Option<Hearsay>,
}

/// What peers say of a node.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Hearsay {
    /// The latest run that a peer has named.
    pub(in crate::node) run: Run,
    /// The peer that named the node first; its quota pays.
    pub(in crate::node) introducer: NodeId,
    /// The peer that named the run last.
    pub(in crate::node) named_by: Run,
    pub(in crate::node) named_at: Instant,
    /// The user knows that the node cannot be reached.
    pub(in crate::node) reported: bool,
}

impl Hearsay {
    /// Returns whether a peer has named the run recently.
    pub(in crate::node) fn is_current(&self, now: Instant) -> bool {
        now - self.named_at <= CURRENT
    }
}

impl Contact {
    pub(in crate::node) fn new(origin: Origin) -> Contact {
        Contact {
            origin,
            addresses: Addresses::default(),
            backoff: Backoff::default(),
            dialing: None,
            shunned_until: Instant::ZERO,
            corrected: false,
            hearsay: None,
        }
    }

    /// Adds addresses that a peer names. Returns whether they are worth a dial now. A lost peer keeps fewer of them, because
    /// each one that is dialled delays the addresses where the peer was.
    pub(in crate::node) fn hear(&mut self, addresses: &[SocketAddr]) -> bool {
        let most = if self.origin == Origin::Peer { MAX_ADDRESSES } else { MAX_HEARSAY };
        self.addresses.hear(addresses, most)
    }

    /// Returns whether nothing but the word of others speaks for an address.
    pub(in crate::node) fn is_hearsay(&self, address: SocketAddr) -> bool {
        self.origin != Origin::Target && !self.addresses.is_verified(address)
    }
}
