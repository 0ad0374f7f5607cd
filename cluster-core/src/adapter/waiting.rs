//! Who waits for the end of a join or a flush.

use alloc::collections::BTreeMap;

use crate::event::Event;
use crate::id::{FlushId, JoinId, Run};
use crate::reason::JoinError;

/// Those who wait for a join or a flush to end: as many as the core lets begin. `J` and `F` are what each is told by, such
/// as the sender of a channel.
///
/// ```
/// use cluster_core::adapter::{Settled, Waiting};
/// use cluster_core::{Config, Instant, Node, Secret, Start};
///
/// let config = Config::new(Secret::from_bytes([7; 32]));
/// let start = Start { seed: [1; 32], incarnation: Default::default(), listen: None };
/// let mut node = Node::new(config, start, Instant::ZERO).unwrap();
/// let mut waiting = Waiting::<&str, &str>::default();
///
/// let target = "203.0.113.9:7000".parse().unwrap();
/// waiting.join(node.join(Instant::ZERO, target).unwrap(), "the caller");
/// // Each event is shown to it. This node ends before the join does.
/// assert!(waiting.end().eq([Settled::Join("the caller", Err(cluster_core::JoinError::Leaving))]));
/// ```
#[derive(Debug)]
pub struct Waiting<J, F> {
    joins: BTreeMap<JoinId, J>,
    flushes: BTreeMap<FlushId, F>,
}

/// Somebody who waited, and what there is to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled<J, F> {
    /// A join has ended: the peer that was found, or why there is none.
    Join(J, Result<Run, JoinError>),
    /// A flush has ended: how many of its messages were undelivered; `None` if the node ended before.
    Flush(F, Option<u64>),
}

impl<J, F> Default for Waiting<J, F> {
    fn default() -> Waiting<J, F> {
        Waiting { joins: BTreeMap::new(), flushes: BTreeMap::new() }
    }
}

impl<J, F> Waiting<J, F> {
    /// Somebody waits for a join that has just begun.
    pub fn join(&mut self, join: JoinId, who: J) {
        self.joins.insert(join, who);
    }

    /// Somebody waits for a flush that has just begun.
    pub fn flush(&mut self, flush: FlushId, who: F) {
        self.flushes.insert(flush, who);
    }

    /// Who is to be told because of this event, if anybody waits for it.
    pub fn settle(&mut self, event: &Event) -> Option<Settled<J, F>> {
        match event {
            Event::Joined { join, peer, .. } => self.joins.remove(join).map(|who| Settled::Join(who, Ok(*peer))),
            Event::JoinFailed { join, error, .. } => {
                self.joins.remove(join).map(|who| Settled::Join(who, Err(error.clone())))
            }
            Event::Flushed { flush, undelivered, .. } => {
                self.flushes.remove(flush).map(|who| Settled::Flush(who, Some(*undelivered)))
            }
            _ => None,
        }
    }

    /// The node has ended: all who still wait are to be told.
    pub fn end(&mut self) -> impl Iterator<Item = Settled<J, F>> + use<J, F> {
        let joins = core::mem::take(&mut self.joins).into_values();
        let flushes = core::mem::take(&mut self.flushes).into_values();
        let joins = joins.map(|who| Settled::Join(who, Err(JoinError::Leaving)));
        joins.chain(flushes.map(|who| Settled::Flush(who, None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, NodeId};

    #[test]
    fn whoever_waits_is_told_once_and_of_their_own_alone() {
        let mut waiting = Waiting::default();
        waiting.join(JoinId(1), "alice");
        waiting.join(JoinId(2), "bob");
        waiting.flush(FlushId(1), "carol");
        let peer = Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(1) };
        let target = "127.0.0.1:1".parse().unwrap();
        let joined = Event::Joined { join: JoinId(1), target, peer };
        assert_eq!(waiting.settle(&joined), Some(Settled::Join("alice", Ok(peer))));
        assert_eq!(waiting.settle(&joined), None);
        let flushed = Event::Flushed { flush: FlushId(1), peer, undelivered: 3 };
        assert_eq!(waiting.settle(&flushed), Some(Settled::Flush("carol", Some(3))));
        assert_eq!(waiting.settle(&Event::PeerGone { peer }), None);
        waiting.flush(FlushId(2), "dave");
        assert!(waiting.end().eq([Settled::Join("bob", Err(JoinError::Leaving)), Settled::Flush("dave", None)]));
        assert_eq!(waiting.end().count(), 0);
    }
}
