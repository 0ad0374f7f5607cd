//! Members that lie and break the rules: scenario S44, and every kind of bad input.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use cluster_core::wire::{
    Accept, Ack, Announce, Claim, Close, Data, Digest, Entry, List, Offer, PeerStream, Reject, Resume, StreamId, Update,
};
use cluster_core::{Advertised, Event, Frame, Incarnation, NodeId, ProtocolError, Reason, RejectCode, Run};
use cluster_sim::{FrameKind, HostId, PuppetState, Script, World};

use crate::hand::*;
use crate::harness::*;

#[test]
fn s44_two_goodbyes_that_cross_are_the_last_words() {
    for seed in SEEDS {
        let goodbyes = |world: &World, host: HostId| {
            let wire = world.host(host).wire();
            wire.frames(FrameKind::Close) + wire.frames(FrameKind::Reject)
        };
        let (mut world, hosts) = mesh(seed, 3);
        let [a, b, c] = hosts[..] else { unreachable!() };
        let (id_a, id_b) = (world.host(a).id(), world.host(b).id());
        world.node(a).disconnect(id_b).unwrap();
        world.node(b).disconnect(id_a).unwrap();
        world.run_for(secs(300));
        assert!(goodbyes(&world, a) <= 1 && goodbyes(&world, b) <= 1, "seed {seed}");
        assert_eq!((world.host(a).downs(b), world.host(b).downs(a)), (1, 1));
        assert!(world.linked(a, c) && world.linked(b, c));
        assert_eq!(world.net().opened(a, b), 1, "neither dials the other");

        // Both leave at once.
        world.node(a).leave(secs(1));
        world.node(c).leave(secs(1));
        world.run_for(secs(60));
        assert!(goodbyes(&world, a) <= 3 && goodbyes(&world, c) <= 3, "seed {seed}");
        assert!(!world.host(a).is_running() && !world.host(c).is_running());
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
                world.host(puppet).heard().iter().any(|heard| matches!(heard.frame, Frame::Claim(_)))
            });
            for _ in 0..5 {
                world.puppet(puppet).send_on(0, frame.clone());
            }
            world.run_for(secs(20));
            let negative = |frame: &Frame| matches!(frame, Frame::Close(_) | Frame::Reject(_));
            let count = world.host(puppet).heard().iter().filter(|heard| negative(&heard.frame)).count();
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
        let address = world.host(host).addr();
        world.puppet(puppet).dial(address);
    }
    world.expect("it is up everywhere", secs(1), |world| hosts.iter().all(|&host| world.host(host).sees(puppet)));
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
    let id = world.host(puppet).id();
    world.node(a).send(id, vec![1; 100]).unwrap();
    world.run_for(ms(5));
}

