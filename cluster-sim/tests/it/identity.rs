//! Who is who: scenarios S14 to S20, and what a node says of itself when that changes.

use std::net::SocketAddr;

use bytes::Bytes;
use cluster_core::wire::{Ack, Announce, Close, Digest, Entry, Profile, Update};
use cluster_core::{
    Config, Event, Frame, Incarnation, Instant, JoinError, Limits, NodeId, PeerInfo, PeerState, Reason, RejectCode, Run,
};
use cluster_sim::{
    Block, Crash, Fate, FrameKind, Greeting, HostId, Latency, Logged, PuppetState, Restart, Script, Spec, World,
};

use crate::harness::*;

/// The mesh sizes that these scenarios are run with.
const SIZES: std::ops::RangeInclusive<usize> = 2..=5;

/// In the unit of incarnations.
const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

/// What a run adopts that was told of `known`, in the place of its own incarnation.
fn is_adopted(known: Incarnation, own: Incarnation) -> bool {
    (known.0 + 1..=known.0 + SECOND).contains(&own.0)
}

/// One of the nodes, drawn from the seed, and the others.
fn one_of(world: &mut World, hosts: &[HostId]) -> (HostId, Vec<HostId>) {
    let one = hosts[world.draw(hosts.len() as u64) as usize];
    (one, hosts.iter().copied().filter(|&host| host != one).collect())
}

/// What `host` was told of the messages for one run that came to nothing: certainly not delivered, and in doubt.
fn failed_for(world: &World, host: HostId, peer: Run) -> (Vec<Bytes>, Vec<Bytes>) {
    let mut failed = (Vec::new(), Vec::new());
    for logged in world.events(host) {
        if let Event::Undelivered(undelivered) = &logged.event
            && undelivered.peer == peer
        {
            failed.0.extend(undelivered.not_delivered.iter().cloned());
            failed.1.extend(undelivered.in_doubt.iter().cloned());
        }
    }
    failed
}

/// The runs that `host` was told share an id with another live node.
fn clones(world: &World, host: HostId) -> Vec<Run> {
    let newcomer = |event: &Event| match event {
        Event::DuplicateIdentity { newcomer } => Some(*newcomer),
        _ => None,
    };
    world.events(host).iter().filter_map(|logged| newcomer(&logged.event)).collect()
}

fn join_errors(world: &World, host: HostId) -> Vec<JoinError> {
    let error = |event: &Event| match event {
        Event::JoinFailed { error, .. } => Some(error.clone()),
        _ => None,
    };
    world.events(host).iter().filter_map(|logged| error(&logged.event)).collect()
}

/// The whole life of two runs of one node, as another node is told of it.
fn restarted(old: Run, new: Run) -> [(&'static str, u64); 4] {
    let (old, new) = (old.incarnation.0, new.incarnation.0);
    [("up", old), ("down", old), ("gone", old), ("up", new)]
}

fn peer(world: &World, host: HostId, id: NodeId) -> PeerInfo {
    world.core(host).peer(id).unwrap_or_else(|| panic!("{host} does not know {id:?}"))
}

/// Whatever way the old run ended, and whatever was on its way to it.
#[test]
fn s14_a_restart_is_one_down_and_one_up_and_old_messages_are_failed() {
    for seed in 0..10 {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, others) = one_of(&mut world, &hosts);
            let old = world.run(b);
            // It takes nothing more in, so that the credit is used up and the rest of what follows stays in the queues.
            world.pause(b);
            for (&host, number) in others.iter().zip(1_u8..) {
                for part in 0..10 {
                    world.node(host).send(old.id, vec![16 * number + part; 40_000]).unwrap();
                }
            }
            let lag = world.draw(2_000);
            world.run_for(ms(lag));
            world.crash(b, [Crash::Kill, Crash::Reset, Crash::Power][seed as usize % 3]);
            let pause = world.draw(1_500);
            world.run_for(ms(pause));
            world.restart(b, Restart::default());
            let new = world.run(b);
            world.node(b).join(others[0]).unwrap();
            world.expect("the mesh is whole", secs(3), World::is_complete);
            world.settle();
            for (&host, number) in others.iter().zip(1_u8..) {
                assert_eq!(word(&world, host, new.id), restarted(old, new), "seed {seed}, {size} nodes");
                let reasons = down_reasons(&world, host, b);
                assert!(matches!(reasons[..], [Reason::Restarted | Reason::Reset]), "seed {seed}: {reasons:?}");
                let (not_delivered, in_doubt) = failed_for(&world, host, old);
                let failed: Vec<u8> = in_doubt.iter().chain(&not_delivered).map(|payload| payload[0]).collect();
                let sent: Vec<u8> = (0..10).map(|part| 16 * number + part).collect();
                assert_eq!(failed, sent, "seed {seed}: each once, in order");
                // Ten of them are more than the credit, and six are not.
                assert!(not_delivered.len() >= 3 && in_doubt.len() >= 6, "seed {seed}: {}", in_doubt.len());
                assert_eq!(failed_for(&world, host, new), (Vec::new(), Vec::new()), "seed {seed}");
                assert_eq!((world.ups(b, host), world.downs(b, host)), (2, 0), "seed {seed}: once for each run of b");
                world.send_numbered(host, b, 100).unwrap();
                world.send_numbered(b, host, 100).unwrap();
            }
            world.run_for(ms(100));
            assert_eq!(world.messages(b).len(), others.len(), "seed {seed}: nothing that was meant for the old run");
            for &host in &others {
                assert_eq!((world.numbered(b, host), world.numbered(host, b)), (1, 1), "seed {seed}");
            }
        }
    }
}

