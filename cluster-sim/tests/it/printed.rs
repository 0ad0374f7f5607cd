//! What a failure prints is a test that compiles and does the same: `tests/schedules/printed.rs` is such a text, made of
//! every operation there is.

use std::time::Duration;

use cluster_sim::{
    Abuse, Attack, Block, Crash, Fate, Identity, Latency, Op, Pace, Profile, Restart, Schedule, Setting, Tempo, Twin,
    World,
};

use crate::harness::*;

include!("../schedules/printed.rs");

/// Every operation, in an order in which each of them makes sense.
fn schedule() -> Schedule {
    let (base, jitter) = (ms(2), Duration::from_micros(300));
    let ops = [
        Op::Latency { latency: Latency::Uniform { base, jitter } },
        Op::LatencyFrom { from: 0, to: 1, latency: Latency::Constant(base) },
        Op::LatencyFrom { from: 1, to: 0, latency: Latency::LongTail { base, half: jitter, cap: secs(1) } },
        Op::LatencyFrom { from: 1, to: 2, latency: Latency::Spikes { base, jitter, one_in: 9, spike: secs(1) } },
        Op::Bandwidth { from: 0, to: 1, bytes_per_second: Some(100_000) },
        Op::Bandwidth { from: 0, to: 1, bytes_per_second: None },
        Op::Clog { from: 0, to: 2, open: secs(1), shut: base },
        Op::Heal { a: 0, b: 2 },
        Op::Abort { at: 0, peer: 1 },
        Op::ResetOneSide { at: 0, peer: 1 },
        Op::HalfOpen { at: 1, peer: 2 },
        Op::Sever { a: 0, b: 2 },
        Op::Late { host: 1, up_to: base },
        Op::Drift { host: 2, ppm: -100 },
        Op::ConsumeInBursts { host: 1, count: 3, every: secs(1) },
        Op::Cut { a: 0, b: 1 },
        Op::Heal { a: 0, b: 1 },
        Op::CutOneWay { from: 1, to: 2 },
        Op::Partition { one: vec![0], other: vec![1, 2] },
        Op::Isolate { host: 2 },
        Op::HealAll,
        Op::BlockDials { from: 0, to: 2, how: Block::Refuse },
        Op::AllowDials { from: 0, to: 2 },
        Op::DialFate { host: 1, fate: Some(Fate::Hang) },
        Op::DialFate { host: 1, fate: None },
        Op::Send { from: 0, to: 1, length: 1, count: 1 },
        Op::Send { from: 1, to: 0, length: 2_000, count: 3 },
        Op::Broadcast { from: 2, length: 0 },
        Op::Flush { from: 1, to: 0 },
        Op::Reset { a: 0, b: 1 },
        Op::Pause { host: 0 },
        Op::Resume { host: 0 },
        Op::ClockForward { host: 0, by: secs(7) },
        Op::ClockBack { host: 0, by: ms(1) },
        Op::ClockStop { host: 1, stopped: true },
        Op::ClockStop { host: 1, stopped: false },
        Op::Consume { host: 1, count: 5 },
        Op::Consuming { host: 1, consuming: true },
        Op::Read { host: 1, bytes: 50 },
        Op::Reading { host: 1, reading: true },
        Op::Exhaust { host: 2, exhausted: true },
        Op::Exhaust { host: 2, exhausted: false },
        Op::SetConfig { host: 0, setting: Setting::Metadata(9) },
        Op::SetConfig { host: 0, setting: Setting::Pace(Pace::Wan) },
        Op::Forget { host: 0 },
        Op::Renumber { host: 1 },
        Op::AddSeed { host: 0, to: 2 },
        Op::JoinThrough { host: 1, to: 2 },
        Op::Disconnect { host: 0, peer: 1 },
        Op::Join { host: 0, to: 1 },
        Op::Crash { host: 2, how: Crash::Power },
        Op::Restart { host: 2, identity: Identity::Stale, moved: true },
        Op::Leave { host: 2, timeout: Duration::ZERO },
        Op::Restart { host: 2, identity: Identity::New, moved: false },
        Op::Crash { host: 2, how: Crash::Reset },
        Op::Restart { host: 2, identity: Identity::Twin { of: 1, run: Twin::LaterRun }, moved: true },
        Op::Crash { host: 2, how: Crash::Reset },
        Op::Restart { host: 2, identity: Identity::New, moved: false },
        Op::Outsider { attack: Attack::Garbage, tempo: Tempo::Slow },
        Op::Insider { abuse: Abuse::Chatter, tempo: Tempo::Slow },
    ];
    let mut schedule = Schedule::new(7, 3, secs(70));
    schedule.quiet = secs(60);
    schedule.profile = Profile { max_message: 10_000, buffer: 8_192, seeds: 1, acknowledge: 1, ..Profile::default() };
    for (second, op) in (1..).zip(ops) {
        schedule.push(secs(second), op);
    }
    schedule
}

#[test]
fn a_schedule_prints_as_this_test() {
    let text = schedule().to_test();
    assert!(text == include_str!("../schedules/printed.rs"), "{text}");
    if let Err(failure) = World::builder().schedule(schedule()).run() {
        panic!("{failure}");
    }
}
