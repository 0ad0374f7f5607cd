//! Members that talk more than they have to say, and what becomes of those who break a rule.

use super::*;
use crate::channel::ChannelError;
use crate::limits::{GOSSIP_BURST, MIN_HEARTBEAT};
use crate::reason::ProtocolError;
use crate::wire::{Digest, FrameError};

fn update(number: u64) -> Frame {
    let metadata = bytes::Bytes::copy_from_slice(&number.to_be_bytes());
    Frame::Update(Update { profile: Profile { metadata, ..profile(at(1)) } })
}

fn list(reply: bool) -> Frame {
    Frame::List(List { buckets: u16::MAX, reply, entries: Vec::new() })
}

/// Frames that advance nothing, made of a number.
const CHATTER: [fn(u64) -> Frame; 8] = [
    |number| Frame::Ping { token: number },
    |number| Frame::Pong { token: u64::MAX - number },
    |_| Frame::Ack(Ack { granted: 1 << 16, ..Ack::default() }),
    |number| Frame::Ack(Ack { granted: (1 << 16) + number, ..Ack::default() }),
    |number| Frame::Digest(Digest { buckets: [number; 16] }),
    |number| list(number % 2 == 0),
    |_| Frame::Announce(Announce { entries: Vec::new() }),
    update,
];

