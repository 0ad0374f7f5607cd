//! The stream that a node receives.

use cluster_core::wire::{Ack, StreamId};

use crate::boundaries::Boundaries;

/// The stream that a node receives: what has arrived of it, what its application has taken, and what it has granted.
///
/// ```text
///   consumed ≤ taken ≤ whole ≤ received
/// ```
#[derive(Clone, Debug)]
pub struct Incoming {
    id: StreamId,
    received: u64,
    taken: u64,
    taken_messages: u64,
    /// What counts as delivered: what was taken, and acknowledged where that is up to the application.
    consumed: u64,
    consumed_messages: u64,
    granted: u64,
    boundaries: Boundaries,
}

/// A message that was taken: which one it is on which stream, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The stream that carried it.
    pub stream: StreamId,
    /// Its number on the stream, from 0.
    pub index: u64,
    /// The offset behind it.
    pub end: u64,
}

impl Incoming {
    /// Returns a new stream to which this much is granted.
    #[must_use]
    pub fn new(id: StreamId, granted: u64) -> Incoming {
        let (taken_messages, consumed_messages) = (0, 0);
        let boundaries = Boundaries::default();
        Incoming { id, received: 0, taken: 0, taken_messages, consumed: 0, consumed_messages, granted, boundaries }
    }

    /// Returns a stream of which only what its receiver says of it is known. It ends behind a message.
    #[must_use]
    pub fn at(id: StreamId, ack: &Ack) -> Incoming {
        let Ack { received, consumed, consumed_messages, granted } = *ack;
        let (taken, taken_messages) = (consumed, consumed_messages);
        let boundaries = Boundaries::behind(received);
        Incoming { id, received, taken, taken_messages, consumed, consumed_messages, granted, boundaries }
    }

    /// Returns the name of the stream.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Returns the offset at which the next chunk begins.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Returns the offset behind the last message that was taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Returns the number of messages that were taken.
    #[must_use]
    pub fn taken_messages(&self) -> u64 {
        self.taken_messages
    }

    /// Returns the offset behind the last message that counts as delivered.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Returns the offset at which the credit of the sender ends.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Returns how many bytes of whole messages wait to be taken.
    #[must_use]
    pub fn untaken(&self) -> u64 {
        self.boundaries.whole().saturating_sub(self.taken)
    }

    /// Notes that the next chunk has arrived.
    pub fn arrives(&mut self, bytes: &[u8]) {
        self.boundaries.push(self.received, bytes);
        self.received += bytes.len() as u64;
    }

    /// Notes that the application takes a message, which takes this many bytes of stream. Returns `None` if it has not
    /// arrived.
    pub fn take(&mut self, bytes: u64) -> Option<Taken> {
        self.taken += bytes;
        self.taken_messages += 1;
        let taken = Taken { stream: self.id, index: self.taken_messages - 1, end: self.taken };
        (self.taken <= self.boundaries.whole()).then_some(taken)
    }

    /// Notes that a message counts as delivered. Messages of other streams change nothing.
    pub fn consume(&mut self, message: Taken) {
        if message.stream == self.id {
            self.consumed = message.end;
            self.consumed_messages = message.index + 1;
        }
    }

    /// Notes that the receiver acknowledges and grants.
    ///
    /// # Errors
    ///
    /// It says more than is true, or grants more than `window` bytes and what the front message needs.
    pub fn acks(&mut self, ack: &Ack, window: u64) -> Result<(), String> {
        let verdict = self.allows(ack, window);
        self.granted = self.granted.max(ack.granted);
        verdict
    }

    /// Notes that the stream continues over a new link, where the receiver has said this of it. It may have dropped a part
    /// of a message.
    ///
    /// # Errors
    ///
    /// As for [`acks`](Incoming::acks), or it has dropped a whole message.
    pub fn resumes(&mut self, ack: &Ack, window: u64) -> Result<(), String> {
        let verdict = self.allows(ack, window);
        if !self.boundaries.is_broken() && ack.received < self.boundaries.whole() {
            return Err(format!("it has lost whole messages beyond {}: {self:?}", ack.received));
        }
        self.received = self.received.min(ack.received);
        self.granted = ack.granted.max(self.received);
        self.boundaries.cut(self.received);
        verdict
    }

