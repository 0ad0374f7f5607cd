//! The streams of a puppet: what a message looks like in one, and what has come of the other side's.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
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
        while let Some((head, length)) = decode(&self.bytes) {
            if self.bytes.len() < head + length {
                break;
            }
            self.bytes.drain(..head);
            messages.push(self.bytes.drain(..length).collect());
            self.ack.consumed += (head + length) as u64;
            self.ack.consumed_messages += 1;
        }
        self.ack.granted = self.ack.consumed + (16 << 20);
    }
}

/// A message as the stream carries it: a CBOR byte string.
pub(super) fn encode(payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(payload.len() + 9);
    match payload.len() as u64 {
        length @ 0..24 => bytes.put_u8(0x40 | length as u8),
        length @ 24..0x100 => bytes.put_slice(&[0x58, length as u8]),
        length @ 0x100..0x1_0000 => {
            bytes.put_u8(0x59);
            bytes.put_u16(length as u16);
        }
        length => {
            bytes.put_u8(0x5a);
            bytes.put_u32(length as u32);
        }
    }
    bytes.put_slice(payload);
    bytes.freeze()
}

/// The length of the head of the first message, and of the message, if the head is whole.
fn decode(bytes: &VecDeque<u8>) -> Option<(usize, usize)> {
    let size = match bytes.front()? & 0x1f {
        direct @ 0..24 => return Some((1, usize::from(direct))),
        24 => 1,
        25 => 2,
        26 => 4,
        _ => 8,
    };
    if bytes.len() < 1 + size {
        return None;
    }
    let length = bytes.range(1..=size).fold(0, |length, &byte| length << 8 | usize::from(byte));
    Some((1 + size, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_its_head_whatever_its_length() {
        for length in [0, 1, 23, 24, 255, 256, 65_535, 65_536, 100_000] {
            let encoded: VecDeque<u8> = encode(&vec![7; length]).to_vec().into();
            assert_eq!(decode(&encoded).map(|(head, length)| (head + length, length)), Some((encoded.len(), length)));
        }
    }
}
