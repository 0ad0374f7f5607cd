//! The tests of the Go package, by what they show.

use std::time::Duration;

use cluster_tokio::{Event, Reason};

use crate::world::{bind, bind_with, event, local, mesh, text, until, until_down, up};

#[tokio::test]
async fn broadcast_reaches_the_other_node() {
    let [alice, bob] = mesh().await;
    let report = alice.broadcast("Hello, world!").unwrap();
    assert_eq!(report.queued, [bob.id()]);
    assert!(report.is_complete());
    let message = bob.recv().await.unwrap();
    assert_eq!(message.from, alice.run());
    assert_eq!(message.payload, "Hello, world!");
}

#[tokio::test]
async fn ungraceful_loss_is_noticed_and_unlearned() {
    let alice = bind_with(local().forget_after(Some(Duration::from_millis(500)))).await;
    let bob = bind().await;
    alice.join(bob.local_addr()).await.unwrap();
    let mut events = alice.events();
    let (id, run) = (bob.id(), bob.run());

    drop(bob);
    let reason = until_down(&mut events, id).await;
    assert!(reason.is_transient(), "{reason}");
    assert!(up(&alice).is_empty());

    event(&mut events, "bob is forgotten", |event| (event == Event::PeerGone { peer: run }).then_some(())).await;
    until("bob is unlearned", || alice.peers().is_empty()).await;
    assert!(alice.broadcast("anyone?").unwrap().queued.is_empty());
}

#[tokio::test]
async fn both_sides_exchange_messages() {
    let [alice, bob] = mesh().await;
    for round in 0..100 {
        alice.send(bob.id(), format!("ping {round}")).await.unwrap();
        assert_eq!(text(&bob).await, format!("ping {round}"));
        bob.send(alice.id(), format!("pong {round}")).await.unwrap();
        assert_eq!(text(&alice).await, format!("pong {round}"));
    }
}

#[tokio::test]
async fn closing_a_node_removes_it_everywhere() {
    let [alice, bob, carol] = mesh().await;
    let mut at_bob = bob.events();
    let mut at_carol = carol.events();
    alice.leave().await;
    assert_eq!(until_down(&mut at_bob, alice.id()).await, Reason::Left);
    assert_eq!(until_down(&mut at_carol, alice.id()).await, Reason::Left);
    until("alice is gone at bob", || bob.peers().iter().all(|peer| peer.run.id == carol.id())).await;
    until("alice is gone at carol", || carol.peers().iter().all(|peer| peer.run.id == bob.id())).await;
    // The others are undisturbed.
    bob.send(carol.id(), "still here").await.unwrap();
    assert_eq!(text(&carol).await, "still here");
}

#[tokio::test]
async fn closing_a_remote_removes_it_on_both_sides() {
    let [alice, bob, carol] = mesh().await;
    let mut at_alice = alice.events();
    let mut at_bob = bob.events();
    alice.disconnect(bob.id()).unwrap();
    assert_eq!(until_down(&mut at_alice, bob.id()).await, Reason::LocalDisconnect);
    assert_eq!(until_down(&mut at_bob, alice.id()).await, Reason::Removed);
    until("only carol is left at alice", || alice.peers().iter().all(|peer| peer.run.id == carol.id())).await;
    until("only carol is left at bob", || bob.peers().iter().all(|peer| peer.run.id == carol.id())).await;
    assert_eq!(up(&carol), [alice.id(), bob.id()].into());

    // Carol, who is connected to both, does not talk them into it; the user of either side does.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(up(&alice), [carol.id()].into());
    assert_eq!(bob.join(alice.local_addr()).await, Ok(alice.id()));
    until("alice has bob back", || up(&alice).contains(&bob.id())).await;
}
