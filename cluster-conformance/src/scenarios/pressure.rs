//! Peers that take nothing, and knowing what was taken.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cluster_core::{Acknowledge, Config, Event, FlushError, JoinError, Limits, SendErrorKind};

use crate::arm::{Flushed, Nothing};
use crate::proxy::Faults;
use crate::stage::{Member, PATIENCE, QUIET, Stage, swift};

/// Little room, so that it is full soon.
fn tight() -> Config {
    let mut limits = Limits::default();
    (limits.send_window, limits.initial_window, limits.recv_window) = (256 << 10, 64 << 10, 128 << 10);
    swift().limits(limits)
}

/// A message of 16 KiB that begins with a number.
fn numbered(number: u64) -> Bytes {
    let mut payload = vec![number as u8; 16 << 10];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload.into()
}

/// Sends numbered messages until no more is taken, and says how many were.
fn fill(from: &Member<'_>, to: &Member<'_>) -> u64 {
    let mut sent = 0;
    loop {
        match from.try_send(to, numbered(sent)) {
            Ok(()) => sent += 1,
            Err(kind) => {
                assert_eq!(kind, SendErrorKind::Full);
                return sent;
            }
        }
    }
}

fn mesh<'a, const N: usize>(stage: &Stage<'a>) -> [Rc<Member<'a>>; N] {
    stage.mesh_with([(); N].map(|()| tight()))
}

pub(super) fn a_peer_that_takes_nothing_fills_up_and_stays_a_peer(stage: &Stage<'_>) {
    let patience = Duration::from_millis(1_500);
    let config = || tight().heartbeat(patience / 10).peer_timeout(patience).probe_timeout(patience);
    let [alice, bob] = stage.mesh_with([config(), config()]);
    let sent = fill(&alice, &bob);
    // A window holds sixteen of them, less their heads.
    assert!((15..=17).contains(&sent), "{sent} were accepted");
    assert!(alice.node().stats().send_window_limit > 0);
    let report = alice.node().broadcast(numbered(0)).expect("it is short");
    assert_eq!((report.queued.len(), report.refused), (0, vec![(bob.id(), SendErrorKind::Full)]));
    // Longer than a silent peer may be silent.
    stage.arm().pass(patience * 3 / 2);
    assert!(alice.up().contains(&bob.id()) && bob.up().contains(&alice.id()));
    for number in 0..sent {
        bob.expect(&alice, numbered(number));
    }
    alice.send(&bob, "there is room again");
    bob.expect(&alice, "there is room again");
    assert!(!alice.events().iter().any(|event| matches!(event, Event::PeerDown { .. })));
}

pub(super) fn a_send_waits_for_room_and_goes_on_when_there_is_some(stage: &Stage<'_>) {
    let [alice, bob] = mesh(stage);
    for _ in 0..5 {
        let sent = fill(&alice, &bob);
        let mut waiting = alice.node().send(bob.id(), numbered(sent));
        assert!(waiting.wait(QUIET / 6).is_none(), "there is no room");
        for number in 0..sent {
            bob.expect(&alice, numbered(number));
        }
        assert_eq!(alice.within("room", waiting).map_err(|error| error.kind), Ok(()));
        bob.expect(&alice, numbered(sent));
        // So that no room comes from what was taken before.
        alice.flush(&bob);
    }
}

pub(super) fn a_send_that_waits_is_told_when_the_peer_leaves(stage: &Stage<'_>) {
    let [alice, bob] = mesh(stage);
    let sent = fill(&alice, &bob);
    let mut waiting = alice.node().send(bob.id(), numbered(sent));
    assert!(waiting.wait(QUIET / 6).is_none(), "there is no room");
    bob.leave();
    let error = alice.within("the outcome", waiting).expect_err("nobody is there");
    assert!(error.kind == SendErrorKind::NotConnected && error.payload == numbered(sent));
}

pub(super) fn waiting_send_fails_when_its_own_node_leaves(stage: &Stage<'_>) {
    let [alice, bob] = mesh(stage);
    let sent = fill(&alice, &bob);
    let mut waiting = alice.node().send(bob.id(), numbered(sent));
    assert!(waiting.wait(QUIET / 6).is_none(), "there is no room");
    // No message is taken, so the leave lasts as long as it may.
    let mut leaving = alice.node().leave(PATIENCE);
    let error = alice.within("the outcome", waiting).expect_err("its node leaves");
    assert!(error.kind == SendErrorKind::Leaving && error.payload == numbered(sent));
    assert!(leaving.wait(QUIET / 30).is_none(), "it has not waited for its peer");
    let at_once = alice.node().leave(Duration::ZERO);
    assert_eq!(alice.within("leaving at once", at_once), sent);
    assert_eq!(alice.within("leaving", leaving), sent);
}

