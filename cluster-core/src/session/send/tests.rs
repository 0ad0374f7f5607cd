//! What the sending end promises, one case at a time.

use super::*;
use alloc::vec;
use proptest::prelude::*;

const OURS: StreamId = StreamId(7);

/// Five messages of 9 bytes and a head of one, all sent, of which `consumed` were taken.
fn five(consumed: u64) -> SendStream {
    let mut stream = SendStream::new(OURS, 1_000);
    (0..5).for_each(|i| stream.push(&Bytes::from(vec![i; 9])));
    while stream.pull(7).is_some() {}
    let ack = ack(consumed * 10, consumed * 10, consumed, 1_000);
    stream.ack(&ack).unwrap();
    stream
}

fn ack(received: u64, consumed: u64, consumed_messages: u64, granted: u64) -> Ack {
    Ack { received, consumed, consumed_messages, granted }
}

fn live(id: StreamId, ack: Ack) -> PeerStream {
    PeerStream::Live { id, ack }
}

fn everything(stream: &mut SendStream) -> Vec<u8> {
    core::iter::from_fn(|| stream.pull(usize::MAX)).flat_map(|data| data.bytes.to_vec()).collect()
}

/// Equal in everything that counts.
fn same(a: &SendStream, b: &SendStream) -> bool {
    let parts = |s: &SendStream| {
        (s.id, s.sent, s.at_sent, s.received, s.consumed, s.consumed_messages, s.granted, s.settled_messages)
    };
    parts(a) == parts(b) && a.clone().end() == b.clone().end()
}

#[test]
fn an_acknowledgement_that_cannot_be_true_is_refused_and_changes_nothing() {
    let stream = five(1);
    let cases = [
        ("received beyond what was sent", ack(51, 10, 1, 1_000)),
        ("received at the end of numbers", ack(u64::MAX, 10, 1, u64::MAX)),
        ("received going back", ack(9, 9, 1, 1_000)),
        ("consumed beyond received", ack(20, 30, 3, 1_000)),
        ("consumed going back", ack(50, 0, 0, 1_000)),
        ("consumed inside a message", ack(50, 25, 2, 1_000)),
        ("consumed one byte short", ack(50, 19, 2, 1_000)),
        ("consumed one byte over", ack(50, 21, 2, 1_000)),
        ("too many messages", ack(50, 20, 3, 1_000)),
        ("too few messages", ack(50, 20, 1, 1_000)),
        ("messages going back", ack(50, 10, 0, 1_000)),
        ("messages at the end of numbers", ack(50, 20, u64::MAX, 1_000)),
        ("credit going back", ack(50, 20, 2, 999)),
        ("everything at the end of numbers", ack(u64::MAX, u64::MAX, u64::MAX, u64::MAX)),
        ("nothing at all", Ack::default()),
    ];
    for (what, ack) in cases {
        let mut tried = stream.clone();
        assert_eq!(tried.ack(&ack), Err(ProtocolError::BadAck), "{what}");
        assert!(same(&tried, &stream), "{what}");
    }
    let best = Acked { messages: 4, freed: 40, more_credit: true, advanced: true, needed: true };
    assert_eq!(stream.clone().ack(&ack(50, 50, 5, u64::MAX)), Ok(best));
    assert_eq!(stream.clone().ack(&ack(10, 10, 1, 1_000)), Ok(Acked::default()), "no news is allowed");
}

#[test]
fn credit_below_what_arrived_is_refused() {
    let mut stream = SendStream::new(OURS, 10);
    stream.push(&Bytes::from_static(&[0; 30]));
    stream.pull(usize::MAX);
    let bad = live(OURS, ack(10, 0, 0, 9));
    assert_eq!(stream.resume(&bad, 10), Err(ProtocolError::BadOffer));
}

#[test]
fn chunks_stop_exactly_at_the_credit() {
    let mut stream = SendStream::new(OURS, 10);
    stream.push(&Bytes::from_static(&[1; 20]));
    assert!(stream.unsent());
    assert_eq!(stream.pull(0), None);
    assert_eq!(stream.pull(9).unwrap().bytes.len(), 9);
    assert_eq!(stream.pull(9), Some(Data { offset: 9, bytes: Bytes::from_static(&[1]) }));
    assert!(!stream.unsent());
    assert_eq!(stream.pull(9), None);
    stream.ack(&ack(10, 0, 0, 21)).unwrap();
    assert_eq!(stream.pull(usize::MAX).unwrap().bytes.len(), 11);
    assert!(!stream.unsent());
}

