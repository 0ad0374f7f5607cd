//! Peers that say anything at all: whatever they do, every message has one outcome and memory is bounded.

use proptest::prelude::*;

use super::*;
use crate::wire::arbitrary;

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Take,
    Pass(u64),
    Frame(Frame),
    /// An acknowledgement or a chunk that is nearly right: each number is off by so much.
    Near([i8; 4], bool),
    /// The link ends, and the peer dials again with this offer.
    Return(Offer),
}

fn near() -> impl Strategy<Value = i8> {
    prop_oneof![4 => Just(0_i8), 1 => -3_i8..4]
}

fn step() -> impl Strategy<Value = Step> {
    let offer = |frame| match frame {
        Frame::Resume(resume) => resume.offer,
        _ => offer(),
    };
    prop_oneof![
        4 => (0_usize..3_000).prop_map(Step::Send),
        3 => Just(Step::Take),
        2 => (0_u64..2_000).prop_map(Step::Pass),
        2 => arbitrary::frame().prop_map(Step::Frame),
        6 => ([near(), near(), near(), near()], any::<bool>()).prop_map(|(off, data)| Step::Near(off, data)),
        2 => arbitrary::frame().prop_map(move |frame| Step::Return(offer(frame))),
    ]
}

/// What an honest peer would say next, with each number off by a little.
fn nearly(bench: &Bench, link: LinkId, [a, b, c, d]: [i8; 4], data: bool) -> Frame {
    let off = |number: u64, by: i8| number.wrapping_add_signed(i64::from(by));
    let chunks = |frame: &&Frame| matches!(frame, Frame::Data(_));
    let sent: u64 = bench
        .sent_on(link)
        .into_iter()
        .filter(chunks)
        .map(|frame| match frame {
            Frame::Data(data) => data.bytes.len() as u64,
            _ => 0,
        })
        .sum();
    if data {
        let offset = off(bench.node.mail.received(), a);
        return Frame::Data(Data { offset, bytes: bytes::Bytes::from_static(b"\x43abc") });
    }
    Frame::Ack(Ack {
        received: off(sent, a),
        consumed: off(0, b),
        consumed_messages: off(0, c),
        granted: off(1 << 20, d),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_peer_can_break_the_promise_to_our_user(steps in prop::collection::vec(step(), 0..60)) {
        let mut limits = Limits { max_message: 2_000, send_window: 8_000, initial_window: 4_096, ..Limits::default() };
        (limits.max_peers, limits.recv_window, limits.recv_budget) = (4, 8_192, 100_000);
        let mut bench = Bench::new(lan().limits(limits.clone()));
        let peer = run(1, 1);
        let mut link = bench.up(peer);
        let mut generation = 1;
        let mut accepted = 0;
        for step in steps {
            match step {
                Step::Send(length) => {
                    let payload = alloc::vec![7; length];
                    accepted += u64::from(bench.node.send(bench.now, peer.id, payload.into()).is_ok());
                    bench.act();
                }
                Step::Take => {
                    let _ = bench.node.poll_message(bench.now);
                    bench.act();
                }
                Step::Pass(millis) => drop(bench.pass(Duration::from_millis(millis))),
                // Only what does not end the session for good by itself.
                Step::Frame(Frame::Close(_) | Frame::Reject(_)) => {}
                Step::Frame(frame) => bench.frame(link, frame),
                Step::Near(off, data) => {
                    let frame = nearly(&bench, link, off, data);
                    bench.frame(link, frame);
                }
                Step::Return(offer) => {
                    bench.end(link);
                    generation += 1;
                    link = bench.claimed(peer, generation);
                    bench.frame(link, Frame::Resume(Resume { offer }));
                }
            }
            let memory = bench.node.memory();
            prop_assert!(memory.received <= limits.recv_budget, "{:?}", memory);
            prop_assert!(memory.received + memory.retained <= limits.max_memory(), "{:?}", memory);
            prop_assert!(bench.node.is_consistent());
        }
        bench.leave(Duration::ZERO);
        bench.pass(MINUTE);
        let undelivered = |event: &Event| match event {
            Event::Undelivered(told) => (told.in_doubt.len() + told.not_delivered.len()) as u64,
            _ => 0,
        };
        let lost: u64 = bench.events.iter().map(undelivered).sum();
        let delivered = bench.node.stats().messages_delivered;
        prop_assert_eq!(delivered + lost, accepted, "{:?}", bench.events);
    }
}
