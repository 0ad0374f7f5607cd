//! What sockets do with bytes and connections.

use std::rc::Rc;
use std::time::Duration;

use cluster_core::Reason;

use crate::arm::Way as _;
use crate::proxy::{End, Faults, Pieces, Proxy};
use crate::stage::{Member, Stage, swift};

/// Two nodes, the second of which is only to be had through a proxy.
fn through<'a>(stage: &Stage<'a>, seed: u64, faults: Faults) -> ([Rc<Member<'a>>; 2], Proxy) {
    let proxy = Proxy::bind(seed, faults).expect("a port of loopback is free");
    let bob = stage.node_with(swift().advertise(proxy.address()));
    proxy.lead_to(bob.address());
    // It advertises where nobody listens, so that only it dials.
    let alice = stage.node_with(swift().advertise(([127, 0, 0, 1], 1).into()));
    assert_eq!(alice.join_at(proxy.address()), Ok(bob.id()));
    let nodes = [alice, bob];
    stage.until_complete(&nodes);
    (nodes, proxy)
}

fn talk(alice: &Member<'_>, bob: &Member<'_>, lengths: &[usize]) {
    for (number, &length) in lengths.iter().enumerate() {
        let payload = vec![number as u8; length];
        alice.send(bob, payload.clone());
        bob.send(alice, payload.clone());
        bob.expect(alice, &payload);
        alice.expect(bob, &payload);
    }
    alice.flush(bob);
    bob.flush(alice);
}

pub(super) fn a_connection_that_carries_single_bytes_works(stage: &Stage<'_>) {
    let ([alice, bob], proxy) = through(stage, 3, Faults { pieces: Pieces::Single, ..Faults::default() });
    talk(&alice, &bob, &[0, 1, 300, 5_000, 1]);
    assert_eq!(proxy.cuts(), 0);
}

pub(super) fn a_connection_that_is_slow_and_torn_works(stage: &Stage<'_>) {
    let faults = |end| Faults { pieces: Pieces::Random, delay: Some(0..=1), life: Some(5_000..=60_000), end };
    let ([alice, bob], proxy) = through(stage, 4, faults(End::Reset));
    talk(&alice, &bob, &[500; 40]);
    proxy.set_faults(faults(End::Close));
    talk(&alice, &bob, &[30_000; 6]);
    assert!(proxy.cuts() > 2, "only {} cuts", proxy.cuts());
}

pub(super) fn a_half_open_connection_is_replaced(stage: &Stage<'_>) {
    let timeout = Duration::from_millis(500);
    let ([alice, bob], proxy) = through(stage, 5, Faults::default());
    let config = swift().heartbeat(timeout / 5).peer_timeout(timeout).probe_timeout(timeout);
    let config = config.advertise(([127, 0, 0, 1], 1).into());
    alice.node().set_config(config).expect("only timing changes");
    assert_eq!(proxy.half_open(), 1);
    assert_eq!(bob.until_down(&alice), Reason::Reset);
    // Nobody tells her: she finds out by herself, and dials.
    assert_eq!(alice.until_down(&bob), Reason::Timeout);
    stage.until_complete(&[alice.clone(), bob.clone()]);
    talk(&alice, &bob, &[10, 10]);
}

pub(super) fn both_directions_and_large_messages_survive_cuts(stage: &Stage<'_>) {
    let faults = Faults { pieces: Pieces::Random, life: Some(10_000..=150_000), ..Faults::default() };
    let cutters = [7, 8].map(|seed| Proxy::bind(seed, faults.clone()).expect("a port of loopback is free"));
    // They dial each other over the cutters only.
    let nodes = cutters.each_ref().map(|cutter| {
        let node = stage.node_with(swift().advertise(cutter.address()));
        cutter.lead_to(node.address());
        node
    });
    let [alice, bob] = &nodes;
    assert_eq!(alice.join_at(cutters[1].address()), Ok(bob.id()));
    stage.until_complete(&nodes);
    let payload = |number: u64| {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(if number.is_multiple_of(20) { 300_000 } else { 500 }, 1);
        payload
    };
    // Each sends before it takes anything, so that long messages cross.
    for start in (0..200).step_by(10) {
        for number in start..start + 10 {
            alice.send(bob, payload(number));
            bob.send(alice, payload(number));
        }
        for number in start..start + 10 {
            bob.expect(alice, payload(number));
            alice.expect(bob, payload(number));
        }
    }
    alice.flush(bob);
    bob.flush(alice);
    let cuts: usize = cutters.iter().map(Proxy::cuts).sum();
    assert!(cuts > 20, "only {cuts} cuts");
}