/// A restart that is noticed only because the new run appears is told as what it is.
#[test]
fn s14_a_restart_that_nobody_noticed_before_is_told_as_a_restart() {
    for seed in SEEDS {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, others) = one_of(&mut world, &hosts);
            let old = world.run(b);
            // All have just heard of each other, so that nobody asks for a while.
            for &host in &others {
                world.send_numbered(host, b, 100).unwrap();
                world.send_numbered(b, host, 100).unwrap();
            }
            world.run_for(ms(100));
            world.crash(b, Crash::Power);
            let pause = world.draw(600);
            world.run_for(ms(pause));
            world.restart(b, Restart::default());
            let new = world.run(b);
            world.node(b).join(others[0]).unwrap();
            world.expect("the mesh is whole", ms(1_100), World::is_complete);
            world.settle();
            for &host in &others {
                assert_eq!(word(&world, host, new.id), restarted(old, new), "seed {seed}, {size} nodes");
                assert_eq!(down_reasons(&world, host, b), [Reason::Restarted], "seed {seed}, {size} nodes");
                assert_eq!(clones(&world, host), [], "seed {seed}");
            }
            assert_eq!(clones(&world, b), [], "seed {seed}");
        }
    }
}

/// Both dial at once, the one because it has lost the other, and the other because it is back.
#[test]
fn s14_a_restart_that_crosses_the_others_own_dial_ends_in_one_link() {
    let mut crossed = 0;
    for seed in 0..60 {
        let (mut world, a, b) = pair(seed);
        let old = world.run(b);
        world.set_latency(Latency::Uniform { base: ms(40), jitter: ms(20) });
        world.crash(b, Crash::Kill);
        let begin = world.now();
        let way = world.addr(b);
        world.expect("a dials it again", secs(2), |world| world.dials_to(way, begin) == 1);
        // The dial gets there when somebody listens again, who dials at some point of a's handshake.
        let pause = world.draw(40);
        world.run_for(ms(pause));
        world.restart(b, Restart::default());
        let new = world.run(b);
        let lag = world.draw(160);
        world.run_for(ms(lag));
        let own = world.now();
        world.node(b).join(a).unwrap();
        world.expect("they are linked", secs(6), |world| world.linked(a, b));
        world.settle();
        assert!(world.linked(a, b), "seed {seed}");
        assert_eq!(word(&world, a, new.id), restarted(old, new), "seed {seed}");
        assert_eq!((world.ups(b, a), world.downs(b, a)), (2, 0), "seed {seed}: once for each run of b");
        assert_eq!(clones(&world, a).len() + clones(&world, b).len(), 0, "seed {seed}");
        assert_eq!(join_errors(&world, b), [], "seed {seed}");
        // The first connection, and one or two now.
        assert!((2..=3).contains(&world.opened(a, b)), "seed {seed}: {}", world.opened(a, b));
        crossed += usize::from(world.dials_from(b, own) == 1 && world.opened(a, b) == 3);
        world.send_numbered(a, b, 100).unwrap();
        world.send_numbered(b, a, 100).unwrap();
        world.run_for(ms(200));
        assert_eq!((world.numbered(a, b), world.numbered(b, a)), (1, 1), "seed {seed}");
    }
    assert!(crossed >= 20, "{crossed}");
}

/// The new run knows nobody, so that it is for the others to try again.
#[test]
fn s14_a_restart_whose_first_connection_breaks_during_the_handshake_is_still_found() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2 + seed as usize % 3);
        let (b, others) = one_of(&mut world, &hosts);
        let old = world.run(b);
        world.set_latency(Latency::Uniform { base: ms(20), jitter: ms(5) });
        world.crash(b, Crash::Kill);
        world.run_for(ms(1));
        world.restart(b, Restart::default());
        let new = world.run(b);
        let claimed = |world: &World, host: HostId| world.links(host).iter().any(|link| link.peer == Some(new));
        for &host in &others {
            if world.run_until(secs(2), |world| claimed(world, host)) && !world.sees(host, b) {
                let lag = world.draw(60);
                world.run_for(ms(lag));
                world.reset_connections(host, b);
            }
        }
        world.expect("the mesh is whole", secs(60), World::is_complete);
        world.settle();
        for &host in &others {
            let word = word(&world, host, old.id);
            assert_eq!(word[..4], restarted(old, new), "seed {seed}: {word:?}");
        }
    }
}

/// What the old run said completely outlives it, and keeps its place before what the new one says.
#[test]
fn s14_messages_of_an_old_run_stay_readable_after_its_end_and_come_first() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let (b, others) = one_of(&mut world, &hosts);
        let mut runs = Vec::new();
        for &host in &others {
            world.set_consuming(host, false);
        }
        // Three runs in a row, and only the last one lives.
        for number in 1..=3 {
            runs.push(world.run(b));
            for &host in &others {
                for part in 0..3 * number {
                    world.send_numbered(b, host, 100 + part).unwrap();
                }
            }
            world.run_for(ms(50));
            if number < 3 {
                world.crash(b, if seed % 2 == 0 { Crash::Kill } else { Crash::Power });
                let pause = world.draw(7_000);
                world.run_for(ms(pause));
                world.restart(b, Restart::default());
                world.node(b).join(others[0]).unwrap();
                world.expect("the mesh is whole", secs(40), World::is_complete);
            }
        }
        for &host in &others {
            assert_eq!((world.ups(host, b), world.downs(host, b)), (3, 2), "seed {seed}");
            assert_eq!(world.messages(host), [], "seed {seed}: nobody has asked for them yet");
            world.set_consuming(host, true);
        }
        world.run_for(ms(50));
        let expected: Vec<Run> = runs.iter().zip([3, 6, 9]).flat_map(|(&run, count)| vec![run; count]).collect();
        for &host in &others {
            let from: Vec<Run> = world.messages(host).iter().map(|taken| taken.from).collect();
            assert_eq!(from, expected, "seed {seed}");
        }
    }
}

