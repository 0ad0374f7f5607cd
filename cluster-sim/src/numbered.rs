//! Messages that carry who sent them to whom and in which place, so that the checks can tell loss, repetition,
//! reordering and misdelivery.

use bytes::{BufMut, Bytes, BytesMut};
use cluster_core::{Incarnation, NodeId, Run};

/// How every numbered message begins.
pub(crate) const MAGIC: &[u8; 8] = b"numbered";

/// The shortest numbered message.
pub(crate) const SHORTEST: usize = 8 + 24 + 24 + 8;

/// What a numbered message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) from: Run,
    pub(crate) to: Run,
    /// 1 for the first message of this pair of runs.
    pub(crate) number: u64,
}

impl Numbered {
    /// The message, filled up to `length` bytes.
    pub(crate) fn payload(&self, length: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(length.max(SHORTEST));
        bytes.put_slice(MAGIC);
        for run in [self.from, self.to] {
            bytes.put_slice(run.id.as_bytes());
            bytes.put_u64(run.incarnation.0);
        }
        bytes.put_u64(self.number);
        let fill = self.number as u8;
        bytes.resize(length.max(SHORTEST), fill);
        bytes.freeze()
    }

    /// Whether a message seems to be numbered.
    pub(crate) fn is_one(payload: &[u8]) -> bool {
        payload.starts_with(MAGIC)
    }

    /// What a message says of itself, if it is numbered.
    pub(crate) fn parse(payload: &[u8]) -> Option<Numbered> {
        let rest = payload.strip_prefix(MAGIC)?;
        let (from, rest) = run(rest)?;
        let (to, rest) = run(rest)?;
        let (number, rest) = rest.split_first_chunk()?;
        let number = u64::from_be_bytes(*number);
        // Every byte is looked at, without a branch for each.
        let damage = rest.iter().fold(0, |damage, &byte| damage | (byte ^ number as u8));
        (damage == 0).then_some(Numbered { from, to, number })
    }
}

fn run(bytes: &[u8]) -> Option<(Run, &[u8])> {
    let (id, rest) = bytes.split_first_chunk()?;
    let (incarnation, rest) = rest.split_first_chunk()?;
    let incarnation = Incarnation(u64::from_be_bytes(*incarnation));
    Some((Run { id: NodeId::from_bytes(*id), incarnation }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_message_can_be_read_back_and_damage_is_seen() {
        let run = |byte, number| Run { id: NodeId::from_bytes([byte; 16]), incarnation: Incarnation(number) };
        let numbered = Numbered { from: run(1, 10), to: run(2, 20), number: 300 };
        let payload = numbered.payload(100);
        assert_eq!((payload.len(), Numbered::parse(&payload)), (100, Some(numbered)));
        let mut damaged = payload.to_vec();
        damaged[99] ^= 1;
        assert_eq!(Numbered::parse(&damaged), None);
        assert_eq!(Numbered::parse(b"hello"), None);
    }
}