pub(super) fn leaving_ends_every_call_that_waits(stage: &Stage<'_>) {
    let [alice, bob] = mesh(stage);
    let sent = fill(&alice, &bob);
    // It takes connections and says nothing.
    let silent = stage.arm().way(7, Faults::default());
    let mut sending = alice.node().send(bob.id(), numbered(sent));
    let mut joining = alice.node().join(silent.address().into());
    let mut flushing = alice.node().flush(bob.id());
    assert!(sending.wait(QUIET / 6).is_none() && joining.wait(QUIET / 6).is_none());
    assert!(flushing.wait(QUIET / 6).is_none());
    let leaving = alice.node().leave(QUIET);
    assert_eq!(alice.within("a send", sending).map_err(|error| error.kind), Err(SendErrorKind::Leaving));
    assert_eq!(alice.within("a join", joining), Err(JoinError::Leaving));
    let outcome = alice.within("a flush", flushing);
    assert!(matches!(outcome, Flushed::Undelivered(_) | Flushed::Closed), "{outcome:?}");
    assert_eq!(alice.within("leaving", leaving), sent);
    assert_eq!(alice.node().recv(PATIENCE), Err(Nothing::Ended));
}

pub(super) fn a_slow_peer_slows_nobody_else(stage: &Stage<'_>) {
    let [alice, bob, carol] = mesh(stage);
    fill(&alice, &bob);
    for number in 0..100 {
        alice.send(&carol, numbered(number));
        carol.expect(&alice, numbered(number));
        carol.send(&bob, "hold on");
    }
    assert_eq!(alice.up().len(), 2);
}

pub(super) fn a_flush_waits_until_everything_is_taken(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    alice.flush(&bob);
    for number in 0..10 {
        alice.send(&bob, format!("{number}"));
    }
    let mut flushing = alice.node().flush(bob.id());
    for number in 0..10 {
        assert!(flushing.wait(QUIET / 30).is_none(), "{number} of 10 are taken");
        bob.expect(&alice, format!("{number}"));
    }
    assert_eq!(alice.within("the flush", flushing), Flushed::Delivered);
    assert_eq!(alice.node().stats().messages_delivered, 10);
}

pub(super) fn a_flush_of_a_stranger_is_refused(stage: &Stage<'_>) {
    let [alice, bob] = [stage.node(), stage.node()];
    let flushing = alice.node().flush(bob.id());
    assert_eq!(alice.within("the flush", flushing), Flushed::Refused(FlushError::UnknownPeer(bob.id())));
}

pub(super) fn a_flush_ends_with_its_node(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    alice.send(&bob, "never taken");
    let mut flushing = alice.node().flush(bob.id());
    assert!(flushing.wait(QUIET / 6).is_none(), "it is not taken");
    let leaving = alice.node().leave(Duration::ZERO);
    assert_eq!(alice.within("leaving", leaving), 1);
    let outcome = alice.within("the flush", flushing);
    // A call on a thread of its own may come too late.
    assert!(matches!(outcome, Flushed::Undelivered(1) | Flushed::Closed | Flushed::Refused(_)), "{outcome:?}");
}

pub(super) fn a_message_counts_as_delivered_when_it_is_taken(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    let mut told = 0;
    for round in 1..=5 {
        alice.send(&bob, "taken");
        stage.arm().pass(QUIET / 10);
        assert_eq!(alice.node().stats().messages_delivered, round - 1, "it is not taken yet");
        bob.expect(&alice, "taken");
        stage.until("it counts as delivered", || alice.node().stats().messages_delivered == round);
        for event in alice.events() {
            if let Event::Delivered { messages, .. } = event {
                assert!((told..=round).contains(&messages), "{messages} of {round}, {told} before");
                told = messages;
            }
        }
    }
    if told < 5 {
        alice.event("all are delivered", |event| {
            matches!(event, Event::Delivered { messages: 5, peer } if peer.id == bob.id()).then_some(())
        });
    }
}

pub(super) fn a_message_counts_as_delivered_when_its_user_says_so(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh_with([swift(), swift().acknowledge(Acknowledge::Manual)]);
    for text in ["one", "two", "three"] {
        alice.send(&bob, text);
    }
    let messages = [(); 3].map(|()| bob.recv());
    let mut flushing = alice.node().flush(bob.id());
    assert!(flushing.wait(QUIET).is_none(), "nothing is acknowledged");
    assert_eq!(alice.node().stats().messages_delivered, 0);
    bob.node().acknowledge(messages[1].receipt);
    stage.until("two are delivered", || alice.node().stats().messages_delivered == 2);
    assert!(flushing.wait(QUIET / 6).is_none(), "the third is not acknowledged");
    bob.node().acknowledge(messages[2].receipt);
    assert_eq!(alice.within("the flush", flushing), Flushed::Delivered);
}
