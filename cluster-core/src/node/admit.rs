//! Which inbound connections get a chance.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::{Leaving, Node};
use crate::action::{Action, CloseMode};
use crate::address::{canonical, source};
use crate::error::Refused;
use crate::id::LinkId;
use crate::link::Link;
use crate::mutant::mutant;
use crate::reason::Reason;
use crate::time::Instant;

impl Node {
    /// Admits or refuses a connection that came in.
    ///
    /// At `max_pending` connections that have not yet been granted anything, a random one of them makes room, so that
    /// a flood cannot keep honest nodes out; more connections each second than `accept_burst` are refused, and more of
    /// one IP than `accept_burst_per_ip`, as far as they do not turn out to be members. Where
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
        if let Some(link) = self.links.get_mut(&id) {
            link.familiar = familiar;
        }
        Ok(id)
    }

    /// Makes room for a connection, and says whether it comes from where a peer was seen.
    fn admit(&mut self, from: SocketAddr) -> Result<bool, Reason> {
        if matches!(self.leaving, Some(Leaving::Closing { .. } | Leaving::Left)) {
            return Err(Reason::LocalLeave);
        }
        let source = source(from.ip());
        let familiar = self.peers.values().any(|peer| peer.addresses.is_seen_at(source));
        let (mut inbound, mut pending, mut strangers, mut of_source) = (0, 0, 0, 0);
        for link in self.links.values().filter(|link| link.is_inbound()) {
            inbound += 1;
            if link.is_pending() {
                pending += 1;
                strangers += usize::from(!link.familiar);
                of_source += usize::from(link.source() == source);
            }
        }
        // Connections that were closed and not yet reported gone hold descriptors too.
        if inbound >= self.config.limits.max_inbound() {
            self.stats.inbound_limit += 1;
            return Err(Reason::Exhausted);
        }
        if !source.is_loopback() {
            if of_source >= self.config.limits.max_pending_per_ip {
                self.stats.per_ip_limit += 1;
                return Err(Reason::TooManyFromIp);
            }
            self.charge_source(source, familiar)?;
        }
        let max_pending = self.config.limits.max_pending;
        if self.config.limits.max_inbound() - inbound <= max_pending {
            self.cut_off_the_slowest();
        }
        let for_strangers = max_pending - max_pending / 4;
        if pending >= for_strangers && strangers >= for_strangers && !familiar {
            self.evict(|link| !link.familiar);
        } else if pending >= max_pending {
            self.evict(|_| true);
        }
        Ok(familiar)
    }

    /// Of the inbound connections that were told everything, the one that has known it for longest is not waited for.
    fn cut_off_the_slowest(&mut self) {
        let inbound = self.links.values().filter(|link| link.is_inbound());
        let lingering = inbound.filter_map(|link| Some((link.lingers_since()?, link.id)));
        if let Some((_, slowest)) = lingering.min() {
            self.stats.inbound_limit += 1;
            self.close(slowest, CloseMode::Abort, Reason::Evicted);
        }
    }

    /// Counts a connection of this source, or says why it is one too many.
    fn charge_source(&mut self, source: IpAddr, familiar: bool) -> Result<(), Reason> {
        let outcome = self.admission.admit(self.now, source, &self.config.limits, familiar);
        match &outcome {
            Ok(admitted) => self.stats.accept_source_limit += u64::from(admitted.crowded),
            Err(Reason::TooManyFromIp) => self.stats.accept_limit_per_ip += 1,
            Err(_) => self.stats.accept_limit += 1,
        }
        outcome.map(|_| ())
    }

    /// A random one of these pending connections makes room.
    fn evict(&mut self, of: impl Fn(&Link) -> bool) {
        self.stats.pending_limit += 1;
        let pending = self.links.values().filter(|link| link.is_pending() && of(link));
        let pending: Vec<LinkId> = pending.map(|link| link.id).collect();
        let unlucky = self.rng.below(pending.len() as u64) as usize;
        if let Some(evicted) = pending.get(unlucky) {
            self.drop_link(*evicted, CloseMode::Abort, Reason::Evicted);
        }
    }

    /// An inbound connection has authenticated itself as one that may be a peer: it is none that strangers made.
    pub(super) fn refund_source(&mut self, id: LinkId) {
        let Some(source) = self.links.get(&id).filter(|link| link.is_inbound()).map(Link::source) else { return };
        if !source.is_loopback() {
            self.admission.refund(source, &self.config.limits);
        }
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
