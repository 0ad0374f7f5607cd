//! Peers that are disconnected or forgotten, and what is left of them and of those that left: scenarios S23 and S25 to S27.

use std::time::Duration;

use cluster_core::{Event, Frame, Incarnation, Instant, Limits, NodeId, Reason, Run};
use cluster_sim::{Crash, Heard, Restart, Script, Spec, World};

use crate::harness::*;
use crate::leaving::{calm, dials, hearsay, member, mesh_with, say_to_all, undelivered, without};

/// Who returns when the tombstones are over and still names a departed peer causes some dials, and then none.
#[test]
fn s23_a_departed_peer_that_is_named_after_its_tombstone_ended_is_dialled_for_a_while_only() {
    let ttl = secs(60);
    for seed in SEEDS {
        let (mut world, hosts) = mesh_with(seed, 3 + seed as usize % 2, &calm().tombstone_ttl(ttl));
        let (departed, rest) = (hosts[1], without(&hosts, hosts[1]));
        let liar = member(&mut world, &hosts);
        let frames = hearsay(world.host(departed).run(), world.host(departed).addr());
        let address = world.host(departed).addr();
        world.node(departed).leave(secs(1));
        world.run_for(ttl - secs(1));
        let begin = world.now();
        say_to_all(&mut world, liar, &frames);
        world.run_for(ms(900));
        assert_eq!(world.net().dials_to(address, begin), 0, "seed {seed}: the tombstones stand");
        world.run_for(ttl);
        // Named over and over in two minutes, then never again; and all that a second time.
        for round in 0..2 {
            let named = world.now();
            for _ in 0..120 {
                say_to_all(&mut world, liar, &frames);
                world.run_for(secs(1));
            }
            let early: Vec<usize> = rest.iter().map(|&host| dials(&world, host, address, named).len()).collect();
            assert!(early.iter().all(|&count| (3..=40).contains(&count)), "seed {seed}, {round}: {early:?}");
            world.run_for(secs(3_600 + 60));
            let all: Vec<usize> = rest.iter().map(|&host| dials(&world, host, address, named).len()).collect();
            assert!(all.iter().all(|&count| count <= 400), "seed {seed}, {round}: {all:?}");
            let over = world.now();
            world.run_for(secs(600));
            assert_eq!(world.net().dials_to(address, over), 0, "seed {seed}, {round}: it is forgotten again");
        }
        for &host in &rest {
            assert_eq!(
                (world.host(host).ups(departed), world.host(host).downs(departed)),
                (1, 1),
                "seed {seed}: {host}"
            );
            assert!(world.node(host).peers().iter().all(|info| info.run != world.host(departed).run()), "seed {seed}");
            assert!(world.host(host).sees(liar), "seed {seed}");
        }
    }
}

/// After so many failures in a row the wait before the next dial is drawn up to `reconnect_max`, and the sum of so many
/// such waits is less than `reconnect_max` once in 20! times.
const MANY_FAILURES: usize = 8;
const MANY_WAITS: usize = 20;

/// The dials to one address that nobody answers become rare, whatever the seed draws.
pub(crate) fn dials_become_rare(tries: &[Instant], longest: Duration) {
    for waits in tries[MANY_FAILURES.min(tries.len())..].windows(MANY_WAITS + 1) {
        let span = waits[MANY_WAITS] - waits[0];
        assert!(span >= longest, "{MANY_WAITS} dials within {span:?}: {waits:?}");
    }
}

/// Nobody listens where a member says that another is. The dials to that address are refused at once.
#[test]
fn s23_candidate_that_never_answers_is_dialled_ever_more_rarely() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh_with(seed, 3, &calm());
        let liar = member(&mut world, &hosts);
        world.net_mut().raw_host("10.66.0.1");
        let nowhere = "10.66.0.1:7000".parse().unwrap();
        let run = Run { id: NodeId::from_bytes([0xab; 16]), incarnation: Incarnation(1) };
        let begin = world.now();
        for _ in 0..30 {
            say_to_all(&mut world, liar, &hearsay(run, nowhere));
            world.run_for(secs(60));
        }
        for &host in &hosts {
            let tries = dials(&world, host, nowhere, begin);
            assert!((40..=200).contains(&tries.len()), "seed {seed}: {} tries in half an hour", tries.len());
            dials_become_rare(&tries, world.host(host).core().timing().reconnect_max);
        }
    }
}

