//! The network as the simulator has it, byte by byte and dial by dial: what each of its faults does, and that what is
//! over takes no room.

use std::time::Duration;

use cluster_core::{Disconnect, Reason};
use cluster_sim::{Buffers, Crash, Fate, Greeting, HostId, Latency, RawConn, RawState, Restart, World};

use crate::harness::*;

/// A raw connection from `10.0.9.1` to `10.0.9.2`, and the hosts at its ends.
fn raw_pair(world: &mut World) -> (RawConn, RawConn, HostId, HostId) {
    let listener = world.net_mut().raw_listen("10.0.9.2:1", Greeting::Wait);
    let dialer = world.net_mut().raw_dial("10.0.9.1", listener);
    world.run_for(ms(10));
    let (accepted, _) = world.net_mut().raw_accept(listener).unwrap();
    (dialer, accepted, world.net_mut().raw_host("10.0.9.1"), world.net_mut().raw_host("10.0.9.2"))
}

#[test]
fn bandwidth_is_a_number_of_bytes_a_second_for_all_connections_of_a_way_together() {
    let mut world = World::new(1);
    let (dialer, accepted, from, to) = raw_pair(&mut world);
    let other = world.net_mut().raw_dial("10.0.9.1", "10.0.9.2:1".parse().unwrap());
    world.run_for(ms(10));
    let (other_end, _) = world.net_mut().raw_accept("10.0.9.2:1".parse().unwrap()).unwrap();
    world.net_mut().set_latency(ms(0));
    world.net_mut().set_bandwidth_from(from, to, Some(10_000));
    assert_eq!((world.raw(dialer).write([1; 5_000]), world.raw(other).write([2; 5_000])), (5_000, 5_000));
    let mut got = 0;
    for tenth in 1..=10 {
        world.run_for(ms(100));
        got += world.raw(accepted).read().len() + world.raw(other_end).read().len();
        assert!((tenth * 1_000 - 100..=tenth * 1_000).contains(&got), "{got} bytes in {tenth} tenths of a second");
    }
    // The other way is as wide as ever.
    assert_eq!(world.raw(accepted).write([3; 100_000]), 100_000);
    world.run_for(ms(1));
    assert_eq!(world.raw(dialer).read().len(), 100_000);
}

#[test]
fn a_wider_way_speeds_up_what_waits_on_it() {
    let mut world = World::new(2);
    let (dialer, accepted, ..) = raw_pair(&mut world);
    world.net_mut().set_bandwidth(Some(1_000));
    world.raw(dialer).write([1; 100_000]);
    world.run_for(secs(1));
    let slow = world.raw(accepted).read().len();
    assert!((980..=1_000).contains(&slow), "{slow}");
    world.net_mut().set_bandwidth(None);
    world.run_for(ms(2));
    assert_eq!(world.raw(accepted).read().len(), 100_000 - slow);
}

#[test]
fn nodes_stay_together_over_a_way_that_is_always_full() {
    let (mut world, a, b) = pair(3);
    world.net_mut().set_bandwidth(Some(20_000));
    for _ in 0..200 {
        let _ = world.node(a).send_numbered(b, 10_000);
        world.run_for(ms(100));
    }
    assert_eq!(world.host(a).downs(b) + world.host(b).downs(a), 0);
    let taken = world.host(b).numbered(a);
    assert!((20..=40).contains(&taken), "{taken} messages of 10 kB in 20 s at 20 kB/s");
}

#[test]
fn a_long_tail_and_spikes_delay_messages_and_lose_none() {
    for latency in [
        Latency::LongTail { base: ms(1), half: ms(5), cap: ms(800) },
        Latency::Spikes { base: ms(1), jitter: ms(1), one_in: 20, spike: ms(500) },
    ] {
        let (mut world, a, b) = pair(4);
        world.net_mut().set_latency_from(a, b, latency);
        let mut longest = Duration::ZERO;
        for number in 1..=200 {
            let sent = world.now();
            world.node(a).send_numbered(b, 64).unwrap();
            world.expect("it arrives", secs(4), |world| world.host(b).numbered(a) == number);
            longest = longest.max(world.now() - sent);
        }
        assert!(longest > ms(20), "{latency:?}: {longest:?}");
        assert_eq!(world.host(a).downs(b) + world.host(b).downs(a), 0);
    }
}

