//! Where a lost peer is dialled, and when, while hearsay has to wait for its turn.

use super::*;

/// Peer 1 was up at `at(1)`, and nobody answers there any more. Peer 2 says that it is at `at(11)` now, and that a node 3
/// is at `at(12)`, where nobody answers either.
fn lost_and_heard_of(dial_interval: Duration) -> (Bench, LinkId) {
    let mut config = Config::insecure_plaintext();
    (config.limits.dial_burst, config.limits.dial_interval) = (1, dial_interval);
    let mut bench = Bench::new(config);
    bench.node.join(bench.now, at(1).into()).unwrap();
    bench.act();
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(1, 1));
    bench.frame(dial, Frame::Accept(Accept { profile: profile(at(1)), offer: offer() }));
    let second = bench.up(run(2, 1));
    bench.end(dial);
    let entries = Vec::from([entry(run(3, 1), &[12]), entry(run(1, 1), &[11])]);
    bench.frame(second, Frame::Announce(Announce { entries }));
    (bench, second)
}

/// How often each of the three addresses is dialled in a minute.
fn dials(bench: &mut Bench, link: LinkId) -> [usize; 3] {
    let dialled = bench.pass_alive(&[link], MINUTE);
    [1, 11, 12].map(|host| dialled.iter().filter(|address| **address == at(host)).count())
}

#[test]
fn a_lost_peer_is_dialled_where_it_was_as_seldom_as_ever_while_hearsay_waits() {
    let (mut bench, second) = lost_and_heard_of(Duration::from_secs(3_600));
    let [lost, moved, stranger] = dials(&mut bench, second);
    assert!((3..=15).contains(&lost), "{lost}");
    assert_eq!(moved + stranger, 1);
}

#[test]
fn hearsay_of_a_lost_peer_is_dialled_when_its_turn_comes() {
    let (mut bench, second) = lost_and_heard_of(Duration::from_secs(10));
    let [lost, moved, stranger] = dials(&mut bench, second);
    assert!((1..=15).contains(&lost), "{lost}");
    assert!((1..=5).contains(&moved) && (1..=5).contains(&stranger), "{moved} and {stranger}");
}

#[test]
fn who_is_back_waits_for_no_turn_any_more() {
    let (mut bench, second) = lost_and_heard_of(Duration::from_secs(3_600));
    bench.pass_alive(&[second], MINUTE);
    assert_eq!(bench.node.usage().waiting_dials, 2);
    let link = bench.claimed(run(1, 1), 2);
    bench.frame(link, Frame::Resume(Resume { offer: offer() }));
    assert_eq!(bench.word(run(1, 1).id), ["up", "down", "up"]);
    assert_eq!(bench.node.usage().waiting_dials, 1);
}

#[test]
fn addresses_of_listed_networks_are_dialled_whatever_kind_they_are_but_never_those_that_nobody_may_dial() {
    let named = ["203.0.113.9:1", "127.3.0.9:1", "127.4.0.9:1", "169.254.1.9:1", "[::ffff:127.3.0.10]:1"];
    let dialled = |config: Config| {
        let mut bench = Bench::new(config);
        let peer = bench.up(run(1, 1));
        let entries = named.iter().zip(2..).map(|(address, id)| {
            let mut entry = entry(run(id, 1), &[]);
            entry.addresses.push(address.parse().unwrap());
            entry
        });
        bench.frame(peer, Frame::Announce(Announce { entries: entries.collect() }));
        bench.pass_alive(&[peer], MINUTE)
    };
    let follow = |config: Config, networks: &[&str]| {
        networks.iter().fold(config, |config, network| config.follow(network.parse().unwrap()))
    };
    assert!(dialled(lan()).is_empty());
    let mut found = dialled(follow(lan(), &["203.0.113.0/24", "127.3.0.0/16", "169.254.0.0/16"]));
    found.sort_unstable();
    found.dedup();
    let expected = ["127.3.0.9:1", "203.0.113.9:1", "[::ffff:127.3.0.10]:1"].map(|address| address.parse().unwrap());
    assert_eq!(found, expected);
    let too_many = follow(lan(), &["10.0.0.0/8"; 65]).check().unwrap_err();
    assert_eq!(alloc::format!("{too_many}"), "networks to follow (65) must be at most MAX_FOLLOWED (64)");
}

