//! The places of inbound connections that were granted nothing yet, and which connection makes room for the next.

use alloc::collections::{BTreeMap, BTreeSet};
use core::cmp::Reverse;
use core::net::{IpAddr, Ipv4Addr};

use crate::address::source;
use crate::config::Limits;
use crate::id::LinkId;
use crate::time::Instant;

/// Inbound links in two classes. A *silent* connection has not sent a valid hello yet; in secure mode a stranger gets no
/// further. A *greeted* one has. Each class has its own places, so that silence, which costs a stranger nothing, never
/// displaces a connection that has proven to know the secret.
///
/// # Which connection makes room
///
/// Whatever a flood looks like, an honest connection must keep its place for the round trip that its hello takes:
///
/// 1. A connection is safe until seven eighths of the places were claimed by later ones. With the default limits these
///    are 448 connections, which take 224 ms at the default rate, from any number of sources.
/// 2. Of the others, the one that goes belongs to the source with the most places, and is the oldest of that source. So
///    few sources displace themselves, and a slow honest dial keeps its place beside them.
/// 3. The last eighth belongs to addresses at which a peer was seen (`familiar`): their connections make room only when
///    they have more than that.
///
/// Rule 2 alone would let one cheap neighbour behind the NAT of an honest node make that NAT the heaviest source of a
/// wide flood; rule 1 alone would give a slow dial no more time beside one noisy source than beside a thousand.
///
/// Every call costs O(log n), and O(√n) steps of that where the heaviest sources have only safe connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats {
    /// All inbound links, those included that were granted something or are being closed.
    inbound: usize,
    places: BTreeMap<LinkId, Place>,
    silent: Class,
    greeted: Class,
    /// Closed by the node, and waiting for the other side to take the last words.
    lingering: BTreeSet<(Instant, LinkId)>,
}

/// Where a pending link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    greeted: bool,
    familiar: bool,
    source: IpAddr,
    arrival: u64,
}

/// A link that makes room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Displaced {
    /// All places are taken.
    ByClass(LinkId),
    /// Its source has as many as one source may have.
    BySource(LinkId),
}

impl Seats {
    /// The number of inbound links.
    pub(super) fn inbound(&self) -> usize {
        self.inbound
    }

    /// The number of connections that have not sent a valid hello.
    pub(super) fn silent(&self) -> usize {
        self.silent.len()
    }

    /// The number of connections that have, and were granted nothing yet.
    pub(super) fn greeted(&self) -> usize {
        self.greeted.len()
    }

    /// Returns the link that must go before a new connection from `ip` can come in; `None` once there is room.
    pub(super) fn displaced_by_arrival(&self, ip: IpAddr, familiar: bool, limits: &Limits) -> Option<Displaced> {
        let source = crowd(ip, familiar);
        let oldest = || self.silent.queue(familiar).oldest_of(source);
        if self.silent.queue(familiar).count_of(source) >= limits.max_pending_per_ip {
            return oldest().map(Displaced::BySource);
        }
        self.silent.displaced(familiar, limits.max_pending).map(Displaced::ByClass)
    }

    /// Gives a new connection a place among the silent ones.
    pub(super) fn arrive(&mut self, id: LinkId, ip: IpAddr, familiar: bool) {
        self.inbound += 1;
        let source = crowd(ip, familiar);
        let arrival = self.silent.insert(id, source, familiar);
        let before = self.places.insert(id, Place { greeted: false, familiar, source, arrival });
        debug_assert!(before.is_none(), "a link has one place");
        debug_assert!(self.is_balanced(), "{self:?}");
    }

    /// Returns the link that must go before this one can have a place among the greeted; `None` once there is room, or if
    /// the link is not silent.
    pub(super) fn displaced_by_greeting(&self, id: LinkId, limits: &Limits) -> Option<LinkId> {
        let place = self.places.get(&id).filter(|place| !place.greeted)?;
        self.greeted.displaced(place.familiar, limits.max_greeted)
    }

    /// Moves a silent link that has sent a valid hello to the greeted ones.
    pub(super) fn greet(&mut self, id: LinkId) {
        let Some(place) = self.places.get_mut(&id).filter(|place| !place.greeted) else { return };
        self.silent.remove(place);
        place.greeted = true;
        place.arrival = self.greeted.insert(id, place.source, place.familiar);
        debug_assert!(self.is_balanced(), "{self:?}");
    }

