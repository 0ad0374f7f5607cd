//! What was accepted has one honest outcome, on real sockets that are cut again and again.

use std::time::Duration;

use cluster_conformance::{Faults, Pieces, Proxy, Way as _};
use cluster_std::Node;

use crate::world::{DEADLINE, bind_with, local, until_complete, waiting};

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
        let taken = bob.recv_many_timeout(&mut messages, 4_096, DEADLINE);
        assert_ne!(taken, Ok(0), "{next} of {MESSAGES} have arrived: {:?}, {:?}", alice.stats(), bob.stats());
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