/// The clock of the host has gone back, however far.
#[test]
fn s15_a_restart_with_an_earlier_clock_takes_the_next_run_and_joins_at_once() {
    for seed in 0..10 {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, others) = one_of(&mut world, &hosts);
            let old = world.run(b);
            // With every other seed nobody has noticed the end of the old run.
            let unnoticed = seed % 2 == 1;
            if unnoticed {
                world.run_for(secs(1));
                world.node(b).broadcast(&b"here"[..]).unwrap();
                world.run_for(ms(100));
                world.crash(b, Crash::Power);
            } else {
                world.crash(b, Crash::Kill);
                world.run_for(ms(10));
            }
            let back = [1, 60 * SECOND, 360 * DAY][world.draw(3) as usize];
            world.restart(b, Restart::default().incarnation(old.incarnation.0 - back));
            let begin = world.now();
            world.node(b).join(others[0]).unwrap();
            // One more round of the handshake, and at most the time in which the old link is found dead.
            let first = if unnoticed { ms(1_050) } else { ms(50) };
            world.expect("it is in", first, |world| world.linked(b, others[0]));
            world.expect("the mesh is whole", secs(1), World::is_complete);
            let new = world.run(b);
            assert_eq!(new.id, old.id, "seed {seed}, {size} nodes");
            assert!(is_adopted(old.incarnation, new.incarnation), "seed {seed}, {size} nodes: {old:?}, {new:?}");
            world.settle();
            for &host in &others {
                assert_eq!(word(&world, host, old.id), restarted(old, new), "seed {seed}, {size} nodes");
                assert_eq!(clones(&world, host), [], "seed {seed}");
            }
            let stale = Reason::Rejected(RejectCode::Stale { known: old.incarnation });
            let told = |&&host: &&HostId| world.closes(host).iter().any(|closed| closed.reason == stale);
            assert!(others.iter().filter(told).count() >= 1, "seed {seed}: somebody has told it");
            assert_eq!((clones(&world, b), join_errors(&world, b)), (vec![], vec![]), "seed {seed}");
            assert!(world.dials_to(world.addr(others[0]), begin) <= 2, "seed {seed}: one of them in vain");
        }
    }
}

/// Nobody dials but those who have lost the node.
#[test]
fn s15_a_restart_with_an_earlier_clock_is_told_so_by_those_who_dial_it() {
    for seed in SEEDS {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, others) = one_of(&mut world, &hosts);
            let old = world.run(b);
            world.crash(b, Crash::Kill);
            let pause = world.draw(4_000);
            world.run_for(ms(pause));
            world.restart(b, Restart::default().incarnation(old.incarnation.0 - DAY));
            let earlier = world.run(b);
            world.expect("somebody meets it", secs(30), |world| world.run(b) != earlier);
            // Who has told it so dials once more, and it finds the others by that.
            world.expect("the mesh is whole", secs(1), World::is_complete);
            world.settle();
            let new = world.run(b);
            assert!(is_adopted(old.incarnation, new.incarnation), "seed {seed}: {old:?}, {new:?}");
            for &host in &others {
                assert_eq!(word(&world, host, old.id), restarted(old, new), "seed {seed}");
                assert_eq!((clones(&world, host), clones(&world, b)), (vec![], vec![]), "seed {seed}");
            }
        }
    }
}

/// The run before left gracefully, so that it is a tombstone that knows better.
#[test]
fn s15_a_restart_with_an_earlier_clock_after_a_leave_joins_whoever_dials() {
    for seed in SEEDS {
        for dialled in [false, true] {
            let (mut world, hosts) = mesh(seed, 3);
            let (b, others) = one_of(&mut world, &hosts);
            let old = world.run(b);
            world.node(b).leave(secs(1));
            world.expect("it has left", secs(2), |world| !world.is_running(b));
            world.run_for(secs(1));
            world.restart(b, Restart::default().incarnation(old.incarnation.0 - DAY));
            if dialled {
                world.node(others[0]).join(b).unwrap();
            } else {
                world.node(b).join(others[0]).unwrap();
            }
            world.expect("the mesh is whole", secs(3), World::is_complete);
            world.settle();
            let new = world.run(b);
            assert!(is_adopted(old.incarnation, new.incarnation), "seed {seed}: {old:?}, {new:?}");
            for &host in &others {
                assert_eq!(word(&world, host, old.id), restarted(old, new), "seed {seed}");
                assert_eq!(join_errors(&world, host), [], "seed {seed}");
            }
        }
    }
}

/// A node whose lost peers have all given their places to others knows of the last runs of those that it has forgotten.
#[test]
fn s15_a_restart_with_an_earlier_clock_is_told_so_by_a_node_that_has_no_place_for_the_old_run_any_more() {
    for seed in SEEDS {
        let mut limits = Limits::default();
        limits.max_peers = 1;
        let mut world = World::new(seed);
        let a = world.add(Spec::new(config().limits(limits)));
        let others = world.add_many(2, &config());
        let (b, c) = (others[0], others[1]);
        world.node(b).join(a).unwrap();
        world.expect("b is in", secs(1), |world| world.linked(a, b));
        let old = world.run(b);
        world.crash(b, Crash::Kill);
        world.run_for(secs(1));
        world.node(c).join(a).unwrap();
        world.expect("c is in its place", secs(1), |world| world.linked(a, c));
        assert_eq!(world.core(a).peer(old.id), None, "seed {seed}");
        world.node(c).leave(secs(1));
        world.run_for(secs(2));
        world.restart(b, Restart::default().incarnation(old.incarnation.0 - DAY));
        world.node(b).join(a).unwrap();
        world.expect("it is in again", secs(1), |world| world.linked(a, b));
        world.settle();
        let new = world.run(b);
        assert!(is_adopted(old.incarnation, new.incarnation), "seed {seed}: {old:?}, {new:?}");
        assert_eq!(world.core(a).usage().tombstones, 1, "seed {seed}: that of the one that left");
    }
}

