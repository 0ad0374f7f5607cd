//! What connected peers cost that say nothing: `cargo run --release -p cluster-std --example idle-std -- 41`.
//!
//! So many nodes in one process, all connected to each other: each has one peer fewer. The default timing.

use std::thread;
use std::time::{Duration, Instant};

use cluster_cli::{Cost, allow_descriptors};
use cluster_std::{Config, Node, PeerState, keys};

/// How long the mesh may take to form.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long what the beginning took has to be given back, and how long is measured.
const REST: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().nth(1).map_or(Ok(41), |number| number.parse::<usize>())?.max(2);
    // A connection has two ends, and while a mesh forms some pairs have two connections for a moment.
    allow_descriptors((3 * count * count / 2 + 64) as u64)?;
    let config = Config::new(keys::generate_secret()?);
    let (empty, begin) = (Cost::now()?, Instant::now());
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..count {
        let node = Node::bind("127.0.0.1:0", config.clone())?;
        if let Some(first) = nodes.first() {
            node.add_seed(first.local_addr())?;
        }
        nodes.push(node);
    }
    while nodes.iter().any(|node| up(node) + 1 < count) {
        if begin.elapsed() > PATIENCE {
            return Err(format!("no complete mesh within {PATIENCE:?}").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(REST);
    let before = Cost::now()?;
    thread::sleep(MEASURED);
    let after = Cost::now()?;
    assert!(nodes.iter().all(|node| up(node) + 1 == count), "a peer was lost");

    let (peers, ends) = (count - 1, count * (count - 1));
    let (percent, memory) = (100.0 * after.cores_since(&before), after.memory_since(&empty));
    println!("{count} nodes with {peers} peers each, for {MEASURED:?}");
    println!("{:.2} % of one core per node, {:.4} % per peer", percent / count as f64, percent / ends as f64);
    println!("{:.1} KiB of memory per peer", memory as f64 / ends as f64 / 1024.0);
    Ok(())
}

fn up(node: &Node) -> usize {
    node.peers().iter().filter(|peer| peer.state == PeerState::Up).count()
}
