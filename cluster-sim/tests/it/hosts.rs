//! What can be done to hosts: clones, clocks that drift, ticks that come late, long pauses, odd consumers, new addresses.

use std::time::Duration;

use cluster_core::{Event, Instant, Limits};
use cluster_sim::{Crash, FrameKind, Spec, Twin, World};

use crate::harness::*;

fn told_of_clone(event: &Event) -> bool {
    matches!(event, Event::DuplicateIdentity { .. })
}

#[test]
fn a_clone_has_the_id_of_another_and_its_run_or_a_later_one() {
    for twin in [Twin::SameRun, Twin::LaterRun] {
        let (mut world, hosts) = mesh(1, 3);
        let clone = world.add_clone(hosts[0], twin);
        assert_eq!(world.host(clone).id(), world.host(hosts[0]).id());
        assert_eq!(world.host(clone).run() == world.host(hosts[0]).run(), twin == Twin::SameRun);
        assert_ne!(world.host(clone).addr(), world.host(hosts[0]).addr());
        world.node(clone).join(hosts[1]).unwrap();
        world.run_for(secs(30));
        let knows = world.host(clone).count_events(told_of_clone) > 0;
        match twin {
            // It cannot be told from the first one that dials again: the two take turns. Nobody else suffers.
            Twin::SameRun => {
                assert!(!knows && world.linked(hosts[1], hosts[2]) && world.host(hosts[1]).downs(hosts[2]) == 0);
            }
            Twin::LaterRun => assert!(knows && world.is_mesh(&hosts), "those who were there first stay together"),
        }
    }
}

#[test]
fn late_ticks_come_late_and_none_is_lost() {
    let (mut world, a, b) = pair(2);
    // The other one leaves it to the one whose ticks are late.
    world.node(b).set_config(config().heartbeat(secs(20)).peer_timeout(secs(60))).unwrap();
    world.host_mut(a).set_late(ms(900));
    let pings = |world: &World| world.host(a).wire().frames(FrameKind::Ping);
    let before = pings(&world);
    world.run_for(secs(120));
    let late = pings(&world) - before;
    world.host_mut(a).set_late(Duration::ZERO);
    let before = pings(&world);
    world.run_for(secs(120));
    let well = pings(&world) - before;
    assert!(late > 20 && late < well, "{late} late, {well} well");
    assert_eq!(world.host(a).downs(b) + world.host(b).downs(a), 0);
}

#[test]
fn a_clock_that_drifts_makes_deadlines_come_earlier_or_later_by_that_much() {
    for (ppm, expected) in [(-200_000, ms(6_250)), (0, secs(5)), (250_000, secs(4))] {
        let (mut world, a, b) = pair(3);
        world.host_mut(a).set_drift(ppm);
        world.run_for(secs(10));
        let cut = world.now();
        world.net_mut().cut(a, b);
        world.expect("silence is noticed", secs(9), |world| world.host(a).downs(b) == 1);
        let span = world.now() - cut;
        assert!(span < expected + ms(100) && span + ms(1_500) > expected, "{ppm} ppm: {span:?}");
    }
}

#[test]
fn a_drift_of_a_hundred_millionths_for_a_day_harms_nobody() {
    let (mut world, hosts) = mesh(4, 3);
    world.host_mut(hosts[0]).set_drift(100);
    world.host_mut(hosts[1]).set_drift(-100);
    world.run_for(secs(86_400));
    assert!(world.is_mesh(&hosts));
    assert!(
        hosts.iter().all(|&host| world.host(host).count_events(|event| matches!(event, Event::PeerDown { .. })) == 0)
    );
}

#[test]
fn a_process_that_is_paused_for_long_is_lost_and_comes_back_by_itself() {
    for span in [ms(10), secs(3), secs(1_800)] {
        let (mut world, a, b) = pair(5);
        let resumes = world.now() + span;
        world.host_mut(b).pause_for(span);
        world.run_for(span);
        assert_eq!(world.now(), resumes);
        assert_eq!(world.host(a).downs(b), usize::from(span > secs(5)), "{span:?}");
        world.expect("linked again", secs(35), |world| world.linked(a, b));
        assert!(world.host(b).can_act());
    }
}

#[test]
fn a_pause_that_was_ended_by_hand_does_not_end_the_next_one() {
    let (mut world, _, b) = pair(6);
    world.host_mut(b).pause_for(secs(10));
    world.host_mut(b).resume();
    world.host_mut(b).pause();
    world.run_for(secs(20));
    assert!(!world.host(b).can_act());
}

