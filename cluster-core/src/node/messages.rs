//! Messages: accepted into the logs of their receivers, taken from the streams of their senders.

use alloc::vec::Vec;
use bytes::Bytes;

use super::Node;
use super::timer::Timer;
use crate::action::Action;
use crate::event::Event;
use crate::id::{LinkId, NodeId, Run};
use crate::limits::ACK_DELAY;
use crate::link::Link;
use crate::message::{Broadcast, Message, SendError, SendErrorKind};
use crate::peer::Peer;
use crate::reason::ProtocolError;
use crate::session::{
    Acked, Due, Ended, Leftover, Past, ReceiveStream, Reservation, Resumed, Session, Terms, Window, successor,
};
use crate::time::Instant;
use crate::wire::{Ack, Data, Offer, StreamId};

impl Node {
    /// Accepts a message for a peer that is up. It arrives in order, at most once.
    ///
    /// # Errors
    ///
    /// [`SendError`] gives the payload back; nothing has changed. After [`SendErrorKind::Full`] the node says with
    /// [`Action::Writable`] when to try again.
    pub fn send(&mut self, now: Instant, to: NodeId, payload: Bytes) -> Result<(), SendError> {
        self.advance(now);
        match self.enqueue(to, &payload) {
            Ok(()) => Ok(()),
            Err(kind) => Err(SendError { payload, kind }),
        }
    }

    /// Accepts a message for every peer that is up. Each gets it or is named in the report; a large payload is shared,
    /// not copied.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the node is leaving or the message is longer than its own `max_message`; nothing has changed.
    pub fn broadcast(&mut self, now: Instant, payload: Bytes) -> Result<Broadcast, SendError> {
        self.advance(now);
        let (length, cap) = (payload.len() as u64, self.config.limits.max_message);
        let refused = match () {
            () if self.is_leaving() => Some(SendErrorKind::Leaving),
            () if length > cap => Some(SendErrorKind::TooLarge { length, cap }),
            () => None,
        };
        if let Some(kind) = refused {
            return Err(SendError { payload, kind });
        }
        let mut report = Broadcast::default();
        let up: Vec<NodeId> = self.peers.values().filter(|peer| peer.announced).map(|peer| peer.run.id).collect();
        for id in up {
            match self.enqueue(id, &payload) {
                Ok(()) => report.queued.push(id),
                Err(kind) => report.refused.push((id, kind)),
            }
        }
        Ok(report)
    }

    fn enqueue(&mut self, to: NodeId, payload: &Bytes) -> Result<(), SendErrorKind> {
        if self.leaving.is_some() {
            return Err(SendErrorKind::Leaving);
        }
        let limits = &self.config.limits;
        let peer = self.peers.get_mut(&to).filter(|peer| peer.announced).ok_or(SendErrorKind::NotConnected)?;
        let session = peer.session.as_mut().ok_or(SendErrorKind::NotConnected)?;
        let length = payload.len() as u64;
        let cap = limits.max_message.min(peer.profile.max_message);
        if length > cap {
            self.stats.message_limit += 1;
            return Err(SendErrorKind::TooLarge { length, cap });
        }
        if !session.send.fits(payload.len(), limits.send_window) {
            peer.wants_room = true;
            self.stats.send_window_limit += 1;
            return Err(SendErrorKind::Full);
        }
        session.send.push(payload);
        self.stats.messages_sent += 1;
        if let Some(live) = peer.live {
            self.arm(live);
        }
        Ok(())
    }

    /// Takes a message. Peers with messages take turns; of each peer they come in the order in which it sent them.
    ///
    /// Taking a message is what acknowledges it to its sender and gives it credit for more.
    #[must_use]
    pub fn poll_message(&mut self, now: Instant) -> Option<Message> {
        self.advance(now);
        while let Some(id) = self.inbox.turn() {
            let message = self.take_leftover(id).or_else(|| self.take(id));
            if self.is_readable(id) {
                self.inbox.rotate();
            } else {
                self.inbox.done();
            }
            if message.is_some() {
                self.stats.messages_received += 1;
                return message;
            }
        }
        None
    }

    fn is_readable(&mut self, id: NodeId) -> bool {
        if self.inbox.leftover(id).is_some() {
            return true;
        }
        let Some(peer) = self.peers.get(&id) else { return false };
        matches!(peer.past, Past::Open(_)) || peer.session.as_ref().is_some_and(Session::readable)
    }

    /// From a stream of a run that is over.
    fn take_leftover(&mut self, id: NodeId) -> Option<Message> {
        let (run, leftover) = self.inbox.leftover(id)?;
        let message = poll(*run, &mut leftover.stream);
        if !leftover.stream.readable()
            && let Some(leftover) = self.inbox.take_leftover(id)
        {
            self.release(leftover);
        }
        self.charge(id);
        message
    }

