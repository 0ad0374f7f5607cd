//! Ending well: leaving the mesh, and disconnecting one peer.

use alloc::vec::Vec;
use core::time::Duration;

use super::timer::Timer;
use super::{Leaving, Node};
use crate::action::CloseMode;
use crate::error::UnknownPeer;
use crate::event::Event;
use crate::id::{LinkId, NodeId};
use crate::link::{Link, LinkState};
use crate::peer::Peer;
use crate::reason::Reason;
use crate::time::Instant;
use crate::wire::Close;
use crate::wire::RejectCode;

/// How long links have to end after the goodbyes are said.
const GOODBYE: Duration = Duration::from_secs(1);

impl Node {
    /// Leaves the mesh: accepts no more messages, waits up to `timeout` until every peer has taken what was accepted
    /// for it, says goodbye, closes every link, and ends with [`Event::Left`], at most a second after `timeout`. The
    /// peers do not dial this run again. A second call can only shorten the wait.
    ///
    /// The node wakes every sender that waits for [`Action::Writable`](crate::Action::Writable) at once. Its next send
    /// fails because the node is leaving.
    pub fn leave(&mut self, now: Instant, timeout: Duration) {
        self.advance(now);
        let deadline = self.cx.now + timeout;
        match &mut self.leaving {
            None => {
                self.leaving = Some(Leaving::Draining { deadline, before: self.cx.stats.messages_undelivered });
                self.cx.timers.set(Timer::Leave, deadline);
                self.dialling.targets_mut().drop_all(&mut self.cx);
                self.dialling.drop_all_hearsay(&mut self.cx);
                // A link that is about to replace another carries what was accepted.
                let up = self.pairs.peers().filter(|peer| peer.is_up());
                let kept: Vec<LinkId> =
                    up.flat_map(|peer| peer.live().into_iter().chain(self.claiming(peer))).collect();
                let undecided = self.pairs.links().filter(|link| !kept.contains(&link.id) && !link.is_closing());
                let undecided: Vec<LinkId> = undecided.map(|link| link.id).collect();
                for link in undecided {
                    self.turn_away(link);
                }
                self.mail.wake_all(&mut self.cx);
                // Who is lost is not waited for.
                let lost = self.pairs.peers().filter(|peer| peer.is_lost() && peer.live().is_none());
                for id in lost.map(|peer| peer.run.id).collect::<Vec<NodeId>>() {
                    self.remove_peer(id);
                }
            }
            Some(Leaving::Draining { deadline: current, .. }) if deadline < *current => {
                *current = deadline;
                self.cx.timers.set(Timer::Leave, deadline);
            }
            Some(_) => {}
        }
        self.leave_progress();
    }

    /// Closes the connection to one peer. Neither side connects to the other again by itself until the user of either
    /// joins the other, or `tombstone_ttl` has passed; the peer's user sees [`Reason::Removed`]. What was accepted
    /// for the peer and not acknowledged is reported by [`Event::Undelivered`].
    ///
    /// # Errors
    ///
    /// [`UnknownPeer`] if the peer is neither up nor lost; nothing has changed.
    pub fn disconnect(&mut self, now: Instant, peer: NodeId) -> Result<(), UnknownPeer> {
        self.advance(now);
        let known = self.pairs.peer(peer).filter(|peer| peer.is_known()).ok_or(UnknownPeer(peer))?;
        let (run, live, announced) = (known.run, known.live(), known.is_up());
        let claiming = self.claiming(known);
        if let Some(known) = self.pairs.peer_mut(peer) {
            // Whatever it was waiting for, this is why it goes down.
            known.end_limbo();
        }
        if let Some(claiming) = claiming {
            // It may have taken the place of the other one at its other end.
            self.part(claiming, Close::Removed, Reason::LocalDisconnect);
        }
        if let Some(live) = live {
            self.part(live, Close::Removed, Reason::LocalDisconnect);
        } else if announced {
            self.peer_down(peer, Reason::LocalDisconnect);
        }
        self.mark_removed(run, false);
        Ok(())
    }