/// A year is more than any clock is set back; such a number is somebody's invention.
#[test]
fn s15_a_run_that_is_said_to_be_far_behind_stays_what_it_is_and_says_so() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let old = world.run(b);
        world.crash(b, Crash::Kill);
        world.run_for(ms(10));
        world.restart(b, Restart::default().incarnation(old.incarnation.0 - 370 * DAY));
        let new = world.run(b);
        world.node(b).join(a).unwrap();
        world.run_for(secs(60));
        assert_eq!(world.run(b), new, "seed {seed}");
        assert_eq!(clones(&world, b), [new], "seed {seed}");
        let stale = RejectCode::Stale { known: old.incarnation };
        assert_eq!(join_errors(&world, b), [JoinError::Failed(Reason::Rejected(stale))], "seed {seed}");
        assert_eq!((world.ups(a, b), world.ups(b, a)), (1, 1), "seed {seed}");
        // Its own next start, with the clock put right, is like any other.
        world.crash(b, Crash::Kill);
        world.restart(b, Restart::default().incarnation(old.incarnation.0 + 60 * SECOND));
        world.node(b).join(a).unwrap();
        world.expect("it is back", secs(1), |world| world.linked(a, b));
    }
}

/// The id was copied with the machine, and the copy starts while the first one lives.
#[test]
fn s16_a_clone_is_refused_whatever_its_incarnation_and_nothing_flaps() {
    for seed in 0..10 {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, _) = one_of(&mut world, &hosts);
            let first = world.run(b);
            let number = if seed % 2 == 0 { first.incarnation.0 + DAY } else { first.incarnation.0 - DAY };
            let clone = world.add(Spec::new(config()).id(first.id).incarnation(number));
            let newcomer = world.run(clone);
            let told: Vec<usize> = hosts.iter().map(|&host| world.events(host).len()).collect();
            let begin = world.now();
            let asked = hosts[world.draw(size as u64) as usize];
            world.node(clone).join(asked).unwrap();
            world.run_for(ms(1_100));
            assert_eq!(world.dials_from(clone, begin), 1, "seed {seed}");
            assert_eq!(clones(&world, clone), [newcomer], "seed {seed}: it is told");
            assert_eq!(clones(&world, asked), [newcomer], "seed {seed}: and so is the one that it met");
            if asked == b {
                // It knows at once, and does not ask.
                assert_eq!(join_errors(&world, clone), [JoinError::Failed(Reason::DuplicateIdentity)], "seed {seed}");
            } else {
                let code = Reason::Rejected(RejectCode::DuplicateIdentity);
                assert!(world.closes(asked).iter().any(|closed| closed.reason == code), "seed {seed}");
                assert!(world.closes(clone).iter().any(|closed| closed.reason == code), "seed {seed}");
            }
            // It dials nobody, whatever it is asked to do.
            for &host in &hosts {
                world.node(clone).join(host).unwrap();
            }
            world.run_for(secs(58));
            assert_eq!(world.dials_from(clone, begin), 1, "seed {seed}");
            // And when it dials again it is refused again.
            world.node(clone).join(asked).unwrap();
            world.run_for(secs(120));
            assert!((2..=3).contains(&world.dials_from(clone, begin)), "seed {seed}");
            assert_eq!(world.events(clone).iter().filter(|logged| is_link_event(&logged.event)).count(), 0);
            assert!(world.is_mesh(&hosts), "seed {seed}");
            for (&host, told) in hosts.iter().zip(told) {
                let since = &world.events(host)[told..];
                let others = since.iter().filter(|logged| !matches!(logged.event, Event::DuplicateIdentity { .. }));
                assert_eq!(others.count(), 0, "seed {seed}: {since:?}");
                assert!(host == asked || since.is_empty(), "seed {seed}: no business of others");
            }
        }
    }
}

fn is_link_event(event: &Event) -> bool {
    matches!(event, Event::PeerUp(_) | Event::PeerUpdated(_) | Event::PeerDown { .. } | Event::PeerGone { .. })
}

/// A clone that is not told to stop tries once a minute, and its first keeps its peers.
#[test]
fn s16_a_clone_with_seeds_asks_once_a_minute_and_takes_over_when_the_first_is_gone() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 4);
        let (b, others) = one_of(&mut world, &hosts);
        let first = world.run(b);
        let number = if seed % 2 == 0 { first.incarnation.0 + DAY } else { first.incarnation.0 - DAY };
        let seeds: Config = others.iter().fold(config(), |config, &host| config.seed(world.addr(host).into()));
        let begin = world.now();
        let clone = world.add(Spec::new(seeds).id(first.id).incarnation(number));
        world.run_for(secs(600));
        let dials = world.dials_from(clone, begin);
        assert!((11..=33).contains(&dials), "seed {seed}: {dials} dials in ten minutes, at three seeds");
        assert!((10..=11).contains(&clones(&world, clone).len()), "seed {seed}");
        assert!(world.is_mesh(&hosts), "seed {seed}");
        for &host in &others {
            assert_eq!(word(&world, host, first.id), [("up", first.incarnation.0)], "seed {seed}");
        }
        // It is no longer a clone once the other one is gone.
        world.crash(b, Crash::Kill);
        let three = [others[0], others[1], others[2], clone];
        world.expect("it takes its place", secs(70), |world| world.is_mesh(&three));
        let second = world.run(clone);
        let own = second.incarnation;
        assert!(own.0 == number || seed % 2 == 1 && is_adopted(first.incarnation, own), "seed {seed}: {own:?}");
        for &host in &others {
            assert_eq!(word(&world, host, first.id), restarted(first, second), "seed {seed}");
        }
    }
}