/// A node that stood still behind a partition for longer than the tombstones last brings nobody back.
#[test]
fn s23_a_node_that_slept_for_longer_than_the_tombstones_last_brings_nobody_back() {
    let mut dialled = 0;
    for seed in SEEDS {
        let config = calm().tombstone_ttl(secs(60)).gossip_interval(secs(5));
        let (mut world, hosts) = mesh_with(seed, 4, &config);
        let [a, b, departed, sleeper] = hosts[..] else { unreachable!() };
        let (run, address) = (world.host(departed).run(), world.host(departed).addr());
        for host in [a, b, departed] {
            world.net_mut().cut(sleeper, host);
        }
        world.run_for(ms(100));
        world.host_mut(sleeper).pause();
        world.node(departed).leave(secs(1));
        world.run_for(secs(120));
        for host in [a, b] {
            world.net_mut().heal(sleeper, host);
        }
        // Its connection to the departed one stays cut, so that nothing but silence tells it.
        let begin = world.now();
        world.host_mut(sleeper).resume();
        world.expect("the mesh is whole", secs(60), World::is_complete);
        world.run_for(secs(3_600 + 60));
        let over = world.now();
        world.run_for(secs(600));
        for host in [a, b] {
            let count = dials(&world, host, address, begin).len();
            assert!(count <= 400, "seed {seed}: {count}");
            dialled += count;
            assert_eq!(
                (world.host(host).ups(departed), world.host(host).downs(departed)),
                (1, 1),
                "seed {seed}: {host}"
            );
            assert_eq!(world.host(host).core().peer(run.id), None, "seed {seed}: {host}");
            assert_eq!(dials(&world, host, address, over).len(), 0, "seed {seed}: {host}");
        }
        assert_eq!((world.host(sleeper).ups(departed), world.host(sleeper).downs(departed)), (1, 1), "seed {seed}");
        assert_eq!(down_reasons(&world, sleeper, departed), [Reason::Timeout], "seed {seed}");
    }
    assert!(dialled > 0, "the sleeper has never named it");
}

/// The pair stays apart whatever others say, nobody else notices, and the user of either side ends it.
#[test]
fn s25_a_disconnected_pair_stays_apart_until_the_user_of_either_side_joins() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3 + seed as usize % 3);
        let (a, b) = (hosts[0], hosts[1]);
        let others = &hosts[2..];
        let liar = member(&mut world, &hosts);
        let before: Vec<usize> = others.iter().map(|&host| world.host(host).events().len()).collect();
        let (at_a, at_b, opened) = (world.host(a).addr(), world.host(b).addr(), world.net().opened(a, b));
        world.node(a).send_numbered(b, 500_000).unwrap();
        world.node(b).send_numbered(a, 500_000).unwrap();
        let begin = world.now();
        let id = world.host(b).id();
        world.node(a).disconnect(id).unwrap();
        let frames: Vec<Frame> =
            [a, b].into_iter().flat_map(|host| hearsay(world.host(host).run(), world.host(host).addr())).collect();
        for _ in 0..120 {
            say_to_all(&mut world, liar, &frames);
            world.run_for(secs(5));
        }
        assert_eq!(down_reasons(&world, a, b), [Reason::LocalDisconnect], "seed {seed}");
        assert_eq!(down_reasons(&world, b, a), [Reason::Removed], "seed {seed}");
        assert_eq!(
            (world.host(a).core().peer(id), world.host(b).core().peer(world.host(a).id())),
            (None, None),
            "seed {seed}"
        );
        assert_eq!((world.net().dials_to(at_a, begin), world.net().dials_to(at_b, begin)), (0, 0), "seed {seed}");
        assert_eq!(world.net().opened(a, b), opened, "seed {seed}");
        let gap = |event: &Event| matches!(event, Event::PartialPartition { .. });
        assert!(hosts.iter().all(|&host| world.host(host).count_events(gap) == 0), "seed {seed}: it is no fault");
        let after: Vec<usize> = others.iter().map(|&host| world.host(host).events().len()).collect();
        assert_eq!(after, before, "seed {seed}: the others notice");
        for &host in others {
            assert!(world.linked(host, a) && world.linked(host, b), "seed {seed}: {host}");
        }
        for (host, peer) in [(a, b), (b, a)] {
            let (not, doubt) = undelivered(&world, host, peer);
            assert_eq!((not + doubt, world.host(peer).numbered(host)), (1, 0), "seed {seed}");
        }

        let (from, to) = if seed % 2 == 0 { (a, b) } else { (b, a) };
        world.node(from).join(to).unwrap();
        world.expect("they are together again", ms(100), |world| world.linked(a, b));
        let joined = |event: &Event| matches!(event, Event::Joined { .. });
        assert!(world.host(from).count_events(joined) >= 1, "seed {seed}");
        world.node(a).send_numbered(b, 1_000).unwrap();
        world.node(b).send_numbered(a, 1_000).unwrap();
        world.run_for(ms(100));
        assert_eq!((world.host(b).numbered(a), world.host(a).numbered(b)), (1, 1), "seed {seed}");
        // It is over for good: a loss is a loss again.
        world.net_mut().reset_connections(a, b);
        world.expect("the link is back by itself", secs(2), |world| world.linked(a, b));
        assert_eq!((world.host(a).ups(b), world.host(b).ups(a)), (3, 3), "seed {seed}");
    }
}

