//! What was accepted has one honest outcome, on real sockets that are cut again and again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cluster_conformance::{End, Faults, Pieces, Proxy, Way as _};
use cluster_tokio::{
    Acknowledge, Config, Event, Events, FlushError, Limits, Node, NodeId, PeerInfo, PeerState, Run, SendErrorKind,
    Undelivered,
};

use crate::world::{bind, bind_with, event, local, mesh, once, until, until_complete, until_down, until_up, within};

/// As many messages as the promise was tried with.
const MESSAGES: u64 = 1_000_000;

/// Nodes that dial each other through proxies only, and again at once when they are cut off. What is silent for a
/// third of a second counts as cut off.
async fn through_cutters(seed: u64) -> ([Node; 2], [Proxy; 2]) {
    let cutters = [0, 1].map(|at| Proxy::bind(seed + at, treatment(0)).expect("a port of loopback is free"));
    let config = |at: usize| {
        let swift = local().reconnect(Duration::from_millis(1), Duration::from_millis(10)).stable_after(Duration::ZERO);
        let alert = swift.heartbeat(Duration::from_millis(60)).peer_timeout(Duration::from_millis(330));
        alert.probe_timeout(Duration::from_millis(200)).advertise(cutters[at].address())
    };
    let nodes = [bind_with(config(0)).await, bind_with(config(1)).await];
    for (node, cutter) in nodes.iter().zip(&cutters) {
        cutter.lead_to(node.local_addr());
    }
    within("a join", nodes[0].join(cutters[1].address())).await.unwrap();
    // Nobody is written to before it was up once.
    until_complete(&nodes).await;
    (nodes, cutters)
}

/// How a connection is treated, by what was drawn for it: in small pieces always, every fourth slowly. Of sixteen six
/// are closed, six reset, three left half open, and one stalls.
fn treatment(drawn: u64) -> Faults {
    let end = match drawn % 16 {
        0..6 => End::Close,
        6..12 => End::Reset,
        12..15 => End::HalfOpen,
        _ => End::Stall,
    };
    let delay = (drawn >> 4).is_multiple_of(4).then_some(0..=2);
    Faults { pieces: Pieces::Random, delay, life: Some(10_000..=150_000), end }
}

