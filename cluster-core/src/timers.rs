//! Every deadline of the node, in one ordered set.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::time::Instant;

/// Deadlines by key. Setting, cancelling and taking the next due one cost O(log n), looking at the next one O(log n).
///
/// Deadlines at the same instant fire in the order in which they were set, so that a run does not depend on how keys
/// compare.
#[derive(Clone, Debug)]
pub(crate) struct Timers<K> {
    order: BTreeSet<(Instant, u64, K)>,
    by_key: BTreeMap<K, (Instant, u64)>,
    sequence: u64,
}

impl<K: Copy + Ord> Timers<K> {
    pub(crate) fn new() -> Timers<K> {
        Timers { order: BTreeSet::new(), by_key: BTreeMap::new(), sequence: 0 }
    }

    /// Sets the deadline of `key`, replacing the one it had.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        self.cancel(key);
        self.by_key.insert(key, (at, self.sequence));
        self.order.insert((at, self.sequence, key));
        self.sequence += 1;
    }

    /// Sets the deadline of `key` unless it has an earlier one.
    pub(crate) fn set_no_later(&mut self, key: K, at: Instant) {
        if self.deadline(key).is_none_or(|current| current > at) {
            self.set(key, at);
        }
    }

    pub(crate) fn cancel(&mut self, key: K) {
        if let Some((at, sequence)) = self.by_key.remove(&key) {
            self.order.remove(&(at, sequence, key));
        }
    }

    pub(crate) fn deadline(&self, key: K) -> Option<Instant> {
        self.by_key.get(&key).map(|&(at, _)| at)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|&(at, _, _)| at)
    }

    /// Takes the earliest deadline if it is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let &(at, _, key) = self.order.first()?;
        if at > now {
            return None;
        }
        self.cancel(key);
        Some(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn clear(&mut self) {
        self.order.clear();
        self.by_key.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn due_timers_come_in_time_order_then_in_the_order_they_were_set() {
        let mut timers = Timers::new();
        timers.set('c', at(2));
        timers.set('b', at(1));
        timers.set('a', at(2));
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.pop_due(at(0)), None);
        assert_eq!(
            [timers.pop_due(at(2)), timers.pop_due(at(2)), timers.pop_due(at(2))],
            [Some('b'), Some('c'), Some('a')]
        );
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_key_has_one_deadline() {
        let mut timers = Timers::new();
        timers.set('a', at(1));
        timers.set('a', at(5));
        assert_eq!((timers.len(), timers.deadline('a')), (1, Some(at(5))));
        timers.set_no_later('a', at(7));
        assert_eq!(timers.deadline('a'), Some(at(5)));
        timers.set_no_later('a', at(3));
        assert_eq!(timers.deadline('a'), Some(at(3)));
        timers.cancel('a');
        assert_eq!((timers.len(), timers.next()), (0, None));
    }
}
