//! What users are told: a bounded queue per subscriber.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster_core::{Event, Run, Undelivered};
use tokio::sync::Notify;

/// The most events that wait for one subscriber. Further ones push out the oldest.
pub const EVENT_QUEUE: usize = 1_024;

/// The events of a node, from [`Node::events`](crate::Node::events) on.
///
/// It begins with a [`PeerUp`](Event::PeerUp) for each peer that is up at that moment. A reader that falls more than
/// [`EVENT_QUEUE`] events behind loses the oldest and finds [`Event::Lagged`] in their place; then
/// [`Node::peers`](crate::Node::peers) says how things stand, and the events that follow lead on from there.
/// [`Event::Undelivered`] is never lost this way: of each run what was pushed out is merged into one.
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
            {
                let mut waiting = self.queue.lock();
                if let Some(event) = waiting.pop() {
                    return Some(event);
                }
                if waiting.ended {
                    return None;
                }
            }
            woken.await;
        }
    }

    /// The next event if one is waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        self.queue.lock().pop()
    }
}

/// Shared by one subscriber and the node.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    missed: u64,
    /// Pushed out of `events`, one per run; older than everything in `events`.
    undelivered: VecDeque<Undelivered>,
    events: VecDeque<Event>,
    ended: bool,
}

impl Queue {
    pub(crate) fn push(&self, event: Event) {
        let mut waiting = self.lock();
        if waiting.ended {
            return;
        }
        waiting.ended = matches!(event, Event::Left { .. });
        if let (Event::Delivered { peer, .. }, Some(Event::Delivered { peer: before, .. })) =
            (&event, waiting.events.back())
            && peer == before
        {
            // Only the latest counts.
            waiting.events.pop_back();
        }
        if waiting.events.len() >= EVENT_QUEUE {
            match waiting.events.pop_front() {
                Some(Event::Undelivered(oldest)) => waiting.keep(oldest),
                _ => waiting.missed += 1,
            }
        }
        waiting.events.push_back(event);
    }

    /// No more events can come.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
    }

    /// Wakes the subscriber. Apart from `push`, so that no waker runs under the node's lock.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Event> {
        if self.missed > 0 {
            return Some(Event::Lagged { missed: std::mem::take(&mut self.missed) });
        }
        self.undelivered.pop_front().map(Event::Undelivered).or_else(|| self.events.pop_front())
    }

    fn keep(&mut self, more: Undelivered) {
        let run: Run = more.peer;
        match self.undelivered.iter_mut().find(|kept| kept.peer == run) {
            Some(kept) => {
                kept.not_delivered.extend(more.not_delivered);
                kept.in_doubt.extend(more.in_doubt);
            }
            None => self.undelivered.push_back(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use cluster_core::{Incarnation, NodeId};

    fn run(number: u64) -> Run {
        Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(number) }
    }

    fn undelivered(number: u64, payload: &'static str) -> Event {
        let payload = Bytes::from_static(payload.as_bytes());
        Event::Undelivered(Undelivered { peer: run(number), not_delivered: vec![payload], in_doubt: vec![] })
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_much_it_missed_and_loses_no_undelivered_message() {
        let queue = Arc::new(Queue::default());
        queue.push(undelivered(1, "a"));
        queue.push(Event::PeerGone { peer: run(1) });
        queue.push(undelivered(1, "b"));
        for number in 0..EVENT_QUEUE as u64 {
            queue.push(Event::PeerGone { peer: run(number) });
        }
        queue.push(Event::Left { undelivered: 0 });
        queue.push(Event::PeerGone { peer: run(9) });

        let mut events = Events::new(queue);
        assert_eq!(events.next().await, Some(Event::Lagged { missed: 2 }));
        let Some(Event::Undelivered(merged)) = events.next().await else { panic!("not undelivered") };
        assert_eq!(merged.not_delivered, ["a", "b"]);
        for number in 1..EVENT_QUEUE as u64 {
            assert_eq!(events.next().await, Some(Event::PeerGone { peer: run(number) }));
        }
        assert_eq!(events.next().await, Some(Event::Left { undelivered: 0 }));
        assert_eq!(events.next().await, None);
        assert_eq!(events.next().await, None);
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken_by_an_event_and_by_the_end() {
        let queue = Arc::new(Queue::default());
        let mut events = Events::new(Arc::clone(&queue));
        let reader = tokio::spawn(async move { (events.next().await, events.next().await) });
        tokio::task::yield_now().await;
        queue.push(Event::PeerGone { peer: run(1) });
        queue.wake();
        tokio::task::yield_now().await;
        queue.end();
        queue.wake();
        assert_eq!(reader.await.unwrap(), (Some(Event::PeerGone { peer: run(1) }), None));
    }
}
