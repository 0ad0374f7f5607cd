//! The world itself: that its faults do what they say, seen through real nodes, and that nothing in it depends on
//! anything but the seed.

use std::time::Duration;

use cluster_core::wire::{Entry, List};
use cluster_core::{ChannelError, Disconnect, Event, Frame, JoinError, Reason};
use cluster_sim::{
    Block, Buffers, Crash, Fate, FrameKind, Greeting, PuppetState, RawState, Restart, Script, Spec, World,
};

use crate::harness::*;

#[test]
fn what_a_short_cut_holds_arrives_after_it() {
    let (mut world, a, b) = pair(1);
    world.net_mut().cut(a, b);
    world.node(a).send_numbered(b, 100).unwrap();
    world.run_for(secs(3));
    assert_eq!(world.host(b).numbered(a), 0);
    world.net_mut().heal(a, b);
    world.expect("it arrives", ms(10), |world| world.host(b).numbered(a) == 1);
    assert_eq!(world.host(a).downs(b) + world.host(b).downs(a), 0);
}

#[test]
fn a_killed_process_is_noticed_at_once_and_one_without_power_by_its_silence() {
    for (crash, within, reason) in [
        (Crash::Kill, ms(3), Reason::Reset),
        (Crash::Reset, ms(3), Reason::Reset),
        (Crash::Power, secs(7), Reason::Timeout),
    ] {
        let (mut world, a, b) = pair(2);
        world.host_mut(b).crash(crash);
        let before = world.now();
        world.expect("it is noticed", within, |world| world.host(a).downs(b) == 1);
        assert_eq!(crash == Crash::Power, world.now() - before > secs(3), "{crash:?}");
        assert_eq!(down_reasons(&world, a, b), [reason]);
    }
}

#[test]
fn a_paused_process_misses_everything_and_catches_up() {
    let (mut world, a, b) = pair(3);
    world.host_mut(b).pause();
    world.node(a).send_numbered(b, 64).unwrap();
    world.run_for(secs(2));
    assert_eq!(world.host(b).numbered(a), 0);
    world.host_mut(b).resume();
    assert_eq!(world.host(b).numbered(a), 1);
}

#[test]
fn dials_end_as_their_fates_say() {
    for (fate, reason) in [
        (Some(Fate::Refuse), Reason::Refused),
        (Some(Fate::Unreachable), Reason::Unreachable),
        (Some(Fate::Hang), Reason::HandshakeTimeout),
        (None, Reason::HandshakeTimeout),
    ] {
        let mut world = World::new(4);
        let a = world.add(config().join_timeout(secs(6)));
        let to = "10.0.9.9:7000".parse().unwrap();
        world.net_mut().set_fate(to, fate);
        world.node(a).join(to).unwrap();
        world.run_for(secs(7));
        let failed =
            |event: &Event| matches!(event, Event::JoinFailed { error: JoinError::Failed(why), .. } if *why == reason);
        assert_eq!(world.host(a).count_events(failed), 1, "{fate:?}: {:?}", world.host(a).events());
    }
}

#[test]
fn raw_listeners_greet_as_they_are_told() {
    let mut world = World::new(5);
    let a = world.add(config());
    let listeners = [
        world.net_mut().raw_listen("10.0.9.1:1", Greeting::Wait),
        world.net_mut().raw_listen("10.0.9.1:2", Greeting::Close),
        world.net_mut().raw_listen("10.0.9.1:3", Greeting::Reset),
    ];
    for to in listeners {
        world.node(a).join(to).unwrap();
    }
    world.run_for(ms(5));
    let (conn, from) = world.net_mut().raw_accept(listeners[0]).unwrap();
    assert_eq!(from.ip(), "10.0.0.1".parse::<std::net::IpAddr>().unwrap());
    assert!(!world.raw(conn).read().is_empty());
    let mut ends = world.host(a).ends().to_vec();
    ends.sort_by_key(|end| end.link);
    let causes: Vec<Disconnect> = ends.into_iter().map(|end| end.cause).collect();
    assert_eq!(causes, [Disconnect::Ended, Disconnect::Reset]);
}

