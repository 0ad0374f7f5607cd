//! The session of a pair of runs: a byte stream each way, which survives the links that carry it.
//!
//! The content of a stream is a sequence of CBOR byte strings, one per message. [`send`] is the sender's log of it,
//! [`receive`] what arrived and was not yet taken, [`credit`] how far it may go. This file says how the two streams
//! go on over a new link:
//!
//! ```text
//!   initiator                                   responder
//!                                               fence; offer()
//!             ◄── Accept { offer } ────────────
//!   fence; answer(offer)
//!             ─── Resume { answer } ──────────►
//!                                               conclude(answer)
//! ```
//!
//! A stream that cannot go on is followed by one whose id is its [`successor`]. The responder's offer is out before it
//! learns that the initiator knows nothing of its stream, and no later frame could name another id; so both derive it.

mod credit;
mod head;
mod receive;
mod rope;
mod send;

use alloc::vec::Vec;

pub(crate) use credit::{Budget, Due, Reservation, Window};
pub(crate) use head::{Head, MAX_HEAD};
pub(crate) use receive::{Place, ReceiveStream};
pub(crate) use send::{Acked, Ended, Resumed, SendStream};

use crate::id::NodeId;
use crate::reason::ProtocolError;
use crate::time::Instant;
use crate::wire::{Ack, Data, Offer, PeerStream, StreamId};

/// The id of the stream that follows `id` when it cannot go on.
pub(crate) fn successor(id: StreamId) -> StreamId {
    StreamId(id.0.wrapping_add(1))
}

/// Both streams of a pair of runs.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// What we send.
    pub(crate) send: SendStream,
    receive: Option<ReceiveStream>,
    /// The last stream of the peer that is over: its id and what was consumed of it. It counts until the next one has
    /// brought a byte; before that the peer may not yet know that it is over.
    finished: Option<(StreamId, u64)>,
    window: Window,
    /// Bytes of earlier streams that wait for the application: so much less is granted.
    charged: u64,
    max_message: u64,
    /// A message counts as consumed when the application says so, instead of when it takes it.
    manual: bool,
    /// What the peer was last told of its stream.
    told: Ack,
    remainder: Remainder,
    /// When memory was last reserved.
    reserved_at: Instant,
    /// The end of the message for which the peer last lost a reservation.
    yielded: Option<u64>,
}

/// What the front message has beyond the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remainder {
    /// The front message fits into the window.
    Unneeded,
    /// Queued in the budget, for the message that ends at `until`.
    Waiting { until: u64 },
    /// Reserved, until the message that ends at `until` is taken.
    Reserved { bytes: u64, until: u64 },
}

/// What the two sides start a new stream with, by the profiles that this link's handshake brought. What an earlier
/// stream still holds is to be subtracted from our own before it is told, or resets would multiply the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The peer's `window`: our credit.
    pub(crate) credit: u64,
    /// Our `window`: the peer's credit.
    pub(crate) window: u64,
}

/// What an exchange of offers came to.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// How our stream goes on.
    pub(crate) resumed: Resumed,
    /// The peer's earlier stream, ended, if complete messages are left in it. They come before those of the new one.
    pub(crate) leftover: Option<Leftover>,
    /// What was reserved for a message that will never be complete: release it.
    pub(crate) reserved: u64,
    /// The initiator's offer in return; the responder says nothing more.
    pub(crate) answer: Option<Offer>,
}

/// How the peer's stream goes on.
enum Receiving {
    Same,
    New { id: StreamId, known: Option<PeerStream> },
}

impl Session {
    /// A session that sends on stream `own` with `credit` bytes. `past` is what is known of the peer's stream from an
    /// earlier session of the same runs.
    pub(crate) fn new(
        own: StreamId,
        credit: u64,
        window: Window,
        max_message: u64,
        manual: bool,
        past: Past,
    ) -> Session {
        let mut session = Session {
            send: SendStream::new(own, credit),
            receive: None,
            finished: None,
            window,
            charged: 0,
            max_message,
            manual,
            told: Ack::default(),
            remainder: Remainder::Unneeded,
            reserved_at: Instant::ZERO,
            yielded: None,
        };
        match past {
            Past::Unknown => {}
            Past::Finished(id, consumed) => session.finished = Some((id, consumed)),
            Past::Open(Leftover { stream, remainder, growth, .. }) => {
                session.window.add_growth(growth);
                session.remainder = remainder;
                session.receive = Some(stream);
            }
        }
        session
    }

