//! What a peer says that cannot be: the link ends with a typed reason, and every message still has its one outcome.

use super::*;
use crate::event::Undelivered;
use crate::reason::ProtocolError;

const GRANTED: u64 = 1 << 16;

fn ack(received: u64, consumed: u64, consumed_messages: u64, granted: u64) -> Ack {
    Ack { received, consumed, consumed_messages, granted }
}

fn data(offset: u64, bytes: &[u8]) -> Frame {
    Frame::Data(Data { offset, bytes: bytes::Bytes::copy_from_slice(bytes) })
}

/// A peer that has taken `one` of `one` and `two`, and has sent `abc`. Its stream may go up to byte 1,024.
fn halfway() -> (Bench, LinkId, StreamId) {
    let limits = Limits { initial_window: 1_024, recv_window: 1_024, max_message: 100, ..Limits::default() };
    let mut bench = Bench::new(lan().limits(limits));
    let link = bench.up(run(1, 1));
    let PeerStream::Live { id, .. } = bench.offer_to_go_on(link).peer else { unreachable!() };
    bench.send(run(1, 1), "one");
    bench.send(run(1, 1), "two");
    bench.frame(link, Frame::Ack(ack(8, 4, 1, GRANTED)));
    bench.frame(link, data(0, b"\x43abc"));
    assert_eq!(bench.word(run(1, 1).id), ["up"]);
    (bench, link, id)
}

/// Each message that was reported: whether it is in doubt, and what it says.
fn reported(bench: &Bench) -> Vec<(bool, bytes::Bytes)> {
    let told = |event: &Event| match event {
        Event::Undelivered(Undelivered { in_doubt, not_delivered, .. }) => {
            let doubtful = in_doubt.iter().map(|payload| (true, payload.clone()));
            doubtful.chain(not_delivered.iter().map(|payload| (false, payload.clone()))).collect()
        }
        _ => Vec::new(),
    };
    bench.events.iter().flat_map(told).collect()
}

/// How many messages the user was told to be delivered.
fn delivered(bench: &Bench) -> Option<u64> {
    let told = |event: &Event| match event {
        Event::Delivered { messages, .. } => Some(*messages),
        _ => None,
    };
    bench.events.iter().rev().find_map(told)
}

fn takes(bench: &mut Bench) -> Vec<bytes::Bytes> {
    core::iter::from_fn(|| bench.node.poll_message(bench.now)).map(|message| message.payload).collect()
}

impl Bench {
    /// The peer dials again, goes on with its stream, and says this of the node's.
    fn returns(&mut self, generation: u64, peer: PeerStream) -> LinkId {
        self.offers(generation, Offer { next: 4, peer, ..offer() })
    }

    /// The peer dials again, and begins a new stream.
    fn begins(&mut self, generation: u64, peer: PeerStream) -> LinkId {
        self.offers(generation, Offer { stream: StreamId(999), next: 0, peer })
    }

    fn offers(&mut self, generation: u64, offer: Offer) -> LinkId {
        let link = self.claimed(run(1, 1), generation);
        self.frame(link, Frame::Resume(Resume { offer }));
        // What was delivered is told now and then.
        self.pass(Duration::from_millis(100));
        link
    }
}

