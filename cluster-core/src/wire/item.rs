//! The walk over one CBOR item that checks its form before anything is built from it.
//!
//! The walk has no recursion and allocates nothing, so what it lets through is bounded in size and in depth, and the
//! laxness of the decoder behind it (tags skipped, indefinite lengths, text that is not UTF-8) cannot be reached.

use super::head::{ARRAY, BYTES, Head, HeadError, MAP, NINT, SIMPLE, TEXT, UINT};
use crate::limits::MAX_NESTING;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemError {
    /// The item goes on beyond the bytes given.
    Truncated,
    Malformed,
    TooDeep,
}

impl From<HeadError> for ItemError {
    fn from(error: HeadError) -> ItemError {
        match error {
            HeadError::Truncated => ItemError::Truncated,
            HeadError::Malformed => ItemError::Malformed,
        }
    }
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
        let head = Head::decode(&bytes[at..])?;
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
        fn a_walk_never_leaves_the_bytes(bytes: std::vec::Vec<u8>) {
            if let Ok(end) = end(&bytes) {
                prop_assert!(0 < end && end <= bytes.len());
            }
        }
    }
}