    /// Notes that the link is gone: no grant has a meaning any longer.
    pub fn fence(&mut self) {
        self.granted = self.received;
    }

    /// Notes that the session is over. If all whole messages are consumed, the stream ends before the part that is left.
    pub fn end(&mut self) {
        if self.boundaries.whole() <= self.consumed {
            self.received = self.consumed;
            self.boundaries.cut(self.received);
        }
        self.granted = self.received;
    }

    /// Whether an acknowledgement is true, and grants no more than it may.
    fn allows(&self, ack: &Ack, window: u64) -> Result<(), String> {
        if ack.consumed > self.consumed
            || ack.consumed_messages > self.consumed_messages
            || ack.received > self.received
        {
            return Err(format!("it acknowledges {ack:?}, and the stream is at {self:?}"));
        }
        let most = self.consumed.saturating_add(window).max(self.boundaries.needs()).max(self.received);
        if ack.granted > most {
            return Err(format!("it grants {ack:?}, and {most} is the most with the stream at {self:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: StreamId = StreamId(7);
    const WINDOW: u64 = 100;

    /// A stream on which messages of ten bytes each have come.
    fn stream(messages: usize) -> Incoming {
        let mut stream = Incoming::new(S, WINDOW);
        stream.arrives(&whole(messages));
        stream
    }

    fn whole(messages: usize) -> Vec<u8> {
        [0x49, 1, 2, 3, 4, 5, 6, 7, 8, 9].repeat(messages)
    }

    fn ack(received: u64, consumed: u64, granted: u64) -> Ack {
        Ack { received, consumed, consumed_messages: consumed / 10, granted }
    }

    fn take(stream: &mut Incoming) {
        let taken = stream.take(10).unwrap();
        stream.consume(taken);
    }

    #[test]
    fn acknowledgement_is_true_and_grants_no_more_than_the_window() {
        let mut stream = stream(3);
        take(&mut stream);
        stream.acks(&ack(30, 10, 110), WINDOW).unwrap();
        for wrong in [ack(31, 10, 110), ack(30, 20, 110), ack(30, 10, 111)] {
            stream.acks(&wrong, WINDOW).unwrap_err();
        }
    }

    #[test]
    fn front_message_may_be_granted_whole() {
        let mut stream = stream(0);
        stream.arrives(&[0x59, 1]);
        stream.acks(&ack(2, 0, 101), WINDOW).unwrap_err();
        stream.arrives(&[0]);
        stream.acks(&ack(3, 0, 259), WINDOW).unwrap();
        stream.acks(&ack(3, 0, 260), WINDOW).unwrap_err();
    }

    #[test]
    fn message_is_taken_when_whole_and_consumed_on_its_stream() {
        let mut stream = stream(1);
        stream.arrives(&whole(1)[..9]);
        let taken = stream.take(10).unwrap();
        assert_eq!(taken, Taken { stream: S, index: 0, end: 10 });
        stream.consume(Taken { stream: StreamId(8), ..taken });
        assert_eq!(stream.consumed(), 0);
        stream.consume(taken);
        assert_eq!((stream.consumed(), stream.untaken()), (10, 0));
        assert_eq!(stream.take(10), None);
    }

    #[test]
    fn receiver_may_drop_a_part_and_no_whole_message() {
        let mut stream = stream(1);
        stream.arrives(&[0x49, 1, 2]);
        stream.resumes(&ack(11, 0, 100), WINDOW).unwrap();
        stream.arrives(&whole(1)[1..]);
        assert_eq!(stream.untaken(), 20);
        stream.resumes(&ack(9, 0, 100), WINDOW).unwrap_err();
    }

    #[test]
    fn stream_ends_before_a_part_once_all_else_is_consumed() {
        for taken in [false, true] {
            let mut stream = stream(1);
            stream.arrives(&[0x49, 1]);
            if taken {
                take(&mut stream);
            }
            stream.end();
            assert_eq!((stream.received(), stream.granted()), if taken { (10, 10) } else { (12, 12) });
        }
    }
}
