//! What happens on the links of nodes.

use std::net::{IpAddr, SocketAddr};

use cluster_core::wire::{Close, Reject};
use cluster_core::{Disconnect, Frame, Incarnation, LinkId, ProtocolError, Proven, Reason, RejectCode, Run};
use cluster_timeline::record::HostId;

use super::alive::Width;
use super::dials::Dialer;
use super::{Oracle, Verdict, Watch, When, concerns_streams};
use crate::net::Sock;

impl Oracle {
    pub(crate) fn dial(&mut self, host: HostId, link: LinkId, to: SocketAddr, when: When) {
        self.check(host, |watch| {
            let Watch { runs, dials, limits, departed, clock, .. } = watch;
            let now = when.clock.max(*clock);
            dials.dial(link, to, &Dialer { id: runs.now().id, now, limits, departed })
        });
    }

    /// A link has a connection, on which the node is about to introduce itself as `run`; `from` is where an inbound one
    /// comes from.
    pub(crate) fn opened(&mut self, host: HostId, run: Run, link: LinkId, sock: Sock, from: Option<IpAddr>) {
        if self.watch(host).is_none() {
            return;
        }
        self.handshakes.opened(sock, run);
        self.check(host, |watch| {
            watch.links.opened(link, sock, from);
            if from.is_some() {
                watch.untouched.stranger("a connection");
            }
            Ok(())
        });
    }

    /// A connection that came in was not admitted.
    pub(crate) fn refused(&mut self, host: HostId) {
        self.check(host, |watch| {
            watch.untouched.stranger("a refused connection");
            Ok(())
        });
    }

    /// The channel of a link is about to report a valid hello.
    pub(crate) fn greeted(&mut self, host: HostId, link: LinkId) {
        self.check(host, |watch| {
            watch.untouched.stranger("a hello");
            watch.links.greeted(link);
            Ok(())
        });
    }

    /// The channel of a link stands, and it is proven that `peer` is at the other end.
    pub(crate) fn connected(&mut self, host: HostId, link: LinkId, proven: Proven, local: SocketAddr, when: When) {
        let Some(sock) = self.watch(host).and_then(|watch| watch.links.find(link)).map(|open| open.sock) else {
            return;
        };
        let peer = proven.run;
        if proven.secret.is_some() {
            let every = |incarnation| Run { incarnation: Incarnation(incarnation), ..peer };
            let is_node = self.whereabouts.range(every(0)..=every(u64::MAX)).next().is_some();
            let verdict = self.handshakes.proven(peer, sock, is_node);
            self.judge(host, verdict, |text| text);
        }
        if let Some(at) = self.whereabouts.get_mut(&peer)
            && self.handshakes.other(sock) != Some(peer)
        {
            // Somebody else says that it is this run, which nothing in plain mode can prevent.
            *at = None;
        }
        self.check(host, |watch| {
            watch.untouched.other();
            watch.links.connected(link, peer);
            watch.credit.met(peer);
            watch.dials.has_end_at(local);
            watch.dials.connected(link, peer, watch.runs.now());
            let joined = watch.last_join(when);
            watch.departed.met(peer.id, joined);
            Ok(())
        });
    }

    /// Bytes of a link were read.
    pub(crate) fn bytes_read(&mut self, host: HostId, link: LinkId, when: When) {
        self.check(host, |watch| {
            watch.alive.read(link, when.clock);
            watch.suspects.cleared(link);
            Ok(())
        });
    }

    /// The node hears that bytes of a link were read which make no whole frame.
    pub(crate) fn part_read(&mut self, host: HostId, link: LinkId, when: When) {
        self.check(host, |watch| {
            watch.alive.part(link, when.clock);
            Ok(())
        });
    }

    /// The kernel takes no bytes of a link, or does again.
    pub(crate) fn stuck(&mut self, host: HostId, link: LinkId, stuck: bool) {
        self.check(host, |watch| {
            watch.alive.stuck(link, stuck);
            Ok(())
        });
    }

    /// The node has asked to close a link.
    pub(crate) fn closed(&mut self, host: HostId, link: LinkId, reason: &Reason, when: When) {
        let verdict = self.blamed(host, link, reason);
        self.judge(host, verdict, |text| text);
        self.check(host, |watch| {
            if *reason == Reason::Timeout && watch.links.find(link).is_some_and(|open| !open.closing) {
                watch.alive.timed_out(link, when.clock);
            }
            watch.alive.closed(link);
            if let Some(open) = watch.links.find(link).copied()
                && let Some(peer) = open.peer
            {
                if let Reason::Protocol(_) = reason
                    && watch.fed.remove(&peer)
                {
                    watch.credit.refused(peer);
                }
                watch.fence(link, peer);
            }
            if let Reason::Duplicate = reason {
                watch.turned_away(link);
            }
            watch.links.closed(link);
            watch.suspects.cleared(link);
            watch.runs.over(link);
            Ok(())
        });
        self.unsettle(host, link);
    }

    /// Checks that a node does not blame another node for a breach of the protocol, because no node commits one.
    fn blamed(&self, host: HostId, link: LinkId, reason: &Reason) -> Verdict {
        let Reason::Protocol(error) = reason else { return Ok(()) };
        let Some(watch) = self.watch(host) else { return Ok(()) };
        let other = watch.links.find(link).and_then(|open| self.handshakes.other(open.sock));
        match other.filter(|other| self.are_nodes(watch.runs.now(), *other)) {
            // A node whose clock stands still takes the usual number of pings for a flood.
            Some(other) if *error != ProtocolError::Flood => {
                Err(format!("{other:?} is blamed for a breach of the protocol: {error}"))
            }
            _ => Ok(()),
        }
    }

