//! The events that a user reads.

use std::sync::Arc;
use std::time::Duration;

use cluster_core::Event;
use cluster_core::adapter::EventQueue;

use crate::threads::Threads;

type Queue = cluster_host::Queue<Threads>;

/// The events of a node, from [`Node::events`](crate::Node::events) on: an iterator that waits for each event.
///
/// It begins with a [`PeerUp`](Event::PeerUp) for each peer that is up at that moment. A thread that reads too slowly
/// loses old events: if more than [`EVENT_QUEUE`](crate::EVENT_QUEUE) wait, the oldest make room and [`Event::Lagged`]
/// stands in their place. [`Node::peers`](crate::Node::peers) then returns the present state, which the following events
/// continue. An [`Event::Undelivered`] is never lost: those of one run are merged. It takes room in the `send_window` of
/// its peer until every `Events` of the node has read it, so a thread that reads events should not block in
/// [`Node::send`](crate::Node::send) or [`Node::flush`](crate::Node::flush).
///
/// Events do not keep the node alive: after [`Event::Left`], or when the last [`Node`](crate::Node) handle is gone, the
/// iterator ends.
#[derive(Debug)]
pub struct Events {
    pub(crate) queue: Arc<Queue>,
}

impl Events {
    /// The next event, waiting for it at most so long. `None` if there was none, or
    /// [no more can come](Events::has_ended).
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Event> {
        let waited = self.queue.changed().wait_timeout_while(self.queue.lock(), timeout, nothing_yet);
        drop(waited);
        // Only the reader takes any, so what has come is still there.
        self.queue.pop().0
    }

    /// The next event if one is waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        self.queue.pop().0
    }

    /// Whether every event was taken and no more can come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let queue = self.queue.lock();
        queue.has_ended() && !queue.has_pending()
    }
}

/// Waits for each event; ends when no more can come.
impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let waited = self.queue.changed().wait_while(self.queue.lock(), nothing_yet);
        drop(waited);
        self.queue.pop().0
    }
}

fn nothing_yet<T>(queue: &mut EventQueue<T>) -> bool {
    !queue.has_pending() && !queue.has_ended()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::adapter::Subscriber as _;
    use cluster_core::{Incarnation, NodeId, Run};

    fn gone(number: u64) -> Event {
        Event::PeerGone { peer: Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(number) } }
    }

    #[test]
    fn a_waiting_reader_is_woken_by_an_event_and_by_the_end() {
        let queue = Arc::new(Queue::default());
        let mut events = Events { queue: Arc::clone(&queue) };
        let reader = std::thread::spawn(move || (events.next(), events.next(), events.has_ended()));
        queue.push(gone(1), None);
        queue.wake();
        queue.end();
        queue.wake();
        assert_eq!(reader.join().unwrap(), (Some(gone(1)), None, true));
    }

    #[test]
    fn a_wait_with_a_timeout_ends_with_it_and_loses_nothing() {
        let queue = Arc::new(Queue::default());
        let mut events = Events { queue: Arc::clone(&queue) };
        assert_eq!(events.next_timeout(Duration::from_millis(1)), None);
        assert!(!events.has_ended());
        queue.push(gone(1), None);
        queue.end();
        assert!(!events.has_ended());
        assert_eq!(events.next_timeout(Duration::MAX), Some(gone(1)));
        assert_eq!(events.next_timeout(Duration::MAX), None);
        assert!(events.has_ended());
    }
}
