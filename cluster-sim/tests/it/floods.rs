//! Floods of connections: scenario S07, and what of S48 takes long or comes often.

use cluster_core::{Event, Limits, Stats};
use cluster_sim::{Block, World};

use crate::hand::*;
use crate::harness::*;

#[test]
fn s48_a_byte_per_second_does_not_move_the_deadline() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2);
        let before = told(&world, &hosts);
        let to = world.host(hosts[0]).addr();
        let begin = world.now();
        let conn = world.net_mut().raw_dial("10.0.9.1", to);
        let mut honest = Hand::dial(&mut world, "10.0.9.2", to, run(7));
        honest.left = 0;
        honest.shake(&mut world);
        for &byte in PREAMBLE {
            world.raw(conn).write([byte]);
            world.run_for(secs(1));
            if world.now() - begin < secs(5) {
                assert_eq!(strays(&world, hosts[0]), 2);
            } else if world.now() - begin > ms(5_010) {
                assert_eq!(strays(&world, hosts[0]), 0, "seed {seed}, after {:?}", world.now() - begin);
            }
        }
        assert_eq!(told(&world, &hosts), before);
        notices_are_rare(&world, hosts[0]);
    }
}

#[test]
fn s48_one_source_gets_one_line_per_interval_however_often_it_comes() {
    for seed in 0..5 {
        let (mut world, hosts) = mesh(seed, 2);
        let to = world.host(hosts[0]).addr();
        let begin = world.now();
        for _ in 0..250 {
            let conn = world.net_mut().raw_dial("10.0.9.1", to);
            world.run_for(ms(4));
            world.raw(conn).write(b"GET / HTTP/1.1\r\n\r\n");
            world.run_for(ms(100));
        }
        let span = (world.now() - begin).as_secs() as usize;
        let notices = world.host(hosts[0]).notices();
        assert!((2..=span / 10 + 1).contains(&notices.len()), "{} in {span} s", notices.len());
        assert!(notices.iter().skip(1).all(|noticed| noticed.notice.suppressed > 50));
        assert!(world.node(hosts[0]).stats().notices_suppressed > 200);
        notices_are_rare(&world, hosts[0]);
        assert!(world.is_complete());
    }
}

#[test]
fn s07_honest_nodes_join_during_a_flood_of_ten_thousand_silent_sockets() {
    for seed in 0..2 {
        let (mut world, mut hosts) = mesh(seed, 3);
        world.keep_lines(50);
        let before = told(&world, &hosts);
        let to = world.host(hosts[0]).addr();
        let mut newcomer = None;
        for number in 0..10_000_u32 {
            let source = number % 2_500;
            world.net_mut().raw_dial(&format!("10.7.{}.{}", source / 250, source % 250 + 1), to);
            world.run_for(ms(1));
            let silent = world.host(hosts[0]).core().usage().silent_links;
            assert!(silent <= Limits::default().max_pending, "seed {seed}: {silent}");
            if number == 4_000 {
                assert_eq!(silent, Limits::default().max_pending, "the flood fills every place");
                assert_eq!(told(&world, &hosts), before, "seed {seed}");
                let host = world.add(config());
                world.node(host).join(to).unwrap();
                newcomer = Some((host, world.now()));
            }
            if let Some((host, since)) = newcomer
                && world.host(host).core().peers().count() == 3
                && hosts.len() == 3
            {
                assert!(world.now() - since < secs(4), "seed {seed}");
                hosts.push(host);
            }
        }
        assert_eq!(hosts.len(), 4, "seed {seed}: the newcomer joined during the flood");
        world.run_for(ms(5_010));
        assert!(world.is_mesh(&hosts), "seed {seed}");
        assert_eq!(strays(&world, hosts[0]), 0, "the places are free again");
        assert!(world.node(hosts[0]).stats().pending_limit > 5_000);
        notices_are_rare(&world, hosts[0]);
        for &host in &hosts {
            assert_eq!(world.host(host).count_events(|event| matches!(event, Event::PeerDown { .. })), 0);
        }
    }
}

#[test]
fn s07_one_address_holds_no_more_than_its_share_of_places() {
    for seed in SEEDS {
        let mut limits = Limits::default();
        limits.max_pending_per_ip = 8;
        let (mut world, hosts) = mesh_of(seed, 2, &config().limits(limits));
        let to = world.host(hosts[0]).addr();
        for _ in 0..100 {
            world.net_mut().raw_dial("10.0.9.1", to);
        }
        world.run_for(ms(10));
        // The oldest make room: the address keeps its share, and none of its connections is refused.
        assert_eq!((strays(&world, hosts[0]), world.host(hosts[0]).refused()), (8, 0), "seed {seed}");
        assert_eq!(world.node(hosts[0]).stats().per_ip_limit, 92);
        assert_eq!(world.host(hosts[0]).notices().len(), 1);
        world.run_for(ms(5_010));
        assert_eq!(strays(&world, hosts[0]), 0);
    }
}

