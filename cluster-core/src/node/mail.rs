//! Messages: accepted into the logs of their receivers, taken from the streams of their senders.
//!
//! This part knows runs and the ids of the links that connect them. Of the other parts it reads tombstones alone. Its
//! methods return links that may now have something to send, or [`Effects`] that a caller must apply to links.

mod correspondence;
mod finished;
mod inbox;
mod receive;
mod reports;
mod sessions;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::{self, Vec};
use core::iter::Chain;
use core::option;

use bytes::Bytes;

use self::correspondence::Correspondence;
use self::finished::FinishedStreams;
use self::inbox::Inbox;
pub use self::reports::Deferred;
use self::reports::Reports;
use super::context::Context;
use super::pairs::Pairs;
use crate::action::Action;
use crate::config::{Limits, Offline};
use crate::error::FlushError;
use crate::event::Undelivered;
use crate::id::{FlushId, LinkId, NodeId, Run};
use crate::limits::MAX_FLUSHES;
use crate::message::{Broadcast, SendErrorKind};
use crate::peer::Peer;
use crate::reason::ProtocolError;
use crate::rng::Rng;
use crate::session::{Acked, Budget, Due, SendStream, Session};
use crate::stats::Memory;
use crate::wire::{Ack, Profile};

/// The messages of all runs, and their common bounds.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    runs: BTreeMap<NodeId, Correspondence>,
    inbox: Inbox,
    reports: Reports,
    budget: Budget,
    finished: FinishedStreams,
    streams: Rng,
    next_flush: u64,
}

/// Changes that a caller must apply to links, in order. The first one, and mostly the only one, takes no memory.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Effects {
    first: Option<Effect>,
    rest: Vec<Effect>,
}

/// One change to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The time for the run to continue its message begins: memory is reserved for it.
    Owes(LinkId),
    /// The run needs an acknowledgement, now or soon.
    Ack(LinkId, Due),
}

impl Effects {
    fn push(&mut self, effect: Effect) {
        if self.first.is_none() { self.first = Some(effect) } else { self.rest.push(effect) }
    }

    fn ack(&mut self, due: Option<(LinkId, Due)>) {
        if let Some((link, due)) = due {
            self.push(Effect::Ack(link, due));
        }
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = Chain<option::IntoIter<Effect>, vec::IntoIter<Effect>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}

impl Mail {
    pub(super) fn new(limits: &Limits, streams: Rng) -> Mail {
        let budget =
            Budget::new(limits.recv_budget, limits.max_peers as u64, limits.initial_window, limits.max_message);
        Mail {
            runs: BTreeMap::new(),
            inbox: Inbox::default(),
            reports: Reports::default(),
            budget,
            finished: FinishedStreams::default(),
            streams,
            next_flush: 0,
        }
    }

    /// Creates the record of a run.
    pub(super) fn begin(&mut self, run: Run) {
        self.runs.insert(run.id, Correspondence::new(run));
    }

    /// Notes the link that connects the two, and the limits in the profile that the run has sent on it.
    pub(super) fn attach(&mut self, id: NodeId, link: LinkId, profile: &Profile) {
        if let Some(of) = self.runs.get_mut(&id) {
            of.link = Some(link);
            (of.max_message, of.credit) = (profile.max_message, profile.window);
        }
    }

    /// Notes that the link is gone. [Fence](Mail::fence) the session next.
    pub(super) fn detach(&mut self, id: NodeId) {
        if let Some(of) = self.runs.get_mut(&id) {
            of.link = None;
        }
    }

    /// Notes how long a round trip to the run took.
    pub(super) fn measured(&mut self, id: NodeId, rtt: core::time::Duration) {
        if let Some(of) = self.runs.get_mut(&id) {
            of.rtt = rtt;
        }
    }

