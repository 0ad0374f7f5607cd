//! The bytes of a fuzz input, read as a script.

/// What is left of an input. Whoever reads on at its end gets nothing, or zeroes, so that every input is a valid script.
#[derive(Clone, Debug)]
pub struct Tape<'a> {
    rest: &'a [u8],
}

impl<'a> Tape<'a> {
    /// A tape at its beginning.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Tape<'a> {
        Tape { rest: bytes }
    }

    /// The next byte; `None` at the end.
    pub fn try_byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// The next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        self.try_byte().unwrap_or_default()
    }

    /// One of `count` choices, by the next byte.
    pub fn choice(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    /// Two bytes, big endian.
    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number that is likely to be interesting: most often `near` itself, or almost, then small ones, powers of two,
    /// the greatest there are, and any other. [`near`](Pen::near) and [`number`](Pen::number) write it.
    pub fn number(&mut self, near: u64) -> u64 {
        match self.byte() {
            offset @ 0..=0x7f => near.wrapping_add(u64::from(offset)).wrapping_sub(64),
            small @ 0x80..=0xbf => u64::from(small - 0x80),
            below @ 0xc0..=0xdf => u64::MAX - u64::from(below - 0xc0),
            power @ 0xe0..=0xef => 1 << (4 * (power - 0xe0)),
            0xf0..=0xff => u64::from_be_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// As many bytes as the next two say, or what is left.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.short()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        bytes
    }

    /// All that is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Writes scripts, for the seeds of a corpus.
#[derive(Clone, Debug, Default)]
pub struct Pen {
    bytes: Vec<u8>,
}

impl Pen {
    /// Appends bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Pen {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends a number that is so much off the one expected: from -64 to 63.
    #[must_use]
    pub fn near(self, offset: i8) -> Pen {
        self.raw(&[(offset.clamp(-64, 63) + 64) as u8])
    }

    /// Appends a number, whatever is expected.
    #[must_use]
    pub fn number(self, number: u64) -> Pen {
        self.raw(&[0xff]).raw(&number.to_be_bytes())
    }

    /// Appends a length and so many bytes: at most 65,535.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Pen {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.raw(&length.to_be_bytes()).raw(&bytes[..usize::from(length)])
    }

    /// What was written.
    #[must_use]
    pub fn done(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pen_writes_a_tape_reads() {
        let written = Pen::default().near(0).near(-3).number(u64::MAX).bytes(b"abc").raw(&[7, 8]).done();
        let mut tape = Tape::new(&written);
        assert_eq!((tape.number(1_000), tape.number(1_000), tape.number(0)), (1_000, 997, u64::MAX));
        assert_eq!((tape.bytes(), tape.choice(4)), (&b"abc"[..], 3));
        assert_eq!(tape.rest(), [8]);
    }

    #[test]
    fn beyond_its_end_a_tape_is_blank() {
        let mut tape = Tape::new(&[0xff]);
        assert_eq!((tape.number(9), tape.try_byte(), tape.byte(), tape.bytes()), (0, None, 0, &[][..]));
        assert_eq!(Tape::new(&[0xff, 0xff, 1]).bytes(), [1]);
    }
}
