//! The sending end of a stream: the log of what was accepted and not yet consumed.

use alloc::vec::Vec;

use bytes::Bytes;

use super::head::Head;
use super::rope::{Cursor, Rope};
use super::successor;
use crate::limits::MAX_CHUNK;
use crate::mutant::mutant;
use crate::reason::ProtocolError;
use crate::wire::{Ack, Data, PeerStream, StreamId};

/// From this payload length on a message is a segment of its own, uncopied.
const OWN_SEGMENT: usize = 32 * 1_024;

/// The sender's log. It holds the encoded stream from `consumed` on, as the only copy: what goes out are slices of it,
/// acknowledgement trims it, a resume slices it again, and undelivered payloads are read back from it.
///
/// ```text
///   consumed ≤ received ≤ sent ≤ accepted        sent ≤ granted
/// ```
#[derive(Clone, Debug)]
pub(crate) struct SendStream {
    id: StreamId,
    log: Rope,
    /// Where the next chunk starts. Falls back to `received` when a link is lost, because the other side then drops
    /// what it has not read; so no byte from here on is with the other side.
    sent: u64,
    at_sent: Cursor,
    received: u64,
    consumed: u64,
    consumed_messages: u64,
    granted: u64,
    /// Messages accepted, and those of them whose outcome is known, over all streams of the session.
    accepted_messages: u64,
    settled_messages: u64,
}

/// What an acknowledgement changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Messages that it newly says were taken.
    pub(crate) messages: u64,
    /// Bytes that they and their heads had in the log.
    pub(crate) freed: u64,
    /// Whether the credit rose.
    pub(crate) more_credit: bool,
    /// Whether it said anything new.
    pub(crate) advanced: bool,
    /// Whether that is of use: bytes have arrived or were taken, or credit came that something waited for.
    pub(crate) needed: bool,
}

/// How a stream goes on over a new link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// Where it stopped.
    Continued(Acked),
    /// As the next stream, because the other side had ended this one; nothing is lost and nobody needs to be told.
    CarriedOver(Acked),
    /// As the next stream, because the other side knows nothing of this one.
    Reset {
        /// The payloads of which a byte was handed out, oldest first.
        in_doubt: Vec<Bytes>,
    },
}

/// The messages of a stream that is over, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// No byte of them was handed out.
    pub(crate) not_delivered: Vec<Bytes>,
    /// A byte of them, or all, was handed out.
    pub(crate) in_doubt: Vec<Bytes>,
}

impl SendStream {
    /// An empty stream with credit for its first `granted` bytes.
    pub(crate) fn new(id: StreamId, granted: u64) -> SendStream {
        SendStream {
            id,
            log: Rope::default(),
            sent: 0,
            at_sent: Cursor::default(),
            received: 0,
            consumed: 0,
            consumed_messages: 0,
            granted,
            accepted_messages: 0,
            settled_messages: 0,
        }
    }

    pub(crate) fn id(&self) -> StreamId {
        self.id
    }

    /// The offset of the next byte to go out.
    pub(crate) fn next(&self) -> u64 {
        self.sent
    }

    /// Bytes accepted and not yet consumed.
    #[inline]
    pub(crate) fn retained(&self) -> u64 {
        self.log.len()
    }

    /// Messages accepted so far, over all streams of the session.
    pub(crate) fn accepted_messages(&self) -> u64 {
        self.accepted_messages
    }

    /// Messages whose outcome is known, of those accepted and in their order: all before this count are settled.
    pub(crate) fn settled_messages(&self) -> u64 {
        self.settled_messages
    }

    /// Messages accepted whose outcome is open.
    #[cfg(test)]
    pub(crate) fn pending_messages(&self) -> u64 {
        self.accepted_messages - self.settled_messages
    }

    /// Whether there is output that the credit allows.
    #[inline]
    pub(crate) fn unsent(&self) -> bool {
        self.sent < self.accepted() && self.sent < self.credit_end()
    }

    /// The offset that the credit ends at.
    #[inline]
    fn credit_end(&self) -> u64 {
        self.granted.saturating_add(u64::from(mutant!(WindowOffByOne)))
    }

    /// The offset behind the last message.
    fn accepted(&self) -> u64 {
        self.consumed.saturating_add(self.log.len())
    }