#[test]
fn a_clogged_way_carries_everything_in_bursts_until_it_is_healed() {
    let (mut world, a, b) = pair(5);
    world.net_mut().clog(a, b, ms(500), ms(2_000));
    let mut bursts = 0;
    let mut before = world.host(b).numbered(a);
    for _ in 0..300 {
        world.node(a).send_numbered(b, 64).unwrap();
        world.run_for(ms(100));
        let after = world.host(b).numbered(a);
        bursts += usize::from(after > before + 3);
        before = after;
    }
    assert!(bursts > 5, "{bursts}");
    assert_eq!(world.host(a).downs(b) + world.host(b).downs(a), 0, "no spell is as long as the timeout");
    world.net_mut().heal(a, b);
    world.expect("all arrive", ms(10), |world| world.host(b).numbered(a) == 300);
    world.node(a).send_numbered(b, 64).unwrap();
    world.expect("it arrives at once", ms(5), |world| world.host(b).numbered(a) == 301);
}

#[test]
fn a_silent_cut_fills_the_buffers_and_in_the_end_times_out() {
    let mut world = World::new(6);
    world.net_mut().set_buffers(Buffers { send: 10_000, receive: 1_000 });
    let (dialer, accepted, from, to) = raw_pair(&mut world);
    world.net_mut().cut(from, to);
    assert_eq!(world.raw(dialer).write([1; 50_000]), 10_000);
    world.run_for(secs(900));
    assert_eq!((world.net().raw_state(dialer), world.raw(dialer).write([1; 1])), (RawState::Open, 0));
    world.run_for(secs(60));
    assert_eq!(world.net().raw_state(dialer), RawState::Reset);
    world.net_mut().heal(from, to);
    world.run_for(secs(10));
    assert_eq!(
        (world.net().raw_state(accepted), world.raw(accepted).read().len()),
        (RawState::Open, 0),
        "it never hears of it"
    );
}

#[test]
fn the_end_of_a_stream_comes_after_its_bytes_and_a_reset_drops_them_at_both_ends() {
    let mut world = World::new(7);
    let (dialer, accepted, ..) = raw_pair(&mut world);
    world.raw(dialer).write(b"hello");
    world.raw(dialer).shutdown();
    world.run_for(ms(5));
    assert_eq!(world.net().raw_state(accepted), RawState::Open, "five bytes are unread");
    assert_eq!(world.raw(accepted).read(), b"hello");
    assert_eq!(world.net().raw_state(accepted), RawState::Ended);

    world.net_mut().unlisten("10.0.9.2:1".parse().unwrap());
    let (dialer, accepted, ..) = raw_pair(&mut world);
    world.raw(dialer).write(b"hello");
    world.raw(accepted).write(b"world");
    world.run_for(ms(5));
    world.raw(dialer).reset();
    assert!(world.raw(dialer).read().is_empty());
    world.run_for(ms(5));
    assert_eq!((world.net().raw_state(accepted), world.raw(accepted).read().len()), (RawState::Reset, 0));
}

#[test]
fn a_reset_of_one_side_is_noticed_by_the_other_when_it_sends() {
    let (mut world, a, b) = pair(8);
    assert_eq!(world.net_mut().reset_one_side(a, b), 1);
    assert_eq!((world.host(a).downs(b), world.host(b).downs(a)), (1, 0));
    world.node(b).send_numbered(a, 64).unwrap();
    world.expect("it is told", ms(5), |world| world.host(b).downs(a) == 1);
    assert_eq!(down_reasons(&world, b, a), [Reason::Reset]);
    world.expect("linked again", secs(5), |world| world.linked(a, b));
}