    /// The driver has told the node that a link is gone.
    pub(crate) fn gone(&mut self, host: HostId, link: LinkId, cause: &Disconnect) {
        self.unsettle(host, link);
        let Some(Some(watch)) = self.watches.get_mut(host.index()) else { return };
        watch.dials.over(link, watch.clock);
        watch.runs.over(link);
        watch.talks.over(link);
        watch.suspects.cleared(link);
        watch.unfinished.remove(&link);
        let carried = watch.alive.gone(link);
        if let Some(peer) = watch.links.find(link).and_then(|open| open.peer) {
            watch.fence(link, peer);
        }
        // Without a connection it was a dial of the node's own, which nothing came of.
        let Some(open) = watch.links.gone(link) else { return watch.untouched.other() };
        if open.inbound && open.peer.is_none() && *cause != Disconnect::Closed {
            watch.untouched.stranger("the end of a connection");
        } else {
            watch.untouched.other();
        }
        self.handshakes.gone(open.sock);
        let verdict = self.wasted.gone(open.sock, carried.unwrap_or_default());
        self.judge(host, verdict, |text| text);
    }

    /// A frame is about to reach the node; its link's other end is seen at `ip`.
    pub(crate) fn got(&mut self, host: HostId, link: LinkId, frame: &Frame, ip: IpAddr) {
        let Some(Some(watch)) = self.watches.get_mut(host.index()) else { return };
        watch.untouched.other();
        match (frame, watch.links.find(link).and_then(|open| open.peer)) {
            (Frame::Data(_) | Frame::Ack(_), Some(peer)) => watch.held.touch(peer.id),
            _ if concerns_streams(frame) => watch.held.touch_all(),
            _ => {}
        }
        let verdict = watch.links.got(link, frame);
        self.judge(host, verdict, |text| text);
        let Some(peer) = self.watch(host).and_then(|watch| watch.links.find(link)).and_then(|open| open.peer) else {
            return;
        };
        self.check(host, |watch| {
            watch.dials.heard(peer, ip, frame);
            watch.talks.got(link, frame, watch.credit.current(peer));
            watch.suspects.cleared(link);
            watch.alive.got(link, frame);
            let active = watch.links.active(peer.id).is_some_and(|(active, _)| active == link);
            match frame {
                Frame::Claim(claim) => {
                    watch.runs.claimed(link, peer, claim.generation);
                    watch.departed.claimed(peer.id, claim.rejoin);
                }
                Frame::Accept(_) | Frame::Resume(_) => drop(watch.unfinished.insert(link)),
                Frame::Close(Close::Removed) | Frame::Reject(Reject { code: RejectCode::Removed }) => {
                    watch.departed.told(peer.id);
                    watch.parted(peer);
                }
                Frame::Close(Close::Leaving) | Frame::Reject(Reject { code: RejectCode::Leaving }) => {
                    watch.parted(peer);
                }
                Frame::Data(data) if active => {
                    watch.fed.insert(peer);
                    watch.credit.data(peer, data);
                }
                _ => {}
            }
            Ok(())
        });
        if let Frame::Accept(_) = frame {
            self.unsettle(host, link);
        }
        if let (Frame::Ack(ack), Some(own)) = (frame, self.own_if_active(host, link, peer)) {
            let verdict = self.flow(own, peer).map_or(Ok(()), |flow| flow.acked(ack));
            self.advanced.push((own, peer));
            self.judge(host, verdict, |text| format!("{peer:?} acknowledges: {text}"));
        }
    }

    /// The node has handed out a frame.
    pub(crate) fn sent(&mut self, host: HostId, link: LinkId, frame: &Frame, width: Width, when: When) {
        self.check(host, |watch| {
            watch.alive.sent(link, frame, width, when);
            watch.links.sent(link, frame)
        });
        let Some(open) = self.watch(host).and_then(|watch| watch.links.find(link)).copied() else { return };
        self.handshakes.sent(open.sock, frame);
        let Some(peer) = open.peer else { return };
        let mut named = None;
        if let Frame::Ack(_) = frame {
            self.finish(host, link);
        }
        self.check(host, |watch| {
            named = watch.talks.sent(link, frame);
            match frame {
                Frame::Claim(claim) => return watch.runs.claims(link, peer, claim.generation),
                Frame::Accept(accept) => return watch.credit.offers(peer, &accept.offer.peer, when.clock),
                Frame::Resume(_) => drop(watch.unfinished.insert(link)),
                Frame::Ack(ack) => return watch.credit.acks(peer, ack, &watch.limits),
                Frame::Reject(Reject { code: RejectCode::Outranked }) => watch.turned_away(link),
                _ => {}
            }
            Ok(())
        });
        if let Frame::Accept(_) = frame {
            self.unsettle(host, link);
        }
        self.finish(host, link);
        let Some(own) = self.watch(host).map(|watch| watch.runs.now()) else { return };
        let Some(flow) = self.flow(own, peer) else { return };
        let verdict = match (named, frame) {
            (Some((stream, credit)), _) => flow.named(stream, credit),
            (None, Frame::Data(data)) => flow.sent(data.offset, data.bytes.len() as u64),
            (None, _) => Ok(()),
        };
        self.judge(host, verdict, |text| format!("towards {peer:?}: {text}"));
    }
}
