//! Memory that is reserved for a long message, and who loses it.

use super::*;
use crate::limits::RESERVATION_RATE;
use bytes::Bytes;

/// The head of a message of 10,000 bytes, and its whole length.
const HEAD: &[u8] = b"\x59\x27\x10";
const LENGTH: u64 = 10_003;

const SECOND: Duration = Duration::from_secs(1);

/// A node that has memory for one such message beyond the windows.
fn narrow() -> Bench {
    let mut limits = Limits::default();
    (limits.max_peers, limits.initial_window, limits.max_message) = (4, 1_024, 10_000);
    limits.recv_window = 1_024;
    limits.recv_budget = 4 * 1_024 + 2 * 10_009;
    Bench::new(lan().limits(limits))
}

impl Bench {
    /// Sends so many bytes of the message, from `offset` on.
    fn feed(&mut self, link: LinkId, offset: u64, length: usize) {
        let mut bytes = if offset == 0 { HEAD.to_vec() } else { Vec::new() };
        bytes.resize(length, 7);
        self.frame(link, Frame::Data(Data { offset, bytes: bytes.into() }));
    }

    /// So many seconds pass in which these links are alive, and each of them says so.
    fn live_on(&mut self, seconds: u32, links: &[LinkId]) {
        for _ in 0..seconds {
            self.pass(SECOND);
            for &link in links {
                self.frame(link, Frame::Ping { token: 1 });
            }
        }
    }

    /// How far the other side of this link may send.
    fn granted(&self, link: LinkId) -> u64 {
        let of = |frame: &&Frame| match frame {
            Frame::Ack(ack) => Some(ack.granted),
            _ => None,
        };
        self.sent_on(link).iter().filter_map(of).max().unwrap_or(1_024)
    }

    /// The peer is back, and goes on with its stream where the node has it.
    fn back(&mut self, peer: Run, generation: u64, received: u64) -> LinkId {
        let link = self.claimed(peer, generation);
        self.frame(link, Frame::Resume(Resume { offer: Offer { next: received, ..offer() } }));
        assert_eq!(self.word(peer.id).last(), Some(&"up"));
        link
    }
}

#[test]
fn whose_turn_comes_late_has_all_the_time_to_go_on() {
    let mut bench = narrow();
    let (first, second) = (bench.up(run(1, 1)), bench.up(run(2, 1)));
    bench.feed(first, 0, 1_000);
    bench.feed(second, 0, 1_000);
    assert_eq!((bench.granted(first), bench.granted(second)), (LENGTH, 1_024));
    let begin = bench.now;
    let mut at = 1_000;
    while bench.now - begin < SECOND * 9 {
        bench.live_on(1, &[second]);
        bench.feed(first, at, 1);
        at += 1;
    }
    bench.feed(first, at, (LENGTH - at) as usize);
    assert_eq!(bench.node.poll_message(bench.now).unwrap().payload.len(), 10_000);
    bench.act();
    assert_eq!(bench.granted(second), LENGTH);
    bench.live_on(9, &[first, second]);
    assert_eq!(bench.word(run(2, 1).id), ["up"], "it had nothing to send with before");
    bench.live_on(2, &[first, second]);
    assert_eq!(bench.word(run(2, 1).id), ["up", "down"]);
}

#[test]
fn whoever_comes_and_goes_and_sends_nothing_of_a_message_keeps_its_memory_from_others_for_one_return() {
    for silent in [false, true] {
        let mut bench = narrow();
        let (first, second) = (bench.up(run(1, 1)), bench.up(run(2, 1)));
        bench.feed(first, 0, 1_000);
        bench.feed(second, 0, 1_000);
        bench.end(first);
        bench.live_on(2, &[second]);
        assert_eq!(bench.granted(second), 1_024, "the peer may be back at any moment");
        let mut received = 1_000;
        for generation in 2..5 {
            let again = bench.back(run(1, 1), generation, received);
            if !silent {
                bench.feed(again, received, 1);
                received += 1;
            }
            bench.end(again);
            bench.live_on(2, &[second]);
            assert_eq!(bench.granted(second), if silent { LENGTH } else { 1_024 }, "{generation}");
            if silent {
                break;
            }
        }
    }
}