    /// What the peer's stream holds.
    pub(crate) fn receive(&self) -> Option<&ReceiveStream> {
        self.receive.as_ref()
    }

    /// The window the peer has.
    pub(crate) fn window(&mut self) -> &mut Window {
        &mut self.window
    }

    /// Sets how many bytes of earlier streams of this peer wait for the application.
    pub(crate) fn charge(&mut self, bytes: u64) {
        self.charged = bytes;
    }

    /// Where the streams stand, for the responder's Accept. Read it when every older link is fenced.
    pub(crate) fn offer(&mut self) -> Offer {
        let known = match (&self.receive, self.finished) {
            (Some(stream), Some((id, consumed))) if stream.received() == 0 => PeerStream::Closed { id, consumed },
            (Some(_), _) => self.live(),
            (None, Some((id, consumed))) => PeerStream::Closed { id, consumed },
            (None, None) => PeerStream::None,
        };
        self.offer_knowing(known)
    }

    fn offer_knowing(&self, peer: PeerStream) -> Offer {
        Offer { stream: self.send.id(), next: self.send.next(), peer }
    }

    /// The receive stream as an offer states it, which is also news to the peer.
    fn live(&mut self) -> PeerStream {
        self.receive.as_ref().map_or(PeerStream::None, |stream| {
            self.told = stream.ack();
            PeerStream::Live { id: stream.id(), ack: self.told }
        })
    }

    /// The initiator's side of the exchange, on Accept. An error leaves both streams as they were: close the link and
    /// reset what we send.
    pub(crate) fn answer(&mut self, theirs: &Offer, terms: Terms) -> Result<Exchange, ProtocolError> {
        let receiving = match (&self.receive, self.finished) {
            (Some(stream), _) if stream.id() == theirs.stream => {
                // They have sent at least what we have.
                if theirs.next < stream.received() {
                    return Err(ProtocolError::BadOffer);
                }
                Receiving::Same
            }
            (_, Some((id, consumed))) if id == theirs.stream => {
                if theirs.next < consumed {
                    return Err(ProtocolError::BadOffer);
                }
                Receiving::New { id: successor(id), known: Some(PeerStream::Closed { id, consumed }) }
            }
            // The stream after the one that is over, of which nothing came.
            (None, Some((id, consumed))) if successor(id) == theirs.stream => {
                Receiving::New { id: theirs.stream, known: Some(PeerStream::Closed { id, consumed }) }
            }
            // They know our stream, hence this session, in which nothing of theirs has arrived yet.
            (None, None) if matches!(theirs.peer, PeerStream::Live { id, .. } if id == self.send.id()) => {
                Receiving::New { id: theirs.stream, known: None }
            }
            // The stream has only begun: it becomes ours as it is.
            _ if theirs.next == 0 => Receiving::New { id: theirs.stream, known: None },
            _ => Receiving::New { id: successor(theirs.stream), known: Some(PeerStream::None) },
        };
        let known = match receiving {
            Receiving::New { known, .. } => known,
            Receiving::Same => None,
        };
        // A responder that continues the stream we know and knows nothing of ours has not received a byte of ours yet.
        let nothing = Ack { granted: terms.credit, ..Ack::default() };
        let unheard = PeerStream::Live { id: self.send.id(), ack: nothing };
        let ours = match (&receiving, &theirs.peer) {
            (Receiving::Same, PeerStream::None) => &unheard,
            (_, peer) => peer,
        };
        let mut exchange = self.exchange(ours, terms, receiving)?;
        let known = known.unwrap_or_else(|| self.live());
        exchange.answer = Some(self.offer_knowing(known));
        Ok(exchange)
    }

