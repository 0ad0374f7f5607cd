//! O13: incarnations and generations rise, never exceed their bounds, and never wrap.

use std::collections::BTreeMap;

use cluster_core::limits::MAX_GENERATION_STEP;
use cluster_core::{LinkId, Run};

use super::Verdict;

/// How far ahead of its start a node may adopt an incarnation: a year and a second, in microseconds.
const MAX_ADOPTED: u64 = (366 * 24 * 60 * 60 + 1) * 1_000_000;

/// What one process has been and claimed.
#[derive(Debug)]
pub(super) struct Runs {
    born: Run,
    now: Run,
    /// By peer, the highest generation of any claim sent or received.
    highest: BTreeMap<Run, u64>,
    /// Claims on links that are not over.
    claims: BTreeMap<LinkId, (Run, u64)>,
}

impl Runs {
    pub(super) fn new(born: Run) -> Runs {
        Runs { born, now: born, highest: BTreeMap::new(), claims: BTreeMap::new() }
    }

    pub(super) fn born(&self) -> Run {
        self.born
    }

    pub(super) fn now(&self) -> Run {
        self.now
    }

    /// The node says that it is this run.
    pub(super) fn is(&mut self, run: Run) -> Verdict {
        let before = std::mem::replace(&mut self.now, run);
        if run == before {
            return Ok(());
        }
        let (born, next) = (self.born.incarnation.0, run.incarnation.0);
        let bounded = next <= born.saturating_add(MAX_ADOPTED);
        if run.id == before.id && before == self.born && next > before.incarnation.0 && bounded {
            return Ok(());
        }
        Err(format!("born as {:?} and then {before:?}, it now is {run:?}", self.born))
    }

    /// The node claims a link.
    pub(super) fn claims(&mut self, link: LinkId, peer: Run, generation: u64) -> Verdict {
        let highest = self.highest.entry(peer).or_default();
        if generation == 0 || generation > highest.saturating_add(1) {
            return Err(format!("it claims {link} with generation {generation}, and the highest seen is {highest}"));
        }
        *highest = generation.max(*highest);
        let rival = self.claims.iter().find(|&(_, &(other, rank))| other == peer && rank >= generation);
        if let (Some((rival, (_, rank))), true) = (rival, generation < u64::MAX) {
            return Err(format!("it claims {link} with generation {generation}, and {rival} has {rank}"));
        }
        self.claims.insert(link, (peer, generation));
        Ok(())
    }

    /// A peer claims a link.
    pub(super) fn claimed(&mut self, link: LinkId, peer: Run, generation: u64) {
        let highest = self.highest.entry(peer).or_default();
        if generation <= highest.saturating_add(MAX_GENERATION_STEP) {
            *highest = generation.max(*highest);
            self.claims.insert(link, (peer, generation));
        }
    }

    /// A link is over.
    pub(super) fn over(&mut self, link: LinkId) {
        self.claims.remove(&link);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{link, run};
    use super::*;

    #[test]
    fn a_node_becomes_a_later_run_of_itself_once() {
        let mut runs = Runs::new(run(1, 10));
        runs.is(run(1, 10)).unwrap();
        runs.is(run(1, 12)).unwrap();
        runs.is(run(1, 13)).unwrap_err();
        for wrong in [run(1, 9), run(2, 11), run(1, 10 + MAX_ADOPTED + 1)] {
            Runs::new(run(1, 10)).is(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_claim_is_one_above_all_that_were_seen() {
        let mut runs = Runs::new(run(1, 1));
        runs.claims(link(1), run(2, 1), 1).unwrap();
        runs.claims(link(2), run(2, 1), 3).unwrap_err();
        runs.claims(link(2), run(2, 1), 1).unwrap_err();
        runs.claimed(link(3), run(2, 1), 7);
        runs.claims(link(2), run(2, 1), 8).unwrap();
        runs.claims(link(4), run(3, 1), 0).unwrap_err();
        for over in [1, 2, 3] {
            runs.over(link(over));
        }
        runs.claims(link(5), run(2, 1), 1).unwrap();
    }
}
