//! The choice of one link among several of a pair of runs.
//!
//! Each side may dial the other at the same moment, so two links come up. Both ends must keep the same one, though they
//! see the events in different orders, and neither may end up with none.
//!
//! # The rule
//!
//! Per pair of runs, `generation` is the highest of any claim seen. The dialler claims its link with a generation one
//! higher. Of two links the greater (generation, dialler's id) wins, at both ends, whatever the order of events.
//!
//! # Why it is like this
//!
//! * Three simpler rules redial forever in some order of events. "The greater id wins" lets a half-open link of the winner
//!   keep a restarted node out. A dial that is given up once an inbound link is granted leaves both sides without a link
//!   if both give up. A claim that is refused while the node dials is refused at both ends. The mutants `GreaterIdWins`,
//!   `CancelDialOnAccept` and `RefuseWhileDialing` are these rules; the search over every order of events in `search.rs`
//!   finds each.
//! * The loser is not simply closed. A node whose live link outranks a newcomer probes the live link, because the newcomer
//!   may exist only because the other side has lost that link without this side knowing.
//! * A claim of another run of the same node is held, not answered, while the live link is probed: if the link answers, the
//!   newcomer is a clone and is refused; if it does not, the node has restarted.
//! * The winner fences the loser before it states where its streams stand, see `node/mail/sessions`.
//! * A connection may end at the other side while the grant of our claim is still on its way here. Meanwhile the streams
//!   may move over another link, so that the offer in the grant is out of date. Therefore a claim is void once a link of
//!   higher rank was live here, even if that link has ended. The other side can have moved its streams only over such a
//!   link, because it drops a grant of lower rank by the same rule. Mutant `OutdatedAccept`, scenario
//!   `grant_that_outlives_its_link_is_void_where_dials_cross`.
//! * The dialler may see its granted link come up after the old one was fenced at the other end. Until then the peer is in
//!   limbo: it counts as up, so that the user sees no flap.
//! * A generation may rise by `MAX_GENERATION_STEP` at most, or one claim by a liar would end all later ones.
//!
//! PROTOCOL.md has the rules for the other side under "Claims", "Rank", "Fencing" and "Probe".

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Node;
use super::me::MUTE;
use super::timer::Timer;
use crate::action::CloseMode;
use crate::address::canonical;
use crate::channel::Proven;
use crate::event::Event;
use crate::id::{Incarnation, LinkId, NodeId, Run};
use crate::link::{LinkState, Rank};
use crate::mutant::mutant;
use crate::peer::Peer;
use crate::reason::{ProtocolError, Reason};
use crate::wire::RejectCode;
use crate::wire::{Accept, Claim, Frame, Profile, Reject, Resume};

/// How far above the run that others know a node adopts its incarnation, at most: one second, in microseconds. Within
/// it chance decides, so that two processes that are told of the same run do not become the same run.
const MAX_ADOPTED_LEAD: u64 = 1_000_000;

/// Why a dial that reached a run does not claim it.
enum Refusal {
    /// The other side need not know.
    Silent(Reason),
    /// The other side can do something about it.
    Told(RejectCode),
}

impl Node {
    /// The channel of a link stands, and has proven who is at the other end.
    pub(super) fn connected(&mut self, id: LinkId, proven: Proven, local: SocketAddr) {
        let Some(link) = self.pairs.link_mut(id).filter(|link| link.state == LinkState::Opening) else { return };
        let local = canonical(local);
        link.proven = Some(proven);
        link.heard = self.cx.now;
        let remote = link.remote;
        let outbound = link.dial.clone();
        if outbound.is_none() {
            link.state = LinkState::Authenticated;
            // A driver that does not report the hello reports this.
            self.seat(id);
        }
        if let Some(reason) = self.distrusts(&proven) {
            return self.turn_out(id, reason);
        }
        if let Some(link) = self.pairs.link(id) {
            self.gate.refund(&self.cx, link);
        }
        self.dialling.decided(id);
        self.dialling.reached_from(local);
        match outbound {
            None => {
                if let Some(listen) = self.me.listen() {
                    self.dialling.add_own(SocketAddr::new(local.ip(), listen.port()));
                }
                if proven.run == self.cx.run {
                    self.drop_link(id, CloseMode::Abort, Reason::SelfConnection);
                }
            }
            Some(dial) => {
                if dial.hearsay && dial.expected == Some(proven.run.id) {
                    self.dialling.refund(&self.cx);
                }
                // As long as a user waits for it; who has given up, and then disconnects the peer, means that.
                let rejoin = dial.targets.iter().any(|target| self.dialling.targets().has_joins(*target));
                match self.may_claim(id, proven.run, remote, rejoin, dial.expected) {
                    Ok(()) => self.claim(id, proven.run, rejoin),
                    Err(Refusal::Silent(reason)) => self.drop_link(id, CloseMode::Abort, reason),
                    Err(Refusal::Told(RejectCode::DuplicateIdentity)) => {
                        self.reject_for(id, RejectCode::DuplicateIdentity, Reason::DuplicateIdentity);
                    }
                    Err(Refusal::Told(code)) => self.reject(id, code),
                }
                self.dial_waiting();
            }
        }
    }

