//! Messages: accepted into the logs of their receivers, taken from the streams of their senders.

use alloc::vec::Vec;
use bytes::Bytes;

use super::Node;
use super::timer::{LinkTimer, Timer};
use crate::action::Action;
use crate::event::Undelivered;
use crate::flight::queueing;
use crate::id::{LinkId, NodeId, Run};
use crate::limits::{ACK_DELAY, RESERVATION_STALL};
use crate::link::Link;
use crate::message::{Broadcast, Message, Receipt, SendError, SendErrorKind};
use crate::peer::Peer;
use crate::session::{Acked, Due, Leftover, Past, Place, ReceiveStream, Reservation, Session};
use crate::time::Instant;
use crate::unread::Deferred;
use crate::wire::{Ack, Data};

impl Node {
    /// Accepts a message for a peer that is up, or lost and not yet gone. It arrives in order and exactly once, over
    /// however many links, or is reported once as undelivered.
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

    /// Accepts a message for every peer whose session lives. Each gets it or is named in the report; a large payload is
    /// shared, not copied.
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
        let offline = self.config.offline;
        let open: Vec<NodeId> =
            self.peers.values().filter(|peer| peer.is_open_for(offline)).map(|peer| peer.run.id).collect();
        for id in open {
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
        let offline = self.config.offline;
        let peer = self.peers.get_mut(&to).filter(|peer| peer.is_open_for(offline));
        let peer = peer.ok_or(SendErrorKind::NotConnected)?;
        let session = peer.mail.session.as_mut().ok_or(SendErrorKind::NotConnected)?;
        let length = payload.len() as u64;
        let cap = limits.max_message.min(peer.profile.max_message);
        if length > cap {
            self.stats.message_limit += 1;
            return Err(SendErrorKind::TooLarge { length, cap });
        }
        let unread = self.unread.of(to, limits.max_peers);
        if !session.send.fits(payload.len(), limits.send_window, unread) {
            peer.mail.wants_room = true;
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

    /// The user will read this [`Event::Undelivered`](crate::Event::Undelivered) later: until [`read`](Node::read) is
    /// told so it takes room in the `send_window` of its peer, of whatever run, as it did before. For drivers that queue
    /// events; who hands each to its user at once need not say anything.
    pub fn defer(&mut self, told: &Undelivered) -> Deferred {
        self.unread.defer(told)
    }

    /// What was [deferred](Node::defer) has been read, or never will be.
    pub fn read(&mut self, now: Instant, deferred: Deferred) {
        self.advance(now);
        let max_peers = self.config.limits.max_peers;
        let crowded = self.unread.len() >= max_peers;
        let id = self.unread.read(deferred);
        if crowded && self.unread.len() < max_peers {
            self.actions
                .extend(self.peers.values_mut().filter_map(Peer::take_wish).map(|peer| Action::Writable { peer }));
        } else {
            let wish = self.peers.get_mut(&id).and_then(Peer::take_wish);
            self.actions.extend(wish.map(|peer| Action::Writable { peer }));
        }
    }

    /// Takes a message. Peers with messages take turns; of each peer they come in the order in which it sent them.
    ///
    /// Taking a message is what acknowledges it to its sender and gives it credit for more, unless the config says
    /// [`Acknowledge::Manual`](crate::Acknowledge::Manual).
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
        match &peer.mail.past {
            Past::Open(leftover) => leftover.stream.readable(),
            _ => peer.mail.session.as_ref().is_some_and(Session::readable),
        }
    }

    /// From the streams of runs that are over, or were forgotten: all of them come before the present one, also behind
    /// one of which everything was taken and not everything acknowledged.
    fn take_leftover(&mut self, id: NodeId) -> Option<Message> {
        loop {
            let (run, leftover) = self.inbox.leftover(id)?;
            let run = *run;
            let message = leftover.poll().map(|(payload, place)| message(run, payload, place));
            if !leftover.stream.readable()
                && let Some(leftover) = self.inbox.take_leftover(id)
            {
                let stream = &leftover.stream;
                if stream.is_drained() && !stream.has_ended() {
                    self.remember_end(run, stream.id(), stream.consumed());
                }
                self.release(leftover);
            }
            self.charge(id);
            if message.is_some() {
                return message;
            }
        }
    }

    /// A stream without a session ends when nothing of it is left to take or to acknowledge.
    fn close_past(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Past::Open(leftover) = &peer.mail.past else { return };
        if leftover.stream.is_drained() {
            let closed = Past::Closed(leftover.stream.id(), leftover.stream.consumed());
            if let Past::Open(leftover) = core::mem::replace(&mut peer.mail.past, closed) {
                self.release(leftover);
            }
        }
    }

    fn take(&mut self, id: NodeId) -> Option<Message> {
        let peer = self.peers.get_mut(&id)?;
        if let Past::Open(leftover) = &mut peer.mail.past {
            // From the stream of a run that is lost and may return.
            let message = leftover.poll().map(|(payload, place)| message(peer.run, payload, place));
            self.close_past(id);
            return message;
        }
        let session = peer.mail.session.as_mut()?;
        match session.poll() {
            Ok(taken) => {
                let message = taken.map(|(payload, place)| message(peer.run, payload, place));
                self.consumed(id);
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

    /// The application has dealt with a message that it took, and with all messages before it of the same run. Only
    /// needed, and only of consequence, with [`Acknowledge::Manual`](crate::Acknowledge::Manual), and for a peer that is
    /// up or lost: of one that was forgotten nothing is kept once its messages are taken, so to its user they are in doubt.
    pub fn acknowledge(&mut self, now: Instant, receipt: Receipt) {
        self.advance(now);
        let Receipt { from, place } = receipt;
        let Some(peer) = self.peers.get_mut(&from.id).filter(|peer| peer.run == from) else { return };
        match (&mut peer.mail.session, &mut peer.mail.past) {
            (Some(session), _) => {
                if session.consume(place) {
                    self.consumed(from.id);
                }
            }
            (None, Past::Open(leftover)) => {
                leftover.stream.consume(place);
                self.close_past(from.id);
            }
            (None, _) => {}
        }
    }

    /// More of a peer's stream is consumed, perhaps.
    fn consumed(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = &mut peer.mail.session else { return };
        let consumed = session.receive().map_or(0, ReceiveStream::consumed);
        session.window().consumed(self.now, consumed, peer.rtt, &mut self.budget);
        self.regrant(id);
    }

    /// A chunk of a peer's stream has arrived.
    pub(super) fn data(&mut self, link: LinkId, from: NodeId, data: Data) {
        let length = data.bytes.len() as u64;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let Some(session) = &mut peer.mail.session else { return };
        if let Err(error) = session.data(data) {
            return self.violated(link, error);
        }
        peer.mail.feeding = true;
        self.stats.bytes_received += length;
        if session.readable() {
            self.announce_messages(from);
        }
        self.regrant(from);
    }

    pub(super) fn announce_messages(&mut self, from: NodeId) {
        if self.inbox.ready(from) {
            self.actions.push_back(Action::Deliver);
        }
    }

    /// A peer says how far our stream has come.
    pub(super) fn acknowledged(&mut self, link: LinkId, from: NodeId, ack: Ack) {
        let Some(session) = self.peers.get_mut(&from).and_then(|peer| peer.mail.session.as_mut()) else { return };
        match session.send.ack(&ack) {
            Ok(acked) => {
                self.settle(from, acked);
                self.landed(link, ack.received);
                if !acked.needed {
                    self.tolerate(link);
                }
            }
            Err(error) => self.violated(link, error),
        }
    }

    /// Bytes in flight have arrived up to this offset, so there may be room for more.
    fn landed(&mut self, id: LinkId, offset: u64) {
        let (now, queueing) = (self.now, queueing(self.config.timing.heartbeat));
        self.edit(id, |link| {
            if let Some(flight) = &mut link.flight {
                flight.acknowledged(now, offset, queueing);
            }
            // The connection does not stand still.
            link.waiting_since = link.waiting_since.map(|_| now);
        });
    }

    /// An acknowledgement has made room, or given credit.
    pub(super) fn settle(&mut self, id: NodeId, acked: Acked) {
        self.stats.messages_delivered += acked.messages;
        self.delivered(id, acked.messages);
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
        let Some(session) = &mut peer.mail.session else { return };
        let owed = session.is_partial();
        let served = session.regrant(self.now, id, peer.live.is_some(), &mut self.budget);
        let owes = session.is_partial() && !owed;
        let due = ack_due(peer);
        if owes {
            self.owes_from_now(id);
        }
        self.stats.recv_budget_limit = self.budget.waits();
        self.schedule_ack(due);
        if !served.is_empty() {
            self.serve(served);
        }
    }

    /// Room in the budget went to peers that waited for it; what one of them no longer needs goes to the next.
    pub(super) fn serve(&mut self, mut served: Vec<Reservation>) {
        while let Some(Reservation { peer, bytes }) = served.pop() {
            let session = self.peers.get_mut(&peer).and_then(|peer| peer.mail.session.as_mut());
            let unused = session.map_or(bytes, |session| session.reserved(self.now, bytes));
            if unused > 0 {
                served.extend(self.budget.release(unused));
            } else {
                self.owes_from_now(peer);
            }
            let due = self.peers.get_mut(&peer).and_then(ack_due);
            self.schedule_ack(due);
        }
    }

    /// Memory is reserved for a message of this peer: the time that it has to go on begins.
    fn owes_from_now(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.mail.feeding = true;
        if let Some(link) = peer.live.and_then(|live| self.links.get_mut(&live)) {
            link.fed = self.now;
            self.timers.set_no_later(Timer::Link(link.id, LinkTimer::Liveness), self.now + RESERVATION_STALL);
        }
    }

    /// Whether others wait for the memory that is reserved for this peer, and it is too slow for that.
    pub(super) fn must_yield(&self, id: NodeId) -> bool {
        let session = self.peers.get(&id).and_then(|peer| peer.mail.session.as_ref());
        session.is_some_and(|session| session.must_yield(self.now, self.stalled, &self.budget))
    }

    pub(super) fn release(&mut self, leftover: Leftover) {
        let served = leftover.release(&mut self.budget);
        self.serve(served);
    }

    /// What is left of earlier runs of a node counts against the window of its present one.
    pub(super) fn charge(&mut self, id: NodeId) {
        let uncovered = self.inbox.uncovered(id);
        if let Some(session) = self.peers.get_mut(&id).and_then(|peer| peer.mail.session.as_mut()) {
            session.charge(uncovered);
            self.regrant(id);
        }
    }

    fn schedule_ack(&mut self, due: Option<(LinkId, Due)>) {
        match due {
            None | Some((_, Due::Never)) => {}
            Some((live, Due::Soon)) => self.timers.set(Timer::Link(live, LinkTimer::Ack), self.now + ACK_DELAY),
            Some((live, Due::Now)) => self.edit(live, |link| link.slots.ack |= link.is_up()),
        }
    }

    pub(super) fn ack_deadline(&mut self, link: LinkId) {
        let Some(run) = self.links.get(&link).and_then(Link::run) else { return };
        let Some(peer) = self.peers.get_mut(&run.id) else { return };
        peer.mail.ack_scheduled = false;
        if peer.mail.session.as_ref().is_some_and(|session| session.due() != Due::Never) {
            self.edit(link, |link| link.slots.ack |= link.is_up());
        }
    }
}

/// How soon a peer needs to hear of its stream, and on which link; `Soon` is said once.
fn ack_due(peer: &mut Peer) -> Option<(LinkId, Due)> {
    let due = peer.mail.session.as_ref()?.due();
    let live = peer.live?;
    let known = due == Due::Soon && core::mem::replace(&mut peer.mail.ack_scheduled, true);
    (!known).then_some((live, due))
}

fn message(from: Run, payload: Bytes, place: Place) -> Message {
    Message { from, payload, receipt: Receipt { from, place } }
}