#[test]
fn strangers_can_write_what_they_like_byte_by_byte() {
    let mut world = World::new(6);
    let a = world.add(config());
    let target = world.host(a).addr();
    let conn = world.net_mut().raw_dial("10.0.9.1", target);
    assert_eq!(world.net().raw_state(conn), RawState::Dialing);
    world.run_for(ms(3));
    assert_eq!((world.net().raw_state(conn), world.raw(conn).write(b"GET / HTTP/1.1\r\n\r\n")), (RawState::Open, 18));
    world.run_for(ms(5));
    let _ = world.raw(conn).read();
    assert!(
        matches!(world.net().raw_state(conn), RawState::Ended | RawState::Reset),
        "{:?}",
        world.net().raw_state(conn)
    );
    assert_eq!(world.host(a).ends()[0].cause, Disconnect::Channel(ChannelError::NotThisProtocol));
}

#[test]
fn a_puppet_is_a_peer_in_both_directions_and_says_what_it_is_told() {
    for dialled in [false, true] {
        let mut world = World::new(7);
        let a = world.add(config());
        let puppet = world.add_puppet("10.0.9.1", Script::default());
        let address = world.host(a).addr();
        if dialled {
            world.node(a).join(puppet).unwrap();
        } else {
            world.puppet(puppet).dial(address);
        }
        world.expect("the puppet is up", ms(20), |world| world.host(a).sees(puppet));
        world.run_for(ms(5));
        assert_eq!(world.host(puppet).puppet_links(), [PuppetState::Up]);
        world.puppet(puppet).say_on(0, b"hello");
        let id = world.host(puppet).id();
        world.node(a).send(id, vec![7; 100_000]).unwrap();
        world.run_for(secs(20));
        assert!(world.host(a).sees(puppet), "it answers pings");
        assert_eq!(&world.host(a).messages()[0].payload[..], b"hello");
        assert_eq!(world.host(puppet).puppet_messages(), [vec![7; 100_000]]);
        assert!(world.host(puppet).heard().iter().any(|heard| matches!(heard.frame, Frame::Digest(_))));
        world.puppet(puppet).script(|script| script.pong = false);
        world.expect("silence is noticed", secs(7), |world| !world.host(a).sees(puppet));
    }
}

#[test]
fn a_puppet_can_lie_in_gossip() {
    let mut world = World::new(8);
    let a = world.add(config());
    let puppet = world.add_puppet("10.0.9.1", Script::default());
    let address = world.host(a).addr();
    world.puppet(puppet).dial(address);
    world.expect("the puppet is up", ms(20), |world| world.host(a).sees(puppet));
    let victim = "10.0.8.8:80".parse().unwrap();
    let run = cluster_core::Run { id: cluster_core::NodeId::from_bytes([9; 16]), ..world.host(puppet).run() };
    let entries = vec![Entry { run, addresses: vec![victim] }];
    world.puppet(puppet).send(Frame::List(List { buckets: 1, reply: false, entries }));
    world.run_for(secs(2));
    assert!(world.net().dials_to(victim, cluster_core::Instant::ZERO) <= 2);
    assert!(world.node(a).peers().iter().all(|info| info.run != run), "hearsay makes no peer");
}

#[test]
fn a_port_forward_leads_to_its_node_and_shows_it_another_source() {
    let mut world = World::new(9);
    let (a, b) = (world.add(config()), world.add(config()));
    let inner = world.host(b).addr();
    let public = world.net_mut().forward("10.0.50.1:9000", inner);
    world.node(a).join(public).unwrap();
    world.expect("linked", secs(1), |world| world.linked(a, b));
    let link = world.host(b).links()[0];
    assert_eq!((link.remote.ip(), link.outbound), ("10.0.50.1".parse().unwrap(), false));
}

#[test]
fn names_are_looked_up_and_may_change() {
    let mut world = World::new(10);
    let (a, b) = (world.add(config()), world.add(config()));
    world.node(a).add_seed("seed.example:7000").unwrap();
    world.run_for(secs(10));
    assert!(!world.host(a).sees(b));
    world.net_mut().set_name("seed.example", &["10.0.0.2"]);
    world.expect("linked", secs(40), |world| world.linked(a, b));
}

