//! O8, the part of it that is about time: a session ends only when nothing can come of it any more. Before its time to
//! live is over that is so if either user has ended it, if a later run of either is there, or if its place in a table was
//! needed. And it does end then: L3, of peers that never come back.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_core::{Instant, Node, NodeId, Reason, Run};

use super::Verdict;

/// By how much a session may outlive its time beyond the time of a handshake: its peer may be coming back at that very
/// moment, and how long that may take may have changed since.
const GRACE: Duration = Duration::from_secs(9);

/// Sessions of one run of a node that live although the peer is lost.
#[derive(Debug, Default)]
pub(super) struct Ends {
    lost: BTreeMap<NodeId, Lost>,
    /// Sessions that ended early, since the node was last drained.
    early: Vec<Run>,
    takeovers: u64,
}

#[derive(Clone, Copy, Debug)]
struct Lost {
    since: Instant,
    ttl: Duration,
    /// When its time was first seen to be over, by a clock that may have jumped.
    overdue: Option<Instant>,
}

impl Ends {
    /// A peer that was up is lost.
    pub(super) fn down(&mut self, peer: Run, reason: &Reason, now: Instant, ttl: Duration) {
        if reason.is_transient() && *reason != Reason::Restarted {
            self.lost.insert(peer.id, Lost { since: now, ttl, overdue: None });
        }
    }

    /// A peer is back.
    pub(super) fn up(&mut self, peer: NodeId) {
        self.lost.remove(&peer);
    }

    /// A user, here or there, wants nothing more of the peer.
    pub(super) fn parted(&mut self, peer: NodeId) {
        self.lost.remove(&peer);
    }

    /// The session with a peer that is lost is over.
    pub(super) fn gone(&mut self, peer: Run, now: Instant, ttl: Duration) {
        if let Some(lost) = self.lost.remove(&peer.id)
            && now - lost.since < lost.ttl.min(ttl)
        {
            self.early.push(peer);
        }
    }

    /// The node has nothing more to say for now; it may be another run than before. A takeover excuses what ended with
    /// it, and nothing later.
    pub(super) fn drained(&mut self, node: &Node, now: Instant, takeovers: u64, reborn: bool) -> Verdict {
        let ttl = node.timing().session_ttl;
        let taken_over = takeovers > std::mem::replace(&mut self.takeovers, takeovers);
        let grace = node.timing().handshake_timeout + GRACE;
        for (peer, lost) in &mut self.lost {
            if now - lost.since <= lost.ttl.max(ttl) {
                lost.overdue = None;
            } else if now - *lost.overdue.get_or_insert(now) > grace {
                return Err(format!(
                    "the session with {peer:?}, which is lost, goes on for longer than {:?}",
                    lost.ttl
                ));
            }
        }
        if self.early.is_empty() {
            return Ok(());
        }
        let usage = node.usage();
        let full = usage.peers + usage.left_behind >= node.limits().max_peers;
        let forgets = node.timing().forget_after.is_some_and(|span| span < node.timing().session_ttl);
        let replaced = |run: &Run| node.peer(run.id).is_some_and(|info| info.run.incarnation > run.incarnation);
        let early = std::mem::take(&mut self.early).into_iter().find(|run| !replaced(run));
        match early.filter(|_| !taken_over && !full && !forgets && !reborn && !node.is_leaving()) {
            Some(run) => Err(format!("the session with {run:?} is over, for no reason")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{node, run};
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn verdict(reason: &Reason, after: Duration, acts: impl FnOnce(&mut Ends)) -> Verdict {
        let peer = run(1, 1);
        let mut ends = Ends::default();
        ends.down(peer, reason, Instant::ZERO, TTL);
        acts(&mut ends);
        ends.gone(peer, Instant::ZERO + after, TTL);
        ends.drained(&node(), Instant::ZERO, 0, false)
    }

    #[test]
    fn a_session_that_ends_early_for_no_reason_is_found() {
        verdict(&Reason::Timeout, TTL / 2, |_| {}).unwrap_err();
        verdict(&Reason::Timeout, TTL, |_| {}).unwrap();
        verdict(&Reason::Restarted, TTL / 2, |_| {}).unwrap();
        verdict(&Reason::Removed, TTL / 2, |_| {}).unwrap();
        verdict(&Reason::Timeout, TTL / 2, |ends| ends.parted(run(1, 1).id)).unwrap();
    }

    #[test]
    fn a_session_that_outlives_its_time_is_found() {
        let at = |after: &[Duration]| {
            let mut ends = Ends::default();
            ends.down(run(1, 1), &Reason::Timeout, Instant::ZERO, TTL);
            after.iter().try_for_each(|&after| ends.drained(&node(), Instant::ZERO + after, 0, false))
        };
        at(&[TTL, TTL + GRACE]).unwrap();
        at(&[TTL + GRACE * 9]).unwrap();
        at(&[TTL + GRACE, TTL + GRACE * 4]).unwrap_err();
    }

    #[test]
    fn a_session_that_was_given_more_time_has_its_last_try_after_it() {
        let now = |after: Duration| Instant::ZERO + after;
        let mut ends = Ends::default();
        ends.down(run(1, 1), &Reason::Timeout, Instant::ZERO, TTL / 2);
        let longer = |ttl: Duration| {
            let mut node = node();
            let config = node.config().clone().session_ttl(ttl);
            node.set_config(Instant::ZERO, config).unwrap();
            node
        };
        ends.drained(&longer(TTL / 2), now(TTL / 2 + GRACE), 0, false).unwrap();
        ends.drained(&longer(TTL), now(TTL), 0, false).unwrap();
        ends.drained(&longer(TTL), now(TTL + GRACE), 0, false).unwrap();
        ends.drained(&longer(TTL), now(TTL + GRACE * 4), 0, false).unwrap_err();
    }

    #[test]
    fn a_takeover_excuses_only_what_ended_with_it() {
        let peer = run(1, 1);
        let lose = |ends: &mut Ends| {
            ends.down(peer, &Reason::Timeout, Instant::ZERO, TTL);
            ends.gone(peer, Instant::ZERO + TTL / 2, TTL);
        };
        let mut ends = Ends::default();
        lose(&mut ends);
        ends.drained(&node(), Instant::ZERO, 1, false).unwrap();
        lose(&mut ends);
        ends.drained(&node(), Instant::ZERO, 1, false).unwrap_err();
        ends.drained(&node(), Instant::ZERO, 2, false).unwrap();
        lose(&mut ends);
        ends.drained(&node(), Instant::ZERO, 2, false).unwrap_err();
    }
}
