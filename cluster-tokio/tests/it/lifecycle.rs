//! How nodes begin and end.

use std::time::Duration;

use cluster_tokio::{Event, Node, SendErrorKind};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::world::{bind, bind_with, event, local, mesh, once, until, until_up, up, within};

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[test]
fn handles_can_be_shared_between_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send>(_: T) {}
    shared::<Node>();
    #[allow(dead_code, reason = "it only has to compile")]
    fn futures(node: Node) {
        sent(node.join("localhost:1"));
        sent(node.send(node.id(), ""));
        sent(node.recv());
        sent(node.leave());
    }
}

#[tokio::test]
async fn dropping_the_last_handle_stops_everything() {
    let before = tasks();
    let [alice, bob] = mesh().await;
    let address = alice.local_addr();
    let mut events = alice.events();
    let clone = alice.clone();
    drop(alice);
    clone.send(bob.id(), "one handle is left").await.unwrap();
    assert!(tasks() > before);
    drop(clone);
    while within("the end of events", events.next()).await.is_some() {}
    within("the port", async {
        while TcpListener::bind(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    drop(bob);
    until("no task is left", || tasks() == before).await;
}

#[tokio::test]
async fn leave_returns_when_every_task_has_ended() {
    let before = tasks();
    let [alice, bob] = mesh().await;
    let (address, clone) = (alice.local_addr(), alice.clone());
    let mut events = alice.events();
    let (first, second) = tokio::join!(alice.leave(), clone.leave());
    assert_eq!((first, second), (0, 0));
    TcpListener::bind(address).await.expect("the port is free at once");
    assert_eq!(event(&mut events, "left", |event| matches!(event, Event::Left { .. }).then_some(())).await, ());
    assert_eq!(events.next().await, None);
    assert_eq!(alice.events().next().await, None);
    assert!(alice.peers().is_empty() || up(&alice).is_empty());
    bob.leave().await;
    // A task is counted until it has dropped everything; the runtime may need a moment to forget it.
    until("no task is left", || tasks() == before).await;
    // Leaving again is no mistake.
    assert_eq!(within("leave", alice.leave()).await, 0);
    assert!(alice.join(address).await.is_err());
}

#[tokio::test]
async fn a_dropped_leave_is_carried_out() {
    let [alice, bob] = mesh().await;
    let mut events = bob.events();
    until_up(&mut events, alice.id()).await;
    assert!(once(alice.leave()).await.is_none());
    until("alice is gone", || bob.peers().is_empty()).await;
    within("leave", alice.leave()).await;
    let error = alice.try_send(bob.id(), "late").unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Leaving);
}

#[tokio::test]
async fn a_dropped_join_leaves_nothing_behind() {
    let before = tasks();
    let alice = bind().await;
    let bob = bind().await;
    for _ in 0..20 {
        assert!(once(alice.join(bob.local_addr())).await.is_none());
    }
    assert_eq!(within("join", alice.join(bob.local_addr())).await, Ok(bob.id()));
    until("bob knows", || up(&bob).contains(&alice.id())).await;
    until("one link each, and nothing else", || tasks() == before + 2 * 3).await;
    assert_eq!(alice.peers().len(), 1);
}

#[tokio::test]
async fn node_bound_to_every_address_advertises_none() {
    let alice = Node::bind("0.0.0.0:0", local().plaintext_beyond_loopback()).await.unwrap();
    assert!(alice.addresses().is_empty());
    let bob = bind().await;
    assert_eq!(bob.addresses(), [bob.local_addr()]);
}

#[tokio::test]
async fn events_begin_with_the_peers_that_are_up() {
    let [alice, bob, carol] = mesh().await;
    let mut events = alice.events();
    let mut first = Vec::new();
    for _ in 0..2 {
        match events.try_next() {
            Some(Event::PeerUp(peer)) => first.push(peer.run.id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(first.into_iter().collect::<std::collections::BTreeSet<_>>(), [bob.id(), carol.id()].into());
    assert_eq!(events.try_next(), None);
}

#[tokio::test]
async fn the_reader_of_events_may_call_the_node() {
    let [alice, bob] = mesh().await;
    let mut events = alice.events();
    until_up(&mut events, bob.id()).await;
    let greeter = {
        let alice = alice.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Event::PeerUp(peer) = event {
                    alice.send(peer.run.id, format!("hello, you are one of {}", alice.peers().len())).await.unwrap();
                    return;
                }
            }
        })
    };
    let carol = bind_with(local()).await;
    carol.join(bob.local_addr()).await.unwrap();
    assert_eq!(crate::world::text(&carol).await, "hello, you are one of 2");
    within("the greeter", greeter).await.unwrap();
}

#[test]
fn a_node_can_be_used_from_threads_outside_the_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let [alice, bob] = runtime.block_on(mesh());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (alice, to) = (alice.clone(), bob.id());
            std::thread::spawn(move || {
                for _ in 0..100 {
                    alice.try_send(to, "from a thread").unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    runtime.block_on(async {
        for _ in 0..400 {
            assert_eq!(crate::world::text(&bob).await, "from a thread");
        }
    });
    // The last handles are dropped outside the runtime, too.
    drop((alice, bob));
}
