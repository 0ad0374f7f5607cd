//! How nodes end, and come back.

use std::time::Duration;

use bytes::Bytes;
use cluster_core::{Event, NodeId, Offline, PeerState, Reason, SendErrorKind, Undelivered};

use crate::arm::Nothing;
use crate::stage::{Member, PATIENCE, QUIET, Stage, swift};

pub(super) fn leaving_delivers_what_was_sent_and_says_goodbye(stage: &Stage<'_>) {
    let [alice, bob, carol] = stage.mesh();
    for number in 0..100 {
        alice.send(&bob, format!("{number}"));
    }
    // It gives them time, so what was said last arrives as well.
    let leaving = alice.node().leave(PATIENCE);
    for number in 0..100 {
        bob.expect(&alice, format!("{number}"));
    }
    assert_eq!(alice.within("leaving", leaving), 0);
    alice.event("left", |event| matches!(event, Event::Left { undelivered: 0 }).then_some(()));
    for peer in [&bob, &carol] {
        assert_eq!(peer.until_down(&alice), Reason::Left);
        peer.until_gone(&alice);
    }
    stage.arm().pass(QUIET);
    for (peer, other) in [(&bob, &carol), (&carol, &bob)] {
        assert_eq!(peer.up(), [other.id()].into());
        assert_eq!(peer.node().peers().len(), 1, "who has left is not dialled");
    }
}

pub(super) fn leaving_reports_what_nobody_took(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    for text in ["taken", "not taken", "nor this"] {
        alice.send(&bob, text);
    }
    bob.expect(&alice, "taken");
    stage.until("one is delivered", || alice.node().stats().messages_delivered == 1);
    let before = stage.arm().now();
    let leaving = alice.node().leave(QUIET);
    assert_eq!(alice.within("leaving", leaving), 2);
    assert!(stage.arm().now() - before >= QUIET, "it has not waited for them");
    let report = alice.event("the report", undelivered_of(&bob));
    assert_eq!((report.not_delivered.len(), report.in_doubt), (0, vec!["not taken".into(), Bytes::from("nor this")]));
    bob.expect(&alice, "not taken");
    bob.expect(&alice, "nor this");
}

pub(super) fn a_port_is_free_when_its_node_has_left(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    alice.leave();
    let carol = stage.node_of(stage.arm(), &alice.address().to_string(), swift());
    assert_eq!(carol.address(), alice.address());
    assert_ne!(carol.id(), alice.id());
    bob.join(&carol);
}

pub(super) fn received_messages_can_be_taken_after_leaving(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    for number in 0..3 {
        alice.send(&bob, number.to_string());
    }
    // Not for the simulator: a simulated process ends when its node has left, and its inbox with it. Each message is one
    // byte with a head of one byte.
    stage.until("they have arrived", || bob.node().stats().bytes_received == 6);
    bob.leave();
    for number in 0..3 {
        bob.expect(&alice, number.to_string());
    }
    assert_eq!(bob.node().recv(PATIENCE), Err(Nothing::Ended));
}

pub(super) fn left_node_is_never_dialled_again(stage: &Stage<'_>) {
    let [alice, bob, carol] = stage.mesh();
    carol.leave();
    let others = [&alice, &bob];
    stage.until("carol is gone", || others.iter().all(|node| node.up().len() == 1));
    let dials = || others.map(|node| node.node().stats().dials);
    let before = dials();
    // Longer than every retry, exchange and seed interval.
    stage.arm().pass(Duration::from_secs(3));
    assert_eq!(dials(), before);
    assert!(others.iter().all(|node| node.node().peers().len() == 1));
}

pub(super) fn a_crash_is_noticed_and_dialled_after(stage: &Stage<'_>) {
    let [alice, bob, carol] = stage.mesh();
    carol.crash();
    for (peer, other) in [(&alice, &bob), (&bob, &alice)] {
        let reason = peer.until_down(&carol);
        assert!(reason.is_transient(), "{reason}");
        assert_eq!(peer.up(), [other.id()].into());
        let peers = peer.node().peers();
        let lost = peers.iter().find(|info| info.run.id == carol.id()).expect("it is looked for");
        assert_eq!(lost.state, PeerState::Lost);
    }
    let dials = alice.node().stats().dials;
    stage.until("it is dialled", || alice.node().stats().dials > dials);
    alice.send(&bob, "undisturbed");
    bob.expect(&alice, "undisturbed");
}