    /// Whether the run that answered a dial may be asked to be a peer over this link.
    fn may_claim(
        &mut self,
        id: LinkId,
        run: Run,
        remote: SocketAddr,
        rejoin: bool,
        expected: Option<NodeId>,
    ) -> Result<(), Refusal> {
        if run == self.cx.run {
            self.cx.stats.self_connections += 1;
            if !mutant!(DialSelf) {
                self.dialling.add_own(remote);
            }
            return Err(Refusal::Silent(Reason::SelfConnection));
        }
        if run.id == self.cx.run.id {
            self.met_clone();
            return Err(Refusal::Told(RejectCode::DuplicateIdentity));
        }
        if let Some(expected) = expected.filter(|expected| *expected != run.id) {
            self.not_found_at(expected, id, remote);
        }
        if rejoin {
            self.pairs.tombstones.readmit(run.id);
        }
        if self.pairs.tombstones.is_removed(run.id) {
            return Err(Refusal::Silent(Reason::Forbidden));
        }
        match self.pairs.tombstones.outdates(run) {
            Some(known) if run.incarnation == known => return Err(Refusal::Silent(Reason::Forbidden)),
            // Not the run that left or was disconnected, but one after it whose clock has gone back.
            Some(known) => return Err(Refusal::Told(RejectCode::Stale { known })),
            None => {}
        }
        let room = self.pairs.peer(run.id).is_some() || self.make_room(run.id);
        match self.pairs.peer(run.id) {
            None if room => {
                self.new_peer(run);
            }
            None => return Err(Refusal::Silent(Reason::Full)),
            Some(peer) => {
                // A dial that has not got as far as this one may never do so, and does not count.
                let claimed = |link: &LinkId| self.pairs.link(*link).is_some_and(|link| link.proven.is_some());
                let busy =
                    peer.live().is_some() || peer.dialing().filter(|dial| *dial != id).as_ref().is_some_and(claimed);
                if busy && peer.run != run {
                    // A clone, which has nothing to do with the peer, or its next run, if the link is half-open.
                    self.probe_peer(run.id);
                    return Err(Refusal::Silent(Reason::DuplicateIdentity));
                }
                if busy {
                    self.dialling.alias(run.id, remote);
                    self.gate.peers_changed();
                    self.cx.stats.links_outranked += 1;
                    self.takeover(run.id, remote);
                    self.probe_peer(run.id);
                    return Err(Refusal::Silent(Reason::Duplicate));
                }
                if peer.run.incarnation > run.incarnation {
                    let known = peer.run.incarnation;
                    return Err(Refusal::Told(RejectCode::Stale { known }));
                }
                if peer.run.incarnation < run.incarnation {
                    self.replace_run(run);
                }
            }
        }
        Ok(())
    }

    /// Asks the other side to make this link the one of the pair.
    fn claim(&mut self, id: LinkId, run: Run, rejoin: bool) {
        let Some(remote) = self.pairs.link(id).map(|link| link.remote) else { return };
        let Some(peer) = self.pairs.peer_mut(run.id) else { return };
        let generation = peer.claims(id);
        // Whatever becomes of the claim: this address leads to the peer.
        self.dialling.alias(run.id, remote);
        self.gate.peers_changed();
        self.cx.timers.cancel(Timer::Contact(run.id));
        let profile = self.profile_for(run.id);
        let window = profile.window;
        let claim = Claim { generation, rejoin, profile };
        self.edit(id, |link| {
            link.window = window;
            link.state = LinkState::Claiming { generation };
            link.slots.handshake = Some(Frame::Claim(claim));
        });
    }

