//! What the end of a link means for the peer at its other end.

use super::timer::Timer;
use super::{Leaving, Node};
use crate::action::{Action, CloseMode};
use crate::channel::ChannelError;
use crate::event::{Event, Undelivered};
use crate::id::{LinkId, NodeId, Run};
use crate::input::Disconnect;
use crate::link::{Link, LinkState};
use crate::mutant::mutant;
use crate::peer::{Peer, Standing};
use crate::reason::{ProtocolError, Reason, RejectCode};
use crate::session::Ended;
use crate::time::Instant;
use alloc::vec::Vec;

impl Node {
    /// The driver says that a link is gone.
    pub(super) fn disconnected(&mut self, id: LinkId, cause: Disconnect) {
        let Some(link) = self.links.remove(&id) else { return };
        self.forget_place(&link);
        self.dialer.done(id);
        self.timers.cancel_link(id, None);
        if !link.is_closing() {
            let reason = match reason_of(cause) {
                // Whoever has another secret is told nothing, and neither are we.
                Reason::Reset if link.proven.is_none() && !link.is_inbound() => Reason::NoAnswer,
                reason => reason,
            };
            self.link_ended(&link, reason);
        }
        if !link.is_inbound() {
            self.dial_waiting();
        }
        self.leave_progress();
    }

    /// The node gives a link up.
    pub(super) fn drop_link(&mut self, id: LinkId, mode: CloseMode, reason: Reason) {
        let Some(link) = self.links.get(&id).filter(|link| !link.is_closing()).cloned() else { return };
        self.close(id, mode, reason.clone());
        self.link_ended(&link, reason);
    }

    /// The other side broke a rule.
    pub(super) fn violated(&mut self, id: LinkId, error: ProtocolError) {
        self.stats.protocol_errors += 1;
        self.drop_link(id, CloseMode::Abort, Reason::Protocol(error));
    }

    /// Until when the other side is not dialled, if a link ended because it broke the protocol.
    pub(super) fn shunned_for(&mut self, reason: &Reason) -> Option<Instant> {
        let breach = matches!(reason, Reason::Protocol(_) | Reason::Channel(ChannelError::Frame(_)));
        let span = self.config.timing.violation_backoff;
        breach.then(|| self.now + span + self.rng.up_to(span / 4))
    }

    /// A link that was not given up before has come to its end.
    fn link_ended(&mut self, link: &Link, reason: Reason) {
        if !matches!(link.state, LinkState::Up { .. }) {
            self.count_failure(link, &reason);
        }
        if link.proven.is_some() && matches!(reason, Reason::Channel(_)) {
            self.stats.protocol_errors += 1;
        }
        let proven = link.run().map(|run| run.id);
        let expected = link.dial.as_ref().and_then(|dial| dial.expected);
        if let Some(until) = self.shunned_for(&reason)
            && let Some(peer) = proven.and_then(|id| self.peers.get_mut(&id))
            && (peer.live == Some(link.id) || peer.dialing == Some(link.id))
        {
            peer.contact.shunned_until = until;
        }
        for id in proven.into_iter().chain(expected.filter(|id| Some(*id) != proven)) {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if peer.live == Some(link.id) || mutant!(EndsByPeer) && peer.live.is_some() {
                peer.live = None;
                self.live_lost(id, reason.clone());
            } else if peer.dialing == Some(link.id) {
                peer.dialing = None;
                self.dial_failed(id, &reason);
            } else {
                // Its claim broke a rule, and there may be nothing else that the record is for.
                self.prune(id);
            }
        }
        if let Some(expected) = expected {
            self.candidate_dial_ended(expected, link.id, &reason);
        }
        for number in link.targets() {
            self.target_dial_ended(number, proven, &reason);
        }
    }

