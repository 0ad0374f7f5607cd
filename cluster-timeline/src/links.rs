//! Links, and the frames that go over them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use cluster_core::{Instant, LinkId};

use crate::newest::Newest;
use crate::record::{Brief, ConnectionEnd, FrameKind, HostId};
use crate::timeline::{FramePath, LinkSpan, MAX_FRAMES, MAX_SPANS};

/// The links and frames so far.
///
/// A connection keeps the order of what it carries, so the n-th frame that one end is given is the n-th that the other
/// has handed out.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    present: BTreeMap<(HostId, LinkId), Present>,
    connections: BTreeMap<usize, Connection>,
    spans: Newest<LinkSpan>,
    frames: Newest<Frame>,
    heartbeats: Newest<Frame>,
}

/// A link that has not ended.
#[derive(Clone, Copy, Debug)]
struct Present {
    end: Option<ConnectionEnd>,
    span: u64,
}

/// A connection of which an end has not ended.
#[derive(Clone, Debug, Default)]
struct Connection {
    /// By side.
    ends: [Option<(HostId, LinkId)>; 2],
    /// By the side that writes: the numbers of the frames on their way, and whether they are heartbeats.
    flying: [VecDeque<(bool, u64)>; 2],
}

#[derive(Clone, Debug)]
struct Frame {
    from: Option<HostId>,
    to: Option<HostId>,
    connection: usize,
    sent: Option<Instant>,
    got: Option<Instant>,
    brief: Brief,
}

impl Default for Links {
    fn default() -> Links {
        Links {
            present: BTreeMap::new(),
            connections: BTreeMap::new(),
            spans: Newest::new(MAX_SPANS),
            frames: Newest::new(MAX_FRAMES),
            heartbeats: Newest::new(MAX_FRAMES),
        }
    }
}

impl Links {
    /// A node dials, or has admitted a connection.
    pub(crate) fn opened(&mut self, at: Instant, host: HostId, link: LinkId, outbound: bool, remote: SocketAddr) {
        let span = self.spans.push(LinkSpan {
            host,
            link,
            connection: None,
            outbound,
            remote,
            peer: None,
            opened: at,
            connected: None,
            granted: None,
            ended: None,
            reason: None,
        });
        self.present.insert((host, link), Present { end: None, span });
    }

    /// Which connection the link goes over.
    pub(crate) fn connection(&mut self, host: HostId, link: LinkId, end: ConnectionEnd) {
        let Some(present) = self.present.get_mut(&(host, link)) else { return };
        present.end = Some(end);
        let connection = self.connections.entry(end.connection).or_default();
        connection.ends[side(end)] = Some((host, link));
        let other = connection.ends[other_side(end)];
        if let Some(span) = self.span(host, link) {
            span.connection = Some(end.connection);
            span.peer = other.map(|(peer, _)| peer);
        }
        if let Some((peer, its)) = other
            && let Some(span) = self.span(peer, its)
        {
            span.peer = Some(host);
        }
    }

    /// The handshake is over.
    pub(crate) fn connected(&mut self, at: Instant, host: HostId, link: LinkId, peer: Option<HostId>) {
        if let Some(span) = self.span(host, link) {
            span.connected = Some(at);
            span.peer = span.peer.or(peer);
        }
    }

    /// An `Accept` went over the link.
    pub(crate) fn granted(&mut self, at: Instant, host: HostId, link: LinkId) {
        if let Some(span) = self.span(host, link) {
            span.granted.get_or_insert(at);
        }
    }

    pub(crate) fn sent(&mut self, at: Instant, host: HostId, link: LinkId, brief: &Brief) {
        if brief.kind() == FrameKind::Accept {
            self.granted(at, host, link);
        }
        let Some((end, peer)) = self.end(host, link) else { return };
        let frame =
            Frame { from: Some(host), to: peer, connection: end.connection, sent: Some(at), got: None, brief: *brief };
        let number = self.list(brief).push(frame);
        if let Some(connection) = self.connections.get_mut(&end.connection) {
            connection.flying[side(end)].push_back((is_heartbeat(brief), number));
        }
    }

