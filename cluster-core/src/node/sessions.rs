//! The life of a session: it begins with the first claim of a pair of runs, outlives the links that carry it, and ends
//! with the run, with the time to live, or because the other side knows nothing of it any more.

use alloc::vec::Vec;

use super::Node;
use super::timer::Timer;
use crate::action::{Action, CloseMode};
use crate::closed::ClosedStreams;
use crate::config::Acknowledge;
use crate::error::FlushError;
use crate::event::Event;
use crate::id::{FlushId, LinkId, NodeId, Run};
use crate::limits::{DELIVERED_INTERVAL, MAX_FLUSHES, RESERVATION_STALL};
use crate::mutant::mutant;
use crate::peer::{Delivered, Flush, Peer};
use crate::reason::Reason;
use crate::session::{Ended, Past, ReceiveStream, Resumed, Session, Terms, Window, successor};
use crate::time::Instant;
use crate::wire::{Frame, Offer, Resume, StreamId};

impl Node {
    /// Where the streams of a pair stand, for the answer to its claim. Begins a session if there is none.
    pub(super) fn begin_session(&mut self, id: NodeId) -> Option<&mut Session> {
        let limits = &self.config.limits;
        let peer = self.peers.get_mut(&id)?;
        if peer.mail.session.is_none() {
            let own = StreamId(self.streams.next_u64());
            let window = Window::new(limits.initial_window, limits.recv_window);
            let manual = self.config.acknowledge == Acknowledge::Manual;
            let past = match core::mem::replace(&mut peer.mail.past, Past::Unknown) {
                Past::Unknown => match self.inbox.reclaim(peer.run) {
                    Some(leftover) => Past::Open(leftover),
                    None => self.closed.take(peer.run, self.now).map_or(Past::Unknown, |(id, at)| Past::Closed(id, at)),
                },
                past => past,
            };
            self.stats.closed_streams_used += u64::from(matches!(past, Past::Closed(..)));
            let mut session = Session::new(own, peer.profile.window, window, limits.max_message, manual, past);
            session.charge(self.inbox.uncovered(id));
            peer.mail.session = Some(session);
        }
        peer.mail.session.as_mut()
    }

    /// Goes on with the streams as the two sides agree, over a link that is now up.
    ///
    /// Returns whether the link is still there: a breach closes it.
    pub(super) fn exchange_offers(&mut self, id: LinkId, run: Run, theirs: &Offer) -> bool {
        let Some(link) = self.links.get(&id) else { return false };
        let (outbound, window) = (!link.is_inbound(), link.window);
        let now = self.now;
        let credit = self.peers.get(&run.id).map_or(0, |peer| peer.profile.window);
        let Some(session) = self.begin_session(run.id) else { return false };
        let before = session.receive().map(ReceiveStream::id);
        let terms = Terms { credit, window };
        let outcome = if outbound { session.answer(theirs, terms) } else { session.conclude(theirs, terms) };
        let exchange = match outcome {
            Ok(exchange) => exchange,
            Err(error) => {
                self.violated(id, error);
                return false;
            }
        };
        let consumed = session.receive().map_or(0, ReceiveStream::consumed);
        session.window().restart(now, consumed);
        let inside = session.receive().is_some_and(|stream| stream.buffered() > 0 && !stream.readable());
        // A stream that goes on, or is carried over, keeps its id or gets the next one; any other is of a new session.
        let after = session.receive().map(ReceiveStream::id);
        let mut reset = before.is_some_and(|before| after != Some(before) && after != Some(successor(before)));
        match exchange.resumed {
            Resumed::Continued(acked) | Resumed::CarriedOver(acked) => self.settle(run.id, acked),
            Resumed::Reset { in_doubt } => {
                let lost = in_doubt.len() as u64;
                self.report_undelivered(run, Ended { not_delivered: Vec::new(), in_doubt });
                self.flushed(run.id, lost);
                // Nothing may be left whose acknowledgement would make room.
                let wish = self.peers.get_mut(&run.id).and_then(Peer::take_wish);
                self.actions.extend(wish.map(|peer| Action::Writable { peer }));
                reset = true;
            }
        }
        self.stats.sessions_resumed += u64::from(before.is_some() && !reset);
        self.stats.messages_resumed += u64::from(inside);
        self.stats.sessions_lost += u64::from(reset);
        if reset {
            self.session_was_reset(run);
        }
        if let Some(leftover) = exchange.leftover {
            self.inbox.keep(run, leftover);
            self.announce_messages(run.id);
        }
        let served = self.budget.release(exchange.reserved);
        self.serve(served);
        self.charge(run.id);
        if let (Some(offer), Some(link)) = (exchange.answer, self.links.get_mut(&id)) {
            link.slots.handshake = Some(Frame::Resume(Resume { offer }));
        }
        true
    }

