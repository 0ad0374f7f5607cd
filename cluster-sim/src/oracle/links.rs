//! O1, O12 and part of O15: at most one link connects a node with each peer, and a link that the node has closed
//! is over: no frame of it reaches the node, and none but its last words leaves the node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cluster_core::{Frame, LinkId, NodeId, Run};
use cluster_timeline::record::FrameKind;

use super::Verdict;
use crate::net::Sock;

/// The links that one run of a node has, by what the driver was asked to do and what went over them.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: BTreeMap<LinkId, Open>,
    by_sock: BTreeMap<Sock, LinkId>,
    /// Links that connect the node with a peer.
    active: BTreeMap<NodeId, Vec<LinkId>>,
    changed: BTreeSet<NodeId>,
    inbound: usize,
    /// Inbound links without a valid hello, by the IP they come from.
    silent: BTreeMap<IpAddr, usize>,
    silent_links: usize,
    /// Inbound links with a valid hello that were not granted anything yet.
    greeted: usize,
    /// The IPs of connections that came since the node last had nothing more to say.
    came: BTreeSet<IpAddr>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) sock: Sock,
    pub(super) inbound: bool,
    pub(super) peer: Option<Run>,
    /// An `Accept` went over it.
    pub(super) granted: bool,
    pub(super) closing: bool,
    /// Its last frame has gone out.
    done: bool,
    /// It was closed, and has acknowledged what was taken: only a goodbye may follow.
    parting: bool,
    pending: Option<Pending>,
}

/// An inbound link that was not granted anything yet.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Silent(IpAddr),
    Greeted,
}

impl Links {
    /// A connection stands, or is being dialled; `from` is where an inbound one comes from.
    pub(super) fn opened(&mut self, link: LinkId, sock: Sock, from: Option<IpAddr>) {
        let inbound = from.is_some();
        self.inbound += usize::from(inbound);
        if let Some(from) = from {
            *self.silent.entry(from).or_default() += 1;
            self.silent_links += 1;
            self.came.insert(from);
        }
        let open = Open {
            sock,
            inbound,
            peer: None,
            granted: false,
            closing: false,
            done: false,
            parting: false,
            pending: from.map(Pending::Silent),
        };
        self.open.insert(link, open);
        self.by_sock.insert(sock, link);
    }

    /// A valid hello has arrived.
    pub(super) fn greeted(&mut self, link: LinkId) {
        let silent = self.open.get(&link).is_some_and(|open| matches!(open.pending, Some(Pending::Silent(_))));
        if silent {
            self.settle(link);
            self.greeted += 1;
            if let Some(open) = self.open.get_mut(&link) {
                open.pending = Some(Pending::Greeted);
            }
        }
    }

    pub(super) fn connected(&mut self, link: LinkId, peer: Run) {
        if let Some(open) = self.open.get_mut(&link) {
            open.peer = Some(peer);
        }
    }

    /// A frame is about to reach the node.
    pub(super) fn got(&mut self, link: LinkId, frame: &Frame) -> Verdict {
        let Some(open) = self.open.get(&link) else { return Err(format!("a frame of {link}, which is gone")) };
        if open.closing {
            return Err(format!("a frame of {link} reaches the node, which has closed that link: {frame:?}"));
        }
        if let Frame::Accept(_) = frame {
            self.grant(link);
        }
        Ok(())
    }

    /// The node has handed out a frame.
    pub(super) fn sent(&mut self, link: LinkId, frame: &Frame) -> Verdict {
        let Some(open) = self.open.get_mut(&link) else { return Err(format!("a frame for {link}, which is gone")) };
        if open.done {
            return Err(format!("{frame:?} on {link} after its last frame"));
        }
        open.done = matches!(frame, Frame::Close(_) | Frame::Reject(_));
        let handshake = matches!(frame, Frame::Claim(_) | Frame::Accept(_) | Frame::Resume(_));
        let may_follow = !open.parting && (handshake || matches!(frame, Frame::Ack(_)));
        open.parting |= open.closing && matches!(frame, Frame::Ack(_));
        if open.closing && !open.done && !may_follow {
            return Err(format!("{:?} on {link}, which the node has closed", FrameKind::of(frame)));
        }
        if let Frame::Accept(_) = frame {
            self.grant(link);
        }
        Ok(())
    }

    /// The node has asked to close a link.
    pub(super) fn closed(&mut self, link: LinkId) {
        if let Some(open) = self.open.get_mut(&link) {
            open.closing = true;
        }
        self.deactivate(link);
        self.settle(link);
    }

    /// A link is gone. Returns what it was.
    pub(super) fn gone(&mut self, link: LinkId) -> Option<Open> {
        self.deactivate(link);
        self.settle(link);
        let open = self.open.remove(&link)?;
        self.by_sock.remove(&open.sock);
        self.inbound -= usize::from(open.inbound);
        Some(open)
    }

    pub(super) fn find(&self, link: LinkId) -> Option<&Open> {
        self.open.get(&link)
    }

    /// The link that connects the node with this peer.
    pub(super) fn active(&self, peer: NodeId) -> Option<(LinkId, Open)> {
        let &link = self.active.get(&peer)?.first()?;
        Some((link, *self.open.get(&link)?))
    }

    /// Whether the link on this connection connects the node with a peer.
    pub(super) fn is_active_on(&self, sock: Sock) -> bool {
        let open = self.by_sock.get(&sock).and_then(|link| self.open.get(link));
        open.is_some_and(|open| open.granted && !open.closing)
    }

