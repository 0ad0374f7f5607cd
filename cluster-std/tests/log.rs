//! What an operator can read: enough, and never more than a disk can take. In a process of its own, for the threads of a
//! node write to the log of the whole process.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use cluster_std::{Config, Event, Node};

/// After so long a test has failed.
const DEADLINE: Duration = Duration::from_secs(30);

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

impl Kept {
    /// Of each line about a failed join, how many it says were left out before it.
    fn failed_joins(&self) -> Vec<u64> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains("join failed"));
        lines.map(|line| line.rsplit_once("suppressed=").unwrap().1.parse().unwrap()).collect()
    }
}

#[test]
fn what_happens_often_gets_few_lines_that_count_the_others() {
    const JOINS: u64 = 100;
    let kept = Kept::default();
    let writer = kept.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let (short, shorter) = (Duration::from_millis(300), Duration::from_millis(100));
    let config = Config::insecure_plaintext().local();
    let config = config.probe_timeout(shorter).handshake_timeout(short).join_timeout(short);
    let node = Node::bind("127.0.0.1:0", config).unwrap();
    let mut events = node.events();
    let mut failed = |count: u64| {
        let mut left = count;
        while left > 0 {
            let event = events.next_timeout(DEADLINE).expect("an event");
            left -= u64::from(matches!(event, Event::JoinFailed { .. }));
        }
    };
    // Nobody listens there.
    let joining: Vec<_> = (0..JOINS)
        .map(|host| {
            let (node, address) = (node.clone(), SocketAddr::from(([127, 0, 1, host as u8], 1)));
            thread::spawn(move || node.join(address))
        })
        .collect();
    for join in joining {
        assert!(join.join().unwrap().is_err());
    }
    failed(JOINS);
    let lines = kept.failed_joins();
    assert!((9..JOINS as usize).contains(&lines.len()), "{} lines", lines.len());

    // By the time of the next one there is room for a line again, which has the count of the rest.
    assert!(node.join("127.0.0.1:1").is_err());
    failed(1);
    // When all threads are over, they have written what they had to.
    node.leave_within(Duration::ZERO);
    let lines = kept.failed_joins();
    assert!(lines.last().is_some_and(|suppressed| *suppressed > 0), "{lines:?}");
    assert_eq!(lines.len() as u64 + lines.iter().sum::<u64>(), JOINS + 1);
}
