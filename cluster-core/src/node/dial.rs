//! Dialling nodes that are known: lost peers, and candidates from hearsay.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Node;
use super::dialling::Turn;
use super::timer::Timer;
use crate::action::Action;
use crate::candidate::UNREACHABLE;
use crate::event::Event;
use crate::id::{LinkId, NodeId};
use crate::link::{Dial, LinkState};
use crate::mutant::mutant;
use crate::reason::Reason;
use crate::wire::RejectCode;

impl Node {
    /// Opens a link. Nothing is dialled while leaving, or while another node with our id is live.
    pub(super) fn dial(&mut self, address: SocketAddr, dial: Dial) -> LinkId {
        self.cx.stats.dials += 1;
        let hearsay = dial.hearsay;
        let link = self.new_link(Some(dial), address);
        if hearsay {
            self.dialling.queue.begin(link, address);
        }
        self.cx.actions.push_back(Action::Dial { link, address });
        link
    }

    /// The outbound link to this address that is being set up.
    pub(super) fn dial_to(&self, address: SocketAddr) -> Option<LinkId> {
        let undecided = |link: &&crate::link::Link| {
            link.dial.is_some()
                && link.remote == address
                && matches!(link.state, LinkState::Opening | LinkState::Claiming { .. })
        };
        self.pairs.links().find(undecided).map(|link| link.id)
    }

    pub(super) fn schedule_reconnect(&mut self, id: NodeId) {
        let Some(peer) = self.pairs.peer_mut(id) else { return };
        let wait = peer.contact.backoff.next(
            self.cx.config.timing.reconnect_base,
            self.cx.config.timing.reconnect_max,
            &mut self.cx.rng,
        );
        self.cx.timers.set(Timer::Reconnect(id), self.cx.now + wait);
    }

    /// A lost peer is due to be dialled.
    pub(super) fn reconnect(&mut self, id: NodeId) {
        self.redial(id, None);
    }

    /// Dials the next address of a lost peer. One that is only hearsay may have to wait for its turn, which may be long
    /// in coming; where the peer is known to have been need not. When its `turn` comes, only hearsay has waited: the
    /// other addresses keep to the backoff.
    fn redial(&mut self, id: NodeId, turn: Option<Turn>) {
        let given_up = |peer: &crate::peer::Peer| peer.contact.backoff.failures() > 1;
        if self.is_leaving() || mutant!(GiveUpOnLost) && self.pairs.peer(id).is_some_and(given_up) {
            return;
        }
        if let Some(until) = self.dialling.muted(self.cx.now) {
            return self.cx.timers.set(Timer::Reconnect(id), until);
        }
        let Some(peer) = self.pairs.peer(id) else { return };
        if !peer.is_lost() || peer.live.is_some() || peer.dialing.is_some() {
            return;
        }
        if peer.contact.shunned_until > self.cx.now {
            let until = peer.contact.shunned_until;
            return self.cx.timers.set(Timer::Reconnect(id), until);
        }
        let (known, mut addresses) = (peer.contact.addresses.clone(), peer.contact.addresses.clone());
        let is_hearsay = |address| !known.is_verified(address);
        let is_due = |node: &Node, address| {
            let has_turn = turn.is_none_or(|turn| is_hearsay(address) && turn.is_for(address));
            has_turn && (!is_hearsay(address) || node.dialling.may_follow(&node.cx, address)) && node.is_free(address)
        };
        let has_room = |node: &Node, address| !is_hearsay(address) || node.has_room_at(address);
        let mut address = addresses.next(|address| is_due(self, address));
        let crowded = address.filter(|address| !has_room(self, *address));
        if crowded.is_some() {
            address = addresses.next(|address| is_due(self, address) && has_room(self, address));
        }
        if address.is_some_and(is_hearsay) && !self.may_dial_hearsay(id, turn) {
            address = addresses.next(|address| !is_hearsay(address) && is_due(self, address));
        } else if let Some(crowded) = crowded {
            self.wait_for_room(id, crowded);
        }
        let Some(address) = address else {
            return if self.dialling.queue.is_waiting(id) {
                self.look_again(Timer::Reconnect(id));
            } else {
                self.retry_some_time(id);
            };
        };
        let hearsay = is_hearsay(address);
        let link = self.dial(address, Dial { expected: Some(id), hearsay, ..Dial::default() });
        if let Some(peer) = self.pairs.peer_mut(id) {
            peer.contact.addresses = addresses;
            peer.dialing = Some(link);
        }
    }

    /// Sees to it that a lost peer is due again.
    pub(super) fn retry_some_time(&mut self, id: NodeId) {
        if self.cx.timers.deadline(Timer::Reconnect(id)).is_none() {
            self.schedule_reconnect(id);
        }
    }

    /// A turn that a node waits for may be long in coming, and it may have other addresses by then.
    fn look_again(&mut self, timer: Timer) {
        self.cx.timers.set_no_later(timer, self.cx.now + self.cx.config.timing.reconnect_max);
    }

    /// A node known from hearsay is due to be dialled.
    pub(super) fn candidate_due(&mut self, id: NodeId) {
        self.try_candidate(id, None);
    }

