//! The nodes and addresses that this node dials, and those it must not.
//!
//! Every node that can be dialled is a [`Contact`]: a lost peer, or a node that peers name. So is every target, a join or
//! a seed. [`next_step`] decides what to do about one that is due, for all three.
//!
//! # Why it is like this
//!
//! * Hearsay about addresses may be a lie. A dial on hearsay takes a token that returns only when a member answers, so
//!   an honest mesh forms at full speed and a liar makes this node dial as often as tokens refill (SECURITY.md, row
//!   14). No newcomer passes a node that waits for a token, or newcomers would take every one.
//! * A lost peer and the hearsay about it share one contact and one backoff. With two, a liar could have a lost peer dialled
//!   twice as often, and a peer that was forgotten would begin with a schedule of its own.
//! * Hearsay leads only to kinds of address that this node has to do with: no member can send a public node into a
//!   private network ([`Dialling::may_follow`]).
//! * A dial is never given up because an inbound link was granted meanwhile; `node/claim` says why.
//! * A node that met another live node with its own id stops dialling for a while: the two would push each other out of
//!   every mesh. A member can lie about it, so joins and seeds resume afterwards on their own.

mod addresses;
mod contact;
mod contacts;
mod queue;
mod step;
mod targets;

use alloc::collections::BTreeSet;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use self::contact::{Contact, Origin, UNREACHABLE};
use self::contacts::{Contacts, Heard};
use self::queue::Queue;
pub(in crate::node) use self::queue::Turn;
pub(in crate::node) use self::step::{Pairing, Step};
use self::step::{View, next_step};
use self::targets::Targets;
use super::context::Context;
use super::pairs::Pairs;
use super::timer::Timer;
use crate::address::{Advertised, Reach, reach};
use crate::config::Limits;
use crate::event::Event;
use crate::id::{LinkId, NodeId, Run};
use crate::limits::MAX_ALIASES;
use crate::reason::Reason;
use crate::time::Instant;
use crate::wire::RejectCode;

/// A joiner dials everyone on its own; a node that hears of it waits this long, and up to three times as long, before it
/// dials the joiner.
pub(super) const COURTESY: Duration = Duration::from_millis(500);

/// The nodes and addresses to dial, and the addresses of this node.
#[derive(Clone, Debug)]
pub(super) struct Dialling {
    contacts: Contacts,
    targets: Targets,
    queue: Queue,
    /// Socket addresses that lead to this node.
    own: BTreeSet<SocketAddr>,
    /// The kinds of address that this node has to do with, so that hearsay may send it there.
    reaches: BTreeSet<Reach>,
    /// Another live node has this id; the node does not dial before this time.
    muted_until: Option<Instant>,
}

/// The sizes of the tables of [`Dialling`].
pub(super) struct Sizes {
    pub(super) candidates: usize,
    pub(super) introduced: usize,
    pub(super) waiting: usize,
    pub(super) targets: usize,
    pub(super) own: usize,
}

impl Dialling {
    pub(super) fn new(limits: &Limits, now: Instant) -> Dialling {
        Dialling {
            contacts: Contacts::default(),
            targets: Targets::default(),
            queue: Queue::new(limits, now),
            own: BTreeSet::new(),
            reaches: BTreeSet::new(),
            muted_until: None,
        }
    }

    /// Replaces the addresses that lead to this node.
    pub(super) fn set_own(&mut self, addresses: impl Iterator<Item = SocketAddr>) {
        self.own.clear();
        for address in addresses {
            self.own.insert(address);
            self.reaches.insert(reach(address));
        }
    }

    /// Adds an address that leads to this node, as a link has shown.
    pub(super) fn add_own(&mut self, address: SocketAddr) {
        if self.own.len() < MAX_ALIASES {
            self.own.insert(address);
        }
    }

    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        self.own.contains(&address)
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

    pub(super) fn sizes(&self) -> Sizes {
        Sizes {
            candidates: self.contacts.heard(),
            introduced: self.contacts.most_introduced(),
            waiting: self.queue.waiting(),
            targets: self.targets.len(),
            own: self.own.len(),
        }
    }

    pub(super) fn targets(&self) -> &Targets {
        &self.targets
    }

    pub(super) fn targets_mut(&mut self) -> &mut Targets {
        &mut self.targets
    }