#[test]
fn a_join_that_is_turned_away_without_a_word_says_what_that_may_mean() {
    let mut bench = Bench::new(lan());
    bench.node.join(bench.now, at(50).into()).unwrap();
    bench.act();
    while !bench.events.iter().any(|event| matches!(event, Event::JoinFailed { .. })) {
        while let Some((link, _)) = bench.dials.pop() {
            bench.end(link);
        }
        bench.now = bench.node.next_tick().unwrap();
        bench.input(Input::Tick);
    }
    let Some(Event::JoinFailed { error, .. }) = bench.events.pop() else { panic!("{:?}", bench.events) };
    assert_eq!(error, JoinError::Failed(Reason::NoAnswer));
    assert!(alloc::format!("{error}").contains("another secret"));
}

#[test]
fn who_waits_to_be_dialled_on_hearsay_keeps_the_place_until_the_turn_comes() {
    // The list comes at any time between two tokens.
    for (count, late) in (20..30).flat_map(|count| [0, 400, 900].map(|late| (count, Duration::from_millis(late)))) {
        let mut config = lan();
        (config.limits.dial_burst, config.limits.dial_interval) = (1, Duration::from_secs(1));
        let mut bench = Bench::new(config);
        let peer = bench.up(run(1, 1));
        bench.pass(late);
        let entries = (0..count).map(|index| entry(run(index + 2, 1), &[index + 2])).collect();
        bench.frame(peer, Frame::List(List { buckets: u16::MAX, reply: false, entries }));
        let mut first = bench.pass_alive(&[peer], MINUTE);
        first.truncate(count.into());
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), count.into(), "{late:?}: each has a turn before any has another: {first:?}");
    }
}

#[test]
fn a_lost_peer_at_a_crowded_host_has_its_turn_like_everyone_who_waits_for_room_there() {
    let (mut bench, second) = lost_and_heard_of(Duration::from_millis(100));
    // Nobody answers at the host that it has moved to. A liar says that many others are there too, and that it is at
    // another host, where there is room and nobody answers either.
    let (there, elsewhere) = (at(11).ip(), at(13));
    let liars = (20..60).map(|id| Entry { run: run(id, 1), addresses: [SocketAddr::new(there, id.into())].into() });
    let entries = liars.chain([entry(run(1, 1), &[13])]).collect();
    bench.frame(second, Frame::Announce(Announce { entries }));
    let (end, mut found) = (bench.now + 4 * MINUTE, [0; 2]);
    while bench.now < end {
        bench.frame(second, Frame::Ping { token: 0 });
        for (link, address) in core::mem::take(&mut bench.dials) {
            found[0] += usize::from(address == at(11));
            found[1] += usize::from(address == elsewhere);
            if address.ip() != there && address != elsewhere {
                bench.input(Input::Disconnected { link, cause: Disconnect::Refused });
            }
        }
        bench.now = bench.now + Duration::from_millis(250);
        bench.input(Input::Tick);
    }
    assert!(found[0] >= 2 && (2..=20).contains(&found[1]), "{found:?}");
}

#[test]
fn who_waits_for_room_at_one_host_keeps_nobody_waiting_who_is_at_another() {
    let mut bench = Bench::new(lan());
    let peer = bench.up(run(1, 1));
    let hang = at(11).ip();
    let entries = (20..60).map(|id| Entry { run: run(id, 1), addresses: [SocketAddr::new(hang, id.into())].into() });
    bench.frame(peer, Frame::List(List { buckets: u16::MAX, reply: false, entries: entries.collect() }));
    let dials = |bench: &mut Bench| {
        bench.input(Input::Tick);
        let dials = core::mem::take(&mut bench.dials).into_iter();
        dials.map(|(_, address)| address).collect::<Vec<_>>()
    };
    assert_eq!(dials(&mut bench).len(), Limits::default().max_dials_per_ip);
    bench.frame(peer, Frame::List(List { buckets: u16::MAX, reply: false, entries: [entry(run(2, 1), &[12])].into() }));
    assert_eq!(dials(&mut bench), [at(12)]);
}

#[test]
fn who_is_not_to_be_dialled_for_a_while_waits_for_no_turn_either() {
    for code in [Some(RejectCode::Outranked), None] {
        let mut bench = Bench::new(lan());
        let peer = bench.up(run(1, 1));
        let hear = |bench: &mut Bench, entries: Vec<Entry>| {
            bench.frame(peer, Frame::List(List { buckets: u16::MAX, reply: false, entries }));
            bench.input(Input::Tick);
        };
        let there = at(11).ip();
        let liars = (20..22).map(|id| Entry { run: run(id, 1), addresses: [SocketAddr::new(there, id.into())].into() });
        hear(&mut bench, liars.collect());
        bench.dials.clear();
        // It is dialled where there is room, and waits for room at its other address meanwhile.
        hear(&mut bench, [entry(run(2, 1), &[11, 12])].into());
        let (dial, address) = bench.dials.pop().unwrap();
        assert_eq!((address, bench.node.usage().waiting_dials), (at(12), 1));
        bench.connect(dial, run(2, 1));
        match code {
            Some(code) => bench.frame(dial, Frame::Reject(Reject { code })),
            None => bench.frame(dial, Frame::Resume(Resume { offer: offer() })),
        }
        assert_eq!(bench.node.usage().waiting_dials, 0, "{code:?}");
    }
}

