//! The head of a message in its stream.

use std::error::Error;
use std::fmt;

/// The head of a message in its stream: that of a CBOR byte string of definite length, in its shortest form. Written from
/// PROTOCOL.md, so that it can disagree with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The bytes of length behind the first byte.
    width: usize,
    length: u64,
}

/// The bytes are no head of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHead;

impl Head {
    /// The most bytes that a head has.
    pub const MAX_SIZE: usize = 9;

    /// Returns the head of a message of this length.
    #[must_use]
    pub fn of(length: u64) -> Head {
        let width = match length {
            0..24 => 0,
            24..0x100 => 1,
            0x100..0x1_0000 => 2,
            0x1_0000..0x1_0000_0000 => 4,
            _ => 8,
        };
        Head { width, length }
    }

    /// Returns the size of the head that begins with this byte, or `None` if none does.
    #[must_use]
    pub fn size_by(first: u8) -> Option<usize> {
        match first {
            0x40..=0x57 => Some(1),
            0x58 => Some(2),
            0x59 => Some(3),
            0x5a => Some(5),
            0x5b => Some(9),
            _ => None,
        }
    }

    /// Reads the head at the beginning of a stream; `None` if part of it is missing.
    ///
    /// # Errors
    ///
    /// [`BadHead`] if no message begins like this.
    pub fn read(stream: impl IntoIterator<Item = u8>) -> Result<Option<Head>, BadHead> {
        let mut stream = stream.into_iter();
        let Some(first) = stream.next() else { return Ok(None) };
        let width = Head::size_by(first).ok_or(BadHead)? - 1;
        let mut length = if width == 0 { u64::from(first - 0x40) } else { 0 };
        for _ in 0..width {
            let Some(digit) = stream.next() else { return Ok(None) };
            length = length << 8 | u64::from(digit);
        }
        let head = Head { width, length };
        if head == Head::of(length) { Ok(Some(head)) } else { Err(BadHead) }
    }

    /// Appends the head to a stream.
    pub fn write(self, stream: &mut impl Extend<u8>) {
        let digits = self.length.to_be_bytes();
        let first = match self.width {
            0 => 0x40 | digits[7],
            1 => 0x58,
            2 => 0x59,
            4 => 0x5a,
            _ => 0x5b,
        };
        stream.extend([first]);
        stream.extend(digits[8 - self.width..].iter().copied());
    }

    /// Returns the size of the head in bytes.
    #[must_use]
    pub fn size(self) -> usize {
        1 + self.width
    }

    /// Returns the length of the message.
    #[must_use]
    pub fn length(self) -> u64 {
        self.length
    }

    /// Returns how many bytes of stream the message takes with its head.
    #[must_use]
    pub fn total(self) -> u64 {
        self.length.saturating_add(self.size() as u64)
    }
}

impl fmt::Display for BadHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes are not the head of a message")
    }
}

impl Error for BadHead {}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        Head::of(length).write(&mut bytes);
        bytes
    }

    #[test]
    fn heads_are_those_of_the_protocol() {
        assert_eq!(written(0), [0x40]);
        assert_eq!(written(23), [0x57]);
        assert_eq!(written(24), [0x58, 24]);
        assert_eq!(written(256), [0x59, 1, 0]);
        assert_eq!(written(65_536), [0x5a, 0, 1, 0, 0]);
        assert_eq!(written(1 << 32), [0x5b, 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn head_survives_writing_and_is_incomplete_before_its_end() {
        for length in [0, 1, 23, 24, 255, 256, 65_535, 65_536, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            let (head, bytes) = (Head::of(length), written(length));
            assert_eq!((head.size(), Head::size_by(bytes[0])), (bytes.len(), Some(bytes.len())));
            assert!(bytes.len() <= Head::MAX_SIZE);
            assert_eq!(Head::read(bytes.iter().copied()), Ok(Some(head)));
            for cut in 0..bytes.len() {
                assert_eq!(Head::read(bytes[..cut].iter().copied()), Ok(None), "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn other_forms_are_no_heads() {
        for wrong in [&[0x5f][..], &[0x60], &[0x18, 1], &[0x5c], &[0x58, 23], &[0x59, 0, 255], &[0x5a, 0, 0, 1, 1]] {
            assert_eq!(Head::read(wrong.iter().copied()), Err(BadHead), "{wrong:?}");
        }
    }
}
