//! The only place that reads a clock.

use std::time::Duration;

use cluster_core::Instant;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_beyond_all_time_is_never() {
        let clock = Clock::start();
        assert!(clock.wake_at(clock.now()).is_some());
        // Either answer is fine as long as nothing overflows: 584 years fit into some clocks.
        let _ = clock.wake_at(Instant::MAX);
    }
}
