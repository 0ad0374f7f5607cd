//! What was accepted has one honest outcome, on real sockets that are cut again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_conformance::{Faults, Pieces, Proxy, Way as _};
use cluster_std::{Acknowledge, Event, FlushError, Node, SendErrorKind, Undelivered};

use crate::world::{
    DEADLINE, bind, bind_with, event, local, mesh, message, until, until_complete, until_down, until_up, waiting,
};

/// As many messages as the promise was tried with.
const MESSAGES: u64 = 500_000;

/// Nodes that dial each other through proxies only, and again at once when they are cut off.
fn through_cutters(seed: u64) -> ([Node; 2], [Proxy; 2]) {
    let faults = Faults { pieces: Pieces::Random, life: Some(10_000..=150_000), ..Faults::default() };
    let cutters = [seed, seed + 1].map(|seed| Proxy::bind(seed, faults.clone()).expect("a port of loopback is free"));
    let nodes = [0, 1].map(|at: usize| {
        let swift = local().reconnect(Duration::from_millis(1), Duration::from_millis(10)).stable_after(Duration::ZERO);
        let node = bind_with(swift.advertise(cutters[at].address()));
        cutters[at].lead_to(node.local_addr());
        node
    });
    nodes[0].join(cutters[1].address()).unwrap();
    // Nobody is written to before it was up once.
    until_complete(&nodes);
    (nodes, cutters)
}

fn cuts(cutters: &[Proxy; 2]) -> usize {
    cutters.iter().map(Proxy::cuts).sum()
}

/// The number, and up to 31 bytes more.
fn numbered(number: u64) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(8 + (number % 32) as usize, 7);
    payload
}

fn number(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload[..8].try_into().unwrap())
}

#[test]
fn every_message_arrives_once_and_in_order_over_connections_that_are_cut_hundreds_of_times() {
    let ([alice, bob], cutters) = through_cutters(1);
    let sender = {
        let (alice, to) = (alice.clone(), bob.id());
        waiting(move || {
            for next in 0..MESSAGES {
                alice.send(to, numbered(next)).unwrap();
            }
            alice.flush(to)
        })
    };
    let mut messages = Vec::new();
    let mut next = 0;
    while next < MESSAGES {
        assert_ne!(bob.recv_many_timeout(&mut messages, 4_096, DEADLINE), Ok(0));
        for message in messages.drain(..) {
            assert_eq!((number(&message.payload), message.from.id), (next, alice.id()));
            next += 1;
        }
    }
    sender.end("the flush").unwrap();
    assert!(cuts(&cutters) >= 100, "only {} cuts", cuts(&cutters));
    assert_eq!(alice.stats().messages_delivered, MESSAGES);
    assert_eq!(alice.stats().messages_undelivered, 0);
    assert_eq!(bob.try_recv(), Ok(None));
}

#[test]
fn both_directions_and_large_messages_survive_cuts() {
    let ([alice, bob], cutters) = through_cutters(7);
    let exchange = |from: &Node, to: &Node| {
        let (from, id) = (from.clone(), to.id());
        waiting(move || {
            for next in 0..200_u64 {
                let mut payload = next.to_be_bytes().to_vec();
                payload.resize(if next % 20 == 0 { 300_000 } else { 500 }, 1);
                from.send(id, payload).unwrap();
            }
            for next in 0..200 {
                assert_eq!(number(&message(&from).payload), next);
            }
            from.flush(id).unwrap();
        })
    };
    let both = [exchange(&alice, &bob), exchange(&bob, &alice)];
    for exchange in both {
        exchange.end("an exchange");
    }
    assert!(cuts(&cutters) > 20, "only {} cuts", cuts(&cutters));
}

#[test]
fn a_peer_that_dies_leaves_no_message_without_an_outcome() {
    let alice = bind_with(local().session_ttl(Duration::from_secs(1)));
    let bob = bind();
    let id = alice.join(bob.local_addr()).unwrap();
    let mut events = alice.events();
    until_up(&mut events, id);
    for next in 0..1_000 {
        alice.send(id, numbered(next)).unwrap();
    }
    let taken: BTreeSet<u64> = (0..600).map(|_| number(&message(&bob).payload)).collect();
    until("some are known to be delivered", || alice.stats().messages_delivered > 0);
    drop(bob);
    until_down(&mut events, id);
    // Accepted while it is lost, and never sent.
    for next in 1_000..1_100 {
        alice.send(id, numbered(next)).unwrap();
    }
    let flush = {
        let alice = alice.clone();
        waiting(move || alice.flush(id))
    };
    let (not_delivered, in_doubt) = event(&mut events, "the report", |event| match event {
        Event::Undelivered(Undelivered { not_delivered, in_doubt, .. }) => Some((not_delivered, in_doubt)),
        _ => None,
    });
    let not_delivered: BTreeSet<u64> = not_delivered.iter().map(|payload| number(payload)).collect();
    let in_doubt: BTreeSet<u64> = in_doubt.iter().map(|payload| number(payload)).collect();
    assert_eq!(not_delivered, (1_000..1_100).collect());
    let delivered: BTreeSet<u64> = (0..alice.stats().messages_delivered).collect();
    assert!(delivered.is_subset(&taken));
    assert_eq!(&delivered | &in_doubt, (0..1_000).collect());
    let messages = (not_delivered.len() + in_doubt.len()) as u64;
    assert_eq!(flush.end("the flush"), Err(FlushError::Undelivered { messages }));
    let error = alice.try_send(id, "late").unwrap_err();
    assert_eq!(error.kind, SendErrorKind::NotConnected);
}

#[test]
fn a_message_counts_when_its_user_says_so() {
    let alice = bind();
    let bob = bind_with(local().acknowledge(Acknowledge::Manual));
    let id = alice.join(bob.local_addr()).unwrap();
    for text in ["one", "two"] {
        alice.send(id, text).unwrap();
    }
    let first = message(&bob);
    let second = message(&bob);
    bob.acknowledge(first.receipt);
    assert_eq!(alice.flush_timeout(id, Duration::from_millis(200)), Ok(false), "the second is not acknowledged");
    assert_eq!(alice.stats().messages_delivered, 1);
    bob.acknowledge(second.receipt);
    assert_eq!(alice.flush_timeout(id, DEADLINE), Ok(true));
}

#[test]
fn a_flush_ends_with_the_node() {
    let [alice, bob] = mesh();
    alice.send(bob.id(), "never taken").unwrap();
    let flush = {
        let (alice, to) = (alice.clone(), bob.id());
        waiting(move || alice.flush(to))
    };
    assert_eq!(alice.flush_timeout(bob.id(), Duration::from_millis(50)), Ok(false));
    assert_eq!(alice.leave_within(Duration::ZERO), 1);
    assert_eq!(flush.end("the flush"), Err(FlushError::Undelivered { messages: 1 }));
    assert!(matches!(bind().flush(bob.id()), Err(FlushError::Refused(_))));
}