    /// The responder's side of the exchange, on Resume, which answers our last [`offer`](Session::offer). An error
    /// leaves both streams as they were: close the link and reset what we send.
    pub(crate) fn conclude(&mut self, theirs: &Offer, terms: Terms) -> Result<Exchange, ProtocolError> {
        let receiving = match &self.receive {
            // We told them of the one before, so this one has its first credit from this link.
            Some(stream) if stream.received() == 0 && theirs.next == 0 && self.finished.is_some() => {
                Receiving::New { id: theirs.stream, known: None }
            }
            // They know how far we are, and start exactly there.
            Some(stream) if stream.id() == theirs.stream && stream.received() == theirs.next => Receiving::Same,
            Some(stream) if stream.id() == theirs.stream => return Err(ProtocolError::BadOffer),
            _ if theirs.next == 0 => Receiving::New { id: theirs.stream, known: None },
            _ => return Err(ProtocolError::BadOffer),
        };
        // An initiator that knows nothing of our stream expects its successor, whichever stream of its own it continues.
        self.exchange(&theirs.peer, terms, receiving)
    }

    /// Carries out what both sides agreed on. `ours` is the other side's knowledge of our stream.
    fn exchange(&mut self, ours: &PeerStream, terms: Terms, receiving: Receiving) -> Result<Exchange, ProtocolError> {
        let resumed = self.send.resume(ours, terms.credit)?;
        let (mut leftover, mut reserved) = (None, 0);
        if let Receiving::New { id, .. } = receiving {
            (leftover, reserved) = self.replace(ReceiveStream::new(id, terms.window, self.max_message));
        }
        Ok(Exchange { resumed, leftover, reserved, answer: None })
    }

    /// Makes `stream` the one we receive, and returns what is left of the one before and what it had reserved.
    fn replace(&mut self, stream: ReceiveStream) -> (Option<Leftover>, u64) {
        self.told = stream.ack();
        self.finished = self.finished.filter(|&(id, _)| successor(id) == stream.id());
        let remainder = core::mem::replace(&mut self.remainder, Remainder::Unneeded);
        self.yielded = None;
        let reserved = remainder.bytes();
        let Some(mut stream) = self.receive.replace(stream) else { return (None, reserved) };
        stream.end();
        if !stream.readable() {
            return (None, reserved);
        }
        let growth = self.window.take_growth();
        (Some(Leftover { stream, remainder, growth, manual: self.manual }), 0)
    }

    /// A chunk arrived. Call [`regrant`](Session::regrant) after it.
    pub(crate) fn data(&mut self, data: Data) -> Result<(), ProtocolError> {
        self.receive.as_mut().ok_or(ProtocolError::UnexpectedFrame)?.push(data)
    }

    /// Whether [`poll`](Session::poll) has something to say.
    #[inline]
    pub(crate) fn readable(&self) -> bool {
        self.receive.as_ref().is_some_and(ReceiveStream::readable)
    }

    /// Takes a message. Call [`regrant`](Session::regrant) after it. An error means that the peer broke the protocol.
    #[inline]
    pub(crate) fn poll(&mut self) -> Result<Option<(bytes::Bytes, Place)>, ProtocolError> {
        let Some(stream) = &mut self.receive else { return Ok(None) };
        let taken = stream.poll()?;
        if let (Some((_, place)), false) = (&taken, self.manual) {
            stream.consume(*place);
        }
        Ok(taken)
    }

    /// The application is done with a message that it took, and with all before it. Says whether that is news; then
    /// call [`regrant`](Session::regrant).
    pub(crate) fn consume(&mut self, place: Place) -> bool {
        self.receive.as_mut().is_some_and(|stream| stream.consume(place))
    }

    /// Grants what the window and the budget allow now, and says whose reservations became possible by it. Reserves
    /// nothing without a link: nobody could use it.
    #[inline]
    #[must_use]
    pub(crate) fn regrant(
        &mut self,
        now: Instant,
        peer: NodeId,
        linked: bool,
        budget: &mut Budget,
    ) -> Vec<Reservation> {
        let Some(stream) = &self.receive else { return Vec::new() };
        let mut served = Vec::new();
        if let Remainder::Reserved { bytes, until } = self.remainder
            && stream.consumed() >= until
        {
            self.remainder = Remainder::Unneeded;
            served = budget.release(bytes);
        }
        // A head that is not whole fits into the window once everything before it is consumed.
        let end = stream.front_known().unwrap_or(0);
        let beyond = end.saturating_sub(stream.consumed().saturating_add(self.window.size()));
        if let Remainder::Waiting { until } = self.remainder
            && (beyond == 0 || until != end)
        {
            // Where the application acknowledges, the window may move on while a message waits for memory beyond it.
            self.remainder = Remainder::Unneeded;
            served.extend(budget.cancel(peer));
        }
        if linked && beyond > 0 && self.remainder == Remainder::Unneeded {
            self.reserved_at = now;
            self.remainder = if budget.reserve(now, peer, beyond, self.yielded == Some(end)) {
                Remainder::Reserved { bytes: beyond, until: end }
            } else {
                Remainder::Waiting { until: end }
            };
        }
        self.grant();
        served
    }

