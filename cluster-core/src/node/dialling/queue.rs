//! The order of dials on hearsay: a budget, places, and two kinds of waiters.
//!
//! A contact waits for a token, to be dialled anywhere, or for room at one host, to be dialled there. It draws a ticket
//! when it begins to wait and keeps it when it changes from one to the other, so that the order is that of arrival: no
//! newcomer passes a waiter that could use the turn, and a waiter at a crowded host delays no other.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, SocketAddr};

use crate::address::source;
use crate::bucket::TokenBucket;
use crate::config::Limits;
use crate::id::{LinkId, NodeId};
use crate::time::Instant;

/// The dials to addresses from hearsay: a budget whose tokens return when a dial ends at a member, the dials under way,
/// and the contacts that wait. At most all contacts wait.
#[derive(Clone, Debug)]
pub(in crate::node) struct Queue {
    budget: TokenBucket,
    /// The hosts of the dials under way that are not yet known to lead to a member.
    in_flight: BTreeMap<LinkId, IpAddr>,
    /// The waiters for a token, by ticket.
    tokens: BTreeMap<u64, NodeId>,
    /// The waiters for room at a host, by ticket. No host has an empty entry.
    rooms: BTreeMap<IpAddr, BTreeMap<u64, NodeId>>,
    /// The place of every waiter.
    places: BTreeMap<NodeId, (u64, Turn)>,
    next_ticket: u64,
}

/// What a contact waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Turn {
    /// A token, to be dialled anywhere.
    Token,
    /// Room at this host, to be dialled there.
    Room(IpAddr),
}

impl Turn {
    /// Returns the turn for a dial to the host of an address.
    pub(in crate::node) fn at(address: SocketAddr) -> Turn {
        Turn::Room(source(address.ip()))
    }

    pub(in crate::node) fn is_for(self, address: SocketAddr) -> bool {
        self == Turn::Token || self == Turn::at(address)
    }
}

