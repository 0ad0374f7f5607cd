//! Inbound connections until they are granted something, as the [gate](super::gate) decides.

use core::net::SocketAddr;

use super::{Leaving, Node};
use crate::action::CloseMode;
use crate::address::canonical;
use crate::error::Refused;
use crate::id::LinkId;
use crate::link::LinkState;
use crate::mutant::mutant;
use crate::reason::Reason;
use crate::time::Instant;

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
        let closed = matches!(self.leaving, Some(Leaving::Closing { .. } | Leaving::Left));
        let admitted =
            if closed { Err(Reason::LocalLeave) } else { self.gate.admit(&mut self.cx, &self.dialling, from) };
        let admitted = admitted.map_err(|reason| {
            self.gate.notice(&mut self.cx, from.ip(), reason.clone());
            Refused { from, reason }
        })?;
        if let Some(slowest) = admitted.cut_off {
            self.close(slowest, CloseMode::Abort, Reason::Evicted);
        }
        for link in admitted.evicted {
            self.drop_link(link, CloseMode::Abort, Reason::Evicted);
        }
        self.cx.stats.accepts += 1;
        let id = self.new_link(None, from);
        self.gate.arrive(id, from.ip(), admitted.familiar);
        Ok(id)
    }

    /// The channel of an inbound link has received a valid hello.
    pub(super) fn greeted(&mut self, id: LinkId) {
        if self.pairs.link(id).is_some_and(|link| link.is_inbound() && link.state == LinkState::Opening) {
            self.seat(id);
        }
    }

    /// Gives an inbound link that was silent a place among those that have said hello.
    pub(super) fn seat(&mut self, id: LinkId) {
        for evicted in self.gate.greet(&mut self.cx, id) {
            self.drop_link(evicted, CloseMode::Abort, Reason::Evicted);
        }
    }

    /// An inbound link had its time, or an outbound one did not get anywhere, or a close takes too long.
    pub(super) fn handshake_deadline(&mut self, id: LinkId) {
        let Some(link) = self.pairs.link(id) else { return };
        if link.is_closing() {
            self.close(id, CloseMode::Abort, Reason::Timeout);
        } else if !link.is_up() && (link.is_inbound() || !mutant!(NoHandshakeDeadline)) {
            self.drop_link(id, CloseMode::Abort, Reason::HandshakeTimeout);
        }
    }
}
