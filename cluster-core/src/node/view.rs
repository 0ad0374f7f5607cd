//! Read access to a node.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Leaving, Node};
use crate::address::Advertised;
use crate::config::{Acknowledge, Config, Limits, Timing};
use crate::event::PeerInfo;
use crate::id::{NodeId, Run};
use crate::peer::Peer;
use crate::stats::{Memory, Stats, Usage};

impl Node {
    /// The node and run that this is.
    #[must_use]
    pub fn run(&self) -> Run {
        self.cx.run
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.cx.config
    }

    /// The peers that are up, and those that were lost and are being dialled, in the order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> + '_ {
        self.pairs.peers().filter(|peer| peer.is_known()).map(|peer| self.info(peer))
    }

    /// One of [`peers`](Node::peers).
    #[must_use]
    pub fn peer(&self, id: NodeId) -> Option<PeerInfo> {
        self.pairs.peer(id).filter(|peer| peer.is_known()).map(|peer| self.info(peer))
    }

    pub(super) fn info(&self, peer: &Peer) -> PeerInfo {
        peer.info(self.dialling.preferred(peer.run.id))
    }

    /// What the node has counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.cx.stats.clone()
    }

    /// How full the node's tables are.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let dialling = self.dialling.sizes();
        Usage {
            actions: self.cx.actions.len(),
            timers: self.cx.timers.len(),
            links: self.pairs.links().len(),
            silent_links: self.gate.silent(),
            greeted_links: self.gate.greeted(),
            peers: self.pairs.peers().len(),
            candidates: dialling.candidates,
            introduced: dialling.introduced,
            waiting_dials: dialling.waiting,
            targets: dialling.targets,
            tombstones: self.pairs.tombstones.len(),
            own_addresses: dialling.own,
            notice_sources: self.gate.notice_sources(),
            accept_sources: self.gate.accept_sources(),
            left_behind: self.mail.left_behind().count(),
            closed_streams: self.mail.finished_streams(),
            unread: self.mail.unread_reports(),
        }
    }

    /// How many bytes the messages in the node's streams take.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.mail.memory()
    }

    /// The part of [`memory`](Node::memory) that is in the present streams of one peer.
    #[doc(hidden)]
    #[must_use]
    pub fn memory_of(&self, peer: NodeId) -> Memory {
        self.mail.memory_of(peer)
    }

    /// The part of [`memory`](Node::memory) that is in the present streams of no peer.
    #[doc(hidden)]
    #[must_use]
    pub fn memory_besides(&self) -> Memory {
        self.mail.memory_besides()
    }

    /// The nodes that [`memory_of`](Node::memory_of) has something to say of.
    #[doc(hidden)]
    pub fn peer_ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.mail.ids()
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.cx.config.limits
    }

    /// The intervals and timeouts in force.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.cx.config.timing
    }

    /// When a message that this node takes counts as delivered.
    #[must_use]
    pub fn acknowledge_mode(&self) -> Acknowledge {
        self.cx.config.acknowledge
    }

    /// The complete addresses at which this node says it can be dialled.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let complete = |address| match address {
            Advertised::Socket(address) => Some(address),
            Advertised::Port(_) => None,
        };
        self.me.advertised(&self.cx.config).into_iter().filter_map(complete).collect()
    }

    /// Whether [`leave`](Node::leave) was called. No message is accepted and nobody is dialled any more.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether [`Event::Left`](crate::Event::Left) was emitted. Nothing happens any more after it.
    #[must_use]
    pub fn has_left(&self) -> bool {
        matches!(self.leaving, Some(Leaving::Left))
    }
}