    fn take(&mut self, id: NodeId) -> Option<Message> {
        let peer = self.peers.get_mut(&id)?;
        if let Past::Open(leftover) = &mut peer.past {
            // From the stream of a run that is lost and may return.
            let message = poll(peer.run, &mut leftover.stream);
            if !leftover.stream.readable() {
                let closed = Past::Closed(leftover.stream.id(), leftover.stream.consumed());
                if let Past::Open(leftover) = core::mem::replace(&mut peer.past, closed) {
                    self.release(leftover);
                }
            }
            return message;
        }
        let session = peer.session.as_mut()?;
        match session.poll() {
            Ok(payload) => {
                let message = payload.map(|payload| Message { from: peer.run, payload });
                let consumed = session.receive().map_or(0, ReceiveStream::consumed);
                session.window().consumed(self.now, consumed, peer.rtt, &mut self.budget);
                self.regrant(id);
                message
            }
            Err(error) => {
                if let Some(live) = peer.live {
                    self.violated(live, error);
                }
                None
            }
        }
    }

    /// A chunk of a peer's stream has arrived.
    pub(super) fn data(&mut self, link: LinkId, from: NodeId, data: Data) {
        let length = data.bytes.len() as u64;
        let Some(session) = self.peers.get_mut(&from).and_then(|peer| peer.session.as_mut()) else { return };
        if let Err(error) = session.data(data) {
            return self.violated(link, error);
        }
        self.stats.bytes_received += length;
        if session.readable() {
            self.announce_messages(from);
        }
        self.regrant(from);
    }

    fn announce_messages(&mut self, from: NodeId) {
        if self.inbox.ready(from) {
            self.actions.push_back(Action::Deliver);
        }
    }

    /// A peer says how far our stream has come.
    pub(super) fn acknowledged(&mut self, link: LinkId, from: NodeId, ack: Ack) {
        let Some(session) = self.peers.get_mut(&from).and_then(|peer| peer.session.as_mut()) else { return };
        match session.send.ack(&ack) {
            Ok(acked) => self.settle(from, acked),
            Err(error) => self.violated(link, error),
        }
    }