    /// Raises the grant to what was consumed, the window, and as much of the reservation as the front message needs.
    #[inline]
    fn grant(&mut self) {
        let Some(stream) = &mut self.receive else { return };
        let base = stream.consumed().saturating_add(self.window.size().saturating_sub(self.charged));
        let with_remainder = base.saturating_add(self.remainder.bytes()).min(stream.front_end());
        stream.grant_to(with_remainder.max(base));
    }

    /// The budget served our wish: grants the remainder. Returns the bytes if nobody wants them any more; release
    /// them.
    #[must_use]
    pub(crate) fn reserved(&mut self, now: Instant, bytes: u64) -> u64 {
        let Remainder::Waiting { until } = self.remainder else { return bytes };
        self.remainder = Remainder::Reserved { bytes, until };
        self.reserved_at = now;
        self.grant();
        0
    }

    /// Whether the peer could send of a message for which memory is reserved: the caller watches that it does.
    pub(crate) fn owes_bytes(&self) -> bool {
        self.is_partial() && self.receive.as_ref().is_some_and(|stream| stream.received() < stream.granted())
    }

    /// Whether memory is reserved for a message that comes in too slowly for others who wait. Before `awake`, nobody
    /// saw what arrived.
    pub(crate) fn must_yield(&self, now: Instant, awake: Instant, budget: &Budget) -> bool {
        let arrived = self.receive.as_ref().map_or(0, ReceiveStream::buffered);
        self.owes_bytes() && budget.wants_back(now, self.reserved_at.max(awake), arrived)
    }

    /// Whether memory is reserved for a message, or wanted.
    pub(crate) fn has_reservation(&self) -> bool {
        self.remainder != Remainder::Unneeded
    }

    /// Whether memory is reserved for a message that is not complete.
    #[inline]
    pub(crate) fn is_partial(&self) -> bool {
        let Remainder::Reserved { until, .. } = self.remainder else { return false };
        self.receive.as_ref().is_some_and(|stream| stream.taken() < until && !stream.readable())
    }

    /// When the peer needs to hear of its stream.
    #[inline]
    pub(crate) fn due(&self) -> Due {
        self.receive
            .as_ref()
            .map_or(Due::Never, |stream| credit::due(&self.told, &stream.ack(), self.window.size(), stream.front_end()))
    }

    /// Whether bytes have arrived of which the peer was not told.
    pub(crate) fn has_progress(&self) -> bool {
        self.receive.as_ref().is_some_and(|stream| stream.received() > self.told.received)
    }

    /// The acknowledgement, if there is news; with `progress`, also if bytes have [arrived](Session::has_progress).
    pub(crate) fn ack(&mut self, progress: bool) -> Option<Ack> {
        if self.due() == Due::Never && !(progress && self.has_progress()) {
            return None;
        }
        self.told = self.receive.as_ref()?.ack();
        Some(self.told)
    }

