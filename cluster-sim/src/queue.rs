//! Virtual time: what happens next, ordered by time and then by the order in which it was asked for.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use cluster_core::Target;
use cluster_timeline::record::HostId;

use crate::socket::{ConnId, DialError, Side};

/// Something that happens to the world at a time of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A request for a connection reaches its target, or would.
    Syn { conn: ConnId, attempt: u32 },
    /// The dialling end learns that its connection stands.
    Established { conn: ConnId },
    /// The dialling end learns that there is no connection.
    DialFailed { conn: ConnId, error: DialError },
    /// What `side` wrote arrives at the other side.
    Segments { conn: ConnId, side: Side },
    /// `side` learns that the other side has room again.
    Window { conn: ConnId, side: Side },
    /// `side` learns that the other side has received something.
    Acked { conn: ConnId, side: Side },
    /// What `side` wrote has waited for an acknowledgement for as long as TCP is willing to.
    GiveUp { conn: ConnId, side: Side, epoch: u32 },
    /// A host may have a deadline now.
    Tick { host: HostId },
    /// A look-up ends.
    Resolved { host: HostId, life: u32, target: Box<Target> },
    /// A hostile host acts.
    Hostile { index: usize },
    /// A clogged way opens or shuts.
    Clog { from: HostId, to: HostId, number: u32 },
    /// A pause ends.
    Resume { host: HostId, number: u32 },
    /// The user of a node takes messages again.
    Feed { host: HostId, number: u32 },
}

/// A span in nanoseconds; at most 584 years.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock of the world and everything that is still to come.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    now: u64,
    sequence: u64,
    heap: BinaryHeap<Scheduled>,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    sequence: u64,
    due: Due,
}

impl Queue {
    /// Nanoseconds since the world began.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Has `due` happen at `at`, or now if that is past.
    pub(crate) fn push(&mut self, at: u64, due: Due) {
        let at = at.max(self.now);
        self.heap.push(Scheduled { at, sequence: self.sequence, due });
        self.sequence += 1;
    }

    /// Has `due` happen after `span` nanoseconds.
    pub(crate) fn push_after(&mut self, span: u64, due: Due) {
        self.push(self.now.saturating_add(span), due);
    }

    /// Takes what happens next, not after `limit`, and moves the clock there.
    pub(crate) fn pop(&mut self, limit: u64) -> Option<Due> {
        if self.heap.peek().is_none_or(|next| next.at > limit) {
            return None;
        }
        let next = self.heap.pop()?;
        self.now = next.at;
        Some(next.due)
    }

    /// Moves the clock to `at`; nothing that is due before may be left.
    pub(crate) fn advance(&mut self, at: u64) {
        debug_assert!(self.heap.peek().is_none_or(|next| next.at >= at), "time passed over something that was due");
        self.now = self.now.max(at);
    }
}

/// The earliest first, and of those at one time the one asked for first: the reverse of what a max-heap wants.
impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_by_time_and_then_in_the_order_asked_for() {
        let mut queue = Queue::default();
        for (at, host) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            queue.push(at, Due::Tick { host: HostId(host) });
        }
        let mut order = Vec::new();
        while let Some(Due::Tick { host }) = queue.pop(4) {
            order.push((queue.now(), host.0));
        }
        assert_eq!(order, [(3, 1), (3, 3)]);
        while let Some(Due::Tick { host }) = queue.pop(u64::MAX) {
            order.push((queue.now(), host.0));
        }
        assert_eq!(order[2..], [(5, 0), (5, 2)]);
    }
}