    /// Returns whether every record of a peer has a contact that knows of it, no other contact claims to have one, and no
    /// contact of a peer waits for a dial that is gone. Costs nothing for contacts from hearsay, of which there may be many.
    pub(super) fn is_consistent(&self, pairs: &Pairs) -> bool {
        let is_sound = |contact: &Contact| {
            contact.origin == Origin::Peer && contact.dialing.is_none_or(|link| pairs.link(link).is_some())
        };
        self.contacts.peers() == pairs.peers().len()
            && pairs.peers().all(|peer| self.contacts.get(peer.run.id).is_some_and(is_sound))
    }
}

/// The contacts of peers.
impl Dialling {
    /// Notes that a node has a record from now on.
    pub(super) fn begin(&mut self, id: NodeId) {
        self.contacts.begin(id);
    }

    /// Notes that the record of a node is now that of a later run.
    pub(super) fn restarted(&mut self, id: NodeId) {
        if let Some(contact) = self.contacts.get_mut(id) {
            contact.addresses.restarted();
            contact.shunned_until = Instant::ZERO;
        }
    }

    /// Notes that a node has no record any longer. Hearsay about it stays.
    pub(super) fn end(&mut self, cx: &mut Context, id: NodeId) {
        if self.contacts.end(id) {
            self.back_off(cx, id);
        } else {
            self.drop(cx, id);
        }
    }

    /// Notes that a peer is up: it waits for no dial. If it is up for the first time, the failures before were those of
    /// hearsay. If it is back, the backoff continues until the link has [lasted](Dialling::stable), or a peer that
    /// fails at once each time would be dialled without a pause.
    pub(super) fn up(&mut self, cx: &mut Context, id: NodeId, link: LinkId, is_first: bool) {
        self.contacts.drop_hearsay(id);
        self.drop(cx, id);
        let Some(contact) = self.contacts.get_mut(id) else { return };
        contact.dialing.take_if(|dialing| *dialing == link);
        if is_first {
            contact.backoff.reset();
        }
    }

    /// Notes that a link to a peer has lasted: its next loss is a first one.
    pub(super) fn stable(&mut self, id: NodeId) {
        if let Some(contact) = self.contacts.get_mut(id) {
            contact.backoff.reset();
            contact.corrected = false;
        }
    }

    /// Notes that a link is the live one of a peer: what the peer advertises, the IP at which it was seen, and the address
    /// that was dialled, if it was. Returns whether the addresses that others may be told have changed.
    pub(super) fn advertise(
        &mut self,
        id: NodeId,
        advertised: &[Advertised],
        seen: IpAddr,
        dialled: Option<SocketAddr>,
    ) -> bool {
        let Some(contact) = self.contacts.get_mut(id) else { return false };
        let before = contact.addresses.gossiped().to_vec();
        contact.addresses.advertise(advertised, seen);
        dialled.into_iter().for_each(|address| contact.addresses.reached(address));
        contact.addresses.gossiped() != before
    }

    /// Notes that a peer has changed what it advertises.
    pub(super) fn update(&mut self, id: NodeId, advertised: &[Advertised]) {
        if let Some(contact) = self.contacts.get_mut(id) {
            contact.addresses.update(advertised);
        }
    }

    /// Notes that an address leads to a peer.
    pub(super) fn alias(&mut self, id: NodeId, address: SocketAddr) {
        if let Some(contact) = self.contacts.get_mut(id) {
            contact.addresses.alias(address);
        }
    }

    /// Does not dial a node before `until`: it has violated the protocol.
    pub(super) fn shun(&mut self, id: NodeId, until: Instant) {
        if let Some(contact) = self.contacts.get_mut(id) {
            contact.shunned_until = until;
        }
    }

    /// Returns the address of a peer that users see.
    pub(super) fn preferred(&self, id: NodeId) -> Option<SocketAddr> {
        self.contacts.get(id)?.addresses.preferred()
    }

    /// Returns the addresses of a peer that other peers may be told.
    pub(super) fn gossiped(&self, id: NodeId) -> &[SocketAddr] {
        self.contacts.get(id).map_or(&[], |contact| contact.addresses.gossiped())
    }

    pub(super) fn advertises(&self, id: NodeId, address: SocketAddr) -> bool {
        self.contacts.get(id).is_some_and(|contact| contact.addresses.advertises(address))
    }

    /// Returns whether a dial to `address` once reached the peer.
    pub(super) fn is_verified(&self, id: NodeId, address: SocketAddr) -> bool {
        self.contacts.get(id).is_some_and(|contact| contact.addresses.is_verified(address))
    }

    /// Returns the IPs at which peers were seen.
    pub(super) fn seen(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.contacts.iter().flat_map(|(_, contact)| contact.addresses.seen())
    }