#[test]
fn what_cannot_be_ends_the_link_with_its_reason_and_the_outcome_still_comes() {
    use ProtocolError::{BadAck, BadMessageHead, CreditExceeded, MessageTooLarge, UnexpectedFrame, WrongOffset};
    const MAX: u64 = u64::MAX;
    let cases = [
        ("an acknowledgement beyond what was sent", Frame::Ack(ack(9, 4, 1, GRANTED)), BadAck),
        ("one of everything there is", Frame::Ack(ack(MAX, MAX, MAX, MAX)), BadAck),
        ("one more byte than there is", Frame::Ack(ack(MAX, 4, 1, GRANTED)), BadAck),
        ("what arrived goes back", Frame::Ack(ack(7, 4, 1, GRANTED)), BadAck),
        ("what was taken goes back", Frame::Ack(ack(8, 0, 0, GRANTED)), BadAck),
        ("the count of messages goes back", Frame::Ack(ack(8, 4, 0, GRANTED)), BadAck),
        ("the count of messages is ahead", Frame::Ack(ack(8, 8, 3, GRANTED)), BadAck),
        ("the count of messages is at its end", Frame::Ack(ack(8, 8, MAX, GRANTED)), BadAck),
        ("half a message was taken", Frame::Ack(ack(8, 6, 1, GRANTED)), BadAck),
        ("credit goes back", Frame::Ack(ack(8, 4, 1, GRANTED - 1)), BadAck),
        ("a chunk again", data(0, b"\x43abc"), WrongOffset),
        ("a chunk behind a gap", data(5, b"\x43def"), WrongOffset),
        ("a chunk at the end of numbers", data(MAX, b"\x43def"), WrongOffset),
        ("a chunk beyond the credit", data(4, &[0x40; 1_021]), CreditExceeded),
        ("a chunk of nothing", data(4, b""), UnexpectedFrame),
        ("a head that is no byte string", data(4, b"\x01\x02"), BadMessageHead),
        ("a head of unknown length", data(4, b"\x5f"), BadMessageHead),
        ("a head that is longer than it need be", data(4, b"\x58\x03"), BadMessageHead),
        ("a message beyond the cap", data(4, b"\x58\x65"), MessageTooLarge),
        ("a message of nearly 2 to the 64", data(4, b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff"), MessageTooLarge),
    ];
    for (what, frame, error) in cases {
        let bad = || {
            let (mut bench, link, id) = halfway();
            bench.frame(link, frame.clone());
            // A bad head behind a message that waits is seen when that message is taken.
            let taken = takes(&mut bench);
            bench.act();
            assert_eq!(taken, ["abc"], "{what}: what was whole is taken");
            assert_eq!(bench.word(run(1, 1).id), ["up", "down"], "{what}");
            assert_eq!(bench.down_reasons(), [Reason::Protocol(error)], "{what}");
            assert!(bench.node.is_consistent(), "{what}");
            assert_eq!((delivered(&bench), reported(&bench)), (Some(1), Vec::new()), "{what}");
            (bench, id)
        };

        let (mut bench, id) = bad();
        let peer = PeerStream::Live { id, ack: ack(8, 8, 2, GRANTED) };
        match error {
            // The node has told it that its stream is over, at the bad head.
            BadMessageHead | MessageTooLarge => bench.offers(2, Offer { stream: StreamId(10), next: 0, peer }),
            _ => bench.returns(2, peer),
        };
        assert_eq!(bench.word(run(1, 1).id), ["up", "down", "up"], "{what}");
        assert_eq!((delivered(&bench), reported(&bench)), (Some(2), Vec::new()), "{what}");
        assert!(takes(&mut bench).is_empty(), "{what}: nothing comes twice");

        let in_doubt = Vec::from([(true, "two".into())]);
        let (mut bench, _) = bad();
        bench.begins(2, PeerStream::None);
        assert_eq!((delivered(&bench), reported(&bench)), (Some(1), in_doubt.clone()), "{what}");

        let (mut bench, _) = bad();
        bench.pass(bench.node.timing().session_ttl);
        assert_eq!((delivered(&bench), reported(&bench)), (Some(1), in_doubt), "{what}");
        assert_eq!(bench.word(run(1, 1).id), ["up", "down", "gone"], "{what}");
    }
}

#[test]
fn an_offer_that_cannot_be_ends_the_link_and_an_honest_one_goes_on_from_there() {
    let (_, _, id) = halfway();
    let live = |ack| PeerStream::Live { id, ack };
    let closed = |consumed| PeerStream::Closed { id, consumed };
    let cases = [
        ("more than was sent", live(ack(9, 4, 1, GRANTED))),
        ("more than there is", live(ack(u64::MAX, u64::MAX, u64::MAX, u64::MAX))),
        ("less than was taken", live(ack(8, 0, 0, GRANTED))),
        ("less than had to be kept", live(ack(3, 4, 1, GRANTED))),
        ("half a message", live(ack(8, 6, 1, GRANTED))),
        ("a count that does not fit", live(ack(8, 8, 1, GRANTED))),
        ("credit below what arrived", live(ack(8, 4, 1, 7))),
        ("an end before what was taken", closed(0)),
        ("an end inside a message", closed(6)),
        ("an end beyond what was sent", closed(12)),
        ("an end at the end of numbers", closed(u64::MAX)),
    ];
    for (what, lie) in cases {
        let (mut bench, link, _) = halfway();
        bench.end(link);
        bench.returns(2, lie);
        assert_eq!(bench.word(run(1, 1).id), ["up", "down"], "{what}");
        assert_eq!(bench.node.stats().protocol_errors, 1, "{what}");
        assert!(bench.node.is_consistent(), "{what}");
        assert_eq!((delivered(&bench), reported(&bench)), (Some(1), Vec::new()), "{what}");

        bench.returns(3, live(ack(4, 4, 1, GRANTED)));
        assert_eq!(bench.word(run(1, 1).id), ["up", "down", "up"], "{what}");
        let link = bench.returns(4, live(ack(8, 8, 2, GRANTED)));
        assert_eq!(bench.sent_on(link).iter().filter(|frame| matches!(frame, Frame::Data(_))).count(), 0, "{what}");
        assert_eq!((delivered(&bench), reported(&bench)), (Some(2), Vec::new()), "{what}");
    }
}

#[test]
fn a_stream_that_the_node_never_had_begins_the_session_anew_and_says_what_is_in_doubt() {
    let unknown = StreamId(u64::MAX);
    let gone = [
        PeerStream::None,
        PeerStream::Live { id: unknown, ack: ack(4, 4, 1, GRANTED) },
        PeerStream::Closed { id: unknown, consumed: u64::MAX },
    ];
    for peer in gone {
        let (mut bench, link, _) = halfway();
        bench.end(link);
        bench.begins(2, peer);
        assert_eq!(reported(&bench), [(true, "two".into())], "{peer:?}");
        assert_eq!(bench.word(run(1, 1).id), ["up", "down", "gone", "up"], "{peer:?}");
    }
    // The same holds if the peer continues its own stream.
    let (mut bench, link, id) = halfway();
    bench.end(link);
    let link = bench.returns(2, PeerStream::None);
    assert_eq!(reported(&bench), [(true, "two".into())]);
    assert_eq!(bench.word(run(1, 1).id), ["up", "down", "gone", "up"]);
    bench.send(run(1, 1), "three");
    bench.end(link);
    let next = PeerStream::Live { id: StreamId(id.0.wrapping_add(1)), ack: ack(6, 6, 1, GRANTED) };
    bench.returns(3, next);
    assert_eq!(delivered(&bench), Some(1), "the peer has read the successor");
}

#[test]
fn a_later_run_that_waits_behind_the_last_try_of_the_one_before_has_a_session_of_its_own() {
    let mut bench = Bench::new(lan().session_ttl(Duration::from_secs(10)));
    let (first, second) = (run(7, 1), run(7, 2));
    let link = bench.up(first);
    bench.end(link);
    bench.pass(Duration::from_secs(8));
    let link = bench.claimed(first, 2);
    bench.pass(Duration::from_millis(4_500));
    bench.end(link);
    bench.claimed(first, 3);
    bench.pass(Duration::from_secs(2));
    // It asks the link of the first run for a sign of life, and waits.
    let link = bench.claimed(second, 1);
    assert!(matches!(bench.sent_on(link)[..], []));
    bench.pass(Duration::from_millis(600));
    assert_eq!(bench.node.pairs.peer(second.id).unwrap().run, second, "{:?}", bench.events);
    assert!(bench.node.mail.has_session(second.id));
    bench.frame(link, Frame::Resume(Resume { offer: offer() }));
    assert_eq!(bench.word(second.id), ["up", "down", "gone", "up"]);
}

/// A peer that was lost for a second longer than its session lasts, and is half back.
fn on_its_last_try() -> (Bench, Run, LinkId) {
    let mut bench = Bench::new(lan().session_ttl(Duration::from_secs(10)));
    let peer = run(7, 1);
    let link = bench.up(peer);
    bench.end(link);
    bench.pass(Duration::from_secs(8));
    let link = bench.claimed(peer, 2);
    bench.pass(Duration::from_secs(3));
    (bench, peer, link)
}

#[test]
fn new_settings_do_not_cut_the_last_try_short() {
    let (mut bench, peer, link) = on_its_last_try();
    let config = bench.node.config().clone().metadata(Vec::from([1]));
    bench.node.set_config(bench.now, config).unwrap();
    bench.pass(Duration::from_secs(1));
    bench.frame(link, Frame::Resume(Resume { offer: offer() }));
    assert_eq!(bench.word(peer.id), ["up", "down", "up"]);
    assert_eq!(bench.node.stats().own_stalls, 0);
}

#[test]
fn settings_that_give_more_time_give_it_to_a_session_on_its_last_try_too() {
    let (mut bench, peer, link) = on_its_last_try();
    bench.node.set_config(bench.now, bench.node.config().clone().session_ttl(MINUTE)).unwrap();
    bench.end(link);
    bench.pass(MINUTE - Duration::from_secs(13));
    assert_eq!(bench.word(peer.id), ["up", "down"]);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.word(peer.id), ["up", "down", "gone"]);
}

#[test]
fn new_settings_leave_a_session_that_never_came_up_its_own_time() {
    let mut bench = Bench::new(lan().session_ttl(Duration::from_secs(10)));
    let (first, second) = (run(7, 1), run(7, 2));
    let link = bench.up(first);
    bench.end(link);
    bench.pass(MINUTE);
    let link = bench.claimed(second, 1);
    bench.end(link);
    bench.pass(Duration::from_secs(1));
    bench.node.set_config(bench.now, bench.node.config().clone().metadata(Vec::from([1]))).unwrap();
    bench.pass(Duration::from_secs(8));
    assert!(bench.node.mail.has_session(second.id));
    bench.pass(Duration::from_secs(2));
    assert!(!bench.node.mail.has_session(second.id));
}

#[test]
fn a_peer_that_comes_back_again_and_again_and_never_to_the_end_keeps_no_session() {
    let ttl = Duration::from_secs(10);
    let mut bench = Bench::new(lan().session_ttl(ttl));
    let (peer, begin) = (run(7, 1), bench.now);
    let link = bench.up(peer);
    bench.send(peer, "this has an outcome");
    bench.end(link);
    let mut generation = 1;
    while bench.word(peer.id) == ["up", "down"] {
        generation += 1;
        let link = bench.claimed(peer, generation);
        bench.pass(Duration::from_secs(3));
        bench.end(link);
    }
    assert_eq!(bench.word(peer.id), ["up", "down", "gone"]);
    assert!(bench.events.iter().any(|event| matches!(event, Event::Undelivered(_))));
    let most = ttl + bench.node.timing().handshake_timeout + Duration::from_secs(3);
    assert!(bench.now - begin <= most, "{:?}", bench.now);
    bench.claimed(peer, generation + 1);
}
