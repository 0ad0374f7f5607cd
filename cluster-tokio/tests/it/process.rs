//! A receiver that is a process of its own: it is killed, or its user stops taking messages.
//!
//! It is this very test program, told by its environment to play the receiver.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cluster_conformance::{Faults, Pieces, Proxy, Way as _};
use cluster_tokio::{Acknowledge, Event, Limits, Node, NodeId, Undelivered};

use crate::world::{bind, bind_with, local, until, within};

/// Where the receiver is to be dialled.
const ADVERTISE: &str = "CLUSTER_TEST_ADVERTISE";
/// Its id.
const ID: &str = "CLUSTER_TEST_ID";
/// How long the user of a receiver takes nothing, in seconds: a minute is what the promise was tried with.
const STOPPED_FOR: &str = "CLUSTER_TEST_STOPPED_FOR";

const MESSAGES: u64 = 200_000;

/// What a receiver may need on top of its limits: tables, a record for each link, what its allocator keeps.
#[cfg(target_os = "linux")]
const OVERHEAD: u64 = 1 << 20;

/// Bounds of a receiver that can be told apart from what a process has in use anyway.
fn narrow() -> Limits {
    let mut limits = Limits::default();
    limits.max_peers = 2;
    limits.max_message = 64 << 10;
    limits.send_window = 512 << 10;
    limits.recv_window = 1 << 20;
    limits.recv_budget = 2 << 20;
    limits
}

fn numbered(number: u64) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(8 + (number % 32) as usize, 7);
    payload
}

fn number(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload[..8].try_into().unwrap())
}

/// The receiver: says where it is, then the number of each message that it takes, and only then that it has dealt with
/// it. It begins when it is told to, by a line, and ends when its input does.
#[tokio::test]
async fn plays_the_receiver() {
    let (Ok(advertise), Ok(id)) = (std::env::var(ADVERTISE), std::env::var(ID)) else { return };
    let config = local()
        .reconnect(Duration::from_millis(1), Duration::from_millis(10))
        .stable_after(Duration::ZERO)
        .acknowledge(Acknowledge::Manual)
        .limits(narrow())
        .node_id(id.parse().unwrap());
    let advertise: Option<SocketAddr> = advertise.parse().ok();
    let node = bind_with(advertise.into_iter().fold(config, cluster_tokio::Config::advertise)).await;
    println!("\nlistening {}", node.local_addr());
    let begin = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().is_some());
    assert!(begin.await.unwrap(), "told to begin");
    std::thread::spawn(|| {
        if std::io::stdin().lines().next().is_none() {
            std::process::exit(0);
        }
    });
    let mut messages = Vec::new();
    loop {
        node.recv_many(&mut messages, 4_096).await.unwrap();
        let mut text = String::new();
        for message in &messages {
            text.push_str(&format!("took {}\n", number(&message.payload)));
        }
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).unwrap();
        out.flush().unwrap();
        drop(out);
        messages.drain(..).for_each(|message| node.acknowledge(message.receipt));
    }
}