    /// The two begin anew, as if for the first time, although the run is the same.
    fn session_was_reset(&mut self, run: Run) {
        let Some(peer) = self.peers.get_mut(&run.id) else { return };
        if peer.is_up() {
            self.event(Event::SessionReset { peer: run });
        } else if core::mem::take(&mut peer.mail.open) {
            self.delivered_is_over(run.id);
            self.event(Event::PeerGone { peer: run });
        }
    }

    /// Tells how much was delivered in the session that is over; the next one counts from zero.
    fn delivered_is_over(&mut self, id: NodeId) {
        self.timers.cancel(Timer::Delivered(id));
        self.tell_delivered(id);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.mail.delivered = Delivered::default();
        }
    }

    /// The link of a session is gone: nothing that it still carries is read, and credit not in use comes back.
    pub(super) fn fence_session(&mut self, id: NodeId, yields: bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.mail.ack_scheduled = false;
        if let Some(session) = &mut peer.mail.session {
            let served = session.fence(id, yields, &mut self.budget);
            self.serve(served);
        }
    }

    /// A peer that was up is lost: what was accepted for it waits for its return.
    pub(super) fn suspend_session(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let Some(session) = &peer.mail.session else { return };
        let reserves = session.has_reservation();
        let timing = &self.config.timing;
        // A session that never came up here is kept for as long as the other side, which may think that it did, takes
        // to dial again.
        let ttl = if peer.mail.open { timing.session_ttl } else { timing.session_ttl.min(timing.reconnect_max) };
        if self.timers.deadline(Timer::Session(id)).is_none() {
            self.timers.set(Timer::Session(id), self.now + ttl);
        }
        if !reserves {
            return;
        }
        let yields = self.must_yield(id);
        if self.peers.get_mut(&id).is_some_and(|peer| core::mem::take(&mut peer.mail.feeding)) && !yields {
            self.timers.set(Timer::Reservation(id), self.now + RESERVATION_STALL);
        } else {
            // It was back and brought nothing, or too little: whoever comes and goes must not keep the memory from others.
            self.fence_session(id, true);
        }
    }

    /// The peer is back.
    pub(super) fn session_resumes(&mut self, id: NodeId) {
        self.timers.cancel(Timer::Session(id));
        self.timers.cancel(Timer::Reservation(id));
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.mail.last_try = false;
        }
    }

    pub(super) fn session_deadline(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|_| !mutant!(NeverExpire)) else { return };
        if peer.is_in_limbo() || peer.live.is_some() && !peer.mail.last_try {
            // It is coming back at this very moment. If it does not, it must not keep the session by trying again and again.
            peer.mail.last_try |= !peer.is_in_limbo();
            return self.timers.set(Timer::Session(id), self.now + self.config.timing.handshake_timeout);
        }
        let run = peer.run;
        if let Some(live) = peer.live {
            self.drop_link(live, CloseMode::Abort, Reason::HandshakeTimeout);
        }
        // A later run may have waited behind that link, and has ended the session by taking the place.
        if let Some(peer) = self.peers.get(&id).filter(|peer| peer.run == run && peer.live.is_none()) {
            self.stats.sessions_expired += u64::from(peer.mail.open);
            self.gone(id);
            self.prune(id);
        }
    }

    pub(super) fn reservation_deadline(&mut self, id: NodeId) {
        if self.peers.get(&id).is_some_and(|peer| peer.live.is_none()) {
            self.fence_session(id, true);
        }
    }

    /// Nothing more comes of the run in this session: every message that was accepted for it gets its outcome.
    pub(super) fn gone(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let run = peer.run;
        self.session_resumes(id);
        self.end_session(run);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if core::mem::take(&mut peer.mail.open) {
            let wish = peer.take_wish();
            self.event(Event::PeerGone { peer: run });
            self.actions.extend(wish.map(|peer| Action::Writable { peer }));
        }
    }

    /// The session with a run is over: what it never acknowledged is reported, what it sent completely stays readable.
    fn end_session(&mut self, run: Run) {
        self.fence_session(run.id, true);
        self.delivered_is_over(run.id);
        let Some(peer) = self.peers.get_mut(&run.id) else { return };
        let Some(session) = peer.mail.session.take() else { return };
        self.stats.sessions_lost += u64::from(peer.mail.open);
        let settled = session.send.settled_messages();
        let ending = session.end(&mut self.budget);
        peer.mail.past = ending.past;
        if matches!(peer.mail.past, Past::Open(_)) {
            self.announce_messages(run.id);
        }
        let lost = (ending.outcomes.not_delivered.len() + ending.outcomes.in_doubt.len()) as u64;
        self.report_undelivered(run, ending.outcomes);
        self.finish_flushes(run, settled + lost, lost);
    }

    /// This node is about to be another run: no session of the present one goes on.
    pub(super) fn end_sessions(&mut self) {
        for id in self.peers.keys().copied().collect::<Vec<NodeId>>() {
            self.gone(id);
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let run = peer.run;
            if let Past::Open(leftover) = core::mem::replace(&mut peer.mail.past, Past::Unknown) {
                self.inbox.keep(run, leftover);
                self.announce_messages(id);
            }
            self.prune(id);
        }
        self.inbox.end();
        self.closed = ClosedStreams::default();
    }

    /// The record of a run is dropped: what it sent completely stays readable, before anything of its next run.
    pub(super) fn keep_unread(&mut self, peer: Peer) {
        match peer.mail.past {
            Past::Open(leftover) => {
                self.inbox.keep(peer.run, leftover);
                self.announce_messages(peer.run.id);
            }
            Past::Closed(stream, consumed) => self.remember_end(peer.run, stream, consumed),
            Past::Unknown => {}
        }
    }

    /// Should the run come back, its sender learns how much was delivered.
    pub(super) fn remember_end(&mut self, run: Run, stream: StreamId, consumed: u64) {
        let replaced = self.peers.get(&run.id).is_some_and(|peer| peer.run.incarnation > run.incarnation);
        if !replaced && !self.tombstones.covers(run) && self.closed.insert(run, stream, consumed, self.now) {
            self.stats.closed_stream_limit += 1;
        }
    }

    /// Waits until every message accepted so far for a peer has its outcome: [`Event::Flushed`] says so. Messages
    /// accepted later do not matter. For a lost peer that may take until its session is over.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if there is nothing to wait for, or too many wait already; nothing has changed.
    pub fn flush(&mut self, now: Instant, peer: NodeId) -> Result<FlushId, FlushError> {
        self.advance(now);
        let known = self.peers.get_mut(&peer).filter(|peer| peer.mail.open).ok_or(FlushError::UnknownPeer(peer))?;
        let session = known.mail.session.as_ref().ok_or(FlushError::UnknownPeer(peer))?;
        if known.mail.flushes.len() == MAX_FLUSHES {
            return Err(FlushError::TooMany);
        }
        let id = FlushId(self.next_flush);
        self.next_flush += 1;
        known.mail.flushes.push_back(Flush { id, mark: session.send.accepted_messages(), undelivered: 0 });
        self.flushed(peer, 0);
        Ok(id)
    }

    /// The peer has newly acknowledged messages.
    pub(super) fn delivered(&mut self, id: NodeId, messages: u64) {
        if messages == 0 {
            return;
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.mail.delivered.messages += messages;
        match peer.mail.delivered.told_at.map(|told| told + DELIVERED_INTERVAL) {
            Some(next) if next > self.now => self.timers.set(Timer::Delivered(id), next),
            _ => self.tell_delivered(id),
        }
        self.flushed(id, 0);
    }

    pub(super) fn tell_delivered(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Delivered { messages, told, .. } = peer.mail.delivered;
        if messages > told {
            peer.mail.delivered = Delivered { messages, told: messages, told_at: Some(self.now) };
            let run = peer.run;
            self.event(Event::Delivered { peer: run, messages });
        }
    }

    /// More messages have their outcome; the last `lost` of them are undelivered.
    fn flushed(&mut self, id: NodeId, lost: u64) {
        let Some(peer) = self.peers.get(&id).filter(|peer| !peer.mail.flushes.is_empty()) else { return };
        let (run, settled) =
            (peer.run, peer.mail.session.as_ref().map_or(0, |session| session.send.settled_messages()));
        self.finish_flushes(run, settled, lost);
    }

    fn finish_flushes(&mut self, run: Run, settled: u64, lost: u64) {
        let Some(peer) = self.peers.get_mut(&run.id) else { return };
        for flush in &mut peer.mail.flushes {
            flush.undelivered += flush.mark.min(settled) - flush.mark.min(settled - lost);
        }
        while let Some(peer) = self.peers.get_mut(&run.id)
            && let Some(flush) = peer.mail.flushes.pop_front_if(|flush| flush.mark <= settled)
        {
            let Flush { id: flush, undelivered, .. } = flush;
            self.event(Event::Flushed { flush, peer: run, undelivered });
        }
    }
}