    /// Returns the connected peer at an address. An address that a peer merely advertises does not count, or a liar could
    /// keep this node from a seed.
    pub(super) fn occupant(&self, pairs: &Pairs, address: SocketAddr) -> Option<NodeId> {
        let is_connected = |id| pairs.peer(id).is_some_and(|peer| peer.live().is_some() || peer.is_up());
        self.contacts.verified_at(address, |id, _| is_connected(id))
    }

    /// Returns whether a peer at this address has violated the protocol lately.
    pub(super) fn is_shunned_at(&self, now: Instant, address: SocketAddr) -> bool {
        self.contacts.verified_at(address, |_, contact| contact.shunned_until > now).is_some()
    }
}

/// Hearsay.
impl Dialling {
    /// Takes a claim by a peer that it is connected to a run, at addresses that this node may dial. Returns whether it is
    /// news. A joiner has its `courtesy` before it is dialled.
    pub(super) fn hear(
        &mut self,
        cx: &mut Context,
        pairs: &Pairs,
        by: Run,
        run: Run,
        addresses: &[SocketAddr],
        courtesy: Duration,
    ) -> bool {
        let limits = &cx.config.limits;
        let (cap, quota) = (limits.max_candidates, limits.max_candidates_per_peer);
        let heard = self.contacts.hear(run, by, cx.now, cap, quota);
        let record = pairs.peer(run.id);
        let is_earlier = record.is_some_and(|peer| run.incarnation < peer.run.incarnation);
        let contact = self.contacts.get_mut(run.id).filter(|_| !is_earlier);
        let leads_on = contact.is_some_and(|contact| contact.hear(addresses));
        match record {
            Some(peer) if peer.is_lost() && leads_on => {
                let soon = cx.now + courtesy + cx.rng.up_to(COURTESY);
                cx.timers.set_no_later(Timer::Contact(run.id), soon);
            }
            None if heard == Heard::New => cx.timers.set_no_later(Timer::Contact(run.id), cx.now + courtesy),
            _ => {}
        }
        cx.stats.candidate_limit += u64::from(heard == Heard::NoRoom);
        matches!(heard, Heard::New | Heard::Later)
    }

    /// Returns the runs that peers have named recently.
    pub(super) fn current(&self, now: Instant) -> impl Iterator<Item = Run> + '_ {
        self.contacts.current(now)
    }

    /// Returns the latest run of a node that peers have named.
    pub(super) fn named(&self, id: NodeId) -> Option<Run> {
        Some(self.contacts.get(id)?.hearsay?.run)
    }

    /// Forgets what peers have said of a node.
    pub(super) fn drop_hearsay(&mut self, cx: &mut Context, id: NodeId) {
        if !self.contacts.drop_hearsay(id) {
            self.drop(cx, id);
        }
    }

    /// Forgets the nodes that no peer has named for long.
    pub(super) fn forget(&mut self, cx: &mut Context) {
        for id in self.contacts.forgotten(cx.now) {
            self.drop_hearsay(cx, id);
        }
    }

    /// Forgets all hearsay: the node leaves.
    pub(super) fn drop_all_hearsay(&mut self, cx: &mut Context) {
        for id in self.contacts.named(|_| false) {
            self.drop_hearsay(cx, id);
        }
    }

    /// Reports, once, that a node cannot be reached which a peer is connected to.
    pub(super) fn report_unreachable(&mut self, cx: &mut Context, pairs: &Pairs, id: NodeId) {
        let Some(contact) = self.contacts.get_mut(id) else { return };
        let failures = contact.backoff.failures();
        let Some(hearsay) = contact.hearsay.as_mut().filter(|hearsay| !hearsay.reported) else { return };
        let (peer, unseen) = (hearsay.named_by, hearsay.run);
        let is_told_by_peer = pairs.peer(peer.id).is_some_and(|peer| peer.is_up());
        let is_wanted = is_told_by_peer && !pairs.tombstones.is_removed(id);
        if is_wanted && hearsay.is_current(cx.now) && failures >= UNREACHABLE {
            hearsay.reported = true;
            cx.event(Event::PartialPartition { peer, unseen });
        }
    }

    /// Returns whether more than one dial to a node has failed in a row.
    pub(super) fn has_failed(&self, id: NodeId) -> bool {
        self.contacts.get(id).is_some_and(|contact| contact.backoff.failures() > 1)
    }

    fn drop(&mut self, cx: &mut Context, id: NodeId) {
        self.queue.withdraw(id);
        cx.timers.cancel(Timer::Contact(id));
    }
}

