//! What is sent arrives, once, in order, unchanged.

use std::time::Duration;

use bytes::Bytes;
use cluster_core::limits::MAX_CHUNK;
use cluster_core::{Limits, NodeId, SendErrorKind};

use crate::stage::{Stage, swift};

pub(super) fn messages_go_back_and_forth(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    for round in 0..200 {
        alice.send(&bob, format!("ping {round}"));
        bob.expect(&alice, format!("ping {round}"));
        bob.send(&alice, format!("pong {round}"));
        alice.expect(&bob, format!("pong {round}"));
    }
    assert_eq!(alice.node().stats().messages_sent, 200);
    assert_eq!(bob.node().stats().messages_received, 200);
}

pub(super) fn a_receiver_that_waits_is_woken(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    bob.expect_silence();
    for number in 0..20 {
        alice.send(&bob, format!("{number}"));
        // It takes a moment to arrive, in which the receiver waits; a message that waits is not looked for later.
        bob.expect(&alice, format!("{number}"));
        let before = stage.arm().now();
        assert!(bob.node().recv(Duration::from_millis(1)).is_err());
        assert!(stage.arm().now() - before < Duration::from_secs(5), "a short wait took long");
    }
}

pub(super) fn a_message_to_a_stranger_is_refused(stage: &Stage<'_>) {
    let [alice, bob] = [stage.node(), stage.node()];
    for nobody in [&alice, &bob] {
        assert_eq!(alice.try_send(nobody, "who?"), Err(SendErrorKind::NotConnected));
    }
    let sending = alice.node().send(NodeId::from_bytes([7; 16]), "who?".into());
    let error = alice.within("a send", sending).expect_err("nobody has this id");
    assert_eq!((error.kind, &error.payload[..]), (SendErrorKind::NotConnected, &b"who?"[..]));
    let report = alice.node().broadcast("anyone?".into()).expect("a broadcast to nobody is none to complain about");
    assert!(report.queued.is_empty() && report.is_complete());
}

pub(super) fn a_broadcast_reaches_every_peer_and_says_whom(stage: &Stage<'_>) {
    let nodes = stage.mesh::<4>();
    for from in &nodes {
        let payload = format!("from {:?}", from.id());
        let report = from.node().broadcast(payload.clone().into()).expect("it is short");
        assert!(report.is_complete());
        let mut queued = report.queued;
        queued.sort_unstable();
        assert_eq!(queued, from.up().into_iter().collect::<Vec<_>>());
        for to in nodes.iter().filter(|to| to.id() != from.id()) {
            to.expect(from, &payload);
        }
    }
}

pub(super) fn messages_arrive_once_in_order_and_unchanged(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    let payload = |number: usize| {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(8 + number * 7 % 1_500, number as u8);
        payload
    };
    let mut received = 0;
    for number in 0..2_000 {
        alice.send(&bob, payload(number));
        // Sometimes far behind, sometimes close.
        if number % 500 > 250 {
            bob.expect(&alice, payload(received));
            received += 1;
        }
    }
    while received < 2_000 {
        bob.expect(&alice, payload(received));
        received += 1;
    }
    bob.expect_silence();
}

pub(super) fn many_senders_are_told_apart(stage: &Stage<'_>) {
    let nodes = stage.mesh::<4>();
    let [to, from @ ..] = &nodes;
    for number in 0..50 {
        for sender in from {
            sender.send(to, format!("{:?} {number}", sender.id()));
        }
    }
    let mut next = [0; 3];
    for _ in 0..150 {
        let message = to.recv();
        let sender = from.iter().position(|sender| sender.id() == message.from.id).expect("it is one of the three");
        assert_eq!(message.payload, format!("{:?} {}", from[sender].id(), next[sender]));
        next[sender] += 1;
    }
    to.expect_silence();
}

/// The longest message in these scenarios.
const CAP: u64 = 1_000_000;

fn capped() -> Limits {
    let mut limits = Limits::default();
    (limits.max_message, limits.initial_window, limits.recv_window) = (CAP, 64 << 10, 256 << 10);
    limits
}

pub(super) fn messages_of_every_length_up_to_the_cap_arrive(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh_with([(); 2].map(|()| swift().limits(capped())));
    let window = capped().initial_window as usize;
    let lengths = [
        0,
        1,
        23,
        24,
        255,
        256,
        MAX_CHUNK - 1,
        MAX_CHUNK,
        MAX_CHUNK + 1,
        window - 4,
        window,
        window + 1,
        2 * MAX_CHUNK,
        CAP as usize - 1,
        CAP as usize,
        0,
    ];
    for (number, length) in lengths.into_iter().enumerate() {
        let payload: Bytes = (0..length).map(|at| (at / 251 + number) as u8).collect();
        alice.send(&bob, payload.clone());
        bob.expect(&alice, &payload);
    }
    bob.expect_silence();
}

pub(super) fn message_of_sixteen_mebibytes_arrives_whole(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    let large: Bytes = (0..16 << 20).map(|index: u32| (index ^ (index >> 8)) as u8).collect();
    alice.send(&bob, large.clone());
    bob.expect(&alice, &large);
    alice.send(&bob, "");
    bob.expect(&alice, "");
}

pub(super) fn a_message_above_the_cap_is_refused_and_given_back(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh_with([(); 2].map(|()| swift().limits(capped())));
    let payload = Bytes::from(vec![7; CAP as usize + 1]);
    let refused = SendErrorKind::TooLarge { length: CAP + 1, cap: CAP };
    assert_eq!(alice.try_send(&bob, payload.clone()), Err(refused));
    let sending = alice.node().send(bob.id(), payload.clone());
    let error = alice.within("a send", sending).expect_err("it is too large");
    assert!(error.kind == refused && error.payload.as_ptr() == payload.as_ptr(), "it is not the same payload");
    let words = error.to_string();
    assert!(words.contains("1000001") && words.contains("1000000"), "{words}");
    let error = alice.node().broadcast(payload.clone()).expect_err("it is too large");
    assert!(error.kind == refused && error.payload == payload);
    alice.send(&bob, "short enough");
    bob.expect(&alice, "short enough");
    assert!(alice.node().stats().message_limit >= 2);
}
