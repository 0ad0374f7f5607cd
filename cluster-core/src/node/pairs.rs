//! The links of this node, the runs at their other ends, and the runs it must not connect to.

use alloc::collections::BTreeMap;

use crate::id::{LinkId, NodeId};
use crate::link::Link;
use crate::peer::Peer;
use crate::tombstone::Tombstones;

/// The links, the runs at their other ends, and those that are over.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs {
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) tombstones: Tombstones,
    next_link: u64,
    next_token: u64,
}

impl Pairs {
    /// Returns the id of a new link.
    pub(super) fn next_link(&mut self) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        id
    }

    /// Returns the token of a new ping.
    pub(super) fn next_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }
}
