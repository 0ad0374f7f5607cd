//! Messages of all sizes, many at once, and broadcasts.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cluster_core::{NodeId, SendErrorKind};
use cluster_sim::{Crash, World};

use crate::harness::*;
use crate::load::{KIB, MIB, all_downs, limits, mesh_of};

/// The length of messages at every edge there is between two nodes of default settings.
fn edges(window: usize) -> Vec<usize> {
    let mut lengths = vec![0, 1, 23, 24, 255, 256, 65_535, 65_536];
    for edge in [65_519 - 14, 65_519, window - 5, window, 2 * window, 2 * window - 5] {
        lengths.extend([edge - 1, edge, edge + 1]);
    }
    lengths
}

#[test]
fn messages_of_every_length_at_an_edge_arrive_whole_and_in_order() {
    for seed in 0..4 {
        let (mut world, a, b) = pair(seed);
        let mut lengths = edges(256 * KIB);
        lengths.extend([16 * MIB - 1, 16 * MIB, 0, 1]);
        let id = world.host(b).id();
        for (index, &length) in lengths.iter().enumerate() {
            let payload = Bytes::from(vec![index as u8; length]);
            // Half of them one by one, half of them as close together as the send window lets them be.
            if index % 2 == 0 {
                world.expect("those before are taken", secs(5), |world| world.host(b).messages().len() == index);
            }
            let mut tries = 0;
            while let Err(error) = world.node(a).send(id, payload.clone()) {
                tries += 1;
                assert!(error.kind == SendErrorKind::Full && tries < 1_000, "seed {seed}: {error}");
                world.run_for(ms(5));
            }
        }
        world.expect("the last one is taken", secs(5), |world| world.host(b).messages().len() == lengths.len());
        for (index, (taken, &length)) in world.host(b).messages().iter().zip(&lengths).enumerate() {
            assert_eq!((taken.payload.len(), taken.payload.iter().all(|&byte| byte == index as u8)), (length, true));
        }
        assert_eq!(all_downs(&world, &[a, b]), 0, "seed {seed}");
    }
}

#[test]
fn a_message_beyond_the_cap_of_either_side_is_refused_with_both_numbers_and_no_harm() {
    let small = config().limits(limits(|limits| limits.max_message = 1_000));
    for seed in SEEDS {
        let (mut world, hosts) = mesh_of(seed, &[config(), config(), small.clone()]);
        let [a, b, c] = hosts[..] else { unreachable!() };
        for (from, to, length, cap) in [(a, b, 16 * MIB + 1, 16 * MIB), (a, c, 1_001, 1_000), (c, a, 1_001, 1_000)] {
            let id = world.host(to).id();
            let error = world.node(from).send(id, Bytes::from(vec![0; length])).unwrap_err();
            assert_eq!(error.kind, SendErrorKind::TooLarge { length: length as u64, cap: cap as u64 });
            assert_eq!(error.payload.len(), length, "the payload comes back");
            let text = error.to_string();
            assert!(text.contains(&length.to_string()) && text.contains(&cap.to_string()), "{text}");
        }
        let id = world.host(c).id();
        world.node(a).send(id, Bytes::from(vec![0; 1_000])).unwrap();
        world.expect("at the cap it arrives", secs(1), |world| world.host(c).messages().len() == 1);
        assert_eq!(all_downs(&world, &hosts), 0);
    }
}

#[test]
fn many_large_messages_at_once_all_arrive_at_a_receiver_with_a_small_budget() {
    let receiver = limits(|limits| {
        limits.max_peers = 16;
        limits.initial_window = 4 << 10;
        limits.recv_window = 64 << 10;
        limits.max_message = 1 << 20;
        limits.recv_budget = 16 * (4 << 10) + 2 * ((1 << 20) + 9);
    });
    for seed in 0..6 {
        let mut configs = vec![config().limits(receiver.clone())];
        configs.resize(10, config());
        let (mut world, hosts) = mesh_of(seed, &configs);
        let (to, senders) = hosts.split_first().unwrap();
        for round in 1..=3 {
            for &from in senders {
                let length = MIB - world.draw(200_000) as usize * usize::from(round > 1);
                world.node(from).send_numbered(*to, length).unwrap();
            }
        }
        let done = |world: &World| senders.iter().all(|&from| world.host(*to).numbered(from) == 3);
        world.expect("all arrive", secs(60), done);
        assert!(world.node(*to).stats().recv_budget_limit > 0, "seed {seed}");
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
    }
}