#[test]
fn a_user_may_take_messages_in_bursts_and_none_is_lost() {
    let (mut world, a, b) = pair(7);
    for _ in 0..95 {
        world.node(a).send_numbered(b, 64).unwrap();
    }
    world.run_for(ms(10));
    assert_eq!(world.host(b).taken(), 95);
    world.host_mut(b).consume_in_bursts(10, ms(500));
    for _ in 0..95 {
        world.node(a).send_numbered(b, 64).unwrap();
    }
    world.run_for(ms(499));
    assert_eq!(world.host(b).taken(), 95 + 10, "of the burst that had begun");
    world.run_for(secs(2));
    assert_eq!(world.host(b).taken(), 95 + 50);
    world.run_for(secs(5));
    assert_eq!(world.host(b).taken(), 190);
    world.host_mut(b).set_consuming(true);
    world.node(a).send_numbered(b, 64).unwrap();
    world.expect("it is taken at once", ms(5), |world| world.host(b).taken() == 191);
}

#[test]
fn a_slow_user_slows_its_senders_and_is_not_lost() {
    let (mut world, a, b) = pair(8);
    world.host_mut(b).consume_in_bursts(1, ms(100));
    let mut refused = 0;
    for _ in 0..600 {
        refused += usize::from(world.node(a).send_numbered(b, 100_000).is_err());
        world.run_for(ms(50));
    }
    assert!(refused > 100, "{refused}");
    assert_eq!(world.host(a).downs(b) + world.host(b).downs(a), 0);
}

#[test]
fn acknowledgements_come_at_most_once_per_quarter_of_a_window_20_ms_or_outgoing_record() {
    let mut limits = Limits::default();
    limits.initial_window = 16 << 10;
    limits.recv_window = 16 << 10;
    for (length, every) in [(64, 1), (1_000, 1), (64, 10), (8_000, 5)] {
        let (mut world, hosts) = mesh_of(12, 2, &config().limits(limits.clone()));
        let (a, b) = (hosts[0], hosts[1]);
        world.host_mut(b).consume_in_bursts(1, ms(every));
        let before = world.host(b).wire().clone();
        for _ in 0..1_000 {
            // As many as there is room for, so that there is always something to take.
            while world.node(a).send_numbered(b, length).is_ok() {}
            world.run_for(ms(10));
        }
        let frames = |kind| world.host(b).wire().frames(kind) - before.frames(kind);
        let others: u64 = FrameKind::ALL.into_iter().filter(|&kind| kind != FrameKind::Ack).map(frames).sum();
        let bytes = world.host(b).taken() * (length as u64 + 9);
        let most = 10_000 / 20 + bytes / (limits.recv_window / 4) + others + 1;
        assert!(world.host(b).taken() * every > 9_500, "{} of {length} bytes were taken", world.host(b).taken());
        let acks = frames(FrameKind::Ack);
        assert!(
            (1..=most).contains(&acks),
            "{acks} for {} messages of {length} bytes, {most} at most",
            world.host(b).taken()
        );
    }
}

#[test]
fn a_host_that_gets_another_address_keeps_its_connections_and_is_dialled_there() {
    let mut world = World::new(9);
    let a = world.add(config());
    let b = world.add(Spec::new(config()).unspecified());
    world.node(b).join(a).unwrap();
    world.expect("linked", secs(1), |world| world.linked(a, b));
    let before = world.host(b).addr();
    world.host_mut(b).change_address("10.0.77.7");
    assert_eq!(world.host(b).addr(), "10.0.77.7:7000".parse().unwrap());
    world.node(a).send_numbered(b, 64).unwrap();
    world.expect("it arrives", ms(5), |world| world.host(b).numbered(a) == 1);
    world.net_mut().sever_connections(a, b);
    world.expect("linked again", secs(20), |world| world.host(a).downs(b) == 1 && world.linked(a, b));
    assert_eq!(world.host(a).links()[0].remote.ip(), "10.0.77.7".parse::<std::net::IpAddr>().unwrap());
    let c = world.add(config());
    world.node(c).join(before).unwrap();
    world.run_for(secs(6));
    assert!(!world.host(c).sees(b), "nobody is at the old address");
    world.node(c).join(b).unwrap();
    world.expect("linked", secs(6), |world| world.linked(c, b));
}

#[test]
fn a_node_bound_to_an_address_that_its_host_lost_hears_nothing_there() {
    let mut world = World::new(10);
    let (a, b) = (world.add(config()), world.add(config()));
    world.host_mut(b).change_address("10.0.77.7");
    world.node(a).join(b).unwrap();
    world.run_for(secs(6));
    assert!(!world.host(a).sees(b));
    world.node(b).join(a).unwrap();
    world.expect("it can still dial", secs(6), |world| world.linked(a, b));
}

#[test]
fn those_that_are_lost_can_be_forgotten_at_once() {
    let (mut world, hosts) = mesh(11, 3);
    world.host_mut(hosts[2]).crash(Crash::Power);
    world.expect("it is lost", secs(8), |world| world.host(hosts[0]).downs(hosts[2]) == 1);
    world.run_for(secs(60));
    world.node(hosts[0]).forget_lost();
    assert_eq!((world.node(hosts[0]).peers().len(), world.node(hosts[1]).peers().len()), (1, 2));
    let since: Instant = world.now();
    world.run_for(secs(120));
    assert_eq!(world.host(hosts[0]).dials_since(since), 0);
    assert!(world.host(hosts[1]).dials_since(since) > 0);
}
