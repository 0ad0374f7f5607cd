//! Sessions: what was accepted has one honest outcome, whatever happens to the links that carry it.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_core::{Acknowledge, Config, Event, FlushError, Limits, Offline, SendErrorKind};
use cluster_sim::{Buffers, Crash, HostId, Latency, Restart, World};

use crate::harness::*;

/// A message that can be told from all others: its number, filled up to `length`.
fn payload(number: u64, length: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(length.max(8), number as u8);
    payload
}

fn number(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload[..8].try_into().unwrap())
}

/// What became of the messages that the node on `from` sent to the one on `to`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcomes {
    taken: Vec<u64>,
    not_delivered: BTreeSet<u64>,
    in_doubt: BTreeSet<u64>,
}

fn outcomes(world: &World, from: HostId, to: HostId) -> Outcomes {
    let mut outcomes = Outcomes {
        taken: world.host(to).messages().iter().map(|taken| number(&taken.payload)).collect(),
        ..Outcomes::default()
    };
    for logged in world.host(from).events() {
        if let Event::Undelivered(undelivered) = &logged.event {
            for payload in &undelivered.not_delivered {
                assert!(outcomes.not_delivered.insert(number(payload)), "told twice");
            }
            for payload in &undelivered.in_doubt {
                assert!(outcomes.in_doubt.insert(number(payload)), "told twice");
            }
        }
    }
    outcomes
}

/// Every one of `sent` messages was taken once and in order, or reported once; nothing that was certainly not delivered
/// was taken.
#[track_caller]
fn assert_honest(world: &World, from: HostId, to: HostId, sent: u64) -> Outcomes {
    let outcomes = outcomes(world, from, to);
    assert!(outcomes.taken.is_sorted_by(|a, b| a < b), "in order, each once: {:?}", outcomes.taken);
    let taken: BTreeSet<u64> = outcomes.taken.iter().copied().collect();
    assert!(taken.is_disjoint(&outcomes.not_delivered), "{outcomes:?}");
    let all: BTreeSet<u64> = &(&taken | &outcomes.not_delivered) | &outcomes.in_doubt;
    assert_eq!(all, (0..sent).collect(), "each has an outcome: {outcomes:?}");
    outcomes
}

fn pair_of(seed: u64, a: &Config, b: &Config) -> (World, HostId, HostId) {
    let mut world = World::new(seed);
    let (a, b) = (world.add(a.clone()), world.add(b.clone()));
    world.node(b).join(a).unwrap();
    world.expect("they are linked", secs(5), |world| world.linked(a, b));
    world.settle();
    (world, a, b)
}

fn delivered(world: &World, host: HostId) -> u64 {
    let told = |event: &Event| match event {
        Event::Delivered { messages, .. } => Some(*messages),
        _ => None,
    };
    world.host(host).events().iter().rev().find_map(|logged| told(&logged.event)).unwrap_or(0)
}

#[test]
fn what_is_sent_during_an_outage_arrives_after_it_exactly_once() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let (to_b, to_a) = (world.host(b).id(), world.host(a).id());
        let mut sent = 0;
        for outage in [secs(2), secs(8), secs(60)] {
            world.net_mut().cut(a, b);
            let end = world.now() + outage;
            while world.now() < end {
                for length in [8, 500, 40_000] {
                    world.node(a).send(to_b, payload(sent, length)).unwrap();
                    world.node(b).send(to_a, payload(sent, length)).unwrap();
                    sent += 1;
                }
                let wait = 1 + world.draw(2_000);
                world.run_for(ms(wait));
            }
            world.net_mut().heal(a, b);
            world.expect("they are linked again", secs(60), |world| world.linked(a, b));
            world.settle();
        }
        assert!(world.host(a).downs(b) >= 2, "seed {seed}");
        for (from, to) in [(a, b), (b, a)] {
            let outcomes = assert_honest(&world, from, to, sent);
            assert_eq!(outcomes.taken.len() as u64, sent, "seed {seed}: all are delivered");
            assert_eq!(delivered(&world, from), sent, "seed {seed}");
            assert_eq!(world.host(from).count_events(|event| matches!(event, Event::PeerGone { .. })), 0);
        }
    }
}

