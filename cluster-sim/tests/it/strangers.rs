//! Versions, bad input and replays: scenarios S46 to S49.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use bytes::Bytes;
use cluster_core::wire::Data;
use cluster_core::{ChannelError, Event, Frame, FrameError, JoinError, Reason, Role};
use cluster_sim::{Greeting, Script, World};

use crate::hand::*;
use crate::harness::*;

#[test]
fn s48_bad_input_ends_its_own_connection_and_nobody_else_notices() {
    let first = |body: &[u8]| [PREAMBLE, &(body.len() as u16).to_be_bytes(), body].concat();
    let inputs: [(&str, Vec<u8>, bool); 16] = [
        ("silence", vec![], false),
        ("a preamble and silence", PREAMBLE.to_vec(), false),
        ("half a preamble", PREAMBLE[..7].to_vec(), false),
        ("half a record", first(&[1; 50])[..40].to_vec(), false),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), true),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), true),
        ("TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], true),
        ("zeroes", vec![0; 4_000], true),
        ("ones", vec![0xff; 4_000], true),
        ("a length of 2^32 - 1", vec![0xff; 4], true),
        ("a huge record", [PREAMBLE, &[0xff, 0xff]].concat(), true),
        ("a handshake one byte too long", [PREAMBLE, &(2_048_u16 - 13).to_be_bytes()].concat(), true),
        ("an empty message", first(&[]), true),
        ("a message of no kind", first(&[9; 40]), true),
        ("another mode", b"\xf5clu\x01\x01\x01\0\0\0\0\0".to_vec(), true),
        ("text after the magic", b"\xf5clulululululululululululu".to_vec(), true),
    ];
    for seed in 0..6 {
        let (mut world, hosts) = mesh(seed, 3);
        let before = told(&world, &hosts);
        for (index, (what, bytes, at_once)) in inputs.iter().enumerate() {
            let to = world.host(hosts[0]).addr();
            let ip = format!("10.0.9.{}", index + 1);
            let failed = world.node(hosts[0]).stats().failed_handshakes;
            let conn = world.net_mut().raw_dial(&ip, to);
            world.run_for(ms(5));
            world.raw(conn).write(bytes);
            if *at_once {
                world.run_for(ms(10));
                assert_eq!(strays(&world, hosts[0]), 0, "seed {seed}: {what} is not closed at once");
            } else {
                world.run_for(secs(4));
                assert_eq!(strays(&world, hosts[0]), 1, "seed {seed}: {what} has its time");
                world.run_for(ms(1_010));
            }
            let _ = world.raw(conn).read();
            assert!(is_over(&world, conn), "seed {seed}: {what}");
            assert_eq!(strays(&world, hosts[0]), 0, "seed {seed}: {what}");
            assert_eq!(world.node(hosts[0]).stats().failed_handshakes, failed + 1, "seed {seed}: {what}");
        }
        for (source, count) in sources(&world, hosts[0]) {
            assert_eq!(count, 1, "seed {seed}: {source}");
        }
        assert_eq!(told(&world, &hosts), before, "seed {seed}");
        assert!(world.is_complete());
    }
}

/// How a peer vanishes.
#[derive(Clone, Copy, Debug)]
enum Vanish {
    Close,
    Reset,
    Silence,
}

fn vanish(world: &mut World, hand: &Hand, how: Vanish) {
    match how {
        Vanish::Close => world.raw(hand.conn).close(),
        Vanish::Reset => world.raw(hand.conn).reset(),
        Vanish::Silence => {}
    }
}

#[test]
fn s48_who_dials_and_vanishes_at_any_byte_of_the_handshake_leaves_no_trace() {
    let whole = {
        let (mut world, hosts) = mesh(1, 2);
        Hand::member(&mut world, "10.0.9.1", hosts[0], run(0xee)).wrote.len()
    };
    assert!(whole > 100);
    for (seed, how) in [(1, Vanish::Close), (2, Vanish::Reset), (3, Vanish::Silence)] {
        let (mut world, hosts) = mesh(seed, 2);
        let before = told(&world, &hosts);
        let to = world.host(hosts[0]).addr();
        for length in 0..whole {
            let mut hand = Hand::dial(&mut world, "10.0.9.1", to, run(0xee));
            hand.left = length;
            hand.shake(&mut world);
            assert_eq!(hand.wrote.len(), length);
            vanish(&mut world, &hand, how);
            match how {
                Vanish::Silence => world.run_for(secs(5)),
                // Few enough in all.
                Vanish::Close | Vanish::Reset => world.run_for(ms(30)),
            }
            assert_eq!(world.host(hosts[0]).links().len(), 1, "{how:?} after {length} bytes");
            assert_eq!(world.host(hosts[0]).refused(), 0, "{how:?} after {length} bytes");
            assert_eq!(told(&world, &hosts), before, "{how:?} after {length} bytes");
            assert_eq!(world.host(hosts[0]).core().peers().count(), 1, "{how:?} after {length} bytes");
        }
        notices_are_rare(&world, hosts[0]);
        // It was not held against it.
        Hand::member(&mut world, "10.0.9.1", hosts[0], run(0xee));
        assert!(world.linked(hosts[0], hosts[1]));
    }
}