/// After each cut draws anew how connections are treated from then on. Does not end.
async fn vary(cutters: &[Proxy; 2], seed: u64) {
    let mut cuts = [0; 2];
    let mut draws = seed;
    loop {
        for (cutter, seen) in cutters.iter().zip(&mut cuts) {
            if cutter.cuts() != *seen {
                *seen = cutter.cuts();
                draws += 1;
                cutter.set_faults(treatment(draws.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32));
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The number, and up to 31 bytes more.
fn numbered(number: u64) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(8 + (number % 32) as usize, 7);
    payload
}

fn number(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload[..8].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_messages_arrive_once_and_in_order_over_connections_that_are_cut_or_stall_hundreds_of_times() {
    let ([alice, bob], cutters) = through_cutters(1).await;
    let cutters = Arc::new(cutters);
    let varying = tokio::spawn({
        let cutters = Arc::clone(&cutters);
        async move { vary(&cutters, 1).await }
    });
    let sender = {
        let (alice, to) = (alice.clone(), bob.id());
        tokio::spawn(async move {
            for next in 0..MESSAGES {
                alice.send(to, numbered(next)).await.unwrap();
            }
            alice.flush(to).await
        })
    };
    let mut messages = Vec::new();
    let mut next = 0;
    while next < MESSAGES {
        within("messages", bob.recv_many(&mut messages, 4_096)).await.unwrap();
        for message in messages.drain(..) {
            assert_eq!((number(&message.payload), message.from.id), (next, alice.id()));
            next += 1;
        }
    }
    within("the flush", sender).await.unwrap().unwrap();
    varying.abort();
    let [closed, reset, half_open, stalled] = [End::Close, End::Reset, End::HalfOpen, End::Stall]
        .map(|end| cutters.iter().map(|cutter| cutter.cuts_by(end)).sum::<usize>());
    println!("{closed} closed, {reset} reset, {half_open} half open, {stalled} stalled");
    assert!(closed + reset + half_open + stalled >= 200 && closed >= 20 && reset >= 20, "too few cuts");
    assert!(half_open >= 10 && stalled >= 5, "too few that are told nothing");
    assert_eq!(alice.stats().messages_delivered, MESSAGES);
    assert_eq!(alice.stats().messages_undelivered, 0);
    assert_eq!(bob.try_recv(), Ok(None));
}

#[tokio::test]
async fn both_directions_and_large_messages_survive_cuts() {
    let ([alice, bob], cutters) = through_cutters(7).await;
    let exchange = async |from: Node, to: Node| {
        let id = to.id();
        for next in 0..200_u64 {
            let mut payload = next.to_be_bytes().to_vec();
            payload.resize(if next % 20 == 0 { 300_000 } else { 500 }, 1);
            from.send(id, payload).await.unwrap();
        }
        for next in 0..200 {
            let message = within("a message", from.recv()).await.unwrap();
            assert_eq!(number(&message.payload), next);
        }
        within("a flush", from.flush(id)).await.unwrap();
    };
    tokio::join!(exchange(alice.clone(), bob.clone()), exchange(bob.clone(), alice.clone()));
    let cuts: usize = cutters.iter().map(Proxy::cuts).sum();
    assert!(cuts > 20, "only {cuts} cuts");
}

#[tokio::test]
async fn a_peer_that_dies_leaves_no_message_without_an_outcome() {
    let alice = bind_with(local().session_ttl(Duration::from_secs(1))).await;
    let bob = bind().await;
    let id = alice.join(bob.local_addr()).await.unwrap();
    let mut events = alice.events();
    until_up(&mut events, id).await;
    for next in 0..1_000 {
        alice.send(id, numbered(next)).await.unwrap();
    }
    let mut taken = BTreeSet::new();
    for _ in 0..600 {
        taken.insert(number(&within("a message", bob.recv()).await.unwrap().payload));
    }
    until("some are known to be delivered", || alice.stats().messages_delivered > 0).await;
    drop(bob);
    until_down(&mut events, id).await;
    // Accepted while it is lost, and never sent.
    for next in 1_000..1_100 {
        alice.send(id, numbered(next)).await.unwrap();
    }
    let flush = alice.flush(id);
    let lost = |event| match event {
        Event::Undelivered(Undelivered { not_delivered, in_doubt, .. }) => Some((not_delivered, in_doubt)),
        _ => None,
    };
    let (flushed, (not_delivered, in_doubt)) = tokio::join!(flush, event(&mut events, "the report", lost));
    let not_delivered: BTreeSet<u64> = not_delivered.iter().map(|payload| number(payload)).collect();
    let in_doubt: BTreeSet<u64> = in_doubt.iter().map(|payload| number(payload)).collect();
    assert_eq!(not_delivered, (1_000..1_100).collect());
    let delivered: BTreeSet<u64> = (0..alice.stats().messages_delivered).collect();
    assert!(delivered.is_subset(&taken));
    assert_eq!(&delivered | &in_doubt, (0..1_000).collect());
    assert_eq!(flushed, Err(FlushError::Undelivered { messages: (not_delivered.len() + in_doubt.len()) as u64 }));
    let error = alice.try_send(id, "late").unwrap_err();
    assert_eq!(error.kind, SendErrorKind::NotConnected);
}

/// Waits until this run is up.
async fn until_run(node: &Node, run: Run) {
    let up = |peer: PeerInfo| peer.run == run && peer.state == PeerState::Up;
    until("a later run is up", || node.peer(run.id).is_some_and(up)).await;
}

#[tokio::test]
async fn what_came_to_nothing_takes_room_until_every_subscriber_has_read_of_it() {
    let mut limits = Limits::default();
    limits.send_window = 16 << 10;
    let alice = bind_with(local().limits(limits)).await;
    let id = NodeId::from_bytes([7; 16]);
    let bob = bind_with(local().node_id(id)).await;
    alice.join(bob.local_addr()).await.unwrap();
    let (mut one, mut two) = (alice.events(), alice.events());
    while alice.try_send(id, &[0; 1_000][..]).is_ok() {}
    drop(bob);
    until_down(&mut one, id).await;
    let later = bind_with(local().node_id(id)).await;
    within("a join", later.join(alice.local_addr())).await.unwrap();
    until_run(&alice, later.run()).await;
    let told = async |events: &mut Events| {
        event(events, "the report", |event| matches!(event, Event::Undelivered(_)).then_some(())).await;
    };
    let mut waiting = Box::pin(alice.send(id, &[0; 1_000][..]));
    assert!(once(&mut waiting).await.is_none(), "there is no room");
    told(&mut one).await;
    assert!(once(&mut waiting).await.is_none(), "the other one has not read of it");
    told(&mut two).await;
    within("room", waiting).await.unwrap();

    // Who never reads does not count for ever, either.
    drop(later);
    until_down(&mut one, id).await;
    let last = bind_with(local().node_id(id)).await;
    while alice.try_send(id, &[0; 1_000][..]).is_ok() {}
    within("a join", last.join(alice.local_addr())).await.unwrap();
    until_run(&alice, last.run()).await;
    told(&mut one).await;
    let mut waiting = Box::pin(alice.send(id, &[0; 1_000][..]));
    assert!(once(&mut waiting).await.is_none(), "there is no room");
    drop(two);
    within("room", waiting).await.unwrap();
}

#[tokio::test]
async fn a_message_counts_when_its_user_says_so() {
    let alice = bind().await;
    let bob = bind_with(local().acknowledge(Acknowledge::Manual)).await;
    let id = alice.join(bob.local_addr()).await.unwrap();
    for text in ["one", "two"] {
        alice.send(id, text).await.unwrap();
    }
    let mut flush = Box::pin(alice.flush(id));
    let first = within("a message", bob.recv()).await.unwrap();
    let second = within("a message", bob.recv()).await.unwrap();
    bob.acknowledge(first.receipt);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut flush).await;
    assert!(early.is_err(), "the second is not acknowledged");
    assert_eq!(alice.stats().messages_delivered, 1);
    bob.acknowledge(second.receipt);
    within("the flush", flush).await.unwrap();
}

#[tokio::test]
async fn a_flush_ends_with_the_node() {
    let [alice, bob] = mesh().await;
    alice.send(bob.id(), "never taken").await.unwrap();
    let waiting = {
        let (alice, to) = (alice.clone(), bob.id());
        tokio::spawn(async move { alice.flush(to).await })
    };
    tokio::task::yield_now().await;
    assert_eq!(alice.leave_within(Duration::ZERO).await, 1);
    assert_eq!(within("the flush", waiting).await.unwrap(), Err(FlushError::Undelivered { messages: 1 }));
    let stranger = Config::insecure_plaintext();
    let carol = bind_with(stranger).await;
    assert!(matches!(carol.flush(bob.id()).await, Err(FlushError::Refused(_))));
}