impl Queue {
    pub(in crate::node) fn new(limits: &Limits, now: Instant) -> Queue {
        Queue {
            budget: TokenBucket::full(limits.hearsay(), now),
            in_flight: BTreeMap::new(),
            tokens: BTreeMap::new(),
            rooms: BTreeMap::new(),
            places: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    /// Gives back the token of a dial that ended at a member.
    pub(in crate::node) fn refund(&mut self, limits: &Limits) {
        self.budget.refund(limits.hearsay());
    }

    /// Counts a dial for which a token was taken.
    pub(in crate::node) fn begin(&mut self, link: LinkId, address: SocketAddr) {
        let before = self.in_flight.insert(link, source(address.ip()));
        debug_assert!(before.is_none(), "a dial takes one place");
    }

    /// Counts a dial no longer: it is over, or leads to a member.
    pub(in crate::node) fn done(&mut self, link: LinkId) {
        self.in_flight.remove(&link);
    }

    /// Returns whether a dial may start: there is a token, and a place.
    pub(in crate::node) fn is_open(&mut self, limits: &Limits, now: Instant) -> bool {
        self.in_flight.len() < limits.max_dials && self.budget.tokens(now, limits.hearsay()) > 0
    }

    /// Returns when time alone brings the next turn. If places are missing, the end of a dial does.
    pub(in crate::node) fn next_token(&mut self, limits: &Limits, now: Instant) -> Option<Instant> {
        let waits = self.in_flight.len() < limits.max_dials && self.budget.tokens(now, limits.hearsay()) == 0;
        waits.then(|| self.budget.next(limits.hearsay()))
    }

    pub(in crate::node) fn take_token(&mut self, limits: &Limits, now: Instant) -> bool {
        self.budget.take(now, limits.hearsay())
    }

    /// Returns whether one more dial may go to the host of an address.
    pub(in crate::node) fn has_room(&self, address: SocketAddr, limits: &Limits) -> bool {
        self.has_room_at(source(address.ip()), limits)
    }

    fn has_room_at(&self, host: IpAddr, limits: &Limits) -> bool {
        host.is_loopback() || self.in_flight.values().filter(|to| **to == host).count() < limits.max_dials_per_ip
    }

    /// Returns the number of waiters.
    pub(in crate::node) fn waiting(&self) -> usize {
        self.places.len()
    }

    pub(in crate::node) fn is_waiting(&self, id: NodeId) -> bool {
        self.places.contains_key(&id)
    }

    /// Returns the first waiter that can use a turn now, and the turn.
    pub(in crate::node) fn first(&self, limits: &Limits, is_ready: impl Fn(NodeId) -> bool) -> Option<(NodeId, Turn)> {
        let first =
            |waiters: &BTreeMap<u64, NodeId>| waiters.iter().map(|(at, id)| (*at, *id)).find(|(_, id)| is_ready(*id));
        let token = first(&self.tokens).map(|(ticket, id)| (ticket, id, Turn::Token));
        let rooms = self.rooms.iter().filter(|(host, _)| self.has_room_at(**host, limits));
        let rooms = rooms.filter_map(|(host, waiters)| first(waiters).map(|(at, id)| (at, id, Turn::Room(*host))));
        token.into_iter().chain(rooms).min_by_key(|(ticket, ..)| *ticket).map(|(_, id, turn)| (id, turn))
    }

    /// Adds a waiter behind the others. One that waits already keeps its ticket, and waits for a token if either says so.
    pub(in crate::node) fn wait(&mut self, id: NodeId, turn: Turn) {
        match self.places.get(&id) {
            Some((_, Turn::Token)) => {}
            Some(&(ticket, _)) => self.put(id, ticket, turn),
            None => {
                self.put(id, self.next_ticket, turn);
                self.next_ticket += 1;
            }
        }
    }

    /// Ends the turn of a waiter that was not dialled. It keeps its ticket if it waits for room at a host, and waits no
    /// longer otherwise.
    pub(in crate::node) fn pass(&mut self, id: NodeId, wait: Option<Turn>) {
        match (self.places.get(&id), wait) {
            (Some(&(ticket, _)), Some(turn @ Turn::Room(_))) => self.put(id, ticket, turn),
            _ => self.withdraw(id),
        }
    }

    /// Ends the turn of a waiter that is dialled. If it waits for room at another host meanwhile, it does so behind all
    /// others: it has had its turn, and a node with many addresses would otherwise have one for each.
    pub(in crate::node) fn serve(&mut self, id: NodeId, wait: Option<Turn>) {
        self.withdraw(id);
        if let Some(turn) = wait {
            self.wait(id, turn);
        }
    }

    /// Removes a waiter.
    pub(in crate::node) fn withdraw(&mut self, id: NodeId) {
        match self.places.remove(&id) {
            Some((ticket, Turn::Token)) => {
                self.tokens.remove(&ticket);
            }
            Some((ticket, Turn::Room(host))) => {
                let waiters = self.rooms.get_mut(&host);
                if waiters.is_some_and(|waiters| waiters.remove(&ticket).is_some() && waiters.is_empty()) {
                    self.rooms.remove(&host);
                }
            }
            None => {}
        }
    }

    fn put(&mut self, id: NodeId, ticket: u64, turn: Turn) {
        self.withdraw(id);
        match turn {
            Turn::Token => &mut self.tokens,
            Turn::Room(host) => self.rooms.entry(host).or_default(),
        }
        .insert(ticket, id);
        self.places.insert(id, (ticket, turn));
        debug_assert_eq!(
            self.places.len(),
            self.tokens.len() + self.rooms.values().map(BTreeMap::len).sum::<usize>(),
            "every waiter has one place"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u8) -> NodeId {
        NodeId::from_bytes([id; 16])
    }

    fn at(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 1))
    }

    fn queue() -> (Queue, Limits) {
        let limits = Limits::default();
        (Queue::new(&limits, Instant::ZERO), limits)
    }

    /// Fills the places at a host.
    fn crowd(queue: &mut Queue, limits: &Limits, host: u8) {
        (0..limits.max_dials_per_ip as u64).for_each(|link| queue.begin(LinkId(u64::from(host) << 8 | link), at(host)));
    }

    #[test]
    fn waiter_at_a_crowded_host_delays_no_other_host() {
        let (mut queue, limits) = queue();
        crowd(&mut queue, &limits, 1);
        queue.wait(id(1), Turn::at(at(1)));
        assert_eq!(queue.first(&limits, |_| true), None);
        queue.wait(id(2), Turn::at(at(2)));
        queue.wait(id(3), Turn::Token);
        assert_eq!(queue.first(&limits, |_| true), Some((id(2), Turn::at(at(2)))));
        queue.serve(id(2), None);
        assert_eq!(queue.first(&limits, |_| true), Some((id(3), Turn::Token)));
        queue.done(LinkId(1 << 8));
        assert_eq!(queue.first(&limits, |_| true), Some((id(1), Turn::at(at(1)))), "it has waited longest");
        assert_eq!(queue.first(&limits, |waiter| waiter != id(1)), Some((id(3), Turn::Token)));
    }

    #[test]
    fn waiter_keeps_its_ticket_when_it_waits_for_something_else() {
        let (mut queue, limits) = queue();
        crowd(&mut queue, &limits, 1);
        queue.wait(id(1), Turn::at(at(1)));
        queue.wait(id(2), Turn::Token);
        queue.wait(id(1), Turn::Token);
        queue.wait(id(1), Turn::at(at(1)));
        assert_eq!(queue.first(&limits, |_| true), Some((id(1), Turn::Token)), "a token if either says so");
        queue.pass(id(1), Some(Turn::at(at(1))));
        assert_eq!(queue.first(&limits, |_| true), Some((id(2), Turn::Token)));
        queue.done(LinkId(1 << 8));
        assert_eq!(queue.first(&limits, |_| true), Some((id(1), Turn::at(at(1)))));
        queue.serve(id(1), Some(Turn::at(at(1))));
        assert_eq!(queue.first(&limits, |_| true), Some((id(2), Turn::Token)), "it has had its turn");
    }

    #[test]
    fn withdrawn_waiters_leave_nothing_behind() {
        let (mut queue, _) = queue();
        for (waiter, turn) in [(1, Turn::Token), (2, Turn::at(at(1))), (3, Turn::at(at(1)))] {
            queue.wait(id(waiter), turn);
        }
        assert_eq!(queue.waiting(), 3);
        (1..=4).for_each(|waiter| queue.withdraw(id(waiter)));
        assert!(queue.places.is_empty() && queue.tokens.is_empty() && queue.rooms.is_empty());
    }

    #[test]
    fn time_brings_a_turn_only_if_a_token_is_all_that_misses() {
        let (mut queue, limits) = queue();
        assert_eq!(queue.next_token(&limits, Instant::ZERO), None);
        while queue.take_token(&limits, Instant::ZERO) {}
        assert!(!queue.is_open(&limits, Instant::ZERO));
        let next = queue.next_token(&limits, Instant::ZERO).unwrap();
        assert!(queue.is_open(&limits, next));
        (0..limits.max_dials as u64).for_each(|link| queue.begin(LinkId(link), at(link as u8)));
        assert!(!queue.is_open(&limits, next) && queue.next_token(&limits, next).is_none());
    }
}
