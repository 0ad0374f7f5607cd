//! What the end of a link means for the peer at its other end.

use super::Node;
use super::timer::Timer;
use crate::action::CloseMode;
use crate::channel::ChannelError;
use crate::id::{LinkId, NodeId};
use crate::input::Disconnect;
use crate::peer::Peer;
use crate::reason::{ProtocolError, Reason};
use crate::time::Instant;

impl Node {
    /// The driver says that a link is gone.
    pub(super) fn disconnected(&mut self, id: LinkId, cause: Disconnect) {
        let Some(link) = self.pairs.close(id) else { return };
        self.gate.gone(&link);
        self.dialling.decided(id);
        self.cx.timers.cancel_link(id, None);
        if !link.is_closing() {
            let reason = match reason_of(cause) {
                // Nodes with unequal secrets tell each other nothing.
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
        let Some(link) = self.pairs.link(id).filter(|link| !link.is_closing()).cloned() else { return };
        self.close(id, mode, reason.clone());
        self.link_ended(&link, reason);
    }

    /// The other side broke a rule.
    pub(super) fn violated(&mut self, id: LinkId, error: ProtocolError) {
        self.cx.stats.protocol_errors += 1;
        self.drop_link(id, CloseMode::Abort, Reason::Protocol(error));
    }

    /// Until when the other side is not dialled, if a link ended because it broke the protocol.
    pub(super) fn shunned_for(&mut self, reason: &Reason) -> Option<Instant> {
        let breach = matches!(reason, Reason::Protocol(_) | Reason::Channel(ChannelError::Frame(_)));
        let span = self.cx.config.timing.violation_backoff;
        breach.then(|| self.cx.now + span + self.cx.rng.up_to(span / 4))
    }

    /// The link that connected the two is gone.
    pub(super) fn live_lost(&mut self, id: NodeId, reason: Reason) {
        self.fence_session(id, false);
        let Some(peer) = self.pairs.peer(id) else { return };
        if !peer.is_up() {
            // The other side may take it for up.
            self.suspend_session(id);
            self.keep_trying(id);
            self.prune(id);
            return self.hear_held(id);
        }
        let claim =
            peer.dialing().and_then(|dialing| self.pairs.link(dialing)).and_then(|link| link.rank(self.cx.run.id));
        let claiming = claim.is_some_and(|claim| !peer.outdates(claim));
        if claiming && reason.is_transient() {
            // The other side has fenced this link, perhaps, because it granted our claim on the other one.
            if let Some(peer) = self.pairs.peer_mut(id) {
                peer.hope(reason);
            }
        } else {
            self.peer_down(id, reason);
        }
        self.hear_held(id);
    }

    /// Dials or forgets a lost peer as before: it came back and did not complete its handshake.
    fn keep_trying(&mut self, id: NodeId) {
        let Some(since) = self.pairs.peer(id).and_then(Peer::lost_since) else { return };
        self.dialling.back_off(&mut self.cx, id);
        if let Some(span) = self.cx.config.timing.forget_after {
            // Not in the past: a deadline that was missed would say that this process stood still.
            self.cx.timers.set(Timer::Forget(id), self.cx.now.max(since + span));
        }
    }

    /// A dial has ended that looked for a node, or that has found one, and not in a link that is up.
    pub(super) fn dial_ended(&mut self, id: NodeId, link: LinkId, reason: &Reason) {
        let mut was_dialled = self.dialling.ended(id, link);
        if let Some(peer) = self.pairs.peer_mut(id).filter(|peer| peer.dialing() == Some(link)) {
            peer.end_dial();
            was_dialled = true;
            if let Some(lost) = peer.limbo().cloned() {
                return self.peer_down(id, lost);
            }
        }
        // A node that is neither is looked for no longer.
        let is_lost = self.pairs.peer(id).is_some_and(|peer| peer.is_lost() && peer.live().is_none());
        let is_sought = is_lost || self.dialling.named(id).is_some();
        if was_dialled && is_sought {
            self.dialling.failed(&mut self.cx, id, reason);
            self.dialling.report_unreachable(&mut self.cx, &self.pairs, id);
        } else if is_lost {
            // Its claim broke a rule, and another run of it may have been dialled when it came in.
            self.dialling.back_off(&mut self.cx, id);
        }
        self.prune(id);
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
