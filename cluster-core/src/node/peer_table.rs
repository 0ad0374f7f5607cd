//! The table of peers: records begin, make room for others, and end.

use super::Node;
use super::timer::Timer;
use crate::action::CloseMode;
use crate::id::{LinkId, NodeId, Run};
use crate::mutant::mutant;
use crate::peer::Peer;
use crate::reason::Reason;
use crate::wire::RejectCode;
use alloc::vec::Vec;

impl Node {
    /// A handshake has named a run that has no record.
    pub(super) fn new_peer(&mut self, run: Run) {
        self.pairs.insert(Peer::new(run));
        self.mail.begin(run);
        self.dialling.begin(run.id);
    }

    /// A later run of the node takes the place of one that is not connected.
    pub(super) fn replace_run(&mut self, run: Run) {
        let Some(old) = self.pairs.peer(run.id) else { return };
        if old.is_up() {
            self.peer_down(run.id, Reason::Restarted);
        }
        if !mutant!(InheritSession) {
            self.run_gone(run.id);
        }
        let Some(old) = self.pairs.remove(run.id) else { return };
        let mail = self.mail.drop_record(run.id);
        self.dialling.restarted(run.id);
        let dialing = old.dialing();
        let undecided = dialing.filter(|link| self.pairs.link(*link).is_some_and(|link| link.proven.is_none()));
        let peer = old.succeed(run, undecided);
        // A link that ends must not find the new record, which is for a link that is not yet in it.
        if let Some(stale) = dialing.filter(|link| Some(*link) != undecided) {
            let other_run = self.pairs.link(stale).and_then(|link| link.run()).is_some_and(|of| of != run);
            if other_run {
                self.drop_link(stale, CloseMode::Abort, Reason::Restarted);
            }
        }
        self.pairs.insert(peer);
        self.mail.begin(run);
        if let Some(mut mail) = mail {
            if mutant!(InheritSession) {
                self.mail.inherit(run.id, &mut mail);
            }
            self.mail.remember(&mut self.cx, &self.pairs, mail);
        }
    }

    /// A run said first-hand that it leaves.
    pub(super) fn bury(&mut self, run: Run) {
        let ttl = self.cx.config.timing.tombstone_ttl;
        if mutant!(NoTombstone) {
            return self.remove_peer(run.id);
        }
        if self.pairs.tombstones.bury(run, self.cx.now, ttl, self.cx.config.limits.max_tombstones) {
            self.cx.stats.tombstone_limit += 1;
        }
        self.schedule_tombstones();
        self.dialling.drop_hearsay(&mut self.cx, run.id);
        self.remove_peer(run.id);
    }

    /// A user disconnected the pair: ours, or `theirs`.
    pub(super) fn mark_removed(&mut self, run: Run, theirs: bool) {
        let ttl = self.cx.config.timing.tombstone_ttl;
        if self.pairs.tombstones.remove(run, theirs, self.cx.now, ttl, self.cx.config.limits.max_tombstones) {
            self.cx.stats.tombstone_limit += 1;
        }
        self.schedule_tombstones();
        self.remove_peer(run.id);
    }

    /// A run said that it leaves, or that its user disconnected us. While a link to it is live, that one will say so;
    /// and a later run is not concerned.
    pub(super) fn departs(&mut self, run: Run, reason: &Reason) {
        if self.pairs.peer(run.id).is_some_and(|peer| peer.live().is_some() || peer.run.incarnation > run.incarnation) {
            return;
        }
        match reason {
            Reason::Left | Reason::Rejected(RejectCode::Leaving) => self.bury(run),
            Reason::Removed | Reason::Rejected(RejectCode::Removed) => self.mark_removed(run, true),
            _ => {}
        }
    }

