//! How nodes begin and end. That nothing is left of them is in `tests/counts.rs`.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use cluster_std::{BindError, Event, Node};

use crate::world::{bind, event, local, mesh, text, until, until_up, up, waiting, within};

#[test]
fn handles_can_be_shared_between_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Node>();
}

#[test]
fn dropping_the_last_handle_stops_everything() {
    let [alice, bob] = mesh();
    let address = alice.local_addr();
    let events = alice.events();
    let clone = alice.clone();
    drop(alice);
    clone.send(bob.id(), "one handle is left").unwrap();
    assert_eq!(text(&bob), "one handle is left");
    drop(clone);
    within("the end of events", move || events.for_each(drop));
    until("the port is free", || TcpListener::bind(address).is_ok());
}

#[test]
fn leave_ends_for_all_who_wait_for_it_and_frees_the_port() {
    let [alice, bob] = mesh();
    let (address, clone) = (alice.local_addr(), alice.clone());
    let mut events = alice.events();
    let other = waiting(move || clone.leave());
    assert_eq!((alice.leave(), other.end("the other leave")), (0, 0));
    TcpListener::bind(address).expect("the port is free at once");
    event(&mut events, "left", |event| matches!(event, Event::Left { .. }).then_some(()));
    assert_eq!(events.next(), None);
    assert_eq!(alice.events().next(), None);
    assert!(up(&alice).is_empty());
    bob.leave();
    // Leaving again is no mistake.
    assert_eq!(alice.leave(), 0);
    assert!(alice.join(address).is_err());
}

#[test]
fn leave_takes_no_time_when_there_is_nothing_to_wait_for() {
    // A connection that is not ended by both sides is given up after a second. A busy machine may be slow, but not always.
    let quickest = (0..5).map(|_| {
        let [alice, _bob, _carol] = mesh();
        let begin = Instant::now();
        assert_eq!(alice.leave(), 0);
        begin.elapsed()
    });
    let quickest = quickest.min().unwrap();
    assert!(quickest < Duration::from_millis(500), "{quickest:?}");
}

#[test]
fn an_address_that_cannot_be_listened_at_is_an_error_with_its_name_and_the_systems_words() {
    let alice = bind();
    let taken = alice.local_addr().to_string();
    // Of 192.0.2.0/24 no host has an address.
    for (address, words) in
        [(&taken[..], "in use"), ("192.0.2.1:0", "assign"), ("no-such-host.invalid:0", ""), ("nowhere", "")]
    {
        let error = Node::bind(address, local()).unwrap_err();
        assert!(matches!(error, BindError::Listen { .. }));
        let text = error.to_string();
        assert!(text.contains(address) && text.contains(words), "{text}");
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn settings_that_contradict_each_other_are_an_error() {
    let wrong = || local().heartbeat(Duration::from_secs(60));
    let error = Node::bind("127.0.0.1:0", wrong()).unwrap_err();
    assert!(matches!(error, BindError::Config(_)), "{error}");
    let alice = bind();
    assert!(alice.set_config(wrong()).is_err());
    assert_eq!(alice.config(), local());
}

#[test]
fn node_bound_to_every_address_advertises_none() {
    let alice = Node::bind("0.0.0.0:0", local().plaintext_beyond_loopback()).unwrap();
    assert!(alice.addresses().is_empty());
    let bob = bind();
    assert_eq!(bob.addresses(), [bob.local_addr()]);
}

#[test]
fn events_begin_with_the_peers_that_are_up() {
    let [alice, bob, carol] = mesh();
    let mut events = alice.events();
    let first = [(); 2].map(|()| match events.try_next() {
        Some(Event::PeerUp(peer)) => peer.run.id,
        other => panic!("{other:?}"),
    });
    assert_eq!(std::collections::BTreeSet::from(first), [bob.id(), carol.id()].into());
    assert_eq!(events.try_next(), None);
}

#[test]
fn the_reader_of_events_may_call_the_node() {
    let [alice, bob] = mesh();
    let mut events = alice.events();
    until_up(&mut events, bob.id());
    let greeter = waiting({
        let alice = alice.clone();
        move || {
            for event in events {
                if let Event::PeerUp(peer) = event {
                    let peers = alice.peers().len();
                    return alice.send(peer.run.id, format!("hello, you are one of {peers}")).unwrap();
                }
            }
        }
    });
    let carol = bind();
    carol.join(bob.local_addr()).unwrap();
    assert_eq!(text(&carol), "hello, you are one of 2");
    greeter.end("the greeter");
}
