//! Random schedules of faults and operations: whatever happens, the checks hold, and afterwards the core is a mesh again.
//! What once went wrong, and what is interesting, is kept in `tests/schedules`, and runs for ever.

use std::path::Path;

use cluster_sim::{Builder, Rate, Schedule, Swarm, World, schedules};
use proptest::prelude::*;

use crate::harness::*;

/// How many seeds the gate runs.
const SEEDS: u64 = 2_000;

fn random(seed: u64) -> Builder {
    World::builder().schedule(Schedule::random(seed))
}

/// The environment variables `SEED` and `SEEDS` say where to begin and how many to run.
#[test]
fn random_faults_break_no_promise_and_the_core_heals() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("SEED").unwrap_or(0);
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    match Swarm::new(first..first + seeds).run(random) {
        Ok(tally) if seeds >= SEEDS => assert_eq!(tally.marks.missing(), [], "never hit, of {:?}", tally.marks),
        Ok(_) => {}
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn schedules_that_were_kept_run_for_ever() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schedules");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    files.sort();
    assert!(files.len() >= 2);
    for file in files {
        let schedule = Schedule::from_json(&std::fs::read_to_string(&file).unwrap());
        let schedule = schedule.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if let Err(failure) = World::builder().schedule(schedule).run() {
            panic!("{}: {failure}", file.display());
        }
    }
}

#[test]
fn every_seed_runs_twice_in_the_same_way() {
    let hash = |seed| random(seed).run().unwrap_or_else(|failure| panic!("{failure}")).hash;
    let hashes: Vec<u64> = (0..64).map(hash).collect();
    assert_eq!(hashes, (0..64).map(hash).collect::<Vec<_>>());
    let mut distinct = hashes;
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 64);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn any_schedule_can_be_written_down_and_run_again(schedule in schedules().duration(secs(15)).traffic(Rate::HIGH)) {
        let read = Schedule::from_json(&schedule.to_json());
        prop_assert_eq!(read.as_ref(), Ok(&schedule));
        let run = |schedule| World::builder().schedule(schedule).converge(false).run();
        let (first, second) = (run(schedule), run(read.unwrap()));
        prop_assert!(first.is_ok(), "{}", first.unwrap_err());
        prop_assert_eq!(first.unwrap().hash, second.unwrap().hash);
    }
}