#[test]
fn s48_who_answers_and_vanishes_at_any_byte_of_the_handshake_only_fails_the_join() {
    let listen = |world: &mut World| world.net_mut().raw_listen("10.0.9.1:7000", Greeting::Wait);
    let answer = |world: &mut World, at: SocketAddr, left: usize| {
        world.run_for(ms(3));
        let (conn, _) = world.net_mut().raw_accept(at).unwrap();
        let mut hand = Hand::new(world, conn, Role::Responder, run(0xee));
        hand.left = left;
        hand.shake(world);
        hand
    };
    let whole = {
        let (mut world, hosts) = mesh(1, 2);
        let at = listen(&mut world);
        world.node(hosts[0]).join(at).unwrap();
        let hand = answer(&mut world, at, usize::MAX);
        assert!(world.host(hosts[0]).core().peer(run(0xee).id).is_some());
        hand.wrote.len()
    };
    assert!(whole > 100);
    for (seed, how) in [(1, Vanish::Close), (2, Vanish::Reset), (3, Vanish::Silence)] {
        let (mut world, hosts) = mesh(seed, 2);
        let before = world.host(hosts[0]).events().len();
        let other = told(&world, &hosts[1..]);
        let at = listen(&mut world);
        for length in 0..whole {
            world.node(hosts[0]).join(at).unwrap();
            let hand = answer(&mut world, at, length);
            vanish(&mut world, &hand, how);
            // Further tries of the same join are not answered at all.
            world.run_for(secs(11));
            while world.net_mut().raw_accept(at).is_some() {}
            assert_eq!(world.host(hosts[0]).links().len(), 1, "{how:?} after {length} bytes");
            let events = &world.host(hosts[0]).events()[before..];
            let failed = |event: &Event| matches!(event, Event::JoinFailed { .. });
            assert_eq!(events.len(), length + 1, "{how:?} after {length} bytes");
            assert!(events.iter().all(|logged| failed(&logged.event)), "{how:?} after {length} bytes");
        }
        assert_eq!(told(&world, &hosts[1..]), other);
        assert!(world.linked(hosts[0], hosts[1]));
    }
}

#[test]
fn s49_our_own_words_said_back_to_us_are_refused() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2);
        let at = world.net_mut().raw_listen("10.0.9.1:7000", Greeting::Wait);
        world.node(hosts[0]).join(at).unwrap();
        world.run_for(ms(10));
        let (conn, _) = world.net_mut().raw_accept(at).unwrap();
        let words = world.raw(conn).read();
        assert!(words.starts_with(PREAMBLE) && words.len() > PREAMBLE.len() + 17);
        world.raw(conn).write(&words);
        world.run_for(ms(5));
        assert_eq!(strays(&world, hosts[0]), 0, "seed {seed}");
        assert_eq!(world.host(hosts[0]).notices()[0].notice.reason, Reason::Channel(ChannelError::Replay));
        world.run_for(secs(6));
        let up = |event: &Event| matches!(event, Event::PeerUp(_));
        assert_eq!(world.host(hosts[0]).count_events(up), 1, "the other node only");
    }
}

