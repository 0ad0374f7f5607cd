//! Worlds that run by themselves: described once, run with any seed.

use std::time::Duration;

use cluster_core::{Config, Instant};
use cluster_timeline::{Breach, Timeline};

use crate::app::{App, Ctx, Factory};
use crate::catch::{Caught, caught};
use crate::failure::Cause;
use crate::marks::Marks;
use crate::schedule::{Fault, Faults, Op, Profile, Rate, Schedule, ScheduleError};
use crate::world::{Invariants, World};

/// Describes a run: nodes, what happens to them, and what must hold. Made by [`World::builder`].
///
/// The run is a [`Schedule`], drawn from the seed. After its last step a random core of the nodes is healed, everything
/// else stays as broken as it is, and the core must become a mesh again.
///
/// ```
/// use cluster_sim::{Fault, Faults, Rate, World};
/// use std::time::Duration;
///
/// let summary = World::builder()
///     .seed(42)
///     .nodes(4)
///     .duration(Duration::from_secs(30))
///     .faults(Faults::none().with(Fault::Crash, Rate::HIGH))
///     .traffic(Rate::HIGH)
///     .invariant(|world| if world.running().len() <= 4 { Ok(()) } else { Err("too many".to_owned()) })
///     .run()?;
/// assert!(summary.time > Duration::from_secs(30));
/// # Ok::<(), Box<cluster_sim::Failure>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    /// Without steps, unless they are given.
    schedule: Schedule,
    given: bool,
    faults: Option<Faults>,
    traffic: Rate,
    config: Option<Config>,
    converge: bool,
    invariants: Invariants,
    factory: Option<Factory>,
}

/// What a run that ended well was like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// [`World::trace_hash`] at the end: equal for equal runs.
    pub hash: u64,
    /// How many steps were simulated.
    pub steps: u64,
    /// How much virtual time has passed.
    pub time: Duration,
    /// The rare paths it took.
    pub marks: Marks,
}

impl World {
    /// Describes a world that runs by itself: three nodes with default config for 60 s, and no faults, unless told
    /// otherwise.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            schedule: Schedule::new(0, 3, Duration::from_secs(60)),
            given: false,
            faults: Some(Faults::none()),
            traffic: Rate::OFF,
            config: None,
            converge: true,
            invariants: Invariants::default(),
            factory: None,
        }
    }
}

