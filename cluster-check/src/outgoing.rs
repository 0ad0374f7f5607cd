//! The stream that a node sends.

use cluster_core::wire::{Ack, PeerStream, StreamId};

/// The stream that a node sends, as far as it can be seen on a link: each chunk begins where the one before ended, and
/// ends within the credit that the receiver has granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    id: StreamId,
    sent: u64,
    granted: u64,
}

/// How a stream that a node sends continues over a new link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// From where the receiver is.
    Continued(Ack),
    /// From its beginning: the receiver has seen no byte of it.
    Again,
    /// As the next stream, because the receiver has ended this one after it consumed this many bytes. No message is in
    /// doubt.
    CarriedOver(u64),
    /// As the next stream, because the receiver knows nothing of this one. The messages that were handed out are in doubt.
    Lost,
}

impl Outgoing {
    /// Returns a new stream with this credit.
    #[must_use]
    pub fn new(id: StreamId, granted: u64) -> Outgoing {
        Outgoing { id, sent: 0, granted }
    }

    /// Returns the name of the stream.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Returns the offset at which the next chunk begins.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns the offset at which the credit ends.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Notes that the node sends a chunk.
    ///
    /// # Errors
    ///
    /// The chunk is out of place, or beyond the credit.
    pub fn sends(&mut self, offset: u64, length: u64) -> Result<(), String> {
        if offset != self.sent {
            return Err(format!("data at {offset}, and {} is next", self.sent));
        }
        self.sent = self.sent.saturating_add(length);
        if self.sent > self.granted {
            return Err(format!("data up to {}, and {} is granted", self.sent, self.granted));
        }
        Ok(())
    }

    /// Notes an acknowledgement of the receiver. Credit never falls on a link.
    pub fn acked(&mut self, ack: &Ack) {
        self.granted = self.granted.max(ack.granted);
    }

    /// Decides how the stream continues over a new link and moves it there. The receiver knows `known` of it, and grants
    /// `credit` to a stream that begins. With `unheard` a receiver that knows nothing of the stream is one that no byte
    /// of it has reached.
    pub fn resume(&mut self, known: &PeerStream, unheard: bool, credit: u64) -> Resumption {
        match *known {
            PeerStream::None if unheard => self.again(credit),
            PeerStream::Live { id, ack } if id == self.id => {
                (self.sent, self.granted) = (ack.received, ack.granted);
                Resumption::Continued(ack)
            }
            PeerStream::Closed { id, consumed } if id == self.id => {
                *self = Outgoing::new(successor(id), credit);
                Resumption::CarriedOver(consumed)
            }
            // The receiver has ended the stream before this one.
            PeerStream::Closed { id, .. } if successor(id) == self.id => self.again(credit),
            _ if self.sent == 0 => self.again(credit),
            PeerStream::None | PeerStream::Live { .. } | PeerStream::Closed { .. } => {
                *self = Outgoing::new(successor(self.id), credit);
                Resumption::Lost
            }
        }
    }

    fn again(&mut self, credit: u64) -> Resumption {
        *self = Outgoing::new(self.id, credit);
        Resumption::Again
    }
}

/// Returns the name of the stream that follows another.
#[must_use]
pub fn successor(id: StreamId) -> StreamId {
    StreamId(id.0.wrapping_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: StreamId = StreamId(7);

    fn stream() -> Outgoing {
        let mut stream = Outgoing::new(S, 15);
        stream.sends(0, 10).unwrap();
        stream
    }

    #[test]
    fn chunks_follow_each_other_within_the_credit() {
        stream().sends(10, 5).unwrap();
        stream().sends(11, 1).unwrap_err();
        stream().sends(9, 1).unwrap_err();
        stream().sends(10, 6).unwrap_err();
        let mut stream = stream();
        stream.acked(&Ack { granted: 20, ..Ack::default() });
        stream.acked(&Ack { granted: 12, ..Ack::default() });
        stream.sends(10, 10).unwrap();
    }

    #[test]
    fn offer_of_the_receiver_decides_how_the_stream_goes_on() {
        let ack = Ack { received: 8, consumed: 4, consumed_messages: 1, granted: 30 };
        let before = StreamId(6);
        for (known, unheard, how, id, sent, granted) in [
            (PeerStream::Live { id: S, ack }, false, Resumption::Continued(ack), S, 8, 30),
            (PeerStream::Closed { id: S, consumed: 4 }, false, Resumption::CarriedOver(4), successor(S), 0, 99),
            (PeerStream::Closed { id: before, consumed: 4 }, false, Resumption::Again, S, 0, 99),
            (PeerStream::None, true, Resumption::Again, S, 0, 99),
            (PeerStream::None, false, Resumption::Lost, successor(S), 0, 99),
            (PeerStream::Live { id: before, ack }, true, Resumption::Lost, successor(S), 0, 99),
        ] {
            let mut stream = stream();
            assert_eq!(stream.resume(&known, unheard, 99), how, "{known:?}");
            assert_eq!((stream.id(), stream.sent(), stream.granted()), (id, sent, granted), "{known:?}");
        }
    }

    #[test]
    fn stream_of_which_nothing_was_sent_is_never_lost() {
        let mut stream = Outgoing::new(S, 15);
        assert_eq!(stream.resume(&PeerStream::None, false, 99), Resumption::Again);
        assert_eq!((stream.id(), stream.granted()), (S, 99));
    }
}
