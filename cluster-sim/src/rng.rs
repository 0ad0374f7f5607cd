//! Randomness, all of it from the seed, with a stream of its own for each purpose, owner and use, so that drawing more
//! for one does not shift the others.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What a random stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// The seed of one life of a host's node.
    Node,
    /// Where the monotonic clock of a host stands.
    Clock,
    /// Jitter and chunks of one direction of one connection.
    Pipe,
    /// The nonces of a puppet's handshakes.
    Puppet,
    /// What the test itself draws.
    Test,
    /// Which kinds of fault a schedule has.
    Faults,
    /// The faults of one kind in a schedule.
    Fault,
    /// What applications of a schedule send.
    Traffic,
    /// The size of a schedule and the profile of its nodes.
    Shape,
    /// Which hosts heal at the end of a schedule.
    Core,
    /// What a hostile host does.
    Hostile,
    /// How long a way is open and shut, by who sends and who receives.
    Clog,
    /// How late the ticks of a host come.
    Late,
    /// What one life of an application draws.
    App,
    /// The key that proves who a node is.
    Identity,
}

/// One random stream.
#[derive(Clone, Debug)]
pub(crate) struct Rng(ChaCha20Rng);

impl Rng {
    /// The stream of `seed` for the `index`-th use that `owner` makes of `purpose`.
    pub(crate) fn new(seed: u64, purpose: Purpose, owner: u32, index: u32) -> Rng {
        let mut key = *b"cluster-sim seed                ";
        key[24..].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha20Rng::from_seed(key);
        rng.set_stream((purpose as u64) << 56 | u64::from(owner & 0xff_ffff) << 32 | u64::from(index));
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

    /// A number below `bound`, evenly enough; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Whether something happens that does so in `share` of 1,000,000 cases.
    pub(crate) fn is(&mut self, share: u32) -> bool {
        self.below(1_000_000) < u64::from(share)
    }

    /// One of these.
    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    /// A number from `least` to `most`, each order of magnitude as likely as the next.
    pub(crate) fn scaled(&mut self, least: u64, most: u64) -> u64 {
        let least = least.max(1);
        let octaves = u64::from(most.max(least).ilog2() - least.ilog2()) + 1;
        let low = least << self.below(octaves);
        (low + self.below(low)).clamp(least, most.max(least))
    }

    /// Puts `items` into a random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

/// One random stream in eight bytes (SplitMix64), for the jitter and the chunks of connections, of which there are many.
#[derive(Clone, Debug)]
pub(crate) struct Small(u64);

impl Small {
    /// The stream of `seed` for the `index`-th use that `owner` makes of `purpose`: from a place that no other stream
    /// comes near.
    pub(crate) fn new(seed: u64, purpose: Purpose, owner: u32, index: u32) -> Small {
        Small(Rng::new(seed, purpose, owner, index).next_u64())
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, evenly enough; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_numbers_stay_within_and_reach_every_magnitude() {
        let mut rng = Rng::new(1, Purpose::Test, 0, 0);
        let mut seen = [false; 4];
        for _ in 0..1_000 {
            let drawn = rng.scaled(10, 100_000);
            assert!((10..=100_000).contains(&drawn));
            seen[(drawn.ilog10() as usize - 1).min(3)] = true;
        }
        assert_eq!(seen, [true; 4]);
        assert_eq!(rng.scaled(5, 5), 5);
    }

    #[test]
    fn every_purpose_owner_and_use_has_a_stream_of_its_own() {
        let draw = |purpose, owner, index| Rng::new(7, purpose, owner, index).next_u64();
        assert_eq!(draw(Purpose::Node, 1, 2), draw(Purpose::Node, 1, 2));
        let mut drawn = vec![
            draw(Purpose::Node, 1, 2),
            draw(Purpose::Node, 2, 1),
            draw(Purpose::Node, 1, 3),
            draw(Purpose::Pipe, 1, 2),
            Rng::new(8, Purpose::Node, 1, 2).next_u64(),
        ];
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 5);
    }
}