    /// Frees the place of a link that was granted something, or closed.
    pub(super) fn leave(&mut self, id: LinkId) {
        let Some(place) = self.places.remove(&id) else { return };
        if place.greeted {
            self.greeted.remove(&place)
        } else {
            self.silent.remove(&place)
        }
        debug_assert!(self.is_balanced(), "{self:?}");
    }

    /// Returns whether every link that holds a place is in one class, and no class has others.
    fn is_balanced(&self) -> bool {
        self.places.len() == self.silent.len() + self.greeted.len() && self.places.len() <= self.inbound
    }

    /// Whether the link holds a place.
    pub(super) fn holds(&self, id: LinkId) -> bool {
        self.places.contains_key(&id)
    }

    /// Notes that an inbound link is closing since this time, and waits for the other side.
    pub(super) fn linger(&mut self, id: LinkId, since: Instant) {
        self.lingering.insert((since, id));
    }

    /// Notes that such a link no longer waits.
    pub(super) fn linger_no_more(&mut self, id: LinkId, since: Instant) {
        self.lingering.remove(&(since, id));
    }

    /// The link that has been closing for longest.
    pub(super) fn slowest(&self) -> Option<LinkId> {
        self.lingering.first().map(|&(_, id)| id)
    }

    /// Forgets an inbound link that is gone.
    pub(super) fn gone(&mut self, id: LinkId) {
        self.leave(id);
        debug_assert!(self.inbound > 0, "a link is gone twice");
        self.inbound = self.inbound.saturating_sub(1);
    }
}

/// What shares a bound with `ip`: the other addresses of its network, but a familiar address stands for itself.
fn crowd(ip: IpAddr, familiar: bool) -> IpAddr {
    if familiar { ip } else { source(ip) }
}

/// The links of one class.
#[derive(Clone, Debug, Default)]
struct Class {
    strangers: Queue,
    familiar: Queue,
    /// The number of the next arrival.
    next: u64,
}

impl Class {
    fn len(&self) -> usize {
        self.strangers.len() + self.familiar.len()
    }

    fn queue(&self, familiar: bool) -> &Queue {
        if familiar { &self.familiar } else { &self.strangers }
    }

    fn queue_mut(&mut self, familiar: bool) -> &mut Queue {
        if familiar { &mut self.familiar } else { &mut self.strangers }
    }

    fn insert(&mut self, id: LinkId, source: IpAddr, familiar: bool) -> u64 {
        let arrival = self.next;
        self.next += 1;
        self.queue_mut(familiar).insert(arrival, id, source);
        arrival
    }

    fn remove(&mut self, place: &Place) {
        self.queue_mut(place.familiar).remove(place.arrival, place.source);
    }

    /// Returns the link that makes room for another one if all `places` are taken.
    fn displaced(&self, familiar: bool, places: usize) -> Option<LinkId> {
        if self.len() < places {
            return None;
        }
        let reserved = places.div_ceil(8);
        let safe = (places - reserved) as u64;
        let over = self.familiar.len() + usize::from(familiar) > reserved || self.strangers.len() == 0;
        let queues = || [&self.strangers].into_iter().chain(over.then_some(&self.familiar));
        // An entry is old once `safe` others have come after it, the new one included.
        let heaviest =
            self.next.checked_sub(safe).and_then(|old| queues().filter_map(|queue| queue.heaviest(old)).min());
        // All are safe only after the limits were changed.
        heaviest
            .map(|(_, arrival)| arrival)
            .or_else(|| queues().filter_map(Queue::oldest).min())
            .and_then(|arrival| queues().find_map(|queue| queue.arrivals.get(&arrival)).copied())
    }
}

/// Links in the order in which they came, and by source.
#[derive(Clone, Debug, Default)]
struct Queue {
    arrivals: BTreeMap<u64, LinkId>,
    sources: BTreeMap<IpAddr, BTreeSet<u64>>,
    /// Every source with the number of its links and the oldest of them: the heaviest first, then the oldest.
    order: BTreeSet<(Reverse<usize>, u64, IpAddr)>,
}

impl Queue {
    fn len(&self) -> usize {
        self.arrivals.len()
    }

    fn count_of(&self, source: IpAddr) -> usize {
        self.sources.get(&source).map_or(0, BTreeSet::len)
    }