/// Once the time is over at the one whose user wanted it, the two find each other by what others say; also if the
/// other's time ends earlier or later, be it by its setting or because clocks drift.
#[test]
fn s25_a_disconnected_pair_comes_together_when_the_time_is_over_whosever_clock_is_ahead() {
    let ttl = secs(120);
    let others = [ttl, secs(60), secs(110), secs(119), secs(121), secs(130), secs(24 * 3_600)];
    for seed in 0..35 {
        let mut world = World::new(seed);
        let theirs = config().tombstone_ttl(others[seed as usize % others.len()]);
        let [a, b, c] = [config().tombstone_ttl(ttl), theirs, config()].map(|config| world.add(config));
        world.node(a).join(c).unwrap();
        world.node(b).join(c).unwrap();
        world.expect("a complete mesh", secs(20), World::is_complete);
        world.settle();
        let begin = world.now();
        let id = world.host(b).id();
        world.node(a).disconnect(id).unwrap();
        world.run_for(ttl - ms(1));
        assert_eq!((world.host(a).ups(b), world.host(b).ups(a)), (1, 1), "seed {seed}: too early");
        // A dial that comes too early puts off the next by as long as that is looked at.
        world.expect("they are together again", secs(30 + 60), |world| world.linked(a, b));
        let dialled = [(a, b), (b, a)].map(|(from, to)| dials(&world, from, world.host(to).addr(), begin).len());
        assert!(dialled[0] + dialled[1] <= 4, "seed {seed}: {dialled:?}");
        world.settle();
        assert!(world.is_complete(), "seed {seed}");
        assert_eq!((world.host(c).ups(a), world.host(c).downs(a), world.host(c).downs(b)), (1, 0, 0), "seed {seed}");
    }
}

/// Whichever of the two restarts, or was lost or out of reach at the time, the pair stays apart.
#[test]
fn s25_a_disconnected_pair_stays_apart_though_one_of_them_missed_it_or_restarts() {
    for seed in SEEDS {
        for case in 0..4 {
            let (mut world, hosts) = mesh(seed, 3);
            let [a, b, c] = hosts[..] else { unreachable!() };
            let (id, opened) = (world.host(b).id(), world.net().opened(a, b));
            if case == 2 {
                world.net_mut().cut(a, b);
            } else if case == 3 {
                world.host_mut(b).crash(Crash::Kill);
                world.expect("the loss is noticed", ms(100), |world| world.host(a).downs(b) == 1);
            }
            world.node(a).disconnect(id).unwrap();
            world.run_for(ms(100));
            assert_eq!(world.host(a).core().peer(id), None, "seed {seed}");
            let back = match case {
                0 => Some(a),
                1 | 3 => Some(b),
                _ => None,
            };
            match back {
                Some(host) => {
                    if case != 3 {
                        world.host_mut(host).crash(Crash::Kill);
                    }
                    world.run_for(secs(1));
                    world.host_mut(host).restart(Restart::default());
                    world.node(host).join(c).unwrap();
                }
                None => {
                    world.expect("b gives up", secs(6), |world| world.host(b).downs(a) == 1);
                    world.net_mut().heal(a, b);
                }
            }
            let ups = world.host(a).ups(b) + world.host(b).ups(a);
            world.expect("c has both", secs(40), |world| world.linked(a, c) && world.linked(b, c));
            world.run_for(secs(60));
            let told = world.now();
            world.run_for(secs(600));
            assert!(!world.host(a).sees(b) && !world.host(b).sees(a), "seed {seed}, case {case}");
            assert_eq!(world.host(a).ups(b) + world.host(b).ups(a), ups, "seed {seed}, case {case}");
            assert!(world.net().opened(a, b) <= opened + 2, "seed {seed}, case {case}: {}", world.net().opened(a, b));
            let dialled = [(a, b), (b, a)].map(|(from, to)| dials(&world, from, world.host(to).addr(), told).len());
            assert_eq!(dialled, [0, 0], "seed {seed}, case {case}: both know");
            assert!(world.linked(a, c) && world.linked(b, c), "seed {seed}, case {case}");
        }
    }
}