#[test]
fn a_window_takes_what_fits_and_an_empty_one_takes_anything() {
    let mut stream = SendStream::new(OURS, 0);
    assert!(stream.fits(1_000_000, 10, 0));
    stream.push(&Bytes::from_static(&[0; 4]));
    assert!(stream.fits(4, 10, 0) && !stream.fits(5, 10, 0));
    assert_eq!((stream.retained(), stream.pending_messages()), (5, 1));
}

#[test]
fn offsets_never_wrap() {
    let mut stream = SendStream::starting_at(u64::MAX - 10, u64::MAX);
    assert!(!stream.fits(10, 1_000, 0) && stream.fits(9, 1_000, 0));
    stream.push(&Bytes::from_static(&[0; 9]));
    assert!(!stream.fits(0, 1_000, 0));
    assert_eq!(everything(&mut stream).len(), 10);
    let acked = stream.ack(&ack(u64::MAX, u64::MAX, 1, u64::MAX)).unwrap();
    assert_eq!((acked.messages, stream.retained()), (1, 0));
    assert_eq!(stream.pull(1), None);
}

#[test]
fn a_large_payload_goes_out_uncopied() {
    let payload = Bytes::from(vec![3; 200_000]);
    let mut stream = SendStream::new(OURS, u64::MAX);
    stream.push(&payload);
    assert_eq!(stream.pull(usize::MAX).unwrap().bytes.len(), 5);
    let chunk = stream.pull(usize::MAX).unwrap().bytes;
    assert_eq!((chunk.len(), chunk.as_ptr()), (MAX_CHUNK, payload.as_ptr()));
    assert_eq!(stream.end().in_doubt[0].as_ptr(), payload.as_ptr());
}

#[test]
fn a_resume_goes_on_where_the_other_side_is() {
    for received in 10..=50 {
        let mut stream = five(1);
        let theirs = live(OURS, ack(received, 10, 1, received));
        assert!(matches!(stream.resume(&theirs, 5), Ok(Resumed::Continued(_))));
        assert_eq!((stream.next(), stream.unsent()), (received, false), "credit may come back");
        stream.ack(&ack(received, 10, 1, 50)).unwrap();
        assert_eq!(everything(&mut stream).len() as u64, 50 - received);
    }
}

#[test]
fn an_offer_that_contradicts_what_was_sent_is_refused_and_changes_nothing() {
    let stream = five(2);
    let cases = [
        live(OURS, ack(19, 19, 1, 100)),
        live(OURS, ack(51, 20, 2, 100)),
        live(OURS, ack(50, 20, 2, 49)),
        live(OURS, ack(50, 10, 1, 100)),
        live(OURS, ack(50, 20, 3, 100)),
        live(OURS, ack(u64::MAX, u64::MAX, u64::MAX, u64::MAX)),
        PeerStream::Closed { id: OURS, consumed: 10 },
        PeerStream::Closed { id: OURS, consumed: 21 },
        PeerStream::Closed { id: OURS, consumed: 60 },
        PeerStream::Closed { id: OURS, consumed: u64::MAX },
        PeerStream::Closed { id: StreamId(6), consumed: 0 },
    ];
    for theirs in cases {
        let mut tried = stream.clone();
        assert_eq!(tried.resume(&theirs, 1_000), Err(ProtocolError::BadOffer), "{theirs:?}");
        assert!(same(&tried, &stream), "{theirs:?}");
    }
}

