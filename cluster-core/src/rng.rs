//! Randomness, all of it from the seed.

use core::fmt;
use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use zeroize::Zeroize as _;

/// Where all randomness of a node comes from. The keys of its links follow from it: it is never shown, and wiped when
/// it is dropped.
#[derive(Clone)]
pub(crate) struct Seed([u8; 32]);

/// A random stream of its own for each purpose, so that drawing more for one does not shift another.
#[derive(Clone, Debug)]
pub(crate) struct Rng(ChaCha20Rng);

/// What a random stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Backoff, spreading, eviction: everything that only needs to differ between nodes.
    Jitter,
    /// The node's id.
    Identity,
    /// Stream ids.
    Streams,
    /// The handshake of one link.
    Link(u64),
}

impl Seed {
    pub(crate) fn new(seed: [u8; 32]) -> Seed {
        Seed(seed)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Rng {
    pub(crate) fn new(seed: &Seed, purpose: Purpose) -> Rng {
        let mut rng = ChaCha20Rng::from_seed(seed.0);
        rng.set_stream(match purpose {
            Purpose::Jitter => 0,
            Purpose::Identity => 1,
            Purpose::Streams => 2,
            Purpose::Link(link) => link.saturating_add(3),
        });
        Rng(rng)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number below `bound`, evenly enough: the bias is below `bound` / 2⁶⁴. 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// A span from zero to `max`.
    pub(crate) fn up_to(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_draw_from_different_streams_and_seeds_repeat() {
        let draw = |purpose| Rng::new(&Seed::new([7; 32]), purpose).next_u64();
        assert_eq!(draw(Purpose::Jitter), draw(Purpose::Jitter));
        assert_ne!(draw(Purpose::Jitter), draw(Purpose::Identity));
        assert_ne!(draw(Purpose::Link(0)), draw(Purpose::Link(1)));
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::new(&Seed::new([1; 32]), Purpose::Jitter);
        assert!((0..1000).all(|_| rng.below(3) < 3));
        assert_eq!(rng.below(0), 0);
        assert!((0..1000).all(|_| rng.up_to(Duration::from_nanos(5)) <= Duration::from_nanos(5)));
    }
}