    fn oldest_of(&self, source: IpAddr) -> Option<LinkId> {
        let arrival = self.sources.get(&source)?.first()?;
        self.arrivals.get(arrival).copied()
    }

    fn oldest(&self) -> Option<u64> {
        self.arrivals.first_key_value().map(|(&arrival, _)| arrival)
    }

    /// Of the sources whose oldest link came at `old` or before, the one with the most links, and that oldest link.
    fn heaviest(&self, old: u64) -> Option<(Reverse<usize>, u64)> {
        let mut from = (Reverse(usize::MAX), 0, LEAST);
        loop {
            let &(Reverse(count), oldest, _) = self.order.range(from..).next()?;
            if oldest <= old {
                return Some((Reverse(count), oldest));
            }
            // All others with as many links are younger still.
            from = (Reverse(count - 1), 0, LEAST);
        }
    }

    fn insert(&mut self, arrival: u64, id: LinkId, source: IpAddr) {
        self.arrivals.insert(arrival, id);
        self.change(source, |links| _ = links.insert(arrival));
    }

    fn remove(&mut self, arrival: u64, source: IpAddr) {
        self.arrivals.remove(&arrival);
        self.change(source, |links| _ = links.remove(&arrival));
    }

    fn change(&mut self, source: IpAddr, change: impl FnOnce(&mut BTreeSet<u64>)) {
        let links = self.sources.entry(source).or_default();
        if let Some(&oldest) = links.first() {
            self.order.remove(&(Reverse(links.len()), oldest, source));
        }
        change(links);
        match links.first() {
            Some(&oldest) => _ = self.order.insert((Reverse(links.len()), oldest, source)),
            None => _ = self.sources.remove(&source),
        }
    }
}