#[test]
fn a_half_open_link_is_noticed_by_nobody_whatever_is_sent_until_another_replaces_it() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        world.net_mut().block_dials(b, a, cluster_sim::Block::Drop);
        world.net_mut().block_dials(a, b, cluster_sim::Block::Drop);
        assert_eq!(world.net_mut().half_open(a, b), 1);
        assert_eq!((world.host(a).downs(b), world.host(b).downs(a)), (1, 0));
        world.node(b).send_numbered(a, 64).unwrap();
        world.run_for(secs(3));
        assert_eq!(world.host(b).downs(a), 0, "seed {seed}: nothing tells it");
        world.net_mut().allow_dials(a, b);
        world.expect("linked again", secs(8), |world| world.linked(a, b));
    }
}

#[test]
fn severed_connections_stay_silent_and_new_ones_work() {
    let (mut world, a, b) = pair(9);
    assert_eq!(world.net_mut().sever_connections(a, b), 1);
    world.node(a).send_numbered(b, 64).unwrap();
    world.run_for(secs(3));
    assert_eq!((world.host(a).downs(b), world.host(b).downs(a), world.host(b).numbered(a)), (0, 0, 0));
    world.net_mut().heal_all();
    world.expect("silence is noticed", secs(4), |world| world.host(a).downs(b) == 1 && world.host(b).downs(a) == 1);
    world.expect("linked again", secs(5), |world| world.linked(a, b));
}

#[test]
fn dials_may_be_accepted_and_then_stall_or_end() {
    for (fate, cause) in
        [(Fate::Stall, Disconnect::Closed), (Fate::Close, Disconnect::Ended), (Fate::Reset, Disconnect::Reset)]
    {
        let mut world = World::new(10);
        let (a, b) = (world.add(config()), world.add(config()));
        let target = world.host(b).addr();
        world.net_mut().set_fate(target, Some(fate));
        world.node(a).join(b).unwrap();
        world.run_for(secs(6));
        assert_eq!(world.host(a).ends()[0].cause, cause, "{fate:?}");
        assert!(world.net().opened(a, b) >= 1 && !world.host(a).sees(b));
        let target = world.host(b).addr();
        world.net_mut().set_fate(target, None);
        world.node(a).join(b).unwrap();
        world.expect("linked", secs(6), |world| world.linked(a, b));
        world.run_for(secs(30));
        assert_eq!(world.net().open_connections(), 1, "what nobody holds ends with the other end");
    }
}

#[test]
fn a_dial_may_be_answered_by_another_node() {
    let mut world = World::new(11);
    let hosts = world.add_many(3, &config());
    let wrong = world.host(hosts[2]).addr();
    let target = world.host(hosts[1]).addr();
    world.net_mut().set_fate(target, Some(Fate::Elsewhere(wrong)));
    world.node(hosts[0]).join(hosts[1]).unwrap();
    world.expect("linked with the other", secs(1), |world| world.linked(hosts[0], hosts[2]));
    assert!(!world.host(hosts[0]).sees(hosts[1]));
}

#[test]
fn connections_that_are_over_take_no_room() {
    let (mut world, a, b) = pair(12);
    let mut most = 0;
    for round in 0..300 {
        match round % 6 {
            0 => drop(world.net_mut().reset_connections(a, b)),
            1 => drop(world.net_mut().reset_one_side(a, b)),
            2 => drop(world.net_mut().half_open(b, a)),
            3 => drop(world.net_mut().sever_connections(a, b)),
            4 => world.host_mut(b).crash([Crash::Power, Crash::Kill, Crash::Reset][round % 3]),
            _ => world.host_mut(b).restart(Restart::default()),
        }
        world.run_for(secs(60));
        most = most.max(world.net().open_connections());
    }
    // Those that were severed or whose host lost power go when TCP gives them up.
    assert!(most < 60, "{most} at a time");
    world.run_for(secs(1_000));
    world.expect("one link", secs(60), |world| world.linked(a, b));
    assert_eq!(world.net().open_connections(), 1);
}
