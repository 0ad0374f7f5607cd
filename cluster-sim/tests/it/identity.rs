//! Who is who: scenarios S14 to S16.

use bytes::Bytes;
use cluster_core::{Config, Event, Incarnation, JoinError, Limits, NodeId, PeerInfo, Reason, RejectCode, Run};
use cluster_sim::{Block, Crash, HostId, Latency, Restart, Spec, World};

use crate::harness::*;

/// The mesh sizes that these scenarios are run with.
pub(crate) const SIZES: std::ops::RangeInclusive<usize> = 2..=5;

/// In the unit of incarnations.
const SECOND: u64 = 1_000_000;

pub(crate) const DAY: u64 = 86_400 * SECOND;

/// What a run adopts that was told of `known`, in the place of its own incarnation.
fn is_adopted(known: Incarnation, own: Incarnation) -> bool {
    (known.0 + 1..=known.0 + SECOND).contains(&own.0)
}

/// One of the nodes, drawn from the seed, and the others.
pub(crate) fn one_of(world: &mut World, hosts: &[HostId]) -> (HostId, Vec<HostId>) {
    let one = hosts[world.draw(hosts.len() as u64) as usize];
    (one, hosts.iter().copied().filter(|&host| host != one).collect())
}

/// What `host` was told of the messages for one run that came to nothing: certainly not delivered, and in doubt.
pub(crate) fn failed_for(world: &World, host: HostId, peer: Run) -> (Vec<Bytes>, Vec<Bytes>) {
    let mut failed = (Vec::new(), Vec::new());
    for logged in world.host(host).events() {
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
pub(crate) fn clones(world: &World, host: HostId) -> Vec<Run> {
    let newcomer = |event: &Event| match event {
        Event::DuplicateIdentity { newcomer } => Some(*newcomer),
        _ => None,
    };
    world.host(host).events().iter().filter_map(|logged| newcomer(&logged.event)).collect()
}

pub(crate) fn join_errors(world: &World, host: HostId) -> Vec<JoinError> {
    let error = |event: &Event| match event {
        Event::JoinFailed { error, .. } => Some(error.clone()),
        _ => None,
    };
    world.host(host).events().iter().filter_map(|logged| error(&logged.event)).collect()
}

/// The whole life of two runs of one node, as another node is told of it.
pub(crate) fn restarted(old: Run, new: Run) -> [(&'static str, u64); 4] {
    let (old, new) = (old.incarnation.0, new.incarnation.0);
    [("up", old), ("down", old), ("gone", old), ("up", new)]
}

pub(crate) fn peer(world: &World, host: HostId, id: NodeId) -> PeerInfo {
    world.host(host).core().peer(id).unwrap_or_else(|| panic!("{host} does not know {id:?}"))
}

/// Whatever way the old run ended, and whatever was on its way to it.
#[test]
fn s14_a_restart_is_one_down_and_one_up_and_old_messages_are_failed() {
    for seed in 0..10 {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, others) = one_of(&mut world, &hosts);
            let old = world.host(b).run();
            warm(&mut world, &others, b);
            let before = world.host(b).messages().len();
            // It takes nothing more in, so that the credit is used up and the rest of what follows stays in the queues.
            world.host_mut(b).pause();
            for (&host, number) in others.iter().zip(1_u8..) {
                for part in 0..10 {
                    world.node(host).send(old.id, vec![16 * number + part; 40_000]).unwrap();
                }
            }
            let lag = world.draw(2_000);
            world.run_for(ms(lag));
            world.host_mut(b).crash([Crash::Kill, Crash::Reset, Crash::Power][seed as usize % 3]);
            let pause = world.draw(1_500);
            world.run_for(ms(pause));
            world.host_mut(b).restart(Restart::default());
            let new = world.host(b).run();
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
                assert_eq!(
                    (world.host(b).ups(host), world.host(b).downs(host)),
                    (2, 0),
                    "seed {seed}: once for each run of b"
                );
                world.node(host).send_numbered(b, 100).unwrap();
                world.node(b).send_numbered(host, 100).unwrap();
            }
            world.run_for(ms(100));
            let after = world.host(b).messages().len() - before;
            assert_eq!(after, others.len(), "seed {seed}: nothing that was meant for the old run");
            for &host in &others {
                assert_eq!((world.host(b).numbered(host), world.host(host).numbered(b)), (1, 1), "seed {seed}");
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
            let old = world.host(b).run();
            // All have just heard of each other, so that nobody asks for a while.
            for &host in &others {
                world.node(host).send_numbered(b, 100).unwrap();
                world.node(b).send_numbered(host, 100).unwrap();
            }
            world.run_for(ms(100));
            world.host_mut(b).crash(Crash::Power);
            let pause = world.draw(600);
            world.run_for(ms(pause));
            world.host_mut(b).restart(Restart::default());
            let new = world.host(b).run();
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
        let old = world.host(b).run();
        world.net_mut().set_latency(Latency::Uniform { base: ms(40), jitter: ms(20) });
        world.host_mut(b).crash(Crash::Kill);
        let begin = world.now();
        let way = world.host(b).addr();
        world.expect("a dials it again", secs(2), |world| world.net().dials_to(way, begin) == 1);
        // The dial gets there when somebody listens again, who dials at some point of a's handshake.
        let pause = world.draw(40);
        world.run_for(ms(pause));
        world.host_mut(b).restart(Restart::default());
        let new = world.host(b).run();
        let lag = world.draw(160);
        world.run_for(ms(lag));
        let own = world.now();
        world.node(b).join(a).unwrap();
        world.expect("they are linked", secs(6), |world| world.linked(a, b));
        world.settle();
        assert!(world.linked(a, b), "seed {seed}");
        assert_eq!(word(&world, a, new.id), restarted(old, new), "seed {seed}");
        assert_eq!((world.host(b).ups(a), world.host(b).downs(a)), (2, 0), "seed {seed}: once for each run of b");
        assert_eq!(clones(&world, a).len() + clones(&world, b).len(), 0, "seed {seed}");
        assert_eq!(join_errors(&world, b), [], "seed {seed}");
        // The first connection, and one or two now.
        assert!((2..=3).contains(&world.net().opened(a, b)), "seed {seed}: {}", world.net().opened(a, b));
        crossed += usize::from(world.host(b).dials_since(own) == 1 && world.net().opened(a, b) == 3);
        world.node(a).send_numbered(b, 100).unwrap();
        world.node(b).send_numbered(a, 100).unwrap();
        world.run_for(ms(200));
        assert_eq!((world.host(a).numbered(b), world.host(b).numbered(a)), (1, 1), "seed {seed}");
    }
    assert!(crossed >= 20, "{crossed}");
}

/// The new run knows nobody, so that it is for the others to try again.
#[test]
fn s14_a_restart_whose_first_connection_breaks_during_the_handshake_is_still_found() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2 + seed as usize % 3);
        let (b, others) = one_of(&mut world, &hosts);
        let old = world.host(b).run();
        world.net_mut().set_latency(Latency::Uniform { base: ms(20), jitter: ms(5) });
        world.host_mut(b).crash(Crash::Kill);
        world.run_for(ms(1));
        world.host_mut(b).restart(Restart::default());
        let new = world.host(b).run();
        let claimed = |world: &World, host: HostId| world.host(host).links().iter().any(|link| link.peer == Some(new));
        for &host in &others {
            if world.run_until(secs(2), |world| claimed(world, host)) && !world.host(host).sees(b) {
                let lag = world.draw(60);
                world.run_for(ms(lag));
                world.net_mut().reset_connections(host, b);
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
            world.host_mut(host).set_consuming(false);
        }
        // Three runs in a row, and only the last one lives.
        for number in 1..=3 {
            runs.push(world.host(b).run());
            for &host in &others {
                for part in 0..3 * number {
                    world.node(b).send_numbered(host, 100 + part).unwrap();
                }
            }
            world.run_for(ms(50));
            if number < 3 {
                world.host_mut(b).crash(if seed % 2 == 0 { Crash::Kill } else { Crash::Power });
                let pause = world.draw(7_000);
                world.run_for(ms(pause));
                world.host_mut(b).restart(Restart::default());
                world.node(b).join(others[0]).unwrap();
                world.expect("the mesh is whole", secs(40), World::is_complete);
            }
        }
        for &host in &others {
            assert_eq!((world.host(host).ups(b), world.host(host).downs(b)), (3, 2), "seed {seed}");
            assert_eq!(world.host(host).messages(), [], "seed {seed}: nobody has asked for them yet");
            world.host_mut(host).set_consuming(true);
        }
        world.run_for(ms(50));
        let expected: Vec<Run> = runs.iter().zip([3, 6, 9]).flat_map(|(&run, count)| vec![run; count]).collect();
        for &host in &others {
            let from: Vec<Run> = world.host(host).messages().iter().map(|taken| taken.from).collect();
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
            let old = world.host(b).run();
            // With every other seed nobody has noticed the end of the old run.
            let unnoticed = seed % 2 == 1;
            if unnoticed {
                world.run_for(secs(1));
                world.node(b).broadcast(&b"here"[..]).unwrap();
                world.run_for(ms(100));
                world.host_mut(b).crash(Crash::Power);
            } else {
                world.host_mut(b).crash(Crash::Kill);
                world.run_for(ms(10));
            }
            let back = [1, 60 * SECOND, 360 * DAY][world.draw(3) as usize];
            world.host_mut(b).restart(Restart::default().incarnation(old.incarnation.0 - back));
            let begin = world.now();
            world.node(b).join(others[0]).unwrap();
            // One more round of the handshake, and at most the time in which the old link is found dead.
            let first = if unnoticed { ms(1_050) } else { ms(50) };
            world.expect("it is in", first, |world| world.linked(b, others[0]));
            world.expect("the mesh is whole", secs(1), World::is_complete);
            let new = world.host(b).run();
            assert_eq!(new.id, old.id, "seed {seed}, {size} nodes");
            assert!(is_adopted(old.incarnation, new.incarnation), "seed {seed}, {size} nodes: {old:?}, {new:?}");
            world.settle();
            for &host in &others {
                assert_eq!(word(&world, host, old.id), restarted(old, new), "seed {seed}, {size} nodes");
                assert_eq!(clones(&world, host), [], "seed {seed}");
            }
            let stale = Reason::Rejected(RejectCode::Stale { known: old.incarnation });
            let told = |&&host: &&HostId| world.host(host).closes().iter().any(|closed| closed.reason == stale);
            assert!(others.iter().filter(told).count() >= 1, "seed {seed}: somebody has told it");
            assert_eq!((clones(&world, b), join_errors(&world, b)), (vec![], vec![]), "seed {seed}");
            assert!(world.net().dials_to(world.host(others[0]).addr(), begin) <= 2, "seed {seed}: one of them in vain");
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
            let old = world.host(b).run();
            world.host_mut(b).crash(Crash::Kill);
            let pause = world.draw(4_000);
            world.run_for(ms(pause));
            world.host_mut(b).restart(Restart::default().incarnation(old.incarnation.0 - DAY));
            let earlier = world.host(b).run();
            world.expect("somebody meets it", secs(30), |world| world.host(b).run() != earlier);
            // Who has told it so dials once more, and it finds the others by that.
            world.expect("the mesh is whole", secs(1), World::is_complete);
            world.settle();
            let new = world.host(b).run();
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
            let old = world.host(b).run();
            world.node(b).leave(secs(1));
            world.expect("it has left", secs(2), |world| !world.host(b).is_running());
            world.run_for(secs(1));
            world.host_mut(b).restart(Restart::default().incarnation(old.incarnation.0 - DAY));
            if dialled {
                world.node(others[0]).join(b).unwrap();
            } else {
                world.node(b).join(others[0]).unwrap();
            }
            world.expect("the mesh is whole", secs(3), World::is_complete);
            world.settle();
            let new = world.host(b).run();
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
        let old = world.host(b).run();
        world.host_mut(b).crash(Crash::Kill);
        world.run_for(secs(1));
        world.node(c).join(a).unwrap();
        world.expect("c is in its place", secs(1), |world| world.linked(a, c));
        assert_eq!(world.host(a).core().peer(old.id), None, "seed {seed}");
        world.node(c).leave(secs(1));
        world.run_for(secs(2));
        world.host_mut(b).restart(Restart::default().incarnation(old.incarnation.0 - DAY));
        world.node(b).join(a).unwrap();
        world.expect("it is in again", secs(1), |world| world.linked(a, b));
        world.settle();
        let new = world.host(b).run();
        assert!(is_adopted(old.incarnation, new.incarnation), "seed {seed}: {old:?}, {new:?}");
        assert_eq!(world.host(a).core().usage().tombstones, 1, "seed {seed}: that of the one that left");
    }
}

/// A year is more than any clock is set back; such a number is somebody's invention.
#[test]
fn s15_a_run_that_is_said_to_be_far_behind_stays_what_it_is_and_says_so() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let old = world.host(b).run();
        world.host_mut(b).crash(Crash::Kill);
        world.run_for(ms(10));
        world.host_mut(b).restart(Restart::default().incarnation(old.incarnation.0 - 370 * DAY));
        let new = world.host(b).run();
        world.node(b).join(a).unwrap();
        world.run_for(secs(60));
        assert_eq!(world.host(b).run(), new, "seed {seed}");
        assert_eq!(clones(&world, b), [new], "seed {seed}");
        let stale = RejectCode::Stale { known: old.incarnation };
        assert_eq!(join_errors(&world, b), [JoinError::Failed(Reason::Rejected(stale))], "seed {seed}");
        assert_eq!((world.host(a).ups(b), world.host(b).ups(a)), (1, 1), "seed {seed}");
        // Its own next start, with the clock put right, is like any other.
        world.host_mut(b).crash(Crash::Kill);
        world.host_mut(b).restart(Restart::default().incarnation(old.incarnation.0 + 60 * SECOND));
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
            let first = world.host(b).run();
            let number = if seed % 2 == 0 { first.incarnation.0 + DAY } else { first.incarnation.0 - DAY };
            let clone = world.add(Spec::new(config()).id(first.id).incarnation(number));
            let newcomer = world.host(clone).run();
            let told: Vec<usize> = hosts.iter().map(|&host| world.host(host).events().len()).collect();
            let begin = world.now();
            let asked = hosts[world.draw(size as u64) as usize];
            world.node(clone).join(asked).unwrap();
            world.run_for(ms(1_100));
            assert_eq!(world.host(clone).dials_since(begin), 1, "seed {seed}");
            assert_eq!(clones(&world, clone), [newcomer], "seed {seed}: it is told");
            assert_eq!(clones(&world, asked), [newcomer], "seed {seed}: and so is the one that it met");
            if asked == b {
                // It knows at once, and does not ask.
                assert_eq!(join_errors(&world, clone), [JoinError::Failed(Reason::DuplicateIdentity)], "seed {seed}");
            } else {
                let code = Reason::Rejected(RejectCode::DuplicateIdentity);
                assert!(world.host(asked).closes().iter().any(|closed| closed.reason == code), "seed {seed}");
                assert!(world.host(clone).closes().iter().any(|closed| closed.reason == code), "seed {seed}");
            }
            // It dials nobody, whatever it is asked to do.
            for &host in &hosts {
                world.node(clone).join(host).unwrap();
            }
            world.run_for(secs(58));
            assert_eq!(world.host(clone).dials_since(begin), 1, "seed {seed}");
            // And when it dials again it is refused again.
            world.node(clone).join(asked).unwrap();
            world.run_for(secs(120));
            assert!((2..=3).contains(&world.host(clone).dials_since(begin)), "seed {seed}");
            assert_eq!(world.host(clone).events().iter().filter(|logged| is_link_event(&logged.event)).count(), 0);
            assert!(world.is_mesh(&hosts), "seed {seed}");
            for (&host, told) in hosts.iter().zip(told) {
                let since = &world.host(host).events()[told..];
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
        let first = world.host(b).run();
        let number = if seed % 2 == 0 { first.incarnation.0 + DAY } else { first.incarnation.0 - DAY };
        let seeds: Config = others.iter().fold(config(), |config, &host| config.seed(world.host(host).addr().into()));
        let begin = world.now();
        let clone = world.add(Spec::new(seeds).id(first.id).incarnation(number));
        world.run_for(secs(600));
        let dials = world.host(clone).dials_since(begin);
        assert!((11..=33).contains(&dials), "seed {seed}: {dials} dials in ten minutes, at three seeds");
        assert!((10..=11).contains(&clones(&world, clone).len()), "seed {seed}");
        assert!(world.is_mesh(&hosts), "seed {seed}");
        for &host in &others {
            assert_eq!(word(&world, host, first.id), [("up", first.incarnation.0)], "seed {seed}");
        }
        // It is no longer a clone once the other one is gone.
        world.host_mut(b).crash(Crash::Kill);
        let three = [others[0], others[1], others[2], clone];
        world.expect("it takes its place", secs(70), |world| world.is_mesh(&three));
        let second = world.host(clone).run();
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
        let number = if seed % 2 == 0 {
            world.host(b).run().incarnation.0 + DAY
        } else {
            world.host(b).run().incarnation.0 - DAY
        };
        let clone = world.add(Spec::new(config()).id(world.host(b).id()).incarnation(number));
        world.node(clone).join(c).unwrap();
        world.expect("the second half stands", secs(1), |world| world.linked(c, clone));
        world.settle();
        world.node(c).join(a).unwrap();
        let begin = world.now();
        world.run_for(secs(600));
        for (x, y) in [(a, b), (c, clone), (a, c)] {
            assert!(world.linked(x, y), "seed {seed}: {x} and {y}");
            assert_eq!(
                (world.host(x).ups(y), world.host(x).downs(y), world.host(y).downs(x)),
                (1, 0, 0),
                "seed {seed}: {x} and {y}"
            );
        }
        assert!(!clones(&world, b).is_empty() || !clones(&world, clone).is_empty(), "seed {seed}: somebody is told");
        for host in [a, b, c, clone] {
            assert!(clones(&world, host).len() <= 40, "seed {seed}: {host}: {}", clones(&world, host).len());
            assert!(
                world.host(host).dials_since(begin) <= 40,
                "seed {seed}: {host}: {}",
                world.host(host).dials_since(begin)
            );
        }
    }
}

