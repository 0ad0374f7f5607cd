//! O10: a run that left never comes back, and a pair that a user disconnected stays apart until the user of
//! either side joins.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{Incarnation, Instant, NodeId, Reason, Run, Timing};

use super::Verdict;

/// Whom one run of a node must not connect to, first-hand: by its own events and its user's own words.
#[derive(Debug, Default)]
pub(super) struct Departed {
    left: BTreeMap<NodeId, Mark>,
    removed: BTreeMap<NodeId, Mark>,
    /// Nodes that this one may hold for disconnected: it was told so, and they have not been up since.
    apart: BTreeSet<NodeId>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    incarnation: Incarnation,
    /// By the node's own clock.
    until: Instant,
    /// By the world's.
    since: u64,
    /// The node's own user disconnected the pair.
    own: bool,
}

impl Departed {
    /// The node says that a run is down. `world` is the time of the world.
    pub(super) fn down(&mut self, run: Run, reason: &Reason, now: Instant, world: u64, timing: &Timing, cap: usize) {
        let marks = match reason {
            Reason::Left => &mut self.left,
            Reason::Removed | Reason::LocalDisconnect => {
                self.apart.insert(run.id);
                &mut self.removed
            }
            _ => return,
        };
        let own = *reason == Reason::LocalDisconnect;
        let mark = Mark { incarnation: run.incarnation, until: now + timing.tombstone_ttl, since: world, own };
        marks.insert(run.id, mark);
        if marks.len() > cap
            && let Some((&oldest, _)) = marks.iter().min_by_key(|(_, mark)| mark.until)
        {
            marks.remove(&oldest);
        }
    }

    /// A run is up. `joined` is when, by the world's time, the user of either side last had a join under way, if that
    /// is known of both.
    pub(super) fn up(&mut self, run: Run, now: Instant, joined: Option<u64>) -> Verdict {
        self.apart.remove(&run.id);
        let gone = self.left.remove(&run.id).filter(|mark| mark.until > now);
        if gone.is_some_and(|mark| run.incarnation <= mark.incarnation) {
            return Err(format!("PeerUp of {run:?}, which has left"));
        }
        let apart = self.removed.remove(&run.id).filter(|mark| mark.until > now);
        // The other side's mark, to which one of this side's owes itself, may be over before.
        if let (Some(mark), Some(joined)) = (apart.filter(|mark| mark.own), joined)
            && joined < mark.since
        {
            return Err(format!("PeerUp of {run:?}, which was disconnected, and no user has joined since"));
        }
        Ok(())
    }

    /// A dial has found the peer; its user last had a join under way at `joined`.
    pub(super) fn met(&mut self, id: NodeId, joined: u64) {
        if self.removed.get(&id).is_some_and(|mark| mark.since <= joined) {
            self.removed.remove(&id);
        }
    }

    /// The peer claims a link; `rejoin`: its user has asked for this node.
    pub(super) fn claimed(&mut self, id: NodeId, rejoin: bool) {
        if self.removed.get(&id).is_some_and(|mark| rejoin || !mark.own) {
            self.removed.remove(&id);
        }
    }

    /// The peer says that its user disconnected this node.
    pub(super) fn told(&mut self, id: NodeId) {
        self.apart.insert(id);
    }

    /// Whether the two may stay apart until a user joins.
    pub(super) fn is_apart(&self, id: NodeId) -> bool {
        self.apart.contains(&id)
    }

    /// Whether the node must not dial this run.
    pub(super) fn forbids(&self, run: Run, now: Instant) -> bool {
        let holds = |mark: &&Mark| mark.until > now;
        self.left.get(&run.id).filter(holds).is_some_and(|mark| run.incarnation <= mark.incarnation)
            || self.removed.get(&run.id).filter(holds).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{node, run};
    use super::*;

    fn departed(reason: &Reason) -> Departed {
        let mut departed = Departed::default();
        departed.down(run(1, 5), reason, Instant::ZERO, 10, node().timing(), 8);
        departed
    }

    #[test]
    fn a_run_that_left_is_never_up_again_but_a_later_one_may_be() {
        departed(&Reason::Left).up(run(1, 5), Instant::ZERO, Some(99)).unwrap_err();
        departed(&Reason::Left).up(run(1, 6), Instant::ZERO, Some(0)).unwrap();
        departed(&Reason::Timeout).up(run(1, 5), Instant::ZERO, Some(0)).unwrap();
        assert!(departed(&Reason::Left).forbids(run(1, 4), Instant::ZERO));
        assert!(!departed(&Reason::Left).forbids(run(1, 6), Instant::ZERO));
    }

    #[test]
    fn a_disconnected_pair_is_apart_until_somebody_joins_or_the_mark_expires() {
        let later = Instant::ZERO + Duration::from_secs(25 * 3_600);
        let own = || departed(&Reason::LocalDisconnect);
        own().up(run(1, 6), Instant::ZERO, Some(9)).unwrap_err();
        own().up(run(1, 5), Instant::ZERO, Some(10)).unwrap();
        own().up(run(1, 5), later, Some(9)).unwrap();
        departed(&Reason::Removed).up(run(1, 5), Instant::ZERO, Some(9)).unwrap();
        let mut readmitted = own();
        readmitted.claimed(run(1, 5).id, false);
        assert!(readmitted.forbids(run(1, 5), Instant::ZERO) && readmitted.is_apart(run(1, 5).id));
        readmitted.claimed(run(1, 5).id, true);
        readmitted.up(run(1, 5), Instant::ZERO, Some(0)).unwrap();
    }
}
