//! Which kinds of fault a schedule has, and how many of each.

use super::error::WorldError;
use super::op::Fault;
use crate::rng::{Purpose, Rng};

/// How often something happens: a schedule has [`Rate::SLOTS`] slots of time, and in each of them it begins with this
/// probability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u32);

impl Rate {
    /// How many slots a schedule has, however long it is.
    pub const SLOTS: u32 = 32;

    /// Never.
    pub const OFF: Rate = Rate(0);

    /// In one slot of 25: about once in a schedule.
    pub const LOW: Rate = Rate(40_000);

    /// In one slot of 5.
    pub const HIGH: Rate = Rate(200_000);

    /// With this probability, in steps of a millionth.
    ///
    /// # Errors
    ///
    /// If it is not between 0 and 1.
    pub fn new(rate: f64) -> Result<Rate, WorldError> {
        if (0.0..=1.0).contains(&rate) { Ok(Rate((rate * 1e6) as u32)) } else { Err(WorldError::Rate { rate }) }
    }

    pub(crate) fn per_million(self) -> u32 {
        self.0
    }
}

/// How often each kind of fault happens in a schedule.
///
/// ```
/// use cluster_sim::{Fault, Faults, Rate};
///
/// let faults = Faults::none().with(Fault::Crash, Rate::HIGH).with(Fault::Cut, Rate::new(0.1)?);
/// assert_eq!(faults.rate(Fault::Crash), Rate::HIGH);
/// assert_eq!(faults.rate(Fault::Pause), Rate::OFF);
/// # Ok::<(), cluster_sim::WorldError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    rates: [Rate; Fault::ALL.len()],
}

impl Default for Faults {
    fn default() -> Faults {
        Faults { rates: [Rate::OFF; Fault::ALL.len()] }
    }
}

impl Faults {
    /// No faults.
    #[must_use]
    pub fn none() -> Faults {
        Faults::default()
    }

    /// Every kind of fault at this rate.
    #[must_use]
    pub fn all(rate: Rate) -> Faults {
        Faults { rates: [rate; Fault::ALL.len()] }
    }

    /// Some kinds at [`Rate::LOW`], some at [`Rate::HIGH`], and at least a third of them not at all: a run in which
    /// everything happens at once hides what only happens when something else does not.
    #[must_use]
    pub fn random(seed: u64) -> Faults {
        let mut rng = Rng::new(seed, Purpose::Faults, 0, 0);
        let mut kinds = Fault::ALL;
        rng.shuffle(&mut kinds);
        let (_, present) = kinds.split_at(kinds.len().div_ceil(3));
        let draw = |faults: Faults, &kind: &Fault| faults.with(kind, rng.pick(&[Rate::OFF, Rate::LOW, Rate::HIGH]));
        present.iter().fold(Faults::none(), draw)
    }

    /// The same with another rate for one kind.
    #[must_use]
    pub fn with(mut self, fault: Fault, rate: Rate) -> Faults {
        self.rates[fault as usize] = rate;
        self
    }

    /// How often this kind happens.
    #[must_use]
    pub fn rate(&self, fault: Fault) -> Rate {
        self.rates[fault as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seed_lacks_a_third_of_the_kinds_of_fault() {
        let mut seen = Faults::none();
        for seed in 0..200 {
            let faults = Faults::random(seed);
            let absent = Fault::ALL.iter().filter(|&&fault| faults.rate(fault) == Rate::OFF).count();
            assert!(absent * 3 >= Fault::ALL.len(), "seed {seed}: only {absent} are absent");
            for fault in Fault::ALL {
                seen = seen.clone().with(fault, seen.rate(fault).max(faults.rate(fault)));
            }
        }
        assert_eq!(seen, Faults::all(Rate::HIGH));
    }

    #[test]
    fn a_rate_is_a_probability() {
        assert_eq!((Rate::new(0.0), Rate::new(0.2)), (Ok(Rate::OFF), Ok(Rate::HIGH)));
        for rate in [1.1, -0.1, f64::INFINITY] {
            assert_eq!(Rate::new(rate), Err(WorldError::Rate { rate }));
        }
        assert!(matches!(Rate::new(f64::NAN), Err(WorldError::Rate { .. })));
    }
}