    /// Whether a message of `length` bytes may be pushed, while `unread` bytes of earlier ones take room as well. With
    /// nothing in the window any is, so that no legal message is too long for a small one.
    #[inline]
    pub(crate) fn fits(&self, length: usize, send_window: u64, unread: u64) -> bool {
        let total = Head::of(length as u64).total();
        let used = self.retained().saturating_add(unread);
        let within = used.saturating_add(total) <= send_window || used == 0;
        // An offset must never wrap. No stream lives to see it.
        within && self.accepted().checked_add(total).is_some()
    }

    /// Accepts a message. Ask [`fits`](SendStream::fits) first.
    #[inline]
    pub(crate) fn push(&mut self, payload: &Bytes) {
        let head = Head::of(payload.len() as u64);
        self.log.copy(&head.encode()[..head.size]);
        if payload.len() < OWN_SEGMENT {
            self.log.copy(payload);
        } else {
            self.log.share(payload.clone());
        }
        self.accepted_messages += 1;
        debug_assert!(self.is_ordered(), "{self:?}");
    }

    /// The next chunk within the credit, of at most `max` bytes.
    pub(crate) fn pull(&mut self, max: usize) -> Option<Data> {
        let credit = usize::try_from(self.credit_end().saturating_sub(self.sent)).unwrap_or(usize::MAX);
        let bytes = self.log.chunk(&mut self.at_sent, max.min(MAX_CHUNK).min(credit));
        if bytes.is_empty() {
            return None;
        }
        let offset = self.sent;
        self.sent += bytes.len() as u64;
        debug_assert!(self.is_ordered(), "{self:?}");
        Some(Data { offset, bytes })
    }

    /// Returns whether the offsets are in the order that the type states, and no message has two outcomes.
    fn is_ordered(&self) -> bool {
        debug_assert!(self.settled_messages <= self.accepted_messages, "{self:?}");
        let order = [self.consumed, self.received, self.sent, self.accepted()];
        mutant!(TrimAtReceived) || order.is_sorted() && self.sent <= self.credit_end().max(self.received)
    }

    /// Takes note of an acknowledgement. An error leaves the stream as it was.
    pub(crate) fn ack(&mut self, ack: &Ack) -> Result<Acked, ProtocolError> {
        if ack.received < self.received || ack.granted < self.granted {
            return Err(ProtocolError::BadAck);
        }
        self.check(ack).ok_or(ProtocolError::BadAck)?;
        let acked = self.apply(ack);
        debug_assert!(self.is_ordered(), "{self:?}");
        Ok(acked)
    }

    /// Whether the other side can be where `ack` says. `received` may be lower than it was: at the end of a link the
    /// other side may drop what it cannot keep, and that is still here.
    fn check(&self, ack: &Ack) -> Option<()> {
        if ack.consumed > ack.received || ack.received > self.sent || ack.received > ack.granted {
            return None;
        }
        let messages = self.messages_below(ack.consumed)?;
        (self.consumed_messages.checked_add(messages)? == ack.consumed_messages).then_some(())
    }

    /// How many retained messages end at or below `offset`; `None` if it is not the end of a message.
    fn messages_below(&self, offset: u64) -> Option<u64> {
        if offset > self.sent {
            return None;
        }
        let mut rest = offset.checked_sub(self.consumed)?;
        let mut at = self.log.start();
        let mut messages = 0;
        while rest > 0 {
            let total = self.log.head(at).ok()??.total();
            rest = rest.checked_sub(total)?;
            at = self.log.skip(at, total);
            messages += 1;
        }
        Some(messages)
    }

    fn apply(&mut self, ack: &Ack) -> Acked {
        let ack = &if mutant!(TrimAtReceived) { self.taken_for_consumed(ack) } else { *ack };
        let moved = ack.received > self.received || ack.consumed > self.consumed;
        let starved = self.sent < self.accepted() && self.sent >= self.granted;
        let acked = Acked {
            messages: ack.consumed_messages - self.consumed_messages,
            freed: ack.consumed - self.consumed,
            more_credit: ack.granted > self.granted,
            advanced: moved || ack.granted > self.granted,
            needed: moved || starved && ack.granted > self.granted,
        };
        let dropped = self.log.advance(acked.freed);
        self.at_sent = self.at_sent.after_drop(dropped, &self.log);
        self.received = ack.received;
        self.consumed = ack.consumed;
        self.consumed_messages = ack.consumed_messages;
        self.granted = if mutant!(CreditAsDelta) { self.granted.saturating_add(ack.granted) } else { ack.granted };
        self.settled_messages += acked.messages;
        acked
    }

