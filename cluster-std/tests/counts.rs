//! Nothing is left of a node: no thread and no descriptor. One test at a time, because both belong to the process.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cluster_std::{Config, Node, PeerState};

const DEADLINE: Duration = Duration::from_secs(30);

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many threads of nodes there are, by name, and how many descriptors of sockets.
#[derive(Debug, PartialEq, Eq)]
struct Count {
    threads: BTreeMap<String, usize>,
    sockets: usize,
}

impl Count {
    const NOTHING: Count = Count { threads: BTreeMap::new(), sockets: 0 };

    fn now() -> Count {
        let mut threads = BTreeMap::new();
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            // One that ends in between has no state any more.
            let Ok(stat) = std::fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
            if let Some(name) = running(&stat).and_then(|name| name.strip_prefix("cluster-")) {
                *threads.entry(name.to_owned()).or_default() += 1;
            }
        }
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
        let links = descriptors.filter_map(|path| std::fs::read_link(path).ok());
        let sockets = links.filter(|link| link.to_string_lossy().starts_with("socket:")).count();
        Count { threads, sockets }
    }

    fn of(threads: &[(&str, usize)], sockets: usize) -> Count {
        Count { threads: threads.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(), sockets }
    }
}

/// The name in a task's `stat`, unless the task is ending: a join returns before the kernel takes the task off its list,
/// so a thread that is joined may still be on it, marked as exiting (proc(5), `flags`).
fn running(stat: &str) -> Option<&str> {
    const PF_EXITING: u64 = 4;
    let (head, tail) = stat.rsplit_once(')')?;
    let flags: u64 = tail.split_whitespace().nth(6)?.parse().ok()?;
    let (_, name) = head.split_once('(')?;
    (flags & PF_EXITING == 0).then_some(name)
}

/// Waits for what takes a moment, such as the end of threads that nobody waits for.
fn until(expected: &Count) {
    let end = Instant::now() + DEADLINE;
    while Count::now() != *expected {
        assert!(Instant::now() < end, "{:?} instead of {expected:?}", Count::now());
        thread::sleep(Duration::from_millis(2));
    }
}

fn bind() -> Node {
    Node::bind("127.0.0.1:0", Config::insecure_plaintext().local()).unwrap()
}

fn mesh(count: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (0..count).map(|_| bind()).collect();
    for node in &nodes[1..] {
        node.join(nodes[0].local_addr()).unwrap();
    }
    let end = Instant::now() + DEADLINE;
    let is_up = |node: &Node| node.peers().iter().filter(|peer| peer.state == PeerState::Up).count() == count - 1;
    while !nodes.iter().all(is_up) {
        assert!(Instant::now() < end, "the mesh is not complete");
        thread::sleep(Duration::from_millis(2));
    }
    nodes
}

#[test]
fn a_mesh_at_rest_has_two_threads_a_node_and_one_a_link() {
    let _alone = alone();
    let nodes = mesh(4);
    nodes[0].broadcast("hello").unwrap();
    // A writer that was needed goes when it is needed no more.
    until(&Count::of(&[("accept", 4), ("loop", 4), ("link", 12)], 4 + 12));
    for node in nodes {
        node.leave_within(Duration::ZERO);
    }
    assert_eq!(Count::now(), Count::NOTHING);
}

#[test]
fn nothing_is_left_when_leave_returns() {
    let _alone = alone();
    for round in 0..20 {
        let nodes = mesh(3);
        for number in 0..round * 20 {
            nodes[0].broadcast(format!("{number}")).unwrap();
        }
        let leaving: Vec<_> =
            nodes.iter().cloned().map(|node| thread::spawn(move || node.leave_within(Duration::ZERO))).collect();
        for leaving in leaving {
            leaving.join().unwrap();
        }
        assert_eq!(Count::now(), Count::NOTHING, "round {round}");
    }
}

#[test]
fn a_node_can_leave_at_any_moment_of_anything() {
    let _alone = alone();
    // Silent: takes connections and says nothing. Full: takes no connection, once its backlog is.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let bob = bind();
    for round in 0..60 {
        let alice = bind();
        let targets = [silent.local_addr().unwrap(), bob.local_addr(), "192.0.2.1:9".parse().unwrap()];
        let joining: Vec<_> = targets
            .map(|target| {
                let alice = alice.clone();
                thread::spawn(move || drop(alice.join(target)))
            })
            .into();
        let stranger = TcpStream::connect(alice.local_addr()).unwrap();
        thread::sleep(Duration::from_micros(round * 50));
        let _ = alice.broadcast(vec![7; 1 << 20]);
        let begin = Instant::now();
        alice.leave_within(Duration::ZERO);
        // Up to a second is for saying goodbye.
        assert!(begin.elapsed() < Duration::from_secs(3), "round {round}: {:?}", begin.elapsed());
        joining.into_iter().for_each(|joining| joining.join().unwrap());
        drop(stranger);
        assert!(alice.try_recv().is_err());
    }
    bob.leave_within(Duration::ZERO);
    drop(silent);
    assert_eq!(Count::now(), Count::NOTHING);
}

#[test]
fn nothing_is_left_soon_after_the_last_handle_is_dropped() {
    let _alone = alone();
    let nodes = mesh(4);
    nodes[0].try_send(nodes[1].id(), vec![7; 4 << 20]).unwrap();
    let events = nodes[0].events();
    drop(nodes);
    until(&Count::NOTHING);
    events.for_each(drop);

    let alice = bind();
    alice.add_seed("192.0.2.1:9").unwrap();
    alice.add_seed(alice.local_addr()).unwrap();
    drop(alice);
    until(&Count::NOTHING);
}

#[test]
fn links_that_end_leave_neither_thread_nor_socket() {
    let _alone = alone();
    let alice = bind();
    for round in 0..100_u32 {
        let mut stream = TcpStream::connect(alice.local_addr()).unwrap();
        match round % 4 {
            0 => {}
            1 => stream.write_all(&round.to_le_bytes()).unwrap(),
            2 => drop(stream.write_all(&[7; 70_000])),
            _ => {
                let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
                let _ = stream.read(&mut [0; 64]);
            }
        }
    }
    for _ in 0..20 {
        let bob = bind();
        bob.join(alice.local_addr()).unwrap();
        drop(bob);
    }
    until(&Count::of(&[("accept", 1), ("loop", 1)], 1));
    alice.leave();
    assert_eq!(Count::now(), Count::NOTHING);
}
