//! Links, and the frames that go over them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use cluster_core::{Instant, LinkId};

use super::newest::Newest;
use super::{FramePath, LinkSpan, MAX_FRAMES, MAX_SPANS};
use crate::host::HostId;
use crate::net::Sock;
use crate::trace::{Brief, FrameKind};

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
    sock: Option<Sock>,
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
        self.present.insert((host, link), Present { sock: None, span });
    }

    /// Which connection the link goes over.
    pub(crate) fn socket(&mut self, host: HostId, link: LinkId, sock: Sock) {
        let Some(present) = self.present.get_mut(&(host, link)) else { return };
        present.sock = Some(sock);
        let connection = self.connections.entry(sock.conn.serial as usize).or_default();
        connection.ends[sock.side as usize] = Some((host, link));
        let other = connection.ends[sock.peer().side as usize];
        if let Some(span) = self.span(host, link) {
            span.connection = Some(sock.conn.serial as usize);
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
        let Some((sock, peer)) = self.end(host, link) else { return };
        let frame = Frame {
            from: Some(host),
            to: peer,
            connection: sock.conn.serial as usize,
            sent: Some(at),
            got: None,
            brief: *brief,
        };
        let number = self.list(brief).push(frame);
        if let Some(connection) = self.connections.get_mut(&(sock.conn.serial as usize)) {
            connection.flying[sock.side as usize].push_back((is_heartbeat(brief), number));
        }
    }

    pub(crate) fn got(&mut self, at: Instant, host: HostId, link: LinkId, brief: &Brief) {
        if brief.kind() == FrameKind::Accept {
            self.granted(at, host, link);
        }
        let Some((sock, peer)) = self.end(host, link) else { return };
        let writer = sock.peer().side as usize;
        let first = self
            .connections
            .get_mut(&(sock.conn.serial as usize))
            .and_then(|connection| connection.flying[writer].pop_front());
        match first {
            Some((_, number)) => {
                if let Some(frame) = self.list(brief).at_mut(number) {
                    (frame.to, frame.got) = (Some(host), Some(at));
                }
            }
            None => {
                let brief = *brief;
                let connection = sock.conn.serial as usize;
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
        let Some(Present { sock: Some(sock), .. }) = self.present.remove(&(host, link)) else { return };
        let Some(connection) = self.connections.get_mut(&(sock.conn.serial as usize)) else { return };
        connection.ends[sock.side as usize] = None;
        connection.flying[sock.peer().side as usize].clear();
        if connection.ends == [None, None] {
            self.connections.remove(&(sock.conn.serial as usize));
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

    /// The socket of a link, and who is at the other end.
    fn end(&mut self, host: HostId, link: LinkId) -> Option<(Sock, Option<HostId>)> {
        let Present { sock, span } = *self.present.get(&(host, link))?;
        Some((sock?, self.spans.at_mut(span).and_then(|span| span.peer)))
    }
}

fn is_heartbeat(brief: &Brief) -> bool {
    matches!(brief.kind(), FrameKind::Ping | FrameKind::Pong)
}
