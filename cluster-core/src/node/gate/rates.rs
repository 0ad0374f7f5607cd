//! How many connections may come in each second, in all and from one source.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use crate::address::source;
use crate::bucket::TokenBucket;
use crate::config::Limits;
use crate::reason::Reason;
use crate::time::Instant;

/// Each connection takes a token of the node and gives it back once it has authenticated itself. So members come and go
/// at any speed, and strangers do not.
///
/// While half of the node's tokens or less are left, each takes one of its source too, and is refused if its source has
/// none. Only then: else a neighbour that connects 25 times a second from the IP of an honest node would leave it no
/// token, although there are enough for all. An address at which a peer was seen is a source of its own, which others of
/// its /64 cannot empty, and the last quarter of the node's tokens is for such addresses.
///
/// Only sources with a token missing have a bucket of their own. Those beyond `max_accept_sources` share one.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    total: TokenBucket,
    sources: BTreeMap<Option<Payer>, TokenBucket>,
}

/// Which connections take from one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Payer {
    /// Those of an IPv4 address, or of a /64.
    Source(IpAddr),
    /// Those of an address at which a peer was seen.
    Familiar(IpAddr),
}

/// A connection that may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Charged {
    /// It has to do with the bucket that many sources share.
    pub(super) crowded: bool,
}

impl Rates {
    pub(super) fn new(limits: &Limits, now: Instant) -> Rates {
        Rates { total: TokenBucket::full(limits.accepts(), now), sources: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.sources.len()
    }

    /// Lets a connection from `ip` in, or returns why not. Only a connection that is let in takes a token.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        ip: IpAddr,
        limits: &Limits,
        familiar: bool,
    ) -> Result<Charged, Reason> {
        let left = self.total.tokens(now, limits.accepts());
        if left == 0 || left <= limits.accept_burst / 4 && !familiar {
            return Err(Reason::TooManyInbound);
        }
        let crowded = left <= limits.accept_burst / 2 && self.charge(now, ip, limits, familiar)?;
        self.total.take(now, limits.accepts());
        Ok(Charged { crowded })
    }

    /// Takes a token of the source. Returns whether it shares its bucket with others.
    fn charge(&mut self, now: Instant, ip: IpAddr, limits: &Limits, familiar: bool) -> Result<bool, Reason> {
        let payer = if familiar { Payer::Familiar(ip) } else { Payer::Source(source(ip)) };
        let rate = limits.accepts_per_ip();
        if !self.sources.contains_key(&Some(payer)) && self.own_buckets() >= limits.max_accept_sources {
            // A source that has all of its tokens is as good as one that never came.
            self.sources.retain(|_, bucket| bucket.tokens(now, rate) < rate.burst);
        }
        let own = self.sources.contains_key(&Some(payer)) || self.own_buckets() < limits.max_accept_sources;
        let bucket = self.sources.entry(own.then_some(payer)).or_insert_with(|| TokenBucket::full(rate, now));
        if bucket.take(now, rate) { Ok(!own) } else { Err(Reason::TooManyFromIp) }
    }

