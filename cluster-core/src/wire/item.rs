//! CBOR heads, and the walk over one item that checks its form before anything is built from it.
//!
//! The walk has no recursion and allocates nothing, so what it lets through is bounded in size and in depth, and the
//! laxness of the decoder behind it (tags skipped, indefinite lengths, text that is not UTF-8) cannot be reached.

use crate::limits::MAX_NESTING;

pub(super) const UINT: u8 = 0;
const NINT: u8 = 1;
pub(super) const BYTES: u8 = 2;
const TEXT: u8 = 3;
pub(super) const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;

/// The longest head of an item, in bytes.
pub(super) const MAX_HEAD: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemError {
    /// The item goes on beyond the bytes given.
    Truncated,
    Malformed,
    TooDeep,
}

/// The head of an item: its major type, its argument, and how many bytes the head takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) major: u8,
    pub(super) argument: u64,
    pub(super) size: usize,
}

/// Reads a head, in its shortest form only.
pub(super) fn head(bytes: &[u8]) -> Result<Head, ItemError> {
    let (&first, rest) = bytes.split_first().ok_or(ItemError::Truncated)?;
    let (width, least) = match first & 0x1f {
        small @ 0..=23 => return Ok(Head { major: first >> 5, argument: u64::from(small), size: 1 }),
        24 => (1, 24),
        25 => (2, 1 << 8),
        26 => (4, 1 << 16),
        27 => (8, 1 << 32),
        _ => return Err(ItemError::Malformed),
    };
    let digits = rest.get(..width).ok_or(ItemError::Truncated)?;
    let argument = digits.iter().fold(0, |value, &digit| value << 8 | u64::from(digit));
    if argument < least {
        return Err(ItemError::Malformed);
    }
    Ok(Head { major: first >> 5, argument, size: 1 + width })
}

/// Writes a head in its shortest form; returns how many bytes of `out` it took.
pub(super) fn write_head(major: u8, argument: u64, out: &mut [u8; MAX_HEAD]) -> usize {
    let digits = argument.to_be_bytes();
    let (minor, width) = match argument {
        0..=23 => (digits[7], 0),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    out[0] = major << 5 | minor;
    out[1..=width].copy_from_slice(&digits[8 - width..]);
    1 + width
}

/// Where the item that `bytes` begins with ends.
///
/// It may be made of integers from -2^63 to 2^64 - 1, byte strings, UTF-8 text, arrays, maps, false, true and null,
/// all with definite lengths in their shortest form, nested at most `MAX_NESTING` deep.
pub(super) fn end(bytes: &[u8]) -> Result<usize, ItemError> {
    let mut missing = [0_u64; MAX_NESTING];
    let mut depth = 0;
    let mut at = 0;
    loop {
        let head = head(&bytes[at..])?;
        at += head.size;
        match head.major {
            UINT => {}
            NINT if i64::try_from(head.argument).is_ok() => {}
            BYTES | TEXT => {
                let rest = &bytes[at..];
                let length = usize::try_from(head.argument).map_err(|_| ItemError::Truncated)?;
                let content = rest.get(..length).ok_or(ItemError::Truncated)?;
                if head.major == TEXT && core::str::from_utf8(content).is_err() {
                    return Err(ItemError::Malformed);
                }
                at += length;
            }
            ARRAY | MAP => {
                let level = missing.get_mut(depth).ok_or(ItemError::TooDeep)?;
                let items = if head.major == MAP { head.argument.checked_mul(2) } else { Some(head.argument) };
                *level = items.ok_or(ItemError::Truncated)?;
                if *level > 0 {
                    depth += 1;
                    continue;
                }
            }
            // false, true and null
            SIMPLE if matches!((head.size, head.argument), (1, 20..=22)) => {}
            _ => return Err(ItemError::Malformed),
        }
        // An item is complete, and with it every array and map that it was the last item of.
        loop {
            let Some(level) = depth.checked_sub(1) else { return Ok(at) };
            missing[level] -= 1;
            if missing[level] > 0 {
                break;
            }
            depth = level;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_items_of_the_allowed_form_are_passed() {
        for (bytes, expected) in [
            (&b"\x00"[..], Ok(1)),
            (b"\x17\x00", Ok(1)),
            (b"\x18\x18", Ok(2)),
            (b"\x18\x17", Err(ItemError::Malformed)),
            (b"\x19\x00\xff", Err(ItemError::Malformed)),
            (b"\x1a\x00\x00\xff\xff", Err(ItemError::Malformed)),
            (b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", Err(ItemError::Malformed)),
            (b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", Ok(9)),
            (b"\x1b\xff", Err(ItemError::Truncated)),
            (b"\x1c", Err(ItemError::Malformed)),
            (b"\x3b\x7f\xff\xff\xff\xff\xff\xff\xff", Ok(9)),
            (b"\x3b\x80\x00\x00\x00\x00\x00\x00\x00", Err(ItemError::Malformed)),
            (b"\x42ab", Ok(3)),
            (b"\x42a", Err(ItemError::Truncated)),
            (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", Err(ItemError::Truncated)),
            (b"\x5f\x41a\xff", Err(ItemError::Malformed)),
            (b"\x61a", Ok(2)),
            (b"\x61\xff", Err(ItemError::Malformed)),
            (b"\x80", Ok(1)),
            (b"\x82\x80\x81\x01\x01", Ok(4)),
            (b"\x82\x01", Err(ItemError::Truncated)),
            (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x00", Err(ItemError::Truncated)),
            (b"\x9f\xff", Err(ItemError::Malformed)),
            (b"\xa1\x01\x02", Ok(3)),
            (b"\xa1\x01", Err(ItemError::Truncated)),
            (b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff\x00", Err(ItemError::Truncated)),
            (b"\xc0\x00", Err(ItemError::Malformed)),
            (b"\xf3", Err(ItemError::Malformed)),
            (b"\xf4", Ok(1)),
            (b"\xf5", Ok(1)),
            (b"\xf6", Ok(1)),
            (b"\xf7", Err(ItemError::Malformed)),
            (b"\xf8\x20", Err(ItemError::Malformed)),
            (b"\xf9\x00\x00", Err(ItemError::Malformed)),
            (b"\xff", Err(ItemError::Malformed)),
            (b"", Err(ItemError::Truncated)),
        ] {
            assert_eq!(end(bytes), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn the_ninth_level_is_one_too_many() {
        assert_eq!(end(b"\x81\x81\x81\x81\x81\x81\x81\x80"), Ok(8));
        assert_eq!(end(b"\x81\x81\x81\x81\x81\x81\x81\x81\x80"), Err(ItemError::TooDeep));
        assert_eq!(end(b"\x81\x81\x81\x81\x81\x81\x81\xa1\x80\x00"), Err(ItemError::TooDeep));
    }

    proptest! {
        #[test]
        fn a_head_survives_its_bytes(major in 0_u8..8, shift in 0_u32..64, argument: u64) {
            let argument = argument >> shift;
            let mut out = [0; MAX_HEAD];
            let size = write_head(major, argument, &mut out);
            prop_assert_eq!(head(&out[..size]), Ok(Head { major, argument, size }));
            prop_assert_eq!(head(&out[..size - 1]), Err(ItemError::Truncated));
        }

        #[test]
        fn a_walk_never_leaves_the_bytes(bytes: std::vec::Vec<u8>) {
            if let Ok(end) = end(&bytes) {
                prop_assert!(0 < end && end <= bytes.len());
            }
        }
    }
}