    /// The link by which a claim to the peer is under way.
    fn claiming(&self, peer: &Peer) -> Option<LinkId> {
        let is_claiming =
            |id: &LinkId| self.pairs.link(*id).is_some_and(|link| matches!(link.state, LinkState::Claiming { .. }));
        peer.dialing().filter(is_claiming)
    }

    /// Goes on with leaving as far as possible.
    pub(super) fn leave_progress(&mut self) {
        match self.leaving {
            Some(Leaving::Draining { deadline, .. }) if deadline <= self.cx.now || self.mail.is_settled() => {
                self.say_goodbye();
            }
            Some(Leaving::Closing { before }) if self.pairs.links().len() == 0 => {
                self.leaving = Some(Leaving::Left);
                self.cx.timers.clear();
                let undelivered = self.cx.stats.messages_undelivered - before;
                self.cx.event(Event::Left { undelivered });
            }
            _ => {}
        }
    }

    pub(super) fn leave_deadline(&mut self) {
        match self.leaving {
            Some(Leaving::Draining { .. }) => self.say_goodbye(),
            Some(Leaving::Closing { .. }) => {
                let open: Vec<LinkId> = self.pairs.links().map(|link| link.id).collect();
                for link in open {
                    self.close(link, CloseMode::Abort, Reason::LocalLeave);
                }
            }
            Some(Leaving::Left) | None => {}
        }
    }

    /// Ends a link with a goodbye. What was taken of the peer's messages is acknowledged before it, or the peer would
    /// have to doubt it for ever.
    fn part(&mut self, id: LinkId, close: Close, reason: Reason) {
        let up = self.pairs.link(id).filter(|link| link.is_up()).and_then(Link::run);
        let ack = up.and_then(|run| self.mail.ack(run.id, false)?);
        self.edit(id, |link| {
            link.slots.last_ack = ack;
            link.slots.close = Some(close);
        });
        self.drop_link(id, CloseMode::Flush, reason);
    }

    /// The node leaves while a link is being set up: who is there learns why it comes to nothing, or would look for
    /// this run again and again.
    fn turn_away(&mut self, id: LinkId) {
        let Some(link) = self.pairs.link_mut(id) else { return };
        match link.state {
            LinkState::Authenticated | LinkState::Held { .. } => self.reject(id, RejectCode::Leaving),
            LinkState::Claiming { .. } | LinkState::Accepted { .. } => {
                link.slots.handshake = None;
                self.part(id, Close::Leaving, Reason::LocalLeave);
            }
            // Its claim will be answered, if it comes in time.
            LinkState::Opening if link.is_inbound() => {}
            LinkState::Opening | LinkState::Up { .. } | LinkState::Closing { .. } => {
                self.drop_link(id, CloseMode::Abort, Reason::LocalLeave);
            }
        }
    }

    fn say_goodbye(&mut self) {
        let Some(Leaving::Draining { before, .. }) = self.leaving else { return };
        self.leaving = Some(Leaving::Closing { before });
        self.cx.timers.set(Timer::Leave, self.cx.now + GOODBYE);
        let peers = self.pairs.peers().map(|peer| (peer.run.id, peer.dialing(), peer.live()));
        let peers: Vec<(NodeId, Option<LinkId>, Option<LinkId>)> = peers.collect();
        for (id, dialing, live) in peers {
            if let Some(dialing) = dialing {
                self.turn_away(dialing);
            }
            if let Some(live) = live {
                self.part(live, Close::Leaving, Reason::LocalLeave);
            }
            self.remove_peer(id);
        }
        let rest: Vec<LinkId> = self.pairs.links().map(|link| link.id).collect();
        for link in rest {
            self.turn_away(link);
            self.drop_link(link, CloseMode::Abort, Reason::LocalLeave);
        }
        self.leave_progress();
    }
}
