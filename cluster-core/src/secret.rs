//! What the members of a cluster share: the secret that lets them in, and the ring of them that allows to change it.

use core::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use crate::config::ConfigError;
use crate::hex::{self, Hex};
use crate::limits::MAX_ACCEPTED_SECRETS;

/// The key of a cluster: 32 random bytes that every member has and nobody else.
///
/// Who has it can join, and can read and alter nothing that others send to each other. It is no password: it must be
/// random, because whoever records one handshake can try guesses at leisure. Adapters make one from the randomness of
/// the operating system; on a terminal, `openssl rand -hex 32` does.
///
/// It is never shown by accident: there is no `Display`, and `Debug` hides it. Its bytes are wiped when it is dropped;
/// copies that the cryptographic library makes while a handshake lasts are not.
///
/// ```
/// use cluster_core::Secret;
///
/// let secret = Secret::from_hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")?;
/// assert_eq!(secret.reveal().to_string().len(), 64);
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(Secret::from_hex("correct horse battery staple").is_err());
/// # Ok::<(), cluster_core::ParseKeyError>(())
/// ```
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret made of these bytes, which must come from a source of randomness fit for keys.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// Reads the text form: 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`ParseKeyError`] for anything else, which says nothing of the text.
    pub fn from_hex(text: &str) -> Result<Secret, ParseKeyError> {
        hex::decode(text).map(Secret).ok_or(ParseKeyError)
    }

    /// The text form, for whoever has to store it.
    #[must_use]
    pub fn reveal(&self) -> impl fmt::Display + '_ {
        Hex(&self.0)
    }

    /// What the secret can be called without telling it.
    #[must_use]
    pub fn id(&self) -> SecretId {
        let hash = Sha256::new().chain_update(b"cluster-secret-id").chain_update(self.0).finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        SecretId(id)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Takes the same time wherever the two differ.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.0.iter().zip(&other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Tells secrets apart without telling them: a hash, 8 bytes. It stays on the machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId([u8; 8]);

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not a key: it needs exactly 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseKeyError;

impl fmt::Display for ParseKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key is 64 hexadecimal digits")
    }
}

impl core::error::Error for ParseKeyError {}

/// The secrets of a node: one that it dials with, and up to [`MAX_ACCEPTED_SECRETS`] more that it lets in.
///
/// To change the secret of a running cluster, one after the other on every node: [accept](Keyring::accept) the new one;
/// send with the new one and accept the old one; drop the old one. Each step may take as long as it likes, and no
/// message is lost: links that an old secret let in end when it is dropped, and their sessions go on over new ones.
///
/// ```
/// use cluster_core::{Keyring, Secret};
///
/// let (old, new) = (Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32])); // random in earnest
/// let first = Keyring::new(old.clone()).accept(new.clone());
/// let second = Keyring::new(new.clone()).accept(old);
/// let third = Keyring::new(new);
/// assert_eq!(first.ids().count(), 2);
/// # drop((second, third));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    sending: Secret,
    accepted: alloc::vec::Vec<Secret>,
}

impl Keyring {
    /// Just one secret.
    #[must_use]
    pub fn new(sending: Secret) -> Keyring {
        Keyring { sending, accepted: alloc::vec::Vec::new() }
    }

    /// One more secret that lets others in. More than [`MAX_ACCEPTED_SECRETS`] are a [`ConfigError`] when the config is
    /// used.
    #[must_use]
    pub fn accept(mut self, secret: Secret) -> Keyring {
        self.accepted.push(secret);
        self
    }

    /// What the secrets are called, the one to dial with first.
    pub fn ids(&self) -> impl Iterator<Item = SecretId> + '_ {
        self.secrets().map(Secret::id)
    }

    pub(crate) fn sending(&self) -> &Secret {
        &self.sending
    }

    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        core::iter::once(&self.sending).chain(&self.accepted)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let bound = ("MAX_ACCEPTED_SECRETS", MAX_ACCEPTED_SECRETS);
        crate::config::at_most("accepted secrets", self.accepted.len(), bound.0, bound.1)
    }
}

impl From<Secret> for Keyring {
    fn from(secret: Secret) -> Keyring {
        Keyring::new(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn nothing_but_64_digits_is_a_secret() {
        let text = "0".repeat(63);
        for text in ["", "password", &text, &format!("{text}g"), &format!("{text}00"), &format!("{text}é")] {
            assert_eq!(Secret::from_hex(text), Err(ParseKeyError), "{text}");
        }
    }

    #[test]
    fn a_secret_is_shown_only_on_request() {
        let secret = Secret::from_bytes([0xab; 32]);
        let ring = Keyring::new(secret.clone()).accept(Secret::from_bytes([0xac; 32]));
        let shown = format!("{secret:?} {ring:?} {:?}", ring.ids().collect::<alloc::vec::Vec<_>>());
        assert!(!shown.contains("abab") && !shown.contains("171") && !shown.contains("acac"), "{shown}");
        assert_eq!(secret.reveal().to_string(), "ab".repeat(32));
    }

    #[test]
    fn a_fourth_secret_is_refused() {
        let secret = |byte| Secret::from_bytes([byte; 32]);
        let ring = Keyring::new(secret(1)).accept(secret(2)).accept(secret(3));
        assert_eq!(ring.check(), Ok(()));
        assert!(ring.accept(secret(4)).check().is_err());
    }

    proptest! {
        #[test]
        fn a_secret_survives_its_text_form(bytes: [u8; 32], other: [u8; 32]) {
            let secret = Secret::from_bytes(bytes);
            prop_assert_eq!(Secret::from_hex(&secret.reveal().to_string()), Ok(secret.clone()));
            prop_assert_eq!(secret == Secret::from_bytes(other), bytes == other);
            prop_assert_eq!(secret.id() == Secret::from_bytes(other).id(), bytes == other);
        }
    }
}
