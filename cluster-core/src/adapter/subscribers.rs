//! Who is told of events, for adapters with several subscribers.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;

use crate::event::{Event, PeerState};
use crate::node::Deferred;
use crate::node::Node;

/// What has a [`Node`] under a lock, and tells it what was read.
pub trait Reader {
    /// Takes the node's lock, and calls [`Node::read`].
    fn read(self: Arc<Self>, deferred: Deferred);
}

/// The queue of one subscriber: an [`EventQueue`](crate::adapter::EventQueue) of `Arc<Unread<N>>` under a lock.
pub trait Subscriber<N: Reader> {
    /// Queues an event. It must not drop the last of what is unread, whose lock may be held: whoever calls has one, too.
    fn push(&self, event: Event, unread: Option<Arc<Unread<N>>>);

    /// No more events can come.
    fn end(&self);
}

/// An [`Event::Undelivered`] that not every subscriber has read: the node is told by the last of them.
///
/// Dropping it may take the node's lock: never to be done by who holds that, or the lock of a queue.
pub struct Unread<N: Reader> {
    node: Weak<N>,
    deferred: Option<Deferred>,
}

impl<N: Reader> Drop for Unread<N> {
    fn drop(&mut self) {
        if let (Some(node), Some(deferred)) = (self.node.upgrade(), self.deferred.take()) {
            node.read(deferred);
        }
    }
}

impl<N: Reader> fmt::Debug for Unread<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unread").field("deferred", &self.deferred).finish_non_exhaustive()
    }
}

/// The subscribers of a node, each for as long as somebody holds its queue.
#[derive(Debug)]
pub struct Subscribers<Q> {
    queues: Vec<Weak<Q>>,
    ended: bool,
}

impl<Q> Default for Subscribers<Q> {
    fn default() -> Subscribers<Q> {
        Subscribers { queues: Vec::new(), ended: false }
    }
}

impl<Q> Subscribers<Q> {
    /// One more: it is told of the peers that are up, and misses nothing after that.
    pub fn subscribe<N: Reader>(&mut self, core: &Node, queue: &Arc<Q>)
    where
        Q: Subscriber<N>,
    {
        for peer in core.peers().filter(|peer| peer.state == PeerState::Up) {
            queue.push(Event::PeerUp(peer), None);
        }
        if self.ended {
            queue.end();
        } else {
            self.queues.push(Arc::downgrade(queue));
        }
    }

    /// Tells all. Those whose readers are to be woken are appended to `told`; what is returned is to be dropped when the
    /// node's lock is free.
    #[must_use = "it must outlive the node's lock"]
    pub fn publish<N: Reader>(
        &mut self,
        node: &Arc<N>,
        core: &mut Node,
        event: &Event,
        told: &mut Vec<Arc<Q>>,
    ) -> Option<Arc<Unread<N>>>
    where
        Q: Subscriber<N>,
    {
        self.queues.retain(|queue| queue.strong_count() > 0);
        let unread = match event {
            Event::Undelivered(lost) if !self.queues.is_empty() => {
                Some(Arc::new(Unread { node: Arc::downgrade(node), deferred: Some(core.defer(lost)) }))
            }
            _ => None,
        };
        for queue in self.queues.iter().filter_map(Weak::upgrade) {
            queue.push(event.clone(), unread.clone());
            told.push(queue);
        }
        unread
    }

    /// Whether nobody was told of the last event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// No more events can come, now or later. Those whose readers are to be woken are appended to `told`.
    pub fn end<N: Reader>(&mut self, told: &mut Vec<Arc<Q>>)
    where
        Q: Subscriber<N>,
    {
        self.ended = true;
        for queue in self.queues.drain(..).filter_map(|queue| queue.upgrade()) {
            queue.end();
            told.push(queue);
        }
    }
}
