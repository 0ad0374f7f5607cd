//! Signs of life besides whole frames, what a receiver says, and how much is in flight.

use super::*;
use crate::limits::{INITIAL_FLIGHT, MIN_FLIGHT};

const SECOND: Duration = Duration::from_secs(1);

/// The head of a message of 10,000 bytes.
const HEAD: &[u8] = b"\x59\x27\x10";

impl Bench {
    /// Bytes of a frame arrive that is never whole, ten times a second.
    fn trickle(&mut self, link: LinkId, seconds: u32) {
        for _ in 0..10 * seconds {
            self.pass(SECOND / 10);
            self.input(Input::BytesRead { link });
        }
    }

    fn pings_on(&self, link: LinkId) -> Vec<u64> {
        let token = |frame: &&Frame| if let Frame::Ping { token } = frame { Some(*token) } else { None };
        self.sent_on(link).iter().filter_map(token).collect()
    }

    fn acks_on(&self, link: LinkId) -> Vec<Ack> {
        let ack = |frame: &&Frame| if let Frame::Ack(ack) = frame { Some(*ack) } else { None };
        self.sent_on(link).iter().filter_map(ack).collect()
    }

    /// How many bytes of the stream went out on a link.
    fn data_on(&self, link: LinkId) -> usize {
        let length = |frame: &&Frame| if let Frame::Data(data) = frame { data.bytes.len() } else { 0 };
        self.sent_on(link).iter().map(length).sum()
    }
}

#[test]
fn bytes_of_a_frame_keep_its_link_alive() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    bench.trickle(link, 60);
    assert_eq!(bench.word(run(1, 1).id), ["up"]);
    bench.pass(6 * SECOND);
    assert_eq!(bench.down_reasons(), [Reason::Timeout]);
}

#[test]
fn receiver_of_an_endless_frame_pings_each_second() {
    for heartbeat in [SECOND, 30 * SECOND] {
        let mut bench = Bench::new(lan().peer_timeout(60 * SECOND).heartbeat(heartbeat));
        let link = bench.up(run(1, 1));
        bench.trickle(link, 20);
        let pings = bench.pings_on(link);
        assert!((9..=21).contains(&pings.len()), "{heartbeat:?}: {}", pings.len());
        assert!(pings.iter().all(|token| *token == pings[0]), "the same ping until it is answered");
    }
}

#[test]
fn arrived_bytes_are_acknowledged_before_they_are_consumed() {
    for heartbeat in [SECOND, 30 * SECOND] {
        let mut bench = Bench::new(lan().peer_timeout(60 * SECOND).heartbeat(heartbeat));
        let link = bench.up(run(1, 1));
        let mut offset = 0;
        for second in 0..10 {
            let bytes = if second == 0 { HEAD.to_vec() } else { Vec::from([7; 100]) };
            let length = bytes.len() as u64;
            bench.frame(link, Frame::Data(Data { offset, bytes: bytes.into() }));
            offset += length;
            bench.pass(SECOND);
        }
        bench.pass(SECOND);
        let acks = bench.acks_on(link);
        assert!((5..=11).contains(&acks.len()), "{heartbeat:?}: {}", acks.len());
        assert_eq!(acks.last().map(|ack| (ack.received, ack.consumed)), Some((offset, 0)));
    }
}

#[test]
fn idle_link_carries_one_ping_a_heartbeat() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    let mut answered = 0;
    for _ in 0..600 {
        bench.pass(SECOND / 10);
        let pings = bench.pings_on(link);
        for token in &pings[answered..] {
            bench.frame(link, Frame::Pong { token: *token });
        }
        answered = pings.len();
    }
    let pings = bench.pings_on(link).len();
    assert!((58..=80).contains(&pings), "{pings}");
    assert_eq!(bench.sent_on(link).iter().filter(|frame| matches!(frame, Frame::Ack(_))).count(), 0);
}

