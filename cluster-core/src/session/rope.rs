//! A run of bytes in segments: what a stream holds, at either end.

use alloc::collections::VecDeque;
use core::fmt;

use bytes::{Bytes, BytesMut};

use super::head::{Head, MAX_HEAD};
use crate::limits::{MAX_CHUNK, MAX_RECORD};
use crate::reason::ProtocolError;

/// A full segment is one chunk, so that under load every data frame is as long as it may be.
const SEGMENT: usize = MAX_CHUNK;

/// The first segment, and all that an empty rope keeps: an idle link must not hold a large buffer.
const FIRST_SEGMENT: usize = 1_024;

/// From this length on bytes are shared, not copied. A shorter piece that an application keeps would pin more than eight
/// times its size of the record it lies in.
pub(crate) const SHARE: usize = MAX_RECORD / 8 + 1;

/// Bytes in order: shared segments, then a tail that small pieces are copied into.
///
/// Every segment but the few that a shared one cuts short is as long as its allocation, and allocations grow with what
/// the rope holds: many tiny pieces cost no more memory than their bytes say, and no allocation each.
#[derive(Clone, Default)]
pub(crate) struct Rope {
    segments: VecDeque<Bytes>,
    tail: BytesMut,
    /// Bytes of the first segment (of the tail if there is no other) that are gone.
    gone: usize,
    len: u64,
}

/// A place in a rope. It stays valid while bytes are appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    segment: usize,
    within: usize,
}

