//! Many nodes in one process form a mesh, and one of them is heard by all:
//! `cargo run --release -p cluster-tokio --example crowd -- 90`.

use std::time::{Duration, Instant};

use cluster_cli::{Cost, allow_descriptors};
use cluster_tokio::{Config, Node, PeerState, keys};

/// How long the mesh may take to form, and a broadcast to arrive.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().nth(1).map_or(Ok(90), |number| number.parse::<usize>())?;
    let links = count * count.saturating_sub(1) / 2;
    // A connection has two ends, and while a mesh forms some pairs have two connections for a moment.
    let descriptors = allow_descriptors((4 * links + 2 * count + 64) as u64)?;
    println!("{count} nodes, {links} links, {descriptors} descriptors allowed");

    let config = Config::new(keys::generate_secret()?);
    let (before, begin) = (Cost::now(), Instant::now());
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..count {
        let node = Node::bind("127.0.0.1:0", config.clone()).await?;
        if let Some(first) = nodes.first() {
            // It knows one, and finds the others by itself.
            node.add_seed(first.local_addr())?;
        }
        nodes.push(node);
    }
    while nodes.iter().any(|node| up(node) + 1 < count) {
        if begin.elapsed() > PATIENCE {
            let least = nodes.iter().map(up).min().unwrap_or_default();
            return Err(format!("no complete mesh within {PATIENCE:?}: a node has {least} peers").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("a complete mesh after {:.1} s", begin.elapsed().as_secs_f64());
    let dials: u64 = nodes.iter().map(|node| node.stats().dials).sum();
    println!("{dials} dials, {} descriptors open", std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count));
    if let (Ok(before), Ok(now)) = (before, Cost::now()) {
        let ends = 2 * links.max(1) as u64;
        println!("{} KiB of memory per end of a link", (now.memory_since(&before) / ends) >> 10);
    }

    let begin = Instant::now();
    let report = nodes[0].broadcast("Hello, crowd!")?;
    assert!(report.is_complete() && report.queued.len() == count - 1, "{report:?}");
    for node in &nodes[1..] {
        let message = tokio::time::timeout(PATIENCE, node.recv()).await??;
        assert_eq!((message.from.id, &message.payload[..]), (nodes[0].id(), &b"Hello, crowd!"[..]));
    }
    println!("a broadcast is with all of them after {:.1} ms", 1e3 * begin.elapsed().as_secs_f64());

    let begin = Instant::now();
    let leaving: Vec<_> = nodes.into_iter().map(|node| tokio::spawn(async move { node.leave().await })).collect();
    for left in leaving {
        assert_eq!(left.await?, 0, "everything was taken");
    }
    println!("all have left after {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn up(node: &Node) -> usize {
    node.peers().iter().filter(|peer| peer.state == PeerState::Up).count()
}
