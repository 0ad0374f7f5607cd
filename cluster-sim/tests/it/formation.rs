//! How a mesh comes about: scenarios S01 to S13.

use std::time::Duration;

use cluster_core::{Config, Event, Instant, JoinError, Reason, Target};
use cluster_sim::{Block, Fate, HostId, Latency, Restart, Spec, World};

use crate::harness::*;

#[test]
fn a_join_connects_two_nodes_and_says_so_once() {
    for seed in SEEDS {
        let (mut world, hosts) = strangers(seed, 2);
        let (a, b) = (hosts[0], hosts[1]);
        let join = world.node(a).join(b).unwrap();
        world.expect("both are linked", secs(1), |world| world.linked(a, b));
        world.settle();
        let run = world.host(b).run();
        assert_eq!((world.host(a).ups(b), world.host(b).ups(a)), (1, 1));
        let joined =
            |event: &Event| matches!(event, Event::Joined { join: id, peer, .. } if *id == join && *peer == run);
        assert_eq!(world.host(a).count_events(joined), 1);
        assert_eq!(world.net().opened(a, b), 1);
    }
}

/// Everything a pair says to each other while its links settle: sends whenever it can, and afterwards every message is
/// accounted for.
fn talk(world: &mut World, a: HostId, b: HostId, span: u64) -> [u64; 2] {
    let mut sent = [0, 0];
    for _ in 0..span * 4 {
        for (index, (from, to)) in [(a, b), (b, a)].into_iter().enumerate() {
            if world.host(from).sees(to) {
                sent[index] = world.node(from).send_numbered(to, 64).unwrap();
            }
        }
        world.run_for(Duration::from_micros(250));
    }
    sent
}

/// How many messages `host` was told of that did not arrive at `peer`, or perhaps not.
fn undelivered(world: &World, host: HostId, peer: HostId) -> u64 {
    let run = world.host(peer).run();
    let count = |event: &Event| match event {
        Event::Undelivered(undelivered) if undelivered.peer == run => undelivered.len() as u64,
        _ => 0,
    };
    world.host(host).events().iter().map(|logged| count(&logged.event)).sum()
}

#[test]
fn s01_crossed_dials_leave_one_connection_the_same_at_both_ends() {
    let mut crossed = 0;
    for seed in 0..100 {
        let (mut world, hosts) = strangers(seed, 2);
        let (a, b) = (hosts[0], hosts[1]);
        world.node(a).join(b).unwrap();
        let lag = world.draw(8_000_000);
        world.run_for(Duration::from_nanos(lag));
        world.node(b).join(a).unwrap();
        world.expect("both are linked", secs(2), |world| world.linked(a, b));
        world.settle();
        assert!(world.linked(a, b));
        assert_eq!((world.host(a).ups(b), world.host(b).ups(a)), (1, 1), "seed {seed}");
        assert_eq!((world.host(a).downs(b), world.host(b).downs(a)), (0, 0), "seed {seed}");
        assert!(world.net().opened(a, b) <= 2, "seed {seed}: {}", world.net().opened(a, b));
        assert!(world.net().dials().len() <= 2, "seed {seed}: a dial was repeated");
        crossed += usize::from(world.net().opened(a, b) == 2);
    }
    assert!(crossed >= 20, "the dials crossed only {crossed} times");
}

#[test]
fn s01_what_is_sent_while_links_of_a_pair_compete_arrives_or_is_reported() {
    for seed in 0..100 {
        let (mut world, hosts) = strangers(seed, 2);
        let (a, b) = (hosts[0], hosts[1]);
        world.net_mut().set_latency(Latency::Uniform { base: ms(1), jitter: ms(2) });
        world.node(a).join(b).unwrap();
        let lag = world.draw(12_000_000);
        world.run_for(Duration::from_nanos(lag));
        world.node(b).join(a).unwrap();
        let sent = talk(&mut world, a, b, 40);
        assert!(sent[0] > 0 && sent[1] > 0, "seed {seed}: {sent:?}");
        world.settle();
        for ((from, to), sent) in [(a, b), (b, a)].into_iter().zip(sent) {
            let arrived = world.host(to).numbered(from);
            assert!(arrived <= sent, "seed {seed}");
            assert!(arrived + undelivered(&world, from, to) >= sent, "seed {seed}: {arrived} of {sent}");
        }
    }
}