#[test]
fn whoever_owes_bytes_on_a_live_link_loses_the_link_and_the_memory() {
    let mut bench = narrow();
    let (first, second) = (bench.up(run(1, 1)), bench.up(run(2, 1)));
    bench.feed(first, 0, 1_000);
    bench.feed(second, 0, 1_000);
    bench.live_on(9, &[first, second]);
    assert_eq!(bench.granted(second), 1_024);
    bench.live_on(2, &[first, second]);
    assert_eq!((bench.word(run(1, 1).id), bench.granted(second)), (Vec::from(["up", "down"]), LENGTH));
}

#[test]
fn slow_message_yields_once_others_wait() {
    let mut bench = narrow();
    let (first, second) = (bench.up(run(1, 1)), bench.up(run(2, 1)));
    bench.feed(first, 0, 1_000);
    let mut at = 1_000;
    let mut dribble = |bench: &mut Bench, seconds| {
        for _ in 0..seconds {
            bench.live_on(1, &[second]);
            bench.feed(first, at, 1);
            at += 1;
        }
    };
    dribble(&mut bench, 120);
    assert_eq!(bench.word(run(1, 1).id), ["up"], "nobody waits");
    bench.feed(second, 0, 1_000);
    dribble(&mut bench, 9);
    assert_eq!((bench.word(run(1, 1).id), bench.granted(second)), (Vec::from(["up"]), 1_024));
    bench.live_on(2, &[first, second]);
    assert_eq!((bench.word(run(1, 1).id), bench.granted(second)), (Vec::from(["up", "down"]), LENGTH));
    assert_eq!(bench.node.stats().reservation_stalls, 1);
}

#[test]
fn dribbler_that_comes_and_goes_yields_as_soon() {
    let mut bench = narrow();
    let (first, second) = (bench.up(run(1, 1)), bench.up(run(2, 1)));
    bench.feed(first, 0, 1_000);
    bench.feed(second, 0, 1_000);
    let begin = bench.now;
    let mut link = first;
    for generation in 2..10 {
        bench.end(link);
        bench.live_on(3, &[second]);
        if bench.granted(second) > 1_024 {
            break;
        }
        let received = 1_000 + generation - 2;
        link = bench.back(run(1, 1), generation, received);
        bench.feed(link, received, 1);
    }
    assert_eq!(bench.granted(second), LENGTH);
    assert!(bench.now - begin <= SECOND * 15, "{:?}", bench.now - begin);
}

#[test]
fn message_at_the_least_rate_keeps_its_memory() {
    const LONG: u64 = 1_000_000;
    let mut limits = Limits::default();
    (limits.max_peers, limits.initial_window, limits.max_message) = (4, 1_024, LONG);
    limits.recv_window = 1_024;
    limits.recv_budget = 4 * 1_024 + 2 * (LONG + 9);
    let mut bench = Bench::new(lan().limits(limits));
    let (first, second) = (bench.up(run(1, 1)), bench.up(run(2, 1)));
    for link in [first, second] {
        bench.frame(link, Frame::Data(Data { offset: 0, bytes: Bytes::from_static(b"\x5a\x00\x0f\x42\x40") }));
    }
    assert_eq!((bench.granted(first), bench.granted(second)), (LONG + 5, 1_024));
    let rate = RESERVATION_RATE * 99 / 100;
    let mut at = 5;
    while at + rate < LONG + 5 {
        bench.live_on(1, &[second]);
        bench.feed(first, at, rate as usize);
        at += rate;
    }
    bench.feed(first, at, (LONG + 5 - at) as usize);
    assert_eq!(bench.node.poll_message(bench.now).unwrap().payload.len() as u64, LONG);
    bench.act();
    assert_eq!((bench.word(run(1, 1).id), bench.granted(second)), (Vec::from(["up"]), LONG + 5));
}
