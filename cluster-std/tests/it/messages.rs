//! Messages: whole, in order, once; and what waits, waits at the right place.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster_std::{Closed, Limits, Node, SendErrorKind};

use crate::world::{DEADLINE, Proxy, bind, bind_with, local, mesh, message, text, until, up, waiting};

#[test]
fn large_messages_cross_in_both_directions_at_once() {
    // Both write more than their sockets hold before they read any of it.
    let [alice, bob] = mesh();
    let large = Bytes::from(vec![7; 4 << 20]);
    let senders = [(alice.clone(), bob.id()), (bob.clone(), alice.id())].map(|(from, to)| {
        let large = large.clone();
        waiting(move || (0..10).for_each(|_| from.send(to, large.clone()).unwrap()))
    });
    let readers = [&alice, &bob].map(|node| {
        let (node, large) = (node.clone(), large.clone());
        waiting(move || (0..10).all(|_| message(&node).payload == large))
    });
    for sender in senders {
        sender.end("all is sent");
    }
    for reader in readers {
        assert!(reader.end("all arrived"));
    }
}

#[test]
fn a_flood_of_small_messages_arrives_in_order() {
    const COUNT: u64 = 200_000;
    let [alice, bob] = mesh();
    let to = bob.id();
    let sending = waiting(move || {
        for number in 0..COUNT {
            alice.send(to, Bytes::copy_from_slice(&number.to_le_bytes())).unwrap();
        }
        alice
    });
    let mut batch = Vec::new();
    let mut expected = 0;
    while expected < COUNT {
        assert_ne!(bob.recv_many_timeout(&mut batch, 1_000, DEADLINE), Ok(0));
        for message in batch.drain(..) {
            assert_eq!(message.payload, expected.to_le_bytes()[..]);
            expected += 1;
        }
    }
    sending.end("the sender");
}

#[test]
fn many_senders_and_both_directions_lose_nothing() {
    const SENDERS: u64 = 8;
    const EACH: u64 = 5_000;
    let [alice, bob] = mesh();
    let mut threads = Vec::new();
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        for sender in 0..SENDERS {
            let (from, to) = (from.clone(), to.id());
            threads.push(waiting(move || {
                for number in 0..EACH {
                    from.send(to, format!("{sender} {number}")).unwrap();
                }
            }));
        }
        let node = from.clone();
        threads.push(waiting(move || {
            let mut next = [0; SENDERS as usize];
            for _ in 0..SENDERS * EACH {
                let text = text(&node);
                let (sender, number) = text.split_once(' ').unwrap();
                let expected = &mut next[sender.parse::<usize>().unwrap()];
                assert_eq!(number.parse(), Ok(*expected));
                *expected += 1;
            }
        }));
    }
    for thread in threads {
        thread.end("all messages");
    }
}

#[test]
fn single_sends_with_pauses_never_get_stuck() {
    // Each is an output announced to an idle link: the case in which a lost wake-up would show.
    let [alice, bob] = mesh();
    for round in 0..20_000_u32 {
        let (from, to) = if round % 2 == 0 { (&alice, &bob) } else { (&bob, &alice) };
        from.try_send(to.id(), Bytes::copy_from_slice(&round.to_le_bytes())).unwrap();
        if round % 3 == 0 {
            from.try_send(to.id(), "twice").unwrap();
            message(to);
        }
        message(to);
    }
}

