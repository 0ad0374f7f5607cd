//! How a mesh comes about: scenarios S01 to S13.

use cluster_core::Event;
use cluster_sim::World;

use crate::harness::*;

#[test]
fn a_join_connects_two_nodes_and_says_so_once() {
    for seed in SEEDS {
        let (mut world, hosts) = strangers(seed, 2);
        let (a, b) = (hosts[0], hosts[1]);
        let join = world.node(a).join(b).unwrap();
        world.expect("both are linked", secs(1), |world| world.linked(a, b));
        world.settle();
        let run = world.run(b);
        assert_eq!((world.ups(a, b), world.ups(b, a)), (1, 1));
        let joined =
            |event: &Event| matches!(event, Event::Joined { join: id, peer, .. } if *id == join && *peer == run);
        assert_eq!(world.count_events(a, joined), 1);
        assert_eq!(world.opened(a, b), 1);
    }
}

#[test]
fn s01_crossed_dials_leave_one_connection_the_same_at_both_ends() {
    for seed in 0..100 {
        let (mut world, hosts) = strangers(seed, 2);
        let (a, b) = (hosts[0], hosts[1]);
        world.node(a).join(b).unwrap();
        let lag = world.draw(8_000_000);
        world.run_for(std::time::Duration::from_nanos(lag));
        world.node(b).join(a).unwrap();
        world.expect("both are linked", secs(2), |world| world.linked(a, b));
        world.settle();
        assert!(world.linked(a, b));
        assert_eq!((world.ups(a, b), world.ups(b, a)), (1, 1), "seed {seed}");
        assert_eq!((world.downs(a, b), world.downs(b, a)), (0, 0), "seed {seed}");
        assert!(world.opened(a, b) <= 2, "seed {seed}: {}", world.opened(a, b));
    }
}

#[test]
fn s04_a_pair_that_loses_its_surviving_link_connects_again() {
    for seed in SEEDS {
        let (mut world, hosts) = strangers(seed, 2);
        let (a, b) = (hosts[0], hosts[1]);
        world.node(a).join(b).unwrap();
        world.node(b).join(a).unwrap();
        world.expect("both are linked", secs(2), |world| world.linked(a, b));
        for round in 1..4 {
            world.settle();
            assert_eq!(world.reset_connections(a, b), 2, "one connection");
            world.expect("they are linked again", secs(5), |world| world.linked(a, b));
            assert_eq!(world.downs(a, b), round);
        }
    }
}

#[test]
fn s12_nodes_that_start_at_once_with_one_seed_form_a_mesh() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        let first = world.add(config());
        let address = world.addr(first);
        let mut hosts = vec![first];
        for _ in 1..10 {
            hosts.push(world.add(config().seed(address.into())));
        }
        world.expect("a complete mesh", secs(20), World::is_complete);
        world.settle();
        assert!(world.is_mesh(&hosts));
        for (index, &a) in hosts.iter().enumerate() {
            for &b in &hosts[..index] {
                assert!(world.opened(a, b) <= 2, "seed {seed}: {a} and {b} had {}", world.opened(a, b));
            }
        }
    }
}

#[test]
fn s12_a_chain_of_seeds_forms_a_mesh() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        let mut hosts = vec![world.add(config())];
        for _ in 1..6 {
            let address = world.addr(*hosts.last().unwrap());
            hosts.push(world.add(config().seed(address.into())));
        }
        world.expect("a complete mesh", secs(20), |world| world.is_mesh(&hosts));
    }
}

#[test]
fn numbered_messages_arrive_in_order_and_once() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        for number in 1..=200 {
            assert_eq!(world.send_numbered(a, b, 64 + number as usize * 7), Ok(number));
            assert_eq!(world.send_numbered(b, a, 64), Ok(number));
        }
        world.expect("all arrive", secs(2), |world| world.numbered(b, a) == 200 && world.numbered(a, b) == 200);
    }
}

#[test]
fn equal_seeds_give_equal_traces() {
    let run = |seed| {
        let (mut world, hosts) = mesh(seed, 4);
        world.crash(hosts[1], cluster_sim::Crash::Power);
        world.run_for(secs(7));
        world.restart(hosts[1], Default::default());
        world.send_numbered(hosts[0], hosts[2], 100_000).unwrap();
        world.run_for(secs(40));
        assert!(world.is_complete());
        world.trace_hash()
    };
    let hashes: Vec<u64> = (0..6).map(run).collect();
    assert_eq!(hashes, (0..6).map(run).collect::<Vec<_>>());
    assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn s12_a_mesh_of_64_forms_with_few_connections_and_little_gossip() {
    let gossip = |count: usize| {
        let mut world = World::new(1);
        world.keep_lines(200);
        let first = world.add(config());
        let address = world.addr(first);
        let mut hosts = vec![first];
        for _ in 1..count {
            hosts.push(world.add(config().seed(address.into())));
        }
        world.expect("a complete mesh", secs(30), World::is_complete);
        world.settle();
        for (index, &a) in hosts.iter().enumerate() {
            for &b in &hosts[..index] {
                assert!(world.opened(a, b) <= 2, "{a} and {b} had {}", world.opened(a, b));
            }
        }
        assert!(world.dials().len() <= count * (count - 1), "{} dials", world.dials().len());
        hosts.iter().map(|&host| world.wire(host).gossip_bytes()).sum::<u64>()
    };
    let (small, large) = (gossip(16), gossip(64));
    // Four times the nodes: cubic growth would be 64 times the bytes.
    assert!(large < small * 40, "{small} bytes at 16 nodes, {large} at 64");
}
