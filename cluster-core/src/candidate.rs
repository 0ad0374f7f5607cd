//! Nodes known from hearsay only: they may be dialled, they are never peers.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::backoff::Backoff;
use crate::id::{LinkId, NodeId, Run};
use crate::limits::MAX_ADDRESSES;
use crate::mutant::mutant;
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
    pub(crate) addresses: Places,
    /// Who named it first; its quota pays.
    pub(crate) introducer: NodeId,
    /// Who named it last, and when.
    pub(crate) named_by: Run,
    pub(crate) named_at: Instant,
    pub(crate) backoff: Backoff,
    pub(crate) dialing: Option<LinkId>,
    /// The user was told that it cannot be reached.
    pub(crate) told: bool,
}

/// Where a candidate is said to be. Whoever names it adds to that, so that a liar who is first cannot hide it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    known: VecDeque<SocketAddr>,
    cursor: usize,
}

/// The most addresses kept of one candidate; the oldest makes room.
const MAX_PLACES: usize = 2 * MAX_ADDRESSES;

impl Places {
    fn add(&mut self, addresses: Vec<SocketAddr>) {
        for address in addresses {
            if self.known.contains(&address) {
                continue;
            }
            if self.known.len() == MAX_PLACES {
                self.known.pop_front();
            }
            self.known.push_back(address);
        }
    }

    /// `address` leads to somebody else. Returns whether no other is left.
    pub(crate) fn moved_away(&mut self, address: SocketAddr) -> bool {
        self.known.retain(|known| *known != address);
        self.known.is_empty()
    }

    /// The next address to dial, going round through those that are `free`.
    pub(crate) fn next(&mut self, mut free: impl FnMut(SocketAddr) -> bool) -> Option<SocketAddr> {
        for _ in 0..self.known.len() {
            let address = *self.known.get(self.cursor % self.known.len())?;
            self.cursor = self.cursor.wrapping_add(1);
            if free(address) {
                return Some(address);
            }
        }
        None
    }
}

impl Candidate {
    /// Whether a peer has named it recently.
    pub(crate) fn is_current(&self, now: Instant) -> bool {
        now - self.named_at <= CURRENT
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
    /// A node that was not known.
    New,
    /// A later run of one that was. Its back-off goes on: who makes up runs must not make us dial faster.
    Later,
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
            candidate.addresses.add(addresses);
            if run.incarnation < candidate.run.incarnation {
                return Heard::Known;
            }
            let later = run != candidate.run;
            candidate.run = run;
            candidate.named_by = by;
            candidate.named_at = now;
            return if later { Heard::Later } else { Heard::Known };
        }
        let introduced = self.introduced.entry(by.id).or_default();
        if self.by_id.len() >= cap || *introduced >= quota && !mutant!(NoQuota) {
            if *introduced == 0 {
                self.introduced.remove(&by.id);
            }
            return Heard::NoRoom;
        }
        *introduced += 1;
        let mut places = Places::default();
        places.add(addresses);
        let candidate = Candidate {
            run,
            addresses: places,
            introducer: by.id,
            named_by: by,
            named_at: now,
            backoff: Backoff::default(),
            dialing: None,
            told: false,
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
        self.by_id.values().filter(move |candidate| candidate.is_current(now)).map(|candidate| candidate.run)
    }

    /// The ids of candidates that nobody has named for long.
    pub(crate) fn forgotten(&self, now: Instant) -> Vec<NodeId> {
        let stale = self.by_id.values().filter(|candidate| now - candidate.named_at > FORGOTTEN);
        stale.map(|candidate| candidate.run.id).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// How many of them the peer has introduced that has introduced most.
    pub(crate) fn most_introduced(&self) -> usize {
        self.introduced.values().copied().max().unwrap_or(0)
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.by_id.keys().copied().collect()
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
        assert_eq!(hear(&mut candidates, 1, 6, 8), Heard::Later);
        assert_eq!(candidates.find(run(1, 0).id).unwrap().run, run(1, 6));
    }

    #[test]
    fn every_address_that_anyone_names_gets_its_turn() {
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let mut candidates = Candidates::default();
        for (incarnation, ports, by) in [(9, [1, 2], 9), (5, [3, 4], 8)] {
            candidates.hear(run(1, incarnation), ports.map(at).into(), run(by, 1), Instant::ZERO, 3, 2);
        }
        let places = &mut candidates.find_mut(run(1, 0).id).unwrap().addresses;
        let round: Vec<_> = (0..5).map(|_| places.next(|address| address != at(2)).unwrap()).collect();
        assert_eq!(round, [1, 3, 4, 1, 3].map(at));
        assert!(!places.moved_away(at(2)) && !places.moved_away(at(1)) && !places.moved_away(at(3)));
        assert!(places.moved_away(at(4)), "nothing is left");
        places.add((10..20).map(at).collect());
        assert_eq!(places.known.len(), MAX_PLACES);
        assert_eq!(places.next(|_| false), None);
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
