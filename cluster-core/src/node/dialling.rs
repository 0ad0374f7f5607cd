//! Whom this node dials, and where it must not.
//!
//! # Why it is like this
//!
//! * What others say of addresses may be a lie. A dial on hearsay takes a token that comes back only when a member answers,
//!   so an honest mesh forms at full speed and a liar makes this node dial as often as tokens refill
//!   (SECURITY.md, row 14). Nobody passes those who wait for a token, or newcomers would take every one.
//! * Hearsay leads only to kinds of address that this node has to do with: a public node must not be sent into somebody's
//!   private network ([`Dialling::may_follow`]).
//! * A dial is never given up because an inbound link was granted meanwhile; `node/claim` says why.
//! * After another live node with the same id was met, nobody is dialled for a while: two nodes with one id would push each
//!   other out of every mesh. A member can lie about it, so joins and seeds go on afterwards by themselves.

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

/// The nodes and addresses that are to be dialled, and what is known of addresses.
#[derive(Clone, Debug)]
pub(super) struct Dialling {
    pub(super) candidates: Candidates,
    pub(super) targets: Targets,
    pub(super) queue: Queue,
    /// Socket addresses that lead to this node.
    pub(super) own: BTreeSet<SocketAddr>,
    /// The kinds of address that this node has to do with, so that hearsay may send it there.
    reaches: BTreeSet<Reach>,
    /// Another live node has this id; until then, nobody is dialled.
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

    /// The id of a new join.
    pub(super) fn next_join(&mut self) -> JoinId {
        let id = JoinId(self.next_join);
        self.next_join += 1;
        id
    }

    /// These addresses lead to this node by its own account, and no others that were known before do.
    pub(super) fn set_own(&mut self, addresses: impl Iterator<Item = SocketAddr>) {
        self.own.clear();
        for address in addresses {
            self.own.insert(address);
            self.reaches.insert(reach(address));
        }
    }

    /// This node has a link at an address of its own.
    pub(super) fn reached_from(&mut self, local: SocketAddr) {
        self.reaches.insert(reach(local));
    }

    /// Until when nobody may be dialled, if so.
    pub(super) fn muted(&self, now: Instant) -> Option<Instant> {
        self.muted_until.filter(|until| *until > now)
    }

    /// Nobody is dialled for a while, or again.
    pub(super) fn mute(&mut self, until: Option<Instant>) {
        self.muted_until = until;
    }

    /// Whether an address that others name may be dialled: only kinds of address that this node has to do with, and the
    /// networks on its list, so that a liar cannot point it at strangers' loopback or private networks.
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
