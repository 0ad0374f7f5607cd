//! The command `cluster-sim`: what it prints, what it writes, and how it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use cluster_sim::{Crash, Op, Profile, Schedule, Step};

/// Runs the command in a directory, where it also keeps the schedules and timelines of runs that fail.
fn run(directory: &Path, line: &str) -> Output {
    run_words(directory, &line.split_whitespace().collect::<Vec<_>>())
}

fn run_words(directory: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-sim"));
    command.args(words).current_dir(directory).env("CLUSTER_SIM_DIR", directory);
    command.env("CLUSTER_SIM_LINES", "5").output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An empty directory of this test's own.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // It is there only if the test ran before.
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn read(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).unwrap()
}

/// A schedule that no correct core can run well: more is sent over connections that carry a byte at a time than
/// arrives before the mesh must have recovered. What else happens in it is no matter.
fn hopeless() -> Schedule {
    let mut schedule = Schedule::new(1, 5, Duration::from_secs(5));
    schedule.profile.buffer = 1;
    let core: Vec<u32> = schedule.core().into_iter().map(|host| host.index() as u32).collect();
    let outside = (0..5).find(|host| !core.contains(host)).unwrap();
    for second in 1..4 {
        schedule.push(Duration::from_secs(second), Op::Crash { host: outside, how: Crash::Kill });
    }
    schedule.push(Duration::from_secs(4), Op::Send { from: core[0], to: core[1], length: 1_000_000, count: 5 });
    schedule
}

#[test]
fn a_run_that_is_well_says_so_and_writes_what_was_asked_for() {
    let directory = directory("well");
    let line =
        "--seed 4 --nodes 4 --duration 10s --faults crash --report r.html --trace t.jsonl --schedule s.json --text";
    let output = run(&directory, line);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let text = out(&output);
    assert!(text.starts_with("seed 4: no violation; 4 nodes") && text.contains("\nn3 "), "{text}");
    assert!(read(&directory, "r.html").starts_with("<!doctype html>"));
    assert!(read(&directory, "t.jsonl").lines().all(|line| line.starts_with('{') && line.ends_with('}')));
    let schedule = Schedule::from_json(&read(&directory, "s.json")).unwrap();
    assert!(schedule.steps.iter().any(|step| matches!(step.op, Op::Crash { .. })));

    let again = run(&directory, "--replay s.json");
    assert_eq!(out(&again).lines().next(), text.lines().next(), "the file is the whole run");
}

#[test]
fn a_run_that_fails_ends_with_1_the_shortest_schedule_and_the_line_that_repeats_it() {
    let directory = directory("fails");
    std::fs::write(directory.join("s.json"), hopeless().to_json()).unwrap();
    let output = run(&directory, "--replay s.json --report r.html --schedule short.json");
    assert_eq!(output.status.code(), Some(1), "{}", error(&output));
    let text = out(&output);
    assert!(text.contains("seed 1 fails: ") && text.contains("has 1 of 4 steps"), "{text}");
    assert!(text.ends_with("\nAgain: cluster-sim --replay s.json\n"), "{text}");
    let short = Schedule::from_json(&read(&directory, "short.json")).unwrap();
    assert!(matches!(short.steps[..], [Step { op: Op::Send { .. }, .. }]), "{short:?}");
    assert!(read(&directory, "r.html").contains("\"violations\":[["));
    assert!(text.contains("\nThe timeline is in ") && text.contains("seed-1.html\n"), "{text}");
    assert!(read(&directory, "seed-1.html").contains("\"violations\":[["));

    let whole = run(&directory, "--replay s.json --no-shrink --schedule whole.json");
    assert_eq!((whole.status.code(), out(&whole).contains("of 4 steps")), (Some(1), false));
    assert_eq!(Schedule::from_json(&read(&directory, "whole.json")), Ok(hopeless()));
    assert_eq!(run(&directory, "--replay s.json --no-heal").status.code(), Some(0), "nothing is promised then");
}

#[test]
fn the_line_that_repeats_a_run_can_be_pasted_whatever_its_file_is_called() {
    let directory = directory("spaces");
    std::fs::write(directory.join("my run.json"), hopeless().to_json()).unwrap();
    let output = run_words(&directory, &["--replay", "my run.json", "--no-shrink"]);
    assert_eq!(output.status.code(), Some(1), "{}", error(&output));
    assert!(out(&output).ends_with("\nAgain: cluster-sim --replay 'my run.json'\n"), "{}", out(&output));
    let output = run_words(&directory, &["--faults", ""]);
    assert_eq!(output.status.code(), Some(2), "{}", out(&output));
    assert!(error(&output).contains("--faults names no fault"), "{}", error(&output));
}

#[test]
fn a_swarm_says_how_many_seeds_were_well_and_hashes_are_the_same_each_time() {
    let directory = directory("swarm");
    let line = "--swarm 6 --seed 10 --duration 5s --faults none --jobs 2";
    let swarm = run(&directory, line);
    assert_eq!(swarm.status.code(), Some(0), "{}", out(&swarm));
    assert!(out(&swarm).starts_with("seeds 10 to 15: no violation; "), "{}", out(&swarm));
    assert_eq!(error(&swarm), "", "no progress is shown where no terminal is");

    let hashes = |jobs| out(&run(&directory, &format!("--hashes 3 --duration 5s --faults cut --seed 7 --jobs {jobs}")));
    let [first, second] = [1, 3].map(hashes);
    let seeds: Vec<&str> = first.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!((seeds, &first), (vec!["7", "8", "9"], &second));
}

#[test]
fn wrong_arguments_and_files_end_with_2_and_say_why() {
    let directory = directory("wrong");
    std::fs::write(directory.join("old.json"), hopeless().to_json().replacen("1", "99", 1)).unwrap();
    let few = Schedule { profile: Profile { max_peers: 1, ..Profile::default() }, ..hopeless() };
    std::fs::write(directory.join("few.json"), few.to_json()).unwrap();
    for (line, why) in [
        ("--nodes 0", "--nodes must be from 1 to 513"),
        ("--nodes many", "many"),
        ("--faults quake", "there is no fault \"quake\"; there are: latency,"),
        ("--faults cut=2", "is not between 0 and 1"),
        ("--duration 5y", "is no unit of time"),
        ("--swarm 0", "--swarm must be at least 1"),
        ("--frobnicate", "--frobnicate"),
        ("--seed", "missing"),
        ("--replay nothing.json", "nothing.json: "),
        ("--replay old.json", "version 99"),
        ("--replay few.json", "few.json: a node with a max_peers of 1 has no place for 4 others"),
        ("--duration 1s --faults none --report nowhere/r.html", "nowhere/r.html: "),
        ("--replay old.json --nodes 5", "the file says everything about its run"),
        ("--swarm 5 --hashes 5", "use one of them"),
        ("--jobs 2", "one run is on one thread"),
        ("--swarm 2 --seed 18446744073709551615", "beyond the largest number"),
    ] {
        let output = run(&directory, line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", out(&output));
        assert!(
            error(&output).starts_with("cluster-sim: ") && error(&output).contains(why),
            "{line}: {}",
            error(&output)
        );
    }
}

#[test]
fn help_and_version_are_printed() {
    let directory = directory("help");
    let help = run(&directory, "--help");
    assert!(help.status.success() && out(&help).contains("Usage: cluster-sim"));
    assert_eq!(out(&run(&directory, "-V")), format!("cluster-sim {}\n", env!("CARGO_PKG_VERSION")));
}