/// A third node is asked to join the clone itself, which waits and dials nobody.
#[test]
fn s16_a_join_that_meets_the_clone_of_a_live_peer_fails_and_the_peer_stays() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let (b, others) = one_of(&mut world, &hosts);
        let first = world.host(b).run();
        let number = if seed % 2 == 0 { first.incarnation.0 + DAY } else { first.incarnation.0 - DAY };
        let clone = world.add(Spec::new(config()).id(first.id).incarnation(number));
        let at_clone = world.host(clone).addr();
        world.node(others[0]).join(clone).unwrap();
        world.run_for(secs(10));
        let errors = join_errors(&world, others[0]);
        assert_eq!(errors, [JoinError::Failed(Reason::DuplicateIdentity)], "seed {seed}");
        assert!(world.is_mesh(&hosts), "seed {seed}");
        assert!(!world.host(others[0]).sees(clone), "seed {seed}");
        let noticed =
            world.host(others[0]).notices().iter().any(|told| told.notice.reason == Reason::DuplicateIdentity);
        assert!(noticed, "seed {seed}");
        // The two of them lose each other, and the place of the clone is none where b is looked for.
        let lost = world.now();
        world.net_mut().block_dials(b, others[0], Block::Refuse);
        world.net_mut().reset_connections(others[0], b);
        world.expect("they are linked again", secs(3), |world| world.linked(others[0], b));
        assert_eq!(world.net().dials_to(at_clone, lost), 0, "seed {seed}");
        let at_b = Some(world.host(b).addr());
        assert_eq!(peer(&world, others[0], first.id).address, at_b, "seed {seed}");
    }
}

