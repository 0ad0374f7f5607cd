//! The timers of an application.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::Instant;

/// The most timers of one application.
pub(super) const MAX_TIMERS: usize = 65_536;

/// When each timer is due.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_key: BTreeMap<u64, (Instant, u64)>,
    /// The same, by time, and then by the order in which they were set.
    by_time: BTreeSet<(Instant, u64, u64)>,
    sequence: u64,
}

impl Timers {
    /// Has the timer be due at `at`, instead of when it was due before. Says whether there was room for it.
    pub(super) fn set(&mut self, key: u64, at: Instant) -> bool {
        self.cancel(key);
        if self.by_key.len() == MAX_TIMERS {
            return false;
        }
        self.by_key.insert(key, (at, self.sequence));
        self.by_time.insert((at, self.sequence, key));
        self.sequence += 1;
        true
    }

    /// Forgets a timer. Says whether it was set.
    pub(super) fn cancel(&mut self, key: u64) -> bool {
        let Some((at, sequence)) = self.by_key.remove(&key) else { return false };
        self.by_time.remove(&(at, sequence, key))
    }

    /// When the next timer is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|&(at, ..)| at)
    }

    /// Takes the next timer, if it is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u64> {
        let (_, _, key) = self.by_time.first().copied().filter(|&(at, ..)| at <= now)?;
        self.cancel(key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn timers_come_by_time_and_then_in_the_order_in_which_they_were_set() {
        let mut timers = Timers::default();
        for (key, due) in [(9, 5), (1, 5), (4, 3)] {
            assert!(timers.set(key, at(due)));
        }
        assert_eq!((timers.next(), timers.pop(at(2))), (Some(at(3)), None));
        assert_eq!([(); 4].map(|()| timers.pop(at(5))), [Some(4), Some(9), Some(1), None]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_timer_that_is_set_again_or_cancelled_is_not_due_at_its_old_time() {
        let mut timers = Timers::default();
        timers.set(1, at(5));
        timers.set(1, at(7));
        assert_eq!((timers.pop(at(6)), timers.next()), (None, Some(at(7))));
        assert!(timers.cancel(1) && !timers.cancel(1));
        assert_eq!(timers.pop(at(9)), None);
    }

    #[test]
    fn there_are_only_so_many_timers() {
        let mut timers = Timers::default();
        assert!((0..MAX_TIMERS as u64).all(|key| timers.set(key, at(1))));
        assert!(!timers.set(u64::MAX, at(1)) && timers.set(0, at(2)));
    }
}
