//! Who is a peer of whom.

use std::net::SocketAddr;
use std::time::Duration;

use cluster_core::{Event, JoinError, Limits, NodeId, Reason, RejectCode, Target};

use crate::proxy::Faults;
use crate::stage::{QUIET, Stage, swift};

pub(super) fn a_join_makes_two_peers_that_both_say_so(stage: &Stage<'_>) {
    let alice = stage.node_with(swift().name("alice".parse().expect("a name")).metadata("about alice"));
    let bob = stage.node();
    alice.join(&bob);
    assert!(alice.up().contains(&bob.id()));
    alice.until_up(&bob);
    alice.event("the outcome of the join", |event| {
        matches!(event, Event::Joined { peer, .. } if peer.id == bob.id()).then_some(())
    });
    let info = bob.event("peer up", |event| match event {
        Event::PeerUp(info) => Some(info.clone()),
        _ => None,
    });
    assert_eq!(info.run.id, alice.id());
    assert_eq!(info.name.as_ref().map(|name| name.as_str()), Some("alice"));
    assert_eq!(info.metadata, "about alice");
    assert_eq!(bob.node().peers(), [info]);
}

pub(super) fn joining_a_peer_again_succeeds_at_once_and_changes_nothing(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh();
    alice.events();
    for (from, to) in [(&alice, &bob), (&bob, &alice), (&alice, &bob)] {
        from.join(to);
    }
    assert!(alice.events().iter().all(|event| matches!(event, Event::Joined { .. })));
    assert_eq!((alice.up().len(), bob.up().len()), (1, 1));
}

pub(super) fn crossed_joins_leave_one_connection(stage: &Stage<'_>) {
    let [alice, bob] = [stage.node(), stage.node()];
    let joins = [
        alice.node().join(bob.address().into()),
        bob.node().join(alice.address().into()),
        alice.node().join(bob.address().into()),
    ];
    let [first, second, third] = joins;
    assert_eq!(alice.within("the first join", first), Ok(bob.id()));
    assert_eq!(bob.within("the crossing join", second), Ok(alice.id()));
    assert_eq!(alice.within("the third join", third), Ok(bob.id()));
    stage.until_complete(&[alice.clone(), bob.clone()]);
    stage.arm().pass(QUIET);
    for (here, there) in [(&alice, &bob), (&bob, &alice)] {
        let events = here.events();
        let changes = events.iter().filter(|event| matches!(event, Event::PeerUp(_) | Event::PeerDown { .. }));
        assert_eq!(changes.count(), 1, "{events:?}");
        here.send(there, "over the one that is left");
        there.expect(here, "over the one that is left");
    }
}

pub(super) fn joining_one_is_joining_all(stage: &Stage<'_>) {
    let nodes = [(); 4].map(|()| stage.node());
    // A chain: each knows only the one before.
    for pair in nodes.windows(2) {
        pair[1].join(&pair[0]);
    }
    stage.until_complete(&nodes);
}

pub(super) fn chain_of_seeds_becomes_a_mesh(stage: &Stage<'_>) {
    let mut nodes = vec![stage.node()];
    for before in 0..3 {
        let seed = nodes[before].address();
        nodes.push(stage.node_with(swift().seed(seed.into())));
    }
    stage.until_complete(&nodes);
}

pub(super) fn seed_that_refuses_is_joined_when_it_comes_up(stage: &Stage<'_>) {
    let alice = stage.node();
    let nowhere = stage.node();
    nowhere.leave();
    alice.node().add_seed(nowhere.address().into()).expect("there is room for a seed");
    stage.until("the first dial", || alice.node().stats().dials > 0);
    let bob = stage.node_at(nowhere.address(), swift());
    stage.until_complete(&[alice, bob]);
}

pub(super) fn nodes_of_different_clusters_do_not_meet(stage: &Stage<'_>) {
    let alice = stage.node_with(swift().cluster("red".parse().expect("a name")));
    let blue = swift().cluster("blue".parse().expect("a name"));
    let bob = stage.node_with(blue.join_timeout(Duration::from_millis(500)));
    let joined = bob.join_at(alice.address());
    assert!(matches!(joined, Err(JoinError::Failed(_))), "{joined:?}");
    assert!(alice.node().peers().is_empty() && bob.node().peers().is_empty());
}

pub(super) fn name_is_resolved_and_every_record_is_tried(stage: &Stage<'_>) {
    // If the name has an IPv6 address as well, no node listens there.
    let [alice, bob] = [stage.node(), stage.node()];
    let target: Target = format!("localhost:{}", bob.address().port()).parse().expect("it looks like a name");
    assert_eq!(alice.join_at(target), Ok(bob.id()));
}

pub(super) fn node_at_every_address_is_known_by_the_one_it_is_seen_at(stage: &Stage<'_>) {
    for everywhere in ["0.0.0.0:0", "[::]:0"] {
        let bind = || stage.try_node_of(stage.arm(), everywhere, swift().plaintext_beyond_loopback());
        // A host may have no IPv6.
        let Ok(alice) = bind() else { continue };
        let bob = stage.node();
        // The other way round: bob sees only where the connection comes from.
        alice.join(&bob);
        bob.until_up(&alice);
        let seen_at = Some(SocketAddr::from(([127, 0, 0, 1], alice.address().port())));
        assert_eq!(bob.node().peers()[0].address, seen_at, "{everywhere}");
        // Carol, who is bound to everything too, learns it from bob.
        let carol = bind().expect("alice could");
        carol.join(&bob);
        stage.until_complete(&[alice, bob, carol]);
    }
}

