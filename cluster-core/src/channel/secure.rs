//! What a channel in secure mode needs until its handshake is done.

use alloc::boxed::Box;

use zeroize::Zeroize as _;

use crate::credentials::Credentials;
use crate::secret::SecretId;
use crate::wire::noise::Handshake;
use crate::wire::preamble::Preamble;

/// Our side of the handshake, and what is known of the other.
pub(super) struct Secure {
    pub(super) credentials: Credentials,
    /// Apart, so that a connection that never says hello has not the room for it.
    pub(super) handshake: Option<Box<Handshake>>,
    /// The preamble of the other side.
    pub(super) theirs: Option<Preamble>,
    /// Which secret it has proven to have.
    pub(super) secret: Option<SecretId>,
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.credentials.entropy.zeroize();
    }
}
