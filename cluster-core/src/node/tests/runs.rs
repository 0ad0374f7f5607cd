//! Runs of one node: later ones, earlier ones, and clones.

use super::*;

#[test]
fn a_later_run_whose_claim_fails_half_way_neither_ends_the_retries_nor_lets_an_earlier_run_in() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 5));
    bench.end(link);
    let link = bench.claimed(run(1, 7), 1);
    bench.end(link);
    assert!(bench.pass(MINUTE).contains(&at(1)));
    bench.claimed(run(1, 4), 1);
    assert_eq!(bench.node.peers().map(|peer| peer.run).collect::<Vec<_>>(), [run(1, 7)]);
    bench.up(run(1, 7));
    assert_eq!(bench.word(run(1, 7).id), ["up", "down", "gone", "up"]);
}

#[test]
fn the_claim_of_a_later_run_is_granted_while_the_earlier_one_is_being_claimed() {
    let mut bench = Bench::new(lan());
    bench.node.join(bench.now, at(1).into()).unwrap();
    bench.act();
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(1, 1));
    assert!(matches!(bench.sent_on(dial)[..], [Frame::Claim(_)]));
    let later = bench.claimed(run(1, 2), 1);
    assert!(matches!(bench.sent_on(later)[..], [Frame::Accept(_)]));
    bench.frame(later, Frame::Resume(Resume { offer: offer() }));
    assert_eq!(bench.word(run(1, 2).id), ["up"]);
}

#[test]
fn a_goodbye_of_an_earlier_run_does_not_concern_a_later_one() {
    let mut bench = Bench::new(lan());
    bench.up(run(1, 5));
    let clone = bench.inbound(run(1, 4));
    bench.frame(clone, Frame::Close(Close::Leaving));
    assert_eq!(bench.word(run(1, 5).id), ["up"]);
    assert_eq!(bench.node.peer(run(1, 5).id).map(|peer| peer.run), Some(run(1, 5)));
}

#[test]
fn a_join_that_meets_a_later_run_behind_a_half_open_link_waits_for_that_run() {
    let mut bench = Bench::new(lan());
    bench.up(run(1, 1));
    bench.node.join(bench.now, at(2).into()).unwrap();
    bench.act();
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(1, 2));
    // The link does not answer the probe.
    while bench.word(run(1, 2).id) != ["up", "down", "gone", "up"] {
        bench.now = bench.node.next_tick().unwrap();
        bench.input(Input::Tick);
        while let Some((dial, address)) = bench.dials.pop() {
            assert_eq!(address, at(2));
            bench.connect(dial, run(1, 2));
            bench.frame(dial, Frame::Accept(Accept { profile: profile(at(2)), offer: offer() }));
        }
    }
    let joined = |event: &Event| matches!(event, Event::Joined { peer, .. } if *peer == run(1, 2));
    assert_eq!(bench.events.iter().filter(|event| joined(event)).count(), 1);
}

#[test]
fn an_unasked_for_stale_does_not_keep_us_from_dialling() {
    let mut bench = Bench::new(lan());
    bench.up(run(2, 1));
    for _ in 0..5 {
        let liar = bench.inbound(run(1, 1));
        let code = RejectCode::Stale { known: Incarnation(u64::MAX - 1) };
        bench.frame(liar, Frame::Reject(Reject { code }));
    }
    let told = bench.events.iter().filter(|event| matches!(event, Event::DuplicateIdentity { .. })).count();
    assert_eq!((told, bench.node.dialling.muted(bench.now)), (1, None));
}

#[test]
fn a_node_that_becomes_a_later_run_of_itself_ends_the_sessions_of_the_earlier_one() {
    let mut bench = Bench::new(lan());
    let peer = run(1, 1);
    let link = bench.up(peer);
    bench.send(peer, "one");
    bench.frame(link, Frame::Data(Data { offset: 0, bytes: bytes::Bytes::from_static(b"\x41a\x42b") }));
    bench.end(link);
    bench.send(peer, "two");
    // Its clock has gone back, as somebody says to whom it is not connected.
    bench.node.join(bench.now, at(2).into()).unwrap();
    bench.act();
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(2, 1));
    bench.frame(dial, Frame::Reject(Reject { code: RejectCode::Stale { known: Incarnation(5_000) } }));
    assert_eq!(bench.node.stats().stale_incarnations, 1);
    assert!((5_001..=1_005_000).contains(&bench.node.run().incarnation.0));
    let undelivered = |event: &Event| match event {
        Event::Undelivered(told) => Some((told.in_doubt.clone(), told.not_delivered.clone())),
        _ => None,
    };
    let told: Vec<_> = bench.events.iter().filter_map(undelivered).collect();
    assert_eq!(told, [(Vec::from(["one".into()]), Vec::from(["two".into()]))]);
    assert_eq!(bench.word(peer.id), ["up", "down", "gone"]);
    assert_eq!(bench.node.poll_message(bench.now).unwrap().payload, "a");
    assert_eq!(bench.node.poll_message(bench.now), None, "the part of one never becomes whole");
    // The next session begins with nothing known.
    let next = bench.claimed(peer, 2);
    let offers = |frame: &&Frame| match frame {
        Frame::Accept(accept) => Some(accept.offer.peer),
        _ => None,
    };
    assert_eq!(bench.sent_on(next).iter().find_map(offers), Some(PeerStream::None));
}

