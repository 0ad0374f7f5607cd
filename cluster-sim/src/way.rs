//! The way from one host to another: how long things take on it, how much gets through, and when nothing does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::queue::nanos;
use crate::rng::Small;
use crate::schedule::span;

/// How long everything takes that goes from one host to another, drawn anew for each segment. What one connection
/// carries stays in order. Acknowledgements, and the steps of a dial, take what `base` says.
///
/// A [`Duration`] alone is [`Latency::Constant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// Always the same.
    Constant(#[serde(with = "span")] Duration),
    /// Anything from `base` to `base + jitter`, evenly. The default, with 1 ms and 0.2 ms.
    Uniform {
        /// At least.
        #[serde(with = "span")]
        base: Duration,
        /// At most on top of that.
        #[serde(with = "span")]
        jitter: Duration,
    },
    /// Mostly near `base`, and sometimes very much longer: of two segments one takes more than `half` on top of it, of
    /// four one more than twice `half`, of eight one more than three times `half`, and so on.
    LongTail {
        /// At least.
        #[serde(with = "span")]
        base: Duration,
        /// What half of the segments take more than on top of that.
        #[serde(with = "span")]
        half: Duration,
        /// At most on top of `base`.
        #[serde(with = "span")]
        cap: Duration,
    },
    /// As `Uniform`, but now and then a segment takes `spike` on top of that, and whatever follows it on its
    /// connection waits for it.
    Spikes {
        /// At least.
        #[serde(with = "span")]
        base: Duration,
        /// At most on top of that.
        #[serde(with = "span")]
        jitter: Duration,
        /// One segment in so many has a spike, on average; 0: none.
        one_in: u32,
        /// How long a spike is.
        #[serde(with = "span")]
        spike: Duration,
    },
}

impl Latency {
    /// Every span in it.
    pub(crate) fn spans(self) -> [Duration; 3] {
        match self {
            Latency::Constant(base) => [base, Duration::ZERO, Duration::ZERO],
            Latency::Uniform { base, jitter } => [base, jitter, Duration::ZERO],
            Latency::LongTail { base, half, cap } => [base, half, cap],
            Latency::Spikes { base, jitter, spike, .. } => [base, jitter, spike],
        }
    }
}

impl Default for Latency {
    fn default() -> Latency {
        Latency::Uniform { base: Duration::from_millis(1), jitter: Duration::from_micros(200) }
    }
}

impl From<Duration> for Latency {
    fn from(span: Duration) -> Latency {
        Latency::Constant(span)
    }
}

/// A [`Latency`] in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay {
    base: u64,
    jitter: u64,
    rare: Rare,
}

#[derive(Clone, Copy, Debug)]
enum Rare {
    Nothing,
    Tail { half: u64, cap: u64 },
    Spike { one_in: u64, spike: u64 },
}

impl From<Latency> for Delay {
    fn from(latency: Latency) -> Delay {
        let (base, jitter, rare) = match latency {
            Latency::Constant(base) => (base, Duration::ZERO, Rare::Nothing),
            Latency::Uniform { base, jitter } => (base, jitter, Rare::Nothing),
            Latency::LongTail { base, half, cap } => {
                (base, Duration::ZERO, Rare::Tail { half: nanos(half), cap: nanos(cap) })
            }
            Latency::Spikes { base, jitter, one_in, spike } => {
                (base, jitter, Rare::Spike { one_in: one_in.into(), spike: nanos(spike) })
            }
        };
        Delay { base: nanos(base), jitter: nanos(jitter), rare }
    }
}

impl Delay {
    pub(crate) fn base(self) -> u64 {
        self.base
    }

    /// The longest that a segment takes.
    pub(crate) fn longest(self) -> u64 {
        let rare = match self.rare {
            Rare::Nothing => 0,
            Rare::Tail { cap, .. } => cap,
            Rare::Spike { spike, .. } => spike,
        };
        self.base.saturating_add(self.jitter).saturating_add(rare)
    }

    fn draw(self, rng: &mut Small) -> u64 {
        let even = if self.jitter == 0 { 0 } else { rng.below(self.jitter.saturating_add(1)) };
        let rare = match self.rare {
            Rare::Nothing => 0,
            Rare::Tail { half, cap } => tail(half, rng.next_u64()).min(cap),
            Rare::Spike { one_in, spike } => {
                if one_in > 0 && rng.below(one_in) == 0 {
                    spike
                } else {
                    0
                }
            }
        };
        self.base.saturating_add(even).saturating_add(rare)
    }
}

/// A time that is longer than `half` with a chance of 1/2, longer than twice `half` with a chance of 1/4, and so on, and
/// in between evenly: an exponential distribution in whole numbers, which are the same on every platform.
fn tail(half: u64, drawn: u64) -> u64 {
    let halvings = drawn.leading_zeros();
    let rest = drawn.checked_shl(halvings + 1).unwrap_or(0);
    let part = (u128::from(half) * u128::from(rest)) >> 64;
    half.saturating_mul(halvings.into()).saturating_add(part as u64)
}

/// When a way that carries so many bytes a second is free again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Throttle {
    free_at: u64,
    /// What is left of a nanosecond, so that no rounding adds up: in `rate`-ths.
    carry: u64,
}

