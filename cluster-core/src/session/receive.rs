//! The receiving end of a stream: bytes that arrived and were not yet taken.

use bytes::Bytes;

use super::head::Head;
use super::rope::{Rope, SHARE};
use crate::mutant::mutant;
use crate::reason::ProtocolError;
use crate::wire::{Ack, Data, StreamId};

/// What arrived of a stream. Only the head of the front message is ever decoded before the application takes it, so
/// bytes cost what they are, however many messages they hold.
///
/// ```text
///   consumed ≤ taken ≤ received ≤ granted
/// ```
///
/// A message is taken when the application has it, and consumed when it counts as delivered: at once, or when the
/// application says so.
#[derive(Clone, Debug)]
pub(crate) struct ReceiveStream {
    id: StreamId,
    max_message: u64,
    bytes: Rope,
    front: Front,
    received: u64,
    taken: u64,
    taken_messages: u64,
    consumed: u64,
    consumed_messages: u64,
    granted: u64,
    ended: bool,
}

/// Which message was taken: the place in its stream where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    stream: StreamId,
    end: u64,
    number: u64,
}

/// The message at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    /// Its head has not arrived whole.
    Unknown,
    /// Its head.
    Known(Head),
    /// It breaks the protocol, which the application's next take will find out.
    Bad(ProtocolError),
    /// It breaks the protocol, and the caller was told.
    Told(ProtocolError),
}

impl ReceiveStream {
    /// An empty stream whose sender has credit for its first `window` bytes.
    pub(crate) fn new(id: StreamId, window: u64, max_message: u64) -> ReceiveStream {
        ReceiveStream {
            id,
            max_message,
            bytes: Rope::default(),
            front: Front::Unknown,
            received: 0,
            taken: 0,
            taken_messages: 0,
            consumed: 0,
            consumed_messages: 0,
            granted: window,
            ended: false,
        }
    }

    pub(crate) fn id(&self) -> StreamId {
        self.id
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }

    /// Bytes received and not yet taken.
    pub(crate) fn buffered(&self) -> u64 {
        self.bytes.len()
    }

    /// Bytes received and not yet consumed: what occupies the window.
    pub(crate) fn held(&self) -> u64 {
        self.received - self.consumed
    }

    /// Whether no complete message is left, and all that were taken are consumed.
    pub(crate) fn is_drained(&self) -> bool {
        !self.readable() && self.consumed == self.taken
    }

    /// Whether nothing more will arrive.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Where the stream stands.
    pub(crate) fn ack(&self) -> Ack {
        if let (Front::Known(head), true) = (self.front, mutant!(AckOnReceive) && self.readable()) {
            let (consumed, consumed_messages) = (self.taken + head.total(), self.taken_messages + 1);
            return Ack { received: self.received, consumed, consumed_messages, granted: self.granted };
        }
        Ack {
            received: self.received,
            consumed: self.consumed,
            consumed_messages: self.consumed_messages,
            granted: self.granted,
        }
    }

