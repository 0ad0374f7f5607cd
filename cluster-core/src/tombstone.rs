//! What must not come back: runs that left, peers that a user disconnected, and runs before one that was lost and gave
//! its place away.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::id::{Incarnation, NodeId, Run};
use crate::time::Instant;

/// Departed runs, disconnected pairs and displaced runs, each with its expiry, at most `cap` of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones {
    departed: BTreeMap<NodeId, (Incarnation, Instant)>,
    removed: BTreeMap<NodeId, Mark>,
    displaced: BTreeMap<NodeId, (Incarnation, Instant)>,
}

/// A pair that a user disconnected.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The run of the other node whose user did it; `None`: our own user.
    by: Option<Run>,
    /// The latest run that was disconnected.
    last: Incarnation,
    expires: Instant,
    /// A user wants the pair again; an earlier run than the last is still none to connect to.
    readmitted: bool,
}

impl Tombstones {
    /// A run said goodbye first-hand. Returns whether an older tombstone had to make room.
    pub(crate) fn bury(&mut self, run: Run, now: Instant, ttl: Duration, cap: usize) -> bool {
        remember(&mut self.departed, run, now + ttl, cap)
    }

    /// A lost run gave its place to another peer: it may come again, an earlier one may not. Returns whether an older
    /// one had to make room.
    pub(crate) fn displace(&mut self, run: Run, now: Instant, ttl: Duration, cap: usize) -> bool {
        remember(&mut self.displaced, run, now + ttl, cap)
    }

    /// The highest run of this node that is known to have left.
    pub(crate) fn departed(&self, id: NodeId) -> Option<Incarnation> {
        self.departed.get(&id).map(|(incarnation, _)| *incarnation)
    }

    /// Whether this run, or a later one, is known to have left.
    pub(crate) fn covers(&self, run: Run) -> bool {
        self.departed(run.id).is_some_and(|departed| run.incarnation <= departed)
    }

    /// A later run than this one, if one was there before it left, was disconnected or gave its place away.
    pub(crate) fn outdates(&self, run: Run) -> Option<Incarnation> {
        let removed = self.removed.get(&run.id).map(|mark| mark.last).filter(|last| run.incarnation < *last);
        let departed = self.departed(run.id).filter(|departed| run.incarnation <= *departed);
        let displaced = self.displaced.get(&run.id).map(|(last, _)| *last).filter(|last| run.incarnation < *last);
        removed.max(departed).max(displaced)
    }

    /// The run that is current was met first-hand.
    pub(crate) fn unbury(&mut self, id: NodeId) {
        self.departed.remove(&id);
        self.displaced.remove(&id);
        if self.removed.get(&id).is_some_and(|mark| mark.readmitted) {
            self.removed.remove(&id);
        }
    }

    /// A user disconnected the pair: ours, or `theirs`. Returns whether an older mark had to make room.
    pub(crate) fn remove(&mut self, run: Run, theirs: bool, now: Instant, ttl: Duration, cap: usize) -> bool {
        let last = self.removed.get(&run.id).map_or(run.incarnation, |mark| mark.last.max(run.incarnation));
        let mark = Mark { by: theirs.then_some(run), last, expires: now + ttl, readmitted: false };
        self.removed.insert(run.id, mark);
        let oldest = self.removed.iter().min_by_key(|(_, mark)| (!mark.readmitted, mark.expires)).map(|(id, _)| *id);
        let full = self.removed.len() > cap;
        if let (true, Some(oldest)) = (full, oldest) {
            self.removed.remove(&oldest);
        }
        full
    }

    pub(crate) fn is_removed(&self, id: NodeId) -> bool {
        self.removed.get(&id).is_some_and(|mark| !mark.readmitted)
    }

    /// Whether it was the user of this very run who disconnected the pair. If the run then claims a link, its own mark
    /// is over, and ours was only for its sake.
    pub(crate) fn is_removed_by(&self, run: Run) -> bool {
        self.removed.get(&run.id).is_some_and(|mark| mark.by == Some(run) && !mark.readmitted)
    }

    /// A user of either side asked for the peer again.
    pub(crate) fn readmit(&mut self, id: NodeId) {
        if let Some(mark) = self.removed.get_mut(&id) {
            mark.readmitted = true;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.departed.len() + self.removed.len() + self.displaced.len()
    }

    /// Drops what has expired.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.departed.retain(|_, (_, expires)| *expires > now);
        self.displaced.retain(|_, (_, expires)| *expires > now);
        self.removed.retain(|_, mark| mark.expires > now);
    }