/// S14 and S16: what is joined turns out to be the next run of a peer whose old link is half-open.
#[test]
fn s14_a_join_that_meets_a_later_run_of_a_half_open_peer_waits_for_the_probe() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let (b, others) = one_of(&mut world, &hosts);
        let old = world.host(b).run();
        world.node(b).broadcast(&b"here"[..]).unwrap();
        world.run_for(ms(50));
        // Nobody answers at the old address any more, and the node itself cannot dial the one that looks for it.
        world.host_mut(b).crash(Crash::Power);
        let moved = world.add(Spec::new(config()).id(old.id).incarnation(old.incarnation.0 + 1_000));
        world.net_mut().block_dials(moved, others[0], Block::Drop);
        let new = world.host(moved).run();
        let told = world.host(others[0]).events().len();
        world.node(others[0]).join(moved).unwrap();
        world.expect("it is found", secs(3), |world| world.linked(others[0], moved));
        let joined = |event: &Event| match event {
            Event::Joined { peer, .. } => Some(*peer),
            _ => None,
        };
        let joined: Vec<Run> =
            world.host(others[0]).events()[told..].iter().filter_map(|at| joined(&at.event)).collect();
        assert_eq!(joined, [new], "seed {seed}: the old run is not there");
        world.expect("it finds the other", secs(2), |world| world.linked(others[1], moved));
        for &host in &others {
            assert_eq!(word(&world, host, old.id), restarted(old, new), "seed {seed}");
            assert_eq!(clones(&world, host), [], "seed {seed}");
        }
    }
}