#[test]
fn settings_that_allow_more_dials_are_told_to_those_who_wait() {
    let mut config = lan();
    (config.limits.dial_burst, config.limits.dial_interval) = (1, Duration::from_secs(3_600));
    let mut bench = Bench::new(config);
    let peer = bench.up(run(1, 1));
    let entries = [entry(run(2, 1), &[2]), entry(run(3, 1), &[3])].into();
    bench.frame(peer, Frame::List(List { buckets: u16::MAX, reply: false, entries }));
    assert_eq!(bench.pass_alive(&[peer], MINUTE).len(), 1);
    let mut config = bench.node.config().clone();
    config.limits.dial_interval = Duration::from_secs(1);
    bench.node.set_config(bench.now, config).unwrap();
    let dialled = bench.pass_alive(&[peer], Duration::from_secs(2));
    assert!(dialled.contains(&at(2)) && dialled.contains(&at(3)), "{dialled:?}");
}

/// Lets time pass until the node dials, and returns the dial.
fn next_dial(bench: &mut Bench) -> (LinkId, SocketAddr) {
    while bench.dials.is_empty() {
        bench.now = bench.node.next_tick().unwrap();
        bench.input(Input::Tick);
    }
    bench.dials.pop().unwrap()
}

#[test]
fn lost_peer_is_dialled_again_after_it_made_a_bad_offer() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    bench.frame(link, Frame::Data(Data { offset: 0, bytes: bytes::Bytes::from_static(b"\x41a") }));
    bench.end(link);
    let (dial, _) = next_dial(&mut bench);
    bench.connect(dial, run(1, 1));
    // It claims to stand before what has arrived of its stream.
    let offer = Offer { next: 1, ..offer() };
    bench.frame(dial, Frame::Accept(Accept { profile: profile(at(1)), offer }));
    assert_eq!(bench.word(run(1, 1).id), ["up", "down"]);
    assert_eq!(bench.node.stats().protocol_errors, 1);
    assert!(bench.pass(3 * MINUTE).contains(&at(1)));
}

#[test]
fn node_that_knows_a_later_run_is_not_dialled_without_a_pause() {
    let mut bench = Bench::new(lan());
    let member = bench.up(run(1, 1));
    bench.frame(member, Frame::Announce(Announce { entries: Vec::from([entry(run(2, 1), &[2])]) }));
    let mut dials = 0;
    for _ in 0..240 {
        bench.frame(member, Frame::Ping { token: 0 });
        bench.now = bench.now + Duration::from_millis(250);
        bench.input(Input::Tick);
        for (dial, _) in core::mem::take(&mut bench.dials) {
            dials += 1;
            bench.connect(dial, run(2, 1));
            let code = RejectCode::Stale { known: Incarnation(u64::MAX - 1) };
            bench.frame(dial, Frame::Reject(Reject { code }));
        }
    }
    assert!((2..=20).contains(&dials), "{dials} in a minute");
}

#[test]
fn node_from_hearsay_that_breaks_a_rule_is_shunned() {
    let mut bench = Bench::new(lan());
    let member = bench.up(run(1, 1));
    bench.frame(member, Frame::Announce(Announce { entries: Vec::from([entry(run(2, 1), &[2])]) }));
    let (dial, _) = next_dial(&mut bench);
    bench.connect(dial, run(2, 1));
    bench.frame(dial, Frame::Ack(Ack::default()));
    assert_eq!(bench.node.stats().protocol_errors, 1);
    let pause = bench.node.timing().violation_backoff;
    assert_eq!(bench.pass_alive(&[member], pause), []);
    // A peer that comes in by itself is one that others can lie about: it is dialled when it is lost.
    let link = bench.up(run(2, 1));
    bench.end(link);
    assert!(bench.pass_alive(&[member], Duration::from_secs(5)).contains(&at(2)));
}

#[test]
fn lost_peer_is_still_dialled_if_another_run_breaks_a_rule() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    bench.end(link);
    let (dial, _) = next_dial(&mut bench);
    bench.connect(dial, run(1, 1));
    bench.claimed(run(1, 2), u64::MAX);
    assert!(bench.pass(3 * MINUTE).contains(&at(1)));
}