    /// Whether there is a place for one more peer. Peers that are lost are the first to make room, longest lost first,
    /// so that a day of churn does not keep everyone out. Unread messages of a node that is gone hold its place.
    pub(super) fn make_room(&mut self, id: NodeId) -> bool {
        while !self.is_place_free(id) {
            let Some(longest) = self.longest_lost() else {
                self.cx.stats.peer_limit += 1;
                return false;
            };
            self.displace(longest);
        }
        true
    }

    pub(super) fn has_room(&self, id: NodeId) -> bool {
        self.is_place_free(id) || self.longest_lost().is_some()
    }

    fn is_place_free(&self, id: NodeId) -> bool {
        let unread = self.mail.left_behind().filter(|gone| *gone != id && self.pairs.peer(*gone).is_none()).count();
        self.pairs.peers().len() + unread < self.cx.config.limits.max_peers
    }

    fn longest_lost(&self) -> Option<NodeId> {
        let idle = self.pairs.peers().filter(|peer| peer.is_idle());
        // Those that were never up come first: they only might have a session at the other side.
        let lost = idle.filter(|peer| !peer.is_up()).map(|peer| (peer.lost_since(), peer.run.id));
        lost.min().map(|(_, id)| id)
    }

    /// Forgets a peer that is not up, except for its run: no earlier run may come after it.
    pub(super) fn displace(&mut self, id: NodeId) {
        let ttl = self.cx.config.timing.tombstone_ttl;
        if let Some(run) = self.pairs.peer(id).filter(|peer| peer.is_lost()).map(|peer| peer.run) {
            let full = self.pairs.tombstones.displace(run, self.cx.now, ttl, self.cx.config.limits.max_tombstones);
            self.cx.stats.tombstone_limit += u64::from(full);
            self.schedule_tombstones();
        }
        self.remove_peer(id);
    }

    /// Forgets a peer that is not up, with its links.
    pub(super) fn remove_peer(&mut self, id: NodeId) {
        self.run_gone(id);
        let Some(peer) = self.pairs.remove(id) else { return };
        let mail = self.mail.drop_record(id);
        self.gate.peers_changed();
        self.cx.timers.cancel(Timer::Forget(id));
        self.dialling.end(&mut self.cx, id);
        for link in peer.live().into_iter().chain(peer.dialing()) {
            self.drop_link(link, CloseMode::Abort, Reason::LocalDisconnect);
        }
        if let Some(mail) = mail {
            self.mail.remember(&mut self.cx, &self.pairs, mail);
        }
    }

    /// A peer was lost for as long as anybody cares to remember it.
    pub(super) fn forget(&mut self, id: NodeId) {
        if self.pairs.peer(id).is_some_and(|peer| peer.is_lost() && peer.live().is_none()) {
            self.remove_peer(id);
        }
    }

    /// Drops the record of a run that was never up and has neither link nor session.
    pub(super) fn prune(&mut self, id: NodeId) {
        let idle = |peer: &Peer| !peer.is_known() && peer.is_idle();
        if self.pairs.peer(id).is_some_and(idle) && !self.mail.has_session(id) {
            self.remove_peer(id);
        }
    }

    /// The address of a lost peer answers as another node that calls it its own.
    pub(super) fn takeover(&mut self, owner: NodeId, address: core::net::SocketAddr) {
        if self.pairs.peer(owner).is_none() || !self.dialling.advertises(owner, address) {
            return;
        }
        let displaced = self.pairs.peers().filter(|peer| {
            let is_gone = peer.run.id != owner && peer.is_lost() && peer.live().is_none();
            is_gone && self.dialling.advertises(peer.run.id, address)
        });
        let displaced: Vec<NodeId> = displaced.map(|peer| peer.run.id).collect();
        for id in displaced {
            self.cx.stats.takeovers += 1;
            self.displace(id);
        }
    }

    /// A dial for one node reached another.
    pub(super) fn not_found_at(&mut self, expected: NodeId, link: LinkId, address: core::net::SocketAddr) {
        self.dialling.not_found_at(&mut self.cx, expected, address);
        self.gate.peers_changed();
        self.dial_ended(expected, link, &Reason::Refused);
    }
}