    /// Every link that connects the node with a peer.
    pub(super) fn all_active(&self) -> impl Iterator<Item = Open> + '_ {
        self.active.values().flatten().filter_map(|link| self.open.get(link).copied())
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn inbound(&self) -> usize {
        self.inbound
    }

    /// The number of inbound links without a valid hello.
    pub(super) fn silent(&self) -> usize {
        self.silent_links
    }

    /// The number of inbound links with a valid hello that were not granted anything yet.
    pub(super) fn greeted_links(&self) -> usize {
        self.greeted
    }

    /// The most links without a valid hello of one IP, of those from which one came since this was last asked.
    pub(super) fn most_silent(&mut self) -> usize {
        let came = std::mem::take(&mut self.came);
        came.iter().filter_map(|ip| self.silent.get(ip).copied()).max().unwrap_or(0)
    }

    /// The connections of all links.
    pub(super) fn socks(&self) -> impl Iterator<Item = Sock> + '_ {
        self.open.values().map(|open| open.sock)
    }

    /// The node has nothing more to say for now.
    pub(super) fn drained(&mut self) -> Verdict {
        for id in std::mem::take(&mut self.changed) {
            if let Some([one, other, ..]) = self.active.get(&id).map(Vec::as_slice) {
                return Err(format!("both {one} and {other} connect it with {id:?}"));
            }
        }
        Ok(())
    }

    fn grant(&mut self, link: LinkId) {
        self.settle(link);
        let Some(open) = self.open.get_mut(&link) else { return };
        open.granted = true;
        if let Some(peer) = open.peer.filter(|_| !open.closing) {
            self.active.entry(peer.id).or_default().push(link);
            self.changed.insert(peer.id);
        }
    }

    fn deactivate(&mut self, link: LinkId) {
        let Some(id) = self.open.get(&link).and_then(|open| open.peer).map(|peer| peer.id) else { return };
        let Some(active) = self.active.get_mut(&id) else { return };
        active.retain(|&other| other != link);
        if active.is_empty() {
            self.active.remove(&id);
        }
    }

    /// A link is not pending any more.
    fn settle(&mut self, link: LinkId) {
        match self.open.get_mut(&link).and_then(|open| open.pending.take()) {
            Some(Pending::Silent(ip)) => {
                self.silent_links -= 1;
                if let Some(count) = self.silent.get_mut(&ip) {
                    *count -= 1;
                    if *count == 0 {
                        self.silent.remove(&ip);
                    }
                }
            }
            Some(Pending::Greeted) => self.greeted -= 1,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use cluster_core::wire::Close;

    use super::super::tests::{accept, run, sock};
    use super::*;

    fn linked(ids: &[u64]) -> Links {
        let mut links = Links::default();
        for &id in ids {
            let link = super::super::tests::link(id);
            links.opened(link, sock(id as u32), None);
            links.connected(link, run(1, 1));
        }
        links
    }

    #[test]
    fn two_links_with_one_peer_are_one_too_many() {
        let mut links = linked(&[1, 2]);
        let [one, other] = [1, 2].map(super::super::tests::link);
        links.got(one, &accept()).unwrap();
        links.drained().unwrap();
        links.got(other, &accept()).unwrap();
        let mut fenced = linked(&[1, 2]);
        fenced.got(one, &accept()).unwrap();
        fenced.got(other, &accept()).unwrap();
        fenced.closed(one);
        fenced.drained().unwrap();
        links.drained().unwrap_err();
    }

    #[test]
    fn a_closed_link_says_its_last_words_and_hears_nothing() {
        let mut links = linked(&[1]);
        let link = super::super::tests::link(1);
        links.closed(link);
        links.got(link, &Frame::Ping { token: 1 }).unwrap_err();
        links.sent(link, &Frame::Ping { token: 1 }).unwrap_err();
        links.sent(link, &Frame::Close(Close::Leaving)).unwrap();
        links.sent(link, &Frame::Close(Close::Leaving)).unwrap_err();
        links.gone(link);
        links.got(link, &Frame::Ping { token: 1 }).unwrap_err();
    }

    #[test]
    fn who_parts_acknowledges_once_and_then_says_goodbye() {
        let ack = Frame::Ack(cluster_core::wire::Ack::default());
        let link = super::super::tests::link(1);
        let mut links = linked(&[1]);
        links.closed(link);
        links.sent(link, &ack).unwrap();
        let mut chatty = linked(&[1]);
        chatty.closed(link);
        chatty.sent(link, &ack).unwrap();
        chatty.sent(link, &ack).unwrap_err();
        chatty.sent(link, &accept()).unwrap_err();
        links.sent(link, &Frame::Close(Close::Leaving)).unwrap();
        links.sent(link, &ack).unwrap_err();
    }

    #[test]
    fn pending_links_are_counted_until_they_are_granted_something() {
        let mut links = Links::default();
        let source: IpAddr = "10.0.0.9".parse().unwrap();
        for id in [1, 2, 3] {
            links.opened(super::super::tests::link(id), sock(id as u32), Some(source));
            links.connected(super::super::tests::link(id), run(id as u8, 1));
        }
        links.sent(super::super::tests::link(1), &accept()).unwrap();
        links.gone(super::super::tests::link(2));
        assert_eq!((links.silent(), links.greeted_links(), links.most_silent(), links.inbound()), (1, 0, 1, 2));
        links.greeted(super::super::tests::link(3));
        links.greeted(super::super::tests::link(3));
        assert_eq!((links.silent(), links.greeted_links(), links.inbound()), (0, 1, 2));
        links.closed(super::super::tests::link(3));
        assert_eq!((links.silent(), links.greeted_links(), links.inbound()), (0, 0, 2));
    }
}
