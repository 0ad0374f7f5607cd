//! What was received, cut into records: two bytes of length, big endian, then that many bytes of body.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use super::preamble::{self, Preamble};

/// Bytes as they came from the socket, and what was cut off their front.
///
/// A record that lies in one piece is a slice of what was received. Only of a record that does not are the bytes
/// copied, into a buffer that grows with them and never beyond the record.
#[derive(Clone, Default)]
pub(crate) struct Reader {
    queue: VecDeque<Piece>,
    /// The beginning of whatever is being gathered.
    partial: Vec<u8>,
    /// The length of the record whose body is due.
    declared: Option<usize>,
}

#[derive(Clone)]
struct Piece {
    bytes: Bytes,
    /// How long it was when it came: what a slice of it keeps alive.
    size: usize,
}

/// The body of a record.
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    /// The size of the buffer that `bytes` is a slice of.
    pub(crate) backing: usize,
}

impl Reader {
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queue.push_back(Piece { size: bytes.len(), bytes });
        }
    }

    /// The bytes that were received and not yet taken.
    pub(crate) fn buffered(&self) -> usize {
        self.partial.len() + self.queue.iter().map(|piece| piece.bytes.len()).sum::<usize>()
    }

    /// The preamble, once it is complete. An error as soon as a byte of the magic is wrong.
    pub(crate) fn preamble(&mut self) -> Result<Option<Preamble>, NoPreamble> {
        self.gather(Preamble::SIZE);
        if !preamble::begins(&self.partial) {
            return Err(NoPreamble);
        }
        let Some(bytes) = self.partial.first_chunk() else { return Ok(None) };
        let preamble = Preamble::decode(bytes);
        self.partial.clear();
        Ok(Some(preamble))
    }

    /// The length of the body that [`body`](Reader::body) takes next, once it is known.
    pub(crate) fn length(&mut self) -> Option<usize> {
        if self.declared.is_none() {
            self.declared = self.read_length();
        }
        self.declared
    }

    fn read_length(&mut self) -> Option<usize> {
        if self.partial.is_empty()
            && let Some(&length) = self.queue.front().and_then(|piece| piece.bytes.first_chunk())
        {
            self.skip(2);
            return Some(usize::from(u16::from_be_bytes(length)));
        }
        self.gather(2);
        let length = u16::from_be_bytes(*self.partial.first_chunk()?);
        self.partial.clear();
        Some(usize::from(length))
    }

    /// The body of the next record, once it is complete.
    pub(crate) fn body(&mut self) -> Option<Body> {
        let length = self.length()?;
        if self.partial.is_empty()
            && let Some(piece) = self.queue.front()
            && piece.bytes.len() >= length
        {
            let body = Body { bytes: piece.bytes.slice(..length), backing: piece.size };
            self.skip(length);
            self.declared = None;
            return Some(body);
        }
        self.gather(length);
        if self.partial.len() < length {
            return None;
        }
        self.declared = None;
        let bytes = core::mem::take(&mut self.partial);
        Some(Body { backing: bytes.capacity(), bytes: bytes.into() })
    }

    /// Drops the first `count` bytes of the first piece.
    fn skip(&mut self, count: usize) {
        if let Some(piece) = self.queue.front_mut() {
            piece.bytes.advance(count);
            if piece.bytes.is_empty() {
                self.queue.pop_front();
            }
        }
    }

    /// Moves bytes into `partial` until it has `length` of them, or nothing is left.
    fn gather(&mut self, length: usize) {
        while let Some(piece) = self.queue.front() {
            let held = self.partial.len();
            let count = piece.bytes.len().min(length.saturating_sub(held));
            if count == 0 {
                break;
            }
            if self.partial.capacity() < held + count {
                // Doubled, so that many small pieces cost little, but never more than the record can fill.
                let capacity = (2 * held).max(held + count).min(length);
                self.partial.reserve_exact(capacity - held);
            }
            self.partial.extend_from_slice(&piece.bytes[..count]);
            self.skip(count);
        }
    }

    /// The memory behind what is buffered, if every piece has a buffer to itself.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.partial.capacity() + self.queue.iter().map(|piece| piece.size).sum::<usize>()
    }
}

/// What was received is no preamble.
pub(crate) struct NoPreamble;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_in_one_piece_is_not_copied() {
        let mut reader = Reader::default();
        let bytes = Bytes::from_static(b"\x00\x03abc\x00\x01d");
        reader.push(bytes.clone());
        let body = reader.body().unwrap();
        assert_eq!((&body.bytes[..], body.backing), (&b"abc"[..], 8));
        assert_eq!(body.bytes.as_ptr(), bytes[2..].as_ptr());
        assert_eq!(&reader.body().unwrap().bytes[..], b"d");
        assert!(reader.body().is_none());
    }

    #[test]
    fn a_declared_length_allocates_nothing() {
        let mut reader = Reader::default();
        reader.push(Bytes::from_static(b"\xff\xffabc"));
        assert!(reader.body().is_none());
        assert!(reader.partial.capacity() < 16);
        for _ in 0..1_000 {
            reader.push(Bytes::from_static(b"d"));
            assert!(reader.body().is_none());
            assert!(reader.held() <= 2 * reader.buffered());
        }
    }
}
