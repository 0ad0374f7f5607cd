//! The only place that reads a clock.

use std::time::Duration;

use cluster_core::Instant;

/// Monotonic time since the node was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    /// Starts a clock at [`Instant::ZERO`].
    #[must_use]
    pub fn start() -> Clock {
        Clock { epoch: std::time::Instant::now() }
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }

    /// Returns the end of a wait that begins now. Beyond what can be expressed the wait never ends.
    #[must_use]
    pub fn after(&self, timeout: Duration) -> Instant {
        self.now() + timeout
    }

    /// Converts to the time of the operating system; `None` is beyond what that can express.
    #[must_use]
    pub fn to_system(&self, deadline: Instant) -> Option<std::time::Instant> {
        self.epoch.checked_add(Duration::from_nanos(deadline.as_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_beyond_all_time_does_not_overflow() {
        assert_eq!(Clock::start().after(Duration::MAX), Instant::MAX);
    }

    #[test]
    fn deadline_beyond_all_time_is_never() {
        let clock = Clock::start();
        assert!(clock.to_system(clock.now()).is_some());
        // Either answer is fine as long as nothing overflows: 584 years fit into some clocks.
        let _ = clock.to_system(Instant::MAX);
    }
}
