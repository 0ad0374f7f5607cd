//! S05: a link in whose favour another was turned away shows soon that it lives, or ends. Whoever keeps a half-open link
//! and refuses those who would replace it is deaf until the link times out.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_core::{Instant, LinkId, Timing};

use super::Verdict;

/// A node's ticks may be late by up to this without its noticing, and its deadlines with them, one after the other.
const SLACK: Duration = Duration::from_secs(2);

/// Links that another was turned away for, and by when something must have come over them, on the node's own clock.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    fresh: Vec<LinkId>,
    due: BTreeMap<LinkId, Instant>,
    own_stalls: u64,
    /// What the node goes by: a clock that was set back stands still until it is there again.
    now: Instant,
}

impl Suspects {
    /// Another link with the same peer was turned away in favour of this one.
    pub(super) fn preferred(&mut self, link: LinkId) {
        self.fresh.push(link);
    }

    /// A frame has come over a link, or it is over.
    pub(super) fn cleared(&mut self, link: LinkId) {
        if !self.due.is_empty() {
            self.due.remove(&link);
        }
    }

    /// The node has nothing more to say for now. When it has stood still itself, the deadlines start over.
    pub(super) fn drained(&mut self, now: Instant, own_stalls: u64, timing: &Timing) -> Verdict {
        self.now = self.now.max(now);
        let begin = self.now + timing.probe_timeout + SLACK;
        if std::mem::replace(&mut self.own_stalls, own_stalls) != own_stalls {
            self.due.values_mut().for_each(|due| *due = begin);
        }
        for link in self.fresh.drain(..) {
            self.due.entry(link).or_insert(begin);
        }
        match self.due.iter().find(|(_, due)| **due < self.now) {
            Some((link, _)) => {
                Err(format!("another was turned away for {link}, over which nothing comes, and it is kept"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{link, node};
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn suspects() -> Suspects {
        let mut suspects = Suspects::default();
        suspects.preferred(link(1));
        suspects.drained(at(1), 0, node().timing()).unwrap();
        suspects
    }

    #[test]
    fn a_silent_link_that_others_were_turned_away_for_is_noticed() {
        let mut suspects = suspects();
        suspects.drained(at(4), 0, node().timing()).unwrap();
        suspects.drained(at(5), 0, node().timing()).unwrap_err();
    }

    #[test]
    fn one_that_speaks_or_ends_is_not() {
        let mut suspects = suspects();
        suspects.cleared(link(1));
        suspects.drained(at(60), 0, node().timing()).unwrap();
    }

    #[test]
    fn a_clock_that_was_set_back_stands_still() {
        let mut suspects = Suspects::default();
        suspects.drained(at(10), 0, node().timing()).unwrap();
        suspects.preferred(link(1));
        suspects.drained(at(7), 0, node().timing()).unwrap();
        suspects.drained(at(13), 0, node().timing()).unwrap();
        suspects.drained(at(14), 0, node().timing()).unwrap_err();
    }

    #[test]
    fn who_has_stood_still_gets_more_time() {
        let mut suspects = suspects();
        suspects.drained(at(60), 1, node().timing()).unwrap();
        suspects.drained(at(63), 1, node().timing()).unwrap();
        suspects.drained(at(64), 1, node().timing()).unwrap_err();
    }
}
