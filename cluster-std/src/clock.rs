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

    /// The end of a wait that begins now. Beyond what can be expressed it never ends.
    pub(crate) fn after(&self, timeout: Duration) -> Instant {
        self.now() + timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_beyond_all_time_does_not_overflow() {
        assert_eq!(Clock::start().after(Duration::MAX), Instant::MAX);
    }
}
