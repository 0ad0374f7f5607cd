//! How often a source is worth a line in a log.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use crate::action::Notice;
use crate::limits::{MAX_NOTICE_SOURCES, NOTICE_INTERVAL};
use crate::reason::Reason;
use crate::time::Instant;

/// Lets one notice per source and interval through and counts the rest. Sources beyond
/// [`MAX_NOTICE_SOURCES`] share one budget until old ones expire.
#[derive(Clone, Debug, Default)]
pub(super) struct Notices {
    sources: BTreeMap<Option<IpAddr>, Budget>,
    /// Who had the last line of the budget that many share, and when: it has no other in the same interval.
    shared: Option<(IpAddr, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Budget {
    last: Instant,
    suppressed: u64,
}

impl Notices {
    pub(super) fn len(&self) -> usize {
        self.sources.len()
    }

    pub(super) fn admit(&mut self, now: Instant, source: IpAddr, reason: Reason) -> Option<Notice> {
        let known = self.sources.contains_key(&Some(source));
        if !known && self.sources.len() >= MAX_NOTICE_SOURCES {
            self.sources.retain(|_, budget| now - budget.last < NOTICE_INTERVAL);
        }
        let key = (known || self.sources.len() < MAX_NOTICE_SOURCES).then_some(source);
        if !known && self.shared.is_some_and(|(last, at)| last == source && now - at < NOTICE_INTERVAL) {
            if let Some(budget) = self.sources.get_mut(&None) {
                budget.suppressed += 1;
            }
            return None;
        }
        match self.sources.get_mut(&key) {
            Some(budget) if now - budget.last < NOTICE_INTERVAL => {
                budget.suppressed += 1;
                None
            }
            found => {
                let suppressed = found.map_or(0, |budget| budget.suppressed);
                self.sources.insert(key, Budget { last: now, suppressed: 0 });
                if key.is_none() {
                    self.shared = Some((source, now));
                }
                Some(Notice { source, reason, suppressed })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn source(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn one_line_per_source_and_interval_with_the_rest_counted() {
        let mut notices = Notices::default();
        let mut admit = |n, at| notices.admit(at, source(n), Reason::Refused).map(|notice| notice.suppressed);
        assert_eq!(admit(1, Instant::ZERO), Some(0));
        assert_eq!(admit(1, Instant::ZERO), None);
        assert_eq!(admit(2, Instant::ZERO), Some(0));
        assert_eq!(admit(1, Instant::ZERO + NOTICE_INTERVAL), Some(1));
    }

    #[test]
    fn many_sources_share_one_budget_and_one_table_of_bounded_size() {
        let mut notices = Notices::default();
        let lines = (0..10_000).filter(|n| notices.admit(Instant::ZERO, source(*n), Reason::Refused).is_some()).count();
        assert_eq!(lines, MAX_NOTICE_SOURCES + 1);
        assert!(notices.sources.len() <= MAX_NOTICE_SOURCES + 1);
    }

    #[test]
    fn who_had_the_line_that_many_share_has_no_other_in_the_same_interval() {
        let mut notices = Notices::default();
        let second = core::time::Duration::from_secs(1);
        for n in 0..MAX_NOTICE_SOURCES as u32 {
            assert!(notices.admit(Instant::ZERO, source(n), Reason::Refused).is_some());
        }
        let late = Instant::ZERO + second;
        assert!(notices.admit(late, source(1_000), Reason::Refused).is_some());
        // By now there is room for a budget of its own.
        let later = Instant::ZERO + NOTICE_INTERVAL;
        assert!(notices.admit(later, source(1_000), Reason::Refused).is_none());
        let notice = notices.admit(later + second, source(1_000), Reason::Refused);
        assert!(notice.is_some());
    }
}
