//! The same run with many seeds.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::builder::{Builder, Summary};
use crate::failure::{Cause, Failure};
use crate::marks::Marks;
use crate::schedule::Schedule;

/// One seed in so many, from the first on, runs twice, and the two runs are compared.
const TWICE: u64 = 10;

/// Runs what `builder` describes with every seed, on all cores, and panics at the first one that fails: with the seed,
/// the shortest schedule that shows it, a test to paste, and the paths of two files: that schedule, and the page of its
/// [timeline](crate::Timeline::to_html). They are in the directory that the environment variable `CLUSTER_SIM_DIR`
/// names, or in `cluster-sim` below that for temporary files.
///
/// The builder gets the seed also by [`Builder::seed`], unless it has a schedule of its own. One seed in ten runs twice,
/// and the first one always, to see that nothing depends on anything but the seed. [`Swarm`] does the same without panicking.
///
/// ```
/// use cluster_sim::{check_seeds, Rate, World};
/// use std::time::Duration;
///
/// check_seeds(0..10, |_| World::builder().duration(Duration::from_secs(20)).random_faults().traffic(Rate::LOW));
/// ```
///
/// # Panics
///
/// If a seed fails.
#[track_caller]
pub fn check_seeds(seeds: Range<u64>, builder: impl Fn(u64) -> Builder + Sync) {
    if let Err(failure) = Swarm::new(seeds).run(builder) {
        panic!("{failure}");
    }
}

/// Many runs, on several threads: one world is on one thread.
pub struct Swarm<'a> {
    seeds: Range<u64>,
    threads: usize,
    shrink: bool,
    progress: Option<Box<dyn Fn(Progress) + Sync + 'a>>,
    each: Option<OnSummary<'a>>,
}

type OnSummary<'a> = Box<dyn Fn(&Summary) + Sync + 'a>;

/// How far a [`Swarm`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Seeds that have run.
    pub done: u64,
    /// Seeds there are.
    pub total: u64,
}

/// What many runs that ended well were like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many seeds have run.
    pub seeds: u64,
    /// How many steps were simulated, the second runs of seeds not counted.
    pub steps: u64,
    /// The rare paths that were taken.
    pub marks: Marks,
    /// The hash of all hashes, in no order.
    pub hash: u64,
}

