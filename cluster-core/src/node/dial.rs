//! Dialling nodes that are known: lost peers, and candidates from hearsay.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::Node;
use super::timer::Timer;
use crate::action::Action;
use crate::address::{Reach, reach, source};
use crate::bucket::TokenBucket;
use crate::candidate::UNREACHABLE;
use crate::config::Limits;
use crate::event::Event;
use crate::id::{LinkId, NodeId};
use crate::link::{Dial, LinkState};
use crate::mutant::mutant;
use crate::reason::{Reason, RejectCode};
use crate::time::Instant;

/// Dials to addresses that are only hearsay: a budget that is given back when a dial ends at a member. So an honest mesh
/// forms at full speed, and a liar makes us dial no more than the refill.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    budget: TokenBucket,
    /// Under way, and not yet known to lead to a member: where to.
    in_flight: BTreeMap<LinkId, IpAddr>,
    /// Who waits for a token or a place, in order; nobody twice.
    waiting: VecDeque<NodeId>,
    queued: BTreeSet<NodeId>,
}

impl Dialer {
    pub(super) fn new(limits: &Limits, now: Instant) -> Dialer {
        let budget = TokenBucket::full(limits.hearsay(), now);
        Dialer { budget, in_flight: BTreeMap::new(), waiting: VecDeque::new(), queued: BTreeSet::new() }
    }

    pub(super) fn refund(&mut self, limits: &Limits) {
        self.budget.refund(limits.hearsay());
    }

    /// A dial is over, or leads to a member.
    pub(super) fn done(&mut self, link: LinkId) {
        self.in_flight.remove(&link);
    }

    /// Whether one more dial may go to this address, as far as the others that go there are concerned.
    fn has_room_at(&self, address: SocketAddr, limits: &Limits) -> bool {
        let to = source(address.ip());
        let there = self.in_flight.values().filter(|other| **other == to).count();
        to.is_loopback() || there < limits.max_dials_per_ip
    }

