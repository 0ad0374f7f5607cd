//! The lab itself: hosts reach each other, nodes on them connect, and a message arrives.

use std::time::{Duration, Instant};

use crate::lab::{Lab, Pace};
use crate::process::{DEADLINE, Process, start_mesh};
use crate::program::Program;

on_every_adapter!(
    three_hosts_form_a_mesh,
    node_listens_at_an_ipv6_address,
    pace_slows_a_message_down,
    signal_ends_a_node_with_a_goodbye,
);

fn three_hosts_form_a_mesh(program: Program) {
    let Some(mut lab) = Lab::new() else { return };
    let mut nodes = start_mesh(program, &lab.hosts(3));
    let [_, bob, carol] = &mut nodes[..] else { unreachable!() };
    let before = carol.host.sent();
    carol.say("send n1 from another host");
    let message = bob.expect("message");
    assert_eq!((&message["name"], &message["text"]), (&"n2".into(), &"from another host".into()));
    assert!(carol.host.sent() > before, "the message left its host");
}

fn node_listens_at_an_ipv6_address(program: Program) {
    let Some(mut lab) = Lab::new() else { return };
    let hosts = lab.hosts(2);
    let mut alice = Process::start_at(program, &hosts[0], hosts[0].v6.into(), "alice", &[]);
    let mut bob = Process::start_at(program, &hosts[1], hosts[1].v6.into(), "bob", &["--join", &alice.address]);
    assert_eq!(bob.expect("peer_up")["address"], alice.address[..]);
    assert_eq!(alice.expect("peer_up")["address"], bob.address[..]);
}

fn pace_slows_a_message_down(program: Program) {
    let Some(mut lab) = Lab::new() else { return };
    let mut nodes = start_mesh(program, &lab.hosts(2));
    nodes[0].host.limit(Pace { rate: "1mbit", burst: "16kb", latency: "400ms" });
    let [sender, receiver] = &mut nodes[..] else { unreachable!() };
    let (begin, before) = (Instant::now(), sender.counter("bytes_sent"));
    sender.say(&format!("send n1 {}", "x".repeat(125_000)));
    receiver.expect("message");
    // A second, less the bytes that pass at once.
    assert!(begin.elapsed() > Duration::from_millis(700), "{:?}", begin.elapsed());
    assert!(sender.counter("bytes_sent") - before >= 125_000);
}

fn signal_ends_a_node_with_a_goodbye(program: Program) {
    let Some(mut lab) = Lab::new() else { return };
    let mut nodes = start_mesh(program, &lab.hosts(2));
    let [alice, bob] = &mut nodes[..] else { unreachable!() };
    bob.signal("TERM");
    assert_eq!(bob.exit_within(DEADLINE).code(), Some(0));
    assert_eq!(alice.expect("peer_down")["reason"], "Left");
    assert_eq!(alice.reports_of(&["peer_down"]).len(), 1);
}
