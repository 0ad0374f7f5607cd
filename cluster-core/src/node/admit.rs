//! Which inbound connections get a chance.

use alloc::collections::BTreeSet;
use core::net::{IpAddr, SocketAddr};

use super::{Leaving, Node};
use crate::action::{Action, CloseMode};
use crate::address::canonical;
use crate::error::Refused;
use crate::gate::Displaced;
use crate::id::LinkId;
use crate::link::{Link, LinkState};
use crate::mutant::mutant;
use crate::reason::Reason;
use crate::time::Instant;

/// The IPs at which peers were seen, exactly as they are: a neighbour in the same /64 is a stranger.
///
/// They are gathered again only when a connection comes in after the peers have changed, so that a flood costs no look at
/// every peer for each connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Familiar {
    ips: BTreeSet<IpAddr>,
    current: bool,
}

impl Familiar {
    /// A peer was seen somewhere, or forgotten.
    pub(super) fn outdate(&mut self) {
        self.current = false;
    }
}

impl Node {
    /// Admits or refuses a connection that came in.
    ///
    /// At [`max_pending`](crate::Limits::max_pending) connections that have not sent a valid hello, one of them makes
    /// room, so that a flood cannot keep honest nodes out. More connections each second than `accept_burst` are refused,
    /// as far as they do not turn out to be members; and of these, more of one IP than `accept_burst_per_ip`. Where
    /// [nearly as many inbound links are there as may be](crate::Limits::max_inbound), one that is closing is cut off.
    /// An IPv4 address may be in the form that a socket of both IP versions gives it.
    ///
    /// # Errors
    ///
    /// [`Refused`]: drop the connection; there is nothing to report.
    pub fn accept(&mut self, now: Instant, from: SocketAddr) -> Result<LinkId, Refused> {
        self.advance(now);
        let from = canonical(from);
        let familiar = match self.admit(from) {
            Ok(familiar) => familiar,
            Err(reason) => {
                self.notice(from.ip(), reason.clone());
                return Err(Refused { from, reason });
            }
        };
        self.stats.accepts += 1;
        let id = self.new_link(None, from);
        self.gate.arrive(id, from.ip(), familiar);
        Ok(id)
    }

    /// Makes room for a connection. Returns whether it comes from an IP at which a peer was seen.
    fn admit(&mut self, from: SocketAddr) -> Result<bool, Reason> {
        if matches!(self.leaving, Some(Leaving::Closing { .. } | Leaving::Left)) {
            return Err(Reason::LocalLeave);
        }
        let (most, lingering) = (self.config.limits.max_inbound(), self.config.limits.max_greeted);
        // Connections that were closed and not yet reported gone hold descriptors too.
        if self.gate.inbound() >= most {
            self.stats.inbound_limit += 1;
            return Err(Reason::Exhausted);
        }
        let familiar = self.is_familiar(from.ip());
        self.charge_source(from.ip(), familiar)?;
        if most - self.gate.inbound() <= lingering {
            self.cut_off_the_slowest();
        }
        while let Some(displaced) = self.gate.displaced_by_arrival(from.ip(), familiar, &self.config.limits) {
            let (Displaced::ByClass(id) | Displaced::BySource(id)) = displaced;
            match displaced {
                Displaced::ByClass(_) => self.stats.pending_limit += 1,
                Displaced::BySource(_) => self.stats.per_ip_limit += 1,
            }
            self.evict(id);
        }
        Ok(familiar)
    }

    /// Whether a peer was seen at this IP.
    fn is_familiar(&mut self, ip: IpAddr) -> bool {
        if !self.familiar.current {
            let seen = self.peers.values().flat_map(|peer| peer.contact.addresses.seen());
            self.familiar = Familiar { ips: seen.map(|ip| ip.to_canonical()).collect(), current: true };
        }
        self.familiar.ips.contains(&ip)
    }

    /// Of the inbound connections that were told everything, the one that has known it for longest is not waited for.
    fn cut_off_the_slowest(&mut self) {
        if let Some(slowest) = self.gate.slowest() {
            self.stats.inbound_limit += 1;
            self.close(slowest, CloseMode::Abort, Reason::Evicted);
        }
    }

    /// Counts a connection from this IP, or returns why it is one too many.
    fn charge_source(&mut self, ip: IpAddr, familiar: bool) -> Result<(), Reason> {
        let outcome = self.admission.admit(self.now, ip, &self.config.limits, familiar);
        match &outcome {
            Ok(admitted) => self.stats.accept_source_limit += u64::from(admitted.crowded),
            Err(Reason::TooManyFromIp) => self.stats.accept_limit_per_ip += 1,
            Err(_) => self.stats.accept_limit += 1,
        }
        outcome.map(|_| ())
    }

    /// A pending connection makes room for another.
    fn evict(&mut self, id: LinkId) {
        self.drop_link(id, CloseMode::Abort, Reason::Evicted);
        // Also if the link were gone: the place must be free, or the caller would never end.
        self.gate.leave(id);
    }

    /// The channel of an inbound link has received a valid hello.
    pub(super) fn greeted(&mut self, id: LinkId) {
        if self.links.get(&id).is_some_and(|link| link.is_inbound() && link.state == LinkState::Opening) {
            self.seat(id);
        }
    }

    /// Gives an inbound link that was silent a place among those that have said hello.
    pub(super) fn seat(&mut self, id: LinkId) {
        while let Some(displaced) = self.gate.displaced_by_greeting(id, &self.config.limits) {
            self.stats.greeted_limit += 1;
            self.evict(displaced);
        }
        self.gate.greet(id);
    }

    /// The driver has reported that a link is gone.
    pub(super) fn forget_place(&mut self, link: &Link) {
        if !link.is_inbound() {
            return;
        }
        if let Some(since) = link.lingers_since() {
            self.gate.linger_no_more(link.id, since);
        }
        self.gate.gone(link.id);
    }

    /// An inbound connection has authenticated itself as one that may be a peer, so that no stranger has made it. A valid
    /// hello is not enough: a recorded one could be repeated at any rate, and each costs work on the curve.
    pub(super) fn refund_source(&mut self, id: LinkId) {
        let Some(ip) = self.links.get(&id).filter(|link| link.is_inbound()).map(|link| link.remote.ip()) else {
            return;
        };
        self.admission.refund(ip, &self.config.limits);
    }

    /// An inbound link had its time, or an outbound one did not get anywhere, or a close takes too long.
    pub(super) fn handshake_deadline(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        if link.is_closing() {
            self.close(id, CloseMode::Abort, Reason::Timeout);
        } else if !link.is_up() && (link.is_inbound() || !mutant!(NoHandshakeDeadline)) {
            self.drop_link(id, CloseMode::Abort, Reason::HandshakeTimeout);
        }
    }

    /// Counts a connection that came to nothing before it was granted anything, and tells of it, now and then.
    pub(super) fn count_failure(&mut self, link: &Link, reason: &Reason) {
        if link.proven.is_none() {
            self.stats.failed_handshakes += 1;
        }
        let silent =
            matches!(reason, Reason::Duplicate | Reason::Outranked | Reason::LocalLeave | Reason::LocalDisconnect);
        if !silent {
            self.notice(link.remote.ip(), reason.clone());
        }
    }

    pub(super) fn notice(&mut self, source: IpAddr, reason: Reason) {
        match self.notices.admit(self.now, source, reason) {
            Some(notice) => self.actions.push_back(Action::Notice(notice)),
            None => self.stats.notices_suppressed += 1,
        }
    }
}
