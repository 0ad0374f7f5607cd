//! Versions, bad input and members that lie: scenarios S07, S44 and S46 to S49, and every kind of bad input.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use cluster_core::limits::NOTICE_INTERVAL;
use cluster_core::wire::{
    Accept, Ack, Announce, Claim, Close, Data, Digest, Entry, List, Offer, PeerStream, Profile, Reject, Resume,
    StreamId, Update,
};
use cluster_core::{
    Advertised, Channel, ChannelError, Event, Frame, FrameError, Hello, Incarnation, JoinError, Limits, NodeId,
    ProtocolError, Reason, Received, RejectCode, Role, Run, Stats,
};
use cluster_sim::{Block, FrameKind, Greeting, HostId, PuppetState, RawConn, RawState, Script, World};

use crate::harness::*;

const PREAMBLE: &[u8] = b"\xf5clu\x01\x01\0\0\0\0\0\0";

/// The events of every host, to see that nobody was told anything.
fn told(world: &World, hosts: &[HostId]) -> Vec<usize> {
    hosts.iter().map(|&host| world.events(host).len()).collect()
}

/// How many links a node has that do not connect it with a peer.
fn strays(world: &World, host: HostId) -> usize {
    world.links(host).iter().filter(|link| !link.granted).count()
}

/// At most one notice per source and interval.
#[track_caller]
fn notices_are_rare(world: &World, host: HostId) {
    let mut last: BTreeMap<IpAddr, _> = BTreeMap::new();
    for noticed in world.notices(host) {
        if let Some(before) = last.insert(noticed.notice.source, noticed.at) {
            let span: Duration = noticed.at - before;
            assert!(span >= NOTICE_INTERVAL, "two notices of {} within {span:?}", noticed.notice.source);
        }
    }
}

fn is_over(world: &World, conn: RawConn) -> bool {
    matches!(world.raw_state(conn), RawState::Ended | RawState::Reset)
}

fn run(number: u8) -> Run {
    Run { id: NodeId::from_bytes([number; 16]), incarnation: Incarnation(u64::from(number)) }
}

fn profile(addresses: Vec<Advertised>) -> Profile {
    Profile { name: None, metadata: Bytes::new(), addresses, max_message: 16 << 20, window: 256 << 10 }
}

fn offer() -> Offer {
    Offer { stream: StreamId(u64::MAX / 3), next: 0, peer: PeerStream::None }
}

/// One side of a real handshake on a raw connection, which can stop at any byte and say anything afterwards.
struct Hand {
    conn: RawConn,
    role: Role,
    channel: Channel,
    /// Bytes it may still write.
    left: usize,
    wrote: Vec<u8>,
    heard: Vec<Frame>,
}

impl Hand {
    fn new(world: &mut World, conn: RawConn, role: Role, run: Run) -> Hand {
        let hello = Hello {
            run,
            cluster: "default".parse().unwrap(),
            versions: 1..=1,
            features: 0,
            nonce: [(); 16].map(|()| world.draw(256) as u8),
        };
        let channel = Channel::new(role, hello);
        Hand { conn, role, channel, left: usize::MAX, wrote: Vec::new(), heard: Vec::new() }
    }

    fn dial(world: &mut World, ip: &str, to: SocketAddr, run: Run) -> Hand {
        let conn = world.raw_dial(ip, to);
        Hand::new(world, conn, Role::Initiator, run)
    }

    /// Dials and does everything until it is a member.
    fn member(world: &mut World, ip: &str, host: HostId, run: Run) -> Hand {
        let address = world.addr(host);
        let mut hand = Hand::dial(world, ip, address, run);
        hand.shake(world);
        world.run_for(ms(10));
        let up = world.core(host).peer(run.id).is_some();
        assert!(up, "the handshake is complete");
        hand
    }

    /// Twenty milliseconds of a handshake.
    fn shake(&mut self, world: &mut World) {
        for _ in 0..40 {
            self.step(world);
            world.run_for(Duration::from_micros(500));
        }
    }

    fn step(&mut self, world: &mut World) {
        if world.raw_state(self.conn) == RawState::Dialing {
            return;
        }
        let bytes = world.raw(self.conn).read();
        self.channel.receive(Bytes::from(bytes));
        while let Ok(Some(received)) = self.channel.poll() {
            match received {
                Received::Connected(_) => {
                    if self.role == Role::Initiator {
                        let profile = profile(Vec::new());
                        self.channel.send(Frame::Claim(Claim { generation: 1, rejoin: false, profile }));
                    }
                }
                Received::Frame(frame) => {
                    match &frame {
                        Frame::Claim(_) => {
                            let profile = profile(Vec::new());
                            self.channel.send(Frame::Accept(Accept { profile, offer: offer() }));
                        }
                        Frame::Accept(_) => self.channel.send(Frame::Resume(Resume { offer: offer() })),
                        _ => {}
                    }
                    self.heard.push(frame);
                }
            }
        }
        let bytes = self.channel.output().pieces().collect::<Vec<_>>().concat();
        self.channel.output().advance(bytes.len());
        self.write(world, &bytes);
    }

    fn write(&mut self, world: &mut World, bytes: &[u8]) {
        let count = bytes.len().min(self.left);
        self.left -= count;
        self.wrote.extend_from_slice(&bytes[..count]);
        world.raw(self.conn).write(&bytes[..count]);
    }

    /// One record with these bytes in it.
    fn record(&mut self, world: &mut World, body: &[u8]) {
        let length = u16::try_from(body.len()).unwrap();
        self.write(world, &[&length.to_be_bytes(), body].concat());
    }
}

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
            let to = world.addr(hosts[0]);
            let ip = format!("10.0.9.{}", index + 1);
            let failed = world.node(hosts[0]).stats().failed_handshakes;
            let conn = world.raw_dial(&ip, to);
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

