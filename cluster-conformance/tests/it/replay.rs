//! Schedules of the simulator on the other arms: the guard against a wrong model of the network.
//!
//! Each is run in the simulator first, in which everything is checked that its oracle knows, then replayed with real
//! sockets through proxies, about a hundred times as fast. `CLUSTER_REPLAYS` says how many, and `CLUSTER_REPLAY` with
//! which one to begin.

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use cluster_conformance::cluster_core::{Config, Limits};
use cluster_conformance::{self as proxy, Act, Arm, Broken, Pieces, Plan, Replayed, replay};
use cluster_sim::{Fault, Faults, Op, Profile, Rate, Schedule, World};

use crate::async_std::AsyncStdArm;
use crate::poll_loop::PollArm;
use crate::sim::SimArm;
use crate::threads::StdArm;
use crate::tokio::TokioArm;

/// How many schedules are replayed on each arm.
const REPLAYS: u64 = 100;

/// How many are replayed at a time.
const AT_ONCE: usize = 8;

/// How much faster than in the simulator time passes.
const FASTER: u32 = 100;

/// How long a schedule takes in the simulator.
const DURATION: Duration = Duration::from_secs(25);

/// What the simulator draws: only what can be done with real sockets.
fn schedule(seed: u64) -> Schedule {
    let mut faults = Faults::none();
    let kinds = [
        Fault::Cut,
        Fault::Partition,
        Fault::Isolate,
        Fault::Reset,
        Fault::Flap,
        Fault::Crash,
        Fault::Leave,
        Fault::Disconnect,
        Fault::Join,
    ];
    for (at, kind) in kinds.into_iter().enumerate() {
        // Each schedule lacks some of them.
        if (seed >> (at % 8)) & 1 == 0 || at as u64 % 5 == seed % 5 {
            faults = faults.with(kind, Rate::HIGH);
        }
    }
    let profile =
        Profile { max_message: 100_000, send_window: 1 << 20, initial_window: 64 << 10, ..Profile::default() };
    let builder = World::builder().seed(seed).nodes(3 + (seed % 3) as u32).duration(DURATION).profile(profile);
    builder.faults(faults).traffic(Rate::HIGH).plan().expect("such a world can be")
}

/// The plan of this seed.
pub(crate) fn plan_of(seed: u64) -> Plan {
    plan(&schedule(seed))
}

/// The schedule for real nodes.
fn plan(schedule: &Schedule) -> Plan {
    let all = 0..schedule.nodes as usize;
    let mut steps = Vec::new();
    for step in &schedule.steps {
        let at = step.at / FASTER;
        let mut push = |act| steps.push((at, act));
        match step.op {
            Op::Cut { a, b } => push(Act::Cut(a as usize, b as usize)),
            Op::Heal { a, b } => push(Act::Heal(a as usize, b as usize)),
            Op::HealAll => push(Act::HealAll),
            Op::Partition { ref one, ref other } => {
                one.iter().for_each(|&a| other.iter().for_each(|&b| push(Act::Cut(a as usize, b as usize))));
            }
            Op::Isolate { host } => {
                let others = all.clone().filter(|&other| other != host as usize);
                others.for_each(|other| push(Act::Cut(host as usize, other)));
            }
            Op::Reset { a, b } | Op::Abort { at: a, peer: b } => push(Act::Reset(a as usize, b as usize)),
            Op::Crash { host, .. } => push(Act::Crash(host as usize)),
            Op::Restart { host, .. } => push(Act::Restart(host as usize)),
            Op::Leave { host, .. } => push(Act::Leave(host as usize)),
            Op::Disconnect { host, peer } => push(Act::Disconnect(host as usize, peer as usize)),
            Op::Join { host, to } => push(Act::Join(host as usize, to as usize)),
            Op::Send { from, to, length, count } => {
                push(Act::Send(from as usize, to as usize, length as usize, count));
            }
            Op::Broadcast { from, length } => push(Act::Broadcast(from as usize, length as usize)),
            // A user's patience with a name, a seed and a flush is no fault.
            Op::JoinThrough { host, to } | Op::AddSeed { host, to } => push(Act::Join(host as usize, to as usize)),
            Op::Flush { .. } => {}
            // Loopback is never far.
            Op::LatencyFrom { .. } => {}
            ref other => panic!("{other:?} cannot be done with real sockets"),
        }
    }
    let pieces = if schedule.seed.is_multiple_of(2) { Pieces::Random } else { Pieces::AsTheyCome };
    let delay = schedule.seed.is_multiple_of(3).then_some(0..=1);
    let faults = proxy::Faults { pieces, delay, ..proxy::Faults::default() };
    Plan { seed: schedule.seed, nodes: schedule.nodes as usize, config: config(&schedule.profile), faults, steps }
}