/// Two clones that were each first somewhere meet when their halves do.
#[test]
fn s16_clones_of_two_halves_each_keep_the_peers_they_had() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let c = world.add(config());
        let number = if seed % 2 == 0 { world.run(b).incarnation.0 + DAY } else { world.run(b).incarnation.0 - DAY };
        let clone = world.add(Spec::new(config()).id(world.id(b)).incarnation(number));
        world.node(clone).join(c).unwrap();
        world.expect("the second half stands", secs(1), |world| world.linked(c, clone));
        world.settle();
        world.node(c).join(a).unwrap();
        let begin = world.now();
        world.run_for(secs(600));
        for (x, y) in [(a, b), (c, clone), (a, c)] {
            assert!(world.linked(x, y), "seed {seed}: {x} and {y}");
            assert_eq!((world.ups(x, y), world.downs(x, y), world.downs(y, x)), (1, 0, 0), "seed {seed}: {x} and {y}");
        }
        assert!(!clones(&world, b).is_empty() || !clones(&world, clone).is_empty(), "seed {seed}: somebody is told");
        for host in [a, b, c, clone] {
            assert!(clones(&world, host).len() <= 40, "seed {seed}: {host}: {}", clones(&world, host).len());
            assert!(world.dials_from(host, begin) <= 40, "seed {seed}: {host}: {}", world.dials_from(host, begin));
        }
    }
}

/// A third node is asked to join the clone itself, which waits and dials nobody.
#[test]
fn s16_a_join_that_meets_the_clone_of_a_live_peer_fails_and_the_peer_stays() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let (b, others) = one_of(&mut world, &hosts);
        let first = world.run(b);
        let number = if seed % 2 == 0 { first.incarnation.0 + DAY } else { first.incarnation.0 - DAY };
        let clone = world.add(Spec::new(config()).id(first.id).incarnation(number));
        let at_clone = world.addr(clone);
        world.node(others[0]).join(clone).unwrap();
        world.run_for(secs(10));
        let errors = join_errors(&world, others[0]);
        assert_eq!(errors, [JoinError::Failed(Reason::DuplicateIdentity)], "seed {seed}");
        assert!(world.is_mesh(&hosts), "seed {seed}");
        assert!(!world.sees(others[0], clone), "seed {seed}");
        let noticed = world.notices(others[0]).iter().any(|told| told.notice.reason == Reason::DuplicateIdentity);
        assert!(noticed, "seed {seed}");
        // The two of them lose each other, and the place of the clone is none where b is looked for.
        let lost = world.now();
        world.block_dials(b, others[0], Block::Refuse);
        world.reset_connections(others[0], b);
        world.expect("they are linked again", secs(3), |world| world.linked(others[0], b));
        assert_eq!(world.dials_to(at_clone, lost), 0, "seed {seed}");
        let at_b = Some(world.addr(b));
        assert_eq!(peer(&world, others[0], first.id).address, at_b, "seed {seed}");
    }
}

/// S14 and S16: what is joined turns out to be the next run of a peer whose old link is half-open.
#[test]
fn s14_a_join_that_meets_a_later_run_of_a_half_open_peer_waits_for_the_probe() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let (b, others) = one_of(&mut world, &hosts);
        let old = world.run(b);
        world.node(b).broadcast(&b"here"[..]).unwrap();
        world.run_for(ms(50));
        // Nobody answers at the old address any more, and the node itself cannot dial the one that looks for it.
        world.crash(b, Crash::Power);
        let moved = world.add(Spec::new(config()).id(old.id).incarnation(old.incarnation.0 + 1_000));
        world.block_dials(moved, others[0], Block::Drop);
        let new = world.run(moved);
        let told = world.events(others[0]).len();
        world.node(others[0]).join(moved).unwrap();
        world.expect("it is found", secs(3), |world| world.linked(others[0], moved));
        let joined = |event: &Event| match event {
            Event::Joined { peer, .. } => Some(*peer),
            _ => None,
        };
        let joined: Vec<Run> = world.events(others[0])[told..].iter().filter_map(|at| joined(&at.event)).collect();
        assert_eq!(joined, [new], "seed {seed}: the old run is not there");
        world.expect("it finds the other", secs(2), |world| world.linked(others[1], moved));
        for &host in &others {
            assert_eq!(word(&world, host, old.id), restarted(old, new), "seed {seed}");
            assert_eq!(clones(&world, host), [], "seed {seed}");
        }
    }
}

/// A container that is rescheduled keeps its id and its name, and nothing else.
#[test]
fn s17_a_node_that_comes_back_elsewhere_is_looked_for_there_only() {
    for seed in 0..10 {
        for size in SIZES {
            let (mut world, hosts) = strangers(seed, size - 1);
            let named = config().name("worker-7".parse().unwrap()).metadata(&b"v1"[..]);
            let b = world.add(named.clone());
            let (others, old, before) = (hosts, world.run(b), world.addr(b));
            // Some have dialled it, others were dialled by it.
            if seed % 2 == 0 {
                world.node(b).join(others[0]).unwrap();
            }
            for &host in &others {
                world.node(host).join(b).unwrap();
            }
            world.expect("a complete mesh", secs(20), World::is_complete);
            world.settle();
            world.crash(b, [Crash::Kill, Crash::Reset, Crash::Power][seed as usize % 3]);
            let pause = world.draw(8_000);
            world.run_for(ms(pause));
            world.restart(b, Restart::default().ip("10.0.3.3").config(named));
            let (new, now_at) = (world.run(b), world.addr(b));
            world.node(b).join(others[0]).unwrap();
            world.expect("the mesh is whole", secs(3), World::is_complete);
            let back = world.now();
            world.settle();
            for &host in &others {
                assert_eq!(word(&world, host, old.id), restarted(old, new), "seed {seed}, {size} nodes");
                let known: Vec<PeerInfo> = world.node(host).peers();
                assert_eq!(known.len(), size - 1, "seed {seed}: nobody is there twice");
                let info = peer(&world, host, new.id);
                assert_eq!((info.address, info.state), (Some(now_at), PeerState::Up), "seed {seed}, {size} nodes");
                assert_eq!(info.name.as_ref().map(|name| name.as_str()), Some("worker-7"), "seed {seed}");
                assert_eq!((clones(&world, host), join_errors(&world, host)), (vec![], vec![]), "seed {seed}");
            }
            // What they tell of it.
            let puppet = world.add_puppet("10.0.9.1", Script::default());
            for &host in &others {
                let address = world.addr(host);
                let link = world.puppet(puppet).dial(address);
                world.run_for(ms(50));
                world.puppet(puppet).send_on(link, Frame::Digest(Digest { buckets: [7; 16] }));
            }
            world.run_for(ms(50));
            let told = gossiped(&world, puppet, new.id);
            assert!(!told.is_empty() && told.iter().all(|address| *address == now_at), "seed {seed}: {told:?}");
            // Where they look for it, once the link has lasted.
            world.run_for(secs(10));
            for &host in &others {
                world.block_dials(b, host, Block::Refuse);
                world.reset_connections(b, host);
            }
            world.expect("the mesh is whole again", secs(3), |world| others.iter().all(|&host| world.linked(host, b)));
            assert!(world.dials_to(now_at, back) >= others.len(), "seed {seed}");
            assert_eq!(world.dials_to(before, back), 0, "seed {seed}, {size} nodes");
        }
    }
}

