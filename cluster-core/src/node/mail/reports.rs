//! Messages that came to nothing and of which their sender has not read yet: they take room as if they still waited.

use alloc::collections::BTreeMap;

use crate::event::Undelivered;
use crate::id::NodeId;
use crate::session::Head;

/// The payloads of an [`Undelivered`] that waits for its reader, as [`Node::defer`](crate::Node::defer) counts them.
/// Give it back to [`Node::read`](crate::Node::read).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is deferred takes room until the node hears that it was read"]
pub struct Deferred {
    peer: NodeId,
    bytes: u64,
}

/// How many bytes of each node's messages wait to be read as undelivered.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Reports {
    bytes: BTreeMap<NodeId, u64>,
}

impl Reports {
    pub(in crate::node) fn defer(&mut self, told: &Undelivered) -> Deferred {
        let payloads = told.not_delivered.iter().chain(&told.in_doubt);
        let bytes = payloads.map(|payload| Head::of(payload.len() as u64).total()).sum();
        let peer = told.peer.id;
        *self.bytes.entry(peer).or_default() += bytes;
        Deferred { peer, bytes }
    }

    /// The id that has more room now.
    pub(in crate::node) fn read(&mut self, Deferred { peer, bytes }: Deferred) -> NodeId {
        if let Some(unread) = self.bytes.get_mut(&peer) {
            debug_assert!(*unread >= bytes, "a report is read twice");
            *unread = unread.saturating_sub(bytes);
            if *unread == 0 {
                self.bytes.remove(&peer);
            }
        }
        peer
    }

    /// The bytes that count against the window of a node. With `max` other nodes to be read about, none is left.
    #[inline]
    pub(in crate::node) fn of(&self, id: NodeId, max: usize) -> u64 {
        if self.bytes.is_empty() {
            return 0;
        }
        match self.bytes.get(&id) {
            Some(&unread) => unread,
            None if self.bytes.len() >= max => u64::MAX,
            None => 0,
        }
    }

    pub(in crate::node) fn total(&self) -> u64 {
        self.bytes.values().sum()
    }

    /// How many nodes there is something to read about.
    pub(in crate::node) fn len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::id::{Incarnation, Run};

    fn told(id: u8, payload: &'static [u8]) -> Undelivered {
        let peer = Run { id: NodeId::from_bytes([id; 16]), incarnation: Incarnation(1) };
        let (not_delivered, in_doubt) = (Vec::from([payload.into()]), Vec::from([payload.into()]));
        Undelivered { peer, not_delivered, in_doubt }
    }

    #[test]
    fn what_is_deferred_counts_with_its_heads_until_it_is_read() {
        let mut unread = Reports::default();
        let (first, second) = (unread.defer(&told(1, &[0; 30])), unread.defer(&told(1, b"a")));
        let id = NodeId::from_bytes([1; 16]);
        assert_eq!(unread.of(id, 8), 2 * 32 + 2 * 2);
        assert_eq!(unread.read(first), id);
        assert_eq!((unread.of(id, 8), unread.total()), (4, 4));
        assert_eq!(unread.read(second), id);
        assert_eq!((unread.of(id, 8), unread.len()), (0, 0));
    }

    #[test]
    fn with_as_many_nodes_to_read_about_as_may_be_no_other_has_room() {
        let mut unread = Reports::default();
        let _ = unread.defer(&told(1, b"a"));
        let second = unread.defer(&told(2, b"a"));
        let (one, three) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([3; 16]));
        assert_eq!((unread.of(one, 2), unread.of(three, 2), unread.of(three, 3)), (4, u64::MAX, 0));
        unread.read(second);
        assert_eq!(unread.of(three, 2), 0);
    }
}
