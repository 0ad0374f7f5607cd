//! One run of a node, and everything that is known of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use cluster_core::{Acknowledge, Instant, Limits, LinkId, Run, Timing};

use super::When;
use super::alive::Alive;
use super::bounds::Counted;
use super::credit::Credit;
use super::departed::Departed;
use super::dials::Dials;
use super::ends::Ends;
use super::events::Events;
use super::handshakes::Untouched;
use super::links::Links;
use super::memory::Held;
use super::numbers::Numbers;
use super::runs::Runs;
use super::suspects::Suspects;
use super::talk::Talks;

/// What one run of a node has been seen to do.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) runs: Runs,
    pub(super) events: Events,
    pub(super) links: Links,
    pub(super) untouched: Untouched,
    pub(super) departed: Departed,
    pub(super) dials: Dials,
    pub(super) suspects: Suspects,
    pub(super) alive: Alive,
    pub(super) credit: Credit,
    pub(super) ends: Ends,
    pub(super) numbers: Numbers,
    pub(super) talks: Talks,
    /// Links whose handshake has a meaning that was not carried out yet.
    pub(super) unfinished: BTreeSet<LinkId>,
    /// Peers whose chunk the node has not dealt with yet.
    pub(super) fed: BTreeSet<Run>,
    pub(super) held: Held,
    /// When, by the world's time, a join last began or ended.
    pub(super) joined: u64,
    /// The latest its clock has shown when it had nothing more to say: a node counts on from there.
    pub(super) clock: Instant,
    pub(super) listen: Option<SocketAddr>,
    pub(super) limits: Limits,
    pub(super) timing: Timing,
    pub(super) acknowledge: Acknowledge,
}

impl Watch {
    pub(super) fn counted(&mut self) -> Counted {
        Counted {
            links: self.links.len(),
            inbound: self.links.inbound(),
            silent: self.links.silent(),
            silent_of_one: self.links.most_silent(),
            greeted: self.links.greeted_links(),
            joins: self.events.joins_open(),
        }
    }

    /// When its user last had a join under way.
    pub(super) fn last_join(&self, when: When) -> u64 {
        if self.events.joins_open() > 0 { when.world } else { self.joined }
    }

    /// A newcomer is turned away in favour of the link that connects the node with the same peer.
    pub(super) fn turned_away(&mut self, newcomer: LinkId) {
        let Some(peer) = self.links.find(newcomer).and_then(|open| open.peer) else { return };
        if let Some((active, open)) = self.links.active(peer.id)
            && active != newcomer
            && open.peer == Some(peer)
        {
            self.suspects.preferred(active);
        }
    }

    /// A link is no longer the one that connects the two.
    pub(super) fn fence(&mut self, link: LinkId, peer: Run) {
        if self.links.active(peer.id).is_some_and(|(active, _)| active == link) {
            self.credit.fenced(peer, self.clock);
        }
    }

    /// A user, here or there, wants nothing more of a peer.
    pub(super) fn parted(&mut self, peer: Run) {
        self.ends.parted(peer.id);
        self.credit.parted(peer);
    }
}