/// Dials.
impl Dialling {
    /// Decides what to do about a contact that is due, or whose turn has come, and does all but dial. Returns the address
    /// to dial, and whether it is hearsay.
    #[must_use]
    pub(super) fn step(
        &mut self,
        cx: &mut Context,
        pairs: &Pairs,
        id: NodeId,
        pairing: Pairing,
        turn: Option<Turn>,
    ) -> Option<(SocketAddr, bool)> {
        let has_token = turn.is_some() || self.next_waiter(cx, pairs).is_none() && self.is_open(cx);
        let contact = self.contacts.get(id)?;
        let step = next_step(
            contact,
            &View {
                now: cx.now,
                muted_until: self.muted(cx.now),
                later: cx.now + cx.config.timing.seed_interval,
                pairing,
                turn,
                has_token,
                may_follow: &|address| self.may_follow(cx, address),
                is_free: &|address| !self.is_own(address) && pairs.dial_to(address).is_none(),
                has_room: &|address| self.queue.has_room(address, &cx.config.limits),
            },
        );
        let wait = match step {
            Step::Dial { wait, .. } => wait,
            Step::Wait(turn) => Some(turn),
            Step::Rest | Step::Until(_) | Step::BackOff => None,
        };
        match (turn, wait) {
            (Some(_), wait) if matches!(step, Step::Dial { .. }) => self.queue.serve(id, wait),
            (Some(_), wait) => self.queue.pass(id, wait),
            (None, Some(wait)) => self.wait(cx, id, wait),
            (None, None) => {}
        }
        match step {
            Step::Rest => {}
            Step::Until(until) => cx.timers.set(Timer::Contact(id), until),
            Step::BackOff => {
                cx.stats.peer_limit += u64::from(pairing == Pairing::NoPlace);
                self.back_off(cx, id);
            }
            // The turn may be long in coming, and the contact may have other addresses by then.
            Step::Wait(_) => cx.timers.set_no_later(Timer::Contact(id), cx.now + cx.config.timing.reconnect_max),
            Step::Dial { address, hearsay, .. } => {
                if hearsay {
                    self.queue.take_token(&cx.config.limits, cx.now);
                }
                return Some((address, hearsay));
            }
        }
        None
    }

    /// Returns the contact whose turn it is, and the turn, if a dial on hearsay may start now.
    pub(super) fn next_turn(&mut self, cx: &mut Context, pairs: &Pairs) -> Option<(NodeId, Turn)> {
        let next = self.next_waiter(cx, pairs)?;
        self.is_open(cx).then_some(next)
    }

    /// Notes that a dial looks for a node.
    pub(super) fn dials(&mut self, id: NodeId, link: LinkId, address: SocketAddr) {
        if let Some(contact) = self.contacts.get_mut(id) {
            debug_assert!(contact.dialing.is_none(), "one dial at a time looks for a node");
            contact.dialing = Some(link);
            contact.addresses.tried(address);
        }
    }

    /// Counts a dial on hearsay until it is [decided](Dialling::decided).
    pub(super) fn count(&mut self, link: LinkId, address: SocketAddr) {
        self.queue.begin(link, address);
    }

    /// Notes that a dial is over, or leads to a member.
    pub(super) fn decided(&mut self, link: LinkId) {
        self.queue.done(link);
    }

    /// Gives back the token of a dial on hearsay that has found the node it looked for: what peers name truly costs
    /// nothing, what they make up does.
    pub(super) fn refund(&mut self, cx: &Context) {
        self.queue.refund(&cx.config.limits);
    }

    /// Notes that the dial that looked for a node is over. Returns whether this one did.
    pub(super) fn ended(&mut self, id: NodeId, link: LinkId) -> bool {
        self.contacts.get_mut(id).is_some_and(|contact| contact.dialing.take_if(|dialing| *dialing == link).is_some())
    }

    /// Sets the time of the next dial after one has failed.
    pub(super) fn failed(&mut self, cx: &mut Context, id: NodeId, reason: &Reason) {
        let Some(contact) = self.contacts.get_mut(id) else { return };
        let is_stale = matches!(reason, Reason::Rejected(RejectCode::Stale { .. }));
        let due = if *reason == Reason::Rejected(RejectCode::Outranked) {
            // The winner is on its way, or is half-open and will not survive the probe.
            self.queue.withdraw(id);
            cx.now + cx.config.timing.handshake_timeout
        } else if contact.shunned_until > cx.now {
            self.queue.withdraw(id);
            contact.shunned_until
        } else if is_stale && !core::mem::replace(&mut contact.corrected, true) {
            // It is a later run by now.
            cx.now + cx.config.timing.reconnect_base
        } else {
            let timing = &cx.config.timing;
            cx.now + contact.backoff.next(timing.reconnect_base, timing.reconnect_max, &mut cx.rng)
        };
        cx.timers.set(Timer::Contact(id), due);
    }

