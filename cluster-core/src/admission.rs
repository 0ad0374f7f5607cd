//! How many connections may come in each second, in all and from one source.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use crate::bucket::TokenBucket;
use crate::config::Limits;
use crate::reason::Reason;
use crate::time::Instant;

/// Each connection takes a token, of the node and of its source, and gives them back once it has authenticated itself.
/// So members come and go at any speed, and strangers do not.
///
/// Only sources with a token missing have a bucket of their own. Those beyond `max_accept_sources` share one.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    total: TokenBucket,
    sources: BTreeMap<Option<IpAddr>, TokenBucket>,
}

/// A connection that may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// It has to do with the bucket that many sources share.
    pub(crate) crowded: bool,
}

impl Admission {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Admission {
        Admission { total: TokenBucket::full(limits.accepts(), now), sources: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.sources.len()
    }

    /// Lets a connection of `source` in, or says why not; only then nothing is taken. The last quarter of all tokens is
    /// for sources that are `known`.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        source: IpAddr,
        limits: &Limits,
        known: bool,
    ) -> Result<Admitted, Reason> {
        let left = self.total.tokens(now, limits.accepts());
        if left == 0 || left <= limits.accept_burst / 4 && !known {
            return Err(Reason::TooManyInbound);
        }
        let rate = limits.accepts_per_ip();
        if !self.sources.contains_key(&Some(source)) && self.own_buckets() >= limits.max_accept_sources {
            // Whoever has all of its tokens is as good as one that never came.
            self.sources.retain(|_, bucket| bucket.tokens(now, rate) < rate.burst);
        }
        let own = self.sources.contains_key(&Some(source)) || self.own_buckets() < limits.max_accept_sources;
        let bucket = self.sources.entry(own.then_some(source)).or_insert_with(|| TokenBucket::full(rate, now));
        if !bucket.take(now, rate) {
            return Err(Reason::TooManyFromIp);
        }
        self.total.take(now, limits.accepts());
        Ok(Admitted { crowded: !own })
    }

    /// A connection of `source` that was let in has authenticated itself.
    pub(crate) fn refund(&mut self, source: IpAddr, limits: &Limits) {
        self.total.refund(limits.accepts());
        let key = if self.sources.contains_key(&Some(source)) { Some(source) } else { None };
        if let Some(bucket) = self.sources.get_mut(&key) {
            bucket.refund(limits.accepts_per_ip());
        }
    }

    fn own_buckets(&self) -> usize {
        self.sources.len() - usize::from(self.sources.contains_key(&None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use core::time::Duration;

    fn source(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    struct Bench {
        admission: Admission,
        limits: Limits,
    }

    impl Bench {
        fn new(change: impl FnOnce(&mut Limits)) -> Bench {
            let mut limits = Limits::default();
            (limits.accept_burst, limits.accept_interval) = (200, Duration::from_millis(5));
            change(&mut limits);
            Bench { admission: Admission::new(&limits, Instant::ZERO), limits }
        }

        fn admit(&mut self, millis: u64, number: u32) -> Result<Admitted, Reason> {
            let now = Instant::ZERO + Duration::from_millis(millis);
            self.admission.admit(now, source(number), &self.limits, number == 0)
        }
    }

    #[test]
    fn one_source_gets_its_burst_and_its_rate_whatever_the_others_do() {
        let mut bench = Bench::new(|_| {});
        let admitted = (0..10_000).filter(|millis| bench.admit(*millis, 1).is_ok()).count();
        assert_eq!(admitted, 5 + 199);
        assert_eq!(bench.admit(10_000, 1).map(|_| ()), Ok(()));
        assert_eq!(bench.admit(10_000, 1), Err(Reason::TooManyFromIp));
        assert_eq!(bench.admit(10_000, 2), Ok(Admitted { crowded: false }));
    }

    #[test]
    fn all_sources_together_get_the_total_and_leave_a_quarter_of_the_burst_to_those_who_are_known() {
        let mut bench = Bench::new(|_| {});
        let admitted = (1..=1_000).filter(|number| bench.admit(0, *number).is_ok()).count();
        assert_eq!(admitted, 150);
        assert_eq!(bench.admit(0, 1_001), Err(Reason::TooManyInbound));
        assert_eq!((0..9).filter(|_| bench.admit(0, 0).is_ok()).count(), 5, "of its own rate");
        let later = (1..=1_000).filter(|number| bench.admit(1_000 + u64::from(*number), 2_000 + number).is_ok());
        assert!((345..=400).contains(&later.count()));
    }

    #[test]
    fn whoever_is_refused_takes_nothing_from_others() {
        let mut bench = Bench::new(|limits| limits.accept_burst = 100);
        for _ in 0..1_000 {
            let _ = bench.admit(0, 1);
        }
        assert_eq!((2..=1_000).filter(|number| bench.admit(0, *number).is_ok()).count(), 70);
        // Those who met the empty total have all of their own.
        bench.limits.accept_burst = 10_000;
        bench.admission.total = TokenBucket::full(bench.limits.accepts(), Instant::ZERO);
        assert_eq!((0..9).filter(|_| bench.admit(0, 999).is_ok()).count(), 5);
    }

    #[test]
    fn what_is_authenticated_costs_nothing() {
        let mut bench = Bench::new(|_| {});
        for _ in 0..1_000 {
            bench.admit(0, 1).unwrap();
            bench.admission.refund(source(1), &bench.limits);
        }
    }

    #[test]
    fn sources_beyond_the_table_share_one_bucket_until_old_ones_have_all_their_tokens() {
        let mut bench = Bench::new(|limits| (limits.max_accept_sources, limits.accept_burst) = (10, 10_000));
        let crowded = |outcome: Result<Admitted, Reason>| outcome.map(|admitted| admitted.crowded);
        assert!((1..=10).all(|number| crowded(bench.admit(0, number)) == Ok(false)));
        let shared = (11..=100).filter(|number| crowded(bench.admit(0, *number)) == Ok(true)).count();
        assert_eq!((shared, bench.admission.len()), (5, 11));
        assert_eq!(crowded(bench.admit(0, 3)), Ok(false), "who is there keeps its own");
        // One token is back after 50 ms; number 3 has two to get.
        assert_eq!(crowded(bench.admit(50, 200)), Ok(false));
        assert!(bench.admission.len() <= 4);
    }
}