impl Rope {
    /// How many bytes there are.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        if self.tail.capacity() - self.tail.len() < bytes.len() {
            return self.copy_over_the_edge(bytes);
        }
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
    }

    #[cold]
    fn copy_over_the_edge(&mut self, mut bytes: &[u8]) {
        loop {
            let room = self.tail.capacity() - self.tail.len();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.tail.extend_from_slice(now);
            self.len += now.len() as u64;
            if rest.is_empty() {
                return;
            }
            let held = usize::try_from(self.len).unwrap_or(SEGMENT);
            let size = held.max(rest.len()).clamp(FIRST_SEGMENT, SEGMENT);
            let full = core::mem::replace(&mut self.tail, BytesMut::with_capacity(size));
            if !full.is_empty() {
                self.segments.push_back(full.freeze());
            }
            bytes = rest;
        }
    }

    /// Appends `bytes` without copying them.
    pub(crate) fn share(&mut self, bytes: Bytes) {
        self.seal();
        self.len += bytes.len() as u64;
        if !bytes.is_empty() {
            self.segments.push_back(bytes);
        }
    }

    /// Makes the tail a segment, which can be shared; what room it has left is kept for the next tail.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.segments.push_back(self.tail.split().freeze());
        }
    }

    /// The place of the first byte.
    pub(crate) fn start(&self) -> Cursor {
        Cursor { segment: 0, within: self.gone }
    }

    #[inline]
    fn segment(&self, index: usize) -> &[u8] {
        self.segments.get(index).map_or(&self.tail[..], |segment| &segment[..])
    }

    /// The place `bytes` further on, at most the end.
    #[inline]
    pub(crate) fn skip(&self, mut at: Cursor, mut bytes: u64) -> Cursor {
        loop {
            let rest = self.segment(at.segment).len() - at.within;
            if at.segment >= self.segments.len() || bytes < rest as u64 {
                let step = usize::try_from(bytes).unwrap_or(rest).min(rest);
                return Cursor { segment: at.segment, within: at.within + step };
            }
            bytes -= rest as u64;
            at = Cursor { segment: at.segment + 1, within: 0 };
        }
    }

    /// The message head at `at`; `None` if the rope ends inside it.
    #[inline]
    pub(crate) fn head(&self, at: Cursor) -> Result<Option<Head>, ProtocolError> {
        match Head::decode(&self.segment(at.segment)[at.within..])? {
            None if at.segment < self.segments.len() => self.head_over_the_edge(at),
            head => Ok(head),
        }
    }

    #[cold]
    fn head_over_the_edge(&self, mut at: Cursor) -> Result<Option<Head>, ProtocolError> {
        let mut bytes = [0; MAX_HEAD];
        let mut size = 0;
        while size < MAX_HEAD && at.segment <= self.segments.len() {
            let piece = &self.segment(at.segment)[at.within..];
            let step = piece.len().min(MAX_HEAD - size);
            bytes[size..size + step].copy_from_slice(&piece[..step]);
            size += step;
            at = Cursor { segment: at.segment + 1, within: 0 };
        }
        Head::decode(&bytes[..size])
    }

    /// The first byte.
    pub(crate) fn first(&self) -> Option<u8> {
        self.segment(0).get(self.gone).copied()
    }

    /// Up to `max` bytes from `at` on, as many as lie in one piece, and moves `at` behind them. Empty only at the end.
    pub(crate) fn chunk(&mut self, at: &mut Cursor, max: usize) -> Bytes {
        if at.segment < self.segments.len() && at.within >= self.segment(at.segment).len() {
            *at = Cursor { segment: at.segment + 1, within: 0 };
        }
        let size = max.min(self.segment(at.segment).len() - at.within);
        let range = at.within..at.within + size;
        if at.segment >= self.segments.len() {
            if size < SHARE {
                // Sealing a tail for every small chunk would leave a segment each.
                at.within += size;
                return Bytes::copy_from_slice(&self.tail[range]);
            }
            self.seal();
        }
        at.within += size;
        self.segments.get(at.segment).map_or_else(Bytes::new, |segment| segment.slice(range))
    }

    /// Drops the first `bytes` bytes and says how many segments went with them: a cursor counts that many less.
    #[inline]
    pub(crate) fn advance(&mut self, bytes: u64) -> usize {
        let mut bytes = bytes.min(self.len);
        self.len -= bytes;
        let mut dropped = 0;
        while let Some(front) = self.segments.front() {
            let rest = (front.len() - self.gone) as u64;
            if bytes < rest {
                break;
            }
            bytes -= rest;
            self.segments.pop_front();
            self.gone = 0;
            dropped += 1;
        }
        self.gone += bytes as usize;
        if self.len == 0 {
            self.rest();
        }
        dropped
    }

    /// Returns to the small state of an empty rope.
    fn rest(&mut self) {
        self.gone = 0;
        // Any other capacity belongs to a larger allocation, or to one that slices of it still share.
        if self.tail.capacity() == FIRST_SEGMENT {
            self.tail.clear();
        } else {
            self.tail = BytesMut::new();
        }
        if self.segments.capacity() > 16 {
            self.segments = VecDeque::new();
        }
    }

    /// Takes the first `length` bytes: shared if they lie in one piece and are worth it, copied otherwise.
    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Bytes {
        let length = usize::try_from(self.len).map_or(length, |len| length.min(len));
        let front = self.segment(0);
        let end = self.gone.saturating_add(length);
        let bytes = if length < SHARE && end <= front.len() {
            Bytes::copy_from_slice(&front[self.gone..end])
        } else {
            self.take_large(length)
        };
        self.advance(length as u64);
        bytes
    }

    /// Takes the message at the front, whose head is `head`, without its head.
    #[inline]
    pub(crate) fn take_message(&mut self, head: Head) -> Bytes {
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let start = self.gone + head.size;
        // Nearly always the front piece holds it and more.
        if length < SHARE
            && let front = self.segment(0)
            && start + length < front.len()
        {
            let bytes = Bytes::copy_from_slice(&front[start..start + length]);
            self.gone = start + length;
            self.len -= head.total();
            return bytes;
        }
        self.advance(head.size as u64);
        self.take(length)
    }

    fn take_large(&mut self, length: usize) -> Bytes {
        if self.segments.is_empty() {
            self.seal();
        }
        if let Some(front) = self.segments.front()
            && front.len() - self.gone >= length
        {
            return front.slice(self.gone..self.gone + length);
        }
        let mut bytes = BytesMut::with_capacity(length);
        let mut at = self.start();
        while bytes.len() < length && at.segment <= self.segments.len() {
            let piece = &self.segment(at.segment)[at.within..];
            bytes.extend_from_slice(&piece[..piece.len().min(length - bytes.len())]);
            at = Cursor { segment: at.segment + 1, within: 0 };
        }
        bytes.freeze()
    }

    /// Drops all but the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: u64) {
        if len >= self.len {
            return;
        }
        if len == 0 {
            self.segments.clear();
            self.len = 0;
            return self.rest();
        }
        let end = self.skip(self.start(), len);
        self.len = len;
        if end.segment >= self.segments.len() {
            return self.tail.truncate(end.within);
        }
        self.tail = BytesMut::new();
        self.segments.truncate(end.segment + 1);
        if end.within == 0 {
            self.segments.pop_back();
        } else if let Some(last) = self.segments.back_mut() {
            last.truncate(end.within);
        }
    }

    /// Bytes of memory that the rope holds, shared segments counted by their length.
    #[cfg(test)]
    pub(crate) fn footprint(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum::<usize>()
            + self.tail.capacity()
            + self.segments.capacity() * size_of::<Bytes>()
    }
}