    /// Dials the next address of a node known from hearsay, which may have waited for its `turn`.
    fn try_candidate(&mut self, id: NodeId, turn: Option<Turn>) {
        if self.is_leaving() || self.dialling.candidates.find(id).is_none() {
            return;
        }
        if let Some(until) = self.dialling.muted(self.cx.now) {
            return self.cx.timers.set(Timer::Candidate(id), until);
        }
        match self.pairs.peer(id) {
            Some(peer) if peer.is_up() => return,
            // It has its own schedule, which hearsay must not speed up; once it is forgotten, it is a candidate again.
            Some(_) => return self.postpone_candidate(id),
            None => {}
        }
        let Some(candidate) = self.dialling.candidates.find(id) else { return };
        if candidate.dialing.is_some() {
            return;
        }
        if self.pairs.tombstones.is_removed(id)
            || self.pairs.tombstones.covers(candidate.run)
            || !self.cx.config.allows(id)
        {
            return self.postpone_candidate(id);
        }
        if !self.has_room(id) {
            self.cx.stats.peer_limit += 1;
            return self.retry_candidate(id);
        }
        let mut addresses = candidate.addresses.clone();
        let is_due = |node: &Node, address| turn.is_none_or(|turn| turn.is_for(address)) && node.is_free(address);
        let mut address = addresses.next(|address| is_due(self, address));
        let crowded = address.filter(|address| !self.has_room_at(*address));
        if crowded.is_some() {
            address = addresses.next(|address| is_due(self, address) && self.has_room_at(address));
        }
        if address.is_some() && !self.may_dial_hearsay(id, turn) {
            return;
        }
        if let Some(crowded) = crowded {
            self.wait_for_room(id, crowded);
        }
        let Some(address) = address else {
            return if self.dialling.queue.is_waiting(id) {
                self.look_again(Timer::Candidate(id));
            } else {
                self.retry_candidate(id);
            };
        };
        let link = self.dial(address, Dial { expected: Some(id), hearsay: true, ..Dial::default() });
        if let Some(candidate) = self.dialling.candidates.find_mut(id) {
            candidate.addresses = addresses;
            candidate.dialing = Some(link);
        }
    }

    /// A dial for this node has ended, and not in a link that is up.
    pub(super) fn candidate_dial_ended(&mut self, id: NodeId, link: LinkId, reason: &Reason) {
        let Some(candidate) = self.dialling.candidates.find_mut(id).filter(|candidate| candidate.dialing == Some(link))
        else {
            return;
        };
        candidate.dialing = None;
        self.retry_candidate(id);
        if *reason == Reason::Rejected(RejectCode::Outranked) {
            // The winner is on its way, or is half-open and will not survive the probe.
            self.dialling.queue.withdraw(id);
            self.cx.timers.set(Timer::Candidate(id), self.cx.now + self.cx.config.timing.handshake_timeout);
        }
        if let Some(until) = self.shunned_for(reason) {
            self.dialling.queue.withdraw(id);
            self.cx.timers.set(Timer::Candidate(id), until);
        }
        self.tell_if_unreachable(id);
    }

    /// Nothing is to be done about this node for now.
    fn postpone_candidate(&mut self, id: NodeId) {
        self.cx.timers.set(Timer::Candidate(id), self.cx.now + self.cx.config.timing.seed_interval);
    }

    fn retry_candidate(&mut self, id: NodeId) {
        let Some(candidate) = self.dialling.candidates.find_mut(id) else { return };
        let timing = &self.cx.config.timing;
        let wait = candidate.backoff.next(timing.reconnect_base, timing.reconnect_max, &mut self.cx.rng);
        self.cx.timers.set(Timer::Candidate(id), self.cx.now + wait);
    }

    /// Says, once, that a node which a peer is connected to cannot be reached.
    pub(super) fn tell_if_unreachable(&mut self, id: NodeId) {
        let failures = self.pairs.peer(id).map_or(0, |peer| peer.contact.backoff.failures());
        let Some(candidate) = self.dialling.candidates.find_mut(id) else { return };
        if candidate.told
            || !candidate.is_current(self.cx.now)
            || candidate.backoff.failures().max(failures) < UNREACHABLE
        {
            return;
        }
        let (peer, unseen) = (candidate.named_by, candidate.run);
        if self.pairs.peer(peer.id).is_some_and(|peer| peer.is_up()) && !self.pairs.tombstones.is_removed(id) {
            candidate.told = true;
            self.cx.event(Event::PartialPartition { peer, unseen });
        }
    }

    pub(super) fn drop_candidate(&mut self, id: NodeId) {
        self.dialling.candidates.remove(id);
        self.cx.timers.cancel(Timer::Candidate(id));
    }

    /// Whether nothing but the budget and the places keeps the node from dialling this address.
    fn is_free(&self, address: SocketAddr) -> bool {
        !self.dialling.own.contains(&address) && self.dial_to(address).is_none()
    }