/// A peer that never returns is dialled ever more rarely, and not at all once it is forgotten.
#[test]
fn s26_a_peer_that_never_returns_is_tried_ever_more_rarely_and_then_forgotten() {
    let (window, cap, hang) = (secs(3_600), secs(30), secs(5));
    for seed in SEEDS {
        let count = 2 + seed as usize % 4;
        let (mut world, hosts) = mesh_with(seed, count, &calm().forget_after(Some(window)));
        let (dead, rest) = (hosts[count - 1], &hosts[..count - 1]);
        let (id, address) = (world.host(dead).id(), world.host(dead).addr());
        let how = [Crash::Power, Crash::Kill, Crash::Reset][seed as usize % 3];
        let crashed = world.now();
        world.host_mut(dead).crash(how);
        world.expect("the loss is noticed", secs(32), |world| {
            rest.iter().all(|&host| world.host(host).downs(dead) == 1)
        });
        let lost = world.now();
        world.run_for(window - secs(10));
        for &host in rest {
            assert!(world.host(host).core().peer(id).is_some(), "seed {seed}: {host} still looks for it");
            let tries = dials(&world, host, address, crashed);
            for (index, pair) in tries.windows(2).enumerate() {
                let gap = pair[1] - pair[0];
                let limit = cap.min(ms(250) * 2_u32.saturating_pow(index as u32 + 1));
                assert!(gap <= limit + hang, "seed {seed}: {gap:?} before try {}", index + 2);
            }
            dials_become_rare(&tries, cap);
            // Half the cap on average, and what the dial itself takes.
            assert!((100..=300).contains(&tries.len()), "seed {seed}: {} tries in an hour", tries.len());
            let late = tries.iter().filter(|&&at| at - lost >= secs(1_800)).count();
            assert!((45..=160).contains(&late), "seed {seed}: {late} tries in half an hour");
        }
        world.run_for(secs(20));
        assert!(rest.iter().all(|&host| world.node(host).peers().len() == count - 2), "seed {seed}");
        world.run_for(secs(3_600));
        let forgotten = world.now();
        world.run_for(secs(4 * 3_600));
        assert_eq!(world.net().dials_to(address, forgotten), 0, "seed {seed}");
        assert!(
            rest.iter().all(|&host| world.host(host).ups(dead) == 1 && world.host(host).downs(dead) == 1),
            "seed {seed}"
        );
        assert!(world.is_mesh(rest), "seed {seed}");
    }
}

/// What is known of the lost is bounded by those of the last `forget_after`, however many come and go.
#[test]
fn s26_memory_is_bounded_by_the_living_and_those_lost_within_the_window() {
    let (window, life) = (secs(60), secs(10));
    for seed in SEEDS {
        let config = config().forget_after(Some(window)).peer_timeout(secs(2));
        let (mut world, hosts) = mesh_with(seed, 2, &config);
        let mut short_lived = Vec::new();
        for generation in 0..30 {
            let host = world.add(config.clone());
            world.node(host).join(hosts[generation % 2]).unwrap();
            let (a, b) = (hosts[0], hosts[1]);
            world.expect("it is up", secs(5), |world| world.host(a).sees(host) && world.host(b).sees(host));
            world.run_for(life);
            world.host_mut(host).crash([Crash::Power, Crash::Kill][generation % 2]);
            short_lived.push(host);
            // Those of a minute, one that is not yet found dead, and the two that live.
            for &host in &hosts {
                let known = world.node(host).peers().len();
                assert!(known <= 1 + 1 + 6 + 1, "seed {seed}: {known} peers after {generation}");
            }
        }
        world.run_for(window + secs(3));
        let known: Vec<usize> = hosts.iter().map(|&host| world.node(host).peers().len()).collect();
        assert_eq!(known, [1, 1], "seed {seed}");
        world.run_for(secs(3_600));
        let quiet = world.now();
        world.run_for(secs(600));
        assert_eq!(world.net().dials().iter().filter(|dial| dial.at >= quiet).count(), 0, "seed {seed}");
        assert!(world.linked(hosts[0], hosts[1]), "seed {seed}");
        assert_eq!(world.node(hosts[0]).stats().tombstone_limit, 0, "seed {seed}");
    }
}