/// Timing that is as fast as the schedule, as far as a busy machine can keep it.
fn config(profile: &Profile) -> Config {
    let mut limits = Limits::default();
    limits.max_message = profile.max_message;
    limits.send_window = profile.send_window;
    limits.initial_window = profile.initial_window;
    let millis = Duration::from_millis;
    Config::insecure_plaintext()
        .limits(limits)
        .heartbeat(millis(50))
        .peer_timeout(millis(400))
        .probe_timeout(millis(200))
        .handshake_timeout(millis(800))
        .join_timeout(millis(1_500))
        .reconnect(millis(5), millis(60))
        .stable_after(Duration::ZERO)
        .seed_interval(millis(100))
        .gossip_interval(millis(200))
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Replays as many as are wanted, some at a time, each with an arm of its own.
fn replay_all<A: Arm>(make: impl Fn(u64) -> A + Sync, at_once: usize) {
    static ONE_ARM: Mutex<()> = Mutex::new(());
    // Replays run at the speed of the machine. Two arms at once would keep each other from their schedules.
    let _alone = ONE_ARM.lock().unwrap_or_else(PoisonError::into_inner);
    let (first, count) = (number("CLUSTER_REPLAY", 0), number("CLUSTER_REPLAYS", REPLAYS));
    let next = AtomicU64::new(first);
    let work = || {
        let mut done: Vec<Result<Replayed, Broken>> = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= first + count {
                return done;
            }
            done.push(replay(&make(seed), &plan_of(seed)));
        }
    };
    let done: Vec<Result<Replayed, Broken>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no replay panics")).collect()
    });
    let broken: Vec<String> = done.iter().filter_map(|outcome| outcome.as_ref().err()).map(Broken::to_string).collect();
    assert!(broken.is_empty(), "{} of {count} replays failed:\n{}", broken.len(), broken.join("\n"));
    let sum = |of: fn(&Replayed) -> u64| done.iter().flatten().map(of).sum::<u64>();
    let (sent, taken, undelivered) = (sum(|one| one.sent), sum(|one| one.taken), sum(|one| one.undelivered));
    let (resets, lives) = (sum(|one| one.resets as u64), sum(|one| one.lives as u64));
    println!("{count} replays: {lives} nodes, {sent} messages, {taken} taken, {undelivered} reported, {resets} resets");
    // They are about something.
    assert!(taken >= 10 * count && lives > 3 * count, "{taken} messages were taken, {lives} nodes lived");
}

#[test]
fn the_schedules_hold_in_the_simulator() {
    let (first, count) = (number("CLUSTER_REPLAY", 0), number("CLUSTER_REPLAYS", REPLAYS));
    for seed in first..first + count {
        if let Err(failure) = World::builder().schedule(schedule(seed)).run() {
            panic!("{failure}");
        }
    }
}

#[test]
fn the_schedules_hold_on_the_simulator_as_an_arm() {
    replay_all(SimArm::seeded, 1);
}

#[test]
fn the_schedules_hold_on_tokio() {
    replay_all(|_| TokioArm::multi_thread(), AT_ONCE);
}

#[test]
fn the_schedules_hold_on_threads() {
    replay_all(|_| StdArm, AT_ONCE);
}

#[test]
fn the_schedules_hold_on_async_std() {
    replay_all(|_| AsyncStdArm, AT_ONCE);
}

#[test]
fn the_schedules_hold_on_a_poll_loop() {
    replay_all(|_| PollArm, AT_ONCE);
}
