//! What makes a node the same node after a restart, and nobody else.

use core::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use crate::hex::{self, Hex};
use crate::id::NodeId;
use crate::secret::ParseKeyError;
use crate::wire::curve;

/// The key of one node. Its [`NodeId`] is made from it, and only who has it can speak as that node.
///
/// Without one a node makes a new key at each start, hence has a new id. `Debug` shows the id alone; the key is wiped
/// when the identity is dropped.
///
/// ```
/// use cluster_core::Identity;
///
/// let identity = Identity::from_bytes([7; 32]); // random in earnest
/// let stored = identity.reveal().to_string();
/// assert_eq!(Identity::from_hex(&stored)?.id(), identity.id());
/// # Ok::<(), cluster_core::ParseKeyError>(())
/// ```
#[derive(Clone)]
pub struct Identity {
    private: [u8; 32],
    public: [u8; 32],
}

impl Identity {
    /// The identity of this private key, which must come from a source of randomness fit for keys. Every 32 bytes are
    /// one. Costs a multiplication on the curve.
    #[must_use]
    pub fn from_bytes(private: [u8; 32]) -> Identity {
        Identity { private, public: curve::public(&private) }
    }

    /// Reads the text form: 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`ParseKeyError`] for anything else, which says nothing of the text.
    pub fn from_hex(text: &str) -> Result<Identity, ParseKeyError> {
        hex::decode(text).map(Identity::from_bytes).ok_or(ParseKeyError)
    }

    /// The text form of the private key, for whoever has to store it.
    #[must_use]
    pub fn reveal(&self) -> impl fmt::Display + '_ {
        Hex(&self.private)
    }

    /// The id of the node that has this key: the first 16 bytes of SHA-256 over `cluster-node-id` and the public key.
    #[must_use]
    pub fn id(&self) -> NodeId {
        node_id(&self.public)
    }

    pub(crate) const fn private(&self) -> &[u8; 32] {
        &self.private
    }

    pub(crate) const fn public(&self) -> &[u8; 32] {
        &self.public
    }
}

/// The id of the node that has this public key.
pub(crate) fn node_id(public: &[u8; 32]) -> NodeId {
    let hash = Sha256::new().chain_update(b"cluster-node-id").chain_update(public).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    NodeId::from_bytes(id)
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.private.zeroize();
    }
}

/// Two identities with the same public key are the same.
impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        self.public == other.public
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn another_key_is_another_node() {
        let [one, other] = [1, 2].map(|byte| Identity::from_bytes([byte; 32]));
        assert_ne!(one.id(), other.id());
        assert_eq!(one, Identity::from_hex(&one.reveal().to_string()).unwrap());
    }

    #[test]
    fn the_key_is_shown_only_on_request() {
        let identity = Identity::from_bytes([0xab; 32]);
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.id()));
    }
}
