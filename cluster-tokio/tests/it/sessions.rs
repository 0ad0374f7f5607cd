//! What was accepted has one honest outcome, on real sockets that are cut again and again.

use std::sync::Arc;
use std::time::Duration;

use cluster_conformance::{End, Faults, Pieces, Proxy, Way as _};
use cluster_tokio::{Event, Events, Limits, Node, NodeId, PeerInfo, PeerState, Run};

use crate::world::{bind_with, event, local, once, until, until_complete, until_down, within};

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
