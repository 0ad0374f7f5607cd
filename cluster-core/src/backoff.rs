//! How long to wait before trying again.

use core::time::Duration;

use crate::rng::Rng;

/// Exponential backoff with full jitter: a span drawn evenly from zero to `min(max, base · 2ⁿ)`, where n counts the
/// failures in a row.
///
/// Full jitter spreads the many nodes that lose one peer at the same moment best (Marc Brooker, "Exponential Backoff
/// And Jitter", AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and draws the wait before the next try.
    pub(crate) fn next(&mut self, base: Duration, max: Duration, rng: &mut Rng) -> Duration {
        let ceiling = base.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(max);
        self.failures = self.failures.saturating_add(1);
        rng.up_to(ceiling)
    }

    pub(crate) fn failures(self) -> u32 {
        self.failures
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Seed};

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_starts_over_after_a_reset() {
        let base = Duration::from_millis(250);
        let max = Duration::from_secs(30);
        for seed in 0..50 {
            let mut rng = Rng::new(&Seed::new([seed; 32]), Purpose::Jitter);
            let mut backoff = Backoff::default();
            for ceiling in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
                assert!(backoff.next(base, max, &mut rng) <= Duration::from_millis(ceiling));
            }
            for _ in 0..100 {
                assert!(backoff.next(base, max, &mut rng) <= max);
            }
            backoff.reset();
            assert!(backoff.next(base, max, &mut rng) <= base);
        }
    }
}