#[test]
fn probe_waits_while_bytes_arrive() {
    let mut bench = Bench::new(lan());
    let peer = run(1, 1);
    let link = bench.claimed(peer, 5);
    bench.frame(link, Frame::Resume(Resume { offer: offer() }));
    // A claim that the link outranks has it probed.
    bench.claimed(peer, 1);
    assert_eq!(bench.node.stats().probes, 1);
    bench.trickle(link, 4);
    assert_eq!(bench.word(peer.id), ["up"]);
    bench.pass(5 * SECOND / 2);
    assert_eq!((bench.down_reasons(), bench.node.stats().probes_lost), (Vec::from([Reason::Timeout]), 1));
}

#[test]
fn slow_socket_is_no_stalled_one() {
    for slow in [true, false] {
        let mut bench = Bench::new(lan());
        let link = bench.up(run(1, 1));
        bench.node.send(bench.now, run(1, 1).id, alloc::vec![7; 10_000].into()).unwrap();
        // The socket takes what was handed out before, byte for byte, and nothing is pulled.
        while bench.node.poll_action().is_some() {}
        for _ in 0..30 {
            bench.now = bench.now + SECOND;
            bench.node.handle(bench.now, Input::Frame { link, frame: Frame::Ping { token: 1 } });
            if slow {
                bench.node.handle(bench.now, Input::BytesWritten { link });
            }
            bench.node.handle(bench.now, Input::Tick);
        }
        bench.act();
        let reasons = if slow { Vec::new() } else { Vec::from([Reason::WriteStalled]) };
        assert_eq!(bench.down_reasons(), reasons);
    }
}

#[test]
fn little_is_in_flight_until_an_answer_comes() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    bench.now = bench.now + SECOND / 1_000;
    bench.node.send(bench.now, run(1, 1).id, alloc::vec![7; 60_000].into()).unwrap();
    bench.act();
    let first = bench.data_on(link);
    assert!((MIN_FLIGHT..=INITIAL_FLIGHT).contains(&(first as u64)), "{first}");
    let token = *bench.pings_on(link).last().expect("a ping is behind the data");
    bench.now = bench.now + SECOND / 1_000;
    bench.frame(link, Frame::Pong { token });
    assert_eq!(bench.data_on(link), 60_003, "the link is fast");
    assert!(bench.node.stats().flight_limit > 0);
}

#[test]
fn slow_answers_keep_what_is_in_flight_short() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    bench.now = bench.now + SECOND / 1_000;
    bench.node.send(bench.now, run(1, 1).id, alloc::vec![7; 60_000].into()).unwrap();
    bench.act();
    let mut answered = 0;
    for _ in 0..10 {
        // 1 kB/s: the answer comes when everything before the ping has arrived.
        let sent = bench.data_on(link);
        let token = *bench.pings_on(link).last().unwrap();
        let took = (sent - answered) as u64 / 1_000;
        for second in 1..=took {
            bench.pass(SECOND);
            let ack = Ack { received: answered as u64 + second * 1_000, granted: 1 << 16, ..Ack::default() };
            bench.frame(link, Frame::Ack(ack));
        }
        answered = sent;
        bench.frame(link, Frame::Pong { token });
    }
    let more = bench.data_on(link) - answered;
    assert!(more as u64 <= 2 * MIN_FLIGHT, "{more}");
    assert_eq!(bench.word(run(1, 1).id), ["up"]);
}

#[test]
fn data_that_waits_for_a_deaf_peer_ends_its_link() {
    let mut bench = Bench::new(lan().heartbeat(60 * SECOND).peer_timeout(120 * SECOND));
    let link = bench.up(run(1, 1));
    bench.node.send(bench.now, run(1, 1).id, alloc::vec![7; 60_000].into()).unwrap();
    bench.act();
    // Its pings do not help: a peer that reads would have answered by then.
    for _ in 0..9 {
        bench.frame(link, Frame::Ping { token: 1 });
        bench.pass(SECOND);
    }
    assert!(bench.down_reasons().is_empty());
    bench.pass(SECOND);
    assert_eq!(bench.down_reasons(), [Reason::WriteStalled]);
}