    /// The link that connected the two is gone.
    fn live_lost(&mut self, id: NodeId, reason: Reason) {
        self.fence_session(id, false);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.is_up() {
            // The other side may take it for up.
            self.suspend_session(id);
            self.keep_trying(id);
            self.prune(id);
            return self.hear_held(id);
        }
        let claiming = peer
            .dialing
            .and_then(|dialing| self.links.get(&dialing))
            .is_some_and(|dialing| matches!(dialing.state, LinkState::Claiming { .. }));
        if claiming && reason.is_transient() {
            // The other side has fenced this link, perhaps, because it granted our claim on the other one.
            peer.standing = Standing::Limbo { lost: reason };
        } else {
            self.down(id, reason);
        }
        self.hear_held(id);
    }

    /// A lost peer came back, but not to the end: it is to be dialled, or forgotten, as before.
    fn keep_trying(&mut self, id: NodeId) {
        let Some(since) = self.peers.get(&id).and_then(Peer::lost_since) else { return };
        self.retry_some_time(id);
        if let Some(span) = self.config.timing.forget_after {
            // Not in the past: a deadline that was missed would say that this process stood still.
            self.timers.set(Timer::Forget(id), self.now.max(since + span));
        }
    }

    /// Our own dial to a node that has a record did not lead to a link.
    fn dial_failed(&mut self, id: NodeId, reason: &Reason) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Standing::Limbo { lost } = &peer.standing {
            let lost = lost.clone();
            return self.down(id, lost);
        }
        if peer.is_lost() && peer.live.is_none() {
            let stale = matches!(reason, Reason::Rejected(RejectCode::Stale { .. }));
            let wait = if *reason == Reason::Rejected(RejectCode::Outranked) {
                // The winner is on its way, or is half-open and will not survive the probe.
                self.dialer.withdraw(id);
                self.config.timing.handshake_timeout
            } else if stale && !core::mem::replace(&mut peer.contact.corrected, true) {
                // It is a later run by now.
                self.config.timing.reconnect_base
            } else {
                peer.contact.backoff.next(
                    self.config.timing.reconnect_base,
                    self.config.timing.reconnect_max,
                    &mut self.rng,
                )
            };
            self.timers.set(Timer::Reconnect(id), self.now + wait);
            self.tell_if_unreachable(id);
        }
        self.prune(id);
    }

    /// A peer that was up is so no more.
    pub(super) fn down(&mut self, id: NodeId, reason: Reason) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let run = peer.run;
        let name = peer.profile.name.clone();
        peer.standing = Standing::Lost { since: self.now };
        let reason = if self.is_restarted(run) && reason.is_transient() { Reason::Restarted } else { reason };
        if reason == Reason::Timeout {
            self.stats.timeouts += 1;
        }
        self.event(Event::PeerDown { peer: run, name, reason: reason.clone() });
        let returns = reason.is_transient() && reason != Reason::Restarted && !self.is_leaving();
        if returns && !self.config.timing.session_ttl.is_zero() {
            self.suspend_session(id);
        } else {
            self.gone(id);
        }
        self.tell_of_room(id);
        match reason {
            Reason::Left => self.bury(run),
            Reason::Removed => self.mark_removed(run, true),
            Reason::LocalDisconnect => self.mark_removed(run, false),
            Reason::LocalLeave => self.remove_peer(id),
            Reason::NotAllowed => self.displace(id),
            _ => {
                self.schedule_reconnect(id);
                if let Some(span) = self.config.timing.forget_after {
                    self.timers.set(Timer::Forget(id), self.now + span);
                }
            }
        }
    }

    /// Whoever waits for room learns that there will be none.
    fn tell_of_room(&mut self, id: NodeId) {
        let offline = self.config.offline;
        let closed = self.peers.get_mut(&id).filter(|peer| !peer.is_open_for(offline));
        self.actions.extend(closed.and_then(Peer::take_wish).map(|peer| Action::Writable { peer }));
    }

    pub(super) fn report_undelivered(&mut self, peer: Run, Ended { not_delivered, in_doubt }: Ended) {
        let undelivered = Undelivered { peer, not_delivered, in_doubt };
        if !undelivered.is_empty() && !mutant!(SilentLoss) {
            self.stats.messages_undelivered += undelivered.len() as u64;
            if let Some(Leaving::Draining { undelivered: count, .. } | Leaving::Closing { undelivered: count }) =
                &mut self.leaving
            {
                *count += undelivered.len() as u64;
            }
            self.event(Event::Undelivered(undelivered));
        }
    }

    /// A later run of the node takes the place of one that is not connected.
    pub(super) fn replace_run(&mut self, run: Run) {
        let Some(old) = self.peers.get(&run.id) else { return };
        if old.is_up() {
            self.down(run.id, Reason::Restarted);
        }
        if !mutant!(InheritSession) {
            self.gone(run.id);
        }
        let Some(mut old) = self.peers.remove(&run.id) else { return };
        let mut peer = Peer::new(run);
        peer.contact.addresses = core::mem::take(&mut old.contact.addresses);
        peer.contact.addresses.restarted();
        // If nothing comes of the link that brings it, the node is still one that was lost and is to be dialled.
        if old.is_lost() {
            peer.standing = old.standing.clone();
        }
        peer.contact.backoff = old.contact.backoff;
        peer.contact.corrected = old.contact.corrected;
        peer.profile = old.profile.clone();
        if mutant!(InheritSession) {
            peer.mail.session = old.mail.session.take();
        }
        let dialing = old.dialing.take();
        let undecided = dialing.filter(|link| self.links.get(link).is_some_and(|link| link.proven.is_none()));
        peer.dialing = undecided;
        // A link that ends must not find the new record, which is for a link that is not yet in it.
        if let Some(stale) = dialing.filter(|link| Some(*link) != undecided) {
            let other_run = self.links.get(&stale).and_then(|link| link.run()).is_some_and(|of| of != run);
            if other_run {
                self.drop_link(stale, CloseMode::Abort, Reason::Restarted);
            }
        }
        self.peers.insert(run.id, peer);
        self.keep_unread(old);
    }

    /// A run said first-hand that it leaves.
    pub(super) fn bury(&mut self, run: Run) {
        let ttl = self.config.timing.tombstone_ttl;
        if mutant!(NoTombstone) {
            return self.remove_peer(run.id);
        }
        if self.tombstones.bury(run, self.now, ttl, self.config.limits.max_tombstones) {
            self.stats.tombstone_limit += 1;
        }
        self.schedule_tombstones();
        self.drop_candidate(run.id);
        self.remove_peer(run.id);
    }

    /// A user disconnected the pair: ours, or `theirs`.
    pub(super) fn mark_removed(&mut self, run: Run, theirs: bool) {
        let ttl = self.config.timing.tombstone_ttl;
        if self.tombstones.remove(run, theirs, self.now, ttl, self.config.limits.max_tombstones) {
            self.stats.tombstone_limit += 1;
        }
        self.schedule_tombstones();
        self.remove_peer(run.id);
    }

    /// A run said that it leaves, or that its user disconnected us. While a link to it is live, that one will say so;
    /// and a later run is not concerned.
    pub(super) fn departs(&mut self, run: Run, reason: &Reason) {
        if self.peers.get(&run.id).is_some_and(|peer| peer.live.is_some() || peer.run.incarnation > run.incarnation) {
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
                self.stats.peer_limit += 1;
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
        let unread = self.inbox.left_behind().filter(|gone| *gone != id && !self.peers.contains_key(gone)).count();
        self.peers.len() + unread < self.config.limits.max_peers
    }

    fn longest_lost(&self) -> Option<NodeId> {
        let idle = self.peers.values().filter(|peer| peer.live.is_none() && peer.dialing.is_none());
        // Those that were never up come first: they only might have a session at the other side.
        let lost = idle.filter(|peer| !peer.is_up()).map(|peer| (peer.lost_since(), peer.run.id));
        lost.min().map(|(_, id)| id)
    }

    /// Forgets a peer that is not announced, but for its run: no earlier one is to come after it.
    pub(super) fn displace(&mut self, id: NodeId) {
        let ttl = self.config.timing.tombstone_ttl;
        if let Some(run) = self.peers.get(&id).filter(|peer| peer.is_lost()).map(|peer| peer.run) {
            let full = self.tombstones.displace(run, self.now, ttl, self.config.limits.max_tombstones);
            self.stats.tombstone_limit += u64::from(full);
            self.schedule_tombstones();
        }
        self.remove_peer(id);
    }

    /// Forgets a peer that is not announced, with its links.
    pub(super) fn remove_peer(&mut self, id: NodeId) {
        self.gone(id);
        let Some(peer) = self.peers.remove(&id) else { return };
        self.familiar.outdate();
        self.timers.cancel(Timer::Reconnect(id));
        self.timers.cancel(Timer::Forget(id));
        for link in peer.live.into_iter().chain(peer.dialing) {
            self.drop_link(link, CloseMode::Abort, Reason::LocalDisconnect);
        }
        self.keep_unread(peer);
    }

    /// A peer was lost for as long as anybody cares to remember it.
    pub(super) fn forget(&mut self, id: NodeId) {
        if self.peers.get(&id).is_some_and(|peer| peer.is_lost() && peer.live.is_none()) {
            self.remove_peer(id);
        }
    }

    /// Drops the record of a run that was never up and has neither link nor session.
    pub(super) fn prune(&mut self, id: NodeId) {
        let idle = |peer: &Peer| {
            !peer.is_known() && peer.live.is_none() && peer.dialing.is_none() && peer.mail.session.is_none()
        };
        if self.peers.get(&id).is_some_and(idle) {
            self.remove_peer(id);
        }
    }

    /// The address of a lost peer answers as another node that calls it its own.
    pub(super) fn takeover(&mut self, owner: NodeId, address: core::net::SocketAddr) {
        if !self.peers.get(&owner).is_some_and(|peer| peer.contact.addresses.advertises(address)) {
            return;
        }
        let displaced = self.peers.values().filter(|peer| {
            peer.run.id != owner && peer.is_lost() && peer.live.is_none() && peer.contact.addresses.advertises(address)
        });
        let displaced: Vec<NodeId> = displaced.map(|peer| peer.run.id).collect();
        for id in displaced {
            self.stats.takeovers += 1;
            self.displace(id);
        }
    }

    /// A dial for one node reached another.
    pub(super) fn not_found_at(&mut self, expected: NodeId, link: LinkId, address: core::net::SocketAddr) {
        self.candidate_dial_ended(expected, link, &Reason::Refused);
        // Nobody sees it any more, and this is where it was: the dials would go on for as long as it is remembered.
        let now = self.now;
        if let Some(candidate) = self.candidates.find_mut(expected)
            && !candidate.is_current(now)
            && candidate.addresses.moved_away(address)
        {
            self.drop_candidate(expected);
        }
        let Some(peer) = self.peers.get_mut(&expected) else { return };
        peer.contact.addresses.moved_away(address);
        self.familiar.outdate();
        if peer.dialing == Some(link) {
            peer.dialing = None;
            self.dial_failed(expected, &Reason::Refused);
        }
    }
}

fn reason_of(cause: Disconnect) -> Reason {
    match cause {
        Disconnect::Refused => Reason::Refused,
        Disconnect::Unreachable => Reason::Unreachable,
        Disconnect::Reset | Disconnect::Ended | Disconnect::Closed => Reason::Reset,
        Disconnect::Channel(error) => Reason::Channel(error),
        Disconnect::Exhausted => Reason::Exhausted,
    }
}
