//! What an operator can read: enough, and never more than a disk can take.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster_tokio::{Event, Node};
use tracing_subscriber::fmt::MakeWriter;

use crate::world::{bind_with, event, local, within};

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Kept;

    fn make_writer(&'a self) -> Kept {
        self.clone()
    }
}

impl Kept {
    /// Of each line about a failed join at this node, how many it says were left out before it.
    fn failed_joins(&self, node: &Node) -> Vec<u64> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let node = format!("node={:?}", node.id());
        let lines = text.lines().filter(|line| line.contains("join failed") && line.contains(&node));
        let suppressed = lines.map(|line| line.rsplit_once("suppressed=").unwrap().1.parse().unwrap());
        suppressed.collect()
    }
}

#[tokio::test]
async fn what_happens_often_gets_few_lines_that_count_the_others() {
    const JOINS: u64 = 100;
    let kept = Kept::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false).with_writer(kept.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let (short, shorter) = (Duration::from_millis(300), Duration::from_millis(100));
    let node = bind_with(local().probe_timeout(shorter).handshake_timeout(short).join_timeout(short)).await;
    let mut events = node.events();
    // Nobody listens there.
    let joining = (0..JOINS).map(|host| {
        let (node, address) = (node.clone(), SocketAddr::from(([127, 0, 1, host as u8], 1)));
        tokio::spawn(async move { node.join(address).await })
    });
    for join in joining.collect::<Vec<_>>() {
        assert!(within("a join", join).await.unwrap().is_err());
    }
    for _ in 0..JOINS {
        event(&mut events, "it failed", |event| matches!(event, Event::JoinFailed { .. }).then_some(())).await;
    }
    let lines = kept.failed_joins(&node);
    assert!((10..JOINS as usize).contains(&lines.len()), "{} lines", lines.len());

    // By the time of the next one there is room for a line again, which has the count of the rest.
    assert!(within("a join", node.join("127.0.0.1:1")).await.is_err());
    event(&mut events, "it failed", |event| matches!(event, Event::JoinFailed { .. }).then_some(())).await;
    let lines = kept.failed_joins(&node);
    assert!(lines.last().is_some_and(|suppressed| *suppressed > 0), "{lines:?}");
    assert_eq!(lines.len() as u64 + lines.iter().sum::<u64>(), JOINS + 1);
}
