//! The events that a user reads.

use std::sync::Arc;

use cluster_core::Event;

use crate::tasks::Tokio;

type Queue = cluster_host::Queue<Tokio>;

/// The events of a node, from [`Node::events`](crate::Node::events) on: awaited one by one, in order.
///
/// The first events are a [`PeerUp`](Event::PeerUp) for each peer that is up at that moment. A reader that falls more
/// than [`EVENT_QUEUE`](crate::EVENT_QUEUE) events behind loses the oldest and finds [`Event::Lagged`] in their place;
/// then [`Node::peers`](crate::Node::peers) returns the present state, which the following events continue.
/// An [`Event::Undelivered`] is never lost: those of one run are merged. It takes room in the `send_window` of its peer
/// until every `Events` of the node has read it, so a task that reads events should not await
/// [`Node::send`](crate::Node::send) or [`Node::flush`](crate::Node::flush).
///
/// Events do not keep the node alive: after [`Event::Left`], or when the last [`Node`](crate::Node) handle is gone,
/// [`next`](Events::next) returns `None`.
#[derive(Debug)]
pub struct Events {
    pub(crate) queue: Arc<Queue>,
}

impl Events {
    /// The next event, or `None` when no more can come. Cancel safe: a dropped call has taken nothing.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::task::coop::consume_budget().await;
            let woken = self.queue.changed().notified();
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
        let mut events = Events { queue: Arc::clone(&queue) };
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