fn sources(world: &World, host: HostId) -> BTreeMap<IpAddr, usize> {
    let mut sources = BTreeMap::new();
    for noticed in world.notices(host) {
        *sources.entry(noticed.notice.source).or_default() += 1;
    }
    sources
}

#[test]
fn s48_a_byte_per_second_does_not_move_the_deadline() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2);
        let before = told(&world, &hosts);
        let to = world.addr(hosts[0]);
        let begin = world.now();
        let conn = world.raw_dial("10.0.9.1", to);
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
        let to = world.addr(hosts[0]);
        let begin = world.now();
        for _ in 0..250 {
            let conn = world.raw_dial("10.0.9.1", to);
            world.run_for(ms(4));
            world.raw(conn).write(b"GET / HTTP/1.1\r\n\r\n");
            world.run_for(ms(100));
        }
        let span = (world.now() - begin).as_secs() as usize;
        let notices = world.notices(hosts[0]);
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
        let to = world.addr(hosts[0]);
        let mut newcomer = None;
        for number in 0..10_000_u32 {
            let source = number % 2_500;
            world.raw_dial(&format!("10.7.{}.{}", source / 250, source % 250 + 1), to);
            world.run_for(ms(1));
            assert!(strays(&world, hosts[0]) <= 64, "seed {seed}: {}", strays(&world, hosts[0]));
            if number == 4_000 {
                assert_eq!(strays(&world, hosts[0]), 48, "the flood fills every place that is not for peers");
                assert_eq!(told(&world, &hosts), before, "seed {seed}");
                let host = world.add(config());
                world.node(host).join(to).unwrap();
                newcomer = Some((host, world.now()));
            }
            if let Some((host, since)) = newcomer
                && world.core(host).peers().count() == 3
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
            assert_eq!(world.count_events(host, |event| matches!(event, Event::PeerDown { .. })), 0);
        }
    }
}

#[test]
fn s07_one_address_holds_no_more_than_its_share_of_places() {
    for seed in SEEDS {
        let mut limits = Limits::default();
        limits.accept_burst_per_ip = 100;
        let (mut world, hosts) = mesh_of(seed, 2, &config().limits(limits));
        let to = world.addr(hosts[0]);
        for _ in 0..100 {
            world.raw_dial("10.0.9.1", to);
        }
        world.run_for(ms(10));
        assert_eq!((strays(&world, hosts[0]), world.refused(hosts[0])), (8, 92), "seed {seed}");
        assert_eq!(world.node(hosts[0]).stats().per_ip_limit, 92);
        assert_eq!(world.notices(hosts[0]).len(), 1);
        world.run_for(ms(5_010));
        assert_eq!(strays(&world, hosts[0]), 0);
    }
}

#[test]
fn s07_one_address_gets_its_rate_and_others_theirs() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2);
        let to = world.addr(hosts[0]);
        let admitted = |world: &World| world.core(hosts[0]).stats().accepts;
        let before = admitted(&world);
        // Two addresses, of which each connects and goes, 250 times a second.
        for _ in 0..1_250 {
            for ip in ["10.0.9.1", "10.0.9.2"] {
                let conn = world.raw_dial(ip, to);
                world.run_for(ms(2));
                world.raw(conn).reset();
            }
        }
        // 5 at once, and 20 in each of 5 seconds, of each.
        let count = admitted(&world) - before;
        assert!((200..=210).contains(&count), "seed {seed}: {count}");
        let stats = world.node(hosts[0]).stats();
        assert_eq!((stats.accept_limit_per_ip, stats.per_ip_limit), (2_500 - count, 0), "seed {seed}");
        assert_eq!(world.notices(hosts[0]).len(), 2, "seed {seed}: one for each");
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
    let to = world.addr(hosts[0]);
    let flood = |world: &mut World, seconds: u32| {
        for number in 0..seconds * 1_000 {
            let source = number % 5_000;
            world.raw_dial(&format!("10.7.{}.{}", source / 250, source % 250 + 1), to);
            world.run_for(ms(1));
        }
    };
    // Only the one that is lost can dial the one that is being flooded.
    world.block_dials(hosts[0], hosts[2], Block::Refuse);
    for round in 0..5 {
        world.isolate(hosts[2]);
        flood(&mut world, 20);
        assert!(world.linked(hosts[0], hosts[1]) && !world.linked(hosts[0], hosts[2]));
        world.heal(hosts[0], hosts[2]);
        world.heal(hosts[1], hosts[2]);
        flood(&mut world, 100);
        assert!(world.is_complete(), "round {round}: it is back");
    }
    assert_eq!((world.downs(hosts[0], hosts[1]), world.downs(hosts[0], hosts[2])), (0, 5));
    let stats = world.node(hosts[0]).stats();
    assert!(are_right(&stats), "{stats:?}");
    notices_are_rare(&world, hosts[0]);
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
        let to = world.addr(hosts[0]);
        for length in 0..whole {
            let mut hand = Hand::dial(&mut world, "10.0.9.1", to, run(0xee));
            hand.left = length;
            hand.shake(&mut world);
            assert_eq!(hand.wrote.len(), length);
            vanish(&mut world, &hand, how);
            match how {
                Vanish::Silence => world.run_for(secs(5)),
                // No more than 20 a second.
                Vanish::Close | Vanish::Reset => world.run_for(ms(30)),
            }
            assert_eq!(world.links(hosts[0]).len(), 1, "{how:?} after {length} bytes");
            assert_eq!(world.refused(hosts[0]), 0, "{how:?} after {length} bytes");
            assert_eq!(told(&world, &hosts), before, "{how:?} after {length} bytes");
            assert_eq!(world.core(hosts[0]).peers().count(), 1, "{how:?} after {length} bytes");
        }
        notices_are_rare(&world, hosts[0]);
        // It was not held against it.
        Hand::member(&mut world, "10.0.9.1", hosts[0], run(0xee));
        assert!(world.linked(hosts[0], hosts[1]));
    }
}

