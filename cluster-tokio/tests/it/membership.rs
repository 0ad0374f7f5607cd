//! Who finds whom, and who is let go.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster_tokio::{Config, JoinError, JoinFailure, Node, Target};
use tokio::net::TcpListener;

use crate::world::{
    Proxy, bind, bind_with, local, mesh, text, until, until_complete, until_down, until_up, up, within,
};

#[tokio::test]
async fn a_node_joins_through_a_forwarded_port() {
    let bob = bind().await;
    let proxy = Proxy::to(bob.local_addr()).await;
    let alice = bind().await;
    assert_eq!(within("join", alice.join(proxy.address)).await, Ok(bob.id()));
    until("bob has alice", || up(&bob).contains(&alice.id())).await;
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 1);
    alice.send(bob.id(), "by way of").await.unwrap();
    assert_eq!(text(&bob).await, "by way of");
    bob.send(alice.id(), "and back").await.unwrap();
    assert_eq!(text(&alice).await, "and back");
}

#[tokio::test]
async fn a_peer_that_is_only_reachable_through_a_forwarded_port_is_reconnected_through_it() {
    // What bob advertises leads nowhere: port 1 of loopback is closed on any sane machine.
    let bob = bind_with(local().advertise("127.0.0.1:1".parse().unwrap())).await;
    let address = bob.local_addr();
    let proxy = Proxy::to(address).await;
    let alice = bind().await;
    within("join", alice.join(proxy.address)).await.unwrap();
    let mut events = alice.events();
    let lost = bob.id();
    drop(bob);
    until_down(&mut events, lost).await;
    let bob = within("bob's port", bind_at(address, local().node_id(lost))).await;
    until_up(&mut events, lost).await;
    assert!(proxy.connections.load(Ordering::SeqCst) >= 2);
    until("bob has alice", || up(&bob).contains(&alice.id())).await;
}

#[tokio::test]
async fn a_chain_of_three_seeds_becomes_a_complete_mesh() {
    let first = bind().await;
    let seed = |node: &Node| local().seed(node.local_addr().into());
    let second = bind_with(seed(&first)).await;
    let third = bind_with(seed(&second)).await;
    let fourth = bind_with(seed(&third)).await;
    until_complete(&[first, second, third, fourth]).await;
}

#[tokio::test]
async fn a_seed_that_is_down_is_joined_when_it_comes_up() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let alice = bind().await;
    alice.add_seed(address).unwrap();
    until("the first dial", || alice.stats().dials > 0).await;
    let bob = within("bob's port", bind_at(address, local())).await;
    until_complete(&[alice, bob]).await;
}

#[tokio::test]
async fn a_killed_node_is_reconnected_when_it_returns() {
    let [alice, bob, carol] = mesh().await;
    let mut events = alice.events();
    let (id, address) = (carol.id(), carol.local_addr());
    until_up(&mut events, id).await;
    drop(carol);
    assert!(until_down(&mut events, id).await.is_transient());
    let carol = within("carol's port", bind_at(address, local().node_id(id))).await;
    until_up(&mut events, id).await;
    alice.send(id, "welcome back").await.unwrap();
    assert_eq!(text(&carol).await, "welcome back");
    until_complete(&[alice, bob, carol]).await;
}

