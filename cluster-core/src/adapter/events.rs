//! What one subscriber is still to be told.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::event::{Event, Undelivered};

/// The most events that wait for one subscriber. Further ones push out the oldest.
pub const EVENT_QUEUE: usize = 1_024;

/// The events that wait for one subscriber, at most [`EVENT_QUEUE`], in order.
///
/// A reader that falls further behind loses the oldest and finds [`Event::Lagged`] in their place.
/// [`Event::Undelivered`] is never lost this way: of each run what was pushed out is merged into one. Of several
/// [`Event::Delivered`] in a row about one run only the latest is kept. [`Event::Left`] is the last event.
///
/// Something can wait with an event and is given out with it, merged or not: what tells the node that an
/// [`Event::Undelivered`] which it [deferred](crate::Node::defer) has been read.
///
/// ```
/// use cluster_core::Event;
/// use cluster_core::adapter::EventQueue;
///
/// let mut queue = EventQueue::<()>::default();
/// queue.push(Event::Left { undelivered: 0 }, None);
/// assert!(queue.has_ended());
/// assert_eq!(queue.pop(), Some((Event::Left { undelivered: 0 }, vec![])));
/// assert_eq!(queue.pop(), None);
/// ```
#[derive(Debug)]
pub struct EventQueue<T> {
    missed: u64,
    /// Pushed out of `events`, one per run; older than everything in `events`.
    undelivered: VecDeque<(Undelivered, Vec<T>)>,
    events: VecDeque<(Event, Option<T>)>,
    ended: bool,
}

impl<T> Default for EventQueue<T> {
    fn default() -> EventQueue<T> {
        EventQueue { missed: 0, undelivered: VecDeque::new(), events: VecDeque::new(), ended: false }
    }
}

impl<T> EventQueue<T> {
    /// Adds an event, and what waits with it; that is dropped if the event is not an [`Event::Undelivered`] and is
    /// pushed out. After the end both come back.
    pub fn push(&mut self, event: Event, with: Option<T>) -> Option<(Event, Option<T>)> {
        if self.ended {
            return Some((event, with));
        }
        self.ended = matches!(event, Event::Left { .. });
        if let (Event::Delivered { peer, .. }, Some((Event::Delivered { peer: before, .. }, _))) =
            (&event, self.events.back())
            && peer == before
        {
            // Only the latest counts.
            self.events.pop_back();
        }
        if self.events.len() >= EVENT_QUEUE {
            match self.events.pop_front() {
                Some((Event::Undelivered(oldest), with)) => self.keep(oldest, with),
                _ => self.missed += 1,
            }
        }
        self.events.push_back((event, with));
        None
    }

    /// The oldest event that waits, and all that waits with it.
    #[must_use]
    pub fn pop(&mut self) -> Option<(Event, Vec<T>)> {
        if self.missed > 0 {
            return Some((Event::Lagged { missed: core::mem::take(&mut self.missed) }, Vec::new()));
        }
        let pushed_out = self.undelivered.pop_front().map(|(lost, with)| (Event::Undelivered(lost), with));
        pushed_out.or_else(|| self.events.pop_front().map(|(event, with)| (event, with.into_iter().collect())))
    }

    /// Whether [`pop`](EventQueue::pop) would return one.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.missed > 0 || !self.undelivered.is_empty() || !self.events.is_empty()
    }

    /// No more events can come.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether no more events can come; some may still wait.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn keep(&mut self, more: Undelivered, with: Option<T>) {
        match self.undelivered.iter_mut().find(|(kept, _)| kept.peer == more.peer) {
            Some((kept, all)) => {
                kept.not_delivered.extend(more.not_delivered);
                kept.in_doubt.extend(more.in_doubt);
                all.extend(with);
            }
            None => self.undelivered.push_back((more, with.into_iter().collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, NodeId, Run};
    use alloc::vec;
    use bytes::Bytes;

    fn run(number: u64) -> Run {
        Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(number) }
    }

    fn undelivered(number: u64, payload: &'static str) -> Event {
        let payload = Bytes::from_static(payload.as_bytes());
        Event::Undelivered(Undelivered { peer: run(number), not_delivered: vec![payload], in_doubt: vec![] })
    }

    #[test]
    fn a_slow_reader_is_told_how_much_it_missed_and_loses_no_undelivered_message() {
        let mut queue = EventQueue::default();
        queue.push(undelivered(1, "a"), Some("with a"));
        queue.push(Event::PeerGone { peer: run(1) }, None);
        queue.push(undelivered(1, "b"), Some("with b"));
        for number in 0..EVENT_QUEUE as u64 {
            queue.push(Event::PeerGone { peer: run(number) }, None);
        }
        assert!(queue.has_pending() && !queue.has_ended());
        queue.push(Event::Left { undelivered: 0 }, None);
        let late = Event::PeerGone { peer: run(9) };
        assert_eq!(queue.push(late.clone(), Some("late")), Some((late, Some("late"))));

        assert!(queue.has_ended());
        assert_eq!(queue.pop(), Some((Event::Lagged { missed: 2 }, vec![])));
        let Some((Event::Undelivered(merged), with)) = queue.pop() else { panic!("not undelivered") };
        assert_eq!((&merged.not_delivered[..], with), (&["a".into(), "b".into()][..], vec!["with a", "with b"]));
        for number in 1..EVENT_QUEUE as u64 {
            assert_eq!(queue.pop(), Some((Event::PeerGone { peer: run(number) }, vec![])));
        }
        assert_eq!(queue.pop(), Some((Event::Left { undelivered: 0 }, vec![])));
        assert_eq!(queue.pop(), None);
        assert!(!queue.has_pending());
    }

    #[test]
    fn of_what_is_delivered_only_the_latest_of_a_peer_waits() {
        let mut queue = EventQueue::<()>::default();
        let delivered = |number, messages| Event::Delivered { peer: run(number), messages };
        for event in [delivered(1, 1), delivered(1, 2), delivered(2, 1), delivered(1, 3)] {
            queue.push(event, None);
        }
        for event in [delivered(1, 2), delivered(2, 1), delivered(1, 3)] {
            assert_eq!(queue.pop(), Some((event, vec![])));
        }
        assert_eq!(queue.pop(), None);
    }
}
