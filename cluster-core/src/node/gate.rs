//! Admits inbound connections, and evicts some of them when places run out.

mod notices;
mod rates;
mod seats;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use self::notices::Notices;
use self::rates::Rates;
use self::seats::{Displaced, Seats};
use super::context::Context;
use super::dialling::Dialling;
use super::pairs::Pairs;
use crate::action::Action;
use crate::config::Limits;
use crate::id::LinkId;
use crate::link::Link;
use crate::reason::Reason;
use crate::time::Instant;

/// The places and rates of inbound connections, and the notices about failed ones.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    rates: Rates,
    seats: Seats,
    familiar: Familiar,
    notices: Notices,
}

/// The IPs at which peers were seen, exactly as they are: a neighbour in the same /64 is a stranger.
///
/// They are gathered again only when a connection comes in after the peers have changed, so that a flood costs no look at
/// every peer for each connection.
#[derive(Clone, Debug, Default)]
struct Familiar {
    ips: BTreeSet<IpAddr>,
    current: bool,
}

/// A connection that may come in. The caller must end the links that it names.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// A peer was seen at its IP.
    pub(super) familiar: bool,
    /// The inbound link that has been closing for longest. The node no longer waits for it.
    pub(super) cut_off: Option<LinkId>,
    /// Links that must end because their places are needed.
    pub(super) evicted: Vec<LinkId>,
}

impl Gate {
    pub(super) fn new(limits: &Limits, now: Instant) -> Gate {
        Gate {
            rates: Rates::new(limits, now),
            seats: Seats::default(),
            familiar: Familiar::default(),
            notices: Notices::default(),
        }
    }

    /// Makes room for a connection, or returns the reason for a refusal. The caller ends the links in the answer.
    pub(super) fn admit(
        &mut self,
        cx: &mut Context,
        dialling: &Dialling,
        from: SocketAddr,
    ) -> Result<Admitted, Reason> {
        let (most, lingering) = (cx.config.limits.max_inbound(), cx.config.limits.max_greeted);
        // Connections that were closed and not yet reported gone hold descriptors too.
        if self.seats.inbound() >= most {
            cx.stats.inbound_limit += 1;
            return Err(Reason::Exhausted);
        }
        let familiar = self.is_familiar(dialling, from.ip());
        self.charge(cx, from.ip(), familiar)?;
        let cut_off = self.seats.slowest().filter(|_| most - self.seats.inbound() <= lingering);
        cx.stats.inbound_limit += u64::from(cut_off.is_some());
        let mut evicted = Vec::new();
        while let Some(displaced) = self.seats.displaced_by_arrival(from.ip(), familiar, &cx.config.limits) {
            let (Displaced::ByClass(id) | Displaced::BySource(id)) = displaced;
            match displaced {
                Displaced::ByClass(_) => cx.stats.pending_limit += 1,
                Displaced::BySource(_) => cx.stats.per_ip_limit += 1,
            }
            self.seats.leave(id);
            evicted.push(id);
        }
        Ok(Admitted { familiar, cut_off, evicted })
    }

    /// Returns whether a peer was seen at this IP.
    fn is_familiar(&mut self, dialling: &Dialling, ip: IpAddr) -> bool {
        if !self.familiar.current {
            let seen = dialling.seen();
            self.familiar = Familiar { ips: seen.map(|ip| ip.to_canonical()).collect(), current: true };
        }
        self.familiar.ips.contains(&ip)
    }

    /// Counts a connection from this IP, or returns the reason for a refusal.
    fn charge(&mut self, cx: &mut Context, ip: IpAddr, familiar: bool) -> Result<(), Reason> {
        let outcome = self.rates.admit(cx.now, ip, &cx.config.limits, familiar);
        match &outcome {
            Ok(admitted) => cx.stats.accept_source_limit += u64::from(admitted.crowded),
            Err(Reason::TooManyFromIp) => cx.stats.accept_limit_per_ip += 1,
            Err(_) => cx.stats.accept_limit += 1,
        }
        outcome.map(|_| ())
    }

    /// Gives a connection that was admitted a place among the silent ones.
    pub(super) fn arrive(&mut self, id: LinkId, ip: IpAddr, familiar: bool) {
        self.seats.arrive(id, ip, familiar);
    }

    /// Gives an inbound link that was silent a place among those that have said hello. Returns the links that must end
    /// because their places are needed.
    #[must_use]
    pub(super) fn greet(&mut self, cx: &mut Context, id: LinkId) -> Vec<LinkId> {
        let mut evicted = Vec::new();
        while let Some(displaced) = self.seats.displaced_by_greeting(id, &cx.config.limits) {
            cx.stats.greeted_limit += 1;
            self.seats.leave(displaced);
            evicted.push(displaced);
        }
        self.seats.greet(id);
        evicted
    }

    /// Gives back the token of an inbound connection that has authenticated as a possible peer. A valid hello is not
    /// enough: an attacker could repeat a recorded one at any rate, and each costs work on the curve.
    pub(super) fn refund(&mut self, cx: &Context, link: &Link) {
        if link.is_inbound() {
            self.rates.refund(link.remote.ip(), &cx.config.limits);
        }
    }