    /// The other side asks to make this link the one of the pair.
    pub(super) fn claimed(&mut self, id: LinkId, claim: Claim) {
        let Some(run) = self.pairs.link(id).and_then(|link| link.run()) else { return };
        if self.leaving.is_some() {
            return self.reject(id, RejectCode::Leaving);
        }
        if run.id == self.cx.run.id {
            self.duplicate(run);
            return self.reject(id, RejectCode::DuplicateIdentity);
        }
        if claim.rejoin || self.pairs.tombstones.is_removed_by(run) {
            self.pairs.tombstones.readmit(run.id);
        } else if self.pairs.tombstones.is_removed(run.id) {
            return self.reject(id, RejectCode::Removed);
        }
        if let Some(known) = self.pairs.tombstones.outdates(run) {
            return self.reject(id, RejectCode::Stale { known });
        }
        let Some(known) = self.pairs.peer(run.id) else {
            if !self.make_room(run.id) {
                return self.reject(id, RejectCode::Full);
            }
            self.new_peer(run);
            return self.decide(id, run, claim);
        };
        if known.run == run {
            return self.decide(id, run, claim);
        }
        if known.live().is_some() {
            // Whoever was there first stays if it is alive; a half-open link must not keep a restarted node out.
            self.edit(id, |link| link.state = LinkState::Held { claim: Box::new(claim) });
            self.probe_peer(run.id);
        } else if run.incarnation > known.run.incarnation || mutant!(AnyIncarnation) {
            self.replace_run(run);
            self.decide(id, run, claim);
        } else {
            let known = known.run.incarnation;
            self.reject(id, RejectCode::Stale { known });
        }
    }

    /// Grants or refuses a claim of a run that is known.
    fn decide(&mut self, id: LinkId, run: Run, claim: Claim) {
        let Some(peer) = self.pairs.peer_mut(run.id) else { return };
        if !peer.is_claimed(claim.generation) {
            return self.violated(id, ProtocolError::BadGeneration);
        }
        let live = peer.live();
        if mutant!(RefuseWhileDialing) && self.pairs.peer(run.id).is_some_and(|peer| peer.dialing().is_some()) {
            return self.reject(id, RejectCode::Outranked);
        }
        let newcomer = Rank { generation: claim.generation, dialer: run.id };
        if live.is_some_and(|live| self.outranks(live, newcomer)) {
            self.cx.stats.links_outranked += 1;
            self.reject(id, RejectCode::Outranked);
            return self.probe_peer(run.id);
        }
        self.fence(run.id);
        self.edit(id, |link| link.state = LinkState::Accepted { generation: claim.generation });
        self.gate.granted(id);
        if mutant!(CancelDialOnAccept)
            && let Some(dial) = self.pairs.peer_mut(run.id).and_then(Peer::end_dial)
        {
            self.close(dial, CloseMode::Abort, Reason::Outranked);
            self.dialling.ended(run.id, dial);
        }
        self.adopt(id, run.id, &claim.profile);
        let Some(offer) = self.mail.offer(&mut self.cx, run.id) else { return };
        let profile = self.profile_for(run.id);
        let window = profile.window;
        let accept = Accept { profile, offer };
        self.edit(id, |link| {
            link.window = window;
            link.slots.handshake = Some(Frame::Accept(accept));
        });
    }

    /// Whether `live` ranks above a link that is being claimed. No two links of a pair have the same rank.
    fn outranks(&self, live: LinkId, newcomer: Rank) -> bool {
        let Some(rank) = self.pairs.link(live).and_then(|link| link.rank(self.cx.run.id)) else { return false };
        if mutant!(GreaterIdWins) {
            return rank.dialer >= newcomer.dialer;
        }
        rank > newcomer
    }

