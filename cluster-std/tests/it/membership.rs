//! Who finds whom, and who is let go.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use cluster_std::{Config, JoinError, JoinFailure, Node, Reason, Target};

use crate::world::{
    Proxy, bind, bind_at, bind_with, local, mesh, text, until, until_complete, until_down, until_up, up, waiting,
};

#[test]
fn a_node_joins_through_a_forwarded_port() {
    let bob = bind();
    let proxy = Proxy::to(bob.local_addr());
    let alice = bind();
    assert_eq!(alice.join(proxy.address), Ok(bob.id()));
    until("bob has alice", || up(&bob).contains(&alice.id()));
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 1);
    alice.send(bob.id(), "by way of").unwrap();
    assert_eq!(text(&bob), "by way of");
    bob.send(alice.id(), "and back").unwrap();
    assert_eq!(text(&alice), "and back");
}

#[test]
fn a_peer_that_is_only_reachable_through_a_forwarded_port_is_reconnected_through_it() {
    // What bob advertises leads nowhere: port 1 of loopback is closed on any sane machine.
    let bob = bind_with(local().advertise("127.0.0.1:1".parse().unwrap()));
    let address = bob.local_addr();
    let proxy = Proxy::to(address);
    let alice = bind();
    alice.join(proxy.address).unwrap();
    let mut events = alice.events();
    let lost = bob.id();
    drop(bob);
    until_down(&mut events, lost);
    let bob = bind_at(address, &local().node_id(lost));
    until_up(&mut events, lost);
    assert!(proxy.connections.load(Ordering::SeqCst) >= 2);
    until("bob has alice", || up(&bob).contains(&alice.id()));
}

#[test]
fn a_chain_of_three_seeds_becomes_a_complete_mesh() {
    let first = bind();
    let seed = |node: &Node| local().seed(node.local_addr().into());
    let second = bind_with(seed(&first));
    let third = bind_with(seed(&second));
    let fourth = bind_with(seed(&third));
    until_complete(&[first, second, third, fourth]);
}

#[test]
fn a_seed_that_is_down_is_joined_when_it_comes_up() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let alice = bind();
    alice.add_seed(address).unwrap();
    until("the first dial", || alice.stats().dials > 0);
    let bob = bind_at(address, &local());
    until_complete(&[alice, bob]);
}

#[test]
fn a_killed_node_is_reconnected_when_it_returns() {
    let [alice, bob, carol] = mesh();
    let mut events = alice.events();
    let (id, address) = (carol.id(), carol.local_addr());
    until_up(&mut events, id);
    drop(carol);
    assert!(until_down(&mut events, id).is_transient());
    let carol = bind_at(address, &local().node_id(id));
    until_up(&mut events, id);
    alice.send(id, "welcome back").unwrap();
    assert_eq!(text(&carol), "welcome back");
    until_complete(&[alice, bob, carol]);
}

#[test]
fn a_left_node_is_never_dialled_again() {
    let [alice, bob, carol] = mesh();
    let address = carol.local_addr();
    carol.leave();
    let listener = TcpListener::bind(address).expect("the port is free");
    until("carol is gone", || up(&alice).len() == 1 && up(&bob).len() == 1);
    listener.set_nonblocking(true).unwrap();
    // Longer than every retry, exchange and seed interval of local timing.
    thread::sleep(Duration::from_secs(6));
    let dialled = listener.accept();
    assert!(dialled.is_err(), "{dialled:?}");
}

#[test]
fn thirty_nodes_in_one_process_form_a_mesh() {
    const NODES: usize = 30;
    let config = Config::insecure_plaintext;
    let first = bind_with(config());
    let mut nodes = vec![first.clone()];
    nodes.extend((1..NODES).map(|_| bind_with(config().seed(first.local_addr().into()))));
    until_complete(&nodes);
    let dials: u64 = nodes.iter().map(|node| node.stats().dials).sum();
    let pairs = (NODES * (NODES - 1) / 2) as u64;
    assert!(dials <= 2 * pairs, "{dials} dials for {pairs} pairs");

    let report = first.broadcast("everyone").unwrap();
    assert_eq!(report.queued.len(), NODES - 1);
    for node in &nodes[1..] {
        assert_eq!(text(node), "everyone");
    }
    let leaving: Vec<_> = nodes.into_iter().map(|node| waiting(move || node.leave())).collect();
    for leaving in leaving {
        assert_eq!(leaving.end("leave"), 0);
    }
}

#[test]
fn a_name_is_resolved_and_every_record_is_tried() {
    let alice = bind();
    let bob = bind();
    let target: Target = format!("localhost:{}", bob.local_addr().port()).parse().unwrap();
    assert_eq!(alice.join(&target), Ok(bob.id()));
}

#[test]
fn a_node_that_listens_at_every_address_is_known_by_the_one_it_is_seen_at() {
    for everywhere in ["0.0.0.0:0", "[::]:0"] {
        let Ok(alice) = Node::bind(everywhere, local()) else { continue };
        let bob = bind();
        let address = ([127, 0, 0, 1], alice.local_addr().port()).into();
        // The other way round: bob sees only where the connection comes from.
        alice.join(bob.local_addr()).unwrap();
        until("bob has alice", || up(&bob).contains(&alice.id()));
        assert_eq!(bob.peer(alice.id()).unwrap().address, Some(address), "{everywhere}");
        assert!(alice.addresses().is_empty());
        // Carol, who is bound to everything too, learns it from bob.
        let carol = Node::bind(everywhere, local()).unwrap();
        carol.join(bob.local_addr()).unwrap();
        until_complete(&[alice, bob, carol]);
    }
}

#[test]
fn a_join_that_fails_says_why() {
    let alice = bind_with(local().join_timeout(Duration::from_millis(300)));
    let closed: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failure = |result: Result<_, JoinError>| match result {
        Err(JoinError::Failed { error, .. }) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(failure(alice.join(closed)), JoinFailure::Failed(Reason::Refused));
    assert_eq!(failure(alice.join(alice.local_addr())), JoinFailure::SelfConnection);
    // Where looking it up takes longer than the join may, that is the failure.
    let error = failure(alice.join("no-such-host.invalid:1"));
    assert!(matches!(error, JoinFailure::Unresolved(_) | JoinFailure::TimedOut), "{error:?}");
    assert!(matches!(alice.join("localhost"), Err(JoinError::Address { .. })));
    let error = alice.join("no port").unwrap_err();
    assert!(error.to_string().contains("no port"), "{error}");
}

#[test]
fn nodes_of_different_clusters_do_not_meet() {
    let alice = bind_with(local().cluster("red".parse().unwrap()));
    let bob = bind_with(local().cluster("blue".parse().unwrap()).join_timeout(Duration::from_millis(500)));
    let error = bob.join(alice.local_addr()).unwrap_err();
    assert!(matches!(error, JoinError::Failed { error: JoinFailure::Failed(Reason::Channel(_)), .. }), "{error:?}");
    assert!(alice.peers().is_empty() && bob.peers().is_empty());
}

#[test]
fn names_and_metadata_reach_the_peers_and_can_change() {
    let alice = bind_with(local().name("alice".parse().unwrap()).metadata("v1"));
    let bob = bind();
    bob.join(alice.local_addr()).unwrap();
    let peer = bob.peer(alice.id()).unwrap();
    assert_eq!(peer.name.unwrap().as_str(), "alice");
    assert_eq!(peer.metadata, "v1");
    until("alice knows", || up(&alice).contains(&bob.id()));
    alice.set_config(alice.config().metadata("v2")).unwrap();
    until("bob knows", || bob.peer(alice.id()).unwrap().metadata == "v2");
}
