//! The nodes and addresses that this node dials, and those it must not.
//!
//! # Why it is like this
//!
//! * Hearsay about addresses may be a lie. A dial on hearsay takes a token that returns only when a member answers, so
//!   an honest mesh forms at full speed and a liar makes this node dial as often as tokens refill (SECURITY.md, row
//!   14). No newcomer passes a node that waits for a token, or newcomers would take every one.
//! * Hearsay leads only to kinds of address that this node has to do with: no member can send a public node into a
//!   private network ([`Dialling::may_follow`]).
//! * A dial is never given up because an inbound link was granted meanwhile; `node/claim` says why.
//! * A node that met another live node with its own id stops dialling for a while: the two would push each other out of
//!   every mesh. A member can lie about it, so joins and seeds resume afterwards on their own.

mod queue;

use alloc::collections::BTreeSet;
use core::net::SocketAddr;

pub(in crate::node) use self::queue::{Queue, Turn};
use super::context::Context;
use crate::address::{Reach, reach};
use crate::candidate::Candidates;
use crate::config::Limits;
use crate::id::JoinId;
use crate::target::Targets;
use crate::time::Instant;

/// The nodes and addresses to dial, and the addresses of this node.
#[derive(Clone, Debug)]
pub(super) struct Dialling {
    pub(super) candidates: Candidates,
    pub(super) targets: Targets,
    pub(super) queue: Queue,
    /// Socket addresses that lead to this node.
    pub(super) own: BTreeSet<SocketAddr>,
    /// The kinds of address that this node has to do with, so that hearsay may send it there.
    reaches: BTreeSet<Reach>,
    /// Another live node has this id; the node does not dial before this time.
    muted_until: Option<Instant>,
    next_join: u64,
}

impl Dialling {
    pub(super) fn new(limits: &Limits, now: Instant) -> Dialling {
        Dialling {
            candidates: Candidates::default(),
            targets: Targets::default(),
            queue: Queue::new(limits, now),
            own: BTreeSet::new(),
            reaches: BTreeSet::new(),
            muted_until: None,
            next_join: 0,
        }
    }

    /// Returns the id of a new join.
    pub(super) fn next_join(&mut self) -> JoinId {
        let id = JoinId(self.next_join);
        self.next_join += 1;
        id
    }

    /// Replaces the addresses that lead to this node.
    pub(super) fn set_own(&mut self, addresses: impl Iterator<Item = SocketAddr>) {
        self.own.clear();
        for address in addresses {
            self.own.insert(address);
            self.reaches.insert(reach(address));
        }
    }

    /// Notes an own address at which this node has a link.
    pub(super) fn reached_from(&mut self, local: SocketAddr) {
        self.reaches.insert(reach(local));
    }

    /// Returns when the node may dial again, if it may not now.
    pub(super) fn muted(&self, now: Instant) -> Option<Instant> {
        self.muted_until.filter(|until| *until > now)
    }

    /// Forbids dialling until a time, or allows it again.
    pub(super) fn mute(&mut self, until: Option<Instant>) {
        self.muted_until = until;
    }

    /// Returns whether the node may dial an address from hearsay: only kinds of address that this node has to do with,
    /// and the networks on its list, so that a liar cannot point it at strangers' loopback or private networks.
    pub(super) fn may_follow(&self, cx: &Context, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let listed = || cx.config.follow.iter().any(|network| network.contains(&ip));
        match reach(address) {
            Reach::Never => false,
            Reach::Special => listed(),
            reach => self.reaches.contains(&reach) || listed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::id::{Incarnation, NodeId, Run};
    use crate::rng::{Purpose, Rng, Seed};

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn hearsay_leads_to_kinds_of_address_that_are_our_own() {
        let config = Config::insecure_plaintext().follow("203.0.113.0/24".parse().unwrap());
        let mut dialling = Dialling::new(&config.limits, Instant::ZERO);
        let run = Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(1) };
        let cx = Context::new(config, run, Rng::new(&Seed::new([1; 32]), Purpose::Jitter), Instant::ZERO);
        let may = |dialling: &Dialling, text| dialling.may_follow(&cx, at(text));
        assert!(!may(&dialling, "10.0.0.1:1") && !may(&dialling, "127.0.0.1:1"));
        dialling.set_own([at("10.0.0.9:7")].into_iter());
        assert!(may(&dialling, "10.0.0.1:1") && !may(&dialling, "127.0.0.1:1"));
        dialling.reached_from(at("127.0.0.1:5"));
        assert!(may(&dialling, "127.0.0.1:1"));
        assert!(may(&dialling, "203.0.113.7:1") && !may(&dialling, "198.51.100.7:1") && !may(&dialling, "224.0.0.1:1"));
    }

    #[test]
    fn muted_node_dials_again_later() {
        let limits = Limits::default();
        let mut dialling = Dialling::new(&limits, Instant::ZERO);
        let (now, until) = (Instant::from_nanos(5), Instant::from_nanos(9));
        dialling.mute(Some(until));
        assert_eq!((dialling.muted(now), dialling.muted(until)), (Some(until), None));
        dialling.mute(None);
        assert_eq!(dialling.muted(now), None);
    }
}
