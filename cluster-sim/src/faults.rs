//! Faults, and what users do: for each family a file that has its verbs, and how its steps are carried out, drawn, printed
//! and made simpler.

mod clocks;
mod connections;
mod consumers;
mod hostiles;
mod lives;
mod users;
mod ways;

use crate::rng::{Purpose, Rng};
use crate::schedule::{Drawer, Fault, Faults, Op, Rate, Schedule, WorldError};
use crate::world::World;

impl World {
    /// Does what a step of a schedule does. Says whether it made any sense: if not, nothing has happened.
    ///
    /// # Errors
    ///
    /// If it names a host that is not there, or is impossible for another reason.
    pub fn apply(&mut self, op: &Op) -> Result<bool, WorldError> {
        op.check(self.machines.len() as u32)?;
        Ok(FAMILIES.iter().find_map(|family| (family.apply)(self, op)).unwrap_or(false))
    }
}

impl Schedule {
    /// A schedule of which everything is drawn from the seed: 2 to 7 nodes for 5 s to 2 min, now and then for an hour,
    /// with [random faults](Faults::random) and traffic.
    #[must_use]
    pub fn random(seed: u64) -> Schedule {
        let mut schedule = Schedule::random_shape(seed);
        schedule.fill(&Faults::random(seed), None);
        schedule
    }

    /// Adds faults and traffic, whose rate is drawn if it is not given.
    pub(crate) fn fill(&mut self, faults: &Faults, traffic: Option<Rate>) {
        self.add_faults(faults);
        let mut rng = Rng::new(self.seed, Purpose::Shape, 0, 1);
        self.add_traffic(traffic.unwrap_or_else(|| rng.pick(&[Rate::OFF, Rate::LOW, Rate::HIGH])));
    }

    /// Adds faults drawn from the seed. Each kind has a stream of its own: another rate for one does not change what
    /// happens of the others.
    pub fn add_faults(&mut self, faults: &Faults) {
        for kind in Fault::ALL {
            let rng = Rng::new(self.seed, Purpose::Fault, kind as u32, 0);
            let mut drawer = Drawer::new(rng, self);
            drawer.slots(faults.rate(kind), |drawer, at| draw(drawer, kind, at));
            let steps = drawer.steps;
            self.add(steps);
        }
    }

    /// Adds messages of all sizes, drawn from the seed: with [`Rate::HIGH`], some in one slot of five.
    pub fn add_traffic(&mut self, rate: Rate) {
        let rng = Rng::new(self.seed, Purpose::Traffic, 0, 0);
        let mut drawer = Drawer::new(rng, self);
        let profile = self.profile.clone();
        for _ in 0..4 {
            drawer.slots(rate, |drawer, at| users::message(drawer, &profile, at));
        }
        drawer.slots(rate, |drawer, at| {
            if let Some((from, to)) = drawer.pair() {
                drawer.push(at, Op::Flush { from, to });
            }
        });
        let steps = drawer.steps;
        self.add(steps);
    }
}

/// The call that an operation stands for, in Rust.
pub(crate) fn print(op: &Op) -> String {
    FAMILIES.iter().find_map(|family| (family.print)(op)).unwrap_or_default()
}

/// Operations that do less, or the same in a simpler way, the simplest first.
pub(crate) fn simpler(op: &Op) -> Vec<Op> {
    FAMILIES.iter().find_map(|family| (family.simpler)(op)).unwrap_or_default()
}

/// One fault that begins at `at`, in milliseconds, and its end, if that is not after the end of the schedule.
fn draw(drawer: &mut Drawer, kind: Fault, at: u64) {
    let host = drawer.host();
    let drawn = FAMILIES.iter().any(|family| (family.draw)(drawer, kind, at, host));
    debug_assert!(drawn, "no family draws {kind}");
}

/// What a family knows of its operations and kinds of fault. Each function answers for those of its own family only.
struct Family {
    /// Carries an operation out. Returns whether it made any sense.
    apply: fn(&mut World, &Op) -> Option<bool>,
    print: fn(&Op) -> Option<String>,
    simpler: fn(&Op) -> Option<Vec<Op>>,
    /// Draws a fault that begins at this millisecond, and that befalls this host if it befalls one. Returns whether the
    /// kind is one of the family.
    draw: fn(&mut Drawer, Fault, u64, u32) -> bool,
}

macro_rules! families {
    ($($name:ident),*) => {
        [$(Family { apply: $name::apply, print: $name::print, simpler: $name::simpler, draw: $name::draw }),*]
    };
}

