//! The first twelve bytes of either side, the same in every version of the protocol for ever.

use core::ops::RangeInclusive;

/// The protocol versions that this crate speaks.
pub const VERSIONS: RangeInclusive<u8> = 1..=1;

/// The first bytes of a connection. The first is in no UTF-8 text, and is no TLS, HTTP, Redis or SMTP.
pub(crate) const MAGIC: [u8; 4] = [0xf5, b'c', b'l', b'u'];

/// Nothing is encrypted.
pub(crate) const PLAIN: u8 = 0;

/// Everything is, from the first message on.
pub(crate) const NOISE: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Preamble {
    pub(crate) versions: RangeInclusive<u8>,
    pub(crate) mode: u8,
    /// Of the mode. Plain mode has only suite 0.
    pub(crate) suite: u8,
    pub(crate) features: u32,
}

impl Preamble {
    pub(crate) const SIZE: usize = 12;

    pub(crate) fn encode(&self) -> [u8; Preamble::SIZE] {
        let mut bytes = [0; Preamble::SIZE];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&[*self.versions.start(), *self.versions.end(), self.mode, self.suite]);
        bytes[8..].copy_from_slice(&self.features.to_be_bytes());
        bytes
    }

    /// Reads what follows the magic, which was compared byte by byte as it came.
    pub(crate) fn decode(bytes: &[u8; Preamble::SIZE]) -> Preamble {
        let [_, _, _, _, min, max, mode, suite, features @ ..] = *bytes;
        Preamble { versions: min..=max, mode, suite, features: u32::from_be_bytes(features) }
    }
}

/// Whether these bytes can be the beginning of a preamble.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    bytes.iter().zip(MAGIC).all(|(&byte, magic)| byte == magic)
}

/// The highest version that both ranges have.
pub(crate) fn common_version(ours: &RangeInclusive<u8>, theirs: &RangeInclusive<u8>) -> Option<u8> {
    let version = *ours.end().min(theirs.end());
    (ours.contains(&version) && theirs.contains(&version)).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        for (ours, theirs, expected) in [
            (1..=1, 1..=1, Some(1)),
            (1..=3, 2..=9, Some(3)),
            (2..=9, 1..=3, Some(3)),
            (1..=9, 4..=5, Some(5)),
            (0..=255, 0..=255, Some(255)),
            (1..=1, 2..=2, None),
            (3..=4, 1..=2, None),
            (1..=4, RangeInclusive::new(4, 3), None),
        ] {
            assert_eq!(common_version(&ours, &theirs), expected, "{ours:?} {theirs:?}");
        }
    }

    proptest! {
        #[test]
        fn a_preamble_survives_its_bytes(min: u8, max: u8, mode: u8, suite: u8, features: u32) {
            let preamble = Preamble { versions: min..=max, mode, suite, features };
            prop_assert_eq!(Preamble::decode(&preamble.encode()), preamble);
        }
    }
}