/// A way around is no address that the old run had, and may be the only way to the new one.
#[test]
fn s17_a_way_around_to_a_node_outlives_its_restart() {
    for seed in SEEDS {
        let (mut world, hosts) = strangers(seed, 2);
        let (a, b) = (hosts[0], hosts[1]);
        let way = world.forward("10.0.50.1:9000", world.addr(b));
        world.set_fate(world.addr(b), Some(Fate::Hang));
        world.node(a).join(way).unwrap();
        world.expect("linked", secs(1), |world| world.linked(a, b));
        world.crash(b, Crash::Kill);
        world.run_for(ms(5));
        world.restart(b, Restart::default());
        world.node(b).join(a).unwrap();
        world.expect("linked again", secs(1), |world| world.linked(a, b));
        assert_eq!(peer(&world, a, world.id(b)).address, Some(way), "seed {seed}");
        world.block_dials(b, a, Block::Refuse);
        world.settle();
        world.reset_connections(a, b);
        world.expect("linked by way of it", secs(8), |world| world.linked(a, b));
    }
}

/// S10 and S17: another node is at the known address now, and the one that was there comes back elsewhere, or never.
#[test]
fn s17_an_address_that_another_id_has_taken_is_no_longer_the_old_holders() {
    for seed in 0..10 {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, others) = one_of(&mut world, &hosts);
            let (old, address) = (world.run(b), world.addr(b));
            world.crash(b, Crash::Kill);
            let pause = world.draw(3_000);
            world.run_for(ms(pause));
            world.restart(b, Restart::default().new_id());
            let taker = world.run(b);
            world.expect("whoever dials the old one finds the new one", secs(40), World::is_complete);
            // Whoever was dialled by the new one needs to meet it there first.
            world.expect("nobody waits for the old one", secs(31), |world| {
                others.iter().all(|&host| world.core(host).peer(old.id).is_none())
            });
            let taken = world.now();
            world.settle();
            for &host in &others {
                let lived = [("up", old.incarnation.0), ("down", old.incarnation.0), ("gone", old.incarnation.0)];
                assert_eq!(word(&world, host, old.id), lived, "seed {seed}");
                assert_eq!(word(&world, host, taker.id), [("up", taker.incarnation.0)], "seed {seed}");
                assert_eq!(peer(&world, host, taker.id).address, Some(address), "seed {seed}");
            }
            world.run_for(secs(60));
            assert_eq!(world.dials_to(address, taken), 0, "seed {seed}: nobody looks for the old one there");
            let moved = world.add(Spec::new(config()).id(old.id).incarnation(old.incarnation.0 + DAY));
            world.node(moved).join(others[0]).unwrap();
            world.expect("both are up", secs(3), World::is_complete);
            world.settle();
            for &host in &others {
                assert_eq!(peer(&world, host, old.id).address, Some(world.addr(moved)), "seed {seed}");
                assert_eq!(peer(&world, host, taker.id).address, Some(address), "seed {seed}");
                assert_eq!((world.downs(host, b), world.ups(host, moved)), (0, 2), "seed {seed}");
            }
        }
    }
}

