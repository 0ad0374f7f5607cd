//! What users are told: a bounded queue per subscriber.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster_core::adapter::{self, EventQueue};
use cluster_core::{Deferred, Event};
use tokio::sync::Notify;

use crate::driver::{Caller, Shared};

/// The events of a node, from [`Node::events`](crate::Node::events) on.
///
/// It begins with a [`PeerUp`](Event::PeerUp) for each peer that is up at that moment. A reader that falls more than
/// [`EVENT_QUEUE`](crate::EVENT_QUEUE) events behind loses the oldest and finds [`Event::Lagged`] in their place; then
/// [`Node::peers`](crate::Node::peers) says how things stand, and the events that follow lead on from there.
/// [`Event::Undelivered`] is never lost this way: of each run what was pushed out is merged into one. Until every
/// `Events` of the node has read it, it takes room in the `send_window` of its peer; so whoever reads should not wait in
/// [`Node::send`](crate::Node::send) or [`Node::flush`](crate::Node::flush).
///
/// It does not keep the node alive: after [`Event::Left`], or when the last [`Node`](crate::Node) handle is gone, it
/// ends with `None`.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

impl Events {
    pub(crate) fn new(queue: Arc<Queue>) -> Events {
        Events { queue }
    }

    /// The next event, or `None` when no more can come. Cancel safe: a dropped call has taken nothing.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::task::coop::consume_budget().await;
            let woken = self.queue.changed.notified();
            let (next, ended) = self.queue.pop();
            if next.is_some() || ended {
                return next;
            }
            woken.await;
        }
    }

    /// The next event if one is waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        self.queue.pop().0
    }
}

/// An event whose reading the node waits for.
type Unread = adapter::Unread<Shared>;

impl adapter::Reader for Shared {
    fn read(self: Arc<Self>, deferred: Deferred) {
        self.enter(Caller::Other, |state, now| state.core.read(now, deferred));
    }
}

/// Shared by one subscriber and the node.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<EventQueue<Arc<Unread>>>,
    changed: Notify,
}

impl Queue {
    /// The next event, which counts as read, and whether no more can come after it.
    fn pop(&self) -> (Option<Event>, bool) {
        // Apart from the lock, which must be free when the node hears that something was read.
        let (next, ended) = {
            let mut waiting = self.lock();
            (waiting.pop(), waiting.has_ended())
        };
        (next.map(|(event, _unread)| event), ended)
    }

    /// Wakes the subscriber. Apart from `push`, so that no waker runs under the node's lock.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, EventQueue<Arc<Unread>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl adapter::Subscriber<Shared> for Queue {
    fn push(&self, event: Event, unread: Option<Arc<Unread>>) {
        // Whoever calls keeps one of its own, so that none of these is the last.
        let _too_late = self.lock().push(event, unread);
    }

    fn end(&self) {
        self.lock().end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::adapter::Subscriber as _;
    use cluster_core::{Incarnation, NodeId, Run};

    fn run(number: u64) -> Run {
        Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(number) }
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken_by_an_event_and_by_the_end() {
        let queue = Arc::new(Queue::default());
        let mut events = Events::new(Arc::clone(&queue));
        let reader = tokio::spawn(async move { (events.next().await, events.next().await) });
        tokio::task::yield_now().await;
        queue.push(Event::PeerGone { peer: run(1) }, None);
        queue.wake();
        tokio::task::yield_now().await;
        queue.end();
        queue.wake();
        assert_eq!(reader.await.unwrap(), (Some(Event::PeerGone { peer: run(1) }), None));
    }
}
