//! The only place that reads a clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster_core::{Incarnation, Instant};

/// Monotonic time since the node was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { epoch: std::time::Instant::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }

    /// When tokio should wake us for `deadline`; `None` is beyond what its clock can express.
    pub(crate) fn wake_at(&self, deadline: Instant) -> Option<tokio::time::Instant> {
        let since = Duration::from_nanos(deadline.as_nanos());
        self.epoch.checked_add(since).map(tokio::time::Instant::from_std)
    }
}

/// The wall clock in microseconds, and more than any number that this process was given before.
pub(crate) fn incarnation() -> Incarnation {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let wall = u64::try_from(wall).unwrap_or(u64::MAX);
    let later = |last: u64| wall.max(last.saturating_add(1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(later(last)));
    Incarnation(later(last.unwrap_or_else(|last| last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_rise_strictly() {
        let numbers: Vec<_> = (0..1_000).map(|_| incarnation()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_deadline_beyond_all_time_is_never() {
        let clock = Clock::start();
        assert!(clock.wake_at(clock.now()).is_some());
        // Either answer is fine as long as nothing overflows: 584 years fit into some clocks.
        let _ = clock.wake_at(Instant::MAX);
    }
}