#[test]
fn s48_who_answers_and_vanishes_at_any_byte_of_the_handshake_only_fails_the_join() {
    let listen = |world: &mut World| world.raw_listen("10.0.9.1:7000", Greeting::Wait);
    let answer = |world: &mut World, at: SocketAddr, left: usize| {
        world.run_for(ms(3));
        let (conn, _) = world.raw_accept(at).unwrap();
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
        assert!(world.core(hosts[0]).peer(run(0xee).id).is_some());
        hand.wrote.len()
    };
    assert!(whole > 100);
    for (seed, how) in [(1, Vanish::Close), (2, Vanish::Reset), (3, Vanish::Silence)] {
        let (mut world, hosts) = mesh(seed, 2);
        let before = world.events(hosts[0]).len();
        let other = told(&world, &hosts[1..]);
        let at = listen(&mut world);
        for length in 0..whole {
            world.node(hosts[0]).join(at).unwrap();
            let hand = answer(&mut world, at, length);
            vanish(&mut world, &hand, how);
            // Further tries of the same join are not answered at all.
            world.run_for(secs(11));
            while world.raw_accept(at).is_some() {}
            assert_eq!(world.links(hosts[0]).len(), 1, "{how:?} after {length} bytes");
            let events = &world.events(hosts[0])[before..];
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
        let at = world.raw_listen("10.0.9.1:7000", Greeting::Wait);
        world.node(hosts[0]).join(at).unwrap();
        world.run_for(ms(10));
        let (conn, _) = world.raw_accept(at).unwrap();
        let words = world.raw(conn).read();
        assert!(words.starts_with(PREAMBLE) && words.len() > PREAMBLE.len() + 17);
        world.raw(conn).write(&words);
        world.run_for(ms(5));
        assert_eq!(strays(&world, hosts[0]), 0, "seed {seed}");
        assert_eq!(world.notices(hosts[0])[0].notice.reason, Reason::Channel(ChannelError::Replay));
        world.run_for(secs(6));
        let up = |event: &Event| matches!(event, Event::PeerUp(_));
        assert_eq!(world.count_events(hosts[0], up), 1, "the other node only");
    }
}

#[test]
fn s49_a_recorded_conversation_played_again_changes_nothing() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2);
        let mut hand = Hand::member(&mut world, "10.0.9.1", hosts[0], run(0xee));
        hand.record(&mut world, &Frame::Data(Data { offset: 0, bytes: Bytes::from_static(b"\x42hi") }).encode());
        world.run_for(ms(10));
        assert_eq!(world.messages(hosts[0]).len(), 1);
        let begin = world.now();
        let before = told(&world, &hosts);
        let to = world.addr(hosts[0]);
        for round in 0..20 {
            // As it was said, at once, and cut at every kind of place.
            let replay = world.raw_dial("10.0.9.2", to);
            world.run_for(ms(4));
            let count = if round == 0 { hand.wrote.len() } else { world.draw(hand.wrote.len() as u64) as usize };
            world.raw(replay).write(&hand.wrote[..count]);
            world.run_for(ms(50));
            // Meanwhile the real one lives.
            hand.record(&mut world, &Frame::Ping { token: round }.encode());
            hand.step(&mut world);
            if round == 0 {
                assert_eq!(world.notices(hosts[0])[0].notice.reason, Reason::Channel(ChannelError::Replay));
            }
        }
        assert!(world.now() - begin < secs(5));
        assert_eq!(told(&world, &hosts), before, "seed {seed}");
        assert_eq!(world.messages(hosts[0]).len(), 1, "seed {seed}");
        assert!(world.core(hosts[0]).peer(run(0xee).id).is_some_and(|peer| peer.state == cluster_core::PeerState::Up));
        // And when the real one is gone, the recording does not bring it back.
        world.raw(hand.conn).reset();
        world.run_for(ms(10));
        let ups = |world: &World| world.count_events(hosts[0], |event| matches!(event, Event::PeerUp(_)));
        let count = ups(&world);
        let replay = world.raw_dial("10.0.9.2", to);
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
        assert_eq!(world.count_events(other, failed), 1, "seed {seed}");
        assert_eq!(world.events(other).len(), 1, "seed {seed}");
        let why = JoinError::Failed(Reason::Channel(ChannelError::Cluster));
        let cluster = |event: &Event| matches!(event, Event::JoinFailed { error, .. } if *error == why);
        named += world.count_events(other, cluster);
        assert_eq!(world.notices(hosts[0])[0].notice.reason, Reason::Channel(ChannelError::Cluster));
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
        world.expect("all are up", secs(1), |world| world.linked(a, b) && world.sees(a, puppet));
        world.send_numbered(a, b, 100).unwrap();
        world.run_for(secs(10));
        assert!(world.numbered(b, a) == 1 && world.linked(a, b) && world.sees(a, puppet), "seed {seed}");
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
        let to = world.addr(hosts[0]);
        let link = world.puppet(puppet).dial(to);
        world.run_for(ms(20));
        if let Some(error) = world.puppet_error(puppet, link) {
            assert_eq!(error, versions(2..=3, 1..=1), "seed {seed}");
            named += 1;
        }
        let reason = &world.notices(hosts[0])[0].notice.reason;
        assert_eq!(*reason, Reason::Channel(versions(1..=1, 2..=3)));
        let text = reason.to_string();
        assert!(text.contains("1 to 1") && text.contains("2 to 3"), "{text}");
        assert_eq!(told(&world, &hosts), before);

        // We dial it.
        let at = world.raw_listen("10.0.9.2:7000", Greeting::Wait);
        world.node(hosts[1]).join(at).unwrap();
        world.run_for(ms(3));
        let (conn, _) = world.raw_accept(at).unwrap();
        world.raw(conn).write(b"\xf5clu\x02\x03\0\0\0\0\0\0");
        world.run_for(ms(5));
        let words = world.raw(conn).read();
        assert_eq!(words[4..6], [1, 1], "what we say has our range in it");
        let expected = JoinError::Failed(Reason::Channel(versions(1..=1, 2..=3)));
        let failed = |event: &Event| matches!(event, Event::JoinFailed { error, .. } if *error == expected);
        assert_eq!(world.count_events(hosts[1], failed), 1, "seed {seed}: at once, it cannot get better");
        let text = expected.to_string();
        assert!(text.contains("1 to 1") && text.contains("2 to 3"), "{text}");

        // As a seed it is tried for ever, and slowly.
        let seed_at = world.addr(puppet);
        let begin = world.now();
        world.node(hosts[2]).add_seed(seed_at).unwrap();
        world.run_for(secs(1_200));
        let dials = world.dials_to(seed_at, begin);
        assert!((20..=150).contains(&dials), "seed {seed}: {dials} dials in 20 minutes");
        assert!(world.is_mesh(&hosts));
        for &host in &hosts {
            notices_are_rare(&world, host);
            assert_eq!(world.count_events(host, |event| matches!(event, Event::PeerDown { .. })), 0);
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
            let downs: Vec<Reason> = world.events(hosts[0]).iter().filter_map(down_reason).collect();
            assert_eq!(downs, expected.iter().cloned().collect::<Vec<_>>(), "seed {seed}: {bytes:02x?}");
            let answered = hand.heard.contains(&Frame::Pong { token: 9 });
            assert_eq!(answered, expected.is_none(), "seed {seed}: {bytes:02x?}");
            assert_eq!(told(&world, &hosts[1..]), other);
            assert!(world.linked(hosts[0], hosts[1]));
        }
    }
}