#[test]
fn connections_that_are_reset_again_and_again_lose_and_repeat_nothing() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let (to_b, to_a) = (world.host(b).id(), world.host(a).id());
        let mut sent = 0;
        for _ in 0..40 {
            for _ in 0..world.draw(30) {
                let length = [8, 100, 65_000, 300_000][world.draw(4) as usize];
                if world.node(a).send(to_b, payload(sent, length)).is_ok() {
                    while world.node(b).send(to_a, payload(sent, 8)).is_err() {
                        world.run_for(ms(10));
                    }
                    sent += 1;
                }
            }
            let wait = world.draw(400_000_000);
            world.run_for(Duration::from_nanos(wait));
            // Sometimes several in a row, so that handshakes are cut too.
            for _ in 0..=world.draw(3) {
                world.net_mut().reset_connections(a, b);
                let wait = world.draw(4_000_000);
                world.run_for(Duration::from_nanos(wait));
            }
        }
        world.expect("they are linked again", secs(60), |world| world.linked(a, b));
        world.settle();
        for (from, to) in [(a, b), (b, a)] {
            let outcomes = assert_honest(&world, from, to, sent);
            assert_eq!(outcomes.taken.len() as u64, sent, "seed {seed}: all are delivered");
        }
        assert!(world.node(a).stats().sessions_resumed > 5, "seed {seed}");
    }
}

#[test]
fn a_large_message_gets_on_by_parts_over_links_that_live_for_a_moment() {
    for seed in 0..5 {
        let (mut world, a, b) = pair(seed);
        world.net_mut().set_buffers(Buffers { send: 64 << 10, receive: 64 << 10 });
        world.net_mut().set_latency(Latency::Uniform { base: ms(5), jitter: ms(1) });
        world.net_mut().reset_connections(a, b);
        let id = world.host(b).id();
        world.node(a).send(id, payload(0, 1 << 20)).unwrap();
        let mut links = 0;
        while world.host(b).taken() == 0 {
            world.expect("they are linked", secs(60), |world| world.linked(a, b));
            world.run_for(ms(50));
            world.net_mut().reset_connections(a, b);
            links += 1;
            assert!(links < 200, "seed {seed}: it does not get on");
        }
        assert!(links > 2, "seed {seed}: {links} links");
        world.expect("its sender knows", secs(60), |world| delivered(world, a) == 1);
        assert_eq!(assert_honest(&world, a, b, 1).taken, [0], "seed {seed}");
    }
}

#[test]
fn a_restarted_receiver_leaves_doubt_only_about_what_was_on_its_way() {
    let mut doubts = 0;
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let id = world.host(b).id();
        let mut sent = 0;
        for _ in 0..50 {
            world.node(a).send(id, payload(sent, 1_000)).unwrap();
            sent += 1;
            let wait = world.draw(2_000_000);
            world.run_for(Duration::from_nanos(wait));
        }
        // What its user has not yet taken dies with it.
        world.host_mut(b).set_consuming(false);
        for _ in 0..50 {
            world.node(a).send(id, payload(sent, 1_000)).unwrap();
            sent += 1;
        }
        world.run_for(ms(20));
        world.host_mut(b).crash(Crash::Kill);
        world.expect("it is down", secs(7), |world| world.host(a).downs(b) == 1);
        for _ in 0..50 {
            world.node(a).send(id, payload(sent, 1_000)).unwrap();
            sent += 1;
        }
        world.host_mut(b).restart(Restart::default());
        world.host_mut(b).set_consuming(true);
        world.expect("its next run is there", secs(60), |world| world.linked(a, b));
        world.settle();
        let outcomes = assert_honest(&world, a, b, sent);
        assert_eq!(outcomes.not_delivered, (100..150).collect(), "seed {seed}: what was never sent is in no doubt");
        assert!(outcomes.taken.len() <= 50, "seed {seed}: nothing goes to the next run");
        doubts += outcomes.in_doubt.len();
        let gone = world.host(a).events().iter().position(|logged| matches!(logged.event, Event::PeerGone { .. }));
        let told = world.host(a).events().iter().position(|logged| matches!(logged.event, Event::Undelivered(_)));
        assert!(told < gone && gone.is_some(), "seed {seed}");
    }
    assert!(doubts > 50 * SEEDS.count());
}