#[test]
fn s07_addresses_get_any_rate_while_there_is_enough() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2);
        let to = world.host(hosts[0]).addr();
        let before = world.host(hosts[0]).core().stats().accepts;
        // Two addresses, of which each connects and goes, 250 times a second.
        for _ in 0..1_250 {
            for ip in ["10.0.9.1", "10.0.9.2"] {
                let conn = world.net_mut().raw_dial(ip, to);
                world.run_for(ms(2));
                world.raw(conn).reset();
            }
        }
        let stats = world.host(hosts[0]).core().stats();
        assert_eq!((stats.accepts - before, stats.accept_limit_per_ip, stats.accept_limit), (2_500, 0, 0));
        assert!(world.is_complete(), "seed {seed}");
    }
}

#[test]
fn s07_crowded_addresses_get_their_rate_and_others_theirs() {
    for seed in SEEDS {
        let mut limits = Limits::default();
        (limits.accept_burst, limits.accept_interval) = (40, ms(5));
        let (mut world, hosts) = mesh_of(seed, 2, &config().limits(limits));
        let to = world.host(hosts[0]).addr();
        let before = world.host(hosts[0]).core().stats().accepts;
        // Two addresses, 250 times a second each, where the node admits 200 in all; and one that comes ten times a second.
        for number in 0..1_250 {
            for ip in ["10.0.9.1", "10.0.9.2"] {
                let conn = world.net_mut().raw_dial(ip, to);
                world.run_for(ms(2));
                world.raw(conn).reset();
            }
            if number % 25 == 0 {
                let admitted = world.host(hosts[0]).core().stats().accepts;
                let conn = world.net_mut().raw_dial("10.0.9.3", to);
                world.run_for(ms(4));
                assert_eq!(
                    world.host(hosts[0]).core().stats().accepts,
                    admitted + 1,
                    "seed {seed}: no other takes its place"
                );
                world.raw(conn).reset();
            }
        }
        // 200 a second in 5.2 seconds, and half of the burst.
        let stats = world.node(hosts[0]).stats();
        let count = stats.accepts - before;
        assert!((1_000..=1_100).contains(&count), "seed {seed}: {count}");
        assert!(stats.accept_limit_per_ip > 1_300 && stats.accept_limit == 0, "seed {seed}: {stats:?}");
        assert_eq!(world.host(hosts[0]).notices().len(), 3, "seed {seed}: one for each");
        assert!(world.is_complete(), "seed {seed}");
    }
}

#[test]
fn s07_a_flood_of_ten_minutes_keeps_no_lost_peer_out() {
    // With what is usual all of the thousand that come each second are let in, and else 200 of them.
    let mut few = Limits::default();
    (few.accept_burst, few.accept_interval) = (200, ms(5));
    ten_minutes_of_flood(Limits::default(), |stats| stats.accepts > 599_000 && stats.accept_limit == 0);
    ten_minutes_of_flood(few, |stats| stats.accepts <= 600 * 200 + 200 + 100 && stats.accept_limit > 450_000);
}

fn ten_minutes_of_flood(limits: Limits, are_right: impl Fn(&Stats) -> bool) {
    let (mut world, hosts) = mesh_of(1, 3, &config().limits(limits));
    world.keep_lines(50);
    let to = world.host(hosts[0]).addr();
    let flood = |world: &mut World, seconds: u32| {
        for number in 0..seconds * 1_000 {
            let source = number % 5_000;
            world.net_mut().raw_dial(&format!("10.7.{}.{}", source / 250, source % 250 + 1), to);
            world.run_for(ms(1));
        }
    };
    // Only the one that is lost can dial the one that is being flooded.
    world.net_mut().block_dials(hosts[0], hosts[2], Block::Refuse);
    for round in 0..5 {
        world.net_mut().isolate(hosts[2]);
        flood(&mut world, 20);
        assert!(world.linked(hosts[0], hosts[1]) && !world.linked(hosts[0], hosts[2]));
        world.net_mut().heal(hosts[0], hosts[2]);
        world.net_mut().heal(hosts[1], hosts[2]);
        flood(&mut world, 100);
        assert!(world.is_complete(), "round {round}: it is back");
    }
    assert_eq!((world.host(hosts[0]).downs(hosts[1]), world.host(hosts[0]).downs(hosts[2])), (0, 5));
    let stats = world.node(hosts[0]).stats();
    assert!(are_right(&stats), "{stats:?}");
    notices_are_rare(&world, hosts[0]);
}