fn down_reason(logged: &cluster_sim::Logged) -> Option<Reason> {
    match &logged.event {
        Event::PeerDown { reason, .. } => Some(reason.clone()),
        _ => None,
    }
}

#[test]
fn s44_two_goodbyes_that_cross_are_the_last_words() {
    for seed in SEEDS {
        let goodbyes = |world: &World, host: HostId| {
            let wire = world.wire(host);
            wire.frames(FrameKind::Close) + wire.frames(FrameKind::Reject)
        };
        let (mut world, hosts) = mesh(seed, 3);
        let [a, b, c] = hosts[..] else { unreachable!() };
        let (id_a, id_b) = (world.id(a), world.id(b));
        world.node(a).disconnect(id_b).unwrap();
        world.node(b).disconnect(id_a).unwrap();
        world.run_for(secs(300));
        assert!(goodbyes(&world, a) <= 1 && goodbyes(&world, b) <= 1, "seed {seed}");
        assert_eq!((world.downs(a, b), world.downs(b, a)), (1, 1));
        assert!(world.linked(a, c) && world.linked(b, c));
        assert_eq!(world.opened(a, b), 1, "neither dials the other");

        // Both leave at once.
        world.node(a).leave(secs(1));
        world.node(c).leave(secs(1));
        world.run_for(secs(60));
        assert!(goodbyes(&world, a) <= 3 && goodbyes(&world, c) <= 3, "seed {seed}");
        assert!(!world.is_running(a) && !world.is_running(c));
    }
}

#[test]
fn s44_a_goodbye_or_refusal_is_not_answered_with_another() {
    for seed in SEEDS {
        for frame in [
            Frame::Close(Close::Removed),
            Frame::Close(Close::Leaving),
            Frame::Close(Close::Other(77)),
            Frame::Reject(Reject { code: RejectCode::Removed }),
            Frame::Reject(Reject { code: RejectCode::Other(99) }),
        ] {
            let (mut world, hosts) = mesh(seed, 2);
            let puppet = world.add_puppet("10.0.9.1", Script { accept: false, ..Script::default() });
            world.node(hosts[0]).join(puppet).unwrap();
            world.expect("it is asked", secs(1), |world| {
                world.heard(puppet).iter().any(|heard| matches!(heard.frame, Frame::Claim(_)))
            });
            for _ in 0..5 {
                world.puppet(puppet).send_on(0, frame.clone());
            }
            world.run_for(secs(20));
            let negative = |frame: &Frame| matches!(frame, Frame::Close(_) | Frame::Reject(_));
            let count = world.heard(puppet).iter().filter(|heard| negative(&heard.frame)).count();
            assert_eq!(count, 0, "seed {seed}: {frame:?}");
            assert!(world.linked(hosts[0], hosts[1]));
        }
    }
}

/// A mesh of three with a puppet that is up at all of them; its link 0 is the one with the first.
fn infiltrated(seed: u64, script: Script) -> (World, Vec<HostId>, HostId) {
    let (mut world, hosts) = mesh(seed, 3);
    let puppet = world.add_puppet("10.0.9.1", script);
    for &host in &hosts {
        let address = world.addr(host);
        world.puppet(puppet).dial(address);
    }
    world.expect("it is up everywhere", secs(1), |world| hosts.iter().all(|&host| world.sees(host, puppet)));
    world.run_for(secs(3));
    (world, hosts, puppet)
}