impl<'a> Swarm<'a> {
    /// A run with each of these seeds, on as many threads as there are cores.
    #[must_use]
    pub fn new(seeds: Range<u64>) -> Swarm<'a> {
        let threads = thread::available_parallelism().map_or(1, |cores| cores.get());
        Swarm { seeds, threads, shrink: true, progress: None, each: None }
    }

    /// On so many threads; with one, on the thread that calls.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Swarm<'a> {
        self.threads = threads.max(1);
        self
    }

    /// Whether a shorter schedule is looked for when a seed fails, which takes some hundred runs. Default: yes. If not,
    /// the failure has the schedule as it was drawn, which may be long, and neither a test nor files.
    #[must_use]
    pub fn shrink(mut self, shrink: bool) -> Swarm<'a> {
        self.shrink = shrink;
        self
    }

    /// Calls this after each seed, from any of the threads.
    #[must_use]
    pub fn progress(mut self, progress: impl Fn(Progress) + Sync + 'a) -> Swarm<'a> {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Calls this with what each run was like that ended well, from any of the threads and in no order.
    #[must_use]
    pub fn each(mut self, each: impl Fn(&Summary) + Sync + 'a) -> Swarm<'a> {
        self.each = Some(Box::new(each));
        self
    }

    /// Runs the seeds, until one fails.
    ///
    /// # Errors
    ///
    /// What is wrong with the lowest seed that fails, with the shortest schedule that shows it, unless it is
    /// [not looked for](Swarm::shrink).
    pub fn run(self, builder: impl Fn(u64) -> Builder + Sync) -> Result<Tally, Box<Failure>> {
        let work = Work {
            next: AtomicU64::new(self.seeds.start),
            lowest: AtomicU64::new(self.seeds.end),
            done: AtomicU64::new(0),
            tally: Mutex::new(Tally::default()),
        };
        let work_through = || self.work_through(&work, &builder);
        if self.threads == 1 {
            work_through();
        } else {
            thread::scope(|scope| {
                for _ in 0..self.threads {
                    scope.spawn(work_through);
                }
            });
        }
        match work.lowest.into_inner() {
            failed if failed < self.seeds.end => Err(fail(&builder(failed).seed(failed), self.shrink)),
            _ => Ok(work.tally.into_inner().unwrap_or_default()),
        }
    }

    fn work_through(&self, work: &Work, builder: &(impl Fn(u64) -> Builder + Sync)) {
        let mut tally = Tally::default();
        loop {
            let seed = work.next.fetch_add(1, Ordering::Relaxed);
            if seed >= work.lowest.load(Ordering::Relaxed) {
                break;
            }
            let builder = builder(seed).seed(seed);
            let plan = builder.plan().map_err(Cause::Impossible);
            match plan.and_then(|plan| attempt(&builder, &plan, (seed - self.seeds.start).is_multiple_of(TWICE))) {
                Ok(summary) => {
                    tally.add(&summary);
                    if let Some(each) = &self.each {
                        each(&summary);
                    }
                }
                Err(_) => {
                    work.lowest.fetch_min(seed, Ordering::Relaxed);
                }
            }
            if let Some(progress) = &self.progress {
                let total = self.seeds.end - self.seeds.start;
                progress(Progress { done: work.done.fetch_add(1, Ordering::Relaxed) + 1, total });
            }
        }
        if let Ok(mut sum) = work.tally.lock() {
            sum.merge(&tally);
        }
    }
}

impl fmt::Debug for Swarm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swarm").field("seeds", &self.seeds).field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Tally {
    fn add(&mut self, summary: &Summary) {
        self.seeds += 1;
        self.steps += summary.steps;
        self.marks.merge(&summary.marks);
        self.hash = self.hash.wrapping_add(summary.hash);
    }

    fn merge(&mut self, other: &Tally) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.marks.merge(&other.marks);
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

/// What the threads of a swarm share.
struct Work {
    /// The seed that is to run next.
    next: AtomicU64,
    /// The lowest one that failed, or the end.
    lowest: AtomicU64,
    done: AtomicU64,
    tally: Mutex<Tally>,
}

/// Runs a schedule, if asked to twice.
fn attempt(builder: &Builder, schedule: &Schedule, twice: bool) -> Result<Summary, Cause> {
    let first = builder.attempt(schedule)?;
    if twice {
        let second = builder.attempt(schedule).map(|summary| summary.hash).ok();
        if Some(first.hash) != second {
            return Err(Cause::NotRepeatable { first: Some(first.hash), second });
        }
    }
    Ok(first)
}

/// Runs a seed that has failed again, for the whole story, or only for its end.
fn fail(builder: &Builder, shrink: bool) -> Box<Failure> {
    let schedule = match builder.plan() {
        Ok(schedule) => schedule,
        Err(error) => return builder.impossible(error),
    };
    match attempt(builder, &schedule, true) {
        Err(cause @ Cause::NotRepeatable { .. }) => Failure::plain(schedule, cause),
        Err(cause) if shrink => builder.explain(schedule, cause),
        Err(cause) => {
            let cause = builder.with_trace(&schedule, cause);
            Failure::plain(schedule, cause)
        }
        Ok(summary) => {
            let cause = Cause::NotRepeatable { first: None, second: Some(summary.hash) };
            Failure::plain(schedule, cause)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, Faults, Op, Rate, World};
    use cluster_core::{Config, Limits};
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    fn short(_: u64) -> Builder {
        World::builder().duration(Duration::from_secs(5)).random_faults().converge(false)
    }

    #[test]
    fn the_number_of_threads_makes_no_difference() {
        let run = |threads| Swarm::new(0..12).threads(threads).run(short).unwrap();
        let one = run(1);
        assert_eq!((one.seeds, one.clone()), (12, run(3)));
    }

    #[test]
    fn progress_is_told_after_each_seed() {
        let told = Mutex::new(Vec::new());
        let swarm = Swarm::new(5..9).threads(2).progress(|progress| told.lock().unwrap().push(progress.done));
        swarm.run(short).unwrap();
        let mut told = told.into_inner().unwrap();
        told.sort_unstable();
        assert_eq!(told, [1, 2, 3, 4]);
    }

    #[test]
    fn how_each_seed_ended_is_told_once() {
        let told = Mutex::new(Vec::new());
        let swarm = Swarm::new(5..9).threads(2).each(|summary| told.lock().unwrap().push((summary.seed, summary.hash)));
        swarm.run(short).unwrap();
        let mut told = told.into_inner().unwrap();
        told.sort_unstable();
        let alone = (5..9).map(|seed| (seed, short(0).seed(seed).run().unwrap().hash));
        assert_eq!(told, alone.collect::<Vec<_>>());
    }

    #[test]
    fn the_lowest_seed_that_fails_is_told_with_the_shortest_schedule() {
        let crashed = |world: &World| match world.hosts().find(|&host| !world.host(host).is_running()) {
            None => Ok(()),
            Some(host) => Err(format!("nothing runs on {host}")),
        };
        let builder = |_| short(0).faults(Faults::all(Rate::LOW)).invariant(crashed);
        let failure = Swarm::new(0..100).threads(2).run(builder).unwrap_err();
        let alone = (0..failure.seed).all(|seed| builder(0).seed(seed).run().is_ok());
        assert!(alone, "{failure}");
        let ends = |op: &Op| matches!(op, Op::Crash { .. } | Op::Leave { .. });
        assert!(failure.schedule.nodes == 1 && failure.schedule.steps.len() == 1, "{failure}");
        assert!(ends(&failure.schedule.steps[0].op), "{failure}");
        let Cause::Violation(violation) = &failure.cause else { panic!("{failure}") };
        assert!(violation.text.starts_with("nothing runs on n") && !violation.tail.is_empty(), "{failure}");
        let path = failure.file.as_ref().unwrap();
        assert_eq!(Schedule::from_json(&std::fs::read_to_string(path).unwrap()).as_ref(), Ok(&failure.schedule));
        let page = failure.timeline.as_ref().unwrap();
        assert_eq!(page, &path.with_extension("html"));
        let text = std::fs::read_to_string(page).unwrap();
        assert!(text.starts_with("<!doctype html>") && text.contains("nothing runs on n"), "{}", page.display());
        assert!(failure.to_string().contains(&format!("The timeline is in {}\n", page.display())), "{failure}");
        let again = builder(0).schedule(failure.schedule.clone()).run().unwrap_err();
        assert_eq!(again.cause, failure.cause);
    }

    #[test]
    fn a_schedule_that_is_not_to_be_shrunk_is_told_as_it_was_drawn() {
        thread_local!(static RUNS: Cell<u64> = const { Cell::new(0) });
        let late = |world: &World| {
            RUNS.set(RUNS.get() + u64::from(world.steps() == 1));
            if world.steps() < 500 { Ok(()) } else { Err("it is late".to_owned()) }
        };
        let builder = |_| short(0).faults(Faults::all(Rate::LOW)).invariant(late);
        let failure = Swarm::new(3..9).threads(1).shrink(false).run(builder).unwrap_err();
        assert_eq!((failure.seed, Ok(&failure.schedule)), (3, builder(3).seed(3).plan().as_ref()));
        assert!(RUNS.get() <= 3, "found, made sure of, and traced: {} runs", RUNS.get());
        let Cause::Violation(violation) = &failure.cause else { panic!("{failure}") };
        assert!(violation.text == "it is late" && !violation.tail.is_empty(), "{failure}");
        assert!(failure.test.is_empty() && failure.file.is_err() && failure.timeline.is_err());
    }

    #[test]
    fn a_panic_of_the_users_own_code_is_told_with_its_seed() {
        let builder = |_| short(0).faults(Faults::none().with(Fault::Cut, Rate::LOW)).invariant(|_| panic!("my own"));
        let failure = Swarm::new(7..9).run(builder).unwrap_err();
        assert_eq!(failure.seed, 7);
        assert!(failure.to_string().contains("my own") && failure.schedule.steps.is_empty(), "{failure}");
    }

    #[test]
    fn one_seed_in_ten_runs_twice_from_the_first_on() {
        thread_local!(static BEGUN: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) });
        let note = |world: &World| {
            if world.steps() == 1 {
                BEGUN.with_borrow_mut(|begun| begun.push(world.seed()));
            }
            Ok(())
        };
        let builder = |_| short(0).faults(Faults::none()).invariant(note);
        let tally = Swarm::new(7..20).threads(1).run(builder).unwrap();
        assert_eq!(BEGUN.take(), [7, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 17, 18, 19]);
        assert_eq!(tally.seeds, 13);
    }

    #[test]
    fn a_run_that_depends_on_more_than_the_seed_is_found_out() {
        thread_local!(static RUNS: Cell<u64> = const { Cell::new(0) });
        let builder = |_| {
            RUNS.set(RUNS.get() + 1);
            let runs = RUNS.get();
            let late = move |world: &World| if world.steps() > runs { Err("late".to_owned()) } else { Ok(()) };
            short(0).invariant(late)
        };
        let failure = Swarm::new(0..1).threads(1).run(builder).unwrap_err();
        assert!(matches!(failure.cause, Cause::Violation(_)), "{failure}");
    }

    #[test]
    fn a_world_that_cannot_be_is_told_as_such() {
        let failure = Swarm::new(0..3).run(|_| World::builder().nodes(0)).unwrap_err();
        assert_eq!(failure.to_string(), "seed 0 fails: a world needs at least one node\n");
    }

    #[test]
    fn a_config_with_which_nodes_cannot_be_a_mesh_is_told_as_such() {
        let with = |max_peers| {
            let mut limits = Limits::default();
            limits.max_peers = max_peers;
            World::builder().nodes(4).config(Config::insecure_plaintext().limits(limits))
        };
        let failure = Swarm::new(0..3).run(|_| with(2)).unwrap_err();
        let text = "seed 0 fails: a node with a max_peers of 2 has no place for 3 others\n";
        assert_eq!((failure.to_string().as_str(), failure.runs), (text, 0));
        let crowd = with(3).faults(Faults::none().with(Fault::Insider, Rate::HIGH)).run().unwrap_err();
        assert!(matches!(crowd.cause, Cause::Impossible(_)), "{crowd}");
        let plans = (0..50).map(|seed| with(3).random_faults().seed(seed).plan().unwrap());
        let mut steps = plans.flat_map(|plan| plan.steps);
        assert!(!steps.any(|step| matches!(step.op, Op::Insider { .. })), "there is no room for one");
    }
}
