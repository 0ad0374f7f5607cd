//! The links of this node, the runs at their other ends, and the runs it must not connect to.

use alloc::collections::BTreeMap;
use core::net::SocketAddr;

use super::context::Context;
use crate::id::{LinkId, NodeId};
use crate::link::{Dial, Link, LinkState};
use crate::peer::Peer;
use crate::tombstone::Tombstones;

/// The links, the runs at their other ends, and those that are over.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs {
    links: BTreeMap<LinkId, Link>,
    peers: BTreeMap<NodeId, Peer>,
    pub(super) tombstones: Tombstones,
    next_link: u64,
    next_token: u64,
}

impl Pairs {
    /// Adds a link that this node dials, or that has come in, and returns its id.
    pub(super) fn open(&mut self, cx: &Context, dial: Option<Dial>, remote: SocketAddr) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let before = self.links.insert(id, Link::new(id, dial, remote, cx.config.limits.control(), cx.now));
        debug_assert!(before.is_none(), "ids of links are never used again");
        id
    }

    /// Removes a link whose connection is gone.
    pub(super) fn close(&mut self, id: LinkId) -> Option<Link> {
        self.links.remove(&id)
    }

    pub(super) fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    pub(super) fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// Returns all links in the order in which they were opened.
    pub(super) fn links(&self) -> impl ExactSizeIterator<Item = &Link> {
        self.links.values()
    }

    pub(super) fn links_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.values_mut()
    }

    /// Returns the outbound link to this address that is being set up.
    pub(super) fn dial_to(&self, address: SocketAddr) -> Option<LinkId> {
        let is_undecided = |link: &&Link| {
            let is_begun = matches!(link.state, LinkState::Opening | LinkState::Claiming { .. });
            link.dial.is_some() && link.remote == address && is_begun
        };
        self.links().find(is_undecided).map(|link| link.id)
    }

    /// Adds the record of a run, in place of the record of an earlier run of the same node.
    pub(super) fn insert(&mut self, peer: Peer) {
        self.peers.insert(peer.run.id, peer);
    }

    pub(super) fn remove(&mut self, id: NodeId) -> Option<Peer> {
        self.peers.remove(&id)
    }

    pub(super) fn peer(&self, id: NodeId) -> Option<&Peer> {
        self.peers.get(&id)
    }

    pub(super) fn peer_mut(&mut self, id: NodeId) -> Option<&mut Peer> {
        self.peers.get_mut(&id)
    }

    /// Returns all records in the order of the ids of their nodes.
    pub(super) fn peers(&self) -> impl ExactSizeIterator<Item = &Peer> {
        self.peers.values()
    }

    /// Returns the token of a new ping.
    pub(super) fn next_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::CloseMode;
    use crate::config::Config;
    use crate::id::{Incarnation, Run};
    use crate::rng::{Purpose, Rng, Seed};
    use crate::time::Instant;

    fn at(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 7_000))
    }

    fn run(incarnation: u64) -> Run {
        Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(incarnation) }
    }

    fn context() -> Context {
        let rng = Rng::new(&Seed::new([1; 32]), Purpose::Jitter);
        Context::new(Config::insecure_plaintext(), run(1), rng, Instant::ZERO)
    }

    #[test]
    fn id_of_a_link_is_never_used_again() {
        let (cx, mut pairs) = (context(), Pairs::default());
        let first = pairs.open(&cx, None, at(1));
        assert!(pairs.close(first).is_some() && pairs.close(first).is_none());
        let second = pairs.open(&cx, None, at(1));
        assert!(first != second && pairs.link(first).is_none() && pairs.links().len() == 1);
    }

    #[test]
    fn only_an_undecided_dial_counts_as_one_to_its_address() {
        let (cx, mut pairs) = (context(), Pairs::default());
        pairs.open(&cx, None, at(1));
        assert_eq!(pairs.dial_to(at(1)), None, "that one came in");
        let dial = pairs.open(&cx, Some(Dial::default()), at(1));
        assert_eq!([pairs.dial_to(at(1)), pairs.dial_to(at(2))], [Some(dial), None]);
        pairs.link_mut(dial).unwrap().state = LinkState::Closing { mode: CloseMode::Abort, since: cx.now };
        assert_eq!(pairs.dial_to(at(1)), None);
    }

    #[test]
    fn node_has_one_record() {
        let mut pairs = Pairs::default();
        pairs.insert(Peer::new(run(1)));
        pairs.insert(Peer::new(run(2)));
        assert_eq!(pairs.peers().map(|peer| peer.run).collect::<alloc::vec::Vec<_>>(), [run(2)]);
        assert!(pairs.remove(run(1).id).is_some() && pairs.peer(run(1).id).is_none());
    }
}
