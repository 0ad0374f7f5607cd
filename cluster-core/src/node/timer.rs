//! The deadlines of a node.

use crate::id::{LinkId, NodeId};
use crate::timers::Timers;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A deadline of a link.
    Link(LinkId, LinkTimer),
    /// A lost peer, or a node from hearsay, is dialled.
    Contact(NodeId),
    /// A lost peer is forgotten.
    Forget(NodeId),
    /// The session with a lost peer is over.
    Session(NodeId),
    /// Memory that is reserved for a message of a lost peer goes to others.
    Reservation(NodeId),
    /// The user is told how much was delivered.
    Delivered(NodeId),
    /// A target is tried again.
    Target(u64),
    /// The earliest deadline of a target's joins.
    Join(u64),
    /// The dial budget has a token again.
    Token,
    /// The view is compared with that of a random peer.
    Gossip,
    /// The next tombstone expires.
    Tombstones,
    /// The leave must end.
    Leave,
}

/// A deadline of a link. `Handshake` is the first of them, see [`Timers::cancel_link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LinkTimer {
    /// It must be up, or closed, by then.
    Handshake,
    /// Silence is due a ping or an end.
    Liveness,
    /// A suspected link must have answered.
    Probe,
    /// Output must have been taken.
    Stall,
    /// It has lasted long enough for its peer's backoff to start over.
    Stable,
    /// An acknowledgement is held back no longer.
    Ack,
    /// The view of the mesh is due to be compared.
    Digest,
    /// Gossip that had to wait may go out.
    Pace,
}

impl Timers<Timer> {
    /// Cancels every deadline of a link, except `kept`.
    pub(super) fn cancel_link(&mut self, link: LinkId, kept: Option<LinkTimer>) {
        let first = |link| Timer::Link(link, LinkTimer::Handshake);
        let kept = kept.map(|kept| Timer::Link(link, kept));
        self.cancel_range(first(link)..first(LinkId(link.0 + 1)), kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    #[test]
    fn link_timers_are_cancelled_together() {
        use LinkTimer::{Ack, Digest, Handshake, Liveness, Pace, Probe, Stable, Stall};
        let mut timers = Timers::new();
        for link in [1, 2, 3] {
            for timer in [Handshake, Liveness, Probe, Stall, Stable, Ack, Digest, Pace] {
                timers.set(Timer::Link(LinkId(link), timer), Instant::ZERO);
            }
        }
        timers.cancel_link(LinkId(2), None);
        assert_eq!(timers.len(), 16);
        timers.cancel_link(LinkId(3), Some(Stall));
        assert_eq!(timers.len(), 9);
        assert!(timers.deadline(Timer::Link(LinkId(3), Stall)).is_some());
    }
}
