//! What a frame, a message and a timer cost in the core alone: no channel, no socket.
//!
//! `cargo bench -p cluster-core`. Absolute times depend on the machine; the ratios between the rows, and the same row
//! with few and many peers, are what to watch.

use std::net::SocketAddr;

use cluster_core::wire::Frame;
use cluster_core::{Action, Bytes, Config, Incarnation, Input, Instant, LinkId, Node, NodeId, Proven, Start};
use divan::Bencher;
use divan::counter::ItemsCount;

const BATCH: usize = 1_000;

fn main() {
    divan::main();
}

fn node(number: u8) -> Node {
    let listen = SocketAddr::from(([10, 0, 0, number], 7000));
    let start = Start { seed: [number; 32], incarnation: Incarnation(1), listen: Some(listen) };
    let config = Config::insecure_plaintext().node_id(NodeId::from_bytes([number; 16]));
    Node::new(config, start, Instant::ZERO).unwrap()
}

/// Connects `dialer` to `listener`, frame by frame, and returns the link at each.
fn connect(dialer: &mut Node, listener: &mut Node) -> (LinkId, LinkId) {
    let now = Instant::ZERO;
    let address = listener.addresses()[0];
    dialer.join(now, address.into()).unwrap();
    let ours = std::iter::from_fn(|| dialer.poll_action())
        .find_map(|action| match action {
            Action::Dial { link, .. } => Some(link),
            _ => None,
        })
        .unwrap();
    let theirs = listener.accept(now, dialer.addresses()[0]).unwrap();
    let proven = |run| Proven { run, version: 1, features: 0, secret: None };
    listener.handle(now, Input::Connected { link: theirs, proven: proven(dialer.run()), local: address });
    dialer.handle(now, Input::Connected { link: ours, proven: proven(listener.run()), local: address });
    for _ in 0..4 {
        carry(dialer, ours, listener, theirs);
        carry(listener, theirs, dialer, ours);
    }
    (ours, theirs)
}

fn carry(from: &mut Node, ours: LinkId, to: &mut Node, theirs: LinkId) {
    while let Some(frame) = from.poll_frame(ours) {
        to.handle(Instant::ZERO, Input::Frame { link: theirs, frame });
    }
    drain(from);
    drain(to);
}

fn drain(node: &mut Node) {
    while let Some(action) = node.poll_action() {
        divan::black_box(action);
    }
}

/// A hub with this many peers, and one of them with its link at both ends.
fn mesh(peers: usize) -> (Node, Node, LinkId, LinkId) {
    let mut hub = node(255);
    for number in 1..peers {
        connect(&mut node(number as u8), &mut hub);
    }
    let mut last = node(254);
    let (ours, theirs) = connect(&mut last, &mut hub);
    (hub, last, theirs, ours)
}

/// One message of 64 bytes per frame: the worst case of a frame's own cost.
fn frames(sender: &mut Node, receiver: &Node, link: LinkId) -> Vec<Frame> {
    let payload = Bytes::from_static(&[7; 64]);
    let mut frames = Vec::with_capacity(BATCH);
    for _ in 0..BATCH {
        sender.send(Instant::ZERO, receiver.run().id, payload.clone()).unwrap();
        frames.extend(std::iter::from_fn(|| sender.poll_frame(link)));
        drain(sender);
    }
    frames
}

#[divan::bench(args = [1, 16, 200])]
fn handle_a_data_frame_of_64_bytes(bencher: Bencher<'_, '_>, peers: usize) {
    let (hub, mut sender, theirs, ours) = mesh(peers);
    let frames = frames(&mut sender, &hub, ours);
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(|| (hub.clone(), frames.clone())).bench_values(
        |(mut hub, frames)| {
            for frame in frames {
                hub.handle(Instant::ZERO, Input::Frame { link: theirs, frame });
            }
            hub
        },
    );
}

#[divan::bench(args = [1, 16, 200])]
fn send_a_message_of_64_bytes(bencher: Bencher<'_, '_>, peers: usize) {
    let (hub, sender, ..) = mesh(peers);
    let payload = Bytes::from_static(&[7; 64]);
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(|| hub.clone()).bench_values(|mut hub| {
        for _ in 0..BATCH {
            hub.send(Instant::ZERO, sender.run().id, payload.clone()).unwrap();
        }
        hub
    });
}

#[divan::bench(args = [1, 16, 200])]
fn take_a_message_of_64_bytes(bencher: Bencher<'_, '_>, peers: usize) {
    let (mut hub, mut sender, theirs, ours) = mesh(peers);
    for frame in frames(&mut sender, &hub, ours) {
        hub.handle(Instant::ZERO, Input::Frame { link: theirs, frame });
    }
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(|| hub.clone()).bench_values(|mut hub| {
        for _ in 0..BATCH {
            divan::black_box(hub.poll_message(Instant::ZERO));
        }
        hub
    });
}

#[divan::bench(args = [1, 16, 200])]
fn look_at_the_next_tick(bencher: Bencher<'_, '_>, peers: usize) {
    let (hub, ..) = mesh(peers);
    bencher.bench(|| divan::black_box(&hub).next_tick());
}