#[test]
fn a_session_that_expires_at_one_end_only_still_has_one_outcome_for_each_message() {
    for seed in SEEDS {
        for (ttl_a, ttl_b) in [(10, 300), (300, 10), (10, 10)] {
            let (mut world, a, b) =
                pair_of(seed, &config().session_ttl(secs(ttl_a)), &config().session_ttl(secs(ttl_b)));
            let (to_a, to_b) = (world.host(a).id(), world.host(b).id());
            let (mut from_a, mut from_b) = (0, 0);
            for round in 0..3 {
                for _ in 0..20 {
                    from_a += u64::from(world.node(a).send(to_b, payload(from_a, 2_000)).is_ok());
                    from_b += u64::from(world.node(b).send(to_a, payload(from_b, 100_000)).is_ok());
                    let wait = world.draw(3_000_000);
                    world.run_for(Duration::from_nanos(wait));
                    if round == 1 {
                        world.host_mut(b).set_consuming(false);
                    }
                }
                world.net_mut().cut(a, b);
                for _ in 0..20 {
                    from_a += u64::from(world.node(a).send(to_b, payload(from_a, 2_000)).is_ok());
                    from_b += u64::from(world.node(b).send(to_a, payload(from_b, 100_000)).is_ok());
                    world.run_for(secs(1));
                }
                world.host_mut(b).set_consuming(true);
                world.net_mut().heal(a, b);
                world.expect("they are linked again", secs(60), |world| world.linked(a, b));
                world.settle();
            }
            for (from, to, sent) in [(a, b, from_a), (b, a, from_b)] {
                assert_honest(&world, from, to, sent);
            }
            if ttl_a == 300 {
                assert_eq!(outcomes(&world, a, b).not_delivered.len(), 0, "seed {seed}: a kept what it could");
            }
        }
    }
}

#[test]
fn a_forgotten_peer_that_returns_repeats_nothing_that_was_delivered() {
    for seed in SEEDS {
        // The receiver forgets everything about the sender but the end of its stream.
        let (mut world, a, b) = pair_of(
            seed,
            &config().session_ttl(secs(600)),
            &config().session_ttl(secs(1)).forget_after(Some(secs(20))),
        );
        let id = world.host(b).id();
        for sent in 0..30 {
            world.node(a).send(id, payload(sent, 5_000)).unwrap();
        }
        // All are on their way once the first answer is back. The acknowledgements do not get back.
        world.run_for(ms(3));
        world.net_mut().cut_one_way(b, a);
        world.run_for(ms(100));
        assert_eq!(world.host(b).taken(), 30);
        world.net_mut().cut(a, b);
        world.run_for(secs(60));
        world.net_mut().heal(a, b);
        world.expect("they are linked again", secs(60), |world| world.linked(a, b));
        world.settle();
        let outcomes = assert_honest(&world, a, b, 30);
        assert!(outcomes.in_doubt.is_empty() && outcomes.not_delivered.is_empty(), "seed {seed}: {outcomes:?}");
        assert_eq!(delivered(&world, a), 30, "seed {seed}");
    }
}

#[test]
fn a_lost_peer_is_written_to_or_refused_as_configured() {
    for seed in SEEDS {
        for policy in [Offline::Queue, Offline::Refuse] {
            let mut limits = Limits::default();
            limits.send_window = 10_000;
            let (mut world, a, b) = pair_of(seed, &config().offline(policy).limits(limits), &config());
            let id = world.host(b).id();
            world.net_mut().cut(a, b);
            world.expect("it is down", secs(7), |world| world.host(a).downs(b) == 1);
            let refused = loop {
                match world.node(a).send(id, payload(0, 1_000)) {
                    Ok(()) => {}
                    Err(error) => break error,
                }
            };
            let queued = world.node(a).broadcast(payload(0, 8)).unwrap().queued.len();
            match policy {
                Offline::Queue => assert_eq!((refused.kind, queued), (SendErrorKind::Full, 1), "up to the window"),
                _ => assert_eq!((refused.kind, queued), (SendErrorKind::NotConnected, 0)),
            }
            assert_eq!(refused.payload.len(), 1_000);
            world.run_for(secs(301));
            assert_eq!(world.node(a).send(id, payload(0, 8)).unwrap_err().kind, SendErrorKind::NotConnected);
        }
    }
}