#[test]
fn s02_several_ways_to_one_peer_leave_one_link_and_cause_no_dial_later() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let b = world.add(config());
        let inner = world.host(b).addr();
        let ways = ["10.0.50.1:9000", "10.0.50.2:9000"].map(|public| world.net_mut().forward(public, inner));
        world.net_mut().set_name("b.example", &["10.0.0.1"]);
        let direct = world.host(b).addr();
        let a = world.add(
            ways.into_iter()
                .fold(config().seed(direct.into()), |config, way| config.seed(way.into()))
                .seed("b.example:7000".parse().unwrap()),
        );
        world.node(a).join(ways[0]).unwrap();
        world.expect("both are linked", secs(2), |world| world.linked(a, b));
        world.settle();
        assert!(world.linked(a, b));
        assert_eq!(world.net().opened(a, b), 3, "seed {seed}: one connection for each address");
        let duplicates = world.host(a).closes().iter().filter(|closed| closed.reason == Reason::Duplicate).count();
        assert_eq!(duplicates, 2, "seed {seed}: {:?}", world.host(a).closes());
        assert_eq!((world.host(a).ups(b), world.host(b).ups(a)), (1, 1), "seed {seed}");
        assert_eq!((world.host(a).downs(b), world.host(b).downs(a)), (0, 0), "seed {seed}");
        let joined = |event: &Event| matches!(event, Event::Joined { .. });
        assert_eq!(world.host(a).count_events(joined), 1, "seed {seed}");
        let link = world.host(a).links()[0].connection;
        let settled = world.now();
        world.run_for(secs(300));
        assert_eq!(world.host(a).dials_since(settled) + world.host(b).dials_since(settled), 0, "seed {seed}");
        assert_eq!(world.host(a).links()[0].connection, link, "seed {seed}");
    }
}

#[test]
fn two_addresses_dialled_by_one_side_while_the_other_dials_too_leave_one_link() {
    for seed in 0..60 {
        let (mut world, hosts) = strangers(seed, 2);
        let (a, b) = (hosts[0], hosts[1]);
        world.net_mut().set_latency(Latency::Uniform { base: ms(1), jitter: ms(3) });
        let inner = world.host(b).addr();
        let way = world.net_mut().forward("10.0.50.1:9000", inner);
        for step in 0..3 {
            match (step + seed) % 3 {
                0 => drop(world.node(a).join(b).unwrap()),
                1 => drop(world.node(a).join(way).unwrap()),
                _ => drop(world.node(b).join(a).unwrap()),
            }
            let lag = world.draw(6_000_000);
            world.run_for(Duration::from_nanos(lag));
        }
        world.expect("both are linked", secs(2), |world| world.linked(a, b));
        world.settle();
        assert!(world.linked(a, b));
        assert!(
            world.net().dials().len() <= 3 && world.net().opened(a, b) <= 3,
            "seed {seed}: {:?}",
            world.net().dials()
        );
        assert_eq!((world.host(a).ups(b), world.host(b).ups(a)), (1, 1), "seed {seed}");
        for host in [a, b] {
            let asked = world.host(host).count_events(|event| matches!(event, Event::Joined { .. }));
            assert_eq!(asked, if host == a { 2 } else { 1 }, "seed {seed}: each join has its outcome");
            assert_eq!(world.host(host).count_events(|event| matches!(event, Event::JoinFailed { .. })), 0);
        }
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
            let before = world.net().opened(a, b);
            assert_eq!(world.net_mut().reset_connections(a, b), 2, "one connection");
            world.expect("they are linked again", secs(5), |world| world.linked(a, b));
            assert_eq!((world.host(a).downs(b), world.host(b).downs(a)), (round, round));
            assert_eq!((world.host(a).ups(b), world.host(b).ups(a)), (round + 1, round + 1));
            world.settle();
            assert!(
                world.net().opened(a, b) <= before + 2,
                "seed {seed}: {} connections",
                world.net().opened(a, b) - before
            );
        }
    }
}

#[test]
fn s04_whoever_can_still_dial_connects_the_pair_again_whichever_link_survived() {
    for seed in SEEDS {
        for (blocked, how) in [(0, Block::Refuse), (1, Block::Refuse), (0, Block::Drop), (1, Block::Drop)] {
            let (mut world, hosts) = strangers(seed, 2);
            let (a, b) = (hosts[0], hosts[1]);
            world.node(a).join(b).unwrap();
            let lag = world.draw(8_000_000);
            world.run_for(Duration::from_nanos(lag));
            world.node(b).join(a).unwrap();
            world.expect("both are linked", secs(2), |world| world.linked(a, b));
            world.settle();
            world.net_mut().block_dials(hosts[blocked], hosts[1 - blocked], how);
            world.net_mut().reset_connections(a, b);
            world.expect("they are linked again", secs(5), |world| world.linked(a, b));
        }
    }
}