    /// A connection from `ip` that was let in has authenticated itself. Its source may have become familiar since.
    pub(super) fn refund(&mut self, ip: IpAddr, limits: &Limits) {
        self.total.refund(limits.accepts());
        let own = [Payer::Familiar(ip), Payer::Source(source(ip))];
        let payer = own.into_iter().map(Some).find(|payer| self.sources.contains_key(payer)).flatten();
        if let Some(bucket) = self.sources.get_mut(&payer) {
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
        admission: Rates,
        limits: Limits,
    }

    impl Bench {
        fn new(change: impl FnOnce(&mut Limits)) -> Bench {
            let mut limits = Limits::default();
            (limits.accept_burst, limits.accept_interval) = (200, Duration::from_millis(5));
            change(&mut limits);
            Bench { admission: Rates::new(&limits, Instant::ZERO), limits }
        }

        fn admit(&mut self, millis: u64, number: u32) -> Result<Charged, Reason> {
            let now = Instant::ZERO + Duration::from_millis(millis);
            self.admission.admit(now, source(number), &self.limits, number == 0)
        }
    }

    #[test]
    fn source_takes_any_share_while_there_is_enough() {
        let mut bench = Bench::new(|_| {});
        // Fewer than the total allows: a neighbour at 100 a second, and an honest node at the same address.
        for millis in (0..10_000).step_by(10) {
            assert_eq!(bench.admit(millis, 1), Ok(Charged { crowded: false }));
        }
        assert_eq!(bench.admission.len(), 0);
    }

    #[test]
    fn crowded_source_gets_its_burst_and_its_rate() {
        let mut bench = Bench::new(|_| {});
        let mut count = |from: u64, to: u64| (from..to).filter(|millis| bench.admit(*millis, 1).is_ok()).count();
        // Half of the burst, what comes back meanwhile, and its own burst.
        assert!((105..=140).contains(&count(0, 200)));
        // As much as comes back in all, since this source alone cannot use up the other half.
        let later = count(200, 10_200);
        assert!((1_990..=2_010).contains(&later), "{later}");
        assert_eq!(bench.admit(10_200, 2), Ok(Charged { crowded: false }), "and another has its own");
    }

    #[test]
    fn neighbours_of_a_familiar_address_leave_its_tokens() {
        let mut bench = Bench::new(|_| {});
        let of = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]);
        let mut admit = |host, known| bench.admission.admit(Instant::ZERO, of(host), &bench.limits, known);
        while admit(2, false).is_ok() {}
        assert_eq!(admit(3, false), Err(Reason::TooManyFromIp), "a /64 is one source");
        assert_eq!((0..9).filter(|_| admit(1, true).is_ok()).count(), 5);
    }

    #[test]
    fn last_quarter_is_for_familiar_addresses() {
        let mut bench = Bench::new(|_| {});
        let admitted = (1..=1_000).filter(|number| bench.admit(0, *number).is_ok()).count();
        assert_eq!(admitted, 150);
        assert_eq!(bench.admit(0, 1_001), Err(Reason::TooManyInbound));
        assert_eq!((0..9).filter(|_| bench.admit(0, 0).is_ok()).count(), 5, "of its own rate");
        let later = (1..=1_000).filter(|number| bench.admit(1_000 + u64::from(*number), 2_000 + number).is_ok());
        assert!((345..=400).contains(&later.count()));
    }

    #[test]
    fn refused_connections_take_nothing_from_others() {
        let mut bench = Bench::new(|limits| limits.accept_burst = 100);
        let admitted = (0..1_000).filter(|_| bench.admit(0, 1).is_ok()).count();
        assert_eq!(admitted, 50 + 5, "until half is left, and its own burst");
        assert_eq!((2..=1_000).filter(|number| bench.admit(0, *number).is_ok()).count(), 75 - 55);
        // Those who met the empty total have all of their own.
        bench.limits.accept_burst = 10_000;
        bench.admission.total = TokenBucket::full(bench.limits.accepts(), Instant::ZERO);
        bench.admission.total.drain(5_000);
        assert_eq!((0..9).filter(|_| bench.admit(0, 999).is_ok()).count(), 5);
    }

    #[test]
    fn authenticated_connections_cost_nothing() {
        let mut bench = Bench::new(|_| {});
        for _ in 0..1_000 {
            bench.admit(0, 1).unwrap();
            bench.admission.refund(source(1), &bench.limits);
        }
        bench.admission.total.drain(100);
        for _ in 0..1_000 {
            bench.admit(0, 1).unwrap();
            bench.admission.refund(source(1), &bench.limits);
        }
    }

    #[test]
    fn sources_beyond_the_table_share_one_bucket() {
        let mut bench = Bench::new(|limits| (limits.max_accept_sources, limits.accept_burst) = (10, 10_000));
        bench.admission.total = TokenBucket::full(bench.limits.accepts(), Instant::ZERO);
        bench.admission.total.drain(6_000);
        let crowded = |outcome: Result<Charged, Reason>| outcome.map(|admitted| admitted.crowded);
        assert!((1..=10).all(|number| crowded(bench.admit(0, number)) == Ok(false)));
        let shared = (11..=100).filter(|number| crowded(bench.admit(0, *number)) == Ok(true)).count();
        assert_eq!((shared, bench.admission.len()), (5, 11));
        assert_eq!(crowded(bench.admit(0, 3)), Ok(false), "a source in the table keeps its own");
        // One token is back after 100 ms; number 3 has two to get.
        assert_eq!(crowded(bench.admit(100, 200)), Ok(false));
        assert!(bench.admission.len() <= 4);
    }
}
