//! Nodes known from hearsay only: they may be dialled, they are never peers.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::backoff::Backoff;
use crate::id::{LinkId, NodeId, Run};
use crate::time::Instant;

/// How long hearsay makes a run count as current.
pub(crate) const CURRENT: Duration = Duration::from_secs(60);

/// How long a candidate that no peer names any more is kept.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(3_600);

/// After this many failed dials to a node that a peer is connected to, the user is told.
pub(crate) const UNREACHABLE: u32 = 3;

#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) run: Run,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Who named it first; its quota pays.
    pub(crate) introducer: NodeId,
    /// Who named it last, and when.
    pub(crate) named_by: Run,
    pub(crate) named_at: Instant,
    pub(crate) backoff: Backoff,
    pub(crate) dialing: Option<LinkId>,
    /// The user was told that it cannot be reached.
    pub(crate) told: bool,
    cursor: usize,
}

impl Candidate {
    pub(crate) fn next_address(&mut self) -> Option<SocketAddr> {
        let address = *self.addresses.get(self.cursor % self.addresses.len().max(1))?;
        self.cursor = self.cursor.wrapping_add(1);
        Some(address)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    by_id: BTreeMap<NodeId, Candidate>,
    introduced: BTreeMap<NodeId, usize>,
}

/// What hearing a name has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A node, or a run of it, that was not known.
    New,
    /// Known already.
    Known,
    /// There is no room for it.
    NoRoom,
}

impl Candidates {
    /// A peer names a run that it is connected to.
    pub(crate) fn hear(
        &mut self,
        run: Run,
        addresses: Vec<SocketAddr>,
        by: Run,
        now: Instant,
        cap: usize,
        quota: usize,
    ) -> Heard {
        if let Some(candidate) = self.by_id.get_mut(&run.id) {
            if run.incarnation < candidate.run.incarnation {
                return Heard::Known;
            }
            let new = run != candidate.run;
            candidate.named_by = by;
            candidate.named_at = now;
            if new || candidate.addresses.is_empty() {
                candidate.run = run;
                candidate.addresses = addresses;
            }
            return if new { Heard::New } else { Heard::Known };
        }
        let introduced = self.introduced.entry(by.id).or_default();
        if self.by_id.len() >= cap || *introduced >= quota {
            if *introduced == 0 {
                self.introduced.remove(&by.id);
            }
            return Heard::NoRoom;
        }
        *introduced += 1;
        let candidate = Candidate {
            run,
            addresses,
            introducer: by.id,
            named_by: by,
            named_at: now,
            backoff: Backoff::default(),
            dialing: None,
            told: false,
            cursor: 0,
        };
        self.by_id.insert(run.id, candidate);
        Heard::New
    }

    pub(crate) fn remove(&mut self, id: NodeId) -> Option<Candidate> {
        let candidate = self.by_id.remove(&id)?;
        if let Some(count) = self.introduced.get_mut(&candidate.introducer) {
            *count -= 1;
            if *count == 0 {
                self.introduced.remove(&candidate.introducer);
            }
        }
        Some(candidate)
    }

    pub(crate) fn find(&self, id: NodeId) -> Option<&Candidate> {
        self.by_id.get(&id)
    }

    pub(crate) fn find_mut(&mut self, id: NodeId) -> Option<&mut Candidate> {
        self.by_id.get_mut(&id)
    }

    /// The runs that were named recently enough to count as current.
    pub(crate) fn current(&self, now: Instant) -> impl Iterator<Item = Run> + '_ {
        self.by_id.values().filter(move |candidate| now - candidate.named_at <= CURRENT).map(|candidate| candidate.run)
    }

    /// The ids of candidates that nobody has named for long.
    pub(crate) fn forgotten(&self, now: Instant) -> Vec<NodeId> {
        let stale = self.by_id.values().filter(|candidate| now - candidate.named_at > FORGOTTEN);
        stale.map(|candidate| candidate.run.id).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
        self.introduced.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Incarnation;

    fn run(id: u8, incarnation: u64) -> Run {
        Run { id: NodeId::from_bytes([id; 16]), incarnation: Incarnation(incarnation) }
    }

    fn hear(candidates: &mut Candidates, id: u8, incarnation: u64, by: u8) -> Heard {
        candidates.hear(run(id, incarnation), Vec::new(), run(by, 1), Instant::ZERO, 3, 2)
    }

    #[test]
    fn one_introducer_cannot_fill_the_table() {
        let mut candidates = Candidates::default();
        assert_eq!([hear(&mut candidates, 1, 1, 9), hear(&mut candidates, 2, 1, 9)], [Heard::New, Heard::New]);
        assert_eq!(hear(&mut candidates, 3, 1, 9), Heard::NoRoom);
        assert_eq!(hear(&mut candidates, 3, 1, 8), Heard::New);
        assert_eq!(hear(&mut candidates, 4, 1, 7), Heard::NoRoom, "the table is full");
        candidates.remove(run(1, 1).id);
        assert_eq!(hear(&mut candidates, 4, 1, 9), Heard::New, "the place is given back");
    }

    #[test]
    fn a_later_run_is_news_and_an_earlier_one_changes_nothing() {
        let mut candidates = Candidates::default();
        hear(&mut candidates, 1, 5, 9);
        assert_eq!(hear(&mut candidates, 1, 5, 8), Heard::Known);
        assert_eq!(hear(&mut candidates, 1, 4, 8), Heard::Known);
        assert_eq!(hear(&mut candidates, 1, 6, 8), Heard::New);
        assert_eq!(candidates.find(run(1, 0).id).unwrap().run, run(1, 6));
    }

    #[test]
    fn hearsay_counts_as_current_for_a_minute_and_is_kept_for_an_hour() {
        let mut candidates = Candidates::default();
        hear(&mut candidates, 1, 1, 9);
        assert_eq!(candidates.current(Instant::ZERO + CURRENT).count(), 1);
        assert_eq!(candidates.current(Instant::ZERO + CURRENT + Duration::from_nanos(1)).count(), 0);
        assert!(candidates.forgotten(Instant::ZERO + FORGOTTEN).is_empty());
        assert_eq!(candidates.forgotten(Instant::ZERO + FORGOTTEN + Duration::from_nanos(1)).len(), 1);
    }
}