    /// Accepts a message. Returns the link that may now have something to send.
    pub(super) fn send(
        &mut self,
        cx: &mut Context,
        to: NodeId,
        payload: &Bytes,
    ) -> Result<Option<LinkId>, SendErrorKind> {
        let limits = &cx.config.limits;
        let open = self.runs.get_mut(&to).filter(|of| is_open(of, cx.config.offline));
        let of = open.ok_or(SendErrorKind::NotConnected)?;
        let session = of.session.as_mut().ok_or(SendErrorKind::NotConnected)?;
        let length = payload.len() as u64;
        let cap = limits.max_message.min(of.max_message);
        if length > cap {
            cx.stats.message_limit += 1;
            return Err(SendErrorKind::TooLarge { length, cap });
        }
        let unread = self.reports.of(to, limits.max_peers);
        if !session.send.fits(payload.len(), limits.send_window, unread) {
            of.wants_room = true;
            cx.stats.send_window_limit += 1;
            return Err(SendErrorKind::Full);
        }
        session.send.push(payload);
        cx.stats.messages_sent += 1;
        Ok(of.link)
    }

    /// Accepts a message for every run that messages are accepted for. Returns the links that may now have something to
    /// send.
    pub(super) fn broadcast(&mut self, cx: &mut Context, payload: &Bytes) -> (Broadcast, Vec<LinkId>) {
        let (mut report, mut links) = (Broadcast::default(), Vec::new());
        let offline = cx.config.offline;
        let open: Vec<NodeId> = self.runs.values().filter(|of| is_open(of, offline)).map(|of| of.run.id).collect();
        for id in open {
            match self.send(cx, id, payload) {
                Ok(link) => {
                    report.queued.push(id);
                    links.extend(link);
                }
                Err(kind) => report.refused.push((id, kind)),
            }
        }
        (report, links)
    }

    /// Counts a report against the send window until the user has read it.
    pub(super) fn defer(&mut self, told: &Undelivered) -> Deferred {
        self.reports.defer(told)
    }

    /// Frees the room of a report.
    pub(super) fn read(&mut self, cx: &mut Context, deferred: Deferred) {
        let max_peers = cx.config.limits.max_peers;
        let crowded = self.reports.len() >= max_peers;
        let id = self.reports.read(deferred);
        if crowded && self.reports.len() < max_peers {
            self.wake_all(cx);
        } else {
            let wish = self.runs.get_mut(&id).and_then(Correspondence::take_wish);
            writable(cx, wish);
        }
    }

    /// Wakes every blocked sender.
    pub(super) fn wake_all(&mut self, cx: &mut Context) {
        cx.actions
            .extend(self.runs.values_mut().filter_map(Correspondence::take_wish).map(|peer| Action::Writable { peer }));
    }

    /// Wakes the senders of a run that no longer accepts messages.
    pub(super) fn wake_if_closed(&mut self, cx: &mut Context, id: NodeId) {
        let offline = cx.config.offline;
        let closed = self.runs.get_mut(&id).filter(|of| !is_open(of, offline));
        let wish = closed.and_then(Correspondence::take_wish);
        writable(cx, wish);
    }

    /// Starts a wait for the outcome of every message accepted so far for a run.
    pub(super) fn flush(&mut self, cx: &mut Context, peer: NodeId) -> Result<FlushId, FlushError> {
        let of = self.runs.get_mut(&peer).filter(|of| of.open).ok_or(FlushError::UnknownPeer(peer))?;
        let session = of.session.as_ref().ok_or(FlushError::UnknownPeer(peer))?;
        if of.flushes.len() == MAX_FLUSHES {
            return Err(FlushError::TooMany);
        }
        let id = FlushId(self.next_flush);
        self.next_flush += 1;
        let flush = correspondence::Flush { id, mark: session.send.accepted_messages(), undelivered: 0 };
        of.flushes.push_back(flush);
        self.flushed(cx, peer, 0);
        Ok(id)
    }

    /// Returns the stream to a run.
    #[inline]
    pub(super) fn outgoing(&self, id: NodeId) -> Option<&SendStream> {
        Some(&self.runs.get(&id)?.session.as_ref()?.send)
    }

    /// Returns the stream to a run.
    #[inline]
    pub(super) fn outgoing_mut(&mut self, id: NodeId) -> Option<&mut SendStream> {
        Some(&mut self.runs.get_mut(&id)?.session.as_mut()?.send)
    }

    /// Returns the acknowledgement for a run if it has news; with `progress`, also if only bytes have arrived. The outer
    /// `None` means that the run has no session.
    #[inline]
    pub(super) fn ack(&mut self, id: NodeId, progress: bool) -> Option<Option<Ack>> {
        Some(self.runs.get_mut(&id)?.session.as_mut()?.ack(progress))
    }