impl Builder {
    /// Where all randomness comes from. Default 0. A [given](Builder::schedule) schedule has its own.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Builder {
        if !self.given {
            self.schedule.seed = seed;
        }
        self
    }

    /// How many nodes there are. Default 3.
    #[must_use]
    pub fn nodes(mut self, nodes: u32) -> Builder {
        self.schedule.nodes = nodes;
        self.schedule.profile.seeds = self.schedule.profile.seeds.min(nodes);
        self
    }

    /// How long faults last before the core heals. Default 60 s.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Builder {
        self.schedule.duration = duration;
        self
    }

    /// What the nodes are configured to be.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Builder {
        self.schedule.profile = profile;
        self
    }

    /// The config of every node, for what a [`Profile`] cannot say; of the profile only the seeds are used.
    #[must_use]
    pub fn config(mut self, config: Config) -> Builder {
        self.config = Some(config);
        self
    }

    /// How often each kind of fault happens. Default: none does.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Builder {
        self.faults = Some(faults);
        self
    }

    /// Faults are drawn from the seed, as by [`Faults::random`]; but with no [`Fault::Insider`] where
    /// [applications](Builder::app) run, for it sends them what no application would, nor where nodes may have no more
    /// peers than there are others.
    #[must_use]
    pub fn random_faults(mut self) -> Builder {
        self.faults = None;
        self
    }

    /// How often the users of the nodes send messages of all sizes. Default: never.
    #[must_use]
    pub fn traffic(mut self, rate: Rate) -> Builder {
        self.traffic = rate;
        self
    }

    /// Every node runs an application, which `make` makes when the node has just started, at the beginning and after
    /// each crash. Default: none does. What [traffic](Builder::traffic) sends comes to it as well.
    #[must_use]
    pub fn app<A: App>(mut self, make: impl Fn(&mut Ctx<'_>) -> A + 'static) -> Builder {
        self.factory = Some(Factory::new(make));
        self
    }

    /// Runs exactly this schedule, and draws nothing.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Builder {
        self.schedule = schedule;
        self.given = true;
        self
    }

    /// Whether a core is healed after the last step and must converge. Default: yes.
    #[must_use]
    pub fn converge(mut self, converge: bool) -> Builder {
        self.converge = converge;
        self
    }

    /// Something that must hold after every step of the simulation; if not, why.
    #[must_use]
    pub fn invariant(mut self, holds: impl Fn(&World) -> Result<(), String> + 'static) -> Builder {
        self.invariants.add(holds);
        self
    }

    /// The schedule that [`run`](Builder::run) runs.
    ///
    /// # Errors
    ///
    /// If such a world cannot be.
    pub fn plan(&self) -> Result<Schedule, ScheduleError> {
        let mut schedule = self.schedule.clone();
        schedule.check()?;
        if !self.given {
            let faults = self.faults.clone().unwrap_or_else(|| {
                let faults = Faults::random(schedule.seed);
                let insiders = self.factory.is_none() && schedule.has_room(self.config.as_ref());
                if insiders { faults } else { faults.with(Fault::Insider, Rate::OFF) }
            });
            schedule.add_faults(&faults);
            if self.traffic == Rate::OFF {
                // Some faults come with messages that are in their way; an application would take them for its own.
                schedule.steps.retain(|step| !matches!(step.op, Op::Send { .. }));
            }
            schedule.add_traffic(self.traffic);
            schedule.check()?;
        }
        Ok(schedule)
    }

    /// The world at time 0, for a test that goes on by hand: no fault happens in it by itself, its invariants are
    /// checked, and what fails in it panics.
    ///
    /// # Errors
    ///
    /// If such a world cannot be.
    pub fn build(&self) -> Result<World, ScheduleError> {
        let config = self.schedule.node_config(self.config.as_ref())?;
        let mut world = self.empty_world(self.schedule.seed);
        world.be_loud();
        world.populate(&self.schedule, &config);
        Ok(world)
    }

    /// Runs the schedule as it is, looks for no shorter one, and tells how it ended and what happened until then.
    ///
    /// # Errors
    ///
    /// If such a world cannot be.
    pub fn timeline(&self) -> Result<(Result<Summary, Cause>, Timeline), ScheduleError> {
        let schedule = self.plan()?;
        let config = schedule.node_config(self.config.as_ref())?;
        let mut world = self.empty_world(schedule.seed);
        world.record();
        let result = self.attempt_in(&mut world, &schedule, &config);
        let mut timeline = world.timeline();
        if let Err(Cause::Panic(text)) = &result {
            timeline.violations.push(Breach { at: timeline.end, host: None, text: text.clone() });
        }
        Ok((result, timeline))
    }

    /// What was asked for, before anything was drawn.
    pub(crate) fn template(&self) -> &Schedule {
        &self.schedule
    }

    /// Runs a schedule as it is.
    pub(crate) fn attempt(&self, schedule: &Schedule) -> Result<Summary, Cause> {
        self.attempt_with(schedule, 0).result
    }

    /// Runs a schedule, keeping so many lines of the trace.
    pub(crate) fn attempt_with(&self, schedule: &Schedule, lines: usize) -> Attempt {
        let config = match schedule.node_config(self.config.as_ref()) {
            Ok(config) => config,
            Err(error) => return Attempt { result: Err(Cause::Impossible(error)), end: Instant::ZERO, steps: 0 },
        };
        let mut world = self.empty_world(schedule.seed);
        world.keep_lines(lines);
        let result = self.attempt_in(&mut world, schedule, &config);
        Attempt { result, end: world.now(), steps: world.steps() }
    }

    fn attempt_in(&self, world: &mut World, schedule: &Schedule, config: &Config) -> Result<Summary, Cause> {
        let result = caught(|| {
            world.populate(schedule, config);
            self.execute(world, schedule);
            Summary {
                seed: schedule.seed,
                hash: world.trace_hash(),
                steps: world.steps(),
                time: world.now() - Instant::ZERO,
                marks: Marks::of(world),
            }
        });
        result.map_err(|caught| match caught {
            Caught::Violation(violation) => Cause::Violation(violation),
            Caught::Panic(text) => Cause::Panic(text),
        })
    }

    /// Whether the schedule says everything about the run.
    pub(crate) fn is_plain(&self) -> bool {
        self.config.is_none() && self.converge && self.invariants.is_empty() && self.factory.is_none()
    }

    /// A world without hosts, whose failures unwind.
    fn empty_world(&self, seed: u64) -> World {
        let mut world = World::quiet(seed);
        world.set_invariants(self.invariants.clone());
        world.set_factory(self.factory.clone());
        world
    }

    fn execute(&self, world: &mut World, schedule: &Schedule) {
        for step in &schedule.steps {
            world.run_for((Instant::ZERO + step.at) - world.now());
            if let Err(error) = world.apply(&step.op) {
                world.fail(&error.to_string());
            }
            world.check_invariants();
        }
        world.run_for((Instant::ZERO + schedule.duration) - world.now());
        if self.converge && schedule.nodes > 1 {
            let core = schedule.core();
            world.recover(&core);
            if schedule.is_watched() {
                world.stay_quiet(&core, schedule.quiet);
            }
        }
        world.sweep();
    }
}

/// One run, however it ended.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) result: Result<Summary, Cause>,
    /// The time at which it ended.
    pub(crate) end: Instant,
    /// How many steps were simulated until then.
    pub(crate) steps: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Step;

    #[test]
    fn a_run_that_fails_tells_how_long_it_was() {
        let late = |world: &World| if world.steps() < 100 { Ok(()) } else { Err("late".to_owned()) };
        let attempt = World::builder().invariant(late).attempt_with(&Schedule::random(1), 0);
        assert!(matches!(attempt.result, Err(Cause::Violation(_))), "{attempt:?}");
        assert_eq!((attempt.steps, attempt.end > Instant::ZERO), (100, true));
    }

    #[test]
    fn messages_are_drawn_no_larger_than_a_step_may_send() {
        let (max_message, initial_window) = (128 << 20, 100 << 20);
        let profile = Profile { max_message, initial_window, recv_window: 128 << 20, ..Profile::default() };
        let builder = World::builder().profile(Profile { spare_credit: 1 << 30, ..profile }).traffic(Rate::HIGH);
        for seed in 0..50 {
            let plan = builder.clone().seed(seed).plan();
            assert_eq!(plan.and_then(|plan| plan.check()), Ok(()), "seed {seed}");
        }
    }

    #[test]
    fn what_is_drawn_on_top_of_a_full_schedule_is_too_much() {
        let mut schedule = Schedule::new(1, 3, Duration::from_secs(60));
        schedule.steps = vec![Step { at: Duration::ZERO, op: Op::HealAll }; Schedule::MAX_STEPS];
        let builder = Builder { schedule, ..World::builder().traffic(Rate::HIGH) };
        assert!(matches!(builder.plan(), Err(ScheduleError::TooManySteps { .. })));
    }
}