    /// The other side has granted our claim.
    pub(super) fn accepted(&mut self, id: LinkId, accept: Accept) {
        let Some((run, generation)) = self.pairs.link(id).and_then(|link| match link.state {
            LinkState::Claiming { generation } => Some((link.run()?, generation)),
            _ => None,
        }) else {
            return self.violated(id, ProtocolError::UnexpectedFrame);
        };
        let Some(peer) = self.pairs.peer_mut(run.id) else { return };
        peer.end_dial();
        let live = peer.live();
        let newcomer = Rank { generation, dialer: self.cx.run.id };
        let outdated = peer.outdates(newcomer) && !mutant!(OutdatedAccept);
        if outdated || live.is_some_and(|live| self.outranks(live, newcomer)) {
            self.cx.stats.links_outranked += 1;
            self.drop_link(id, CloseMode::Abort, Reason::Outranked);
            return self.probe_peer(run.id);
        }
        self.fence(run.id);
        self.edit(id, |link| link.state = LinkState::Up { generation });
        self.adopt(id, run.id, &accept.profile);
        self.peer_up(id, run, &accept.offer);
    }

    /// The other side has made the link its own.
    pub(super) fn resumed(&mut self, id: LinkId, resume: Resume) {
        let Some((run, generation)) = self.pairs.link(id).and_then(|link| match link.state {
            LinkState::Accepted { generation } => Some((link.run()?, generation)),
            _ => None,
        }) else {
            return self.violated(id, ProtocolError::UnexpectedFrame);
        };
        self.edit(id, |link| link.state = LinkState::Up { generation });
        self.peer_up(id, run, &resume.offer);
    }

    /// The other side has refused our claim, or refuses to claim because it knows a later run of us or has our id.
    pub(super) fn rejected(&mut self, id: LinkId, code: RejectCode) {
        let Some(link) = self.pairs.link(id) else { return };
        let expected = match link.state {
            LinkState::Claiming { .. } => true,
            LinkState::Authenticated => match code {
                RejectCode::Stale { .. } => true,
                RejectCode::DuplicateIdentity => link.run().is_some_and(|run| run.id == self.cx.run.id),
                _ => false,
            },
            _ => false,
        };
        let (Some(run), true) = (link.run(), expected) else {
            return self.violated(id, ProtocolError::UnexpectedFrame);
        };
        if run.id == self.cx.run.id {
            // A clone has found us, and goes.
            self.duplicate(run);
            return self.drop_link(id, CloseMode::Abort, Reason::DuplicateIdentity);
        }
        match code {
            RejectCode::DuplicateIdentity => self.met_clone(),
            RejectCode::Stale { known } => return self.stale(id, known),
            _ => {}
        }
        let reason = Reason::Rejected(code);
        self.drop_link(id, CloseMode::Abort, reason.clone());
        self.departs(run, &reason);
    }

    /// Refuses a claim, in order that the other side knows why.
    pub(super) fn reject(&mut self, id: LinkId, code: RejectCode) {
        self.reject_for(id, code, Reason::Rejected(code));
    }

    fn reject_for(&mut self, id: LinkId, code: RejectCode, reason: Reason) {
        self.edit(id, |link| link.slots.handshake = Some(Frame::Reject(Reject { code })));
        self.drop_link(id, CloseMode::Flush, reason);
    }

    /// The other side has seen a later run of this node: our clock has gone back since that run. A little ahead of it
    /// is a new run, as long as nobody knows us by the present one.
    fn stale(&mut self, id: LinkId, known: Incarnation) {
        self.cx.stats.stale_incarnations += 1;
        let connected = self.pairs.peers().any(|peer| peer.is_up() || peer.live().is_some());
        if connected || !self.me.may_adopt(self.cx.run.incarnation, known) {
            // Nothing but its word speaks for it, so it must not keep us from dialling others.
            self.tell_of_clone();
            return self.drop_link(id, CloseMode::Abort, Reason::Rejected(RejectCode::Stale { known }));
        }
        self.end_sessions();
        let lead = 1 + self.cx.rng.below(MAX_ADOPTED_LEAD.min(u64::MAX - known.0));
        self.cx.run.incarnation = Incarnation(known.0 + lead);
        // Whoever uses the id is not there any more, or would be known as live. If there is another, that is news.
        self.dialling.mute(None);
        self.me.forget_clone();
        let stale: Vec<LinkId> = self.pairs.links().filter(|link| !link.is_closing()).map(|link| link.id).collect();
        for link in stale {
            self.drop_link(link, CloseMode::Abort, Reason::Rejected(RejectCode::Stale { known }));
        }
        for number in self.dialling.targets().numbers() {
            self.cx.timers.set(Timer::Target(number), self.cx.now);
        }
    }

