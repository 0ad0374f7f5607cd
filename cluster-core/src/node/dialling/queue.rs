//! Whose turn it is to be dialled on hearsay: a budget, places, and those who wait for one or the other.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::address::source;
use crate::bucket::TokenBucket;
use crate::config::Limits;
use crate::id::{LinkId, NodeId};
use crate::time::Instant;

/// Dials to addresses that are only hearsay: a budget that is given back when a dial ends at a member. So an honest mesh
/// forms at full speed, and a liar makes us dial no more than the refill.
#[derive(Clone, Debug)]
pub(in crate::node) struct Queue {
    budget: TokenBucket,
    /// Under way, and not yet known to lead to a member: where to.
    in_flight: BTreeMap<LinkId, IpAddr>,
    /// Who waits, in order; nobody twice.
    waiting: VecDeque<NodeId>,
    turns: BTreeMap<NodeId, Turn>,
    /// How many of them had no use for a turn when they were last looked at: nobody need wait behind these.
    stuck: usize,
}

/// What a node waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Turn {
    /// A token or a place, to be dialled anywhere.
    Anywhere,
    /// Room at the host of this address, to be dialled there.
    At(SocketAddr),
}

impl Turn {
    pub(in crate::node) fn is_for(self, address: SocketAddr) -> bool {
        self == Turn::Anywhere || self == Turn::At(address)
    }
}

impl Queue {
    pub(in crate::node) fn new(limits: &Limits, now: Instant) -> Queue {
        Queue {
            budget: TokenBucket::full(limits.hearsay(), now),
            in_flight: BTreeMap::new(),
            waiting: VecDeque::new(),
            turns: BTreeMap::new(),
            stuck: 0,
        }
    }

    pub(in crate::node) fn refund(&mut self, limits: &Limits) {
        self.budget.refund(limits.hearsay());
    }

    /// A dial that a token was taken for.
    pub(in crate::node) fn begin(&mut self, link: LinkId, address: SocketAddr) {
        self.in_flight.insert(link, source(address.ip()));
    }

    /// A dial is over, or leads to a member.
    pub(in crate::node) fn done(&mut self, link: LinkId) {
        self.in_flight.remove(&link);
    }

    /// Whether there is a place for one more dial.
    pub(in crate::node) fn has_place(&self, limits: &Limits) -> bool {
        self.in_flight.len() < limits.max_dials
    }

    pub(in crate::node) fn has_token(&mut self, limits: &Limits, now: Instant) -> bool {
        self.budget.tokens(now, limits.hearsay()) > 0
    }

    /// When there is a token again, now that there is none.
    pub(in crate::node) fn next_token(&self, limits: &Limits) -> Instant {
        self.budget.next(limits.hearsay())
    }

    pub(in crate::node) fn take_token(&mut self, limits: &Limits, now: Instant) -> bool {
        self.budget.take(now, limits.hearsay())
    }

    /// Whether one more dial may go to this address, as far as the others that go there are concerned.
    pub(in crate::node) fn has_room_at(&self, address: SocketAddr, limits: &Limits) -> bool {
        let to = source(address.ip());
        let there = self.in_flight.values().filter(|other| **other == to).count();
        to.is_loopback() || there < limits.max_dials_per_ip
    }

    /// How many wait.
    pub(in crate::node) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(in crate::node) fn is_waiting(&self, id: NodeId) -> bool {
        self.turns.contains_key(&id)
    }

    /// Whether the next turn is that of somebody who waits.
    pub(in crate::node) fn is_taken(&self) -> bool {
        self.waiting.len() > self.stuck
    }

    /// A node waits behind the others. If it does already, it keeps its place, and can be dialled anywhere if either
    /// says so.
    pub(in crate::node) fn wait(&mut self, id: NodeId, turn: Turn) {
        let is_stuck = turn != Turn::Anywhere;
        match self.turns.get_mut(&id) {
            None => {
                self.turns.insert(id, turn);
                self.waiting.push_back(id);
                self.stuck += usize::from(is_stuck);
            }
            Some(before) if !is_stuck && *before != turn => {
                *before = turn;
                self.stuck = self.stuck.saturating_sub(1);
            }
            Some(_) => {}
        }
    }

