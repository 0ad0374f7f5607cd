//! Frames, packed into records that are ready to be written.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use super::cipher::Cipher;
use super::codec;
use super::frame::Frame;
use crate::limits::{MAX_CHUNK, MAX_PLAINTEXT};

/// A chunk at least this long is written from where it lies; a shorter one is copied, which costs less than a piece.
const UNCOPIED: usize = 4_096;

/// A drained buffer up to this size is kept for good, one up to `REUSED` only if it was well filled.
const KEPT: usize = 1_024;
const REUSED: usize = 65_536;

/// Bytes that are to be written to the socket, in order.
///
/// ```
/// # use cluster_core::Output;
/// fn write(output: &mut Output, mut socket: impl FnMut(&[u8]) -> usize) {
///     loop {
///         let Some(piece) = output.pieces().next() else { break };
///         let written = socket(piece);
///         output.advance(written);
///     }
/// }
/// ```
#[derive(Clone, Default)]
pub struct Output {
    /// Everything but the chunks that are not copied.
    buffer: Vec<u8>,
    /// Everything in `buffer` before this was written.
    start: usize,
    pieces: VecDeque<Piece>,
    /// Of all pieces together.
    len: usize,
    open: Option<OpenRecord>,
    /// The plaintext of the record that is being sealed.
    scratch: Vec<u8>,
}

#[derive(Clone)]
enum Piece {
    /// So many of the bytes in `buffer`.
    Buffered(usize),
    Chunk(Bytes),
}

/// A record that further frames may be added to.
#[derive(Clone, Copy)]
struct OpenRecord {
    /// Where in `buffer` its length will be.
    at: usize,
    plaintext: usize,
}