#[test]
fn a_flush_ends_when_everything_before_it_has_its_outcome_and_says_how_much_was_lost() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let id = world.host(b).id();
        let ended = |world: &World| {
            let flushed = |event: &Event| match event {
                Event::Flushed { flush, undelivered, .. } => Some((*flush, *undelivered)),
                _ => None,
            };
            world.host(a).events().iter().filter_map(|logged| flushed(&logged.event)).collect::<Vec<_>>()
        };
        let empty = world.node(a).flush(id).unwrap();
        assert_eq!(ended(&world), [(empty, 0)], "nothing waits");

        world.host_mut(b).set_consuming(false);
        for sent in 0..10 {
            world.node(a).send(id, payload(sent, 100)).unwrap();
        }
        let first = world.node(a).flush(id).unwrap();
        world.node(a).send(id, payload(10, 100)).unwrap();
        world.run_for(secs(1));
        world.host_mut(b).consume(9);
        world.run_for(secs(1));
        assert_eq!(ended(&world).len(), 1, "seed {seed}: one of them is not taken");
        world.net_mut().cut(a, b);
        world.expect("it is down", secs(7), |world| world.host(a).downs(b) == 1);
        world.host_mut(b).consume(1);
        world.net_mut().heal(a, b);
        world.expect("the flush has ended", secs(60), |world| ended(world).len() == 2);
        assert_eq!(ended(&world)[1], (first, 0), "seed {seed}");

        let second = world.node(a).flush(id).unwrap();
        world.host_mut(b).crash(Crash::Power);
        world.expect("it is down", secs(7), |world| world.host(a).downs(b) == 2);
        for sent in 11..14 {
            world.node(a).send(id, payload(sent, 100)).unwrap();
        }
        let third = world.node(a).flush(id).unwrap();
        world.node(a).send(id, payload(14, 100)).unwrap();
        world.run_for(secs(301));
        assert_eq!(ended(&world)[2..], [(second, 1), (third, 4)], "seed {seed}");
        assert_eq!(world.node(a).flush(id), Err(FlushError::UnknownPeer(id)));
    }
}

#[test]
fn what_is_acknowledged_by_hand_counts_when_it_is_acknowledged() {
    for seed in SEEDS {
        let manual = config().acknowledge(Acknowledge::Manual);
        let (mut world, a, b) = pair_of(seed, &config(), &manual);
        let id = world.host(b).id();
        for sent in 0..20 {
            world.node(a).send(id, payload(sent, 1_000)).unwrap();
        }
        world.run_for(secs(1));
        assert_eq!((world.host(b).taken(), delivered(&world, a)), (20, 0), "seed {seed}");
        let receipt = world.host(b).messages()[6].receipt;
        world.node(b).acknowledge(receipt);
        world.run_for(secs(1));
        assert_eq!(delivered(&world, a), 7, "seed {seed}: it counts for all before it");
        // An earlier one is no news.
        let earlier = world.host(b).messages()[2].receipt;
        world.node(b).acknowledge(earlier);
        world.net_mut().cut(a, b);
        world.expect("it is down", secs(7), |world| world.host(a).downs(b) == 1);
        world.net_mut().heal(a, b);
        world.expect("they are linked again", secs(60), |world| world.linked(a, b));
        world.settle();
        assert_eq!((world.host(b).taken(), delivered(&world, a)), (20, 7), "seed {seed}: nothing comes twice");
        let last = world.host(b).messages()[19].receipt;
        world.node(b).acknowledge(last);
        world.expect("all are delivered", secs(1), |world| delivered(world, a) == 20);

        for sent in 20..30 {
            world.node(a).send(id, payload(sent, 1_000)).unwrap();
        }
        world.run_for(secs(1));
        world.host_mut(b).crash(Crash::Kill);
        world.host_mut(b).restart(Restart::default());
        world.expect("its next run is there", secs(60), |world| world.linked(a, b));
        world.settle();
        let outcomes = outcomes(&world, a, b);
        assert_eq!(outcomes.in_doubt, (20..30).collect(), "seed {seed}: taken, and perhaps not dealt with");
    }
}

#[test]
fn a_user_that_never_acknowledges_gets_a_window_of_messages_and_harms_nobody() {
    for seed in 0..5 {
        let mut limits = Limits::default();
        (limits.initial_window, limits.recv_window) = (10_000, 10_000);
        let manual = config().acknowledge(Acknowledge::Manual).limits(limits);
        let (mut world, a, b) = pair_of(seed, &config(), &manual);
        let id = world.host(b).id();
        for sent in 0..1_000 {
            world.node(a).send(id, payload(sent, 998)).unwrap();
        }
        world.run_for(secs(60));
        let taken = world.host(b).taken();
        assert!((9..=11).contains(&taken), "seed {seed}: {taken}");
        assert_eq!(world.host(a).downs(b), 0);
        while world.host(b).taken() < 1_000 {
            let receipt = world.host(b).messages().last().unwrap().receipt;
            world.node(b).acknowledge(receipt);
            world.run_for(ms(10));
        }
        world.expect("the rest arrives", secs(1), |world| world.host(b).taken() == 1_000);
    }
}

