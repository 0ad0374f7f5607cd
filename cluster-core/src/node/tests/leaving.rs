//! Goodbyes of the node and of its peers, at every stage of a link.

use super::*;
use crate::wire::{Close, Data};

fn reject(code: RejectCode) -> Frame {
    Frame::Reject(Reject { code })
}

#[test]
fn a_join_that_meets_a_leaving_node_says_so() {
    let mut bench = Bench::new(lan());
    bench.node.join(bench.now, at(1).into()).unwrap();
    bench.act();
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(1, 1));
    bench.frame(dial, Frame::Reject(Reject { code: RejectCode::Leaving }));
    let failed = |event: &Event| {
        matches!(event, Event::JoinFailed { error, .. }
        if *error == JoinError::Failed(Reason::Rejected(RejectCode::Leaving)))
    };
    assert!(bench.events.iter().any(failed), "{:?}", bench.events);
}

#[test]
fn a_join_that_meets_a_goodbye_ends_at_once() {
    for (close, reason) in [(Close::Leaving, Reason::Left), (Close::Removed, Reason::Removed)] {
        let mut bench = Bench::new(lan());
        bench.node.join(bench.now, at(1).into()).unwrap();
        bench.act();
        let (dial, _) = bench.dials.pop().unwrap();
        bench.connect(dial, run(1, 1));
        bench.frame(dial, Frame::Close(close));
        let expected = JoinError::Failed(reason);
        let failed = |event: &Event| matches!(event, Event::JoinFailed { error, .. } if *error == expected);
        assert!(bench.events.iter().any(failed), "{:?}", bench.events);
    }
}

#[test]
fn a_node_that_has_left_has_nothing_due_whatever_is_set() {
    let mut bench = Bench::new(lan());
    bench.node.leave(bench.now, Duration::ZERO);
    bench.act();
    assert!(bench.node.has_left());
    bench.node.set_config(bench.now, bench.node.config().clone().seed(at(1).into())).unwrap();
    assert_eq!(bench.node.next_tick(), None);
}

#[test]
fn a_link_that_is_replacing_another_survives_the_call_to_leave() {
    let mut bench = Bench::new(lan());
    bench.up(run(1, 1));
    bench.send(run(1, 1), "hello");
    let next = bench.claimed(run(1, 1), 2);
    bench.leave(MINUTE);
    assert_eq!(bench.word(run(1, 1).id), ["up"]);
    let offer = bench.offer_to_go_on(next);
    bench.frame(next, Frame::Resume(Resume { offer }));
    bench.frame(next, Frame::Ack(Ack { received: 6, consumed: 6, consumed_messages: 1, granted: 1 << 16 }));
    assert!(bench.events.contains(&Event::Left { undelivered: 0 }), "{:?}", bench.events);
}

#[test]
fn a_claim_that_may_replace_the_link_of_a_peer_survives_the_call_to_leave() {
    let (mut bench, peer) = (Bench::new(lan()), run(1, 1));
    let (dial, live) = bench.claiming_beside_a_live_link(peer);
    bench.send(peer, "hello");
    bench.leave(MINUTE);
    let offer = bench.offer_to_go_on(live);
    // The other side had granted the claim, and with that given up the link that was live.
    bench.end(live);
    assert_eq!(bench.word(peer.id), ["up"]);
    bench.frame(dial, Frame::Accept(Accept { profile: profile(at(1)), offer }));
    bench.frame(dial, Frame::Ack(Ack { received: 6, consumed: 6, consumed_messages: 1, granted: 1 << 16 }));
    assert_eq!(bench.events.last(), Some(&Event::Left { undelivered: 0 }), "{:?}", bench.events);
    assert_eq!(bench.sent_on(dial).last(), Some(&&Frame::Close(Close::Leaving)));
}

#[test]
fn a_peer_in_limbo_goes_down_before_the_node_has_left() {
    let (mut bench, peer) = (Bench::new(lan()), run(1, 1));
    let (dial, live) = bench.claiming_beside_a_live_link(peer);
    bench.send(peer, "hello");
    bench.end(live);
    assert_eq!(bench.word(peer.id), ["up"]);
    bench.leave(Duration::ZERO);
    assert_eq!(bench.word(peer.id), ["up", "down", "gone"]);
    assert_eq!(bench.sent_on(dial).last(), Some(&&Frame::Close(Close::Leaving)));
    assert_eq!(bench.events.last(), Some(&Event::Left { undelivered: 1 }));
}

#[test]
fn at_each_step_of_a_handshake_a_leaving_node_says_so() {
    let mut bench = Bench::new(lan());
    bench.up(run(9, 1));
    bench.send(run(9, 1), "so that it takes a while");
    let silent = bench.inbound(run(1, 1));
    let granted = bench.claimed(run(2, 1), 1);
    let held = bench.claimed(run(9, 2), 1);
    bench.node.join(bench.now, at(3).into()).unwrap();
    bench.act();
    let (asked, _) = bench.dials.pop().unwrap();
    bench.connect(asked, run(3, 1));
    let early = bench.node.accept(bench.now, at(4)).unwrap();
    bench.leave(MINUTE);
    for link in [silent, held] {
        assert_eq!(bench.sent_on(link).last(), Some(&&reject(RejectCode::Leaving)));
    }
    for link in [granted, asked] {
        assert_eq!(bench.sent_on(link).last(), Some(&&Frame::Close(Close::Leaving)));
    }
    // One that had yet to say who it is gets its answer when it does.
    bench.connect(early, run(4, 1));
    bench.frame(early, claim(4, 1));
    assert_eq!(bench.sent_on(early), [&reject(RejectCode::Leaving)]);
    for other in [1, 2, 3, 4] {
        assert!(bench.word(run(other, 1).id).is_empty());
    }
    assert!(!bench.node.has_left());
}