#[test]
fn fifty_peers_that_send_four_mebibytes_at_once_finish_where_sixteen_are_reserved() {
    let receiver = limits(|limits| {
        limits.max_peers = 64;
        (limits.initial_window, limits.recv_window) = (16 << 10, 16 << 10);
        limits.max_message = 4 << 20;
        limits.recv_budget = 64 * (16 << 10) + 2 * (16 << 20);
    });
    for seed in 0..2 {
        let mut configs = vec![config().limits(receiver.clone())];
        configs.resize(51, config());
        let (mut world, hosts) = mesh_of(seed, &configs);
        let (to, senders) = hosts.split_first().unwrap();
        for &from in senders {
            world.node(from).send_numbered(*to, 4 * MIB).unwrap();
        }
        world.run_for(ms(5));
        assert!(world.node(*to).stats().recv_budget_limit >= 46, "seed {seed}: at most four at a time");
        let done = |world: &World| senders.iter().all(|&from| world.host(*to).numbered(from) == 1);
        world.expect("all finish", secs(60), done);
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
        assert_eq!(world.host(*to).core().memory().received, 0, "seed {seed}");
    }
}

#[test]
fn a_slow_consumer_slows_only_its_own_pair() {
    for seed in 0..6 {
        let (mut world, hosts) = mesh(seed, 4);
        let [a, slow, c, d] = hosts[..] else { unreachable!() };
        world.host_mut(slow).set_consuming(false);
        let mut accepted = 0;
        for round in 0..200 {
            if world.node(a).send_numbered(slow, 100 * KIB).is_ok() {
                accepted += 1;
            }
            let sent = [world.node(a).send_numbered(c, 100 * KIB), world.node(a).send_numbered(d, 100 * KIB)];
            let [Ok(to_c), Ok(to_d)] = sent else { panic!("seed {seed}: {sent:?}") };
            let arrived = |world: &World| world.host(c).numbered(a) == to_c && world.host(d).numbered(a) == to_d;
            world.expect("the quick ones are served", ms(100), arrived);
            if round % 10 == 0 {
                world.host_mut(slow).consume(1);
            }
        }
        assert!(accepted < 110, "seed {seed}: {accepted}");
        assert_eq!(all_downs(&world, &hosts), 0);
        world.host_mut(slow).set_consuming(true);
        world.expect("all that was accepted arrives", secs(5), |world| world.host(slow).numbered(a) == accepted);
    }
}

#[test]
fn a_broadcast_says_who_gets_it_and_who_does_not_and_why() {
    let small = config().limits(limits(|limits| limits.max_message = 1_000));
    for seed in SEEDS {
        let (mut world, hosts) = mesh_of(seed, &[config(), config(), config(), small.clone(), config()]);
        let [a, quick, stuck, tiny, gone] = hosts[..] else { unreachable!() };
        world.host_mut(gone).crash(Crash::Kill);
        world.expect("it is noticed", secs(1), |world| world.host(a).downs(gone) == 1);
        world.host_mut(stuck).set_consuming(false);
        for length in [64 * KIB, KIB, 64] {
            while world.node(a).send_numbered(stuck, length).is_ok() {}
        }
        world.run_for(secs(1));
        let ids = [quick, stuck, tiny].map(|host| world.host(host).id());

        let report = world.node(a).broadcast(vec![1; 1_001]).unwrap();
        assert!(!report.is_complete());
        // Who is lost may be back in time.
        let queued: BTreeSet<NodeId> = report.queued.into_iter().collect();
        assert_eq!(queued, [ids[0], world.host(gone).id()].into(), "seed {seed}");
        let refused: BTreeMap<NodeId, SendErrorKind> = report.refused.into_iter().collect();
        let expected = [(ids[1], SendErrorKind::Full), (ids[2], SendErrorKind::TooLarge { length: 1_001, cap: 1_000 })];
        assert_eq!(refused, expected.into(), "seed {seed}");
        let error = world.node(a).broadcast(vec![1; 16 * MIB + 1]).unwrap_err();
        let cap = 16 << 20;
        assert_eq!(error.kind, SendErrorKind::TooLarge { length: cap + 1, cap });
        world.expect("who is queued gets it", secs(1), |world| world.host(quick).messages().len() == 1);
        assert_eq!(world.host(tiny).messages().len(), 0);
        assert_eq!(all_downs(&world, &[quick, stuck, tiny]), 3, "only the one that died");
    }
}