/// A process that plays the receiver, and what it has taken.
struct Receiver {
    child: Child,
    address: SocketAddr,
    taken: Arc<Mutex<Vec<u64>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    fn start(id: NodeId, advertise: Option<SocketAddr>) -> Receiver {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["process::plays_the_receiver", "--exact", "--nocapture"])
            .env(ADVERTISE, advertise.map_or("nowhere".into(), |address| address.to_string()))
            .env(ID, id.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        // The last line of who is killed may be torn.
        let mut lines = std::iter::from_fn(move || {
            let mut line = String::new();
            output.read_line(&mut line).ok()?;
            line.ends_with('\n').then(|| line.trim_end().to_owned())
        });
        let address = lines.find_map(|line| line.strip_prefix("listening ")?.parse().ok()).unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&taken);
        let reader = std::thread::spawn(move || {
            for line in lines {
                all.lock().unwrap().extend(line.strip_prefix("took ").and_then(|number| number.parse::<u64>().ok()));
            }
        });
        Receiver { child, address, taken, reader: Some(reader) }
    }

    fn begin(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap(), "begin").unwrap();
    }

    /// Kills it. What it had taken.
    fn kill(&mut self) -> Vec<u64> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        std::mem::take(&mut self.taken.lock().unwrap())
    }

    fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// Bytes of memory that it has in use.
    #[cfg(target_os = "linux")]
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends the numbers of a range, each of them accepted.
async fn send_all(node: &Node, to: NodeId, numbers: std::ops::Range<u64>) {
    for next in numbers {
        node.send(to, numbered(next)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_killed_between_cuts_leaves_no_message_unaccounted_for() {
    let faults = Faults { pieces: Pieces::Random, life: Some(10_000..=150_000), ..Faults::default() };
    let cutters = [3, 4].map(|seed| Proxy::bind(seed, faults.clone()).expect("a port of loopback is free"));
    let swift = local().reconnect(Duration::from_millis(1), Duration::from_millis(10)).stable_after(Duration::ZERO);
    let alice = bind_with(swift.advertise(cutters[0].address())).await;
    cutters[0].lead_to(alice.local_addr());
    let id = NodeId::from_bytes(*b"the one who dies");
    let mut events = alice.events();

    let mut first = Receiver::start(id, Some(cutters[1].address()));
    first.begin();
    cutters[1].lead_to(first.address);
    within("a join", alice.join(cutters[1].address())).await.unwrap();
    let half = MESSAGES / 2;
    send_all(&alice, id, 0..half).await;
    // In the middle of things: a window of messages is on its way.
    let taken = first.kill();
    send_all(&alice, id, half..half + 1_000).await;

    let mut second = Receiver::start(id, Some(cutters[1].address()));
    second.begin();
    cutters[1].lead_to(second.address);
    let (mut not_delivered, mut in_doubt, mut delivered) = (BTreeSet::new(), BTreeSet::new(), 0);
    within("the later run", async {
        let mut gone = false;
        loop {
            match events.next().await.unwrap() {
                Event::Undelivered(Undelivered { not_delivered: not, in_doubt: doubt, .. }) => {
                    not_delivered.extend(not.iter().map(|payload| number(payload)));
                    in_doubt.extend(doubt.iter().map(|payload| number(payload)));
                }
                Event::Delivered { messages, .. } => delivered = messages,
                Event::PeerGone { .. } => gone = true,
                Event::PeerUp(_) if gone => break,
                _ => {}
            }
        }
    })
    .await;
    assert!(taken.iter().copied().eq(0..taken.len() as u64), "each once, in order, and none left out");
    let taken: BTreeSet<u64> = taken.into_iter().collect();
    let delivered: BTreeSet<u64> = (0..delivered).collect();
    assert!(delivered.is_subset(&taken), "it said so before it acknowledged");
    assert!(taken.is_disjoint(&not_delivered));
    assert!(delivered.is_disjoint(&in_doubt) && in_doubt.is_disjoint(&not_delivered));
    assert!(taken.is_subset(&(&delivered | &in_doubt)));
    let accounted = &(&delivered | &in_doubt) | &not_delivered;
    assert_eq!(accounted, (0..half + 1_000).collect());
    assert!(!in_doubt.is_empty() && !not_delivered.is_empty());

    // And with the later run everything goes on.
    send_all(&alice, id, half + 1_000..MESSAGES).await;
    within("the flush", alice.flush(id)).await.unwrap();
    assert_eq!(second.kill(), (half + 1_000..MESSAGES).collect::<Vec<u64>>());
    let cuts: usize = cutters.iter().map(Proxy::cuts).sum();
    assert!(cuts >= 20, "only {cuts} cuts");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_takes_nothing_costs_its_node_a_window_and_delays_nobody_else() {
    let stopped_for: u64 = std::env::var(STOPPED_FOR).map_or(5, |seconds| seconds.parse().unwrap());
    let [alice, carol] = [bind().await, bind().await];
    let id = NodeId::from_bytes(*b"the one who naps");
    let mut sleeper = Receiver::start(id, None);
    within("a join", alice.join(sleeper.address)).await.unwrap();
    within("a join", carol.join(alice.local_addr())).await.unwrap();
    until("the mesh is complete", || [&alice, &carol].iter().all(|node| node.peers().len() == 2)).await;
    let mut events = [alice.events(), carol.events()];
    let idle = sleeper.memory();

    let sent = Arc::new(AtomicU64::new(0));
    let flood = {
        let (alice, sent) = (alice.clone(), Arc::clone(&sent));
        tokio::spawn(async move {
            loop {
                let next = sent.load(Ordering::SeqCst);
                let mut payload = numbered(next);
                payload.resize(1_000, 0);
                alice.send(id, payload).await.unwrap();
                sent.store(next + 1, Ordering::SeqCst);
            }
        })
    };
    until("the window is full", || alice.stats().send_window_limit > 0).await;
    let (before, accepted) = (sleeper.memory(), sent.load(Ordering::SeqCst));
    let end = Instant::now() + Duration::from_secs(stopped_for);
    let mut took = Vec::new();
    while Instant::now() < end {
        let asked = Instant::now();
        alice.send(carol.id(), "ping").await.unwrap();
        within("a ping", carol.recv()).await.unwrap();
        carol.send(alice.id(), "pong").await.unwrap();
        within("a pong", alice.recv()).await.unwrap();
        took.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (after, grown) = (sleeper.memory(), sent.load(Ordering::SeqCst) - accepted);
    let most = narrow().max_memory() + OVERHEAD;
    println!(
        "memory: {idle} bytes idle, {before} with a full window, {after} at the end, at most {most} more than idle"
    );
    assert!(before.max(after) <= idle + most, "from {idle} to {before} and {after} bytes");
    assert!(after <= before + OVERHEAD, "from {before} to {after} bytes");
    assert!(grown <= 1, "{grown} more were accepted");
    took.sort();
    let (usual, slowest) = (took[took.len() * 95 / 100], took[took.len() - 1]);
    println!("{} round trips of others, 95 % within {usual:?}, all within {slowest:?}", took.len());
    assert!(usual < Duration::from_millis(100) && slowest < Duration::from_secs(2), "{usual:?}, {slowest:?}");
    for events in &mut events {
        while let Some(event) = events.try_next() {
            assert!(!matches!(event, Event::PeerDown { .. }), "{event:?}");
        }
    }
    flood.abort();
    let _ = flood.await;
    let accepted = sent.load(Ordering::SeqCst);
    sleeper.begin();
    within("the flush", alice.flush(id)).await.unwrap();
    until("all are taken", || sleeper.count() as u64 >= accepted).await;
    let taken = sleeper.kill();
    // A send that waits for room when it is dropped has not been accepted.
    assert!(taken.iter().copied().eq(0..accepted), "{} of {accepted}, or not in order", taken.len());
    assert_eq!(alice.stats().messages_undelivered, 0);
}