#[test]
fn what_is_lost_while_a_leave_waits_is_counted_by_it() {
    let mut bench = Bench::new(lan());
    let links = [1, 2].map(|peer| bench.up(run(peer, 1)));
    for peer in [1, 1, 2] {
        bench.send(run(peer, 1), "hello");
    }
    bench.leave(MINUTE);
    bench.end(links[0]);
    assert!(!bench.node.has_left());
    bench.frame(links[1], Frame::Ack(Ack { received: 6, consumed: 6, consumed_messages: 1, granted: 1 << 16 }));
    assert_eq!(bench.events.last(), Some(&Event::Left { undelivered: 2 }));
}

#[test]
fn whoever_waits_for_room_is_told_that_the_node_leaves() {
    let mut bench = Bench::new(narrow());
    let (a, b) = (run(1, 1), run(2, 1));
    bench.up(a);
    bench.up(b);
    bench.send(a, "sixty bytes, or so it says, that nobody is going to take soon");
    bench.send(b, "a few");
    assert_eq!(bench.node.send(bench.now, a.id, "one more".into()).unwrap_err().kind, SendErrorKind::Full);
    bench.act();
    assert!(bench.writable.is_empty());
    bench.leave(MINUTE);
    assert_eq!(bench.writable, [a.id]);
    assert_eq!(bench.node.send(bench.now, a.id, "one more".into()).unwrap_err().kind, SendErrorKind::Leaving);
    bench.leave(Duration::ZERO);
    assert_eq!(bench.writable, [a.id], "once for each refusal");
}

#[test]
fn a_goodbye_says_what_was_taken_before_it() {
    for leaves in [true, false] {
        let (mut bench, peer) = (Bench::new(lan()), run(1, 1));
        let link = bench.up(peer);
        bench.frame(link, Frame::Data(Data { offset: 0, bytes: bytes::Bytes::from_static(b"\x45hello\x45later") }));
        assert!(bench.node.poll_message(bench.now).is_some());
        let before = bench.sent_on(link).len();
        let close = if leaves {
            bench.leave(MINUTE);
            Close::Leaving
        } else {
            bench.node.disconnect(bench.now, peer.id).unwrap();
            bench.act();
            Close::Removed
        };
        let sent = bench.sent_on(link).split_off(before);
        assert!(
            matches!(sent[..], [Frame::Ack(ack), Frame::Close(last)]
                if (ack.consumed, ack.consumed_messages) == (6, 1) && *last == close),
            "{sent:?}"
        );
        assert!(bench.node.poll_message(bench.now).is_some(), "and the rest can still be taken");
    }
}

#[test]
fn a_disconnect_is_told_on_every_link_that_may_be_the_one_of_the_pair() {
    for limbo in [false, true] {
        let (mut bench, peer) = (Bench::new(lan()), run(1, 1));
        let (dial, live) = bench.claiming_beside_a_live_link(peer);
        if limbo {
            bench.end(live);
        }
        bench.node.disconnect(bench.now, peer.id).unwrap();
        bench.act();
        assert_eq!(bench.sent_on(dial).last(), Some(&&Frame::Close(Close::Removed)));
        assert_eq!(bench.sent_on(live).last() == Some(&&Frame::Close(Close::Removed)), !limbo);
        assert_eq!(bench.word(peer.id), ["up", "down", "gone"]);
        let local = |event: &Event| matches!(event, Event::PeerDown { reason: Reason::LocalDisconnect, .. });
        assert!(bench.events.iter().any(local), "{:?}", bench.events);
    }
}

#[test]
fn a_run_whose_user_disconnected_us_ends_that_by_a_claim_and_no_other_run_does() {
    let removed = |bench: &Bench, link| bench.sent_on(link) == [&reject(RejectCode::Removed)];
    let mut bench = Bench::new(lan());
    let peer = run(1, 1);
    let link = bench.up(peer);
    bench.frame(link, Frame::Close(Close::Removed));
    let restarted = bench.claimed(run(1, 2), 1);
    assert!(removed(&bench, restarted), "it may not know of it any more");
    let again = bench.claimed(peer, 2);
    assert!(matches!(bench.sent_on(again)[..], [Frame::Accept(_)]), "its own mark is over");
    // What our own user wanted is not for the other side to end like that.
    bench.frame(again, Frame::Resume(Resume { offer: offer() }));
    bench.node.disconnect(bench.now, peer.id).unwrap();
    bench.act();
    let third = bench.claimed(peer, 3);
    assert!(removed(&bench, third));
}
