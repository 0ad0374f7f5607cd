//! What nodes take their peers for, as their events say.

use std::collections::BTreeMap;

use cluster_core::{Event, Instant, NodeId, PeerState, Run};

use crate::names::Names;
use crate::newest::Newest;
use crate::record::HostId;
use crate::timeline::{MAX_SPANS, PeerSpan};

/// The spans so far.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    present: BTreeMap<(HostId, NodeId), Span>,
    past: Newest<(HostId, Span, Instant, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    run: Run,
    state: PeerState,
    from: Instant,
}

impl Default for Peers {
    fn default() -> Peers {
        Peers { present: BTreeMap::new(), past: Newest::new(MAX_SPANS) }
    }
}

impl Peers {
    /// From now on `host` takes a run for this.
    pub(crate) fn begin(&mut self, at: Instant, host: HostId, run: Run, state: PeerState, why: &str) {
        self.end(at, host, run.id, why);
        self.present.insert((host, run.id), Span { run, state, from: at });
    }

    /// A node has told its user something.
    pub(crate) fn event(&mut self, at: Instant, host: HostId, event: &Event) {
        match event {
            Event::PeerUp(info) => self.begin(at, host, info.run, PeerState::Up, "found again"),
            Event::PeerDown { peer, reason, .. } => {
                let why = reason.to_string();
                if reason.is_transient() {
                    self.begin(at, host, *peer, PeerState::Lost, &why);
                } else {
                    self.end(at, host, peer.id, &why);
                }
            }
            _ => {}
        }
    }

    /// The node on a host is no more.
    pub(crate) fn end_all(&mut self, at: Instant, host: HostId, why: &str) {
        let peers = self.present.keys().filter(|(of, _)| *of == host).map(|&(_, id)| id);
        for id in peers.collect::<Vec<_>>() {
            self.end(at, host, id, why);
        }
    }

    fn end(&mut self, at: Instant, host: HostId, id: NodeId, why: &str) {
        if let Some(span) = self.present.remove(&(host, id)) {
            self.past.push((host, span, at, why.to_owned()));
        }
    }

    pub(crate) fn spans(&self, names: &Names) -> Vec<PeerSpan> {
        let view = |host: HostId, span: &Span, until: Option<Instant>, ended: Option<String>| PeerSpan {
            host,
            peer: names.host(span.run.id),
            run: span.run,
            state: span.state,
            from: span.from,
            until,
            ended,
        };
        let past = self.past.iter().map(|(host, span, until, why)| view(*host, span, Some(*until), Some(why.clone())));
        let present = self.present.iter().map(|(&(host, _), span)| view(host, span, None, None));
        let mut spans: Vec<PeerSpan> = past.chain(present).collect();
        spans.sort_by_key(|span| (span.from, span.host, span.run));
        spans
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.past.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::{Incarnation, Reason};

    #[test]
    fn a_peer_is_lost_for_as_long_as_it_is_dialled_again() {
        let at = |second: u64| Instant::from_nanos(second * 1_000_000_000);
        let run = Run { id: NodeId::from_bytes([7; 16]), incarnation: Incarnation(1) };
        let mut peers = Peers::default();
        peers.begin(at(1), HostId(0), run, PeerState::Up, "");
        peers.event(at(2), HostId(0), &Event::PeerDown { peer: run, name: None, reason: Reason::Timeout });
        peers.event(at(2), HostId(0), &Event::PeerGone { peer: run });
        peers.begin(at(3), HostId(0), run, PeerState::Up, "found again");
        peers.event(at(4), HostId(0), &Event::PeerDown { peer: run, name: None, reason: Reason::Left });
        let spans = peers.spans(&Names::default());
        let seen: Vec<_> = spans.iter().map(|span| (span.state, span.until, span.ended.as_deref())).collect();
        let expected = [
            (PeerState::Up, Some(at(2)), Some("Timeout")),
            (PeerState::Lost, Some(at(3)), Some("found again")),
            (PeerState::Up, Some(at(4)), Some("Left")),
        ];
        assert_eq!(seen, expected);
    }
}