#[test]
fn s49_a_recorded_conversation_played_again_changes_nothing() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2);
        let mut hand = Hand::member(&mut world, "10.0.9.1", hosts[0], run(0xee));
        hand.record(&mut world, &Frame::Data(Data { offset: 0, bytes: Bytes::from_static(b"\x42hi") }).encode());
        world.run_for(ms(10));
        assert_eq!(world.host(hosts[0]).messages().len(), 1);
        let begin = world.now();
        let before = told(&world, &hosts);
        let to = world.host(hosts[0]).addr();
        for round in 0..20 {
            // As it was said, at once, and cut at every kind of place.
            let replay = world.net_mut().raw_dial("10.0.9.2", to);
            world.run_for(ms(4));
            let count = if round == 0 { hand.wrote.len() } else { world.draw(hand.wrote.len() as u64) as usize };
            world.raw(replay).write(&hand.wrote[..count]);
            world.run_for(ms(50));
            // Meanwhile the real one lives.
            hand.record(&mut world, &Frame::Ping { token: round }.encode());
            hand.step(&mut world);
            if round == 0 {
                assert_eq!(world.host(hosts[0]).notices()[0].notice.reason, Reason::Channel(ChannelError::Replay));
            }
        }
        assert!(world.now() - begin < secs(5));
        assert_eq!(told(&world, &hosts), before, "seed {seed}");
        assert_eq!(world.host(hosts[0]).messages().len(), 1, "seed {seed}");
        assert!(
            world
                .host(hosts[0])
                .core()
                .peer(run(0xee).id)
                .is_some_and(|peer| peer.state == cluster_core::PeerState::Up)
        );
        // And when the real one is gone, the recording does not bring it back.
        world.raw(hand.conn).reset();
        world.run_for(ms(10));
        let ups = |world: &World| world.host(hosts[0]).count_events(|event| matches!(event, Event::PeerUp(_)));
        let count = ups(&world);
        let replay = world.net_mut().raw_dial("10.0.9.2", to);
        world.run_for(ms(4));
        world.raw(replay).write(&hand.wrote);
        world.run_for(secs(6));
        assert_eq!(ups(&world), count, "seed {seed}");
        notices_are_rare(&world, hosts[0]);
    }
}

#[test]
fn s48_a_node_of_another_cluster_is_refused_on_both_sides() {
    let mut named = 0;
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2);
        let other = world.add(config().cluster("other".parse().unwrap()));
        let before = told(&world, &hosts);
        world.node(other).join(hosts[0]).unwrap();
        world.run_for(secs(6));
        let failed = |event: &Event| matches!(event, Event::JoinFailed { .. });
        assert_eq!(world.host(other).count_events(failed), 1, "seed {seed}");
        assert_eq!(world.host(other).events().len(), 1, "seed {seed}");
        let why = JoinError::Failed(Reason::Channel(ChannelError::Cluster));
        let cluster = |event: &Event| matches!(event, Event::JoinFailed { error, .. } if *error == why);
        named += world.host(other).count_events(cluster);
        assert_eq!(world.host(hosts[0]).notices()[0].notice.reason, Reason::Channel(ChannelError::Cluster));
        assert_eq!(told(&world, &hosts), before);
        assert!(world.is_mesh(&hosts));
        notices_are_rare(&world, hosts[0]);
    }
    // A reset may overtake the reason, if something arrived after the socket was closed.
    assert!(named >= 15, "{named} of 20");
}

fn versions(ours: RangeInclusive<u8>, theirs: RangeInclusive<u8>) -> ChannelError {
    ChannelError::Version { ours, theirs }
}

#[test]
fn s46_versions_that_overlap_agree_and_stay() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let a = world.add(config());
        let b = world.add(config().versions(1..=4));
        let puppet = world.add_puppet("10.0.9.1", Script { versions: 0..=9, ..Script::default() });
        world.node(b).join(a).unwrap();
        world.node(a).join(puppet).unwrap();
        world.expect("all are up", secs(1), |world| world.linked(a, b) && world.host(a).sees(puppet));
        world.node(a).send_numbered(b, 100).unwrap();
        world.run_for(secs(10));
        assert!(world.host(b).numbered(a) == 1 && world.linked(a, b) && world.host(a).sees(puppet), "seed {seed}");
    }
}