    /// Frees the place of a link that was granted something.
    pub(super) fn granted(&mut self, id: LinkId) {
        self.seats.leave(id);
    }

    /// Notes that the node has begun to close a link.
    pub(super) fn closing(&mut self, cx: &Context, link: &Link) {
        self.seats.leave(link.id);
        if link.lingers_since().is_some() && link.is_inbound() {
            self.seats.linger(link.id, cx.now);
        }
    }

    /// Notes that a link, closing since this time, no longer waits for the other side.
    pub(super) fn aborted(&mut self, id: LinkId, since: Instant) {
        self.seats.linger_no_more(id, since);
    }

    /// Forgets a link that the driver has reported gone.
    pub(super) fn gone(&mut self, link: &Link) {
        if !link.is_inbound() {
            return;
        }
        if let Some(since) = link.lingers_since() {
            self.seats.linger_no_more(link.id, since);
        }
        self.seats.gone(link.id);
    }

    /// Notes that the addresses of peers have changed.
    pub(super) fn peers_changed(&mut self) {
        self.familiar.current = false;
    }

    /// Counts a connection that failed before it was granted anything, and reports unusual ones.
    pub(super) fn failed(&mut self, cx: &mut Context, link: &Link, reason: &Reason) {
        if link.proven.is_none() {
            cx.stats.failed_handshakes += 1;
        }
        let silent =
            matches!(reason, Reason::Duplicate | Reason::Outranked | Reason::LocalLeave | Reason::LocalDisconnect);
        if !silent {
            self.notice(cx, link.remote.ip(), reason.clone());
        }
    }

    /// Reports a connection, unless its source had a report lately.
    pub(super) fn notice(&mut self, cx: &mut Context, source: IpAddr, reason: Reason) {
        match self.notices.admit(cx.now, source, reason) {
            Some(notice) => cx.actions.push_back(Action::Notice(notice)),
            None => cx.stats.notices_suppressed += 1,
        }
    }

    /// The number of connections that have not sent a valid hello.
    pub(super) fn silent(&self) -> usize {
        self.seats.silent()
    }

    /// The number of connections that have, and were granted nothing yet.
    pub(super) fn greeted(&self) -> usize {
        self.seats.greeted()
    }

    /// The number of sources of which notices are counted.
    pub(super) fn notice_sources(&self) -> usize {
        self.notices.len()
    }

    /// The number of sources whose connections are counted apart.
    pub(super) fn accept_sources(&self) -> usize {
        self.rates.len()
    }

    /// Returns whether the places are those of these links.
    pub(super) fn is_consistent(&self, pairs: &Pairs) -> bool {
        let links = || pairs.links();
        links().all(|link| self.seats.holds(link.id) == link.is_pending())
            && self.seats.inbound() == links().filter(|link| link.is_inbound()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::id::{Incarnation, NodeId, Run};
    use crate::rng::{Purpose, Rng, Seed};

    fn gate(limits: Limits) -> (Gate, Context, Dialling) {
        let config = Config::insecure_plaintext().limits(limits);
        let run = Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(1) };
        let rng = Rng::new(&Seed::new([1; 32]), Purpose::Jitter);
        let (gate, dialling) = (Gate::new(&config.limits, Instant::ZERO), Dialling::new(&config.limits, Instant::ZERO));
        (gate, Context::new(config, run, rng, Instant::ZERO), dialling)
    }

    fn at(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 7_000))
    }

    #[test]
    fn full_gate_evicts_oldest_silent_connection() {
        let (mut gate, mut cx, dialling) = gate(Limits { max_pending: 2, ..Limits::default() });
        for number in 1..=2 {
            let admitted = gate.admit(&mut cx, &dialling, at(number)).unwrap();
            assert_eq!(admitted, Admitted { familiar: false, cut_off: None, evicted: Vec::new() });
            gate.arrive(LinkId(number.into()), at(number).ip(), false);
        }
        let admitted = gate.admit(&mut cx, &dialling, at(3)).unwrap();
        assert_eq!(admitted.evicted, [LinkId(1)]);
        assert_eq!((gate.silent(), cx.stats.pending_limit), (1, 1));
    }

    #[test]
    fn greeted_connection_leaves_the_silent_ones() {
        let (mut gate, mut cx, dialling) = gate(Limits { max_greeted: 1, ..Limits::default() });
        for number in 1..=2 {
            let _ = gate.admit(&mut cx, &dialling, at(number)).unwrap();
            gate.arrive(LinkId(number.into()), at(number).ip(), false);
        }
        assert_eq!(gate.greet(&mut cx, LinkId(1)), []);
        assert_eq!((gate.silent(), gate.greeted()), (1, 1));
        assert_eq!(gate.greet(&mut cx, LinkId(2)), [LinkId(1)]);
        gate.granted(LinkId(2));
        assert_eq!((gate.silent(), gate.greeted()), (0, 0));
    }
}
