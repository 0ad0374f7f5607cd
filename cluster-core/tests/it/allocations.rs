//! What the core allocates for a message: at the receiver the payload itself, which is the user's, and nothing else.
//! What frames and records take does not grow with the number of messages in them.

use std::net::SocketAddr;

use allocation_counter::measure;
use cluster_core::wire::Frame;
use cluster_core::{Action, Bytes, Config, Incarnation, Input, Instant, LinkId, Node, NodeId, Proven, Start};

const MESSAGES: usize = 4_096;

fn node(number: u8) -> Node {
    let listen = SocketAddr::from(([10, 0, 0, number], 7000));
    let start = Start { seed: [number; 32], incarnation: Incarnation(1), listen: Some(listen) };
    let config = Config::insecure_plaintext().node_id(NodeId::from_bytes([number; 16]));
    Node::new(config, start, Instant::ZERO).unwrap()
}

/// Two nodes, and a link that has an end at each.
struct Pair {
    sender: Node,
    receiver: Node,
    ours: LinkId,
    theirs: LinkId,
    frames: Vec<Frame>,
}

impl Pair {
    fn new() -> Pair {
        let (mut sender, mut receiver) = (node(1), node(2));
        let address = receiver.addresses()[0];
        sender.join(Instant::ZERO, address.into()).unwrap();
        let Some(Action::Dial { link: ours, .. }) = sender.poll_action() else { panic!("no dial") };
        let theirs = receiver.accept(Instant::ZERO, sender.addresses()[0]).unwrap();
        let proven = |run| Proven { run, version: 1, features: 0, secret: None };
        receiver.handle(Instant::ZERO, Input::Connected { link: theirs, proven: proven(sender.run()), local: address });
        sender.handle(Instant::ZERO, Input::Connected { link: ours, proven: proven(receiver.run()), local: address });
        let mut pair = Pair { sender, receiver, ours, theirs, frames: Vec::with_capacity(MESSAGES) };
        (0..4).for_each(|_| pair.exchange());
        assert_eq!(pair.sender.peers().count(), 1);
        pair
    }

    /// Carries every frame that waits, first there and then back.
    fn exchange(&mut self) {
        carry(&mut self.sender, self.ours, &mut self.receiver, self.theirs, &mut self.frames);
        carry(&mut self.receiver, self.theirs, &mut self.sender, self.ours, &mut self.frames);
    }

    /// Sends, carries and takes messages, so many at a time, until [`MESSAGES`] of them are through.
    fn talk(&mut self, payload: &Bytes, batch: usize) {
        let to = self.receiver.run().id;
        for _ in 0..MESSAGES / batch {
            for _ in 0..batch {
                self.sender.send(Instant::ZERO, to, payload.clone()).unwrap();
            }
            let mut taken = 0;
            while taken < batch {
                self.exchange();
                while let Some(message) = self.receiver.poll_message(Instant::ZERO) {
                    assert_eq!(message.payload, *payload);
                    taken += 1;
                }
            }
            self.exchange();
        }
    }
}

fn carry(from: &mut Node, ours: LinkId, to: &mut Node, theirs: LinkId, frames: &mut Vec<Frame>) {
    frames.extend(std::iter::from_fn(|| from.poll_frame(ours)));
    for frame in frames.drain(..) {
        to.handle(Instant::ZERO, Input::Frame { link: theirs, frame });
    }
    while from.poll_action().is_some() {}
    while to.poll_action().is_some() {}
}

#[test]
fn no_message_allocates_anything_but_its_payload() {
    let payload = Bytes::from(vec![7; 64]);
    // Of one message at a time each has a frame of its own.
    for (batch, extra) in [(1, 1), (64, 16), (1_024, 32)] {
        let mut pair = Pair::new();
        pair.talk(&payload, batch);
        let info = measure(|| pair.talk(&payload, batch));
        let beyond = info.count_total as usize - MESSAGES;
        assert!(beyond <= extra * MESSAGES / batch, "{batch} at a time: {info:?}");
        assert_eq!(info.count_current, 0, "{batch} at a time: nothing is kept");
    }
}