    /// Returns whether unacknowledged bytes of a run have arrived.
    pub(super) fn has_progress(&self, id: NodeId) -> bool {
        self.session(id).is_some_and(Session::has_progress)
    }

    /// Takes note of an acknowledgement. [Settle](Mail::settle) the result next.
    pub(super) fn acknowledged(&mut self, from: NodeId, ack: &Ack) -> Option<Result<Acked, ProtocolError>> {
        Some(self.runs.get_mut(&from)?.session.as_mut()?.send.ack(ack))
    }

    /// Reports messages as delivered and wakes blocked senders. Returns the link that may send if the credit rose.
    pub(super) fn settle(&mut self, cx: &mut Context, id: NodeId, acked: Acked) -> Option<LinkId> {
        cx.stats.messages_delivered += acked.messages;
        self.delivered(cx, id, acked.messages);
        let of = self.runs.get_mut(&id)?;
        let wish = if acked.freed > 0 { of.take_wish() } else { None };
        writable(cx, wish);
        of.link.filter(|_| acked.more_credit)
    }

    /// Returns whether every accepted message is delivered.
    pub(super) fn is_settled(&self) -> bool {
        self.runs.values().all(|of| of.retained() == 0)
    }

    /// Returns whether a run has a session.
    pub(super) fn has_session(&self, id: NodeId) -> bool {
        self.session(id).is_some()
    }

    /// Returns whether the records are those of these peers, and agree with them.
    pub(super) fn is_consistent(&self, pairs: &Pairs) -> bool {
        let same = |(of, peer): (&Correspondence, &Peer)| {
            of.run == peer.run && of.link == peer.live() && peer.is_up() == (of.open && !of.suspended)
        };
        self.runs.len() == pairs.peers().len() && self.runs.values().zip(pairs.peers()).all(same)
    }

    /// Returns how much of the first stream has arrived.
    #[cfg(test)]
    pub(super) fn received(&self) -> u64 {
        let received = |of: &Correspondence| Some(of.session.as_ref()?.receive()?.received());
        self.runs.values().find_map(received).unwrap_or_default()
    }

    fn session(&self, id: NodeId) -> Option<&Session> {
        self.runs.get(&id)?.session.as_ref()
    }

    /// Returns the bytes of earlier streams of a node, which count against the window of a new one.
    pub(super) fn charged(&self, id: NodeId) -> u64 {
        let present = self.runs.get(&id).map_or(0, Correspondence::buffered);
        self.inbox.uncovered(id).saturating_add(present)
    }

    /// Returns the nodes that left messages behind.
    pub(super) fn left_behind(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.inbox.left_behind()
    }

    /// Returns the number of streams whose end the node remembers.
    pub(super) fn finished_streams(&self) -> usize {
        self.finished.len()
    }

    /// Returns the number of nodes with unread reports.
    pub(super) fn unread_reports(&self) -> usize {
        self.reports.len()
    }

    /// Returns the bytes of all messages.
    pub(super) fn memory(&self) -> Memory {
        let received: u64 = self.runs.values().map(Correspondence::buffered).sum();
        let retained = self.runs.values().map(Correspondence::retained).sum();
        let besides = self.memory_besides();
        Memory { received: received + besides.received, retained, unread: besides.unread }
    }

    /// Returns the bytes in the present streams of one run.
    pub(super) fn memory_of(&self, id: NodeId) -> Memory {
        let of = self.runs.get(&id);
        let (received, retained) = (of.map_or(0, Correspondence::buffered), of.map_or(0, Correspondence::retained));
        Memory { received, retained, unread: 0 }
    }

    /// Returns the bytes that belong to no present stream.
    pub(super) fn memory_besides(&self) -> Memory {
        Memory { received: self.inbox.buffered(), retained: 0, unread: self.reports.total() }
    }
}

/// Returns whether the node accepts messages for a run.
fn is_open(of: &Correspondence, offline: Offline) -> bool {
    of.open && (!of.suspended || offline == Offline::Queue)
}

fn writable(cx: &mut Context, wish: Option<NodeId>) {
    cx.actions.extend(wish.map(|peer| Action::Writable { peer }));
}