#[test]
fn a_member_that_breaks_a_rule_loses_its_link_for_a_named_reason_and_nobody_else_notices() {
    use ProtocolError::*;
    const WINDOW: u64 = 256 << 10;
    let breaches: [(&str, ProtocolError, Breach); 25] = [
        ("data beyond credit", CreditExceeded, |world, a, puppet| {
            world.host_mut(a).set_consuming(false);
            for _ in 0..20 {
                world.puppet(puppet).say_on(0, &[0; 16 << 10]);
            }
        }),
        ("one byte beyond credit", CreditExceeded, |world, a, puppet| {
            world.host_mut(a).set_consuming(false);
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
            assert_eq!(world.host(puppet).puppet_links()[0], PuppetState::Over, "seed {seed}: {what}");
            assert_eq!(world.node(a).stats().protocol_errors, 1, "seed {seed}: {what}");
            world.host_mut(a).set_consuming(true);
            world.run_for(secs(10));
            assert_eq!(told(&world, &hosts[1..]), others, "seed {seed}: {what}");
            assert!(world.linked(a, hosts[1]) && world.linked(a, hosts[2]) && world.linked(hosts[1], hosts[2]));
            assert_eq!(world.host(a).downs(hosts[1]) + world.host(a).downs(hosts[2]), 0, "seed {seed}: {what}");
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
            let to = world.host(hosts[0]).addr();
            world.puppet(puppet).dial(to);
            world.run_for(ms(20));
            assert_eq!(world.host(puppet).puppet_links(), [PuppetState::Connected]);
            world.puppet(puppet).send(frame.clone());
            world.run_for(ms(10));
            assert_eq!(world.host(puppet).puppet_links(), [PuppetState::Over], "seed {seed}: {frame:?}");
            assert_eq!(
                world.host(hosts[0]).notices()[0].notice.reason,
                Reason::Protocol(*error),
                "seed {seed}: {frame:?}"
            );
            assert_eq!(told(&world, &hosts), before, "seed {seed}: {frame:?}");
            assert_eq!(world.host(hosts[0]).links().len(), 1);
            assert_eq!(world.host(hosts[0]).core().peers().count(), 1);
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
            let to = world.host(hosts[0]).addr();
            world.puppet(puppet).dial(to);
            world.run_for(ms(20));
            let theirs = world.host(puppet).heard().iter().find_map(|heard| match &heard.frame {
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
            assert_eq!(world.host(puppet).puppet_links(), [PuppetState::Over], "seed {seed}: {lie:?}");
            let reason = Reason::Protocol(ProtocolError::BadOffer);
            assert_eq!(world.host(hosts[0]).closes().last().map(|closed| &closed.reason), Some(&reason), "{lie:?}");
            assert_eq!(told(&world, &hosts), before, "seed {seed}: {lie:?}");
            // An honest offer is welcome afterwards.
            world.puppet(puppet).script(|script| script.resume = true);
            world.puppet(puppet).dial(to);
            world.expect("it is up", secs(1), |world| world.host(hosts[0]).sees(puppet));
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
            assert!(world.host(hosts[0]).sees(puppet), "seed {seed}: {offer:?} says nothing that cannot be");
            message_for_the_puppet(&mut world, hosts[0], puppet);
            world.expect("a message gets there", secs(1), |world| world.host(puppet).puppet_messages().len() == 1);
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
                world.net_mut().raw_host("10.66.0.1");
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
            let dials: Vec<_> = world.net().dials().iter().filter(|dial| dial.from == a && dial.at >= begin).collect();
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
            assert!(world.is_mesh_but(&hosts, puppet) && world.host(a).count_events(gaps) > 0);

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
        hosts.iter().enumerate().all(linked) && hosts.iter().all(|&host| self.host(host).sees(puppet))
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
        "[64:ff9b::a9fe:a9fe]:80",
        "240.0.0.1:7000",
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
        world.host_mut(puppet).crash(cluster_sim::Crash::Kill);
        world.run_for(secs(60));
        let dialled: BTreeSet<SocketAddr> = world.net().dials().iter().map(|dial| dial.to).collect();
        for place in &forbidden {
            assert!(!dialled.contains(place), "seed {seed}: {place} was dialled");
        }
        assert!(world.net().dials_to(allowed, begin) > 0, "seed {seed}: what is allowed is tried");
    }
}

#[test]
fn a_goodbye_on_a_second_link_leaves_it_to_the_live_one_to_say_so() {
    for seed in SEEDS {
        for (close, reason) in [(Close::Leaving, Reason::Left), (Close::Removed, Reason::Removed)] {
            let (mut world, hosts, puppet) = infiltrated(seed, Script::default());
            let a = hosts[0];
            let to = world.host(a).addr();
            world.puppet(puppet).script(|script| script.claim = None);
            let second = world.puppet(puppet).dial(to);
            world.run_for(ms(10));
            world.puppet(puppet).send_on(second, Frame::Close(close));
            world.run_for(secs(10));
            assert_eq!(down_reasons(&world, a, puppet), [], "seed {seed}");
            assert!(world.host(a).sees(puppet));
            world.puppet(puppet).send_on(0, Frame::Close(close));
            world.run_for(secs(10));
            assert_eq!(down_reasons(&world, a, puppet), [reason], "seed {seed}");
            assert_eq!(
                world.net().dials().iter().filter(|dial| dial.from == a && dial.to.ip() == puppet_ip()).count(),
                0
            );
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
            world.expect("it is asked", secs(1), |world| !world.host(puppet).heard().is_empty());
            let to = world.host(a).addr();
            let link = world.puppet(puppet).dial(to);
            world.expect("it is up by its own dial", secs(1), |world| world.host(a).sees(puppet));
            world.puppet(puppet).send_on(0, Frame::Reject(Reject { code }));
            world.run_for(secs(3));
            // Whoever leaves still takes what was sent to it.
            assert_eq!(down_reasons(&world, a, puppet), [], "seed {seed}: {code}");
            let id = world.host(puppet).id();
            world.node(a).send(id, vec![1; 100]).unwrap();
            world.expect("a message gets there", secs(1), |world| world.host(puppet).puppet_messages().len() == 1);
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
                let Run { id, incarnation } = world.host(hosts[1]).run();
                let number = if later { incarnation.0 + 1 } else { incarnation.0 - 1 };
                let clone = Run { id, incarnation: Incarnation(number) };
                let before = told(&world, &hosts);
                let script = Script { run: Some(clone), claim: None, ..Script::default() };
                let puppet = world.add_puppet("10.0.9.1", script);
                let to = world.host(hosts[0]).addr();
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