pub(super) fn a_node_joins_by_way_of_a_forwarded_port(stage: &Stage<'_>) {
    let [alice, bob, carol] = [stage.node(), stage.node(), stage.node()];
    let way = stage.arm().way(1, Faults::default());
    way.lead_to(bob.address());
    assert_ne!(way.address(), bob.address());
    assert_eq!(alice.join_at(way.address()), Ok(bob.id()));
    assert_eq!(alice.node().stats().dials, 1);
    alice.send(&bob, "by way of");
    bob.expect(&alice, "by way of");
    bob.send(&alice, "and back");
    alice.expect(&bob, "and back");
    carol.join(&alice);
    stage.until_complete(&[alice, bob, carol]);
}

pub(super) fn lost_peer_is_reconnected_over_a_forwarded_port(stage: &Stage<'_>) {
    let nowhere = stage.node();
    nowhere.leave();
    let id = NodeId::from_bytes([0xb2; 16]);
    // What bob advertises leads nowhere.
    let config = || swift().node_id(id).advertise(nowhere.address());
    let bob = stage.node_with(config());
    let way = stage.arm().way(6, Faults::default());
    way.lead_to(bob.address());
    let alice = stage.node();
    assert_eq!(alice.join_at(way.address()), Ok(id));
    alice.until_up(&bob);
    bob.crash();
    assert!(alice.until_down(&bob).is_transient());
    let reborn = stage.node_at(bob.address(), config());
    stage.until_complete(&[alice.clone(), reborn.clone()]);
    alice.send(&reborn, "by way of");
    reborn.expect(&alice, "by way of");
}

pub(super) fn a_seed_is_dialled_until_somebody_answers(stage: &Stage<'_>) {
    let alice = stage.node();
    let way = stage.arm().way(2, Faults::default());
    alice.node().add_seed(way.address().into()).expect("there is room for a seed");
    stage.arm().pass(QUIET);
    assert!(alice.up().is_empty());
    let bob = stage.node();
    way.lead_to(bob.address());
    alice.until_up(&bob);
    stage.until_complete(&[alice, bob]);
}

pub(super) fn changed_metadata_is_told_to_every_peer(stage: &Stage<'_>) {
    let [alice, bob, carol] = stage.mesh();
    alice.node().set_config(swift().metadata("version 2")).expect("metadata can change");
    for peer in [&bob, &carol] {
        let info = peer.event("the change", |event| match event {
            Event::PeerUpdated(info) => Some(info.clone()),
            _ => None,
        });
        assert_eq!((info.run.id, &info.metadata[..]), (alice.id(), &b"version 2"[..]));
        assert!(peer.node().peers().contains(&info));
    }
}

pub(super) fn newcomers_are_told_by_those_who_know_them(stage: &Stage<'_>) {
    let [alice, bob, carol] = stage.mesh();
    let dave = stage.node();
    dave.join(&carol);
    for node in [&alice, &bob, &carol] {
        node.until_up(&dave);
    }
    stage.until_complete(&[alice, bob, carol, dave]);
}

pub(super) fn a_full_node_takes_nobody_more(stage: &Stage<'_>) {
    let mut limits = Limits::default();
    limits.max_peers = 1;
    let alice = stage.node_with(swift().limits(limits));
    let bob = stage.node();
    bob.join(&alice);
    let carol = stage.node_with(swift().join_timeout(Duration::from_millis(500)));
    assert_eq!(carol.join_at(alice.address()), Err(JoinError::Failed(Reason::Rejected(RejectCode::Full))));
    assert_eq!(alice.up(), [bob.id()].into());
    assert!(alice.node().stats().peer_limit > 0);
}

pub(super) fn a_disconnected_peer_stays_away_until_a_user_joins(stage: &Stage<'_>) {
    let [alice, bob, carol] = stage.mesh();
    assert_eq!(alice.node().disconnect(bob.id()), Ok(()));
    assert_eq!(alice.until_down(&bob), Reason::LocalDisconnect);
    assert_eq!(bob.until_down(&alice), Reason::Removed);
    alice.until_gone(&bob);
    bob.until_gone(&alice);
    assert!(alice.node().disconnect(bob.id()).is_err(), "it is no peer any more");
    // Carol, who is connected to both, does not talk them into it, and lost peers would be back by now.
    stage.arm().pass(QUIET);
    assert_eq!((alice.up(), bob.up()), ([carol.id()].into(), [carol.id()].into()));
    assert_eq!(carol.up(), [alice.id(), bob.id()].into());
    bob.join(&alice);
    stage.until_complete(&[alice.clone(), bob.clone(), carol]);
    bob.send(&alice, "here again");
    alice.expect(&bob, "here again");
}