    fn wait(&mut self, id: NodeId) {
        if self.queued.insert(id) {
            self.waiting.push_back(id);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn retain(&mut self, is_known: impl Fn(NodeId) -> bool) {
        self.waiting.retain(|id| is_known(*id));
        self.queued.retain(|id| is_known(*id));
    }

    fn next(&mut self) -> Option<NodeId> {
        let id = self.waiting.pop_front()?;
        self.queued.remove(&id);
        Some(id)
    }

    /// Has one that was next keep its place.
    fn wait_in_front(&mut self, id: NodeId) {
        if self.queued.insert(id) {
            self.waiting.push_front(id);
        }
    }
}

impl Node {
    /// Opens a link. Nothing is dialled while leaving, or while another node with our id is live.
    pub(super) fn dial(&mut self, address: SocketAddr, dial: Dial) -> LinkId {
        self.stats.dials += 1;
        let hearsay = dial.hearsay;
        let link = self.new_link(Some(dial), address);
        if hearsay {
            self.dialer.in_flight.insert(link, source(address.ip()));
        }
        self.actions.push_back(Action::Dial { link, address });
        link
    }

    /// Until when nobody may be dialled, if so.
    pub(super) fn muted(&self) -> Option<Instant> {
        self.muted_until.filter(|until| *until > self.now)
    }

    /// The outbound link to this address that is being set up.
    pub(super) fn dial_to(&self, address: SocketAddr) -> Option<LinkId> {
        let undecided = |link: &&crate::link::Link| {
            link.dial.is_some()
                && link.remote == address
                && matches!(link.state, LinkState::Opening | LinkState::Claiming { .. })
        };
        self.links.values().find(undecided).map(|link| link.id)
    }

    pub(super) fn schedule_reconnect(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let wait =
            peer.backoff.next(self.config.timing.reconnect_base, self.config.timing.reconnect_max, &mut self.rng);
        self.timers.set(Timer::Reconnect(id), self.now + wait);
    }

    /// A lost peer is due to be dialled.
    pub(super) fn reconnect(&mut self, id: NodeId) {
        self.redial(id, false);
    }

    /// Dials the next address of a lost peer. One that is only hearsay may have to wait for its turn, which may be long
    /// in coming; where the peer is known to have been need not. When its turn comes, only hearsay has `waited`: the
    /// other addresses keep to the backoff.
    fn redial(&mut self, id: NodeId, waited: bool) {
        let given_up = |peer: &crate::peer::Peer| peer.backoff.failures() > 1;
        if self.is_leaving() || mutant!(GiveUpOnLost) && self.peers.get(&id).is_some_and(given_up) {
            return;
        }
        if let Some(until) = self.muted() {
            return self.timers.set(Timer::Reconnect(id), until);
        }
        let Some(peer) = self.peers.get(&id) else { return };
        if !peer.is_lost() || peer.live.is_some() || peer.dialing.is_some() {
            return;
        }
        if peer.shunned_until > self.now {
            let until = peer.shunned_until;
            return self.timers.set(Timer::Reconnect(id), until);
        }
        let (known, mut addresses) = (peer.addresses.clone(), peer.addresses.clone());
        let free = |node: &Node, address| !node.own.contains(&address) && node.dial_to(address).is_none();
        let mut crowded = false;
        let address = addresses.next(|address| {
            if known.is_verified(address) {
                return !waited && free(self, address);
            }
            let follows = self.may_follow(address) && free(self, address);
            let room = self.dialer.has_room_at(address, &self.config.limits);
            crowded |= follows && !room;
            follows && room
        });
        let mut hearsay = address.is_some_and(|address| !known.is_verified(address));
        if crowded && !hearsay {
            self.stats.dial_limit_per_ip += 1;
            self.wait_to_be_dialled(id);
        }
        let Some(mut address) = address else { return self.retry_some_time(id) };
        if hearsay && !self.may_dial_hearsay(id, waited) {
            let verified = addresses.next(|address| !waited && known.is_verified(address) && free(self, address));
            let Some(verified) = verified else { return };
            (address, hearsay) = (verified, false);
        }
        let link = self.dial(address, Dial { expected: Some(id), hearsay, ..Dial::default() });
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.addresses = addresses;
            peer.dialing = Some(link);
        }
    }

    /// Sees to it that a lost peer is due again.
    pub(super) fn retry_some_time(&mut self, id: NodeId) {
        if self.timers.deadline(Timer::Reconnect(id)).is_none() {
            self.schedule_reconnect(id);
        }
    }

    /// A node known from hearsay is due to be dialled.
    pub(super) fn candidate_due(&mut self, id: NodeId) {
        self.try_candidate(id, false);
    }

    /// Dials a node known from hearsay, which may have `waited` for its turn.
    fn try_candidate(&mut self, id: NodeId, waited: bool) {
        if self.is_leaving() || self.candidates.find(id).is_none() {
            return;
        }
        if let Some(until) = self.muted() {
            return self.timers.set(Timer::Candidate(id), until);
        }
        match self.peers.get(&id) {
            Some(peer) if peer.announced => return,
            // It has its own schedule, which hearsay must not speed up; once it is forgotten, it is a candidate again.
            Some(_) => return self.postpone_candidate(id),
            None => {}
        }
        let Some(candidate) = self.candidates.find(id) else { return };
        if candidate.dialing.is_some() {
            return;
        }
        if self.tombstones.is_removed(id) || self.tombstones.covers(candidate.run) || !self.config.allows(id) {
            return self.postpone_candidate(id);
        }
        if !self.has_room(id) {
            self.stats.peer_limit += 1;
            return self.retry_candidate(id);
        }
        let mut addresses = candidate.addresses.clone();
        let mut crowded = false;
        let free = |address: SocketAddr| {
            let room = self.dialer.has_room_at(address, &self.config.limits);
            crowded |= !room;
            room && !self.own.contains(&address) && self.dial_to(address).is_none()
        };
        let Some(address) = addresses.next(free) else {
            if !crowded {
                return self.retry_candidate(id);
            }
            self.stats.dial_limit_per_ip += 1;
            return self.wait_to_be_dialled(id);
        };
        if !self.may_dial_hearsay(id, waited) {
            return;
        }
        let link = self.dial(address, Dial { expected: Some(id), hearsay: true, ..Dial::default() });
        if let Some(candidate) = self.candidates.find_mut(id) {
            candidate.addresses = addresses;
            candidate.dialing = Some(link);
        }
    }

    /// A dial for this node has ended, and not in a link that is up.
    pub(super) fn candidate_dial_ended(&mut self, id: NodeId, link: LinkId, reason: &Reason) {
        let Some(candidate) = self.candidates.find_mut(id).filter(|candidate| candidate.dialing == Some(link)) else {
            return;
        };
        candidate.dialing = None;
        self.retry_candidate(id);
        if *reason == Reason::Rejected(RejectCode::Outranked) {
            // The winner is on its way, or is half-open and will not survive the probe.
            self.timers.set(Timer::Candidate(id), self.now + self.config.timing.handshake_timeout);
        }
        if let Some(until) = self.shunned_for(reason) {
            self.timers.set(Timer::Candidate(id), until);
        }
        self.tell_if_unreachable(id);
    }

    /// Nothing is to be done about this node for now.
    fn postpone_candidate(&mut self, id: NodeId) {
        self.timers.set(Timer::Candidate(id), self.now + self.config.timing.seed_interval);
    }

    fn retry_candidate(&mut self, id: NodeId) {
        let Some(candidate) = self.candidates.find_mut(id) else { return };
        let timing = &self.config.timing;
        let wait = candidate.backoff.next(timing.reconnect_base, timing.reconnect_max, &mut self.rng);
        self.timers.set(Timer::Candidate(id), self.now + wait);
    }

    /// Says, once, that a node which a peer is connected to cannot be reached.
    pub(super) fn tell_if_unreachable(&mut self, id: NodeId) {
        let failures = self.peers.get(&id).map_or(0, |peer| peer.backoff.failures());
        let Some(candidate) = self.candidates.find_mut(id) else { return };
        if candidate.told || !candidate.is_current(self.now) || candidate.backoff.failures().max(failures) < UNREACHABLE
        {
            return;
        }
        let (peer, unseen) = (candidate.named_by, candidate.run);
        if self.peers.get(&peer.id).is_some_and(|peer| peer.announced) && !self.tombstones.is_removed(id) {
            candidate.told = true;
            self.event(Event::PartialPartition { peer, unseen });
        }
    }

    pub(super) fn drop_candidate(&mut self, id: NodeId) {
        self.candidates.remove(id);
        self.timers.cancel(Timer::Candidate(id));
    }

    /// Whether one more dial on hearsay may start now; if not, the node waits for its turn. Nobody goes before those who
    /// wait.
    fn may_dial_hearsay(&mut self, id: NodeId, waited: bool) -> bool {
        if (waited || self.dialer.waiting.is_empty()) && self.has_turn() {
            return self.dialer.budget.take(self.now, self.config.limits.hearsay());
        }
        self.stats.dial_limit += 1;
        self.wait_to_be_dialled(id);
        if self.has_turn() {
            // Whoever has waited for longest, and need not wait for room at one IP.
            self.timers.set_no_later(Timer::Dialer, self.now);
        }
        false
    }

    fn wait_to_be_dialled(&mut self, id: NodeId) {
        let limits = &self.config.limits;
        let most = limits.max_peers.saturating_add(limits.max_candidates);
        if self.dialer.waiting() >= most && !self.dialer.queued.contains(&id) {
            // So many are not known any more, or this one would have no place among those who are.
            let (peers, candidates) = (&self.peers, &self.candidates);
            self.dialer.retain(|id| peers.contains_key(&id) || candidates.find(id).is_some());
        }
        self.dialer.wait(id);
    }

    /// Whether a dial on hearsay may start now. If not, the end of another brings the next turn, or time does.
    fn has_turn(&mut self) -> bool {
        let limits = &self.config.limits;
        if self.dialer.in_flight.len() >= limits.max_dials {
            return false;
        }
        if self.dialer.budget.tokens(self.now, limits.hearsay()) > 0 {
            return true;
        }
        self.timers.set_no_later(Timer::Dialer, self.dialer.budget.next(limits.hearsay()));
        false
    }

    /// There may be room for those who wait to be dialled.
    pub(super) fn dial_waiting(&mut self) {
        let mut dialled = Vec::new();
        for _ in 0..self.dialer.waiting.len() {
            // Looked at first: who is taken from the queue and has no turn would lose the place.
            if !self.has_turn() {
                break;
            }
            let Some(id) = self.dialer.next() else { break };
            match self.peers.get(&id) {
                // It is being dialled where it was.
                Some(peer) if peer.is_lost() && peer.dialing.is_some() => dialled.push(id),
                Some(peer) if peer.is_lost() => self.redial(id, true),
                // If it waits for one IP alone it does not keep the others waiting.
                _ => self.try_candidate(id, true),
            }
        }
        for id in dialled.into_iter().rev() {
            self.dialer.wait_in_front(id);
        }
    }

    /// Whether an address that others name may be dialled: only kinds of address that this node has to do with, and the
    /// networks on its list, so that a liar cannot point it at strangers' loopback or private networks.
    pub(super) fn may_follow(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let listed = || self.config.follow.iter().any(|network| network.contains(&ip));
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
    use crate::id::{Incarnation, Run};
    use crate::peer::Peer;

    #[test]
    fn who_was_forgotten_while_waiting_gives_the_place_to_who_is_known() {
        let mut limits = Limits::default();
        (limits.max_peers, limits.max_candidates) = (1, 2);
        let config = crate::config::Config::insecure_plaintext().limits(limits);
        let start = crate::node::Start { seed: [1; 32], incarnation: Incarnation(1), listen: None };
        let mut node = Node::new(config, start, Instant::ZERO).unwrap();
        while node.dialer.budget.take(Instant::ZERO, node.config.limits.hearsay()) {}
        (1..=3).for_each(|forgotten| node.dialer.wait(NodeId::from_bytes([forgotten; 16])));
        let run = Run { id: NodeId::from_bytes([9; 16]), incarnation: Incarnation(1) };
        node.peers.insert(run.id, Peer::new(run));
        for _ in 0..2 {
            assert!(!node.may_dial_hearsay(run.id, false));
            assert_eq!((node.dialer.waiting(), node.dialer.waiting.front()), (1, Some(&run.id)));
        }
    }
}