/// Frames that would change much if they were heard.
fn loud(run: Run) -> Vec<Frame> {
    let profile = Profile {
        name: Some("late".parse().unwrap()),
        metadata: Bytes::from_static(b"late"),
        addresses: Vec::new(),
        max_message: 1 << 20,
        window: 1 << 16,
    };
    let entry = Entry { run: Run { id: NodeId::from_bytes([9; 16]), ..run }, addresses: vec![at("10.0.8.8:80")] };
    vec![
        Frame::Update(Update { profile }),
        Frame::Ack(Ack { received: 1 << 40, consumed: 1 << 40, consumed_messages: 1, granted: 1 << 41 }),
        Frame::Announce(Announce { entries: vec![entry] }),
        Frame::Close(Close::Leaving),
    ]
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The same run has a better link, or a later run has come, and the old connection still delivers.
#[test]
fn s19_what_the_old_connection_still_carries_is_ignored() {
    for seed in SEEDS {
        for restart in [false, true] {
            let mut world = World::new(seed);
            let a = world.add(config());
            let address = world.addr(a);
            let old = world.add_puppet("10.0.9.1", Script { ack: false, ..Script::default() });
            world.puppet(old).dial(address);
            world.expect("it is up", ms(50), |world| world.sees(a, old));
            let run = world.run(old);
            world.node(a).send(run.id, &b"for the first link"[..]).unwrap();
            world.run_for(secs(5));
            // Long ways, so that much is under way when the connection is closed.
            world.set_latency(ms(100));
            if restart {
                world.puppet(old).script(|script| script.pong = false);
            }
            let later = Run { incarnation: Incarnation(run.incarnation.0 + u64::from(restart)), ..run };
            let next = Script { run: Some(later), claim: Some(2), ..Script::default() };
            let new = world.add_puppet("10.0.9.2", next);
            world.puppet(new).dial(address);
            world.expect("the old link is given up", secs(2), |world| !world.closes(a).is_empty());
            assert_eq!(world.puppet_links(old), [PuppetState::Up], "seed {seed}: it does not know yet");
            let events = world.events(a).len();
            let up = world.sees(a, new);
            for frame in loud(run) {
                world.puppet(old).say_on(0, b"late");
                world.puppet(old).send_on(0, frame);
                let pause = world.draw(20);
                world.run_for(ms(pause));
            }
            world.run_for(secs(2));
            assert_eq!(world.puppet_links(old), [PuppetState::Over], "seed {seed}");
            let info = peer(&world, a, run.id);
            assert!(world.sees(a, new) && info.name.is_none() && info.metadata.is_empty(), "seed {seed}: {info:?}");
            assert_eq!(world.messages(a), [], "seed {seed}");
            let since: Vec<&Event> = world.events(a)[events..].iter().map(|logged| &logged.event).collect();
            match since[..] {
                // What was said on the first link was not acknowledged, and the second one begins new streams.
                [Event::Undelivered(_), Event::SessionReset { .. }] => assert!(up && !restart, "seed {seed}"),
                [Event::PeerUp(_)] => assert!(!up && restart, "seed {seed}"),
                _ => panic!("seed {seed}: {since:?}"),
            }
            assert_eq!(world.dials_from(a, Instant::ZERO), 0, "seed {seed}");
            // And the new link does what a link does.
            world.node(a).send(run.id, &b"for the second link"[..]).unwrap();
            world.puppet(new).say_on(0, b"new");
            world.run_for(secs(1));
            let heard: Vec<Bytes> = world.messages(a).iter().map(|taken| taken.payload.clone()).collect();
            assert_eq!(heard, [&b"new"[..]], "seed {seed}");
            assert!(world.puppet_messages(new).contains(&Bytes::from_static(b"for the second link")), "seed {seed}");
        }
    }
}

/// Messages that a cut has held on the old connection come with it, or with the new one, and never twice.
#[test]
fn s19_a_burst_from_the_old_connection_meets_the_new_one_and_every_message_comes_once() {
    let mut held_back = 0;
    for seed in SEEDS {
        let mut world = World::new(seed);
        let a = world.add(config());
        let b = world.add(config().heartbeat(ms(300)).peer_timeout(secs(1)));
        world.node(a).join(b).unwrap();
        world.expect("linked", secs(1), |world| world.linked(a, b));
        world.settle();
        world.cut(a, b);
        let mut sent = [0, 0];
        for _ in 0..30 {
            for (count, (from, to)) in sent.iter_mut().zip([(a, b), (b, a)]) {
                if world.sees(from, to) {
                    world.send_numbered(from, to, 1_000).unwrap();
                    *count += 1;
                }
            }
            world.run_for(ms(50));
        }
        assert!(world.downs(b, a) == 1 && world.sees(a, b), "seed {seed}: only b has given up");
        world.heal(a, b);
        world.expect("linked again", secs(4), |world| world.linked(a, b));
        world.settle();
        let failed = |world: &World, host, peer| {
            let (not_delivered, in_doubt) = failed_for(world, host, peer);
            (not_delivered.len() + in_doubt.len()) as u64
        };
        // The receivers check that nothing comes twice, or late.
        for (count, (from, to)) in sent.into_iter().zip([(a, b), (b, a)]) {
            let (taken, failed) = (world.numbered(to, from), failed(&world, from, world.run(to)));
            assert_eq!((taken, failed), (count, 0), "seed {seed}");
            held_back += count;
        }
        for (from, to) in [(a, b), (b, a)] {
            let before = world.numbered(to, from);
            world.send_numbered(from, to, 1_000).unwrap();
            world.run_for(ms(50));
            assert_eq!(world.numbered(to, from), before + 1, "seed {seed}");
        }
    }
    assert!(held_back > 100, "{held_back}");
}

/// Every `PeerUpdated` that `host` was told of this node.
fn updates(world: &World, host: HostId, id: NodeId) -> Vec<PeerInfo> {
    let info = |event: &Event| match event {
        Event::PeerUpdated(info) if info.run.id == id => Some(info.clone()),
        _ => None,
    };
    world.events(host).iter().filter_map(|logged| info(&logged.event)).collect()
}

/// Who and where a node is can change while it runs.
#[test]
fn s20_a_changed_name_or_metadata_or_address_reaches_every_peer_once() {
    for seed in 0..10 {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, others) = one_of(&mut world, &hosts);
            let id = world.id(b);
            let moved = world.forward("10.0.50.1:9000", world.addr(b));
            let own = |world: &World| world.core(b).config().clone();
            let steps: [fn(Config) -> Config; 4] = [
                |config| config.name("renamed".parse().unwrap()),
                |config| config.metadata(&b"v2"[..]),
                |config| config.advertise(at("10.0.50.1:9000")),
                |config| config.heartbeat(ms(900)),
            ];
            for (number, step) in (1..).zip(steps) {
                let config = step(own(&world));
                world.node(b).set_config(config.clone()).unwrap();
                world.run_for(ms(20));
                for &host in &others {
                    let updates = updates(&world, host, id);
                    // The last one is no business of others.
                    assert_eq!(updates.len(), number.min(3), "seed {seed}: {updates:?}");
                    let info = peer(&world, host, id);
                    assert_eq!(updates.last(), Some(&info), "seed {seed}");
                    let name = (number >= 1).then_some("renamed");
                    assert_eq!(info.name.as_ref().map(|name| name.as_str()), name, "seed {seed}");
                    assert_eq!(info.metadata, if number >= 2 { &b"v2"[..] } else { &b""[..] }, "seed {seed}");
                }
                // Saying the same again is no news.
                world.node(b).set_config(config).unwrap();
                world.run_for(ms(20));
            }
            assert!(others.iter().all(|&host| updates(&world, host, id).len() == 3), "seed {seed}");
            assert!(world.is_mesh(&hosts), "seed {seed}: no link was touched");
            assert!(others.iter().all(|&host| (world.ups(host, b), world.downs(host, b)) == (1, 0)), "seed {seed}");
            // A newcomer is told where it is now.
            let late = world.add(config());
            world.block_dials(b, late, Block::Refuse);
            world.node(late).join(others[0]).unwrap();
            world.expect("the newcomer finds all", secs(5), World::is_complete);
            assert!(world.dials().iter().any(|dial| dial.from == late && dial.to == moved), "seed {seed}");
            let info = peer(&world, late, id);
            assert_eq!((info.metadata, updates(&world, late, id).len()), (Bytes::from_static(b"v2"), 0), "seed {seed}");
        }
    }
}