    /// The link is gone and its unread bytes are dropped: takes back the credit that is not in use, and gives up a
    /// stream that the peer broke. With `yields`, also gives up the reservation of a message that is not complete, and
    /// what arrived by it: the peer has had its time. Says whose reservations became possible by it.
    #[must_use]
    pub(crate) fn fence(&mut self, peer: NodeId, yields: bool, budget: &mut Budget) -> Vec<Reservation> {
        let mut served = Vec::new();
        let broken = self.receive.as_ref().is_some_and(ReceiveStream::is_broken);
        if let Remainder::Waiting { .. } = self.remainder {
            self.remainder = Remainder::Unneeded;
            served = budget.cancel(peer);
        }
        if broken && let Some(stream) = self.receive.take() {
            self.finished = Some((stream.id(), stream.consumed()));
        }
        let gives_up = broken || yields && self.is_partial();
        if gives_up {
            if let Remainder::Reserved { until, .. } = self.remainder {
                self.yielded = Some(until);
            }
            served.extend(budget.release(core::mem::replace(&mut self.remainder, Remainder::Unneeded).bytes()));
        }
        let Some(stream) = &mut self.receive else {
            self.window.shrink(0, budget);
            return served;
        };
        let within_window = stream.consumed().saturating_add(self.window.size());
        if gives_up {
            stream.discard_from(within_window);
        }
        // What is reserved completes its message only together with the window it was reckoned with.
        let needed = match self.remainder {
            Remainder::Reserved { bytes, until } => {
                until.saturating_sub(stream.consumed()).max(stream.held()).saturating_sub(bytes)
            }
            Remainder::Unneeded | Remainder::Waiting { .. } => stream.held(),
        };
        self.window.shrink(needed, budget);
        stream.restate(stream.consumed().saturating_add(self.window.size().saturating_sub(self.charged)));
        served
    }

    /// Ends the session. Fence it first, yielding.
    pub(crate) fn end(mut self, budget: &mut Budget) -> Ending {
        let outcomes = self.send.end();
        let past = match (self.receive, self.finished) {
            (Some(stream), _) if !stream.is_drained() => {
                let (remainder, growth) = (self.remainder, self.window.take_growth());
                Past::Open(Leftover { stream, remainder, growth, manual: self.manual })
            }
            (Some(stream), Some((id, consumed))) if stream.received() == 0 => Past::Finished(id, consumed),
            (Some(stream), _) => Past::Finished(stream.id(), stream.consumed()),
            (None, Some((id, consumed))) => Past::Finished(id, consumed),
            (None, None) => Past::Unknown,
        };
        self.window.shrink(0, budget);
        Ending { outcomes, past }
    }
}

impl Remainder {
    fn bytes(self) -> u64 {
        match self {
            Remainder::Reserved { bytes, .. } => bytes,
            Remainder::Unneeded | Remainder::Waiting { .. } => 0,
        }
    }
}

/// Messages of a stream that is over or has no session now, complete and not yet taken.
#[derive(Clone, Debug)]
pub(crate) struct Leftover {
    /// The messages.
    pub(crate) stream: ReceiveStream,
    /// What its messages have beyond the window; not waiting, as nothing more arrives.
    remainder: Remainder,
    growth: u64,
    manual: bool,
}

impl Leftover {
    /// Takes a message, as [`Session::poll`] does. What follows a broken head can never be read.
    pub(crate) fn poll(&mut self) -> Option<(bytes::Bytes, Place)> {
        let taken = self.stream.poll().ok()??;
        // Nobody waits for the receipts of a stream that its sender has given up.
        if !self.manual || self.stream.has_ended() {
            self.stream.consume(taken.1);
        }
        Some(taken)
    }

    /// Bytes that no budget holds: they are to be [charged](Session::charge) to the next session's window.
    pub(crate) fn uncovered(&self) -> u64 {
        self.stream.held().saturating_sub(self.remainder.bytes()).saturating_sub(self.growth)
    }

    /// Drained, or dropped: gives back what the budget holds for it. If the run it came from may return, remember the
    /// stream's id and what was consumed.
    pub(crate) fn release(self, budget: &mut Budget) -> Vec<Reservation> {
        budget.shrink(self.growth);
        budget.release(self.remainder.bytes())
    }
}

/// What is left of a session.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// What became of the messages that we accepted.
    pub(crate) outcomes: Ended,
    /// What a later session of the same runs must know of the peer's stream.
    pub(crate) past: Past,
}

/// What is known of a peer's stream when a session begins.
#[derive(Clone, Debug)]
pub(crate) enum Past {
    /// Nothing.
    Unknown,
    /// It is over, and this much of it was consumed.
    Finished(StreamId, u64),
    /// Messages of it are not yet taken, so nobody can say yet where it ends. If the peer returns it goes on.
    Open(Leftover),
}

#[cfg(test)]
mod tests;