#[test]
fn both_windows_full_at_both_ends_and_a_lost_link_do_not_stop_either() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let (to_a, to_b) = (world.host(a).id(), world.host(b).id());
        for host in [a, b] {
            world.host_mut(host).set_consuming(false);
        }
        let mut sent = 0;
        while world.node(a).send(to_b, payload(sent, 60_000)).is_ok() {
            world.node(b).send(to_a, payload(sent, 60_000)).unwrap();
            sent += 1;
        }
        world.run_for(secs(1));
        world.net_mut().reset_connections(a, b);
        world.run_for(secs(60));
        for host in [a, b] {
            world.host_mut(host).set_consuming(true);
        }
        world.expect("everything arrives", secs(60), |world| {
            world.host(a).taken() == sent && world.host(b).taken() == sent
        });
        for (from, to) in [(a, b), (b, a)] {
            assert_honest(&world, from, to, sent);
        }
    }
}

#[test]
fn leaving_and_disconnecting_say_what_became_of_each_message() {
    for seed in SEEDS {
        for leaves in [true, false] {
            let (mut world, hosts) = mesh(seed, 3);
            let [a, b, lost] = hosts[..] else { unreachable!() };
            world.host_mut(lost).crash(Crash::Power);
            world.expect("it is down", secs(7), |world| world.host(a).downs(lost) == 1);
            world.host_mut(b).set_consuming(false);
            let ids = [world.host(b).id(), world.host(lost).id()];
            for sent in 0..10 {
                world.node(a).send(ids[0], payload(sent, 40_000)).unwrap();
                world.node(a).send(ids[1], payload(100 + sent, 100)).unwrap();
            }
            world.run_for(ms(200));
            world.host_mut(b).consume(3);
            world.run_for(ms(200));
            if leaves {
                world.node(a).leave(secs(2));
                world.run_for(secs(4));
            } else {
                world.node(a).disconnect(ids[0]).unwrap();
                world.node(a).disconnect(ids[1]).unwrap();
                world.run_for(secs(1));
            }
            let outcomes = outcomes(&world, a, b);
            assert_eq!(outcomes.taken, [0, 1, 2], "seed {seed}");
            let told = &outcomes.in_doubt | &outcomes.not_delivered;
            let expected: BTreeSet<u64> = (3..10).chain(100..110).collect();
            assert_eq!(told, expected, "seed {seed}, leaves {leaves}");
            assert!((100..110).all(|number| outcomes.not_delivered.contains(&number)), "seed {seed}");
            let gone = world.host(a).count_events(|event| matches!(event, Event::PeerGone { .. }));
            assert_eq!(gone, 2, "seed {seed}, leaves {leaves}");
            if leaves {
                let left = |event: &Event| matches!(event, Event::Left { undelivered: 17 });
                assert_eq!(world.host(a).count_events(left), 1, "seed {seed}: {:?}", world.host(a).events().last());
            }
        }
    }
}

#[test]
fn a_long_message_behind_one_that_is_not_acknowledged_comes_when_that_is() {
    for seed in 0..5 {
        for first in [16_380, 16_381, 16_382, 16_383, 16_000] {
            let mut limits = Limits::default();
            (limits.initial_window, limits.recv_window) = (16_384, 16_384);
            let manual = config().acknowledge(Acknowledge::Manual).limits(limits);
            let (mut world, a, b) = pair_of(seed, &config(), &manual);
            let id = world.host(b).id();
            world.node(a).send(id, payload(0, first)).unwrap();
            world.node(a).send(id, payload(1, 30_000)).unwrap();
            world.run_for(secs(30));
            assert_eq!(world.host(b).downs(a), 0, "seed {seed}: whoever waits for a user is not to blame");
            let receipt = world.host(b).messages()[0].receipt;
            world.node(b).acknowledge(receipt);
            world.expect("the second arrives", secs(1), |world| world.host(b).taken() == 2);
        }
    }
}

