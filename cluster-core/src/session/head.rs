//! The head of a message in a stream: that of a definite CBOR byte string in its shortest form.

use crate::reason::ProtocolError;
pub(crate) use crate::wire::head::MAX_HEAD;
use crate::wire::head::{self, BYTES, HeadError};

/// A decoded head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the head itself: 1 to [`MAX_HEAD`].
    pub(crate) size: usize,
    /// Bytes of the message that follows it.
    pub(crate) length: u64,
}

impl Head {
    /// The head of a message of `length` bytes.
    #[inline]
    pub(crate) const fn of(length: u64) -> Head {
        Head { size: head::Head::new(BYTES, length).size, length }
    }

    /// Bytes of head and message together. Saturates, so that a length which no stream can hold is never reached.
    #[inline]
    pub(crate) const fn total(self) -> u64 {
        self.length.saturating_add(self.size as u64)
    }

    /// The bytes of the head: the first [`size`](Head::size) of the array.
    #[inline]
    pub(crate) fn encode(self) -> [u8; MAX_HEAD] {
        head::Head::new(BYTES, self.length).encode()
    }

    /// Reads the head at the start of `bytes`; `None` if they end inside it.
    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Head>, ProtocolError> {
        // A byte that starts no byte string is wrong whatever follows.
        if bytes.first().is_some_and(|first| first >> 5 != BYTES) {
            return Err(ProtocolError::BadMessageHead);
        }
        match head::Head::decode(bytes) {
            Ok(head::Head { argument, size, .. }) => Ok(Some(Head { size, length: argument })),
            Err(HeadError::Truncated) => Ok(None),
            Err(HeadError::Malformed) => Err(ProtocolError::BadMessageHead),
        }
    }

    /// How long the head that starts with `first` is; 1 for a byte that starts none.
    pub(crate) fn size_from(first: u8) -> usize {
        if first >> 5 == BYTES { head::Head::size_from(first) } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_length_has_one_head() {
        let cases: [(u64, &[u8]); 10] = [
            (0, &[0x40]),
            (23, &[0x57]),
            (24, &[0x58, 24]),
            (255, &[0x58, 255]),
            (256, &[0x59, 1, 0]),
            (65_535, &[0x59, 255, 255]),
            (65_536, &[0x5a, 0, 1, 0, 0]),
            (0xffff_ffff, &[0x5a, 255, 255, 255, 255]),
            (0x1_0000_0000, &[0x5b, 0, 0, 0, 1, 0, 0, 0, 0]),
            (u64::MAX, &[0x5b, 255, 255, 255, 255, 255, 255, 255, 255]),
        ];
        for (length, bytes) in cases {
            let head = Head::of(length);
            assert_eq!(&head.encode()[..head.size], bytes, "{length}");
            assert_eq!(Head::decode(bytes), Ok(Some(head)));
            assert_eq!(Head::size_from(bytes[0]), head.size);
            for cut in 0..bytes.len() {
                assert_eq!(Head::decode(&bytes[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn a_head_that_is_not_the_shortest_or_no_definite_byte_string_is_refused() {
        let cases: [&[u8]; 12] = [
            &[0x58, 23],
            &[0x59, 0, 255],
            &[0x5a, 0, 0, 255, 255],
            &[0x5b, 0, 0, 0, 0, 255, 255, 255, 255],
            &[0x5c],
            &[0x5d],
            &[0x5e],
            &[0x5f],
            &[0x00],
            &[0x3f],
            &[0x60],
            &[0xff],
        ];
        for bytes in cases {
            assert_eq!(Head::decode(bytes), Err(ProtocolError::BadMessageHead), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn a_head_reads_back_as_written(length: u64, shift in 0_u32..64) {
            let head = Head::of(length >> shift);
            prop_assert_eq!(Head::decode(&head.encode()[..head.size]), Ok(Some(head)));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(Some(head)) = Head::decode(&bytes) {
                prop_assert_eq!(&head.encode()[..head.size], &bytes[..head.size]);
            }
        }
    }
}