    /// Returns whether a contact will be looked at again: it has a deadline, or a dial looks for it, whose end sets one.
    pub(super) fn is_due(&self, cx: &Context, id: NodeId) -> bool {
        let is_sought = self.contacts.get(id).is_some_and(|contact| contact.dialing.is_some());
        is_sought || cx.timers.deadline(Timer::Contact(id)).is_some()
    }

    /// Sees to it that a contact is due again, after the next backoff if nothing else has made it due.
    pub(super) fn back_off(&mut self, cx: &mut Context, id: NodeId) {
        let Some(contact) = self.contacts.get_mut(id) else { return };
        if cx.timers.deadline(Timer::Contact(id)).is_none() {
            let timing = &cx.config.timing;
            let wait = contact.backoff.next(timing.reconnect_base, timing.reconnect_max, &mut cx.rng);
            cx.timers.set(Timer::Contact(id), cx.now + wait);
        }
    }

    /// Notes that another node answers at an address of this one. A node that no peer sees any longer, and that is at none
    /// of its addresses, is forgotten: the dials would continue for as long as it is remembered.
    pub(super) fn not_found_at(&mut self, cx: &mut Context, id: NodeId, address: SocketAddr) {
        let Some(contact) = self.contacts.get_mut(id) else { return };
        if contact.hearsay.is_some_and(|hearsay| hearsay.is_current(cx.now)) && contact.origin == Origin::Heard {
            return;
        }
        contact.addresses.moved_away(address);
        if contact.origin == Origin::Heard && contact.addresses.preferred().is_none() {
            self.drop_hearsay(cx, id);
        }
    }

    /// Returns the next address of a target that is `free`, unless the target must not be dialled now.
    pub(super) fn next_of_target(&self, cx: &Context, number: u64, free: &BTreeSet<SocketAddr>) -> Option<SocketAddr> {
        let step = next_step(
            self.targets.contact(number)?,
            &View {
                now: cx.now,
                muted_until: self.muted(cx.now),
                later: cx.now,
                pairing: Pairing::Unknown,
                turn: None,
                has_token: false,
                may_follow: &|_| true,
                is_free: &|address| free.contains(&address),
                has_room: &|_| true,
            },
        );
        match step {
            Step::Dial { address, .. } => Some(address),
            _ => None,
        }
    }

    /// Makes new limits reach the waiters.
    pub(super) fn retime(&self, cx: &mut Context) {
        if self.queue.waiting() > 0 {
            cx.timers.set_no_later(Timer::Token, cx.now);
        }
    }

    /// Returns the first waiter that could use a turn now, whether or not there is a token.
    fn next_waiter(&self, cx: &Context, pairs: &Pairs) -> Option<(NodeId, Turn)> {
        let is_idle = |id| pairs.peer(id).is_none_or(|peer| peer.is_lost() && peer.is_idle());
        let is_ready = |id| self.contacts.get(id).is_some_and(|contact| contact.dialing.is_none()) && is_idle(id);
        self.queue.first(&cx.config.limits, is_ready)
    }

    /// Returns whether a dial on hearsay may start now. If a token is all that misses, time brings the next turn; if a
    /// place is, the end of a dial does.
    fn is_open(&mut self, cx: &mut Context) -> bool {
        if let Some(next) = self.queue.next_token(&cx.config.limits, cx.now) {
            cx.timers.set_no_later(Timer::Token, next);
        }
        self.queue.is_open(&cx.config.limits, cx.now)
    }

    fn wait(&mut self, cx: &mut Context, id: NodeId, turn: Turn) {
        match turn {
            Turn::Token => cx.stats.dial_limit += 1,
            Turn::Room(_) => cx.stats.dial_limit_per_ip += u64::from(!self.queue.is_waiting(id)),
        }
        self.queue.wait(id, turn);
        if turn == Turn::Token && self.is_open(cx) {
            // Others have waited longer; the queue decides.
            cx.timers.set_no_later(Timer::Token, cx.now);
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