/// What a member that breaks the rules says on its link with the first node.
type Breach = fn(&mut World, HostId, HostId);

fn say(world: &mut World, puppet: HostId, frame: Frame) {
    world.puppet(puppet).send_on(0, frame);
}

fn data(offset: u64, bytes: &[u8]) -> Frame {
    Frame::Data(Data { offset, bytes: Bytes::copy_from_slice(bytes) })
}

fn ack(received: u64, consumed: u64, consumed_messages: u64, granted: u64) -> Frame {
    Frame::Ack(Ack { received, consumed, consumed_messages, granted })
}

/// The first node sends the puppet a message of 100 bytes, 102 of stream.
fn message_for_the_puppet(world: &mut World, a: HostId, puppet: HostId) {
    let id = world.id(puppet);
    world.node(a).send(id, vec![1; 100]).unwrap();
    world.run_for(ms(5));
}

#[test]
fn a_member_that_breaks_a_rule_loses_its_link_for_a_named_reason_and_nobody_else_notices() {
    use ProtocolError::*;
    const WINDOW: u64 = 256 << 10;
    let breaches: [(&str, ProtocolError, Breach); 25] = [
        ("data beyond credit", CreditExceeded, |world, a, puppet| {
            world.set_consuming(a, false);
            for _ in 0..20 {
                world.puppet(puppet).say_on(0, &[0; 16 << 10]);
            }
        }),
        ("one byte beyond credit", CreditExceeded, |world, a, puppet| {
            world.set_consuming(a, false);
            world.puppet(puppet).say_on(0, &[0; (128 << 10) - 5]);
            world.puppet(puppet).say_on(0, &[0; (128 << 10) - 4]);
        }),
        ("a wrong offset", WrongOffset, |world, _, puppet| say(world, puppet, data(1, b"\x40"))),
        ("the last offset", WrongOffset, |world, _, puppet| say(world, puppet, data(u64::MAX - 1, b"\x40"))),
        ("the same data again", WrongOffset, |world, _, puppet| {
            say(world, puppet, data(0, b"\x40"));
            say(world, puppet, data(0, b"\x40"));
        }),
        ("a message of 2^64 - 1 bytes", MessageTooLarge, |world, _, puppet| {
            say(world, puppet, data(0, b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff"));
        }),
        ("a message one byte beyond the cap", MessageTooLarge, |world, _, puppet| {
            say(world, puppet, data(0, b"\x5a\x01\x00\x00\x01"));
        }),
        ("a message that is no byte string", BadMessageHead, |world, _, puppet| {
            say(world, puppet, data(0, b"\x63abc"))
        }),
        ("a head that is not the shortest", BadMessageHead, |world, _, puppet| {
            say(world, puppet, data(0, b"\x58\x01a"));
        }),
        ("a head without a length", BadMessageHead, |world, _, puppet| say(world, puppet, data(0, b"\x5f\x41a\xff"))),
        ("a bad message behind a good one", BadMessageHead, |world, _, puppet| {
            say(world, puppet, data(0, b"\x41a\x00"));
        }),
        ("an ack of what was never sent", BadAck, |world, _, puppet| say(world, puppet, ack(1, 0, 0, WINDOW))),
        ("an ack of everything there can be", BadAck, |world, _, puppet| {
            say(world, puppet, ack(u64::MAX, u64::MAX, u64::MAX, u64::MAX));
        }),
        ("an ack that goes back", BadAck, |world, a, puppet| {
            message_for_the_puppet(world, a, puppet);
            say(world, puppet, ack(0, 0, 0, 32 << 20));
        }),
        ("an ack that takes credit back", BadAck, |world, _, puppet| say(world, puppet, ack(0, 0, 0, WINDOW - 1))),
        ("taken more than received", BadAck, |world, a, puppet| {
            world.puppet(puppet).script(|script| script.ack = false);
            message_for_the_puppet(world, a, puppet);
            say(world, puppet, ack(50, 102, 1, WINDOW));
        }),
        ("taken half a message", BadAck, |world, a, puppet| {
            world.puppet(puppet).script(|script| script.ack = false);
            message_for_the_puppet(world, a, puppet);
            say(world, puppet, ack(102, 51, 0, WINDOW));
        }),
        ("taken another number of messages", BadAck, |world, a, puppet| {
            world.puppet(puppet).script(|script| script.ack = false);
            message_for_the_puppet(world, a, puppet);
            say(world, puppet, ack(102, 102, 2, WINDOW));
        }),
        ("received more than granted", BadAck, |world, a, puppet| {
            world.puppet(puppet).script(|script| script.ack = false);
            message_for_the_puppet(world, a, puppet);
            say(world, puppet, ack(102, 102, 1, 101));
        }),
        ("a second claim", UnexpectedFrame, |world, _, puppet| {
            let claim = Claim { generation: 9, rejoin: true, profile: profile(Vec::new()) };
            say(world, puppet, Frame::Claim(claim));
        }),
        ("an accept of nothing", UnexpectedFrame, |world, _, puppet| {
            say(world, puppet, Frame::Accept(Accept { profile: profile(Vec::new()), offer: offer() }));
        }),
        ("a second resume", UnexpectedFrame, |world, _, puppet| {
            say(world, puppet, Frame::Resume(Resume { offer: offer() }))
        }),
        ("a refusal of nothing", UnexpectedFrame, |world, _, puppet| {
            say(world, puppet, Frame::Reject(Reject { code: RejectCode::Removed }));
        }),
        ("a stale-clock refusal of nothing", UnexpectedFrame, |world, _, puppet| {
            let code = RejectCode::Stale { known: Incarnation(u64::MAX - 1) };
            say(world, puppet, Frame::Reject(Reject { code }));
        }),
        ("a clone refusal of nothing", UnexpectedFrame, |world, _, puppet| {
            say(world, puppet, Frame::Reject(Reject { code: RejectCode::DuplicateIdentity }));
        }),
    ];
    for seed in 0..4 {
        for (what, error, breach) in &breaches {
            let (mut world, hosts, puppet) = infiltrated(seed, Script::default());
            let a = hosts[0];
            let others = told(&world, &hosts[1..]);
            breach(&mut world, a, puppet);
            world.run_for(ms(20));
            assert_eq!(down_reasons(&world, a, puppet), [Reason::Protocol(*error)], "seed {seed}: {what}");
            assert_eq!(world.puppet_links(puppet)[0], PuppetState::Over, "seed {seed}: {what}");
            assert_eq!(world.node(a).stats().protocol_errors, 1, "seed {seed}: {what}");
            world.set_consuming(a, true);
            world.run_for(secs(10));
            assert_eq!(told(&world, &hosts[1..]), others, "seed {seed}: {what}");
            assert!(world.linked(a, hosts[1]) && world.linked(a, hosts[2]) && world.linked(hosts[1], hosts[2]));
            assert_eq!(world.downs(a, hosts[1]) + world.downs(a, hosts[2]), 0, "seed {seed}: {what}");
        }
    }
}

#[test]
fn frames_before_their_time_end_a_link_that_was_never_up() {
    let own = || Claim { generation: u64::MAX, rejoin: false, profile: profile(Vec::new()) };
    let (nothing, early) = (ack(0, 0, 0, 1 << 20), ProtocolError::UnexpectedFrame);
    let frames = [
        (data(0, b"\x40"), early),
        (nothing, early),
        (Frame::Digest(Digest { buckets: [1; 16] }), early),
        (Frame::List(List { buckets: u16::MAX, reply: true, entries: Vec::new() }), early),
        (Frame::Announce(Announce { entries: Vec::new() }), early),
        (Frame::Update(Update { profile: profile(Vec::new()) }), early),
        (Frame::Accept(Accept { profile: profile(Vec::new()), offer: offer() }), early),
        (Frame::Resume(Resume { offer: offer() }), early),
        (Frame::Reject(Reject { code: RejectCode::Leaving }), early),
        (Frame::Claim(own()), ProtocolError::BadGeneration),
    ];
    for seed in SEEDS {
        for (frame, error) in &frames {
            let (mut world, hosts) = mesh(seed, 2);
            let before = told(&world, &hosts);
            let puppet = world.add_puppet("10.0.9.1", Script { claim: None, ..Script::default() });
            let to = world.addr(hosts[0]);
            world.puppet(puppet).dial(to);
            world.run_for(ms(20));
            assert_eq!(world.puppet_links(puppet), [PuppetState::Connected]);
            world.puppet(puppet).send(frame.clone());
            world.run_for(ms(10));
            assert_eq!(world.puppet_links(puppet), [PuppetState::Over], "seed {seed}: {frame:?}");
            assert_eq!(world.notices(hosts[0])[0].notice.reason, Reason::Protocol(*error), "seed {seed}: {frame:?}");
            assert_eq!(told(&world, &hosts), before, "seed {seed}: {frame:?}");
            assert_eq!(world.links(hosts[0]).len(), 1);
            assert_eq!(world.core(hosts[0]).peers().count(), 1);
        }
    }
}

#[test]
fn offers_that_lie_end_the_link_before_it_is_up() {
    for seed in SEEDS {
        for case in 0..7 {
            let (mut world, hosts) = mesh(seed, 2);
            let before = told(&world, &hosts);
            let puppet = world.add_puppet("10.0.9.1", Script { resume: false, ..Script::default() });
            let to = world.addr(hosts[0]);
            world.puppet(puppet).dial(to);
            world.run_for(ms(20));
            let theirs = world.heard(puppet).iter().find_map(|heard| match &heard.frame {
                Frame::Accept(accept) => Some(accept.offer.stream),
                _ => None,
            });
            let id = theirs.unwrap();
            let live = |received, consumed, consumed_messages, granted| PeerStream::Live {
                id,
                ack: Ack { received, consumed, consumed_messages, granted },
            };
            let lie = match case {
                0 => Offer { next: 1, ..offer() },
                1 => Offer { next: u64::MAX, ..offer() },
                2 => Offer { peer: live(1, 0, 0, 100), ..offer() },
                3 => Offer { peer: live(u64::MAX, u64::MAX, u64::MAX, u64::MAX), ..offer() },
                4 => Offer { peer: live(0, 0, 1, 100), ..offer() },
                5 => Offer { peer: PeerStream::Closed { id, consumed: 1 }, ..offer() },
                _ => Offer { peer: PeerStream::Closed { id, consumed: u64::MAX }, ..offer() },
            };
            world.puppet(puppet).send(Frame::Resume(Resume { offer: lie }));
            world.run_for(ms(10));
            assert_eq!(world.puppet_links(puppet), [PuppetState::Over], "seed {seed}: {lie:?}");
            let reason = Reason::Protocol(ProtocolError::BadOffer);
            assert_eq!(world.closes(hosts[0]).last().map(|closed| &closed.reason), Some(&reason), "{lie:?}");
            assert_eq!(told(&world, &hosts), before, "seed {seed}: {lie:?}");
            // An honest offer is welcome afterwards.
            world.puppet(puppet).script(|script| script.resume = true);
            world.puppet(puppet).dial(to);
            world.expect("it is up", secs(1), |world| world.sees(hosts[0], puppet));
        }
    }
}

#[test]
fn an_accept_with_any_offer_does_no_harm() {
    for seed in SEEDS {
        for (next, peer) in [
            (u64::MAX, PeerStream::None),
            (5, PeerStream::Closed { id: StreamId(u64::MAX), consumed: u64::MAX }),
            (0, PeerStream::Live { id: StreamId(0), ack: Ack { granted: u64::MAX, ..Ack::default() } }),
        ] {
            let (mut world, hosts) = mesh(seed, 2);
            let puppet = world.add_puppet("10.0.9.1", Script { accept: false, ..Script::default() });
            world.node(hosts[0]).join(puppet).unwrap();
            world.run_for(ms(20));
            let offer = Offer { stream: StreamId(u64::MAX), next, peer };
            world.puppet(puppet).send(Frame::Accept(Accept { profile: profile(Vec::new()), offer }));
            world.run_for(ms(20));
            assert!(world.sees(hosts[0], puppet), "seed {seed}: {offer:?} says nothing that cannot be");
            message_for_the_puppet(&mut world, hosts[0], puppet);
            world.expect("a message gets there", secs(1), |world| world.puppet_messages(puppet).len() == 1);
            world.run_for(secs(10));
            assert!(world.linked(hosts[0], hosts[1]));
        }
    }
}

fn lie(number: u32, addresses: Vec<SocketAddr>) -> Entry {
    let mut id = [0xab; 16];
    id[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    Entry { run: Run { id: NodeId::from_bytes(id), incarnation: Incarnation(1) }, addresses }
}

#[test]
fn ten_thousand_invented_members_cost_a_bounded_table_and_a_trickle_of_dials() {
    for seed in 0..3 {
        for hang in [false, true] {
            let (mut world, hosts, puppet) = infiltrated(seed, Script::default());
            world.keep_lines(50);
            let a = hosts[0];
            // There is a machine that refuses; or there is none, and dials hang.
            if !hang {
                world.raw_host("10.66.0.1");
            }
            let others = told(&world, &hosts[1..]);
            let begin = world.now();
            let port = |number: u32| SocketAddr::from(([10, 66, 0, 1], 1_000 + number as u16));
            for part in 0..20 {
                let entries = (0..500).map(|index| lie(part * 500 + index, vec![port(part * 500 + index)])).collect();
                say(&mut world, puppet, Frame::List(List { buckets: u16::MAX, reply: false, entries }));
            }
            world.run_for(secs(30));
            assert_eq!(world.node(a).stats().candidate_limit, 10_000 - 512, "seed {seed}: one introducer's quota");
            let dials: Vec<_> = world.dials().iter().filter(|dial| dial.from == a && dial.at >= begin).collect();
            let places: BTreeSet<SocketAddr> = dials.iter().map(|dial| dial.to).collect();
            assert!(places.len() <= 512 && !dials.is_empty(), "seed {seed}: {}", places.len());
            // A bucket of 32 that gets 10 in a second: over any span at most 32 and ten a second.
            for (index, first) in dials.iter().enumerate() {
                let after = |dial: &&&cluster_sim::Dialled| dial.at - first.at <= secs(3);
                let within = dials[index..].iter().filter(after).count();
                assert!(within <= 32 + 30 + 1, "seed {seed}: {within} dials in 3 s");
            }
            assert!(dials.len() <= 32 + 30 * 10 + 1, "seed {seed}: {}", dials.len());
            if hang {
                // 16 at a time, five seconds each.
                assert!(dials.len() <= 16 * 7, "seed {seed}: {}", dials.len());
            }
            let gaps = |event: &Event| !matches!(event, Event::PartialPartition { .. });
            assert_eq!(told(&world, &hosts[1..]), others, "seed {seed}: hearsay is not relayed");
            assert!(world.is_mesh_but(&hosts, puppet) && world.count_events(a, gaps) > 0);

            // An honest node still joins, through the very node that is being lied to.
            let newcomer = world.add(config());
            world.node(newcomer).join(a).unwrap();
            world.expect("it is in", secs(10), |world| hosts.iter().all(|&host| world.linked(host, newcomer)));
        }
    }
}

/// A mesh, apart from a puppet that all of them see.
trait ButFor {
    fn is_mesh_but(&self, hosts: &[HostId], puppet: HostId) -> bool;
}

impl ButFor for World {
    fn is_mesh_but(&self, hosts: &[HostId], puppet: HostId) -> bool {
        let linked = |(index, &a): (usize, &HostId)| hosts[..index].iter().all(|&b| self.linked(a, b));
        hosts.iter().enumerate().all(linked) && hosts.iter().all(|&host| self.sees(host, puppet))
    }
}

#[test]
fn addresses_of_kinds_that_are_none_of_our_business_are_never_dialled_on_hearsay() {
    let forbidden: Vec<SocketAddr> = [
        "169.254.169.254:80",
        "127.0.0.1:22",
        "8.8.8.8:53",
        "224.0.0.1:7000",
        "255.255.255.255:7000",
        "0.0.0.0:7000",
        "10.0.9.9:0",
        "[fe80::1]:7000",
        "[ff02::1]:7000",
        "[::1]:7000",
        "[::ffff:169.254.169.254]:80",
        "[::ffff:127.0.0.1]:6379",
        "[2001:db8::1]:7000",
        "[::]:7000",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    for seed in SEEDS {
        // It says that it is there itself, and that others are.
        let advertised: Vec<Advertised> = forbidden[..4].iter().copied().map(Advertised::Socket).collect();
        let script = Script { profile: Some(profile(advertised)), ..Script::default() };
        let (mut world, hosts, puppet) = infiltrated(seed, script);
        let a = hosts[0];
        let begin = world.now();
        let allowed = "10.66.0.2:9".parse().unwrap();
        let mut entries: Vec<Entry> =
            forbidden.chunks(4).zip(0..).map(|(places, number)| lie(number, places.to_vec())).collect();
        entries.extend(forbidden.iter().zip(100..).map(|(&place, number)| lie(number, vec![place])));
        entries.push(lie(1_000, vec![forbidden[0], allowed, forbidden[1]]));
        say(&mut world, puppet, Frame::List(List { buckets: u16::MAX, reply: true, entries: entries.clone() }));
        say(&mut world, puppet, Frame::Announce(Announce { entries: entries[..4].to_vec() }));
        for places in forbidden.chunks(4) {
            let profile = profile(places.iter().copied().map(Advertised::Socket).collect());
            say(&mut world, puppet, Frame::Update(Update { profile }));
        }
        world.run_for(secs(20));
        let refused = world.node(a).stats().addresses_refused;
        assert!(refused >= 2 * forbidden.len() as u64, "seed {seed}: {refused}");
        // Now everybody looks for it where it said it was.
        world.crash(puppet, cluster_sim::Crash::Kill);
        world.run_for(secs(60));
        let dialled: BTreeSet<SocketAddr> = world.dials().iter().map(|dial| dial.to).collect();
        for place in &forbidden {
            assert!(!dialled.contains(place), "seed {seed}: {place} was dialled");
        }
        assert!(world.dials_to(allowed, begin) > 0, "seed {seed}: what is allowed is tried");
    }
}

#[test]
fn a_goodbye_on_a_second_link_leaves_it_to_the_live_one_to_say_so() {
    for seed in SEEDS {
        for (close, reason) in [(Close::Leaving, Reason::Left), (Close::Removed, Reason::Removed)] {
            let (mut world, hosts, puppet) = infiltrated(seed, Script::default());
            let a = hosts[0];
            let to = world.addr(a);
            world.puppet(puppet).script(|script| script.claim = None);
            let second = world.puppet(puppet).dial(to);
            world.run_for(ms(10));
            world.puppet(puppet).send_on(second, Frame::Close(close));
            world.run_for(secs(10));
            assert_eq!(down_reasons(&world, a, puppet), [], "seed {seed}");
            assert!(world.sees(a, puppet));
            world.puppet(puppet).send_on(0, Frame::Close(close));
            world.run_for(secs(10));
            assert_eq!(down_reasons(&world, a, puppet), [reason], "seed {seed}");
            assert_eq!(world.dials().iter().filter(|dial| dial.from == a && dial.to.ip() == puppet_ip()).count(), 0);
        }
    }
}

fn puppet_ip() -> IpAddr {
    "10.0.9.1".parse().unwrap()
}

#[test]
fn a_refusal_of_our_dial_leaves_the_link_that_the_peer_is_up_by() {
    for seed in SEEDS {
        for (code, close, reason) in [
            (RejectCode::Leaving, Close::Leaving, Reason::Left),
            (RejectCode::Removed, Close::Removed, Reason::Removed),
        ] {
            let (mut world, hosts) = mesh(seed, 2);
            let a = hosts[0];
            let puppet = world.add_puppet("10.0.9.1", Script { accept: false, claim: Some(9), ..Script::default() });
            world.node(a).join(puppet).unwrap();
            world.expect("it is asked", secs(1), |world| !world.heard(puppet).is_empty());
            let to = world.addr(a);
            let link = world.puppet(puppet).dial(to);
            world.expect("it is up by its own dial", secs(1), |world| world.sees(a, puppet));
            world.puppet(puppet).send_on(0, Frame::Reject(Reject { code }));
            world.run_for(secs(3));
            // Whoever leaves still takes what was sent to it.
            assert_eq!(down_reasons(&world, a, puppet), [], "seed {seed}: {code}");
            let id = world.id(puppet);
            world.node(a).send(id, vec![1; 100]).unwrap();
            world.expect("a message gets there", secs(1), |world| world.puppet_messages(puppet).len() == 1);
            world.puppet(puppet).send_on(link, Frame::Close(close));
            world.run_for(secs(10));
            assert_eq!(down_reasons(&world, a, puppet), [reason], "seed {seed}: {code}");
            assert!(world.linked(a, hosts[1]));
        }
    }
}

#[test]
fn a_clone_that_says_goodbye_does_not_take_the_live_one_with_it() {
    for seed in SEEDS {
        for later in [false, true] {
            for close in [Close::Leaving, Close::Removed] {
                let (mut world, hosts) = mesh(seed, 3);
                let Run { id, incarnation } = world.run(hosts[1]);
                let number = if later { incarnation.0 + 1 } else { incarnation.0 - 1 };
                let clone = Run { id, incarnation: Incarnation(number) };
                let before = told(&world, &hosts);
                let script = Script { run: Some(clone), claim: None, ..Script::default() };
                let puppet = world.add_puppet("10.0.9.1", script);
                let to = world.addr(hosts[0]);
                world.puppet(puppet).dial(to);
                world.run_for(ms(10));
                world.puppet(puppet).send(Frame::Close(close));
                world.run_for(secs(10));
                assert_eq!(told(&world, &hosts), before, "seed {seed}: {close:?} of {clone:?}");
                assert!(world.is_mesh(&hosts), "seed {seed}: {close:?} of {clone:?}");
            }
        }
    }
}
