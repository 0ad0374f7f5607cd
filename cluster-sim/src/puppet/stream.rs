//! The streams of a puppet: what a message looks like in one, and what has come of the other side's.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use cluster_check::Head;
use cluster_core::wire::{Ack, Data};

/// What has come of the other side's stream.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    bytes: VecDeque<u8>,
    pub(super) ack: Ack,
}

impl Inbound {
    /// Takes a chunk, and every message that is whole now.
    pub(super) fn take(&mut self, data: &Data, messages: &mut Vec<Bytes>) {
        self.bytes.extend(&data.bytes);
        self.ack.received = data.offset + data.bytes.len() as u64;
        while let Ok(Some(head)) = Head::read(self.bytes.iter().copied()) {
            if (self.bytes.len() as u64) < head.total() {
                break;
            }
            self.bytes.drain(..head.size());
            messages.push(self.bytes.drain(..head.length() as usize).collect());
            self.ack.consumed += head.total();
            self.ack.consumed_messages += 1;
        }
        self.ack.granted = self.ack.consumed + (16 << 20);
    }
}

/// A message as the stream carries it: a CBOR byte string.
pub(super) fn encode(payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(payload.len() + Head::MAX_SIZE);
    Head::of(payload.len() as u64).write(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_their_stream_in_pieces() {
        let lengths = [0, 1, 23, 24, 255, 256, 65_535, 65_536, 100_000];
        let stream: Vec<u8> = lengths.iter().flat_map(|length| encode(&vec![7; *length])).collect();
        let (mut inbound, mut messages) = (Inbound::default(), Vec::new());
        for piece in stream.chunks(10_000) {
            let data = Data { offset: inbound.ack.received, bytes: Bytes::copy_from_slice(piece) };
            inbound.take(&data, &mut messages);
        }
        assert_eq!(messages.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
        assert_eq!(inbound.ack.consumed, stream.len() as u64);
    }
}