/// Messages of a peer that was lost, and then forgotten, can still be read; then nothing is left of it.
#[test]
fn s26_messages_stay_readable_after_their_sender_is_gone_and_forgotten() {
    for seed in SEEDS {
        let limits = {
            let mut limits = Limits::default();
            limits.max_peers = 2;
            limits
        };
        let config = config().forget_after(Some(secs(30))).limits(limits);
        let (mut world, hosts) = mesh_with(seed, 2, &config);
        let (a, b) = (hosts[0], hosts[1]);
        world.host_mut(a).set_consuming(false);
        for _ in 0..5 {
            world.node(b).send_numbered(a, 10_000).unwrap();
        }
        world.run_for(ms(100));
        match seed % 3 {
            0 => world.host_mut(b).crash(Crash::Power),
            1 => world.host_mut(b).crash(Crash::Reset),
            _ => world.node(b).leave(ms(100)),
        }
        world.expect("it is gone", secs(7), |world| world.host(a).downs(b) == 1);
        world.run_for(secs(40));
        assert_eq!((world.host(a).core().peer(world.host(b).id()), world.host(a).taken()), (None, 0), "seed {seed}");
        // Unread, they hold one of the two places: the first of two newcomers fills up the node.
        let newcomers = world.add_many(2, &config);
        world.node(newcomers[0]).join(a).unwrap();
        world.run_for(secs(1));
        world.node(newcomers[1]).join(a).unwrap();
        world.run_for(secs(6));
        let full = |world: &World| newcomers.iter().filter(|&&host| world.host(a).sees(host)).count();
        assert_eq!(full(&world), 1, "seed {seed}");
        world.host_mut(a).consume(2);
        assert_eq!(world.host(a).numbered(b), 2, "seed {seed}");
        world.host_mut(a).set_consuming(true);
        assert_eq!(world.host(a).numbered(b), 5, "seed {seed}");
        let refused = newcomers.iter().copied().find(|&host| !world.host(a).sees(host)).unwrap();
        world.node(refused).join(a).unwrap();
        world.expect("there is room", secs(1), |world| full(world) == 2);
    }
}

/// Ten thousand nodes come and go.
#[test]
fn s27_churn_leaves_bounded_tables_and_gossip_of_those_alone_who_are_there() {
    let limits = {
        let mut limits = Limits::default();
        (limits.max_tombstones, limits.max_peers, limits.recv_budget) = (128, 64, 64 << 20);
        limits
    };
    let mut world = World::new(27);
    world.keep_lines(50);
    let hosts = world.add_many(3, &config().limits(limits.clone()));
    for &host in &hosts[1..] {
        world.node(host).join(hosts[0]).unwrap();
    }
    world.expect("a complete mesh", secs(20), World::is_complete);
    let listener = world.add_puppet("10.0.9.1", Script::default());
    let address = world.host(hosts[0]).addr();
    world.puppet(listener).dial(address);
    world.expect("it is a member", secs(1), |world| world.host(hosts[0]).sees(listener));

    let guest = world.add(Spec::new(config().limits(limits.clone())).stopped());
    for number in 0..10_000 {
        world.host_mut(guest).restart(Restart::default().new_id());
        world.node(guest).join(hosts[number % 3]).unwrap();
        let up = |world: &World| hosts.iter().any(|&host| world.host(host).sees(guest));
        world.expect("the guest is a member", secs(5), up);
        match number % 3 {
            0 => world.node(guest).leave(Duration::ZERO),
            1 => world.host_mut(guest).crash(Crash::Kill),
            _ => world.host_mut(guest).crash(Crash::Reset),
        }
        world.run_for(ms(5));
        if world.host(guest).is_running() {
            world.host_mut(guest).crash(Crash::Kill);
        }
        let usage = world.host(hosts[0]).core().usage();
        assert!(usage.peers <= limits.max_peers && usage.tombstones <= 3 * limits.max_tombstones, "{usage:?}");
    }
    world.run_for(secs(120));
    // What is gossiped is who is up, however many were: those that run, and the listener.
    let longest = |heard: &&Heard| match &heard.frame {
        Frame::List(list) => list.entries.len(),
        Frame::Announce(announce) => announce.entries.len(),
        _ => 0,
    };
    let heard = world.host(listener).heard();
    assert!(heard.iter().map(|heard| longest(&heard)).max().unwrap_or(0) <= 4, "a list names more than there are");
    assert!(world.are_linked(&hosts));
    world.sweep();
}
