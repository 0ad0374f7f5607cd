//! A flood of strangers: those who belong in come in, and those who are in notice nothing.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cluster_tokio::{Config, Event, Node, Secret};

use crate::world::{until_complete, within};

/// How many connections with garbage are made a second, and how many it must have been on a busy machine.
const RATE: u32 = 1_000;
const LEAST_RATE: u32 = 250;

/// How many threads make them: one whose connection has to wait for a place in the queue of the system holds up no other.
const FLOODERS: u32 = 4;

/// How many connections say nothing at all, at any time.
const SILENT: usize = 500;

/// The same for all the nodes that are not in the centre of the flood.
const RATE_OF_OTHERS: u32 = 200;
const SILENT_OF_OTHERS: usize = 80;

/// How long messages go around under the flood. `CLUSTER_TEST_FLOODED_FOR` is another number of seconds.
const FLOODED_FOR: Duration = Duration::from_secs(5);

/// How much longer it may take on a busy machine until there was a flood for as long as that.
const PRESSED_BY: Duration = Duration::from_secs(60);

/// Presses on addresses in turns, from threads of its own, until it is dropped.
struct Flood {
    over: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Flood {
    fn on(targets: &[SocketAddr], rate: u32, silent: usize) -> Flood {
        let begin = Instant::now();
        let (over, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut threads = Vec::new();
        for flooder in 0..FLOODERS {
            let (over, made, targets) = (over.clone(), made.clone(), targets.to_vec());
            threads.push(thread::spawn(move || {
                for round in (flooder..).step_by(FLOODERS as usize) {
                    let target = targets[round as usize % targets.len()];
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Ok(mut stream) = TcpStream::connect_timeout(&target, Duration::from_secs(1)) {
                        let length = round as usize % 300;
                        let bytes: Vec<u8> = (0..length).map(|at| (at as u32 ^ round.wrapping_mul(31)) as u8).collect();
                        let _ = stream.write_all(&bytes);
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::sleep(
                        (begin + (round + 1) * Duration::from_secs(1) / rate).saturating_duration_since(Instant::now()),
                    );
                }
            }));
        }
        threads.push({
            let (over, targets) = (over.clone(), targets.to_vec());
            thread::spawn(move || {
                let mut held = std::collections::VecDeque::new();
                for target in targets.iter().cycle() {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    // Those that were closed by the node are replaced in turn.
                    if held.len() == silent {
                        held.pop_front();
                        thread::sleep(Duration::from_millis(10));
                    }
                    held.extend(TcpStream::connect_timeout(target, Duration::from_secs(1)));
                }
            })
        });
        Flood { over, made, threads }
    }

    fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

async fn bind(secret: &Secret) -> Node {
    Node::bind("127.0.0.1:0", Config::new(secret.clone()).local()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_flood_of_strangers_a_node_joins_and_a_mesh_loses_neither_link_nor_message() {
    let secret = Secret::from_bytes([7; 32]);
    let mut nodes = Vec::new();
    for _ in 0..5 {
        nodes.push(bind(&secret).await);
    }
    for node in &nodes[1..] {
        node.join(nodes[0].local_addr()).await.unwrap();
    }
    until_complete(&nodes).await;
    let mut events: Vec<_> = nodes.iter().map(Node::events).collect();
    for events in &mut events {
        while events.try_next().is_some() {}
    }

    let target = nodes[0].local_addr();
    let flood = Flood::on(&[target], RATE, SILENT);
    let others: Vec<SocketAddr> = nodes[1..].iter().map(Node::local_addr).collect();
    let flood_of_others = Flood::on(&others, RATE_OF_OTHERS, SILENT_OF_OTHERS);
    let begin = Instant::now();
    while flood.made() < 500 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(begin.elapsed() < Duration::from_secs(30), "the flood does not rise");
    }

    let newcomer = bind(&secret).await;
    let begin = Instant::now();
    within("join", newcomer.join(target)).await.unwrap();
    let joined = begin.elapsed();
    assert!(joined < Duration::from_secs(10), "{joined:?}");
    nodes.push(newcomer);
    until_complete(&nodes).await;

    let span = std::env::var("CLUSTER_TEST_FLOODED_FOR").ok().and_then(|seconds| seconds.parse().ok());
    let span = span.map_or(FLOODED_FOR, Duration::from_secs);
    let made = || [flood.made(), flood_of_others.made()];
    let is_flood = |rates: [u64; 2]| rates[0] >= u64::from(LEAST_RATE) && rates[1] >= u64::from(RATE_OF_OTHERS / 2);
    let begin = Instant::now();
    let (mut window, mut before, mut rates) = (begin, made(), [0; 2]);
    let mut rounds = 0_u64;
    while !is_flood(rates) && begin.elapsed() < span + PRESSED_BY {
        for node in &nodes {
            node.broadcast(rounds.to_be_bytes().to_vec()).unwrap();
        }
        for node in &nodes {
            let mut from = BTreeMap::new();
            while from.len() < nodes.len() - 1 {
                let message = within("message", node.recv()).await.unwrap();
                assert_eq!(message.payload, rounds.to_be_bytes()[..]);
                assert!(from.insert(message.from, ()).is_none(), "twice");
            }
        }
        rounds += 1;
        let elapsed = window.elapsed();
        if elapsed >= span {
            let now = made();
            rates = [0, 1].map(|of| ((now[of] - before[of]) as f64 / elapsed.as_secs_f64()) as u64);
            (window, before) = (Instant::now(), now);
        }
    }
    let stats = nodes[0].stats();
    println!("joined in {joined:?}; {rates:?} connections of garbage a second, {:?} in all", made());
    println!("{rounds} rounds; {stats:?}");
    drop((flood, flood_of_others));
    assert!(is_flood(rates), "{rates:?} is no flood");
    for node in &nodes[..5] {
        assert!(node.stats().failed_handshakes > 0, "{} was not pressed on", node.id());
    }
    assert!(rounds > 10);
    for (node, events) in nodes.iter().zip(&mut events) {
        while let Some(event) = events.try_next() {
            assert!(!matches!(event, Event::PeerDown { .. } | Event::Undelivered(_)), "{}: {event:?}", node.id());
        }
    }
}
