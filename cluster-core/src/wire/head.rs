//! The heads of CBOR items, in their shortest form. The only place that knows their bytes.

/// Major types of items.
pub(crate) const UINT: u8 = 0;
pub(crate) const NINT: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const TEXT: u8 = 3;
pub(crate) const ARRAY: u8 = 4;
pub(crate) const MAP: u8 = 5;
pub(crate) const SIMPLE: u8 = 7;

/// The longest head, in bytes: one byte and a 64-bit argument.
pub(crate) const MAX_HEAD: usize = 9;

/// Why bytes do not begin with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// The head goes on beyond the bytes given.
    Truncated,
    /// It is no head, or not one in its shortest form.
    Malformed,
}

/// The head of an item: its major type, its argument, and how many bytes the head takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) major: u8,
    pub(crate) argument: u64,
    pub(crate) size: usize,
}

impl Head {
    /// The head of an item of this type with this argument.
    #[inline]
    pub(crate) const fn new(major: u8, argument: u64) -> Head {
        let size = match argument {
            0..24 => 1,
            24..0x100 => 2,
            0x100..0x1_0000 => 3,
            0x1_0000..0x1_0000_0000 => 5,
            _ => 9,
        };
        Head { major, argument, size }
    }

    /// The bytes of the head: the first [`size`](Head::size) of the array.
    #[inline]
    pub(crate) fn encode(self) -> [u8; MAX_HEAD] {
        let mut bytes = [0; MAX_HEAD];
        let first = self.major << 5;
        let [.., b3, b2, b1, b0] = self.argument.to_be_bytes();
        match self.size {
            1 => bytes[0] = first | b0,
            2 => bytes[..2].copy_from_slice(&[first | 24, b0]),
            3 => bytes[..3].copy_from_slice(&[first | 25, b1, b0]),
            5 => bytes[..5].copy_from_slice(&[first | 26, b3, b2, b1, b0]),
            _ => {
                bytes[0] = first | 27;
                bytes[1..].copy_from_slice(&self.argument.to_be_bytes());
            }
        }
        bytes
    }

    /// Reads the head that `bytes` begin with.
    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> Result<Head, HeadError> {
        let (&first, rest) = bytes.split_first().ok_or(HeadError::Truncated)?;
        let major = first >> 5;
        let (argument, least) = match first & 0x1f {
            small @ 0..=23 => return Ok(Head { major, argument: u64::from(small), size: 1 }),
            24 => (rest.first().map(|&byte| u64::from(byte)), 24),
            25 => (rest.first_chunk().map(|&bytes| u64::from(u16::from_be_bytes(bytes))), 1 << 8),
            26 => (rest.first_chunk().map(|&bytes| u64::from(u32::from_be_bytes(bytes))), 1 << 16),
            27 => (rest.first_chunk().map(|&bytes| u64::from_be_bytes(bytes)), 1 << 32),
            _ => return Err(HeadError::Malformed),
        };
        let argument = argument.ok_or(HeadError::Truncated)?;
        // One encoding for each item, so that a sender can count its bytes.
        if argument < least { Err(HeadError::Malformed) } else { Ok(Head::new(major, argument)) }
    }

    /// How long the head is that starts with `first`.
    pub(crate) fn size_from(first: u8) -> usize {
        match first & 0x1f {
            24 => 2,
            25 => 3,
            26 => 5,
            27 => 9,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_head_survives_its_bytes(major in 0_u8..8, shift in 0_u32..64, argument: u64) {
            let head = Head::new(major, argument >> shift);
            let bytes = head.encode();
            prop_assert_eq!(Head::decode(&bytes[..head.size]), Ok(head));
            prop_assert_eq!(Head::decode(&bytes[..head.size - 1]), Err(HeadError::Truncated));
            prop_assert_eq!(Head::size_from(bytes[0]), head.size);
        }
    }
}
