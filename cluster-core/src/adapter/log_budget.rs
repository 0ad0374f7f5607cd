//! How many lines of a log events are worth.

use core::time::Duration;

use crate::bucket::{Rate, TokenBucket};
use crate::event::Event;
use crate::time::Instant;

/// How many lines of one [`LogClass`] may come at once.
pub const LOG_BURST: u32 = 10;

/// After that, one more may come each time this has passed: ten a second.
pub const LOG_INTERVAL: Duration = Duration::from_millis(100);

const RATE: Rate = Rate { burst: LOG_BURST, interval: LOG_INTERVAL };

/// What a line of a log is about. Each has a budget of its own, so that what comes often does not hide what is rare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogClass {
    /// A peer is up.
    Up,
    /// A peer is down.
    Down,
    /// A join came to nothing.
    JoinFailed,
    /// Messages came to nothing.
    Undelivered,
    /// Messages are delivered, or a flush has ended.
    Delivered,
    /// Any other event.
    Other,
}

impl LogClass {
    const COUNT: usize = LogClass::Other as usize + 1;

    /// That of an event.
    #[must_use]
    pub fn of(event: &Event) -> LogClass {
        match event {
            Event::PeerUp(_) => LogClass::Up,
            Event::PeerDown { .. } => LogClass::Down,
            Event::JoinFailed { .. } => LogClass::JoinFailed,
            Event::Undelivered(_) => LogClass::Undelivered,
            Event::Delivered { .. } | Event::Flushed { .. } => LogClass::Delivered,
            _ => LogClass::Other,
        }
    }
}

/// Lets up to [`LOG_BURST`] lines of each [`LogClass`] through at once, then one each [`LOG_INTERVAL`], and counts those
/// that are left out. Peers that flap, or strangers, fill no disk.
///
/// ```
/// use cluster_core::Instant;
/// use cluster_core::adapter::{LOG_BURST, LOG_INTERVAL, LogBudget, LogClass};
///
/// let mut budget = LogBudget::default();
/// for _ in 0..LOG_BURST {
///     assert_eq!(budget.admit(Instant::ZERO, LogClass::Up), Some(0));
/// }
/// assert_eq!(budget.admit(Instant::ZERO, LogClass::Up), None);
/// // The next line says how many are missing before it.
/// assert_eq!(budget.admit(Instant::ZERO + LOG_INTERVAL, LogClass::Up), Some(1));
/// ```
#[derive(Clone, Debug, Default)]
pub struct LogBudget {
    classes: [Class; LogClass::COUNT],
}

#[derive(Clone, Copy, Debug, Default)]
struct Class {
    /// Full until the first line.
    bucket: Option<TokenBucket>,
    suppressed: u64,
}

impl LogBudget {
    /// Whether a line of this class may be written now, and if so how many were left out since the last one.
    pub fn admit(&mut self, now: Instant, class: LogClass) -> Option<u64> {
        let class = self.classes.get_mut(class as usize)?;
        if class.bucket.get_or_insert_with(|| TokenBucket::full(RATE, now)).take(now, RATE) {
            return Some(core::mem::take(&mut class.suppressed));
        }
        class.suppressed = class.suppressed.saturating_add(1);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn ten_lines_a_second_are_written_and_every_other_one_is_counted() {
        let mut budget = LogBudget::default();
        // A thousand lines a second, for ten seconds.
        let admitted: alloc::vec::Vec<u64> =
            (0..10_000).filter_map(|millis| budget.admit(at(millis), LogClass::Down)).collect();
        let lines = admitted.len() as u64;
        assert_eq!(lines, u64::from(LOG_BURST) + 99);
        let last = budget.admit(at(60_000), LogClass::Down).unwrap();
        assert_eq!(lines + admitted.iter().sum::<u64>() + last, 10_000);
        assert_eq!(budget.admit(at(60_000), LogClass::Down), Some(0), "each is counted once");
    }

    #[test]
    fn what_comes_often_does_not_hide_what_is_rare() {
        let mut budget = LogBudget::default();
        while budget.admit(at(0), LogClass::Up).is_some() {}
        for class in [LogClass::Down, LogClass::JoinFailed, LogClass::Undelivered, LogClass::Delivered, LogClass::Other]
        {
            assert_eq!(budget.admit(at(0), class), Some(0), "{class:?}");
        }
    }
}