#[test]
fn messages_that_are_taken_and_not_yet_acknowledged_outlive_their_session() {
    for seed in SEEDS {
        let manual = config().acknowledge(Acknowledge::Manual).session_ttl(secs(1));
        let (mut world, a, b) = pair_of(seed, &config(), &manual);
        let id = world.host(b).id();
        for sent in 0..10 {
            world.node(a).send(id, payload(sent, 1_000)).unwrap();
        }
        world.run_for(secs(1));
        let receipts: Vec<_> = world.host(b).messages().iter().map(|taken| taken.receipt).collect();
        world.node(b).acknowledge(receipts[2]);
        world.net_mut().cut(a, b);
        world.expect("the session is over", secs(60), |world| {
            world.host(b).count_events(|event| matches!(event, Event::PeerGone { .. })) == 1
        });
        world.node(b).acknowledge(receipts[6]);
        world.net_mut().heal(a, b);
        world.expect("they are linked again", secs(60), |world| world.linked(a, b));
        world.settle();
        assert_eq!(world.node(a).stats().messages_delivered, 7, "seed {seed}");
        world.node(b).acknowledge(receipts[9]);
        world.settle();
        assert_eq!(world.node(a).stats().messages_delivered, 10, "seed {seed}");
        assert_eq!(outcomes(&world, a, b).taken, (0..10).collect::<Vec<_>>(), "seed {seed}: none comes twice");
    }
}

#[test]
fn what_came_to_nothing_takes_room_until_the_user_has_read_of_it() {
    for seed in SEEDS {
        let mut limits = Limits::default();
        limits.send_window = 64 << 10;
        let (mut world, a, b) = pair_of(seed, &config().limits(limits), &config());
        let id = world.host(b).id();
        let fill = |world: &mut World| {
            let mut accepted = 0;
            while world.node(a).send(id, payload(accepted, 1_000)).is_ok() {
                accepted += 1;
            }
            accepted
        };
        world.host_mut(a).set_consuming(false);
        world.net_mut().isolate(b);
        let first = fill(&mut world);
        assert_eq!(first, 65, "64 KiB of 1,003 bytes each");
        world.host_mut(b).crash(Crash::Kill);
        world.net_mut().heal_all();
        world.host_mut(b).restart(Restart::default());
        world.node(b).join(a).unwrap();
        world.expect("the later run is up", secs(5), |world| world.linked(a, b));
        world.run_for(secs(60));
        assert_eq!(fill(&mut world), 0, "seed {seed}: it has not read what became of the first");
        let told = world.host(a).writable().len();
        world.run_for(secs(60));
        assert_eq!(world.host(a).writable().len(), told, "seed {seed}");
        world.host_mut(a).set_consuming(true);
        assert_eq!(world.host(a).writable().len(), told + 1, "seed {seed}");
        let (told, second) = (outcomes(&world, a, b), fill(&mut world));
        assert_eq!((told.not_delivered.len() + told.in_doubt.len()) as u64, first, "seed {seed}");
        assert_eq!(second, 65, "seed {seed}");
        world.settle();
        assert_eq!(delivered(&world, a), second, "seed {seed}");
    }
}

#[test]
fn a_user_that_stops_for_a_minute_costs_a_window_and_delays_nobody_else() {
    for seed in 0..5 {
        let (mut world, hosts) = mesh(seed, 4);
        let [a, stopped, c, d] = hosts[..] else { unreachable!() };
        let to = world.host(stopped).id();
        let mut sent = [0, 0];
        world.host_mut(stopped).set_consuming(false);
        let end = world.now() + secs(60);
        let mut most = Vec::new();
        while world.now() < end {
            for (from, sent) in [a, c].into_iter().zip(&mut sent) {
                while world.node(from).send(to, payload(*sent, 50_000)).is_ok() {
                    *sent += 1;
                }
            }
            let before = world.host(d).numbered(a);
            world.node(a).send_numbered(d, 50_000).unwrap();
            world.run_for(ms(500));
            assert_eq!(world.host(d).numbered(a), before + 1, "seed {seed}: the others are unaffected");
            let limits = world.host(stopped).core().limits();
            let window = limits.initial_window + limits.max_message;
            let memory = world.host(stopped).core().memory();
            assert!(memory.received <= 2 * window, "seed {seed}: {memory:?}");
            let memory = [a, c].map(|host| world.host(host).core().memory().retained);
            assert!(
                memory.iter().all(|&bytes| bytes <= world.host(a).core().limits().send_window),
                "seed {seed}: {memory:?}"
            );
            most.push(world.host(stopped).core().memory().received);
        }
        assert_eq!(most[most.len() / 2], most[most.len() - 1], "seed {seed}: flat");
        assert!(hosts.iter().all(|&host| world.host(host).downs(stopped) == 0), "seed {seed}: nobody goes down");
        world.host_mut(stopped).set_consuming(true);
        world.expect("everything arrives", secs(60), |world| world.host(stopped).taken() == sent[0] + sent[1]);
    }
}
