//! The tests of the Go package, by what they show.

use std::thread;
use std::time::Duration;

use cluster_std::{Event, Reason};

use crate::world::{bind, bind_with, event, local, mesh, message, text, until, until_down, up};

#[test]
fn broadcast_reaches_the_other_node() {
    let [alice, bob] = mesh();
    let report = alice.broadcast("Hello, world!").unwrap();
    assert_eq!(report.queued, [bob.id()]);
    assert!(report.is_complete());
    let message = message(&bob);
    assert_eq!(message.from, alice.run());
    assert_eq!(message.payload, "Hello, world!");
}

#[test]
fn ungraceful_loss_is_noticed_and_unlearned() {
    let alice = bind_with(local().forget_after(Some(Duration::from_millis(500))));
    let bob = bind();
    alice.join(bob.local_addr()).unwrap();
    let mut events = alice.events();
    let (id, run) = (bob.id(), bob.run());

    drop(bob);
    let reason = until_down(&mut events, id);
    assert!(reason.is_transient(), "{reason}");
    assert!(up(&alice).is_empty());

    event(&mut events, "bob is forgotten", |event| (event == Event::PeerGone { peer: run }).then_some(()));
    until("bob is unlearned", || alice.peers().is_empty());
    assert!(alice.broadcast("anyone?").unwrap().queued.is_empty());
}

#[test]
fn both_sides_exchange_messages() {
    let [alice, bob] = mesh();
    for round in 0..100 {
        alice.send(bob.id(), format!("ping {round}")).unwrap();
        assert_eq!(text(&bob), format!("ping {round}"));
        bob.send(alice.id(), format!("pong {round}")).unwrap();
        assert_eq!(text(&alice), format!("pong {round}"));
    }
}

#[test]
fn closing_a_node_removes_it_everywhere() {
    let [alice, bob, carol] = mesh();
    let mut at_bob = bob.events();
    let mut at_carol = carol.events();
    alice.leave();
    assert_eq!(until_down(&mut at_bob, alice.id()), Reason::Left);
    assert_eq!(until_down(&mut at_carol, alice.id()), Reason::Left);
    until("alice is gone at bob", || bob.peers().iter().all(|peer| peer.run.id == carol.id()));
    until("alice is gone at carol", || carol.peers().iter().all(|peer| peer.run.id == bob.id()));
    // The others are undisturbed.
    bob.send(carol.id(), "still here").unwrap();
    assert_eq!(text(&carol), "still here");
}

#[test]
fn closing_a_remote_removes_it_on_both_sides() {
    let [alice, bob, carol] = mesh();
    let mut at_alice = alice.events();
    let mut at_bob = bob.events();
    alice.disconnect(bob.id()).unwrap();
    assert_eq!(until_down(&mut at_alice, bob.id()), Reason::LocalDisconnect);
    assert_eq!(until_down(&mut at_bob, alice.id()), Reason::Removed);
    until("only carol is left at alice", || alice.peers().iter().all(|peer| peer.run.id == carol.id()));
    until("only carol is left at bob", || bob.peers().iter().all(|peer| peer.run.id == carol.id()));
    assert_eq!(up(&carol), [alice.id(), bob.id()].into());

    // Carol, who is connected to both, does not talk them into it; the user of either side does.
    thread::sleep(Duration::from_secs(2));
    assert_eq!(up(&alice), [carol.id()].into());
    assert_eq!(bob.join(alice.local_addr()), Ok(alice.id()));
    until("alice has bob back", || up(&alice).contains(&bob.id()));
}
