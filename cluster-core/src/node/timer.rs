//! The deadlines of a node, and what happens when one passes.

use super::Node;
use crate::id::{LinkId, NodeId};
use crate::peer::Peer;
use crate::time::Instant;
use crate::timers::Timers;
use alloc::vec::Vec;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Something about a link.
    Link(LinkId, LinkTimer),
    /// A lost peer is dialled.
    Reconnect(NodeId),
    /// A lost peer is forgotten.
    Forget(NodeId),
    /// The session with a lost peer is over.
    Session(NodeId),
    /// Memory that is reserved for a message of a lost peer goes to others.
    Reservation(NodeId),
    /// The user is told how much was delivered.
    Delivered(NodeId),
    /// A node known from hearsay is dialled.
    Candidate(NodeId),
    /// A target is tried again.
    Target(u64),
    /// The earliest deadline of a target's joins.
    Join(u64),
    /// The dial budget has grown.
    Dialer,
    /// The view is compared with that of a random peer.
    Gossip,
    /// The next tombstone expires.
    Tombstones,
    /// The leave must end.
    Leave,
}

/// What is due on a link. `Handshake` is the first of them, see [`Timers::cancel_link`].
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

impl Node {
    /// Fires every timer that is due. One that is set meanwhile for now or the past is due at the next tick, so that one
    /// tick is bounded by the number of deadlines there are.
    pub(super) fn fire_due(&mut self) {
        let mut left = self.timers.len();
        while let Some(timer) = self.timers.pop_due(self.now) {
            self.fire(timer);
            left = left.saturating_sub(1);
            if left == 0 {
                break;
            }
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Link(link, LinkTimer::Handshake) => self.handshake_deadline(link),
            Timer::Link(link, LinkTimer::Liveness) => self.check_liveness(link),
            Timer::Link(link, LinkTimer::Probe) => self.probe_deadline(link),
            Timer::Link(link, LinkTimer::Stall) => self.check_stall(link),
            Timer::Link(link, LinkTimer::Stable) => self.link_is_stable(link),
            Timer::Link(link, LinkTimer::Ack) => self.ack_deadline(link),
            Timer::Link(link, LinkTimer::Digest) => self.edit(link, |link| link.slots.digest = true),
            Timer::Link(link, LinkTimer::Pace) => self.arm(link),
            Timer::Reconnect(peer) => self.reconnect(peer),
            Timer::Forget(peer) => self.forget(peer),
            Timer::Session(peer) => self.session_deadline(peer),
            Timer::Reservation(peer) => self.reservation_deadline(peer),
            Timer::Delivered(peer) => self.tell_delivered(peer),
            Timer::Candidate(id) => self.candidate_due(id),
            Timer::Target(target) => self.try_target(target),
            Timer::Join(target) => self.join_deadline(target),
            Timer::Dialer => self.dial_waiting(),
            Timer::Gossip => self.gossip(),
            Timer::Tombstones => {
                self.tombstones.expire(self.now);
                self.schedule_tombstones();
            }
            Timer::Leave => self.leave_deadline(),
        }
    }

    pub(super) fn schedule_tombstones(&mut self) {
        match self.tombstones.next_expiry() {
            Some(at) => self.timers.set(Timer::Tombstones, at),
            None => self.timers.cancel(Timer::Tombstones),
        }
    }

    /// New settings may call for earlier deadlines than those already set.
    pub(super) fn retime(&mut self) {
        let timing = self.config.timing.clone();
        let asked = self.now - timing.heartbeat;
        for link in self.links.values_mut().filter(|link| link.is_up()) {
            // A silence that was right by the old settings is no reason to end the link by the new ones.
            link.heard = link.heard.max(asked);
            self.timers.set_no_later(Timer::Link(link.id, LinkTimer::Liveness), self.now + timing.heartbeat);
        }
        self.timers.set_no_later(Timer::Gossip, self.now + timing.gossip_interval);
        let of = |peer: &Peer| peer.lost_since().map(|since| (peer.run.id, since));
        let lost: Vec<(NodeId, Instant)> = self.peers.values().filter_map(of).collect();
        for (id, since) in lost {
            self.timers.set_no_later(Timer::Reconnect(id), self.now + timing.reconnect_max);
            self.retime_session(id, since + timing.session_ttl);
            match timing.forget_after {
                // Not in the past: a deadline that was missed would say that this process stood still.
                Some(span) => self.timers.set(Timer::Forget(id), self.now.max(since + span)),
                None => self.timers.cancel(Timer::Forget(id)),
            }
        }
        for number in self.targets.numbers() {
            self.timers.set_no_later(Timer::Target(number), self.now + timing.seed_interval);
        }
        self.retime_dials();
    }

    /// The session with a lost peer now ends at another time. One that never came up has a time of its own, and a last
    /// try goes on, unless there is time for more.
    fn retime_session(&mut self, id: NodeId, ends: Instant) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.mail.open) else { return };
        if self.timers.deadline(Timer::Session(id)).is_some() && (!peer.mail.last_try || ends > self.now) {
            peer.mail.last_try = false;
            self.timers.set(Timer::Session(id), self.now.max(ends));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