impl Cursor {
    /// The same place after `dropped` segments went from the front of the rope.
    #[inline]
    pub(crate) fn after_drop(self, dropped: usize, rope: &Rope) -> Cursor {
        match self.segment.checked_sub(dropped) {
            Some(segment) if rope.len > 0 => Cursor { segment, within: self.within },
            _ => rope.start(),
        }
    }
}

/// Shows sizes, never content.
impl fmt::Debug for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rope {{ {} bytes, {} segments }}", self.len, self.segments.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Copy(usize),
        Share(usize),
        Chunk(usize),
        Advance(usize),
        Take(usize),
        Truncate(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = || prop_oneof![0_usize..20, 0_usize..3_000, 60_000_usize..70_000];
        prop_oneof![
            size().prop_map(Step::Copy),
            size().prop_map(Step::Share),
            size().prop_map(Step::Chunk),
            size().prop_map(Step::Advance),
            size().prop_map(Step::Take),
            size().prop_map(Step::Truncate),
        ]
    }

    fn content(rope: &Rope) -> Vec<u8> {
        rope.clone().take(rope.len() as usize).to_vec()
    }

    proptest! {
        #[test]
        fn a_rope_holds_what_a_plain_vector_would(steps in prop::collection::vec(step(), 0..60)) {
            let mut rope = Rope::default();
            let mut model = Vec::new();
            let (mut cursor, mut read) = (Cursor::default(), 0_usize);
            let mut next = 0_u8;
            for step in steps {
                match step {
                    Step::Copy(size) | Step::Share(size) => {
                        let bytes: Vec<u8> = (0..size).map(|_| { next = next.wrapping_add(7); next }).collect();
                        model.extend_from_slice(&bytes);
                        if matches!(step, Step::Copy(_)) { rope.copy(&bytes) } else { rope.share(bytes.into()) }
                    }
                    Step::Chunk(size) => {
                        let chunk = rope.chunk(&mut cursor, size);
                        prop_assert_eq!(&chunk[..], &model[read..read + chunk.len()]);
                        prop_assert_eq!(chunk.is_empty(), size == 0 || read == model.len());
                        read += chunk.len();
                    }
                    Step::Advance(size) => {
                        let size = size.min(read);
                        let dropped = rope.advance(size as u64);
                        cursor = cursor.after_drop(dropped, &rope);
                        model.drain(..size);
                        read -= size;
                    }
                    Step::Take(size) => {
                        let size = size.min(model.len());
                        prop_assert_eq!(&rope.take(size)[..], &model[..size]);
                        model.drain(..size);
                        read = read.saturating_sub(size);
                        cursor = rope.skip(rope.start(), read as u64);
                    }
                    Step::Truncate(size) => {
                        rope.truncate(size as u64);
                        model.truncate(size);
                        read = read.min(size);
                        cursor = rope.skip(rope.start(), read as u64);
                    }
                }
                prop_assert_eq!(rope.len(), model.len() as u64);
                prop_assert_eq!(rope.first(), model.first().copied());
            }
            prop_assert_eq!(content(&rope), model);
        }
    }

    #[test]
    fn many_tiny_pieces_cost_little_more_than_their_bytes() {
        let mut rope = Rope::default();
        let mut cursor = Cursor::default();
        for _ in 0..1_000_000 {
            rope.copy(&[1]);
            assert_eq!(rope.chunk(&mut cursor, 1).len(), 1);
        }
        assert!(rope.footprint() < 1_200_000, "{}", rope.footprint());
    }

    #[test]
    fn an_emptied_rope_keeps_no_more_than_a_small_buffer() {
        let mut rope = Rope::default();
        for size in [1, 500, 1_024, 5_000, 1_000_000] {
            rope.copy(&alloc::vec![0; size]);
            rope.advance(size as u64);
            assert!(rope.footprint() <= 2_048, "{size}: {}", rope.footprint());
        }
    }
}