    /// Whether the sender broke the protocol: the stream cannot go on.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.front, Front::Bad(_) | Front::Told(_))
    }

    /// Appends a chunk. Costs the same however many messages it holds.
    pub(crate) fn push(&mut self, data: Data) -> Result<(), ProtocolError> {
        if let Front::Bad(error) | Front::Told(error) = self.front {
            return Err(error);
        }
        if self.ended || data.bytes.is_empty() {
            return Err(ProtocolError::UnexpectedFrame);
        }
        if data.offset != self.received {
            return Err(ProtocolError::WrongOffset);
        }
        let Some(end) = data.offset.checked_add(data.bytes.len() as u64).filter(|&end| end <= self.granted) else {
            return Err(ProtocolError::CreditExceeded);
        };
        if data.bytes.len() < SHARE {
            self.bytes.copy(&data.bytes);
        } else {
            self.bytes.share(data.bytes);
        }
        self.received = end;
        if self.front == Front::Unknown {
            self.look();
            if let Front::Bad(error) = self.front {
                self.front = Front::Told(error);
                return Err(error);
            }
        }
        debug_assert!(self.is_ordered(), "{self:?}");
        Ok(())
    }

    /// Returns whether the offsets are in the order that the type states, and the bytes are those between two of them.
    fn is_ordered(&self) -> bool {
        let offsets = [self.consumed, self.taken, self.received, self.granted];
        let held = self.received.checked_sub(self.taken) == Some(self.bytes.len());
        offsets.is_sorted() && self.consumed_messages <= self.taken_messages && (held || mutant!(ForgetPartial))
    }

    /// Decodes the head of the front message, if it is there.
    #[inline]
    fn look(&mut self) {
        self.front = match self.bytes.head(self.bytes.start()) {
            Ok(None) => Front::Unknown,
            Ok(Some(head)) if head.length <= self.max_message => Front::Known(head),
            Ok(Some(_)) => Front::Bad(ProtocolError::MessageTooLarge),
            Err(error) => Front::Bad(error),
        };
        if self.ended {
            self.drop_partial();
        }
    }

    /// Whether [`poll`](ReceiveStream::poll) has something to say: a message, or what is wrong with the next.
    #[inline]
    pub(crate) fn readable(&self) -> bool {
        match self.front {
            Front::Known(head) => head.total() <= self.bytes.len(),
            Front::Bad(_) => true,
            Front::Unknown | Front::Told(_) => false,
        }
    }

    /// Takes the front message, to be consumed by its place. What is wrong with a message is said only when all
    /// before it were taken, and once.
    #[inline]
    pub(crate) fn poll(&mut self) -> Result<Option<(Bytes, Place)>, ProtocolError> {
        match self.front {
            Front::Known(head) if head.total() <= self.bytes.len() => {
                let payload = self.bytes.take_message(head);
                self.taken += head.total();
                self.taken_messages += 1;
                self.look();
                debug_assert!(self.is_ordered(), "{self:?}");
                Ok(Some((payload, Place { stream: self.id, end: self.taken, number: self.taken_messages })))
            }
            Front::Bad(error) => {
                self.front = Front::Told(error);
                Err(error)
            }
            Front::Known(_) | Front::Unknown | Front::Told(_) => Ok(None),
        }
    }

    /// A message that was taken, and all before it, count as consumed. Says whether that is news.
    #[inline]
    pub(crate) fn consume(&mut self, place: Place) -> bool {
        let news = place.stream == self.id && place.end > self.consumed && place.end <= self.taken;
        if news {
            self.consumed = place.end;
            self.consumed_messages = place.number;
        }
        debug_assert!(self.is_ordered(), "{self:?}");
        news
    }

    /// Where the front message ends, if its head is here.
    pub(crate) fn front_known(&self) -> Option<u64> {
        match self.front {
            Front::Known(head) => Some(self.taken.saturating_add(head.total())),
            Front::Unknown | Front::Bad(_) | Front::Told(_) => None,
        }
    }

    /// The offset that must arrive before the front message can be taken, as far as what is here tells.
    pub(crate) fn front_end(&self) -> u64 {
        let length = match self.front {
            Front::Known(head) => head.total(),
            Front::Unknown => self.bytes.first().map_or(1, |first| Head::size_from(first) as u64),
            Front::Bad(_) | Front::Told(_) => 0,
        };
        self.taken.saturating_add(length)
    }

    /// How far beyond the credit the front message reaches.
    #[cfg(test)]
    pub(crate) fn front_shortfall(&self) -> u64 {
        self.front_end().saturating_sub(self.granted)
    }

    /// Raises the credit to `offset`; within a link it never falls.
    #[inline]
    pub(crate) fn grant_to(&mut self, offset: u64) {
        self.granted = self.granted.max(offset);
        debug_assert!(self.is_ordered(), "{self:?}");
    }

    /// Sets the credit for the next link: to `offset`, but not below what has arrived.
    pub(crate) fn restate(&mut self, offset: u64) {
        if mutant!(ForgetPartial) && !self.readable() {
            self.bytes.truncate(0);
            self.front = Front::Unknown;
        }
        self.granted = offset.max(self.received);
        debug_assert!(self.is_ordered(), "{self:?}");
    }

    /// Drops what arrived from `offset` on, to be sent again. Only between links: the sender learns of it by the next
    /// offer.
    pub(crate) fn discard_from(&mut self, offset: u64) {
        let offset = offset.max(self.taken);
        if offset < self.received {
            self.bytes.truncate(offset - self.taken);
            self.received = offset;
            self.granted = self.granted.min(offset);
            if !self.is_broken() {
                self.look();
            }
        }
        debug_assert!(self.is_ordered(), "{self:?}");
    }

    /// Nothing more will arrive. Complete messages can still be taken; the part of a last one is dropped, at once if
    /// it is the front message, else when its turn comes.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.drop_partial();
        debug_assert!(self.is_ordered(), "{self:?}");
    }

    fn drop_partial(&mut self) {
        self.front = match self.front {
            Front::Known(head) if head.total() <= self.bytes.len() => return,
            Front::Known(_) | Front::Unknown => Front::Unknown,
            // There is no link left to blame.
            Front::Bad(error) | Front::Told(error) => Front::Told(error),
        };
        self.bytes.truncate(0);
        self.received = self.taken;
    }

    /// A stream that has come as far as `offset`, to test the end of the range.
    #[cfg(test)]
    pub(crate) fn starting_at(offset: u64, granted: u64, max_message: u64) -> ReceiveStream {
        let mut stream = ReceiveStream::new(StreamId(1), granted, max_message);
        (stream.received, stream.taken, stream.consumed) = (offset, offset, offset);
        stream
    }

    #[cfg(test)]
    pub(crate) fn footprint(&self) -> usize {
        self.bytes.footprint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Takes and consumes the front message.
    fn take(stream: &mut ReceiveStream) -> Result<Option<Bytes>, ProtocolError> {
        Ok(stream.poll()?.map(|(payload, place)| {
            assert!(stream.consume(place));
            payload
        }))
    }

    fn stream(window: u64) -> ReceiveStream {
        ReceiveStream::new(StreamId(1), window, 1_000_000)
    }

    fn data(offset: u64, bytes: &[u8]) -> Data {
        Data { offset, bytes: Bytes::copy_from_slice(bytes) }
    }

    fn encode(lengths: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (i, &length) in lengths.iter().enumerate() {
            let head = Head::of(length as u64);
            bytes.extend_from_slice(&head.encode()[..head.size]);
            bytes.resize(bytes.len() + length, i as u8);
        }
        bytes
    }

    #[test]
    fn data_that_is_not_next_or_not_granted_is_refused_and_changes_nothing() {
        let cases = [
            (data(2, &[0; 1]), ProtocolError::WrongOffset),
            (data(4, &[0; 1]), ProtocolError::WrongOffset),
            (data(0, &[0; 1]), ProtocolError::WrongOffset),
            (data(u64::MAX, &[0; 2]), ProtocolError::WrongOffset),
            (data(3, &[0; 8]), ProtocolError::CreditExceeded),
            (data(3, &[]), ProtocolError::UnexpectedFrame),
        ];
        let mut stream = stream(10);
        stream.push(data(0, &[0x48, 1, 2])).unwrap();
        for (data, error) in cases {
            let ack = stream.ack();
            assert_eq!(stream.push(data.clone()), Err(error), "{data:?}");
            assert_eq!(stream.ack(), ack);
        }
        stream.push(data(3, &[0; 7])).unwrap();
        assert_eq!(take(&mut stream).unwrap().unwrap().len(), 8);
    }

    #[test]
    fn offsets_never_wrap() {
        let mut stream = ReceiveStream::starting_at(u64::MAX - 2, u64::MAX, 1_000);
        assert_eq!(stream.push(data(u64::MAX - 2, &[0x40; 3])), Err(ProtocolError::CreditExceeded));
        stream.push(data(u64::MAX - 2, &[0x40, 0x45])).unwrap();
        assert_eq!(take(&mut stream), Ok(Some(Bytes::new())));
        assert_eq!((stream.front_end(), stream.readable()), (u64::MAX, false));
        stream.grant_to(u64::MAX);
        assert_eq!(stream.push(data(u64::MAX, &[1])), Err(ProtocolError::CreditExceeded));
    }

    #[test]
    fn a_bad_message_is_found_when_it_is_next_and_those_before_it_are_delivered() {
        let cases: [(&[u8], ProtocolError); 4] = [
            (&[0x58, 3], ProtocolError::BadMessageHead),
            (&[0x5f], ProtocolError::BadMessageHead),
            (&[0x5a, 0, 15, 66, 65], ProtocolError::MessageTooLarge),
            (&[0x5b, 255, 255, 255, 255, 255, 255, 255, 255], ProtocolError::MessageTooLarge),
        ];
        for (bytes, error) in cases {
            assert_eq!(stream(100).push(data(0, bytes)), Err(error), "at the front it is found at once");

            let mut stream = stream(100);
            stream.push(data(0, &[&[0x41, 7], bytes].concat())).unwrap();
            assert_eq!(take(&mut stream), Ok(Some(Bytes::from_static(&[7]))));
            assert!(stream.readable(), "the error wants to be read");
            assert_eq!(take(&mut stream), Err(error));
            assert!(!stream.readable() && stream.is_broken());
            assert_eq!(take(&mut stream), Ok(None));
            assert_eq!(stream.push(data(stream.received(), &[0])), Err(error));
            assert_eq!((stream.consumed(), stream.ack().consumed_messages), (2, 1));
        }
    }

    #[test]
    fn the_shortfall_is_what_the_front_message_needs_beyond_the_credit() {
        let mut stream = stream(2);
        assert_eq!(stream.front_shortfall(), 0);
        let bytes = encode(&[300]);
        stream.push(data(0, &bytes[..1])).unwrap();
        assert_eq!(stream.front_shortfall(), 1, "the head has three bytes");
        stream.grant_to(3);
        stream.push(data(1, &bytes[1..3])).unwrap();
        assert_eq!(stream.front_shortfall(), 300);
        stream.grant_to(303);
        stream.grant_to(5);
        assert_eq!((stream.front_shortfall(), stream.granted()), (0, 303), "credit never falls within a link");
        stream.push(data(3, &bytes[3..100])).unwrap();
        stream.restate(50);
        assert_eq!(stream.granted(), 100, "what has arrived stays granted");
    }

    #[test]
    fn at_the_end_complete_messages_stay_and_a_part_is_dropped() {
        let bytes = encode(&[5, 5, 300]);
        for cut in 0..=bytes.len() {
            let mut stream = stream(1_000);
            if cut > 0 {
                stream.push(data(0, &bytes[..cut])).unwrap();
            }
            stream.end();
            let complete = [6, 12, 315].iter().filter(|&&end| cut >= end).count();
            assert_eq!(core::iter::from_fn(|| take(&mut stream).unwrap()).count(), complete, "{cut}");
            assert_eq!((stream.readable(), stream.buffered()), (false, 0), "{cut}");
            assert_eq!(stream.push(data(stream.received(), &[0])), Err(ProtocolError::UnexpectedFrame));
        }
    }

    #[test]
    fn what_is_discarded_between_links_can_arrive_again() {
        let bytes = encode(&[5, 300, 5]);
        for kept in 0..=bytes.len() {
            let mut stream = stream(1_000);
            stream.push(data(0, &bytes)).unwrap();
            assert_eq!(take(&mut stream).unwrap().unwrap().len(), 5);
            stream.discard_from(kept as u64);
            let received = kept.max(6);
            assert_eq!(stream.received(), received as u64);
            stream.restate(1_000);
            if received < bytes.len() {
                stream.push(data(received as u64, &bytes[received..])).unwrap();
            }
            assert_eq!(take(&mut stream).unwrap().unwrap(), [1; 300][..]);
            assert_eq!(take(&mut stream).unwrap().unwrap(), [2; 5][..]);
        }
    }

    #[test]
    fn a_flood_of_empty_messages_costs_what_its_bytes_say() {
        let mut stream = stream(u64::MAX);
        for i in 0..500_000 {
            stream.push(data(i * 2, &[0x40, 0x40])).unwrap();
        }
        assert!(stream.footprint() < 1_200_000, "{}", stream.footprint());
        for _ in 0..1_000_000 {
            assert_eq!(take(&mut stream), Ok(Some(Bytes::new())));
        }
        assert_eq!((take(&mut stream), stream.ack().consumed_messages), (Ok(None), 1_000_000));
        assert!(stream.footprint() < 4_096);
    }

    #[test]
    fn a_small_message_pins_nothing_and_a_large_one_is_not_copied_twice() {
        let bytes = Bytes::from(encode(&[100, 30_000]));
        let mut stream = stream(u64::MAX);
        stream.push(Data { offset: 0, bytes: bytes.clone() }).unwrap();
        let within = |part: &Bytes| bytes.as_ptr_range().contains(&part.as_ptr());
        assert!(!within(&take(&mut stream).unwrap().unwrap()));
        assert!(within(&take(&mut stream).unwrap().unwrap()));
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            lengths in prop::collection::vec(prop_oneof![0_usize..30, 200_usize..300, 60_000_usize..70_000], 0..20),
            cuts in prop::collection::vec(prop_oneof![1_usize..12, 5_000_usize..20_000, 65_000_usize..65_505], 1..20),
            eager: bool,
        ) {
            let bytes = encode(&lengths);
            let mut stream = stream(bytes.len() as u64);
            let (mut sent, mut taken) = (0, Vec::new());
            for cut in cuts.into_iter().cycle() {
                if sent == bytes.len() { break }
                let end = (sent + cut).min(bytes.len());
                stream.push(data(sent as u64, &bytes[sent..end])).unwrap();
                sent = end;
                while let Some(payload) = if eager { take(&mut stream).unwrap() } else { None } { taken.push(payload) }
            }
            while let Some(payload) = take(&mut stream).unwrap() { taken.push(payload) }
            prop_assert_eq!(taken.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
            prop_assert!(taken.iter().enumerate().all(|(i, payload)| payload.iter().all(|&byte| byte == i as u8)));
            prop_assert_eq!((stream.consumed(), stream.buffered()), (bytes.len() as u64, 0));
        }

        #[test]
        fn hostile_data_never_panics(
            steps in prop::collection::vec((any::<bool>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..30)), 0..40),
        ) {
            let mut stream = stream(500);
            for (next, offset, bytes) in steps {
                let offset = if next { stream.received() } else { offset };
                let _ = stream.push(data(offset, &bytes));
                while let Ok(Some(payload)) = take(&mut stream) { prop_assert!(payload.len() <= 500) }
                prop_assert!(stream.consumed() <= stream.received() && stream.received() <= stream.granted());
                prop_assert!(stream.buffered() == stream.received() - stream.consumed());
            }
            stream.end();
            while take(&mut stream).is_ok_and(|payload| payload.is_some()) {}
            prop_assert_eq!(stream.buffered(), 0);
        }
    }
}
