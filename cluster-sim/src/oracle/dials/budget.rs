//! The budget of dials on hearsay, as the simulator reckons it.

use cluster_core::{Instant, Limits};

/// A token bucket with tokens of nanoseconds, and room for all but one of those of one more dial: so it never holds less
/// than one that counts whole tokens, and time apart.
#[derive(Debug)]
pub(super) struct Bucket {
    level: u128,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant, limits: &Limits) -> Bucket {
        Bucket { level: capacity(limits), filled: now }
    }

    /// Pays for one dial, if it can.
    pub(super) fn take(&mut self, now: Instant, limits: &Limits) -> bool {
        let elapsed = (now - self.filled).as_nanos();
        self.filled = self.filled.max(now);
        self.level = capacity(limits).min(self.level + elapsed);
        let rest = self.level.checked_sub(price(limits));
        self.level = rest.unwrap_or(self.level);
        rest.is_some()
    }

    /// Gives back what one dial has cost.
    pub(super) fn refund(&mut self, limits: &Limits) {
        self.level = capacity(limits).min(self.level + price(limits));
    }
}

fn price(limits: &Limits) -> u128 {
    limits.dial_interval.as_nanos().max(1)
}

fn capacity(limits: &Limits) -> u128 {
    price(limits) * (u128::from(limits.dial_burst) + 1) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_a_burst_and_is_refilled_by_time_and_by_success() {
        let mut limits = Limits::default();
        limits.dial_burst = 2;
        let at = |ticks: u32| Instant::ZERO + limits.dial_interval * ticks;
        let mut bucket = Bucket::new(at(0), &limits);
        assert!(bucket.take(at(0), &limits) && bucket.take(at(0), &limits) && !bucket.take(at(0), &limits));
        assert!(bucket.take(at(1), &limits) && !bucket.take(at(1), &limits));
        bucket.refund(&limits);
        assert!(bucket.take(at(1), &limits) && !bucket.take(at(1), &limits));
        assert!(bucket.take(at(9), &limits) && bucket.take(at(9), &limits) && !bucket.take(at(9), &limits));
    }
}