#[test]
fn blocked_dials_go_one_way_only() {
    for how in [Block::Drop, Block::Refuse] {
        let mut world = World::new(11);
        let (a, b) = (world.add(config()), world.add(config()));
        world.net_mut().block_dials(b, a, how);
        world.node(b).join(a).unwrap();
        world.run_for(secs(6));
        assert!(!world.host(a).sees(b));
        world.node(a).join(b).unwrap();
        world.expect("linked", secs(6), |world| world.linked(a, b));
    }
}

#[test]
fn a_reader_that_stops_at_the_tcp_level_fills_the_buffers_and_no_more() {
    let (mut world, a, b) = pair(12);
    world.net_mut().set_buffers(Buffers { send: 64 << 10, receive: 64 << 10 });
    world.net_mut().reset_connections(a, b);
    world.expect("linked again", secs(5), |world| world.linked(a, b));
    warm(&mut world, &[a], b);
    world.host_mut(b).set_reading(false);
    for _ in 0..4 {
        world.node(a).send_numbered(b, 60_000).unwrap();
    }
    world.run_for(secs(2));
    assert_eq!(world.host(b).numbered(a), 1);
    world.host_mut(b).read(61_000);
    world.run_for(ms(10));
    assert_eq!(world.host(b).numbered(a), 2);
    world.host_mut(b).set_reading(true);
    world.expect("the rest arrives", secs(1), |world| world.host(b).numbered(a) == 5);
}

#[test]
fn a_user_that_takes_no_messages_takes_them_later() {
    let (mut world, a, b) = pair(13);
    world.host_mut(b).set_consuming(false);
    for _ in 0..10 {
        world.node(a).send_numbered(b, 64).unwrap();
    }
    world.run_for(secs(1));
    assert_eq!(world.host(b).taken(), 0);
    world.host_mut(b).consume(3);
    assert_eq!(world.host(b).taken(), 3);
    world.host_mut(b).set_consuming(true);
    world.expect("all are taken", ms(100), |world| world.host(b).taken() == 10);
}

#[test]
fn clocks_may_jump_stop_and_go_back() {
    let (mut world, hosts) = mesh(14, 3);
    world.host_mut(hosts[0]).clock_forward(Duration::from_secs(86_400));
    world.run_for(secs(20));
    world.host_mut(hosts[1]).clock_stop(true);
    world.run_for(secs(20));
    world.host_mut(hosts[1]).clock_stop(false);
    world.host_mut(hosts[2]).clock_back(secs(3));
    world.run_for(secs(20));
    world.expect("the mesh is whole", secs(60), World::is_complete);
}

#[test]
fn nodes_of_one_machine_share_the_loopback_address() {
    let mut world = World::new(15);
    let hosts: Vec<_> = (0..3).map(|_| world.add(Spec::new(config()).ip("127.0.0.1"))).collect();
    world.node(hosts[0]).join(hosts[1]).unwrap();
    world.node(hosts[2]).join(hosts[1]).unwrap();
    world.expect("a mesh", secs(5), World::is_complete);
}

#[test]
fn a_node_may_come_back_as_another_or_elsewhere() {
    let (mut world, a, b) = pair(16);
    let before = world.host(b).run();
    world.host_mut(b).crash(Crash::Kill);
    world.run_for(ms(100));
    world.host_mut(b).restart(Restart::default().new_id().ip("10.0.3.3").port(7_001));
    assert_ne!(world.host(b).id(), before.id);
    assert_eq!(world.host(b).addr(), "10.0.3.3:7001".parse().unwrap());
    world.node(b).join(a).unwrap();
    world.expect("linked", secs(5), |world| world.linked(a, b));
    world.node(b).leave(secs(1));
    world.expect("it has left", secs(2), |world| !world.host(b).is_running());
    world.host_mut(b).restart(Restart::default());
    world.node(b).join(a).unwrap();
    world.expect("linked", secs(5), |world| world.linked(a, b));
}

#[test]
fn frames_and_their_bytes_are_counted() {
    let (world, a, b) = pair(17);
    for kind in [FrameKind::Ping, FrameKind::Digest] {
        let frames = world.host(a).wire().frames(kind) + world.host(b).wire().frames(kind);
        let bytes = world.host(a).wire().bytes(kind) + world.host(b).wire().bytes(kind);
        assert!(frames > 0 && bytes > 2 * frames, "{kind:?}: {frames} frames of {bytes} bytes");
    }
}
