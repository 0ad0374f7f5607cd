//! Which kinds of fault a schedule has, and how many of each.

use std::fmt;
use std::str::FromStr;

use super::WorldError;
use crate::rng::{Purpose, Rng};

/// The kinds of fault, and of what users do, that a schedule can be drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Ways become slow, all of them or one.
    Latency,
    /// Little gets through in one direction.
    Bandwidth,

    /// Two hosts are cut off from each other.
    Cut,
    /// Nothing gets through in one direction.
    OneWay,
    /// Nothing gets through in one direction now and then.
    Clog,
    /// The hosts fall into two sides, sometimes with hosts between that reach both.
    Partition,
    /// One host is cut off from all others.
    Isolate,
    /// Dials from one host to another are kept out.
    Firewall,
    /// Dials to an address are refused, hang, find no way, or reach somebody who says nothing, closes or resets.
    DialFate,
    /// The connections between two hosts are reset.
    Reset,
    /// The connections between two hosts are reset again and again.
    Flap,
    /// Connections between two hosts break, and only one side, or none, is told.
    OneSided,
    /// A node dies and comes back as a later run of itself.
    Crash,
    /// A node dies and comes back with another id.
    NewIdentity,
    /// A node dies and comes back with its wall clock set back.
    Stale,
    /// A node dies, and a copy of another one starts in its place.
    Clone,
    /// A node dies and comes back at another address, or its host gets another one while it runs, and it starts again
    /// later.
    Move,
    /// A process does not run for 10 ms to 30 min.
    Pause,
    /// A process runs late again and again.
    Late,
    /// A monotonic clock jumps.
    ClockJump,
    /// A monotonic clock stops.
    ClockStop,
    /// A monotonic clock is too fast or too slow.
    Drift,
    /// A user takes no messages, or a few now and then.
    Consumer,
    /// A process does not read from its sockets, or little.
    Reader,
    /// A host runs out of descriptors.
    Exhaust,
    /// A node leaves, and comes back later.
    Leave,
    /// A user disconnects a peer, and wants it back later.
    Disconnect,
    /// A user joins a node, or adds it as a seed.
    Join,
    /// A user changes settings.
    Config,
    /// Somebody who belongs to no cluster attacks in one way until the end.
    Outsider,
    /// A member misbehaves in one way until the end. One that claims to be another node does so only where nodes have a
    /// secret, and prove who they are: elsewhere it rightly keeps a pair apart that is not connected.
    Insider,
    /// A user has the lost peers forgotten.
    Forget,
    /// Very little gets through between two hosts that send each other as much as they may: the connections are there
    /// before, or are made meanwhile, or carry something when it begins.
    Slow,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 33] = [
        Fault::Latency,
        Fault::Bandwidth,
        Fault::Cut,
        Fault::OneWay,
        Fault::Clog,
        Fault::Partition,
        Fault::Isolate,
        Fault::Firewall,
        Fault::DialFate,
        Fault::Reset,
        Fault::Flap,
        Fault::OneSided,
        Fault::Crash,
        Fault::NewIdentity,
        Fault::Stale,
        Fault::Clone,
        Fault::Move,
        Fault::Pause,
        Fault::Late,
        Fault::ClockJump,
        Fault::ClockStop,
        Fault::Drift,
        Fault::Consumer,
        Fault::Reader,
        Fault::Exhaust,
        Fault::Leave,
        Fault::Disconnect,
        Fault::Join,
        Fault::Config,
        Fault::Outsider,
        Fault::Insider,
        Fault::Forget,
        Fault::Slow,
    ];

    /// Its name on a command line, such as `one-way`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::Latency => "latency",
            Fault::Bandwidth => "bandwidth",
            Fault::Slow => "slow",
            Fault::Cut => "cut",
            Fault::OneWay => "one-way",
            Fault::Clog => "clog",
            Fault::Partition => "partition",
            Fault::Isolate => "isolate",
            Fault::Firewall => "firewall",
            Fault::DialFate => "dial-fate",
            Fault::Reset => "reset",
            Fault::Flap => "flap",
            Fault::OneSided => "one-sided",
            Fault::Crash => "crash",
            Fault::NewIdentity => "new-identity",
            Fault::Stale => "stale",
            Fault::Clone => "clone",
            Fault::Move => "move",
            Fault::Pause => "pause",
            Fault::Late => "late",
            Fault::ClockJump => "clock-jump",
            Fault::ClockStop => "clock-stop",
            Fault::Drift => "drift",
            Fault::Consumer => "consumer",
            Fault::Reader => "reader",
            Fault::Exhaust => "exhaust",
            Fault::Leave => "leave",
            Fault::Disconnect => "disconnect",
            Fault::Join => "join",
            Fault::Config => "config",
            Fault::Outsider => "outsider",
            Fault::Insider => "insider",
            Fault::Forget => "forget",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Fault, UnknownFault> {
        let found = Fault::ALL.into_iter().find(|fault| fault.name() == text);
        found.ok_or_else(|| UnknownFault { name: text.to_owned() })
    }
}

/// There is no fault of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFault {
    /// The name.
    pub name: String,
}

impl fmt::Display for UnknownFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        write!(f, "there is no fault {:?}; there are: {}", self.name, names.join(", "))
    }
}

impl std::error::Error for UnknownFault {}

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
    fn at_least_a_third_of_the_kinds_is_absent_in_any_seed_and_each_is_present_in_some() {
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
    fn every_kind_has_a_name_and_a_place_of_its_own() {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!((fault as usize, fault.name().parse()), (index, Ok(fault)));
        }
        assert!("quake".parse::<Fault>().unwrap_err().to_string().contains("one-way"));
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
