//! The ciphers of secure mode.

/// Which cipher protects a secure connection. The side that dials picks; every node speaks both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suite {
    /// ChaCha20-Poly1305: fast enough on every processor. The default.
    #[default]
    ChaChaPoly,
    /// AES-256-GCM: faster where the processor has instructions for AES, slow and less safe where it has not.
    AesGcm,
}

impl Suite {
    /// Its number in a preamble.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Suite::ChaChaPoly => 0,
            Suite::AesGcm => 1,
        }
    }

    pub(crate) const fn of(number: u8) -> Option<Suite> {
        match number {
            0 => Some(Suite::ChaChaPoly),
            1 => Some(Suite::AesGcm),
            _ => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Suite::ChaChaPoly => "ChaChaPoly",
            Suite::AesGcm => "AESGCM",
        }
    }
}
