//! Strangers that connect and say nothing, from the very IP of an honest node or from its /64, on real sockets.
//!
//! Rates of sources and places of sources depend on addresses that are not loopback. The strangers are this test program,
//! started once more on a host of the lab: it connects to one address of that lab, keeps eight connections open, and ends
//! when it is killed, or by itself after [`LONGEST`].

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{Host, Lab};
use crate::process::{Process, start_mesh};
use crate::program::Program;

on_every_adapter!(
    stranger_at_the_same_ip_keeps_no_newcomer_out,
    stranger_in_the_same_64_keeps_no_newcomer_out,
    members_pressed_at_both_ends_reconnect,
);

/// An honest node is up after this at the latest.
const UP: Duration = Duration::from_secs(10);

/// Strangers give up after this.
const LONGEST: Duration = Duration::from_secs(60);

/// The connections that a stranger keeps open.
const OPEN: usize = 8;

/// How often a stranger connects anew: 1.7 times a second, and 25 times.
const PACES: [Duration; 2] = [Duration::from_millis(590), Duration::from_millis(40)];

/// Tells this program, started by itself, where to connect, and how many milliseconds apart.
const PRESS: &str = "CLUSTER_TEST_PRESS";

/// A stranger on a host. Dropping it ends it.
struct Stranger(Child);

impl Stranger {
    /// Presses on a node from this host.
    fn start(host: &Host, address: &str, pace: Duration) -> Stranger {
        let mut command = host.command(&std::env::current_exe().expect("the test is a file"));
        command.args(["--exact", "crowds::stranger_connects_until_it_is_killed"]);
        command.env(PRESS, format!("{address} {}", pace.as_millis()));
        Stranger(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ip starts"))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The other side of [`Stranger::start`]; a test that does nothing where it is not asked to.
#[test]
fn stranger_connects_until_it_is_killed() {
    let Ok(order) = std::env::var(PRESS) else { return };
    let (address, pace) = order.split_once(' ').expect("an address and a pace");
    let (address, pace): (SocketAddr, u64) = (address.parse().unwrap(), pace.parse().unwrap());
    let (begin, pace) = (Instant::now(), Duration::from_millis(pace));
    let mut open = VecDeque::new();
    while begin.elapsed() < LONGEST {
        if open.len() == OPEN {
            open.pop_front();
        }
        open.extend(TcpStream::connect_timeout(&address, pace.max(Duration::from_millis(200))).ok());
        std::thread::sleep(pace);
    }
}

/// Waits until this many connections in all have pressed on a node.
fn pressed(node: &mut Process, connections: u64) {
    let end = Instant::now() + Duration::from_secs(20);
    while node.counter("accepts") < connections {
        assert!(Instant::now() < end, "{} is not pressed on", node.name);
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn stranger_at_the_same_ip_keeps_no_newcomer_out(program: Program) {
    let Some(mut lab) = Lab::new() else { return };
    for pace in PACES {
        let hosts = lab.hosts(2);
        let mut alice = Process::start(program, &hosts[0], "alice", &[]);
        let _stranger = Stranger::start(&hosts[1], &alice.address, pace);
        pressed(&mut alice, OPEN as u64 + 1);
        let mut bob = Process::start(program, &hosts[1], "bob", &["--join", &alice.address]);
        bob.expect_within("peer_up", UP);
        alice.expect_within("peer_up", UP);
    }
}

fn stranger_in_the_same_64_keeps_no_newcomer_out(program: Program) {
    let Some(mut lab) = Lab::new() else { return };
    for pace in PACES {
        let hosts = lab.hosts(3);
        let mut alice = Process::start_at(program, &hosts[0], hosts[0].v6.into(), "alice", &[]);
        let _stranger = Stranger::start(&hosts[2], &alice.address, pace);
        pressed(&mut alice, OPEN as u64 + 1);
        let mut bob = Process::start_at(program, &hosts[1], hosts[1].v6.into(), "bob", &["--join", &alice.address]);
        bob.expect_within("peer_up", UP);
        alice.expect_within("peer_up", UP);
    }
}

fn members_pressed_at_both_ends_reconnect(program: Program) {
    let Some(mut lab) = Lab::new() else { return };
    for pace in PACES {
        let hosts = lab.hosts(2);
        let mut nodes = start_mesh(program, &hosts);
        let [alice, bob] = &mut nodes[..] else { unreachable!() };
        // Each from the very IP of the other member.
        let _strangers =
            [Stranger::start(&hosts[1], &alice.address, pace), Stranger::start(&hosts[0], &bob.address, pace)];
        pressed(alice, OPEN as u64 + 2);
        pressed(bob, OPEN as u64 + 2);
        hosts[1].unplug();
        alice.expect("peer_down");
        bob.expect("peer_down");
        hosts[1].plug_in();
        alice.expect_within("peer_up", UP);
        bob.expect_within("peer_up", UP);
    }
}
