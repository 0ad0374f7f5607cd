//! Links that carry little: no peer is lost while bytes move, and every byte is sent about once.

use cluster_core::{Config, Event, Limits, Reason};
use cluster_sim::{Buffers, FrameKind, HostId, World};

use crate::harness::*;
use crate::load::{KIB, MIB};

/// Two linked nodes with large buffers between them, and this config.
fn buffered(seed: u64, config: &Config) -> (World, HostId, HostId) {
    let mut world = World::new(seed);
    world.net_mut().set_buffers(Buffers { send: 4 * MIB, receive: 4 * MIB });
    let hosts = world.add_many(2, config);
    world.node(hosts[1]).join(hosts[0]).unwrap();
    world.expect("a complete mesh", secs(20), World::is_complete);
    world.settle();
    (world, hosts[0], hosts[1])
}

fn down_reasons(world: &World, host: HostId) -> Vec<Reason> {
    let reason = |event: &Event| if let Event::PeerDown { reason, .. } = event { Some(reason.clone()) } else { None };
    world.host(host).events().iter().filter_map(|logged| reason(&logged.event)).collect()
}

/// Sends a message over links of this many bytes a second, and demands that it arrives in about the time that takes.
fn cross(world: &mut World, from: HostId, to: HostId, rate: u64, length: usize) {
    let before = world.host(from).core().stats().bytes_sent;
    let number = world.node(from).send_numbered(to, length).unwrap();
    let span = secs(5 + length as u64 * 13 / 10 / rate);
    world.expect("it arrives", span, |world| world.host(to).numbered(from) == number);
    assert!(down_reasons(world, from).is_empty() && down_reasons(world, to).is_empty());
    let sent = world.host(from).core().stats().bytes_sent - before;
    assert!(sent <= length as u64 * 11 / 10, "{sent} bytes were sent for {length}");
}

#[test]
fn long_message_crosses_a_link_at_any_rate() {
    for (rate, length) in [(1_000, 30 * KIB), (8_000, 200 * KIB), (16_000, MIB), (125_000, 10 * MIB)] {
        for config in [config(), config().heartbeat(ms(100)).peer_timeout(secs(1))] {
            let (mut world, a, b) = buffered(rate, &config);
            world.net_mut().set_bandwidth(Some(rate));
            cross(&mut world, a, b, rate, length);
        }
    }
}

#[test]
fn message_crosses_a_link_that_was_fast_before() {
    for seed in SEEDS {
        let (mut world, a, b) = buffered(seed, &config());
        cross(&mut world, a, b, 10_000_000, 4 * MIB);
        world.net_mut().set_bandwidth(Some(20_000));
        cross(&mut world, a, b, 20_000, 500 * KIB);
    }
}

#[test]
fn link_that_becomes_slow_under_load_stays() {
    for seed in SEEDS {
        let (mut world, a, b) = buffered(seed, &config());
        world.net_mut().set_bandwidth(Some(4_000_000));
        let number = world.node(a).send_numbered(b, 4 * MIB).unwrap();
        world.run_for(ms(300 + 20 * seed));
        world.net_mut().set_bandwidth(Some(2_000 + 1_000 * seed));
        world.run_for(secs(120));
        assert!(down_reasons(&world, a).is_empty() && down_reasons(&world, b).is_empty(), "seed {seed}");
        world.net_mut().set_bandwidth(None);
        world.expect("it arrives", secs(10), |world| world.host(b).numbered(a) == number);
        assert_eq!(world.host(a).core().stats().links_up, 1, "seed {seed}");
    }
}

#[test]
fn both_directions_carry_long_messages_at_once() {
    for rate in [2_000_u64, 20_000] {
        let (mut world, a, b) = buffered(rate, &config());
        world.net_mut().set_bandwidth(Some(rate));
        let length = 20 * rate as usize;
        let numbers =
            [world.node(a).send_numbered(b, length).unwrap(), world.node(b).send_numbered(a, length).unwrap()];
        world
            .expect("both arrive", secs(40), |world| [world.host(b).numbered(a), world.host(a).numbered(b)] == numbers);
        assert!(down_reasons(&world, a).is_empty() && down_reasons(&world, b).is_empty());
    }
}

#[test]
fn peers_with_unequal_heartbeats_keep_a_slow_link() {
    let (fast, slow) = (config(), config().heartbeat(secs(30)).peer_timeout(secs(120)));
    for turn in [false, true] {
        let (mut world, hosts) = crate::load::mesh_of(3, &[fast.clone(), slow.clone()]);
        let (a, b) = if turn { (hosts[1], hosts[0]) } else { (hosts[0], hosts[1]) };
        world.net_mut().set_bandwidth(Some(4_000));
        cross(&mut world, a, b, 4_000, 200 * KIB);
    }
}

