//! Slow paths with the buffers that real ones have: no link is lost while bytes move, and every byte is sent about once.
//!
//! A heartbeat waits behind the bytes that are queued before it in the kernel and in the path. On these paths that takes
//! longer than `peer_timeout`, 6.5 s by default: a node that counts only heartbeats, or whole records, as a sign of life
//! declares its peer dead, dials again, and sends the whole message once more.
//!
//! The gate sends as much as takes longer than `peer_timeout` and a dial. [`FULL`] asks for more.

use std::time::{Duration, Instant};

use crate::lab::{Lab, Pace};
use crate::process::{Process, start_mesh};
use crate::program::Program;

/// Set in the environment, every test sends as much as in the reports of users.
const FULL: &str = "CLUSTER_TEST_SLOW_LINKS";

const MEGABYTE: usize = 1_000_000;

on_both_adapters!(
    large_message_crosses_a_slow_link,
    message_crosses_a_link_with_seconds_of_buffer,
    broadcast_crosses_a_narrow_uplink,
    many_senders_share_a_narrow_downlink,
);

/// 10 MB at 1 Mbit/s; 1.25 MB in the gate.
fn large_message_crosses_a_slow_link(program: Program) {
    let pace = Pace { rate: "1mbit", burst: "16kb", latency: "400ms" };
    cross(program, pace, 125_000, size(10 * MEGABYTE, 5 * MEGABYTE / 4));
}

/// 200 KB at 64 kbit/s behind 2 s of buffer; 100 KB in the gate.
fn message_crosses_a_link_with_seconds_of_buffer(program: Program) {
    let pace = Pace { rate: "64kbit", burst: "4kb", latency: "2s" };
    cross(program, pace, 8_000, size(200_000, 100_000));
}

/// 1 MB to each of 20 peers through 10 Mbit/s; 600 KB in the gate.
fn broadcast_crosses_a_narrow_uplink(program: Program) {
    let Some(mut lab) = Lab::new() else { return };
    let hosts = lab.hosts(21);
    hosts[0].limit_uplink(TEN_MEGABIT);
    let mut nodes = start_mesh(program, &hosts);
    let payload = text(size(MEGABYTE, 600_000));
    let limit = allowance(20 * payload.len(), 1_250_000);
    let (sender, receivers) = nodes.split_first_mut().expect("there are 21");
    let before = Sent::by(sender);
    sender.say(&format!("broadcast {payload}"));
    receivers.iter_mut().for_each(|receiver| receiver.expect_text(&payload, limit));
    check_links(&nodes);
    check_bytes(&mut nodes[..1], &[before], 20 * payload.len(), 120);
}

/// 1 MB from each of 15 senders into 10 Mbit/s; 700 KB in the gate.
fn many_senders_share_a_narrow_downlink(program: Program) {
    let Some(mut lab) = Lab::new() else { return };
    let hosts = lab.hosts(16);
    hosts[0].limit_downlink(TEN_MEGABIT);
    let mut nodes = start_mesh(program, &hosts);
    let payload = text(size(MEGABYTE, 700_000));
    let limit = allowance(15 * payload.len(), 1_250_000);
    let (receiver, senders) = nodes.split_first_mut().expect("there are 16");
    let before: Vec<Sent> = senders.iter_mut().map(Sent::by).collect();
    senders.iter_mut().for_each(|sender| sender.say(&format!("send n0 {payload}")));
    senders.iter().for_each(|_| receiver.expect_text(&payload, limit));
    check_links(&nodes);
    // TCP alone takes 130 %: all senders overrun the buffer at once, and lose much.
    check_bytes(&mut nodes[1..], &before, payload.len(), 160);
}

const TEN_MEGABIT: Pace = Pace { rate: "10mbit", burst: "16kb", latency: "400ms" };

/// Sends one message between two hosts whose links are slow both ways, at this number of bytes a second.
fn cross(program: Program, pace: Pace, speed: usize, size: usize) {
    let Some(mut lab) = Lab::new() else { return };
    let hosts = lab.hosts(2);
    hosts.iter().for_each(|host| host.limit_uplink(pace));
    let mut nodes = start_mesh(program, &hosts);
    let payload = text(size);
    let [sender, receiver] = &mut nodes[..] else { unreachable!("there are two") };
    let before = Sent::by(sender);
    sender.say(&format!("send n1 {payload}"));
    receiver.expect_text(&payload, allowance(size, speed));
    check_links(&nodes);
    check_bytes(&mut nodes[..1], &[before], size, 120);
}

/// The larger size if the environment asks for it.
fn size(full: usize, in_the_gate: usize) -> usize {
    if std::env::var_os(FULL).is_some() { full } else { in_the_gate }
}

/// A text that differs everywhere, so that a missing or moved part shows.
fn text(size: usize) -> String {
    let mut text: String = (0..size / 8 + 1).map(|number| format!("{number:07} ")).collect();
    text.truncate(size - 1);
    text.push('.');
    text
}

/// Twice the time that the bytes take at this speed, and some for a machine that is busy.
fn allowance(bytes: usize, speed: usize) -> Duration {
    Duration::from_secs(20 + 2 * (bytes / speed) as u64)
}

/// The bytes that a node had sent at a moment.
struct Sent {
    counted: u64,
    left_host: u64,
    at: Instant,
}

impl Sent {
    fn by(node: &mut Process) -> Sent {
        Sent { counted: node.counter("bytes_sent"), left_host: node.host.sent(), at: Instant::now() }
    }
}

/// Checks that each of these nodes has sent a payload of this size once since it was measured before. The bytes that
/// left their hosts may be `percent` of that: headers take 5 %, and TCP repeats packets that a buffer has dropped.
fn check_bytes(nodes: &mut [Process], before: &[Sent], payload: usize, percent: u64) {
    let (mut all, mut left_hosts) = (0, 0);
    for (node, before) in nodes.iter_mut().zip(before) {
        let now = Sent::by(node);
        let (counted, payload) = (now.counted - before.counted, payload as u64);
        assert!(counted <= payload * 11 / 10, "{} sent {counted} bytes for {payload}", node.name);
        all += payload;
        left_hosts += now.left_host - before.left_host;
    }
    println!("{left_hosts} bytes left the hosts for {all}, {:?}", before[0].at.elapsed());
    assert!(left_hosts <= all * percent / 100, "{left_hosts} bytes left the hosts for {all}");
}

impl Process {
    fn expect_text(&mut self, text: &str, limit: Duration) {
        let message = self.expect_within("message", limit);
        let received = message["text"].as_str().expect("a text");
        assert!(received == text, "{} received {} of {} bytes", self.name, received.len(), text.len());
    }
}

/// Checks that no node has lost a peer or a message.
fn check_links(nodes: &[Process]) {
    let lost: Vec<String> =
        nodes.iter().flat_map(|node| node.reports_of(&["peer_down", "undelivered", "error"])).collect();
    assert!(lost.is_empty(), "{} reports of loss, first {:?}", lost.len(), &lost[..lost.len().min(5)]);
}
