//! Random numbers that anybody can repeat.

use std::ops::RangeInclusive;

/// splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of the range; its beginning if the range is empty.
    pub(crate) fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        let span = range.end().saturating_sub(*range.start());
        let drawn = self.next();
        range.start() + span.checked_add(1).map_or(drawn, |count| drawn % count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_of_the_range_and_come_from_the_seed() {
        let draw = |seed| {
            let mut rng = Random::new(seed);
            (0..100).map(|_| rng.within(&(3..=5))).collect::<Vec<_>>()
        };
        assert!(draw(1).iter().all(|number| (3..=5).contains(number)));
        assert_eq!((draw(1), draw(1) == draw(2)), (draw(1), false));
        assert_eq!(Random::new(1).within(&(7..=7)), 7);
        let _ = Random::new(1).within(&(0..=u64::MAX));
    }
}
