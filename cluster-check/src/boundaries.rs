//! Where the messages of a stream end.

use crate::head::Head;

/// Where the messages of a stream end, as far as it has arrived. Keeps no payload: only the head that is arriving.
#[derive(Clone, Copy, Debug, Default)]
pub struct Boundaries {
    /// Behind the last whole message.
    whole: u64,
    /// The part of the next head that has arrived.
    head: [u8; Head::MAX_SIZE],
    size: usize,
    /// Where the next message ends, once its head is there.
    end: Option<u64>,
    broken: bool,
}

impl Boundaries {
    /// Returns the boundaries of a stream of which everything up to the end of a message has arrived.
    #[must_use]
    pub fn behind(whole: u64) -> Boundaries {
        Boundaries { whole, ..Boundaries::default() }
    }

    /// Notes that `bytes` have arrived at offset `at`, which is where the stream ended before.
    pub fn push(&mut self, mut at: u64, mut bytes: &[u8]) {
        while let (false, Some((&first, rest))) = (self.broken, bytes.split_first()) {
            if let Some(end) = self.end {
                let step = bytes.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
                bytes = &bytes[step..];
                at += step as u64;
            } else {
                self.head[self.size] = first;
                self.size += 1;
                bytes = rest;
                at += 1;
                self.read_head();
            }
            if self.end == Some(at) {
                *self = Boundaries::behind(at);
            }
        }
    }

    /// Drops what has arrived from this offset on. No whole message may be among it.
    pub fn cut(&mut self, received: u64) {
        let Some(left) = received.checked_sub(self.whole) else { return };
        if left < self.size as u64 {
            self.size = left as usize;
            self.end = None;
            self.broken = false;
            self.read_head();
        }
    }

    /// Returns the offset behind the last whole message.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// Returns whether something that is no head follows the last whole message. Nothing behind it has a boundary.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Returns the offset that must arrive before more of the next message is known: the end of its first byte, of its
    /// head, or its own.
    #[must_use]
    pub fn needs(&self) -> u64 {
        let first = self.head.first().filter(|_| self.size > 0);
        self.end.unwrap_or_else(|| self.whole + first.and_then(|&first| Head::size_by(first)).unwrap_or(1) as u64)
    }

    fn read_head(&mut self) {
        match Head::read(self.head[..self.size].iter().copied()) {
            Ok(head) => self.end = head.map(|head| self.whole.saturating_add(head.total())),
            Err(_) => self.broken = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two messages of nine bytes, an empty one, and one of thirty.
    fn stream() -> (Vec<u8>, [u64; 4]) {
        let mut bytes = Vec::new();
        let ends = [9, 9, 0, 30].map(|length| {
            Head::of(length).write(&mut bytes);
            bytes.resize(bytes.len() + length as usize, 1);
            bytes.len() as u64
        });
        (bytes, ends)
    }

    #[test]
    fn boundaries_do_not_depend_on_the_chunks() {
        let (bytes, ends) = stream();
        for size in 1..=bytes.len() {
            let (mut boundaries, mut at) = (Boundaries::default(), 0);
            for chunk in bytes.chunks(size) {
                boundaries.push(at, chunk);
                at += chunk.len() as u64;
                let last = ends.iter().rev().find(|end| **end <= at).copied().unwrap_or(0);
                assert_eq!(boundaries.whole(), last, "chunks of {size} at {at}");
            }
        }
    }

    #[test]
    fn next_message_is_needed_byte_head_and_whole() {
        let mut boundaries = Boundaries::behind(10);
        assert_eq!(boundaries.needs(), 11);
        boundaries.push(10, &[0x59]);
        assert_eq!(boundaries.needs(), 13);
        boundaries.push(11, &[1, 0]);
        assert_eq!(boundaries.needs(), 10 + 3 + 256);
    }

    #[test]
    fn part_of_a_message_can_be_dropped() {
        let mut boundaries = Boundaries::default();
        boundaries.push(0, &[0x59, 1, 0, 7]);
        boundaries.cut(3);
        assert_eq!(boundaries.needs(), 3 + 256);
        boundaries.cut(1);
        assert_eq!(boundaries.needs(), 3);
        boundaries.cut(0);
        boundaries.push(0, &[0x41, 7]);
        assert_eq!(boundaries.whole(), 2);
    }

    #[test]
    fn nothing_has_a_boundary_behind_a_bad_head_until_it_is_dropped() {
        let mut boundaries = Boundaries::default();
        boundaries.push(0, &[0x40, 0x58, 1, 0x40, 0x40]);
        assert!(boundaries.is_broken());
        assert_eq!(boundaries.whole(), 1);
        boundaries.cut(2);
        assert!(!boundaries.is_broken());
        boundaries.cut(1);
        boundaries.push(1, &[0x40]);
        assert_eq!(boundaries.whole(), 2);
    }
}