impl Throttle {
    /// When `bytes` that want to go now have left, at `rate` bytes a second.
    fn pass(&mut self, now: u64, bytes: usize, rate: u64) -> u64 {
        if self.free_at < now {
            *self = Throttle { free_at: now, carry: 0 };
        }
        let work = bytes as u128 * 1_000_000_000 + u128::from(self.carry);
        let span = u64::try_from(work / u128::from(rate)).unwrap_or(u64::MAX);
        self.free_at = self.free_at.saturating_add(span);
        self.carry = (work % u128::from(rate)) as u64;
        self.free_at
    }
}

/// What a way is like at the moment, for what sets out on it.
#[derive(Debug)]
pub(crate) struct Transit<'a> {
    delay: Delay,
    throttle: Option<(&'a mut Throttle, u64)>,
    cut: bool,
}

impl Transit<'static> {
    /// A way on which nothing is in the way.
    pub(crate) fn open(delay: Delay) -> Transit<'static> {
        Transit { delay, throttle: None, cut: false }
    }

    /// A way that carries nothing.
    pub(crate) fn cut() -> Transit<'static> {
        Transit { cut: true, ..Transit::open(Latency::default().into()) }
    }
}

impl<'a> Transit<'a> {
    /// A way that carries `rate` bytes a second.
    pub(crate) fn narrow(delay: Delay, throttle: &'a mut Throttle, rate: u64) -> Transit<'a> {
        Transit { delay, throttle: Some((throttle, rate)), cut: false }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Nanoseconds that what is no segment takes.
    pub(crate) fn latency(&self) -> u64 {
        self.delay.base
    }

    /// The most bytes that travel together: on a narrow way no more than pass in a hundredth of a second, so that they
    /// arrive as evenly as they pass.
    pub(crate) fn segment(&self) -> usize {
        let rate = self.throttle.as_ref().map_or(u64::MAX, |&(_, rate)| rate);
        usize::try_from(rate / 100).unwrap_or(usize::MAX).max(1)
    }

    /// When the last of `bytes` that want to go now has left.
    pub(crate) fn departure(&mut self, now: u64, bytes: usize) -> u64 {
        match &mut self.throttle {
            Some((throttle, rate)) => throttle.pass(now, bytes, *rate),
            None => now,
        }
    }

    /// Nanoseconds that one segment takes.
    pub(crate) fn draw(&self, rng: &mut Small) -> u64 {
        self.delay.draw(rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn drawn(latency: Latency, count: usize) -> Vec<u64> {
        let (delay, mut rng) = (Delay::from(latency), Small::new(1, Purpose::Pipe, 0, 0));
        let mut drawn: Vec<u64> = (0..count).map(|_| delay.draw(&mut rng)).collect();
        drawn.sort_unstable();
        drawn
    }

    #[test]
    fn every_shape_of_latency_is_distributed_as_it_says() {
        let ns = Duration::from_nanos;
        assert_eq!(drawn(ns(7).into(), 10), [7; 10]);

        let uniform = drawn(Latency::Uniform { base: ns(1_000), jitter: ns(100) }, 10_000);
        assert_eq!((uniform[0], uniform[9_999]), (1_000, 1_100));
        assert!(uniform[5_000].abs_diff(1_050) < 5);

        let tail = drawn(Latency::LongTail { base: ns(1_000), half: ns(1_000), cap: ns(8_000) }, 10_000);
        for (rank, expected) in [(5_000, 2_000_u64), (7_500, 3_000), (8_750, 4_000), (9_375, 5_000)] {
            assert!(tail[rank].abs_diff(expected) < 150, "of 10,000 the {rank}th takes {}", tail[rank]);
        }
        assert_eq!(tail[9_999], 9_000, "the cap holds");

        let spikes = drawn(Latency::Spikes { base: ns(10), jitter: ns(0), one_in: 100, spike: ns(5_000) }, 10_000);
        let count = spikes.iter().filter(|&&span| span == 5_010).count();
        assert!((60..140).contains(&count) && spikes[0] == 10, "{count} spikes");
    }

    #[test]
    fn the_longest_latencies_do_not_overflow() {
        assert!(tail(u64::MAX, 0) == u64::MAX && tail(u64::MAX, 1) == u64::MAX && tail(1_000, u64::MAX) < 1_000);
        let span = Duration::MAX;
        assert!(
            drawn(Latency::LongTail { base: span, half: span, cap: span }, 10).iter().all(|&span| span == u64::MAX)
        );
    }

    #[test]
    fn a_throttle_passes_exactly_its_rate_however_the_bytes_are_cut() {
        for cuts in [[1_usize; 3].as_slice(), &[7, 1, 64, 1_000], &[999_983]] {
            let mut throttle = Throttle::default();
            let (mut sent, mut last) = (0, 0);
            for &bytes in cuts.iter().cycle().take(1_000) {
                sent += bytes as u128;
                last = throttle.pass(0, bytes, 7);
            }
            assert_eq!(u128::from(last), sent * 1_000_000_000 / 7);
        }
        let mut throttle = Throttle::default();
        assert_eq!((throttle.pass(0, 10, 10), throttle.pass(5_000_000_000, 10, 10)), (1_000_000_000, 6_000_000_000));
    }
}