#[test]
fn probed_slow_link_stays() {
    let (mut world, a, b) = buffered(1, &config());
    world.net_mut().set_bandwidth(Some(2_000));
    let number = world.node(a).send_numbered(b, 100 * KIB).unwrap();
    for _ in 0..20 {
        world.run_for(secs(3));
        // A dial that meets a peer which is connected has its link probed.
        let address = world.host(b).addr();
        world.node(a).join(address).unwrap();
    }
    assert!(world.host(a).core().stats().probes > 0);
    world.expect("it arrives", secs(60), |world| world.host(b).numbered(a) == number);
    assert!(down_reasons(&world, a).is_empty() && down_reasons(&world, b).is_empty());
}

#[test]
fn little_is_sent_again_when_a_slow_link_breaks() {
    for seed in SEEDS {
        let (mut world, a, b) = buffered(seed, &config());
        world.net_mut().set_bandwidth(Some(10_000));
        let number = world.node(a).send_numbered(b, 300 * KIB).unwrap();
        for _ in 0..4 {
            world.run_for(secs(6));
            world.net_mut().reset_connections(a, b);
        }
        world.expect("it arrives", secs(60), |world| world.host(b).numbered(a) == number);
        let sent = world.host(a).core().stats().bytes_sent;
        assert!(sent <= 300 * KIB as u64 + 5 * 20_000, "seed {seed}: {sent}");
    }
}

#[test]
fn dead_peer_behind_a_slow_link_is_noticed_in_time() {
    for seed in SEEDS {
        let (mut world, a, b) = buffered(seed, &config());
        world.net_mut().set_bandwidth(Some(10_000));
        world.node(a).send_numbered(b, 300 * KIB).unwrap();
        world.run_for(secs(10));
        world.net_mut().cut(a, b);
        // Bytes on their way no longer arrive, so the silence begins with the cut.
        world.run_for(ms(6_500));
        assert_eq!((down_reasons(&world, a), down_reasons(&world, b)), (vec![Reason::Timeout], vec![Reason::Timeout]));
    }
}

#[test]
fn fast_link_carries_no_pings_for_its_data() {
    let (mut world, a, b) = pair(1);
    let pings =
        |world: &World| world.host(a).wire().frames(FrameKind::Ping) + world.host(b).wire().frames(FrameKind::Ping);
    let before = pings(&world);
    for _ in 0..100 {
        let number = world.node(a).send_numbered(b, 200 * KIB).unwrap();
        world.expect("it arrives", secs(1), |world| world.host(b).numbered(a) == number);
    }
    assert!(pings(&world) - before <= 4, "{}", pings(&world) - before);
}

/// A mesh whose first node has memory for one long message beyond the windows.
fn narrow_mesh(seed: u64, senders: usize) -> (World, HostId, Vec<HostId>) {
    let mut limits = Limits::default();
    (limits.max_peers, limits.initial_window, limits.recv_window) = (32, 1_024, 1_024);
    limits.max_message = 100_000;
    limits.recv_budget = 32 * 1_024 + 2 * 100_009;
    let config = config().limits(limits);
    let mut world = World::new(seed);
    let hosts = world.add_many(senders + 1, &config);
    for &host in &hosts[1..] {
        world.node(host).join(hosts[0]).unwrap();
    }
    world.expect("a complete mesh", secs(20), World::is_complete);
    world.settle();
    (world, hosts[0], hosts[1..].to_vec())
}

#[test]
fn slow_senders_do_not_keep_memory_from_others() {
    for seed in SEEDS {
        let (mut world, receiver, senders) = narrow_mesh(seed, 4);
        let (fast, slow) = senders.split_first().unwrap();
        let slow_numbers: Vec<u64> = slow
            .iter()
            .map(|&host| {
                world.net_mut().set_bandwidth_from(host, receiver, Some(2_000));
                world.node(host).send_numbered(receiver, 90_000).unwrap()
            })
            .collect();
        world.run_for(secs(5));
        assert!(world.host(receiver).core().stats().recv_budget_limit > 0, "seed {seed}: nobody waits");
        let number = world.node(*fast).send_numbered(receiver, 90_000).unwrap();
        world.expect("the fast one arrives", secs(40), |world| world.host(receiver).numbered(*fast) == number);
        // Where nobody waits any more, no rate is too low.
        for (&host, number) in slow.iter().zip(slow_numbers) {
            world.expect("the slow one arrives", secs(240), |world| world.host(receiver).numbered(host) == number);
        }
    }
}