const FAMILIES: [Family; 7] = families![ways, connections, lives, clocks, consumers, users, hostiles];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cluster_core::Config;
    use cluster_timeline::record::HostId;

    use super::*;
    use crate::catch::{Caught, caught};
    use crate::net::Fate;
    use crate::restart::Crash;
    use crate::schedule::Identity;

    #[test]
    fn a_drawn_schedule_is_possible_and_comes_from_the_seed() {
        for seed in 0..300 {
            let schedule = Schedule::random(seed);
            assert_eq!(schedule.check(), Ok(()), "seed {seed}");
            assert_eq!(schedule, Schedule::random(seed));
        }
    }

    #[test]
    fn switching_a_kind_on_does_not_shift_the_others() {
        let draw = |faults: Faults| {
            let mut schedule = Schedule::new(5, 4, Duration::from_secs(60));
            schedule.add_faults(&faults);
            schedule.steps
        };
        let crashes = draw(Faults::none().with(Fault::Crash, Rate::HIGH));
        let both = draw(Faults::none().with(Fault::Crash, Rate::HIGH).with(Fault::Cut, Rate::HIGH));
        assert!(!crashes.is_empty() && both.len() > crashes.len());
        assert!(crashes.iter().all(|step| both.contains(step)));
    }

    #[test]
    fn every_fault_is_drawn_alone_with_any_number_of_nodes() {
        for (kind, nodes) in Fault::ALL.into_iter().flat_map(|kind| [1, 2, 9].map(|nodes| (kind, nodes))) {
            let mut schedule = Schedule::new(1, nodes, Duration::from_secs(60));
            schedule.profile.seeds = 1;
            schedule.add_faults(&Faults::none().with(kind, Rate::HIGH));
            assert_eq!(schedule.check(), Ok(()), "{kind} with {nodes}");
            assert!(nodes == 1 || !schedule.steps.is_empty(), "{kind} with {nodes}");
        }
    }

    fn world() -> World {
        let mut world = World::of_schedule(&Schedule::new(3, 3, Duration::ZERO)).unwrap();
        world.expect("a mesh", Duration::from_secs(5), World::is_complete);
        world
    }

    #[test]
    fn what_makes_no_sense_does_nothing() {
        let mut world = world();
        let hash = world.trace_hash();
        for op in [
            Op::Restart { host: 0, identity: Identity::Same, moved: false },
            Op::Resume { host: 0 },
            Op::Send { from: 1, to: 1, length: 100, count: 1 },
        ] {
            assert_eq!(world.apply(&op), Ok(false), "{op:?}");
        }
        assert_eq!(world.trace_hash(), hash);
        assert_eq!(world.apply(&Op::Crash { host: 0, how: Crash::Kill }), Ok(true));
        let hash = world.trace_hash();
        for op in [
            Op::Crash { host: 0, how: Crash::Kill },
            Op::Pause { host: 0 },
            Op::Leave { host: 0, timeout: Duration::ZERO },
            Op::Send { from: 0, to: 1, length: 100, count: 1 },
        ] {
            assert_eq!(world.apply(&op), Ok(false), "{op:?}");
        }
        assert_eq!(world.trace_hash(), hash);
    }

    #[test]
    fn an_unknown_host_is_an_error() {
        let error = WorldError::UnknownNode { node: 3, nodes: 3 };
        assert_eq!(world().apply(&Op::Partition { one: vec![0], other: vec![3] }), Err(error));
    }

    #[test]
    fn a_node_can_move_and_be_stale() {
        let mut world = world();
        let (before, address) = (world.host(HostId(2)).run(), world.host(HostId(2)).addr());
        for identity in [Identity::Stale, Identity::New] {
            assert_eq!(world.apply(&Op::Crash { host: 2, how: Crash::Reset }), Ok(true));
            assert_eq!(world.apply(&Op::Restart { host: 2, identity, moved: true }), Ok(true));
            world.expect("a mesh", Duration::from_secs(60), World::is_complete);
            assert_eq!(world.host(HostId(2)).id() == before.id, identity == Identity::Stale);
            assert_ne!(world.host(HostId(2)).addr(), address);
        }
    }

    #[test]
    fn a_host_of_another_world_is_refused_by_name() {
        let mut other = World::new(1);
        let far = other.add_many(3, &Config::insecure_plaintext())[2];
        let mut world = World::new(2);
        let near = world.add(Config::insecure_plaintext());
        let words = |act: &mut dyn FnMut()| match caught(act) {
            Err(Caught::Panic(text)) => text,
            other => panic!("{other:?}"),
        };
        let partition = words(&mut || world.net_mut().partition(&[near], &[far]));
        assert!(partition.contains("n2 is no host of this world, which has 1") && partition.contains("faults.rs"));
        assert!(words(&mut || world.net_mut().isolate(far)).contains("n2 is no host"));
        assert!(words(&mut || world.host_mut(far).crash(Crash::Kill)).contains("n2 is no host"));
    }

    #[test]
    fn a_clock_jumps_forward_by_thirty_days_or_as_far_as_it_was_set_back() {
        let mut world = World::new(1);
        let host = world.add(Config::insecure_plaintext());
        for by in [Duration::MAX, Schedule::MAX_DURATION + Duration::from_nanos(1)] {
            let Err(Caught::Panic(text)) = caught(|| world.host_mut(host).clock_forward(by)) else {
                panic!("it was refused")
            };
            assert!(text.contains("a clock jumps forward by 2592000s at the most"), "{text}");
        }
        world.host_mut(host).clock_forward(Schedule::MAX_DURATION);
        for _ in 0..2 {
            world.host_mut(host).clock_back(Schedule::MAX_DURATION);
        }
        world.host_mut(host).clock_forward(Schedule::MAX_DURATION * 2);
        world.run_for(Duration::from_secs(1));
        assert!(world.host(host).is_running());
    }

    #[test]
    fn what_a_test_does_to_ways_and_dials_is_in_the_trace() {
        let mut world = World::new(1);
        let hosts = world.add_many(2, &Config::insecure_plaintext());
        world.record();
        let address = world.host(hosts[1]).addr();
        world.net_mut().set_latency(Duration::from_millis(7));
        world.net_mut().set_latency_from(hosts[0], hosts[1], Duration::from_millis(8));
        world.net_mut().set_bandwidth(Some(9_000));
        world.net_mut().set_fate(address, Some(Fate::Stall));
        let (trace, told) = (world.dump(20), world.timeline().to_html());
        for words in ["latency: Constant(7ms)", "latency to n1: Constant(8ms)", "bandwidth: Some(9000)"] {
            assert!(trace.contains(words), "{trace}");
            assert!(told.contains(words), "{told}");
        }
        assert!(trace.contains("dials to 10.0.0.2:7000: Some(Stall)"), "{trace}");
    }
}
