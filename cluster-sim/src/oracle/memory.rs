//! O9, the part of it that is about bytes: the messages in the streams of a node take no more than its limits allow.
//!
//! What each peer's streams hold is known from the last look; only those with which something has happened since are
//! looked at again, so that a look costs what the step has touched.

use std::collections::BTreeMap;

use cluster_core::{Limits, Memory, Node, NodeId};

use super::Verdict;

/// What the streams of a node held when they were last looked at.
#[derive(Debug)]
pub(super) struct Held {
    by_peer: BTreeMap<NodeId, Memory>,
    /// Sums over all peers.
    received: u64,
    retained: u64,
    /// With these something has happened since.
    touched: Vec<NodeId>,
    /// With any of them, or all.
    all: bool,
}

impl Default for Held {
    fn default() -> Held {
        Held { by_peer: BTreeMap::new(), received: 0, retained: 0, touched: Vec::new(), all: true }
    }
}

impl Held {
    /// Bytes may have come into the streams of this peer, or left them.
    pub(super) fn touch(&mut self, peer: NodeId) {
        if !self.all && !self.touched.contains(&peer) {
            self.touched.push(peer);
        }
    }

    /// The same of any peer.
    pub(super) fn touch_all(&mut self) {
        self.all = true;
    }

    /// Looks at what has changed.
    pub(super) fn drained(&mut self, node: &Node, limits: &Limits) -> Verdict {
        if std::mem::take(&mut self.all) {
            self.touched.clear();
            return self.sweep(node, limits);
        }
        if self.touched.is_empty() {
            return Ok(());
        }
        for peer in std::mem::take(&mut self.touched) {
            let before = self.by_peer.insert(peer, node.memory_of(peer)).unwrap_or_default();
            let after = self.by_peer[&peer];
            self.received = self.received - before.received + after.received;
            self.retained = self.retained - before.retained + after.retained;
        }
        let mut memory = node.memory_besides();
        memory.received += self.received;
        memory.retained += self.retained;
        // What has left the streams of others unnoticed is no breach.
        within(memory, limits).or_else(|_| self.sweep(node, limits))
    }

    /// Looks at everything.
    pub(super) fn sweep(&mut self, node: &Node, limits: &Limits) -> Verdict {
        self.by_peer = node.peer_ids().map(|peer| (peer, node.memory_of(peer))).collect();
        self.received = self.by_peer.values().map(|memory| memory.received).sum();
        self.retained = self.by_peer.values().map(|memory| memory.retained).sum();
        within(node.memory(), limits)
    }
}

/// Whether the messages in the streams of a node take no more than its limits allow.
fn within(memory: Memory, limits: &Limits) -> Verdict {
    let Memory { received, retained, unread, .. } = memory;
    let (most, sent) = (limits.max_memory(), limits.max_memory() - limits.recv_budget);
    if received <= limits.recv_budget && received + retained <= most && retained + unread <= 2 * sent {
        return Ok(());
    }
    Err(format!("{memory:?}, and {} bytes are allowed to be received, {most} in all", limits.recv_budget))
}

#[cfg(test)]
mod tests {
    use cluster_core::Config;

    use super::*;
    use crate::World;

    #[test]
    fn one_byte_more_than_allowed_is_found() {
        let mut limits = Limits::default();
        (limits.max_peers, limits.send_window, limits.max_message, limits.recv_budget) = (2, 100, 200, 1_000);
        let memory = |received, retained, unread| {
            let mut memory = Memory::default();
            (memory.received, memory.retained, memory.unread) = (received, retained, unread);
            memory
        };
        within(memory(1_000, 418, 418), &limits).unwrap();
        within(memory(1_000, 419, 0), &limits).unwrap_err();
        within(memory(1_001, 0, 0), &limits).unwrap_err();
        within(memory(0, 418, 419), &limits).unwrap_err();
    }

    #[test]
    fn what_has_changed_is_looked_at_and_nothing_else() {
        let mut world = World::new(1);
        let hosts = world.add_many(3, &Config::insecure_plaintext());
        for host in &hosts[1..] {
            world.node(*host).join(hosts[0]).unwrap();
        }
        world.settle();
        let mut held = Held::default();
        let none = Limits::default();
        held.drained(world.host(hosts[0]).core(), &none).unwrap();
        world.host_mut(hosts[1]).set_consuming(false);
        let (one, other) = (world.host(hosts[1]).id(), world.host(hosts[2]).id());
        for peer in [one, other] {
            world.node(hosts[0]).send(peer, vec![0; 1_000]).unwrap();
        }
        let mut tight = Limits::default();
        (tight.max_peers, tight.send_window, tight.max_message, tight.recv_budget) = (1, 100, 100, 100);
        let node = world.host(hosts[0]).core();
        held.drained(node, &tight).unwrap();
        held.touch(one);
        held.drained(node, &tight).unwrap_err();
        assert_eq!(held.retained, node.memory().retained);
    }
}