    fn has_room_at(&self, address: SocketAddr) -> bool {
        self.dialling.queue.has_room_at(address, &self.cx.config.limits)
    }

    /// Whether one more dial on hearsay may start now; if not, the node waits for its `turn`, unless this is it. Nobody
    /// goes before those who wait and can be dialled.
    fn may_dial_hearsay(&mut self, id: NodeId, turn: Option<Turn>) -> bool {
        if (turn.is_some() || !self.dialling.queue.is_taken()) && self.has_turn() {
            return self.dialling.queue.take_token(&self.cx.config.limits, self.cx.now);
        }
        self.cx.stats.dial_limit += 1;
        self.wait_to_be_dialled(id, Turn::Anywhere);
        if self.has_turn() {
            self.cx.timers.set_no_later(Timer::Dialer, self.cx.now);
        }
        false
    }

    fn wait_for_room(&mut self, id: NodeId, address: SocketAddr) {
        self.cx.stats.dial_limit_per_ip += u64::from(!self.dialling.queue.is_waiting(id));
        self.wait_to_be_dialled(id, Turn::At(address));
    }

    fn wait_to_be_dialled(&mut self, id: NodeId, turn: Turn) {
        let limits = &self.cx.config.limits;
        let most = limits.max_peers.saturating_add(limits.max_candidates);
        if self.dialling.queue.waiting() >= most && !self.dialling.queue.is_waiting(id) {
            // So many are not known any more, or this one would have no place among those who are.
            self.withdraw_unknown();
        }
        self.dialling.queue.wait(id, turn);
    }

    fn withdraw_unknown(&mut self) {
        let (pairs, candidates) = (&self.pairs, &self.dialling.candidates);
        self.dialling.queue.retain(|id| pairs.peer(id).is_some() || candidates.find(id).is_some());
    }

    /// Those who wait to be dialled may wait for less, by new settings.
    pub(super) fn retime_dials(&mut self) {
        self.withdraw_unknown();
        if self.dialling.queue.waiting() > 0 {
            self.cx.timers.set_no_later(Timer::Dialer, self.cx.now);
        }
    }

    /// Whether a dial on hearsay may start now. If not, the end of another brings the next turn, or time does.
    fn has_turn(&mut self) -> bool {
        let limits = &self.cx.config.limits;
        if !self.dialling.queue.has_place(limits) {
            return false;
        }
        if self.dialling.queue.has_token(limits, self.cx.now) {
            return true;
        }
        self.cx.timers.set_no_later(Timer::Dialer, self.dialling.queue.next_token(limits));
        false
    }

    /// There may be room for those who wait to be dialled.
    pub(super) fn dial_waiting(&mut self) {
        let mut stuck = Vec::new();
        for _ in 0..self.dialling.queue.begin_round() {
            // Looked at first: who is taken from the queue and has no turn would lose the place.
            if !self.has_turn() {
                break;
            }
            let Some((id, turn)) = self.dialling.queue.next() else { break };
            // One that is being dialled elsewhere, or waits for one host alone, does not keep the others waiting.
            let can_go = match turn {
                Turn::At(address) => self.has_room_at(address) && self.dial_to(address).is_none(),
                Turn::Anywhere => true,
            };
            if !can_go || self.is_being_dialled(id) {
                stuck.push((id, turn));
                continue;
            }
            match self.pairs.peer(id) {
                Some(peer) if peer.is_lost() => self.redial(id, Some(turn)),
                _ => self.try_candidate(id, Some(turn)),
            }
            if !self.is_being_dialled(id) {
                stuck.extend(self.dialling.queue.take_back(id));
            }
        }
        self.dialling.queue.end_round(stuck);
    }

    /// Whether a dial for this node is under way.
    fn is_being_dialled(&self, id: NodeId) -> bool {
        let peer = self.pairs.peer(id).filter(|peer| peer.is_lost()).and_then(|peer| peer.dialing);
        peer.is_some() || self.dialling.candidates.find(id).is_some_and(|candidate| candidate.dialing.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::id::{Incarnation, Run};
    use crate::time::Instant;

    #[test]
    fn who_was_forgotten_while_waiting_gives_the_place_to_who_is_known() {
        let mut limits = Limits::default();
        (limits.max_peers, limits.max_candidates) = (1, 2);
        let config = crate::config::Config::insecure_plaintext().limits(limits);
        let start = crate::node::Start { seed: [1; 32], incarnation: Incarnation(1), listen: None };
        let mut node = Node::new(config, start, Instant::ZERO).unwrap();
        while node.dialling.queue.take_token(&node.cx.config.limits, Instant::ZERO) {}
        (1..=3).for_each(|forgotten| node.dialling.queue.wait(NodeId::from_bytes([forgotten; 16]), Turn::Anywhere));
        let run = Run { id: NodeId::from_bytes([9; 16]), incarnation: Incarnation(1) };
        node.new_peer(run);
        for _ in 0..2 {
            assert!(!node.may_dial_hearsay(run.id, None));
            assert_eq!((node.dialling.queue.waiting(), node.dialling.queue.is_waiting(run.id)), (1, true));
        }
    }
}