    /// An acknowledgement has made room, or given credit.
    fn settle(&mut self, id: NodeId, acked: Acked) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let wish = if acked.freed > 0 { peer.take_wish() } else { None };
        self.actions.extend(wish.map(|peer| Action::Writable { peer }));
        if let Some(live) = peer.live.filter(|_| acked.more_credit) {
            self.arm(live);
        }
        self.leave_progress();
    }

    /// Grants a peer what its window and the budget allow now, and tells it when that is worth a frame.
    fn regrant(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = &mut peer.session else { return };
        let served = session.regrant(id, &mut self.budget);
        let due = ack_due(peer);
        self.stats.recv_budget_limit = self.budget.waits();
        self.schedule_ack(due);
        if !served.is_empty() {
            self.serve(served);
        }
    }

    /// Room in the budget went to peers that waited for it; what one of them no longer needs goes to the next.
    pub(super) fn serve(&mut self, mut served: Vec<Reservation>) {
        while let Some(Reservation { peer, bytes }) = served.pop() {
            let session = self.peers.get_mut(&peer).and_then(|peer| peer.session.as_mut());
            let unused = session.map_or(bytes, |session| session.reserved(bytes));
            if unused > 0 {
                served.extend(self.budget.release(unused));
            }
            let due = self.peers.get_mut(&peer).and_then(ack_due);
            self.schedule_ack(due);
        }
    }

    fn release(&mut self, leftover: Leftover) {
        let served = leftover.release(&mut self.budget);
        self.serve(served);
    }

    /// What is left of earlier runs of a node counts against the window of its present one.
    fn charge(&mut self, id: NodeId) {
        let uncovered = self.inbox.uncovered(id);
        if let Some(session) = self.peers.get_mut(&id).and_then(|peer| peer.session.as_mut()) {
            session.charge(uncovered);
            self.regrant(id);
        }
    }

    fn schedule_ack(&mut self, due: Option<(LinkId, Due)>) {
        match due {
            None | Some((_, Due::Never)) => {}
            Some((live, Due::Soon)) => self.timers.set(Timer::Ack(live), self.now + ACK_DELAY),
            Some((live, Due::Now)) => self.edit(live, |link| link.slots.ack |= link.is_up()),
        }
    }

    pub(super) fn ack_deadline(&mut self, link: LinkId) {
        let Some(run) = self.links.get(&link).and_then(Link::run) else { return };
        let Some(peer) = self.peers.get_mut(&run.id) else { return };
        peer.ack_scheduled = false;
        if peer.session.as_ref().is_some_and(|session| session.due() != Due::Never) {
            self.edit(link, |link| link.slots.ack |= link.is_up());
        }
    }

    /// Where the streams of a pair stand, for the answer to its claim. Begins a session if there is none.
    pub(super) fn begin_session(&mut self, id: NodeId) -> Option<&mut Session> {
        let uncovered = self.inbox.uncovered(id);
        let limits = &self.config.limits;
        let peer = self.peers.get_mut(&id)?;
        if peer.session.is_none() {
            let own = StreamId(self.streams.next_u64());
            let window = Window::new(limits.initial_window, limits.recv_window);
            let past = core::mem::replace(&mut peer.past, Past::Unknown);
            let mut session = Session::new(own, peer.profile.window, window, limits.max_message, past);
            session.charge(uncovered);
            peer.session = Some(session);
        }
        peer.session.as_mut()
    }

    /// Goes on with the streams as the two sides agree, over a link that is now up.
    ///
    /// Returns the offer in return if this side is to make one; `None` after a breach, which has closed the link.
    pub(super) fn exchange_offers(&mut self, link: LinkId, run: Run, theirs: &Offer) -> Option<Offer> {
        let (outbound, window) = self.links.get(&link).map(|link| (!link.is_inbound(), link.window))?;
        let now = self.now;
        let credit = self.peers.get(&run.id)?.profile.window;
        let session = self.begin_session(run.id)?;
        let before = session.receive().map(ReceiveStream::id);
        let terms = Terms { credit, window };
        let outcome = if outbound { session.answer(theirs, terms) } else { session.conclude(theirs, terms) };
        let exchange = match outcome {
            Ok(exchange) => exchange,
            Err(error) => {
                self.violated(link, error);
                return None;
            }
        };
        let consumed = session.receive().map_or(0, ReceiveStream::consumed);
        session.window().restart(now, consumed);
        // A stream that goes on, or is carried over, keeps its id or gets the next one; any other is of a new session.
        let after = session.receive().map(ReceiveStream::id);
        let mut reset = before.is_some_and(|before| after != Some(before) && after != Some(successor(before)));
        match exchange.resumed {
            Resumed::Continued(acked) | Resumed::CarriedOver(acked) => self.settle(run.id, acked),
            Resumed::Reset { in_doubt } => {
                self.report_undelivered(run, Ended { not_delivered: Vec::new(), in_doubt });
                // Nothing may be left whose acknowledgement would make room.
                let wish = self.peers.get_mut(&run.id).and_then(Peer::take_wish);
                self.actions.extend(wish.map(|peer| Action::Writable { peer }));
                reset = true;
            }
        }
        if reset && self.peers.get(&run.id).is_some_and(|peer| peer.announced) {
            self.event(Event::SessionReset { peer: run });
        }
        if let Some(leftover) = exchange.leftover {
            self.inbox.keep(run, leftover);
            self.announce_messages(run.id);
        }
        let served = self.budget.release(exchange.reserved);
        self.serve(served);
        self.charge(run.id);
        Some(exchange.answer)
    }

    /// The link of a session is gone: nothing that it still carries is read, and credit not in use comes back.
    pub(super) fn fence_session(&mut self, id: NodeId, yields: bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.ack_scheduled = false;
        if let Some(session) = &mut peer.session {
            let served = session.fence(id, yields, &mut self.budget);
            self.serve(served);
        }
    }

    /// The session with a run is over: what it never acknowledged is reported, what it sent completely stays readable.
    pub(super) fn end_session(&mut self, run: Run) {
        self.fence_session(run.id, true);
        let Some(peer) = self.peers.get_mut(&run.id) else { return };
        let Some(session) = peer.session.take() else { return };
        let ending = session.end(&mut self.budget);
        peer.past = ending.past;
        if matches!(peer.past, Past::Open(_)) {
            self.announce_messages(run.id);
        }
        self.report_undelivered(run, ending.outcomes);
    }

    /// The run itself is over: what it sent completely stays readable, before anything of its next run.
    pub(super) fn keep_unread(&mut self, peer: Peer) {
        if let Past::Open(leftover) = peer.past {
            self.inbox.keep(peer.run, leftover);
            self.announce_messages(peer.run.id);
        }
    }
}

/// How soon a peer needs to hear of its stream, and on which link; `Soon` is said once.
fn ack_due(peer: &mut Peer) -> Option<(LinkId, Due)> {
    let due = peer.session.as_ref()?.due();
    let live = peer.live?;
    let known = due == Due::Soon && core::mem::replace(&mut peer.ack_scheduled, true);
    (!known).then_some((live, due))
}

/// Takes a message from a stream that has ended. What follows a broken head can never be read.
fn poll(from: Run, stream: &mut ReceiveStream) -> Option<Message> {
    let payload: Result<Option<Bytes>, ProtocolError> = stream.poll();
    payload.ok().flatten().map(|payload| Message { from, payload })
}