#[test]
fn what_a_sender_does_not_write_by_itself_follows_without_any_help() {
    // No heartbeat and no acknowledgement wakes the link by chance.
    let quiet = || {
        let mut limits = Limits::default();
        (limits.max_peers, limits.initial_window) = (8, 8 << 20);
        local().heartbeat(Duration::from_secs(60)).peer_timeout(Duration::from_secs(120)).limits(limits)
    };
    let alice = bind_with(quiet());
    let bob = bind_with(quiet());
    let proxy = Proxy::to(bob.local_addr());
    alice.join(proxy.address).unwrap();
    until("bob has alice", || up(&bob).contains(&alice.id()));
    // The link is known to be fast, so that a long message waits for no answer on the way.
    for _ in 0..4 {
        alice.send(bob.id(), vec![7; 1 << 20]).unwrap();
        message(&bob);
    }
    alice.flush(bob.id()).unwrap();
    // From now on no answer arrives that would wake the link.
    proxy.answers.store(false, Ordering::SeqCst);
    let large = Bytes::from(vec![7; 7 << 20]);
    alice.send(bob.id(), large.clone()).unwrap();
    assert!(message(&bob).payload == large);
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn each_message_goes_to_one_of_the_clones_that_wait() {
    const COUNT: usize = 1_000;
    let [alice, bob] = mesh();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let bob = bob.clone();
            waiting(move || bob.iter().map(|message| message.payload).collect::<Vec<_>>())
        })
        .collect();
    for number in 0..COUNT {
        alice.send(bob.id(), number.to_string()).unwrap();
    }
    until("all taken", || bob.stats().messages_received == COUNT as u64);
    bob.leave();
    let mut taken: Vec<usize> = readers
        .into_iter()
        .flat_map(|reader| reader.end("the readers"))
        .map(|payload| String::from_utf8(payload.to_vec()).unwrap().parse().unwrap())
        .collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn a_wait_with_a_timeout_ends_with_it_and_loses_nothing() {
    let [alice, bob] = mesh();
    let begin = Instant::now();
    assert_eq!(bob.recv_timeout(Duration::from_millis(50)), Ok(None));
    assert_eq!(bob.recv_many_timeout(&mut Vec::new(), 8, Duration::from_millis(50)), Ok(0));
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert_eq!(bob.try_recv(), Ok(None));
    assert_eq!(bob.recv_many(&mut Vec::new(), 0), Ok(0));
    alice.send(bob.id(), "here").unwrap();
    assert_eq!(bob.flush_timeout(alice.id(), Duration::ZERO), Ok(true));
    assert_eq!(alice.flush_timeout(bob.id(), Duration::from_millis(50)), Ok(false));
    assert_eq!(bob.recv_timeout(Duration::MAX).unwrap().unwrap().payload, "here");
    assert_eq!(alice.flush(bob.id()), Ok(()));
}

#[test]
fn a_send_waits_for_room_and_gives_the_payload_back_when_its_time_is_over() {
    let [alice, bob] = mesh();
    let sent = fill(&alice, &bob);
    let begin = Instant::now();
    let error = alice.send_timeout(bob.id(), numbered(u64::MAX), Duration::from_millis(100)).unwrap_err();
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert_eq!((error.kind, error.payload), (SendErrorKind::Full, numbered(u64::MAX)));
    let send = {
        let (alice, to) = (alice.clone(), bob.id());
        waiting(move || alice.send(to, numbered(sent)))
    };
    for number in 0..=sent {
        assert_eq!(message(&bob).payload[..8], number.to_le_bytes());
    }
    send.end("room").unwrap();
    alice.send(bob.id(), "the last").unwrap();
    assert_eq!(text(&bob), "the last");
}

#[test]
fn every_way_to_receive_ends_after_leaving() {
    let alice = bind();
    alice.leave();
    assert_eq!(alice.recv(), Err(Closed));
    assert_eq!(alice.recv_timeout(DEADLINE), Err(Closed));
    assert_eq!(alice.try_recv(), Err(Closed));
    assert_eq!(alice.recv_many(&mut Vec::new(), 8), Err(Closed));
    assert_eq!((&alice).into_iter().next(), None);
}

/// Sends numbered messages until no more is taken, and says how many.
fn fill(from: &Node, to: &Node) -> u64 {
    let mut sent = 0;
    loop {
        match from.try_send(to.id(), numbered(sent)) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_eq!(error.kind, SendErrorKind::Full);
                assert!(sent > 0);
                return sent;
            }
        }
    }
}

/// A message of 64 KiB that begins with a number.
fn numbered(number: u64) -> Bytes {
    let mut payload = vec![0; 64 << 10];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload.into()
}
