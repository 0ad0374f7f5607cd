//! A budget that refills with time.

use core::time::Duration;

use crate::time::Instant;

/// How much of something may happen: `burst` at once, and one more each `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) interval: Duration,
}

/// A token bucket. It starts full; the rate is told at each use, so that it can change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    tokens: u32,
    refilled: Instant,
}

impl TokenBucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> TokenBucket {
        TokenBucket { tokens: rate.burst, refilled: now }
    }

    /// How many tokens there are now.
    pub(crate) fn tokens(&mut self, now: Instant, rate: Rate) -> u32 {
        let interval = rate.interval.as_nanos().max(1);
        let earned = (now - self.refilled).as_nanos() / interval;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX));
            let spent = u64::try_from(earned * interval).unwrap_or(u64::MAX);
            self.refilled = self.refilled + Duration::from_nanos(spent);
        }
        self.tokens = self.tokens.min(rate.burst);
        self.tokens
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant, rate: Rate) -> bool {
        let granted = self.tokens(now, rate) > 0;
        self.tokens = self.tokens.saturating_sub(1);
        granted
    }

    /// Gives a token back.
    pub(crate) fn refund(&mut self, rate: Rate) {
        self.tokens = rate.burst.min(self.tokens.saturating_add(1));
    }

    /// Takes this many tokens at once.
    #[cfg(test)]
    pub(crate) fn drain(&mut self, count: u32) {
        self.tokens = self.tokens.saturating_sub(count);
    }

    /// When the next token comes.
    pub(crate) fn next(&self, rate: Rate) -> Instant {
        self.refilled + rate.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    fn at(ticks: u32) -> Instant {
        Instant::ZERO + TICK * ticks
    }

    #[test]
    fn it_refills_with_time_and_with_what_is_given_back_up_to_the_burst() {
        let rate = Rate { burst: 2, interval: TICK };
        let mut bucket = TokenBucket::full(rate, Instant::ZERO);
        let mut take = |ticks| bucket.take(at(ticks), rate);
        assert!(take(0) && take(0) && !take(0));
        assert!(take(1) && !take(1));
        assert_eq!(bucket.next(rate), at(2));
        bucket.refund(rate);
        let mut take = |ticks| bucket.take(at(ticks), rate);
        assert!(take(1) && !take(1));
        assert!(take(1_000) && take(1_000) && !take(1_000));
    }

    #[test]
    fn time_that_does_not_make_a_whole_token_is_not_lost() {
        let rate = Rate { burst: 5, interval: TICK };
        let mut bucket = TokenBucket::full(rate, Instant::ZERO);
        for _ in 0..5 {
            assert!(bucket.take(at(0), rate));
        }
        let half = |halves: u32| Instant::ZERO + TICK / 2 * halves;
        let taken = (0..=20).filter(|halves| bucket.take(half(*halves), rate)).count();
        assert_eq!(taken, 10);
    }

    #[test]
    fn a_smaller_burst_applies_at_once() {
        let mut bucket = TokenBucket::full(Rate { burst: 9, interval: TICK }, Instant::ZERO);
        assert_eq!(bucket.tokens(at(0), Rate { burst: 3, interval: TICK }), 3);
    }
}