    /// A node waits no longer.
    pub(in crate::node) fn withdraw(&mut self, id: NodeId) {
        if self.turns.remove(&id).is_some() {
            self.waiting.retain(|waiting| *waiting != id);
            self.stuck = 0;
        }
    }

    pub(in crate::node) fn retain(&mut self, is_known: impl Fn(NodeId) -> bool) {
        self.waiting.retain(|id| is_known(*id));
        self.turns.retain(|id, _| is_known(*id));
        self.stuck = 0;
    }

    /// Begins a round through those who wait, and says how many they are.
    pub(in crate::node) fn begin_round(&mut self) -> usize {
        self.stuck = 0;
        self.waiting.len()
    }

    /// Takes who is next.
    pub(in crate::node) fn next(&mut self) -> Option<(NodeId, Turn)> {
        let id = self.waiting.pop_front()?;
        Some((id, self.turns.remove(&id)?))
    }

    /// Takes the one that was taken last, and to whom it was of no use, so that it waits again behind all others.
    pub(in crate::node) fn take_back(&mut self, id: NodeId) -> Option<(NodeId, Turn)> {
        let turn = self.turns.remove(&id)?;
        self.waiting.pop_back();
        self.stuck = self.stuck.saturating_sub(usize::from(turn != Turn::Anywhere));
        Some((id, turn))
    }

    /// Those of the round to whom their turns were of no use, in order, keep their places.
    pub(in crate::node) fn end_round(&mut self, stuck: Vec<(NodeId, Turn)>) {
        self.stuck += stuck.len();
        for (id, turn) in stuck.into_iter().rev() {
            self.turns.insert(id, turn);
            self.waiting.push_front(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u8) -> NodeId {
        NodeId::from_bytes([id; 16])
    }

    fn dialer() -> Queue {
        Queue::new(&Limits::default(), Instant::ZERO)
    }

    const THERE: Turn = Turn::At(SocketAddr::new(IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 1));

    #[test]
    fn who_cannot_use_a_turn_keeps_the_place_and_nobody_need_wait_behind_it() {
        let mut dialer = dialer();
        [1, 2].into_iter().for_each(|stuck| dialer.wait(id(stuck), THERE));
        assert!(!dialer.is_taken());
        dialer.wait(id(3), Turn::Anywhere);
        assert!(dialer.is_taken());

        assert_eq!(dialer.begin_round(), 3);
        let [one, two, three] = [1, 2, 3].map(|expected| dialer.next().filter(|(of, _)| *of == id(expected)).unwrap());
        dialer.wait(id(2), Turn::Anywhere);
        assert_eq!(dialer.take_back(id(2)), Some((id(2), Turn::Anywhere)));
        assert_eq!(dialer.take_back(id(3)), None);
        dialer.wait(id(4), Turn::Anywhere);
        assert_eq!(three.1, Turn::Anywhere);
        dialer.end_round(Vec::from([one, two]));
        assert!(dialer.is_taken());
        assert_eq!([(); 3].map(|()| dialer.next().unwrap().0), [1, 2, 4].map(id));
    }

    #[test]
    fn who_waits_for_room_somewhere_can_come_to_wait_for_any_turn_and_keeps_the_place() {
        let mut dialer = dialer();
        dialer.wait(id(1), THERE);
        dialer.wait(id(2), THERE);
        dialer.wait(id(1), Turn::Anywhere);
        dialer.wait(id(1), THERE);
        assert!(dialer.is_taken());
        assert_eq!(dialer.next(), Some((id(1), Turn::Anywhere)));
        assert!(!dialer.is_taken());
    }
}
