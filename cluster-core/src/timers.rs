//! Every deadline of the node, in one ordered set.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Range;

use crate::time::Instant;

/// Deadlines by key. Setting, cancelling and taking the next due one cost O(log n), looking at the next one O(1).
///
/// Deadlines at the same instant fire in the order in which they were set, so that a run does not depend on how keys
/// compare.
#[derive(Clone, Debug)]
pub(crate) struct Timers<K> {
    order: BTreeSet<(Instant, u64, K)>,
    by_key: BTreeMap<K, (Instant, u64)>,
    /// When the first of `order` is due.
    next: Option<Instant>,
    sequence: u64,
}

impl<K: Copy + Ord> Timers<K> {
    pub(crate) fn new() -> Timers<K> {
        Timers { order: BTreeSet::new(), by_key: BTreeMap::new(), next: None, sequence: 0 }
    }

    /// Sets the deadline of `key`, replacing the one it had.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        if let Some((before, sequence)) = self.by_key.insert(key, (at, self.sequence)) {
            self.order.remove(&(before, sequence, key));
        }
        self.order.insert((at, self.sequence, key));
        self.sequence += 1;
        self.look();
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
            self.look();
        }
    }

    /// Cancels the deadlines of all keys in `range`, except `kept`.
    pub(crate) fn cancel_range(&mut self, range: Range<K>, kept: Option<K>) {
        let keys: Vec<K> = self.by_key.range(range).map(|(&key, _)| key).filter(|key| Some(*key) != kept).collect();
        keys.into_iter().for_each(|key| self.cancel(key));
    }

    pub(crate) fn deadline(&self, key: K) -> Option<Instant> {
        self.by_key.get(&key).map(|&(at, _)| at)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Takes the earliest deadline if it is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.next? > now {
            return None;
        }
        let (_, _, key) = self.order.pop_first()?;
        self.by_key.remove(&key);
        self.look();
        Some(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn clear(&mut self) {
        self.order.clear();
        self.by_key.clear();
        self.next = None;
    }

    fn look(&mut self) {
        debug_assert_eq!(self.order.len(), self.by_key.len(), "each key has one deadline");
        self.next = self.order.first().map(|&(at, _, _)| at);
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