#[test]
fn s04_only_one_of_the_two_ever_knew_an_address_and_it_keeps_the_duty() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let (a, b) = (world.add(Spec::new(config()).deaf()), world.add(config()));
        world.node(a).join(b).unwrap();
        world.expect("both are linked", secs(2), |world| world.linked(a, b));
        for _ in 0..3 {
            world.settle();
            world.net_mut().reset_connections(a, b);
            world.expect("they are linked again", secs(5), |world| world.linked(a, b));
        }
        assert_eq!(world.host(b).dials_since(Instant::ZERO), 0, "seed {seed}: nobody listens at the other");
    }
}

/// All start at once; the node with number i has the seed that `seed_of` says. Checks what forming may cost, and returns
/// the bytes of peer exchange that all have sent.
fn form(seed: u64, count: usize, seed_of: impl Fn(usize) -> usize) -> u64 {
    let mut world = World::new(seed);
    world.keep_lines(200);
    let mut hosts = vec![world.add(config())];
    for index in 1..count {
        let address = world.host(hosts[seed_of(index)]).addr();
        hosts.push(world.add(config().seed(address.into())));
    }
    world.expect("a complete mesh", secs(20), World::is_complete);
    world.settle();
    assert!(world.is_mesh(&hosts));
    for (index, &a) in hosts.iter().enumerate() {
        for &b in &hosts[..index] {
            assert!(world.net().opened(a, b) <= 2, "seed {seed}: {a} and {b} had {}", world.net().opened(a, b));
            assert_eq!((world.host(a).ups(b), world.host(b).ups(a)), (1, 1), "seed {seed}: {a} and {b}");
            assert_eq!((world.host(a).downs(b), world.host(b).downs(a)), (0, 0), "seed {seed}: {a} and {b}");
        }
    }
    let dials = world.net().dials().len();
    assert!(dials <= count * (count - 1), "seed {seed}: {dials} dials for {count} nodes");
    let settled = world.now();
    world.run_for(secs(65));
    for &host in &hosts {
        assert_eq!(world.host(host).dials_since(settled), 0, "seed {seed}: {host} dials in a mesh that is complete");
    }
    hosts.iter().map(|&host| world.host(host).wire().gossip_bytes()).sum()
}

/// Growth of the bytes from one count to its double; cubic growth is 8.
fn growth(bytes: &[u64]) -> Vec<f64> {
    bytes.windows(2).map(|pair| pair[1] as f64 / pair[0] as f64).collect()
}

#[test]
fn s12_nodes_that_start_at_once_with_one_seed_form_a_mesh_at_less_than_cubic_cost() {
    for seed in 0..3 {
        form(seed, 2, |_| 0);
        form(seed, 5, |_| 0);
    }
    let bytes = [8, 16, 32, 64].map(|count| form(1, count, |_| 0));
    assert!(growth(&bytes).iter().all(|factor| *factor < 6.0), "{bytes:?}");
}

#[test]
fn s12_a_chain_of_seeds_forms_a_mesh_at_less_than_cubic_cost() {
    for seed in 0..5 {
        form(seed, 4, |index| index - 1);
        form(seed, 7, |index| index - 1);
    }
    let bytes = [8, 16, 32, 64].map(|count| form(1, count, |index| index - 1));
    assert!(growth(&bytes).iter().all(|factor| *factor < 6.0), "{bytes:?}");
}

#[test]
fn s12_seeds_that_all_name_each_other_form_a_mesh() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let all = (1..=4).map(|last| format!("10.0.0.{last}:7000").parse::<Target>().unwrap());
        let config = all.fold(config(), Config::seed);
        let hosts = world.add_many(4, &config);
        world.expect("a complete mesh", secs(5), World::is_complete);
        world.settle();
        for (index, &a) in hosts.iter().enumerate() {
            for &b in &hosts[..index] {
                assert!(world.net().opened(a, b) <= 2, "seed {seed}");
                assert_eq!((world.host(a).downs(b), world.host(a).ups(b)), (0, 1), "seed {seed}");
            }
            assert_eq!(
                world.net().dials_to(world.host(a).addr(), Instant::ZERO),
                3,
                "seed {seed}: once each, never by itself"
            );
        }
    }
}