fn down_reasons(bench: &Bench) -> Vec<Reason> {
    let reason = |event: &Event| match event {
        Event::PeerDown { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    bench.events.iter().filter_map(reason).collect()
}

#[test]
fn a_flood_of_what_advances_nothing_ends_its_link_and_as_much_as_is_allowed_does_not() {
    for (index, frame) in CHATTER.iter().enumerate() {
        let mut bench = Bench::new(lan());
        let link = bench.up(run(1, 1));
        // Ten a second, and each twentieth of a second a ping.
        for number in 0..3_000 {
            bench.frame(link, frame(number));
            bench.now = bench.now + Duration::from_millis(50);
            bench.frame(link, Frame::Ping { token: number });
            bench.now = bench.now + Duration::from_millis(50);
        }
        assert_eq!(down_reasons(&bench), [], "kind {index}");
        let flood = (3_000..4_000).take_while(|number| {
            bench.frame(link, frame(*number));
            down_reasons(&bench).is_empty()
        });
        let count = flood.count();
        assert!((195..=201).contains(&count), "kind {index}: {count}");
        assert_eq!(down_reasons(&bench), [Reason::Protocol(ProtocolError::Flood)], "kind {index}");
        let stats = bench.node.stats();
        assert_eq!((stats.control_limit, stats.protocol_errors), (1, 1), "kind {index}");
    }
}

#[test]
fn a_million_pings_are_answered_by_one_pong_for_each_time_that_output_is_taken() {
    let limits = Limits { control_burst: u32::MAX, ..Limits::default() };
    let mut bench = Bench::new(lan().limits(limits));
    let link = bench.up(run(1, 1));
    for token in 0..1_000_000 {
        bench.node.handle(bench.now, Input::Frame { link, frame: Frame::Ping { token } });
    }
    bench.sent.clear();
    bench.act();
    assert_eq!(bench.sent_on(link), [&Frame::Pong { token: 999_999 }]);
}

#[test]
fn a_profile_that_changes_all_the_time_is_told_at_a_rate_that_peers_put_up_with_and_as_it_is_in_the_end() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    bench.sent.clear();
    for number in 0..10_000_u64 {
        let config = bench.node.config().clone().metadata(number.to_be_bytes().to_vec());
        bench.node.set_config(bench.now, config).unwrap();
        bench.act();
        if number % 10 == 0 {
            bench.pass_alive(&[link], Duration::from_millis(500));
        }
    }
    bench.pass_alive(&[link], Duration::from_secs(2));
    let updates: Vec<&Frame> =
        bench.sent_on(link).into_iter().filter(|frame| matches!(frame, Frame::Update(_))).collect();
    let most = GOSSIP_BURST as usize + 2 * 502;
    assert!((500..=most).contains(&updates.len()), "{}", updates.len());
    let Some(Frame::Update(last)) = updates.last() else { panic!("no update") };
    assert_eq!(last.profile.metadata[..], 9_999_u64.to_be_bytes());
}

#[test]
fn whoever_makes_us_suspect_a_peer_over_and_over_does_not_make_us_flood_it() {
    let mut bench = Bench::new(lan());
    let peer = run(1, 5);
    let live = bench.up(peer);
    let (begin, mut pings) = (bench.now, 0_u128);
    for incarnation in 10..1_010 {
        // A clone of the peer comes; the peer answers at once whatever it is asked.
        let clone = bench.claimed(run(1, incarnation), 1);
        while bench.node.pairs.link(clone).is_some() {
            let asked: Vec<u64> = bench.sent.drain(..).filter_map(|(link, frame)| ping(live, link, &frame)).collect();
            pings += asked.len() as u128;
            for token in asked {
                bench.frame(live, Frame::Pong { token });
            }
            bench.now = bench.now + Duration::from_millis(1);
            bench.input(Input::Tick);
        }
        assert_eq!(down_reasons(&bench), [], "it was refused, since the peer is alive");
    }
    let most = (bench.now - begin).as_millis() / MIN_HEARTBEAT.as_millis() + 1;
    assert!(pings >= 900 && pings <= most, "{pings} pings in {:?}", bench.now - begin);
}

fn ping(live: LinkId, link: LinkId, frame: &Frame) -> Option<u64> {
    match frame {
        Frame::Ping { token } if link == live => Some(*token),
        _ => None,
    }
}

/// A peer that advertised where it is has broken a rule on its live link.
fn shunned(config: Config) -> (Bench, LinkId) {
    let mut bench = Bench::new(config);
    let link = bench.up(run(1, 1));
    let other = bench.up(run(2, 1));
    bench.frame(link, Frame::Ack(Ack { received: 7, ..Ack::default() }));
    assert_eq!(down_reasons(&bench), [Reason::Protocol(ProtocolError::BadAck)]);
    (bench, other)
}

#[test]
fn who_broke_a_rule_is_not_dialled_for_a_minute_whatever_others_say_of_it() {
    let (mut bench, other) = shunned(lan());
    for second in 0..60 {
        let named = Entry { run: run(1, 1), addresses: Vec::from([SocketAddr::from(([10, 0, 1, second], 7))]) };
        bench.frame(other, Frame::Announce(Announce { entries: Vec::from([named]) }));
        let config = bench.node.config().clone().reconnect(MINUTE / 600, MINUTE / 60 + MINUTE / 60 * second.into());
        bench.node.set_config(bench.now, config).unwrap();
        assert_eq!(bench.pass_alive(&[other], Duration::from_secs(1)), [], "after {second} s");
    }
    assert!(!bench.pass_alive(&[other], Duration::from_secs(16)).is_empty());
}

#[test]
fn who_broke_a_rule_may_be_joined_and_may_come_at_once() {
    let (mut bench, _) = shunned(lan());
    bench.node.join(bench.now, at(1).into()).unwrap();
    bench.act();
    assert_eq!(bench.dials.pop().map(|(_, address)| address), Some(at(1)));
    bench.up(run(1, 1));
    assert_eq!(bench.word(run(1, 1).id), ["up", "down", "up"]);
}

#[test]
fn a_second_link_that_breaks_a_rule_says_nothing_of_the_peer() {
    let mut bench = Bench::new(lan());
    let live = bench.up(run(1, 1));
    let second = bench.inbound(run(1, 1));
    bench.frame(second, Frame::Ack(Ack::default()));
    assert_eq!(bench.node.stats().protocol_errors, 1);
    bench.end(live);
    assert!(!bench.pass(Duration::from_secs(1)).is_empty(), "it is dialled as any peer that is lost");
}

#[test]
fn bytes_of_a_member_that_are_no_frame_count_as_a_breach_and_those_of_a_stranger_as_a_handshake_that_failed() {
    let mut bench = Bench::new(lan());
    let malformed = || Disconnect::Channel(ChannelError::Frame(FrameError::Trailing));
    let (up, claiming) = (bench.up(run(1, 1)), bench.inbound(run(2, 1)));
    let stranger = bench.node.accept(bench.now, at(3)).unwrap();
    for (link, breaches, failures) in [(up, 1, 0), (claiming, 2, 0), (stranger, 2, 1)] {
        bench.input(Input::Disconnected { link, cause: malformed() });
        let stats = bench.node.stats();
        assert_eq!((stats.protocol_errors, stats.failed_handshakes), (breaches, failures));
    }
    let forged = bench.up(run(4, 1));
    bench.input(Input::Disconnected { link: forged, cause: Disconnect::Channel(ChannelError::Forged) });
    assert_eq!(bench.node.stats().protocol_errors, 3);
}

#[test]
fn a_seed_that_broke_a_rule_is_left_alone_for_a_minute() {
    let mut bench = Bench::new(lan());
    bench.node.add_seed(bench.now, at(1).into()).unwrap();
    bench.input(Input::Tick);
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(1, 1));
    bench.frame(dial, Frame::Accept(Accept { profile: profile(at(1)), offer: offer() }));
    assert_eq!(bench.word(run(1, 1).id), ["up"]);
    bench.frame(dial, Frame::Ack(Ack { received: 7, ..Ack::default() }));
    assert_eq!(bench.pass(Duration::from_secs(59)), []);
    assert!(!bench.pass(Duration::from_secs(60)).is_empty());

    // And one that does so before it is ever up.
    let mut bench = Bench::new(lan());
    bench.node.add_seed(bench.now, at(1).into()).unwrap();
    bench.input(Input::Tick);
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(1, 1));
    bench.frame(dial, Frame::Digest(Digest { buckets: [0; 16] }));
    assert_eq!(bench.node.stats().protocol_errors, 1);
    assert_eq!(bench.pass(Duration::from_secs(59)), []);
    assert!(!bench.pass(Duration::from_secs(20)).is_empty());
}

