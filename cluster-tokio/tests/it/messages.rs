//! Messages: whole, in order, once; and what waits, waits at the right place.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cluster_tokio::{Closed, Limits, Node, SendErrorKind};

use crate::world::{Proxy, bind, bind_with, local, mesh, once, text, until, up, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_small_messages_arrives_in_order() {
    const COUNT: u64 = 200_000;
    let [alice, bob] = mesh().await;
    let sender = alice.clone();
    let to = bob.id();
    let sending = tokio::spawn(async move {
        for number in 0..COUNT {
            sender.send(to, Bytes::copy_from_slice(&number.to_le_bytes())).await.unwrap();
        }
    });
    let mut batch = Vec::new();
    let mut expected = 0;
    while expected < COUNT {
        within("messages", bob.recv_many(&mut batch, 1_000)).await.unwrap();
        for message in batch.drain(..) {
            assert_eq!(message.payload, expected.to_le_bytes()[..]);
            expected += 1;
        }
    }
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_and_both_directions_lose_nothing() {
    const SENDERS: u64 = 8;
    const EACH: u64 = 5_000;
    let [alice, bob] = mesh().await;
    let mut tasks = tokio::task::JoinSet::new();
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        for sender in 0..SENDERS {
            let (from, to) = (from.clone(), to.id());
            tasks.spawn(async move {
                for number in 0..EACH {
                    from.send(to, format!("{sender} {number}")).await.unwrap();
                    if number % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        let node = from.clone();
        tasks.spawn(async move {
            let mut next = [0; SENDERS as usize];
            for _ in 0..SENDERS * EACH {
                let text = text(&node).await;
                let (sender, number) = text.split_once(' ').unwrap();
                let expected = &mut next[sender.parse::<usize>().unwrap()];
                assert_eq!(number.parse(), Ok(*expected));
                *expected += 1;
            }
        });
    }
    within("all messages", tasks.join_all()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_sends_with_pauses_never_get_stuck() {
    // Each is an output announced to an idle link: the case in which a lost wake-up would show.
    let [alice, bob] = mesh().await;
    for round in 0..20_000_u32 {
        let (from, to) = if round % 2 == 0 { (&alice, &bob) } else { (&bob, &alice) };
        from.try_send(to.id(), Bytes::copy_from_slice(&round.to_le_bytes())).unwrap();
        if round % 3 == 0 {
            from.try_send(to.id(), "twice").unwrap();
            within("first", to.recv()).await.unwrap();
        }
        within("message", to.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_sender_does_not_write_by_itself_follows_without_any_help() {
    // No heartbeat and no acknowledgement wakes the link by chance.
    let quiet = || {
        let mut limits = Limits::default();
        (limits.max_peers, limits.initial_window) = (8, 8 << 20);
        local().heartbeat(Duration::from_secs(60)).peer_timeout(Duration::from_secs(120)).limits(limits)
    };
    let alice = bind_with(quiet()).await;
    let bob = bind_with(quiet()).await;
    let proxy = Proxy::to(bob.local_addr()).await;
    within("join", alice.join(proxy.address)).await.unwrap();
    until("bob has alice", || up(&bob).contains(&alice.id())).await;
    // The link is known to be fast, so that a long message waits for no answer on the way.
    for _ in 0..4 {
        alice.send(bob.id(), vec![7; 1 << 20]).await.unwrap();
        within("warm", bob.recv()).await.unwrap();
    }
    within("flush", alice.flush(bob.id())).await.unwrap();
    proxy.answers.send_replace(false);
    let large = Bytes::from(vec![7; 7 << 20]);
    alice.send(bob.id(), large.clone()).await.unwrap();
    assert!(within("all of it", bob.recv()).await.unwrap().payload == large);
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn each_message_goes_to_one_of_the_clones_that_wait() {
    const COUNT: usize = 1_000;
    let [alice, bob] = mesh().await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let bob = bob.clone();
        readers.spawn(async move {
            let mut taken = Vec::new();
            loop {
                match bob.recv().await {
                    Ok(message) => taken.push(message.payload),
                    Err(Closed) => return taken,
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for number in 0..COUNT {
        alice.send(bob.id(), number.to_string()).await.unwrap();
    }
    until("all taken", || bob.stats().messages_received == COUNT as u64).await;
    bob.leave().await;
    let mut taken: Vec<usize> = within("the readers", readers.join_all())
        .await
        .into_iter()
        .flatten()
        .map(|payload| String::from_utf8(payload.to_vec()).unwrap().parse().unwrap())
        .collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_dropped_recv_takes_nothing() {
    const COUNT: usize = 2_000;
    let [alice, bob] = mesh().await;
    let to = bob.id();
    let sending = tokio::spawn(async move {
        for number in 0..COUNT {
            alice.send(to, number.to_string()).await.unwrap();
            tokio::task::yield_now().await;
        }
        alice
    });
    let mut received = 0;
    while received < COUNT {
        match once(bob.recv()).await {
            Some(message) => {
                assert_eq!(message.unwrap().payload, received.to_string());
                received += 1;
            }
            None => tokio::task::yield_now().await,
        }
    }
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn a_send_waits_for_room_and_a_dropped_one_sends_nothing() {
    let [alice, bob] = mesh().await;
    let sent = fill(&alice, &bob).await;
    assert!(once(alice.send(bob.id(), numbered(u64::MAX))).await.is_none());
    let waiting = {
        let (alice, to) = (alice.clone(), bob.id());
        tokio::spawn(async move { alice.send(to, numbered(sent)).await })
    };
    for number in 0..=sent {
        assert_eq!(within("message", bob.recv()).await.unwrap().payload[..8], number.to_le_bytes());
    }
    within("room", waiting).await.unwrap().unwrap();
    alice.send(bob.id(), "the last").await.unwrap();
    assert_eq!(text(&bob).await, "the last");
}

#[tokio::test]
async fn every_way_to_receive_ends_after_leaving() {
    let alice = bind().await;
    alice.leave().await;
    assert_eq!(alice.recv().await, Err(Closed));
    assert_eq!(alice.try_recv(), Err(Closed));
    assert_eq!(alice.recv_many(&mut Vec::new(), 8).await, Err(Closed));
}

/// Sends numbered messages until no more is taken, and says how many.
async fn fill(from: &Node, to: &Node) -> u64 {
    let mut sent = 0;
    loop {
        match from.try_send(to.id(), numbered(sent)) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_eq!(error.kind, SendErrorKind::Full);
                assert!(sent > 0);
                return sent;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// A message of 64 KiB that begins with a number.
fn numbered(number: u64) -> Bytes {
    let mut payload = vec![0; 64 << 10];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload.into()
}