/// No address is less.
const LEAST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    struct Bench {
        gate: Seats,
        limits: Limits,
        next: u64,
    }

    fn ip(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    impl Bench {
        fn new(places: usize) -> Bench {
            let limits = Limits { max_pending: places, max_greeted: places, ..Limits::default() };
            Bench { gate: Seats::default(), limits, next: 0 }
        }

        /// Lets a connection in, and returns it with those that made room.
        fn arrive(&mut self, ip: IpAddr, familiar: bool) -> (LinkId, Vec<LinkId>) {
            let mut gone = Vec::new();
            while let Some(Displaced::ByClass(id) | Displaced::BySource(id)) =
                self.gate.displaced_by_arrival(ip, familiar, &self.limits)
            {
                self.gate.gone(id);
                gone.push(id);
            }
            let id = LinkId(self.next);
            self.next += 1;
            self.gate.arrive(id, ip, familiar);
            assert!(self.gate.silent() <= self.limits.max_pending);
            (id, gone)
        }

        fn greet(&mut self, id: LinkId) {
            while let Some(displaced) = self.gate.displaced_by_greeting(id, &self.limits) {
                self.gate.gone(displaced);
            }
            self.gate.greet(id);
            assert!(self.gate.greeted() <= self.limits.max_greeted);
        }

        /// The number of later connections after which `id` has to go, up to `most`.
        fn lasts(&mut self, id: LinkId, most: usize, mut next: impl FnMut(usize) -> (IpAddr, bool)) -> usize {
            let mut gone = |bench: &mut Bench, number: &usize| {
                let (ip, familiar) = next(*number);
                bench.arrive(ip, familiar).1.contains(&id)
            };
            (0..most).find(|number| gone(self, number)).map_or(most, |number| number + 1)
        }
    }

    #[test]
    fn few_sources_displace_only_themselves() {
        let mut bench = Bench::new(64);
        let flood = |number: usize| (ip(10 + number as u32 % 50), false);
        bench.lasts(LinkId(u64::MAX), 500, flood);
        let (honest, _) = bench.arrive(ip(1), false);
        assert_eq!(bench.lasts(honest, 10_000, flood), 10_000);
    }

    #[test]
    fn flood_of_any_shape_leaves_seven_eighths() {
        // The source of the connection, and how many sources the flood has besides.
        for sources in [1, 2, 3, 7, 20, 55, 56, 57, 63, 64, 65, 100, 1_000, 100_000] {
            for neighbour in [0, 1, 2, 3, 10, 100] {
                let mut bench = Bench::new(64);
                let flood = |number: usize| {
                    let shared = neighbour > 0 && number.is_multiple_of(neighbour);
                    (if shared { ip(1) } else { ip(10 + (number % sources) as u32) }, false)
                };
                bench.lasts(LinkId(u64::MAX), 500, flood);
                for _ in 0..20 {
                    let (honest, _) = bench.arrive(ip(1), false);
                    let lasted = bench.lasts(honest, 100, flood);
                    assert!(lasted >= 56, "{lasted} with {sources} sources and each {neighbour}th a neighbour");
                }
            }
        }
    }

    #[test]
    fn familiar_addresses_keep_an_eighth_and_take_no_more() {
        let mut bench = Bench::new(64);
        let stranger = |number: usize| (ip(100 + number as u32), false);
        bench.lasts(LinkId(u64::MAX), 500, stranger);
        assert_eq!(bench.gate.silent.strangers.len(), 64, "free places are for all");
        let known: Vec<LinkId> = (0..8).map(|number| bench.arrive(ip(number), true).0).collect();
        bench.lasts(LinkId(u64::MAX), 1_000, stranger);
        assert!(known.iter().all(|id| bench.gate.holds(*id)));
        // A flood from such an address displaces its own connections before those of strangers.
        bench.lasts(LinkId(u64::MAX), 1_000, |_| (ip(7), true));
        let (honest, _) = bench.arrive(ip(50), false);
        assert!(bench.lasts(honest, 1_000, |_| (ip(7), true)) >= 56);
    }

    #[test]
    fn familiar_address_is_not_its_network() {
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut bench = Bench::new(64);
        bench.limits.max_pending_per_ip = 8;
        let (known, _) = bench.arrive(of("2001:db8::1"), true);
        for number in 0..1_000 {
            bench.arrive(of(&alloc::format!("2001:db8::2:{number:x}")), false);
        }
        assert!(bench.gate.holds(known));
        assert_eq!(bench.gate.silent(), 1 + 8, "a /64 is one source");
    }

    #[test]
    fn oldest_of_a_source_makes_room_at_its_cap() {
        let mut bench = Bench::new(64);
        bench.limits.max_pending_per_ip = 4;
        let (other, _) = bench.arrive(ip(2), false);
        let links: Vec<LinkId> = (0..4).map(|_| bench.arrive(ip(1), false).0).collect();
        assert_eq!(bench.arrive(ip(1), false).1, [links[0]]);
        assert_eq!(bench.arrive(ip(1), false).1, [links[1]]);
        assert!(bench.gate.holds(other));
    }

    #[test]
    fn silence_never_displaces_a_greeted_connection() {
        let mut bench = Bench::new(16);
        let (honest, _) = bench.arrive(ip(1), false);
        bench.greet(honest);
        assert_eq!((bench.gate.silent(), bench.gate.greeted()), (0, 1));
        for number in 0..1_000 {
            assert!(!bench.arrive(ip(number), false).1.contains(&honest));
        }
        // Those that greet as well displace each other first.
        for _ in 0..1_000 {
            let (id, _) = bench.arrive(ip(9), false);
            bench.greet(id);
        }
        assert!(bench.gate.holds(honest));
        assert_eq!(bench.gate.greeted(), 16);
    }

    #[test]
    fn emptied_gate_holds_nothing() {
        let mut bench = Bench::new(16);
        let ids: Vec<LinkId> = (0..40).map(|number| bench.arrive(ip(number % 7), number % 3 == 0).0).collect();
        for &id in ids.iter().step_by(2) {
            if bench.gate.holds(id) {
                bench.greet(id);
            }
        }
        for id in ids {
            if bench.gate.holds(id) {
                bench.gate.gone(id);
            }
        }
        let Seats { places, silent, greeted, .. } = &bench.gate;
        assert!(places.is_empty());
        for queue in [&silent.strangers, &silent.familiar, &greeted.strangers, &greeted.familiar] {
            assert!(queue.arrivals.is_empty() && queue.sources.is_empty() && queue.order.is_empty());
        }
        assert_eq!(bench.gate.inbound(), 0);
    }

    #[test]
    fn lower_limit_applies_from_the_next_connection() {
        let mut bench = Bench::new(64);
        bench.lasts(LinkId(u64::MAX), 64, |number| (ip(number as u32), false));
        bench.limits.max_pending = 10;
        assert_eq!(bench.arrive(ip(1), false).1.len(), 55);
    }
}