    pub(crate) fn got(&mut self, at: Instant, host: HostId, link: LinkId, brief: &Brief) {
        if brief.kind() == FrameKind::Accept {
            self.granted(at, host, link);
        }
        let Some((end, peer)) = self.end(host, link) else { return };
        let writer = other_side(end);
        let first =
            self.connections.get_mut(&end.connection).and_then(|connection| connection.flying[writer].pop_front());
        match first {
            Some((_, number)) => {
                if let Some(frame) = self.list(brief).at_mut(number) {
                    (frame.to, frame.got) = (Some(host), Some(at));
                }
            }
            None => {
                let brief = *brief;
                let connection = end.connection;
                let frame = Frame { from: peer, to: Some(host), connection, sent: None, got: Some(at), brief };
                self.list(&frame.brief).push(frame);
            }
        }
    }

    /// The node has asked to close the link.
    pub(crate) fn closing(&mut self, host: HostId, link: LinkId, reason: String) {
        if let Some(span) = self.span(host, link) {
            span.reason.get_or_insert(reason);
        }
    }

    /// The link is over.
    pub(crate) fn ended(&mut self, at: Instant, host: HostId, link: LinkId, cause: &str) {
        if let Some(span) = self.span(host, link) {
            span.ended = Some(at);
            span.reason.get_or_insert_with(|| cause.to_owned());
        }
        let Some(Present { end: Some(end), .. }) = self.present.remove(&(host, link)) else { return };
        let Some(connection) = self.connections.get_mut(&end.connection) else { return };
        connection.ends[side(end)] = None;
        connection.flying[other_side(end)].clear();
        if connection.ends == [None, None] {
            self.connections.remove(&end.connection);
        }
    }

    /// The node on a host is no more.
    pub(crate) fn end_all(&mut self, at: Instant, host: HostId, why: &str) {
        let links = self.present.keys().filter(|(of, _)| *of == host).map(|&(_, link)| link);
        for link in links.collect::<Vec<_>>() {
            self.ended(at, host, link, why);
        }
    }

    /// The spans; `owner` says which host an address belongs to.
    pub(crate) fn spans(&self, owner: impl Fn(SocketAddr) -> Option<HostId>) -> Vec<LinkSpan> {
        let view = |span: &LinkSpan| LinkSpan { peer: span.peer.or_else(|| owner(span.remote)), ..span.clone() };
        self.spans.iter().map(view).collect()
    }

    pub(crate) fn frames(&self) -> Vec<FramePath> {
        let view = |frame: &Frame| FramePath {
            from: frame.from,
            to: frame.to,
            kind: frame.brief.kind(),
            connection: frame.connection,
            sent: frame.sent,
            got: frame.got,
            text: format!("{:?}", frame.brief),
        };
        let mut paths: Vec<FramePath> = self.frames.iter().chain(self.heartbeats.iter()).map(view).collect();
        paths.sort_by_key(|path| (path.sent.or(path.got), path.from, path.to));
        paths
    }

    /// How many spans, frames and heartbeats were let go.
    pub(crate) fn dropped(&self) -> [u64; 3] {
        [self.spans.dropped(), self.frames.dropped(), self.heartbeats.dropped()]
    }

    fn list(&mut self, brief: &Brief) -> &mut Newest<Frame> {
        if is_heartbeat(brief) { &mut self.heartbeats } else { &mut self.frames }
    }

    fn span(&mut self, host: HostId, link: LinkId) -> Option<&mut LinkSpan> {
        self.spans.at_mut(self.present.get(&(host, link))?.span)
    }

    /// The end of the connection of a link, and the host at the other end.
    fn end(&mut self, host: HostId, link: LinkId) -> Option<(ConnectionEnd, Option<HostId>)> {
        let Present { end, span } = *self.present.get(&(host, link))?;
        Some((end?, self.spans.at_mut(span).and_then(|span| span.peer)))
    }
}

fn is_heartbeat(brief: &Brief) -> bool {
    matches!(brief.kind(), FrameKind::Ping | FrameKind::Pong)
}

fn side(end: ConnectionEnd) -> usize {
    usize::from(!end.outbound)
}

fn other_side(end: ConnectionEnd) -> usize {
    usize::from(end.outbound)
}