    /// When the next one expires.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let runs = self.departed.values().chain(self.displaced.values()).map(|(_, expires)| *expires);
        runs.chain(self.removed.values().map(|mark| mark.expires)).min()
    }
}

/// Keeps the later of this run and the one that is kept. Returns whether another had to make room.
fn remember(runs: &mut BTreeMap<NodeId, (Incarnation, Instant)>, run: Run, expires: Instant, cap: usize) -> bool {
    let seen = runs.get(&run.id).map_or(run.incarnation, |(seen, _)| *seen);
    runs.insert(run.id, (run.incarnation.max(seen), expires));
    let oldest = runs.iter().min_by_key(|(_, (_, expires))| *expires).map(|(id, _)| *id);
    let full = runs.len() > cap;
    if let (true, Some(oldest)) = (full, oldest) {
        runs.remove(&oldest);
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn run(id: u8, incarnation: u64) -> Run {
        Run { id: NodeId::from_bytes([id; 16]), incarnation: Incarnation(incarnation) }
    }

    #[test]
    fn a_tombstone_covers_its_run_and_earlier_ones_until_it_expires() {
        let mut tombstones = Tombstones::default();
        tombstones.bury(run(1, 5), Instant::ZERO, TTL, 8);
        tombstones.bury(run(1, 3), Instant::ZERO, TTL, 8);
        assert!(tombstones.covers(run(1, 5)) && tombstones.covers(run(1, 4)));
        assert!(!tombstones.covers(run(1, 6)) && !tombstones.covers(run(2, 1)));
        tombstones.expire(Instant::ZERO + TTL);
        assert!(!tombstones.covers(run(1, 5)));
    }

    #[test]
    fn beyond_the_cap_the_one_that_expires_first_makes_room() {
        let mut tombstones = Tombstones::default();
        for id in 0..3 {
            let evicted = tombstones.bury(run(id, 1), Instant::from_nanos(u64::from(id)), TTL, 2);
            assert_eq!(evicted, id == 2);
        }
        assert!(!tombstones.covers(run(0, 1)) && tombstones.covers(run(1, 1)) && tombstones.covers(run(2, 1)));
    }

    #[test]
    fn a_removed_pair_stays_apart_until_it_is_readmitted() {
        let mut tombstones = Tombstones::default();
        tombstones.remove(run(1, 1), false, Instant::ZERO, TTL, 8);
        assert!(tombstones.is_removed(run(1, 9).id) && !tombstones.is_removed_by(run(1, 1)));
        tombstones.readmit(run(1, 1).id);
        assert!(!tombstones.is_removed(run(1, 1).id));
        tombstones.remove(run(1, 1), true, Instant::ZERO, TTL, 8);
        assert!(tombstones.is_removed_by(run(1, 1)) && !tombstones.is_removed_by(run(1, 2)));
    }

    #[test]
    fn a_pair_that_is_readmitted_does_not_go_back_to_an_earlier_run() {
        let mut tombstones = Tombstones::default();
        tombstones.remove(run(1, 5), false, Instant::ZERO, TTL, 8);
        tombstones.readmit(run(1, 5).id);
        assert_eq!(tombstones.outdates(run(1, 4)), Some(Incarnation(5)));
        assert_eq!(tombstones.outdates(run(1, 5)), None);
        tombstones.bury(run(1, 5), Instant::ZERO, TTL, 8);
        assert_eq!(tombstones.outdates(run(1, 5)), Some(Incarnation(5)));
        tombstones.unbury(run(1, 6).id);
        assert_eq!(tombstones.outdates(run(1, 4)), None);
    }

    #[test]
    fn of_a_run_that_gave_its_place_away_only_earlier_ones_are_outdated_until_a_run_is_up() {
        let mut tombstones = Tombstones::default();
        assert!(!tombstones.displace(run(1, 5), Instant::ZERO, TTL, 1));
        assert_eq!(tombstones.outdates(run(1, 4)), Some(Incarnation(5)));
        assert_eq!(tombstones.outdates(run(1, 5)), None);
        assert!(!tombstones.covers(run(1, 4)), "what others say of it is not taken for its end");
        assert!(tombstones.displace(run(2, 5), Instant::ZERO, TTL, 1), "the oldest makes room");
        assert_eq!((tombstones.outdates(run(1, 4)), tombstones.len()), (None, 1));
        tombstones.unbury(run(2, 5).id);
        assert_eq!(tombstones.outdates(run(2, 4)), None);
        tombstones.displace(run(1, 5), Instant::ZERO, TTL, 1);
        assert_eq!(tombstones.next_expiry(), Some(Instant::ZERO + TTL));
        tombstones.expire(Instant::ZERO + TTL);
        assert_eq!(tombstones.len(), 0);
    }
}
