//! Sessions outlive their connections, and the silent go down.

use std::rc::Rc;
use std::time::Duration;

use cluster_core::{Config, Event, Reason};

use crate::arm::Way;
use crate::proxy::Faults;
use crate::stage::{Member, PATIENCE, Stage, swift};

/// Two nodes that dial each other over ways that can be cut, and only over them.
fn over_ways<'a>(stage: &Stage<'a>, config: impl Fn() -> Config) -> ([Rc<Member<'a>>; 2], [Box<dyn Way>; 2]) {
    let ways = [1, 2].map(|seed| stage.arm().way(seed, Faults::default()));
    let nodes = [&ways[0], &ways[1]].map(|way| stage.node_with(config().advertise(way.address())));
    for (way, node) in ways.iter().zip(&nodes) {
        way.lead_to(node.address());
    }
    assert_eq!(nodes[0].join_at(ways[1].address()), Ok(nodes[1].id()));
    stage.until_complete(&nodes);
    (nodes, ways)
}

pub(super) fn connections_over_one_way_are_told_apart_by_who_dialled(stage: &Stage<'_>) {
    // One that tells them apart is what replays rely on.
    let way = stage.arm().way(1, Faults::default());
    let hub = stage.node_with(swift().advertise(way.address()));
    way.lead_to(hub.address());
    // They advertise where nobody listens, so that only they dial, and only the hub is dialled.
    let nowhere = stage.node();
    nowhere.leave();
    let [alice, bob] = [0, 1].map(|_| stage.node_with(swift().advertise(nowhere.address())));
    for spoke in [&alice, &bob] {
        assert_eq!(spoke.join_at(way.address()), Ok(hub.id()));
        hub.until_up(spoke);
    }
    way.cut(Some(alice.id()));
    alice.send(&hub, "held back");
    hub.expect_silence();
    bob.send(&hub, "not held back");
    hub.expect(&bob, "not held back");
    assert!(way.reset(Some(bob.id())) > 0);
    // The hub may first hear of it by the next connection, which then takes the place of the one before: no event. Bob, whom
    // nobody dials, cannot.
    assert_eq!(bob.until_down(&hub), Reason::Reset);
    bob.until_up(&hub);
    way.heal(Some(alice.id()));
    hub.expect(&alice, "held back");
    let lost = |event: &Event| matches!(event, Event::PeerDown { peer, .. } if peer.id == alice.id());
    assert!(!hub.events().iter().any(lost));
}

fn reset(ways: &[Box<dyn Way>]) -> usize {
    ways.iter().map(|way| way.reset(None)).sum()
}

pub(super) fn messages_survive_the_cut_of_their_connection(stage: &Stage<'_>) {
    messages_survive_a_cut(stage, swift);
}

pub(super) fn messages_survive_a_cut(stage: &Stage<'_>, config: impl Fn() -> Config) {
    let ([alice, bob], ways) = over_ways(stage, config);
    for number in 0..50 {
        alice.send(&bob, format!("{number}"));
        if number == 20 {
            bob.expect(&alice, "0");
            let resumed = alice.node().stats().sessions_resumed;
            assert!(reset(&ways) > 0);
            // Whether that is an event depends on who hears of it first: a connection can be replaced without one.
            let goes_on = || alice.node().stats().sessions_resumed > resumed;
            stage.until("the session goes on over another connection", goes_on);
        }
    }
    for number in 1..50 {
        bob.expect(&alice, format!("{number}"));
    }
    alice.flush(&bob);
    bob.expect_silence();
    let stats = alice.node().stats();
    assert_eq!((stats.messages_delivered, stats.messages_undelivered), (50, 0));
    assert!(!alice.events().iter().any(|event| matches!(event, Event::PeerGone { .. } | Event::SessionReset { .. })));
}

pub(super) fn both_directions_survive_many_cuts(stage: &Stage<'_>) {
    let ([alice, bob], ways) = over_ways(stage, swift);
    let payload = |number: usize| {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(if number.is_multiple_of(16) { 100_000 } else { 500 }, number as u8);
        payload
    };
    let mut cuts = 0;
    for number in 0..160 {
        alice.send(&bob, payload(number));
        bob.send(&alice, payload(number));
        if number % 8 == 7 {
            cuts += reset(&ways);
            // What is on its way is cut anywhere.
            for number in number - 7..=number {
                bob.expect(&alice, payload(number));
                alice.expect(&bob, payload(number));
            }
        }
    }
    alice.flush(&bob);
    bob.flush(&alice);
    assert!(cuts >= 10, "only {cuts} cuts");
    for node in [&alice, &bob] {
        node.expect_silence();
        assert_eq!(node.node().stats().messages_undelivered, 0);
    }
}

pub(super) fn a_silent_peer_goes_down_in_time_and_comes_back(stage: &Stage<'_>) {
    let timeout = Duration::from_millis(1_500);
    let config = || swift().heartbeat(timeout / 10).peer_timeout(timeout).probe_timeout(timeout);
    let ([alice, bob], ways) = over_ways(stage, config);
    alice.send(&bob, "before");
    bob.expect(&alice, "before");
    ways.iter().for_each(|way| way.cut(None));
    let cut = stage.arm().now();
    alice.send(&bob, "into the void");
    for (here, there) in [(&alice, &bob), (&bob, &alice)] {
        assert_eq!(here.until_down(there), Reason::Timeout);
    }
    let noticed = stage.arm().now() - cut;
    // On a busy machine it takes longer, but not that much longer; and it is not much shorter.
    assert!(noticed >= timeout / 2 && noticed < timeout + PATIENCE / 4, "it took {noticed:?} instead of {timeout:?}");
    ways.iter().for_each(|way| way.heal(None));
    stage.until_complete(&[alice.clone(), bob.clone()]);
    bob.expect(&alice, "into the void");
    alice.flush(&bob);
}

pub(super) fn a_busy_peer_is_not_taken_for_dead(stage: &Stage<'_>) {
    let timeout = Duration::from_millis(1_500);
    let config = || swift().heartbeat(timeout / 10).peer_timeout(timeout).probe_timeout(timeout);
    let [alice, bob] = stage.mesh_with([config(), config()]);
    alice.events();
    // Longer than a silent peer may be silent: heartbeats keep the link.
    stage.arm().pass(timeout * 3 / 2);
    let told = alice.events();
    assert!(told.is_empty(), "{told:?}");
    assert!(alice.up().contains(&bob.id()));
}
