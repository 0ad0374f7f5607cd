//! Which inbound connections get a chance.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Leaving, Node};
use crate::action::{Action, CloseMode};
use crate::address::canonical;
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
    /// a flood cannot keep honest nodes out. An IPv4 address may be in the form that a socket of both IP versions gives it.
    ///
    /// # Errors
    ///
    /// [`Refused`]: drop the connection; there is nothing to report.
    pub fn accept(&mut self, now: Instant, from: SocketAddr) -> Result<LinkId, Refused> {
        self.advance(now);
        let from = canonical(from);
        if let Err(reason) = self.admit(from) {
            self.notice(from.ip(), reason.clone());
            return Err(Refused { from, reason });
        }
        self.stats.accepts += 1;
        Ok(self.new_link(None, from))
    }

    fn admit(&mut self, from: SocketAddr) -> Result<(), Reason> {
        if matches!(self.leaving, Some(Leaving::Closing { .. } | Leaving::Left)) {
            return Err(Reason::LocalLeave);
        }
        let source = prefix(from.ip());
        let (mut inbound, mut count, mut of_source) = (0, 0, 0);
        for link in self.links.values().filter(|link| link.is_inbound()) {
            inbound += 1;
            if link.is_pending() {
                count += 1;
                of_source += usize::from(prefix(link.remote.ip()) == source);
            }
        }
        if !source.is_loopback() && of_source >= self.config.limits.max_pending_per_ip {
            self.stats.per_ip_limit += 1;
            return Err(Reason::TooManyFromIp);
        }
        if count >= self.config.limits.max_pending {
            self.stats.pending_limit += 1;
            let unlucky = self.rng.below(count as u64) as usize;
            if let Some(evicted) = self.links.values().filter(|link| link.is_pending()).nth(unlucky).map(|link| link.id)
            {
                self.drop_link(evicted, CloseMode::Abort, Reason::Evicted);
            }
        }
        // Connections that were closed and not yet reported gone hold descriptors too.
        if inbound >= self.max_inbound() {
            self.stats.pending_limit += 1;
            return Err(Reason::Exhausted);
        }
        Ok(())
    }

    fn max_inbound(&self) -> usize {
        self.config.limits.max_peers + 2 * self.config.limits.max_pending
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

/// What counts as one source: an IPv4 address, or the /64 that one IPv6 host may draw its addresses from.
fn prefix(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) if v6.is_loopback() => v6.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ipv6_network_is_one_source() {
        let of = |text: &str| prefix(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:1.2.3.4"), of("1.2.3.4"));
        assert_ne!(of("1.2.3.4"), of("1.2.3.5"));
    }
}
