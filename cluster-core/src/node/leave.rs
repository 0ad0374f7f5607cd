//! Ending well: leaving the mesh, and disconnecting one peer.

use alloc::vec::Vec;
use core::time::Duration;

use super::timer::Timer;
use super::{Leaving, Node};
use crate::action::CloseMode;
use crate::error::UnknownPeer;
use crate::event::Event;
use crate::id::{LinkId, NodeId};
use crate::reason::Reason;
use crate::time::Instant;
use crate::wire::Close;

/// How long links have to end after the goodbyes are said.
const GOODBYE: Duration = Duration::from_secs(1);

impl Node {
    /// Leaves the mesh: accepts no more messages, waits up to `timeout` until every peer has taken what was accepted
    /// for it, says goodbye, closes every link, and ends with [`Event::Left`], at most a second after `timeout`. The
    /// peers do not dial this run again. A second call can only shorten the wait.
    pub fn leave(&mut self, now: Instant, timeout: Duration) {
        self.advance(now);
        let deadline = self.now + timeout;
        match &mut self.leaving {
            None => {
                self.leaving = Some(Leaving::Draining { deadline });
                self.timers.set(Timer::Leave, deadline);
                self.drop_targets();
                self.candidates.clear();
                // A link that is about to replace another carries what was accepted.
                let kept: Vec<LinkId> =
                    self.peers.values().filter(|peer| peer.announced).filter_map(|peer| peer.live).collect();
                let undecided = self.links.values().filter(|link| !kept.contains(&link.id) && !link.is_closing());
                let undecided: Vec<LinkId> = undecided.map(|link| link.id).collect();
                for link in undecided {
                    self.drop_link(link, CloseMode::Abort, Reason::LocalLeave);
                }
            }
            Some(Leaving::Draining { deadline: current }) if deadline < *current => {
                *current = deadline;
                self.timers.set(Timer::Leave, deadline);
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
        let known = self.peers.get(&peer).filter(|peer| peer.is_known()).ok_or(UnknownPeer(peer))?;
        let (live, announced) = (known.live, known.announced);
        if let Some(live) = live {
            self.edit(live, |link| link.slots.close = Some(Close::Removed));
            self.drop_link(live, CloseMode::Flush, Reason::LocalDisconnect);
        } else if announced {
            self.down(peer, Reason::LocalDisconnect);
        }
        self.mark_removed(peer);
        Ok(())
    }

    /// Goes on with leaving as far as possible.
    pub(super) fn leave_progress(&mut self) {
        match self.leaving {
            Some(Leaving::Draining { deadline }) => {
                let sessions = || self.peers.values().filter_map(|peer| peer.session.as_ref());
                if deadline <= self.now || sessions().all(|session| session.send.retained() == 0) {
                    self.say_goodbye();
                }
            }
            Some(Leaving::Closing { undelivered }) if self.links.is_empty() => {
                self.leaving = Some(Leaving::Left);
                self.timers.clear();
                self.event(Event::Left { undelivered });
            }
            _ => {}
        }
    }

    pub(super) fn leave_deadline(&mut self) {
        match self.leaving {
            Some(Leaving::Draining { .. }) => self.say_goodbye(),
            Some(Leaving::Closing { .. }) => {
                let open: Vec<LinkId> = self.links.keys().copied().collect();
                for link in open {
                    self.close(link, CloseMode::Abort, Reason::LocalLeave);
                }
            }
            Some(Leaving::Left) | None => {}
        }
    }

    fn say_goodbye(&mut self) {
        self.leaving = Some(Leaving::Closing { undelivered: 0 });
        self.timers.set(Timer::Leave, self.now + GOODBYE);
        let peers: Vec<(NodeId, Option<LinkId>)> = self.peers.values().map(|peer| (peer.run.id, peer.live)).collect();
        for (id, live) in peers {
            if let Some(live) = live {
                self.edit(live, |link| link.slots.close = Some(Close::Leaving));
                self.drop_link(live, CloseMode::Flush, Reason::LocalLeave);
            }
            self.remove_peer(id);
        }
        let rest: Vec<LinkId> = self.links.keys().copied().collect();
        for link in rest {
            self.drop_link(link, CloseMode::Abort, Reason::LocalLeave);
        }
        self.leave_progress();
    }
}