    /// Another process has our id.
    fn duplicate(&mut self, newcomer: Run) {
        self.cx.stats.duplicate_identities += 1;
        self.cx.event(Event::DuplicateIdentity { newcomer });
    }

    /// Another live node uses our id. It was there first, so this one keeps quiet for a while.
    fn met_clone(&mut self) {
        self.tell_of_clone();
        self.dialling.mute(Some(self.cx.now + MUTE));
    }

    /// Tells the user, now and then, that this run is not the only one of its id.
    fn tell_of_clone(&mut self) {
        if self.me.met_clone(self.cx.now) {
            self.duplicate(self.cx.run);
        }
    }

    /// A link that is live gives way to one of higher rank: it is closed, and nothing that it still carries is read.
    fn fence(&mut self, id: NodeId) {
        if mutant!(FenceAfterOffer) {
            return;
        }
        let Some(live) = self.pairs.peer_mut(id).and_then(Peer::end_live) else { return };
        self.cx.stats.links_outranked += 1;
        self.mail.detach(id);
        self.close(live, CloseMode::Abort, Reason::Outranked);
        self.fence_session(id, false);
    }

    /// The link is now the live one of the peer, which says this of itself.
    fn adopt(&mut self, id: LinkId, peer_id: NodeId, profile: &Profile) {
        let Some(link) = self.pairs.link(id) else { return };
        let (remote, outbound, rtt) = (link.remote, !link.is_inbound(), self.cx.now - link.opened);
        let rank = link.rank(self.cx.run.id);
        let Some(peer) = self.pairs.peer_mut(peer_id) else { return };
        peer.adopt(id, rank);
        self.mail.attach(peer_id, id, profile);
        let dialled = outbound.then_some(remote);
        let moved = self.dialling.advertise(peer_id, &profile.addresses, remote.ip(), dialled);
        self.gate.peers_changed();
        // The handshake took at least one round trip; pings refine this.
        self.mail.measured(peer_id, rtt);
        let visible = |profile: &Profile| (profile.name.clone(), profile.metadata.clone());
        let changed = visible(&peer.profile) != visible(profile) || moved;
        peer.profile = profile.clone();
        if let Some(peer) = self.pairs.peer(peer_id).filter(|peer| peer.is_up() && changed) {
            self.cx.event(Event::PeerUpdated(self.info(peer)));
        }
        if outbound {
            self.takeover(peer_id, remote);
        }
    }

    /// Whether the live link of a peer is alive is in doubt: it must answer at once.
    pub(super) fn probe_peer(&mut self, id: NodeId) {
        if mutant!(NoProbe) || mutant!(GreaterIdWins) {
            return;
        }
        if let Some(live) = self.pairs.peer(id).and_then(|peer| peer.live()) {
            self.probe(live);
        }
    }

    /// The live link of a node has answered: those who claimed to be another run of it are refused.
    pub(super) fn refuse_held(&mut self, id: NodeId) {
        for (link, _) in self.held(id) {
            let Some(newcomer) = self.pairs.link(link).and_then(|link| link.run()) else { continue };
            self.duplicate(newcomer);
            self.reject(link, RejectCode::DuplicateIdentity);
        }
    }

    /// The live link of a node is gone: those who claim to be another run of it are heard.
    pub(super) fn hear_held(&mut self, id: NodeId) {
        for (link, claim) in self.held(id) {
            if self.pairs.link(link).is_some_and(|link| !link.is_closing()) {
                self.claimed(link, claim);
            }
        }
    }

    /// Whether a later run of the node waits for its place.
    pub(super) fn is_restarted(&self, run: Run) -> bool {
        self.held(run.id).iter().any(|(link, _)| {
            let newcomer = self.pairs.link(*link).and_then(|link| link.run());
            newcomer.is_some_and(|newcomer| newcomer.incarnation > run.incarnation)
        })
    }

    fn held(&self, id: NodeId) -> Vec<(LinkId, Claim)> {
        let claim = |link: &crate::link::Link| match &link.state {
            LinkState::Held { claim } if link.run().is_some_and(|run| run.id == id) => {
                Some((link.id, claim.as_ref().clone()))
            }
            _ => None,
        };
        self.pairs.links().filter_map(claim).collect()
    }
}
