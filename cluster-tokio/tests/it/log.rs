//! What an operator can read: enough, and never more than a disk can take.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster_tokio::cluster_core::adapter::LOG_BURST;
use cluster_tokio::{Config, Event, Node};
use tracing_subscriber::fmt::MakeWriter;

use crate::world::{bind_with, event, within};

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
    let node = bind_with(Config::insecure_plaintext().join_timeout(Duration::from_millis(10))).await;
    let mut events = node.events();
    let mut fail = async |joins: u64| {
        for _ in 0..joins {
            assert!(within("a join", node.join("127.0.0.1:1")).await.is_err());
            event(&mut events, "it failed", |event| matches!(event, Event::JoinFailed { .. }).then_some(())).await;
        }
    };
    let begin = std::time::Instant::now();
    fail(JOINS).await;
    let lines = kept.failed_joins(&node);
    let earned = begin.elapsed().as_millis() as u64 / 100;
    assert!((10..=u64::from(LOG_BURST) + earned).contains(&(lines.len() as u64)), "{} lines", lines.len());

    // None is lost from the count: as soon as there is a line again, it has the rest.
    let mut joins = JOINS;
    loop {
        fail(1).await;
        joins += 1;
        let lines = kept.failed_joins(&node);
        let told = lines.len() as u64 + lines.iter().sum::<u64>();
        if told == joins && lines.iter().sum::<u64>() > 0 {
            break;
        }
        assert!(told < joins && joins < 100_000, "{told} of {joins}");
    }
}