#[test]
fn s46_versions_that_do_not_overlap_are_refused_by_name_tried_slowly_and_hurt_nobody_else() {
    let mut named = 0;
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let puppet = world.add_puppet("10.0.9.1", Script { versions: 2..=3, ..Script::default() });
        let before = told(&world, &hosts);
        // It dials us: both sides learn both ranges.
        let to = world.host(hosts[0]).addr();
        let link = world.puppet(puppet).dial(to);
        world.run_for(ms(20));
        if let Some(error) = world.host(puppet).puppet_error(link) {
            assert_eq!(error, versions(2..=3, 1..=1), "seed {seed}");
            named += 1;
        }
        let reason = &world.host(hosts[0]).notices()[0].notice.reason;
        assert_eq!(*reason, Reason::Channel(versions(1..=1, 2..=3)));
        let text = reason.to_string();
        assert!(text.contains("1 to 1") && text.contains("2 to 3"), "{text}");
        assert_eq!(told(&world, &hosts), before);

        // We dial it.
        let at = world.net_mut().raw_listen("10.0.9.2:7000", Greeting::Wait);
        world.node(hosts[1]).join(at).unwrap();
        world.run_for(ms(3));
        let (conn, _) = world.net_mut().raw_accept(at).unwrap();
        world.raw(conn).write(b"\xf5clu\x02\x03\0\0\0\0\0\0");
        world.run_for(ms(5));
        let words = world.raw(conn).read();
        assert_eq!(words[4..6], [1, 1], "what we say has our range in it");
        let expected = JoinError::Failed(Reason::Channel(versions(1..=1, 2..=3)));
        let failed = |event: &Event| matches!(event, Event::JoinFailed { error, .. } if *error == expected);
        assert_eq!(world.host(hosts[1]).count_events(failed), 1, "seed {seed}: at once, it cannot get better");
        let text = expected.to_string();
        assert!(text.contains("1 to 1") && text.contains("2 to 3"), "{text}");

        // As a seed it is tried for ever, and slowly.
        let seed_at = world.host(puppet).addr();
        let begin = world.now();
        world.node(hosts[2]).add_seed(seed_at).unwrap();
        world.run_for(secs(1_200));
        let dials = world.net().dials_to(seed_at, begin);
        assert!((20..=150).contains(&dials), "seed {seed}: {dials} dials in 20 minutes");
        assert!(world.is_mesh(&hosts));
        for &host in &hosts {
            notices_are_rare(&world, host);
            assert_eq!(world.host(host).count_events(|event| matches!(event, Event::PeerDown { .. })), 0);
        }
    }
    // A reset may overtake the answering preamble, if something arrived after the socket was closed.
    assert!(named >= 10, "{named} of 20");
}

#[test]
fn s47_what_may_be_skipped_is_skipped_and_anything_else_closes_that_connection_only() {
    let channel = |error| Some(Reason::Channel(ChannelError::Frame(error)));
    let cases: [(&[u8], Option<Reason>); 11] = [
        (b"\x82\x18\x40\x00", None),
        (b"\x81\x1b\xff\xff\xff\xff\xff\xff\xff\xff", None),
        (b"\x82\x18\x64\x84\xf6\xf5\x63abc\xa1\x01\x42no", None),
        // A ping with one element more, and one with three.
        (b"\x83\x01\x07\xf6", None),
        (b"\x85\x01\x07\x80\x61x\x20", None),
        (b"\x82\x0d\x00", channel(FrameError::UnknownType(13))),
        (b"\x82\x18\x3f\x00", channel(FrameError::UnknownType(63))),
        (b"\x82\x01", channel(FrameError::Malformed)),
        (b"hello", channel(FrameError::Malformed)),
        (b"\x82\x18\x40\x81\x81\x81\x81\x81\x81\x81\x81\x81\x00", channel(FrameError::TooDeep)),
        (b"\x83\x00\x00\x40", channel(FrameError::Empty)),
    ];
    for seed in 0..6 {
        for (bytes, expected) in &cases {
            let (mut world, hosts) = mesh(seed, 2);
            let other = told(&world, &hosts[1..]);
            let mut hand = Hand::member(&mut world, "10.0.9.1", hosts[0], run(0xee));
            hand.record(&mut world, bytes);
            // Whole frames around it in the same record are taken as well.
            hand.record(&mut world, &[&Frame::Ping { token: 8 }.encode(), *bytes].concat());
            hand.record(&mut world, &Frame::Ping { token: 9 }.encode());
            hand.shake(&mut world);
            let downs: Vec<Reason> = world.host(hosts[0]).events().iter().filter_map(down_reason).collect();
            assert_eq!(downs, expected.iter().cloned().collect::<Vec<_>>(), "seed {seed}: {bytes:02x?}");
            let answered = hand.heard.contains(&Frame::Pong { token: 9 });
            assert_eq!(answered, expected.is_none(), "seed {seed}: {bytes:02x?}");
            assert_eq!(told(&world, &hosts[1..]), other);
            assert!(world.linked(hosts[0], hosts[1]));
        }
    }
}