/// A peer in the middle of the handshake was told the old values by it.
#[test]
fn s20_a_profile_that_changes_during_a_handshake_reaches_that_peer_too() {
    let mut updated = 0;
    for seed in 0..60 {
        let (mut world, hosts) = mesh(seed, 2);
        let c = world.add(config());
        world.set_latency(ms(20));
        // Either end changes, whoever dials, at some point of the three round trips.
        let (from, to) = if seed % 2 == 0 { (c, hosts[0]) } else { (hosts[0], c) };
        world.node(from).join(to).unwrap();
        let lag = world.draw(160);
        world.run_for(ms(lag));
        let changes = if seed % 4 < 2 { hosts[0] } else { c };
        let renamed = world.core(changes).config().clone().name("renamed".parse().unwrap());
        world.node(changes).set_config(renamed).unwrap();
        let changed = world.now();
        world.expect("a complete mesh", secs(5), World::is_complete);
        world.run_for(ms(100));
        let id = world.id(changes);
        for host in [hosts[0], hosts[1], c].into_iter().filter(|&host| host != changes) {
            let name = peer(&world, host, id).name;
            assert_eq!(name.as_ref().map(|name| name.as_str()), Some("renamed"), "seed {seed}: {host}");
            let told = updates(&world, host, id).len();
            assert!(told <= 1, "seed {seed}: {told}");
            let since = |event: &Logged| event.at >= changed;
            let up = |event: &Event| matches!(event, Event::PeerUp(info) if info.run.id == id);
            let came_up = world.events(host).iter().any(|logged| since(logged) && up(&logged.event));
            updated += usize::from(told == 1 && came_up);
        }
    }
    assert!(updated >= 15, "{updated} links came up with what was no longer true");
}

/// How many pings `host` sends in `span`.
fn pings(world: &mut World, host: HostId, span: u64) -> u64 {
    let before = world.wire(host).frames(FrameKind::Ping);
    world.run_for(secs(span));
    world.wire(host).frames(FrameKind::Ping) - before
}

/// Intervals hold for the links there are, for one that is being set up, and for those to come.
#[test]
fn s51_a_changed_heartbeat_and_timeout_hold_for_every_link_from_now_on() {
    for seed in SEEDS {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, others) = one_of(&mut world, &hosts);
            // The others leave it to b.
            for &host in &others {
                let lazy = world.core(host).config().clone().heartbeat(secs(20)).peer_timeout(secs(60));
                world.node(host).set_config(lazy).unwrap();
            }
            let late = world.add(config().heartbeat(secs(20)).peer_timeout(secs(60)));
            world.set_latency(ms(20));
            world.node(late).join(b).unwrap();
            let lag = world.draw(160);
            world.run_for(ms(lag));
            let links = size as u64;
            let quick = world.core(b).config().clone().heartbeat(ms(100)).peer_timeout(ms(500)).probe_timeout(ms(300));
            world.node(b).set_config(quick).unwrap();
            world.expect("a complete mesh", secs(10), World::is_complete);
            world.settle();
            let count = pings(&mut world, b, 10);
            // After 75 to 100 ms of silence, and 40 ms there and back.
            assert!((60 * links..=90 * links).contains(&count), "seed {seed}: {count} at {links} links");
            let count = pings(&mut world, others[0], 10);
            assert!(count <= links, "seed {seed}: {count}; of b it hears enough, and the others are as lazy");
            world.cut(b, late);
            world.cut(b, others[0]);
            let cut = world.now();
            world.expect("it notices", secs(1), |world| world.downs(b, late) == 1 && world.downs(b, others[0]) == 1);
            assert!(world.now() - cut >= ms(350), "seed {seed}: {:?}", world.now() - cut);
        }
    }
}

/// Everyone restarts elsewhere; only the ids and the name of a seed are what they were.
#[test]
fn s18_a_mesh_that_moves_as_a_whole_forms_again_through_its_seed_whatever_is_at_the_old_addresses() {
    for seed in SEEDS {
        for squatted in [false, true] {
            let mut world = World::new(seed);
            world.set_name("seed.example", &["10.0.0.1"]);
            let hosts = world.add_many(5, &config().seed("seed.example:7000".parse().unwrap()));
            world.expect("a complete mesh", secs(70), World::is_complete);
            let ids: Vec<NodeId> = hosts.iter().map(|&host| world.id(host)).collect();
            // One after the other, so that those who are left still look for the others where they were.
            for (index, &host) in hosts.iter().enumerate() {
                world.crash(host, if index % 2 == 0 { Crash::Power } else { Crash::Kill });
                world.run_for(secs(3));
                world.restart(host, Restart::default().ip(&format!("10.0.4.{}", index + 1)));
                if squatted {
                    // Strangers who accept everything and say nothing.
                    world.raw_listen(&format!("10.0.0.{}:7000", index + 1), Greeting::Wait);
                }
            }
            world.set_name("seed.example", &["10.0.4.1"]);
            let within = world.bound(&hosts);
            world.expect("the mesh is whole", within, World::is_complete);
            assert_eq!(hosts.iter().map(|&host| world.id(host)).collect::<Vec<_>>(), ids, "seed {seed}");
            world.stay_quiet(&hosts, secs(300));
        }
    }
}
