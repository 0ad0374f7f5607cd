//! An example `node` that runs on a host, driven by its commands and its reports in JSON.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::Host;
use crate::program::Program;

/// The longest wait for something that takes no transfer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A mesh is there after this at the latest, also while other tests flood theirs.
const START: Duration = Duration::from_secs(60);

/// The pause between two looks at a condition that no report announces.
const PAUSE: Duration = Duration::from_millis(50);

/// The port of every node: each has a host of its own.
const PORT: u16 = 7000;

/// A secret that all nodes of a test have.
pub(crate) const SECRET: &str = "5eac2e7b19c04f6d8a3e0b4fd19265c75eac2e7b19c04f6d8a3e0b4fd19265c7";

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    reports: Arc<Reports>,
    /// Reports before this one were returned or passed over.
    next: usize,
    pub(crate) host: Host,
    pub(crate) name: String,
    pub(crate) id: String,
    /// Where others join this node.
    pub(crate) address: String,
}

/// The reports of a process.
#[derive(Debug, Default)]
struct Reports {
    all: Mutex<All>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct All {
    reports: Vec<Value>,
    ended: bool,
}

impl Process {
    /// Starts a node with the secret of all tests, listening at the IPv4 address of the host.
    pub(crate) fn start(program: Program, host: &Host, name: &str, arguments: &[&str]) -> Process {
        Process::start_at(program, host, host.v4.into(), name, arguments)
    }

    /// Starts a node with the secret of all tests at this address of the host.
    pub(crate) fn start_at(program: Program, host: &Host, address: IpAddr, name: &str, arguments: &[&str]) -> Process {
        let listen = SocketAddr::new(address, PORT).to_string();
        let own = ["--listen", &listen, "--name", name, "--secret", SECRET];
        let mut process = Process::spawn(program, host, name, &[&own, arguments].concat());
        let listening = process.expect("listening");
        process.id = listening["id"].as_str().expect("an id is text").into();
        process.address = listening["address"].as_str().expect("an address is text").into();
        process
    }

    /// Starts the program with these arguments and `--json`.
    pub(crate) fn spawn(program: Program, host: &Host, name: &str, arguments: &[&str]) -> Process {
        let mut command = host.command(&program.path());
        command.arg("--json").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("ip starts");
        let reports = Arc::new(Reports::default());
        let (to, stdout) = (Arc::clone(&reports), child.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                to.change(|all| all.reports.push(serde_json::from_str(&line).unwrap_or(Value::String(line))));
            }
            to.change(|all| all.ended = true);
        });
        let stdin = child.stdin.take();
        let (host, name) = (host.clone(), name.into());
        Process { child, stdin, reports, next: 0, host, name, id: String::new(), address: String::new() }
    }

    /// Writes a command to stdin. A long one blocks until the node has read it.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("stdin is open"), "{line}").expect("the node reads its commands");
    }

    /// Returns the next report of this kind and passes over those before it.
    pub(crate) fn expect(&mut self, event: &str) -> Value {
        self.expect_within(event, DEADLINE)
    }

    /// Returns the next report of this kind. Fails the test if it does not come in time.
    pub(crate) fn expect_within(&mut self, event: &str, limit: Duration) -> Value {
        let end = Instant::now() + limit;
        let mut all = self.reports.lock();
        loop {
            if let Some(index) = (self.next..all.reports.len()).find(|index| all.reports[*index]["event"] == event) {
                self.next = index + 1;
                return all.reports[index].clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            let last: Vec<String> = all.reports.iter().rev().take(3).map(shortened).collect();
            assert!(!left.is_zero(), "{} did not report {event} within {limit:?}; last: {last:?}", self.name);
            assert!(!all.ended, "{} ended without {event}; last: {last:?}", self.name);
            all = self.reports.more.wait_timeout(all, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks for the value of a counter.
    pub(crate) fn counter(&mut self, name: &str) -> u64 {
        self.say("stats");
        self.expect("stats")[name].as_u64().unwrap_or_else(|| panic!("no counter {name}"))
    }

    /// Asks for the ids of the peers that are up.
    pub(crate) fn peers(&mut self) -> BTreeSet<String> {
        self.say("peers");
        let report = self.expect("peers");
        let peers = report["peers"].as_array().expect("peers are a list");
        let up = peers.iter().filter(|peer| peer["state"] == "up");
        up.map(|peer| peer["id"].as_str().expect("an id is text").to_owned()).collect()
    }

    /// Every report of these kinds since the start, in short.
    pub(crate) fn reports_of(&self, kinds: &[&str]) -> Vec<String> {
        let all = self.reports.lock();
        let wanted = all.reports.iter().filter(|report| kinds.iter().any(|kind| report["event"] == *kind));
        wanted.map(|report| format!("{}: {}", self.name, shortened(report))).collect()
    }

    /// Sends a signal, as `kill -s` names it.
    pub(crate) fn signal(&self, name: &str) {
        let status = std::process::Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill exists").success());
    }

    /// Waits until the process has a socket for questions to this name server, so its look-up is under way.
    pub(crate) fn await_question(&self, server: Ipv4Addr) {
        // The kernel shows addresses as numbers of the machine's byte order.
        let remote = format!(" {:08X}:0035 ", u32::from_ne_bytes(server.octets()));
        let sockets = format!("/proc/{}/net/udp", self.child.id());
        let end = Instant::now() + DEADLINE;
        while !std::fs::read_to_string(&sockets).is_ok_and(|sockets| sockets.contains(&remote)) {
            assert!(Instant::now() < end, "{} does not ask {server}", self.name);
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits for the end of the process. Fails the test if it does not come in time.
    pub(crate) fn exit_within(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("the process is our child") {
                return status;
            }
            assert!(Instant::now() < end, "{} did not end within {limit:?}", self.name);
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reports {
    /// Survives a test that fails while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut All)) {
        change(&mut self.lock());
        self.more.notify_all();
    }
}

/// A report without the end of a long text.
fn shortened(report: &Value) -> String {
    report.to_string().chars().take(200).collect()
}

/// Starts a node on each host, `n0`, `n1` and so on, which join the first. Waits until all are connected.
pub(crate) fn start_mesh(program: Program, hosts: &[Host]) -> Vec<Process> {
    let mut nodes: Vec<Process> = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let first = nodes.first().map(|first| first.address.clone());
        // A join expires while other tests keep the machine busy; the node tries a seed again.
        let seed: Vec<&str> = first.iter().flat_map(|address| ["--seed", address.as_str()]).collect();
        nodes.push(Process::start(program, host, &format!("n{number}"), &seed));
    }
    let ids: BTreeSet<String> = nodes.iter().map(|node| node.id.clone()).collect();
    let end = Instant::now() + START;
    for node in &mut nodes {
        let others: BTreeSet<String> = ids.iter().filter(|id| **id != node.id).cloned().collect();
        loop {
            let peers = node.peers();
            if peers == others {
                break;
            }
            assert!(Instant::now() < end, "{} has {} of {} peers", node.name, peers.len(), others.len());
            std::thread::sleep(PAUSE);
        }
    }
    nodes
}