pub(super) fn a_lost_peer_is_forgotten_with_its_messages_reported(stage: &Stage<'_>) {
    let ttl = Duration::from_millis(800);
    let alice = stage.node_with(swift().session_ttl(ttl).forget_after(Some(ttl)));
    let bob = stage.node();
    alice.join(&bob);
    for number in 0..10_u8 {
        alice.send(&bob, [number].to_vec());
    }
    for number in 0..4_u8 {
        bob.expect(&alice, [number]);
    }
    stage.until("four are delivered", || alice.node().stats().messages_delivered == 4);
    bob.crash();
    alice.until_down(&bob);
    for number in 10..15_u8 {
        assert_eq!(alice.try_send(&bob, [number].to_vec()), Ok(()), "messages to a lost peer wait");
    }
    let flushing = alice.node().flush(bob.id());
    let report = alice.event("the report", undelivered_of(&bob));
    alice.until_gone(&bob);
    let numbers = |payloads: &[Bytes]| payloads.iter().map(|payload| payload[0]).collect::<Vec<u8>>();
    assert_eq!(numbers(&report.in_doubt), (4..10).collect::<Vec<_>>());
    assert_eq!(numbers(&report.not_delivered), (10..15).collect::<Vec<_>>());
    assert_eq!(alice.within("the flush", flushing), crate::Flushed::Undelivered(11));
    assert_eq!(alice.try_send(&bob, "late"), Err(SendErrorKind::NotConnected));
    stage.until("it is no peer any more", || alice.node().peers().is_empty());
}

pub(super) fn messages_to_the_lost_are_refused_where_that_is_wished(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh_with([swift().offline(Offline::Refuse), swift()]);
    alice.send(&bob, "as long as it is up");
    bob.expect(&alice, "as long as it is up");
    bob.crash();
    alice.until_down(&bob);
    assert_eq!(alice.try_send(&bob, "not now"), Err(SendErrorKind::NotConnected));
}

pub(super) fn a_node_that_restarts_is_a_later_run_of_itself(stage: &Stage<'_>) {
    let id = NodeId::from_bytes([0xb0; 16]);
    let [alice, bob] = stage.mesh_with([swift(), swift().node_id(id)]);
    alice.send(&bob, "before");
    bob.expect(&alice, "before");
    let before = alice.node().peers()[0].run;
    bob.crash();
    let reborn = stage.node_at(bob.address(), swift().node_id(id));
    assert_eq!(reborn.id(), id);
    let reason = alice.until_down(&bob);
    assert!(reason.is_transient() || reason == Reason::Restarted, "{reason}");
    alice.until_gone(&bob);
    let run = alice.event("the later run", |event| match event {
        Event::PeerUp(info) => Some(info.run),
        _ => None,
    });
    assert!(run.id == id && run.incarnation > before.incarnation, "{run:?} after {before:?}");
    stage.until_complete(&[alice.clone(), reborn.clone()]);
    alice.send(&reborn, "after");
    reborn.expect(&alice, "after");
}

pub(super) fn a_node_that_left_comes_back(stage: &Stage<'_>) {
    let id = NodeId::from_bytes([0xb1; 16]);
    let [alice, bob, carol] = stage.mesh_with([swift(), swift(), swift().node_id(id)]);
    carol.leave();
    for peer in [&alice, &bob] {
        assert_eq!(peer.until_down(&carol), Reason::Left);
    }
    let reborn = stage.node_at(carol.address(), swift().node_id(id));
    reborn.join(&alice);
    stage.until_complete(&[alice, bob, reborn]);
}

fn undelivered_of(peer: &Member<'_>) -> impl FnMut(&Event) -> Option<Undelivered> + use<> {
    let id = peer.id();
    move |event| match event {
        Event::Undelivered(report) if report.peer.id == id => Some(report.clone()),
        _ => None,
    }
}
