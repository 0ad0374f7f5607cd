//! The effects of a session's life on links and peers; [mail](super::mail) has the session itself.

use alloc::vec::Vec;

use super::Node;
use crate::action::CloseMode;
use crate::id::{LinkId, NodeId, Run};
use crate::reason::Reason;
use crate::wire::{Frame, Offer, Resume};

impl Node {
    /// Goes on with the streams as the two sides agree, over a link that is now up.
    ///
    /// Returns whether the link is still there: a breach closes it.
    pub(super) fn exchange_offers(&mut self, id: LinkId, run: Run, theirs: &Offer) -> bool {
        let Some(link) = self.pairs.link(id) else { return false };
        let (outbound, window) = (!link.is_inbound(), link.window);
        let resumption = match self.mail.resume(&mut self.cx, run, theirs, outbound, window) {
            None => return false,
            Some(Ok(resumption)) => resumption,
            Some(Err(error)) => {
                self.violated(id, error);
                return false;
            }
        };
        if let Some(acked) = resumption.acked() {
            self.settle(run.id, acked);
        }
        let up = self.pairs.peer(run.id).is_some_and(|peer| peer.is_up());
        let (answer, effects) = self.mail.finish_resumption(&mut self.cx, run, resumption, up);
        self.apply(effects);
        if let (Some(offer), Some(link)) = (answer, self.pairs.link_mut(id)) {
            link.slots.handshake = Some(Frame::Resume(Resume { offer }));
        }
        true
    }

    /// The link of a session is gone.
    pub(super) fn fence_session(&mut self, id: NodeId, yields: bool) {
        let effects = self.mail.fence(&self.cx, id, yields);
        self.apply(effects);
    }

    /// Keeps the session of a lost peer for its return.
    pub(super) fn suspend_session(&mut self, id: NodeId) {
        let effects = self.mail.suspend(&mut self.cx, id);
        self.apply(effects);
    }

    /// Ends an expired session, unless a link may still bring the peer back.
    pub(super) fn session_deadline(&mut self, id: NodeId) {
        let Some(peer) = self.pairs.peer(id).filter(|_| !crate::mutant::mutant!(NeverExpire)) else { return };
        let limbo = peer.limbo().is_some();
        if limbo || peer.live().is_some() && !self.mail.is_last_try(id) {
            // It is coming back at this very moment. If it does not, it must not keep the session by trying again and
            // again.
            return self.mail.wait_once_more(&mut self.cx, id, !limbo);
        }
        let run = peer.run;
        if let Some(live) = peer.live() {
            self.drop_link(live, CloseMode::Abort, Reason::HandshakeTimeout);
        }
        // A later run may have waited behind that link, and has ended the session by taking the place.
        if self.pairs.peer(id).is_some_and(|peer| peer.run == run && peer.live().is_none()) {
            self.cx.stats.sessions_expired += u64::from(self.mail.has_opened(id));
            self.run_gone(id);
            self.prune(id);
        }
    }

    /// Takes back the reservation of a lost peer.
    pub(super) fn reservation_deadline(&mut self, id: NodeId) {
        if self.pairs.peer(id).is_some_and(|peer| peer.live().is_none()) {
            self.fence_session(id, true);
        }
    }

    /// This node is about to be another run: no session of the present one goes on.
    pub(super) fn end_sessions(&mut self) {
        for id in self.mail.ids().collect::<Vec<NodeId>>() {
            self.run_gone(id);
            self.mail.let_go(&mut self.cx, id);
            self.prune(id);
        }
        self.mail.forget_streams();
    }
}