#[test]
fn no_more_than_two_dials_on_hearsay_press_on_one_host_and_others_are_not_kept_waiting() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    let place = |ip: u8, port: u16| SocketAddr::from(([10, 66, 0, ip], port));
    let many = (0..200_u8).map(|id| Entry { run: run(id, 7), addresses: Vec::from([place(1, 1 + u16::from(id))]) });
    let some = (200..210_u8).map(|id| Entry { run: run(id, 7), addresses: Vec::from([place(id, 9)]) });
    let entries: Vec<Entry> = many.chain(some).filter(|entry| entry.run.id != run(1, 1).id).collect();
    bench.frame(link, Frame::List(List { buckets: u16::MAX, reply: false, entries }));
    let mut dialled = Vec::new();
    for _ in 0..600 {
        bench.now = bench.now + Duration::from_millis(100);
        bench.frame(link, Frame::Ping { token: 0 });
        bench.input(Input::Tick);
        dialled.extend(bench.dials.iter().map(|(_, address)| *address));
        bench.dials.clear();
        let to_one = bench.node.pairs.links().filter(|link| !link.is_inbound() && link.remote.ip() == place(1, 1).ip());
        assert!(to_one.count() <= 2);
    }
    let to = |ip| dialled.iter().filter(|address| address.ip() == place(ip, 0).ip()).count();
    // Two at a time, and none of them is answered for five seconds.
    assert!((20..=26).contains(&to(1)), "{}", to(1));
    assert!((200..210).all(|ip| to(ip) >= 1));
    assert!(bench.node.stats().dial_limit_per_ip > 100);
}