    /// As if every message that has arrived whole were consumed: a bug on purpose.
    fn taken_for_consumed(&self, ack: &Ack) -> Ack {
        let mut ack = *ack;
        let mut at = self.log.skip(self.log.start(), ack.consumed - self.consumed);
        while let Ok(Some(head)) = self.log.head(at)
            && ack.consumed + head.total() <= ack.received
        {
            at = self.log.skip(at, head.total());
            ack.consumed += head.total();
            ack.consumed_messages += 1;
        }
        ack
    }

    /// Goes on over a new link, where the other side knows `theirs` of this stream and a new stream starts with the
    /// credit `granted`. An error leaves the stream as it was; the link is to be closed, and the stream
    /// [`reset`](SendStream::reset).
    pub(crate) fn resume(&mut self, theirs: &PeerStream, granted: u64) -> Result<Resumed, ProtocolError> {
        match *theirs {
            PeerStream::Live { id, ack } if id == self.id => {
                self.check(&ack).ok_or(ProtocolError::BadOffer)?;
                let acked = self.apply(&ack);
                self.rewind(ack.received);
                Ok(Resumed::Continued(acked))
            }
            PeerStream::Closed { id, consumed } if id == self.id => {
                let messages = self.messages_below(consumed).ok_or(ProtocolError::BadOffer)?;
                let consumed_messages = self.consumed_messages.saturating_add(messages);
                let acked = self.apply(&Ack { received: consumed, consumed, consumed_messages, granted: self.granted });
                self.start_over(granted);
                Ok(Resumed::CarriedOver(acked))
            }
            // The other side has ended the stream before this one and has seen no byte of this one: what it said when
            // this one began did not get here, or what we answered did not get there.
            PeerStream::Closed { id, .. } if successor(id) == self.id => {
                if self.consumed > 0 || self.received > 0 {
                    return Err(ProtocolError::BadOffer);
                }
                self.granted = granted;
                self.rewind(0);
                Ok(Resumed::Continued(Acked::default()))
            }
            PeerStream::None | PeerStream::Live { .. } | PeerStream::Closed { .. } if self.sent == 0 => {
                self.granted = granted;
                Ok(Resumed::Continued(Acked::default()))
            }
            PeerStream::None | PeerStream::Live { .. } | PeerStream::Closed { .. } => {
                Ok(Resumed::Reset { in_doubt: self.reset(granted) })
            }
        }
    }

    /// Sends from `offset` on once more.
    fn rewind(&mut self, offset: u64) {
        self.sent = offset;
        self.received = offset;
        self.at_sent = self.log.skip(self.log.start(), offset.saturating_sub(self.consumed));
        debug_assert!(self.consumed <= self.sent && self.sent <= self.accepted(), "{self:?}");
    }

    /// Gives the stream up. Messages of which a byte was handed out come back; the others go on in the next stream.
    pub(crate) fn reset(&mut self, granted: u64) -> Vec<Bytes> {
        let in_doubt = self.take_below(self.sent);
        self.start_over(granted);
        in_doubt
    }

    /// Makes what the log still holds the content of the next stream.
    fn start_over(&mut self, granted: u64) {
        self.id = successor(self.id);
        self.consumed = 0;
        self.consumed_messages = 0;
        self.granted = granted;
        self.rewind(0);
    }

    /// Takes the messages that start below `offset` out of the log.
    fn take_below(&mut self, offset: u64) -> Vec<Bytes> {
        let mut payloads = Vec::new();
        while self.consumed < offset
            && let Ok(Some(head)) = self.log.head(self.log.start())
        {
            payloads.push(self.log.take_message(head));
            self.consumed = self.consumed.saturating_add(head.total());
        }
        self.settled_messages += payloads.len() as u64;
        debug_assert!(self.settled_messages <= self.accepted_messages, "{self:?}");
        payloads
    }

    /// Ends the session: every message without an outcome gets one.
    pub(crate) fn end(mut self) -> Ended {
        let in_doubt = self.take_below(self.sent);
        let not_delivered = self.take_below(u64::MAX);
        Ended { not_delivered, in_doubt }
    }

    /// A stream that has come as far as `offset`, to test the end of the range.
    #[cfg(test)]
    pub(crate) fn starting_at(offset: u64, granted: u64) -> SendStream {
        let mut stream = SendStream::new(StreamId(1), granted);
        (stream.sent, stream.received, stream.consumed) = (offset, offset, offset);
        stream
    }
}

#[cfg(test)]
mod tests;