#[test]
fn what_a_closed_stream_did_not_consume_is_carried_over() {
    let mut stream = five(1);
    let resumed = stream.resume(&PeerStream::Closed { id: OURS, consumed: 30 }, 1_000).unwrap();
    assert!(matches!(resumed, Resumed::CarriedOver(Acked { messages: 2, freed: 20, .. })));
    assert_eq!((stream.id(), stream.next(), stream.settled_messages()), (successor(OURS), 0, 3));
    assert_eq!(
        everything(&mut stream),
        [[0x49, 3, 3, 3, 3, 3, 3, 3, 3, 3], [0x49, 4, 4, 4, 4, 4, 4, 4, 4, 4]].concat()
    );
    // The other side had not seen that: it still speaks of the stream before.
    let again = stream.resume(&PeerStream::Closed { id: OURS, consumed: 30 }, 1_000).unwrap();
    assert_eq!(again, Resumed::Continued(Acked::default()));
    assert_eq!((stream.id(), everything(&mut stream).len()), (successor(OURS), 20));
}

#[test]
fn what_an_unknown_stream_had_handed_out_is_in_doubt_and_the_rest_is_carried_over() {
    for theirs in
        [PeerStream::None, live(StreamId(99), ack(1, 1, 1, 1)), PeerStream::Closed { id: StreamId(99), consumed: 5 }]
    {
        for (sent, doubts) in [(1, 1), (10, 1), (11, 2), (29, 3), (30, 3)] {
            let mut stream = SendStream::new(OURS, sent);
            (0..3).for_each(|i| stream.push(&Bytes::from(vec![i; 9])));
            everything(&mut stream);
            let Ok(Resumed::Reset { in_doubt }) = stream.resume(&theirs, 1_000) else { panic!("no reset") };
            assert_eq!(in_doubt.len(), doubts, "{sent}");
            assert_eq!((stream.id(), stream.pending_messages()), (successor(OURS), 3 - doubts as u64));
            assert_eq!(everything(&mut stream).len(), 30 - 10 * doubts);
        }
    }
}

#[test]
fn a_stream_that_nothing_went_out_of_just_begins() {
    let mut stream = SendStream::new(OURS, 0);
    stream.push(&Bytes::from_static(b"hello"));
    assert_eq!(stream.resume(&PeerStream::None, 100), Ok(Resumed::Continued(Acked::default())));
    assert_eq!((stream.id(), everything(&mut stream).len()), (OURS, 6));
}

#[test]
fn at_the_end_every_open_message_has_an_outcome() {
    let mut stream = five(2);
    stream.push(&Bytes::from_static(b"late"));
    let ended = stream.end();
    assert_eq!(ended.in_doubt, [2, 3, 4].map(|i| Bytes::from(vec![i; 9])));
    assert_eq!(ended.not_delivered, [Bytes::from_static(b"late")]);
}

proptest! {
    #[test]
    fn hostile_acknowledgements_and_offers_neither_panic_nor_lose_a_message(
        steps in prop::collection::vec((0_u8..8, edge(), edge(), edge(), edge()), 0..40),
    ) {
        let mut stream = five(0);
        let (mut accepted, mut settled) = (5_u64, 0_u64);
        for (kind, a, b, c, d) in steps {
            let id = if b % 3 == 0 { StreamId(c) } else { stream.id() };
            let before = stream.clone();
            let resumed = match kind {
                0 => { stream.push(&Bytes::from(vec![1; (a % 40) as usize])); accepted += 1; continue }
                1 => { stream.pull(a as usize); continue }
                2 => stream.ack(&ack(a, b, c, d)).map(Resumed::Continued),
                3 => stream.resume(&PeerStream::None, d),
                4 => stream.resume(&PeerStream::Closed { id, consumed: a }, d),
                _ => stream.resume(&live(id, ack(a, b, c, d)), d),
            };
            match resumed {
                Ok(Resumed::Continued(acked) | Resumed::CarriedOver(acked)) => settled += acked.messages,
                Ok(Resumed::Reset { in_doubt }) => settled += in_doubt.len() as u64,
                Err(_) => prop_assert!(same(&stream, &before)),
            }
            prop_assert_eq!((stream.accepted_messages(), stream.settled_messages()), (accepted, settled));
            prop_assert!(stream.sent <= stream.accepted() && stream.received <= stream.sent);
        }
        let ended = stream.end();
        prop_assert_eq!(settled + (ended.in_doubt.len() + ended.not_delivered.len()) as u64, accepted);
    }
}

fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..60, (0_u64..6).prop_map(|n| n * 10), Just(u64::MAX), u64::MAX - 60..u64::MAX, any::<u64>()]
}