#[test]
fn s13_a_node_whose_seed_is_down_starts_and_joins_when_it_appears() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let down = world.add(Spec::new(config()).stopped());
        let address = world.host(down).addr();
        let fate = [None, Some(Fate::Refuse), Some(Fate::Unreachable)][(seed % 3) as usize];
        world.net_mut().set_fate(address, fate);
        let a = world.add(config().seed(address.into()));
        world.run_for(secs(120));
        assert!(
            world.host(a).is_running() && world.host(a).events().is_empty(),
            "seed {seed}: {:?}",
            world.host(a).events()
        );
        let dials = world.net().dials_to(address, Instant::ZERO);
        assert!((4..40).contains(&dials), "seed {seed}: {dials} dials in two minutes");
        world.net_mut().set_fate(address, None);
        world.host_mut(down).restart(Restart::default());
        world.expect("it has joined", secs(40), |world| world.linked(a, down));
    }
}

#[test]
fn s13_a_seed_whose_name_fails_or_leads_back_is_looked_up_until_it_leads_elsewhere() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let (a, b) = (world.add(config()), world.add(config()));
        world.node(a).add_seed("seed.example:7000").unwrap();
        world.node(a).join("seed.example:7000").unwrap();
        world.run_for(secs(60));
        let unresolved = |event: &Event| matches!(event, Event::JoinFailed { error: JoinError::Unresolved(_), .. });
        assert_eq!(world.host(a).count_events(unresolved), 1, "seed {seed}: {:?}", world.host(a).events());
        world.net_mut().set_name("seed.example", &["10.0.0.1"]);
        world.run_for(secs(60));
        assert_eq!(world.net().dials().len(), 0, "seed {seed}: nobody dials itself");
        assert_eq!(world.host(a).events().len(), 1, "seed {seed}: {:?}", world.host(a).events());
        world.net_mut().set_name("seed.example", &["10.0.0.1", "10.0.0.2"]);
        world.expect("it has joined", secs(40), |world| world.linked(a, b));
        assert_eq!(world.net().dials().len(), 1, "seed {seed}");
    }
}

#[test]
fn s31_nodes_that_only_one_side_can_dial_are_full_members_all_the_same() {
    for seed in SEEDS {
        for how in [Block::Drop, Block::Refuse] {
            // c leads everyone together; a can dial b, b cannot dial a. Who joins last does not matter.
            for late in [0, 1] {
                let (mut world, hosts) = strangers(seed, 3);
                let (a, b, c) = (hosts[0], hosts[1], hosts[2]);
                world.net_mut().block_dials(b, a, how);
                world.node(hosts[1 - late]).join(c).unwrap();
                world.run_for(secs(3));
                world.node(hosts[late]).join(c).unwrap();
                world.expect("a complete mesh", secs(10), World::is_complete);
                world.settle();
                assert!(
                    world.host(a).links().iter().any(|link| link.peer == Some(world.host(b).run()) && link.outbound)
                );
                assert_eq!((world.host(a).ups(b), world.host(a).downs(b)), (1, 0), "seed {seed}");
                world.node(b).send_numbered(a, 1_000).unwrap();
                world.expect("it is heard", secs(1), |world| world.host(a).numbered(b) == 1);
                world.net_mut().reset_connections(a, b);
                world.expect("they are linked again", secs(10), |world| world.linked(a, b));
            }
        }
    }
}

#[test]
fn numbered_messages_arrive_in_order_and_once() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        for number in 1..=200 {
            assert_eq!(world.node(a).send_numbered(b, 64 + number as usize * 7), Ok(number));
            assert_eq!(world.node(b).send_numbered(a, 64), Ok(number));
        }
        world.expect("all arrive", secs(2), |world| {
            world.host(b).numbered(a) == 200 && world.host(a).numbered(b) == 200
        });
    }
}

#[test]
fn equal_seeds_give_equal_traces() {
    let run = |seed| {
        let (mut world, hosts) = mesh(seed, 4);
        world.host_mut(hosts[1]).crash(cluster_sim::Crash::Power);
        world.run_for(secs(7));
        world.host_mut(hosts[1]).restart(Default::default());
        world.node(hosts[0]).send_numbered(hosts[2], 100_000).unwrap();
        world.run_for(secs(40));
        assert!(world.is_complete());
        world.trace_hash()
    };
    let hashes: Vec<u64> = (0..6).map(run).collect();
    assert_eq!(hashes, (0..6).map(run).collect::<Vec<_>>());
    assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]));
}