#[tokio::test]
async fn a_left_node_is_never_dialled_again() {
    let [alice, bob, carol] = mesh().await;
    let address = carol.local_addr();
    carol.leave().await;
    let listener = TcpListener::bind(address).await.expect("the port is free");
    until("carol is gone", || up(&alice).len() == 1 && up(&bob).len() == 1).await;
    // Longer than every retry, exchange and seed interval of local timing.
    let dialled = tokio::time::timeout(Duration::from_secs(6), listener.accept()).await;
    assert!(dialled.is_err(), "{dialled:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_nodes_in_one_process_form_a_mesh() {
    let config = Config::insecure_plaintext;
    let first = bind_with(config()).await;
    let mut nodes = vec![first.clone()];
    for _ in 1..50 {
        nodes.push(bind_with(config().seed(first.local_addr().into())).await);
    }
    until_complete(&nodes).await;
    let dials: u64 = nodes.iter().map(|node| node.stats().dials).sum();
    let pairs = 50 * 49 / 2;
    assert!(dials <= 2 * pairs, "{dials} dials for {pairs} pairs");

    let report = first.broadcast("everyone").unwrap();
    assert_eq!(report.queued.len(), 49);
    for node in &nodes[1..] {
        assert_eq!(text(node).await, "everyone");
    }
    let mut leaving = tokio::task::JoinSet::new();
    for node in nodes {
        leaving.spawn(async move { node.leave().await });
    }
    assert_eq!(within("leave", leaving.join_all()).await, [0; 50]);
}

#[tokio::test]
async fn a_name_is_resolved_and_every_record_is_tried() {
    let alice = bind().await;
    let bob = bind().await;
    let target: Target = format!("localhost:{}", bob.local_addr().port()).parse().unwrap();
    assert_eq!(within("join", alice.join(&target)).await, Ok(bob.id()));
}

#[tokio::test]
async fn a_node_that_listens_at_every_address_is_known_by_the_one_it_is_seen_at() {
    for everywhere in ["0.0.0.0:0", "[::]:0"] {
        let Ok(alice) = Node::bind(everywhere, local().plaintext_beyond_loopback()).await else { continue };
        let bob = bind().await;
        let address = ([127, 0, 0, 1], alice.local_addr().port()).into();
        // The other way round: bob sees only where the connection comes from.
        within("join", alice.join(bob.local_addr())).await.unwrap();
        until("bob has alice", || up(&bob).contains(&alice.id())).await;
        assert_eq!(bob.peer(alice.id()).unwrap().address, Some(address), "{everywhere}");
        assert!(alice.addresses().is_empty());
        // Carol, who is bound to everything too, learns it from bob.
        let carol = Node::bind(everywhere, local().plaintext_beyond_loopback()).await.unwrap();
        within("join", carol.join(bob.local_addr())).await.unwrap();
        until_complete(&[alice, bob, carol]).await;
    }
}

#[tokio::test]
async fn a_join_that_fails_says_why() {
    let config = || local().join_timeout(Duration::from_millis(300));
    let alice = bind_with(config()).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure = |result: Result<_, JoinError>| match result {
        Err(JoinError::Failed { error, .. }) => error,
        other => panic!("{other:?}"),
    };
    let error = failure(within("refused", alice.join(closed)).await);
    assert_eq!(error, JoinFailure::Failed(cluster_tokio::Reason::Refused));
    let error = failure(within("own address", alice.join(alice.local_addr())).await);
    assert_eq!(error, JoinFailure::SelfConnection);
    let error = failure(within("no such name", alice.join("no-such-host.invalid:1")).await);
    assert!(matches!(error, JoinFailure::Unresolved(_)), "{error:?}");
    assert!(matches!(alice.join("localhost").await, Err(JoinError::Address { .. })));
    let error = alice.join("no port").await.unwrap_err();
    assert!(error.to_string().contains("no port"), "{error}");
}

#[tokio::test]
async fn nodes_of_different_clusters_do_not_meet() {
    let alice = bind_with(local().cluster("red".parse().unwrap())).await;
    let config = local().cluster("blue".parse().unwrap()).join_timeout(Duration::from_millis(500));
    let bob = bind_with(config).await;
    let error = within("join", bob.join(alice.local_addr())).await.unwrap_err();
    assert!(matches!(error, JoinError::Failed { error: JoinFailure::Failed(_), .. }), "{error:?}");
    assert!(alice.peers().is_empty() && bob.peers().is_empty());
}

#[tokio::test]
async fn names_and_metadata_reach_the_peers_and_can_change() {
    let alice = bind_with(local().name("alice".parse().unwrap()).metadata("v1")).await;
    let bob = bind().await;
    bob.join(alice.local_addr()).await.unwrap();
    let peer = bob.peer(alice.id()).unwrap();
    assert_eq!(peer.name.unwrap().as_str(), "alice");
    assert_eq!(peer.metadata, "v1");
    until("alice knows", || up(&alice).contains(&bob.id())).await;
    alice.set_config(alice.config().metadata("v2")).unwrap();
    until("bob knows", || bob.peer(alice.id()).unwrap().metadata == "v2").await;
}

/// Binds at an address that was in use a moment ago.
async fn bind_at(address: std::net::SocketAddr, config: Config) -> Node {
    loop {
        match Node::bind(address, config.clone()).await {
            Ok(node) => return node,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