#[test]
fn a_lost_peer_whose_next_run_fails_half_way_is_still_dialled_and_in_the_end_forgotten() {
    for outbound in [false, true] {
        let mut bench = Bench::new(lan());
        let live = bench.up(run(1, 1));
        bench.end(live);
        let broken = if outbound {
            while bench.dials.is_empty() {
                bench.now = bench.node.next_tick().unwrap();
                bench.input(Input::Tick);
            }
            let (link, _) = bench.dials.remove(0);
            bench.connect(link, run(1, 2));
            link
        } else {
            bench.claimed(run(1, 2), 1)
        };
        bench.end(broken);
        assert_eq!(bench.word(run(1, 1).id), ["up", "down", "gone"]);
        let dialled = bench.pass(MINUTE);
        assert!(dialled.len() >= 3 && dialled.iter().all(|address| *address == at(1)), "{outbound}: {dialled:?}");
        bench.claimed(run(1, 2), 9);
        let forgotten = MINUTE * 60 * 25;
        bench.pass(forgotten);
        assert_eq!(bench.node.peer(run(1, 2).id), None, "{outbound}");
        assert!(bench.pass(forgotten).is_empty(), "{outbound}");
    }
}

#[test]
fn a_run_that_is_told_of_a_later_one_is_dialled_again_at_once_but_only_once() {
    let mut bench = Bench::new(lan());
    let live = bench.up(run(1, 5));
    bench.end(live);
    let begin = bench.now;
    let mut met = Vec::new();
    while bench.now - begin < MINUTE * 5 {
        bench.now = bench.node.next_tick().unwrap();
        bench.input(Input::Tick);
        for (link, _) in core::mem::take(&mut bench.dials) {
            met.push(bench.now);
            bench.connect(link, run(1, 4));
            let stale = Frame::Reject(Reject { code: RejectCode::Stale { known: Incarnation(5) } });
            assert!(bench.sent.contains(&(link, stale)));
        }
    }
    assert_eq!(met[1] - met[0], Duration::from_millis(250));
    assert!(met.len() < 40, "{} dials in five minutes", met.len());
}

#[test]
fn a_run_before_one_that_has_left_is_told_so_and_the_one_that_left_is_not() {
    for (incarnation, told) in [(4, true), (5, false)] {
        let mut bench = Bench::new(lan());
        let live = bench.up(run(1, 5));
        bench.frame(live, Frame::Close(Close::Leaving));
        bench.node.join(bench.now, at(1).into()).unwrap();
        bench.act();
        let (link, _) = bench.dials.remove(0);
        bench.connect(link, run(1, incarnation));
        let sent: Vec<&Frame> = bench.sent.iter().filter(|(on, _)| *on == link).map(|(_, frame)| frame).collect();
        let stale = Frame::Reject(Reject { code: RejectCode::Stale { known: Incarnation(5) } });
        assert_eq!(sent, if told { Vec::from([&stale]) } else { Vec::new() });
        let failed = |event: &Event| matches!(event, Event::JoinFailed { .. });
        assert_eq!(bench.events.iter().any(failed), !told, "who is told of it may come again as a later run");
    }
}

#[test]
fn a_dial_that_meets_another_run_of_a_live_peer_probes_the_peer_and_decides_nothing() {
    for incarnation in [4, 6] {
        let mut bench = Bench::new(lan());
        let live = bench.up(run(1, 5));
        bench.node.join(bench.now, at(2).into()).unwrap();
        bench.act();
        let (link, _) = bench.dials.remove(0);
        bench.sent.clear();
        bench.connect(link, run(1, incarnation));
        assert!(matches!(bench.sent[..], [(on, Frame::Ping { .. })] if on == live), "{:?}", bench.sent);
        assert_eq!(bench.word(run(1, 5).id), ["up"]);
        let ended = |event: &Event| matches!(event, Event::Joined { .. } | Event::JoinFailed { .. });
        assert!(!bench.events.iter().any(ended), "{:?}", bench.events);
        assert_eq!(bench.node.peer(run(1, 5).id).unwrap().run, run(1, 5));
    }
}

#[test]
fn only_the_own_id_can_say_that_it_is_in_use_before_it_claims() {
    let own = NodeId::from_bytes([100; 16]);
    let duplicate = || Frame::Reject(Reject { code: RejectCode::DuplicateIdentity });
    let mut bench = Bench::new(lan());
    let clone = Run { id: own, incarnation: Incarnation(2_000) };
    let link = bench.node.accept(bench.now, at(9)).unwrap();
    bench.connect(link, clone);
    bench.frame(link, duplicate());
    assert_eq!(bench.events, [Event::DuplicateIdentity { newcomer: clone }]);
    // The first one of the two still dials.
    bench.node.join(bench.now, at(2).into()).unwrap();
    bench.act();
    assert_eq!(bench.dials.len(), 1);

    let link = bench.inbound(run(1, 1));
    bench.frame(link, duplicate());
    assert_eq!((bench.events.len(), bench.node.stats().protocol_errors), (1, 1));
    assert_eq!(bench.node.stats().duplicate_identities, 1);

    // The newcomer tells the one that it has dialled, and then dials nobody.
    let (dial, _) = bench.dials.remove(0);
    bench.connect(dial, clone);
    assert!(bench.sent.contains(&(dial, duplicate())));
    bench.node.join(bench.now, at(3).into()).unwrap();
    assert!(bench.pass(MINUTE - Duration::from_secs(1)).is_empty());
}