impl Output {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes there are to write.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The pieces to write, in order, none of them empty: for one vectored write, or for one write each.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.start;
        self.pieces.iter().map(move |piece| match piece {
            Piece::Buffered(count) => {
                at += count;
                &self.buffer[at - count..at]
            }
            Piece::Chunk(bytes) => &bytes[..],
        })
    }

    /// A copy of all of it, which is then no longer here: for those who write one buffer at a time.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        let bytes = self.pieces().collect::<Vec<_>>().concat();
        self.advance(bytes.len());
        bytes
    }

    /// Drops the first `written` bytes: they were written. At most [`len`](Output::len).
    pub fn advance(&mut self, written: usize) {
        debug_assert!(written <= self.len, "more was written than there was");
        let mut written = written.min(self.len);
        self.len -= written;
        while let Some(piece) = self.pieces.front_mut() {
            let count = match piece {
                Piece::Buffered(count) => *count,
                Piece::Chunk(bytes) => bytes.len(),
            };
            let gone = count.min(written);
            match piece {
                Piece::Buffered(count) => {
                    *count -= gone;
                    self.start += gone;
                }
                Piece::Chunk(bytes) => bytes.advance(gone),
            }
            if gone < count {
                break;
            }
            written -= gone;
            self.pieces.pop_front();
        }
        self.reclaim();
    }

    /// Gives back memory: an idle link keeps no more than `KEPT`, or `REUSED` until the next little it writes.
    fn reclaim(&mut self) {
        if self.len > 0 {
            if self.start >= UNCOPIED && self.start > self.buffer.len() / 2 {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            return;
        }
        self.start = 0;
        for buffer in [&mut self.buffer, &mut self.scratch] {
            let (used, capacity) = (buffer.len(), buffer.capacity());
            buffer.clear();
            if capacity > KEPT && (capacity > REUSED || used < capacity / 4) {
                *buffer = Vec::new();
            }
        }
        if self.pieces.capacity() > KEPT / size_of::<Piece>() {
            self.pieces = VecDeque::new();
        }
    }

    /// Adds bytes that are in no record.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.count(bytes.len());
    }

    /// Adds a record of its own, as it is: a message of the handshake, which is shorter than any limit.
    pub(crate) fn push_record(&mut self, body: &[u8]) {
        self.push(&(body.len() as u16).to_be_bytes());
        self.push(body);
    }

    /// Adds a frame to the open record, or to a new one if there it does not fit.
    pub(crate) fn send(&mut self, frame: Frame, cipher: &mut Cipher) {
        let Frame::Data(data) = frame else { return self.send_control(&frame, cipher) };
        if data.bytes.is_empty() || data.bytes.len() > MAX_CHUNK {
            debug_assert!(false, "a chunk has 1 to MAX_CHUNK bytes");
            return;
        }
        let (head, length) = codec::data_head(&data);
        let size = length + data.bytes.len();
        if self.open.is_some_and(|open| open.plaintext + size > MAX_PLAINTEXT) {
            self.close(cipher);
        }
        self.open();
        self.push(&head[..length]);
        if data.bytes.len() < UNCOPIED || cipher.needs_one_piece() {
            self.push(&data.bytes);
        } else {
            self.len += data.bytes.len();
            self.pieces.push_back(Piece::Chunk(data.bytes));
        }
        self.fill(size);
    }

    fn send_control(&mut self, frame: &Frame, cipher: &mut Cipher) {
        self.open();
        let begin = self.buffer.len();
        codec::write(frame, &mut self.buffer);
        let size = self.buffer.len() - begin;
        if size > codec::cap(frame.kind()) {
            debug_assert!(false, "a frame is longer than its type may be");
            self.buffer.truncate(begin);
            return;
        }
        if self.open.is_some_and(|open| open.plaintext + size > MAX_PLAINTEXT) {
            let bytes = self.buffer.split_off(begin);
            self.close(cipher);
            self.open();
            self.buffer.extend_from_slice(&bytes);
        }
        self.count(size);
        self.fill(size);
    }

    /// Opens a record if none is open.
    fn open(&mut self) {
        if self.open.is_none() {
            self.open = Some(OpenRecord { at: self.buffer.len(), plaintext: 0 });
            self.push(&[0, 0]);
        }
    }

    fn fill(&mut self, size: usize) {
        if let Some(open) = &mut self.open {
            open.plaintext += size;
        }
    }

    /// Completes the open record, after which it can be written.
    pub(crate) fn close(&mut self, cipher: &mut Cipher) {
        let Some(open) = self.open.take() else { return };
        if open.plaintext == 0 {
            // Opened for a frame that was then not sent: an empty record would be an error.
            debug_assert!(self.len >= 2 && self.buffer.len() == open.at + 2, "an empty record has a head alone");
            self.buffer.truncate(open.at);
            self.len -= 2;
            match self.pieces.back_mut() {
                Some(Piece::Buffered(count)) if *count > 2 => *count -= 2,
                _ => drop(self.pieces.pop_back()),
            }
            return;
        }
        let tag = cipher.seal(&mut self.buffer, open.at + 2, &mut self.scratch);
        self.count(tag);
        // MAX_PLAINTEXT leaves room for a tag, so this fits.
        debug_assert!(open.plaintext + tag <= usize::from(u16::MAX), "a record is longer than its head can say");
        let length = (open.plaintext + tag) as u16;
        self.buffer[open.at..open.at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Counts bytes that were appended to the buffer as part of the last piece.
    fn count(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.len += bytes;
        match self.pieces.back_mut() {
            Some(Piece::Buffered(count)) => *count += bytes,
            _ => self.pieces.push_back(Piece::Buffered(bytes)),
        }
    }

    /// The memory of the buffers.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.buffer.capacity() + self.scratch.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }
}

/// Shows how much there is, never what.
impl core::fmt::Debug for Output {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Output {{ {} bytes in {} pieces }}", self.len, self.pieces.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Announce, Data, Entry};
    use proptest::prelude::*;

    fn data(offset: u64, length: usize) -> Frame {
        Frame::Data(Data { offset, bytes: alloc::vec![b'x'; length].into() })
    }

    fn written(output: &Output) -> Vec<u8> {
        output.pieces().flatten().copied().collect()
    }

    #[test]
    fn small_frames_share_one_record_and_one_piece() {
        let mut output = Output::default();
        output.send(Frame::Ping { token: 1 }, &mut Cipher::Plain);
        output.send(data(0, 2), &mut Cipher::Plain);
        output.close(&mut Cipher::Plain);
        assert_eq!(written(&output), b"\x00\x09\x82\x01\x01\x83\x00\x00\x42xx");
        assert_eq!((output.len(), output.pieces().count()), (11, 1));
    }

    #[test]
    fn a_large_chunk_is_written_from_where_it_lies() {
        let mut output = Output::default();
        let bytes = Bytes::from(alloc::vec![b'x'; UNCOPIED]);
        output.send(Frame::Data(Data { offset: 0, bytes: bytes.clone() }), &mut Cipher::Plain);
        output.send(Frame::Ping { token: 1 }, &mut Cipher::Plain);
        output.close(&mut Cipher::Plain);
        let pieces: Vec<&[u8]> = output.pieces().collect();
        assert_eq!((pieces[0], pieces[2]), (&b"\x10\x09\x83\x00\x00\x59\x10\x00"[..], &b"\x82\x01\x01"[..]));
        assert_eq!(pieces[1].as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn a_frame_that_does_not_fit_goes_into_the_next_record() {
        let entry = Entry {
            run: crate::Run { id: crate::NodeId::from_bytes([1; 16]), incarnation: crate::Incarnation(u64::MAX) },
            addresses: alloc::vec!["[::1]:1".parse().unwrap(); 4],
        };
        let announce = Frame::Announce(Announce { entries: alloc::vec![entry; 512] });
        for frame in [announce, data(u64::MAX >> 1, MAX_CHUNK)] {
            let mut output = Output::default();
            let size = frame.encode().len();
            assert!(size > MAX_PLAINTEXT / 2 && size <= MAX_PLAINTEXT);
            output.send(frame.clone(), &mut Cipher::Plain);
            output.send(frame, &mut Cipher::Plain);
            output.close(&mut Cipher::Plain);
            let written = written(&output);
            assert_eq!(written.len(), 2 * (2 + size));
            for record in written.chunks(2 + size) {
                assert_eq!(record[..2], (size as u16).to_be_bytes());
            }
        }
    }

    #[test]
    fn a_drained_output_keeps_little() {
        let mut output = Output::default();
        for _ in 0..100 {
            output.send(data(0, 2_000), &mut Cipher::Plain);
            output.send(data(0, 60_000), &mut Cipher::Plain);
        }
        output.close(&mut Cipher::Plain);
        output.advance(output.len());
        output.send(Frame::Ping { token: 1 }, &mut Cipher::Plain);
        output.close(&mut Cipher::Plain);
        output.advance(output.len());
        assert!(output.is_empty() && output.held() <= 2 * KEPT);
    }

    proptest! {
        #[test]
        fn writing_in_steps_writes_the_same(
            frames in proptest::collection::vec((0_usize..3, 1_usize..9_000), 1..40),
            steps in proptest::collection::vec(1_usize..20_000, 1..40),
        ) {
            let mut whole = Output::default();
            let mut stepwise = Output::default();
            let mut got = Vec::new();
            let mut steps = steps.iter().cycle();
            for (kind, length) in frames {
                let frame = if kind == 0 { Frame::Pong { token: length as u64 } } else { data(9, length) };
                for output in [&mut whole, &mut stepwise] {
                    output.send(frame.clone(), &mut Cipher::Plain);
                    output.close(&mut Cipher::Plain);
                }
                let step = (*steps.next().unwrap()).min(stepwise.len());
                got.extend(written(&stepwise)[..step].iter());
                stepwise.advance(step);
                prop_assert_eq!(stepwise.len(), written(&stepwise).len());
            }
            got.extend(written(&stepwise));
            prop_assert_eq!(got, written(&whole));
        }
    }
}
