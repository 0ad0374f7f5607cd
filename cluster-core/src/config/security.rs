//! Who is let in: the secret, the node's own key, and the list of nodes that are allowed.

use alloc::collections::BTreeSet;
use core::net::SocketAddr;

use super::error::at_most;
use super::{Config, ConfigError};
use crate::id::NodeId;
use crate::identity::Identity;
use crate::limits::MAX_ALLOWED;
use crate::secret::Keyring;
use crate::wire::Suite;

/// How the connections of a node are protected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Security {
    /// Not at all.
    Plain,
    /// By a secret that all members share, and a key of each node.
    Noise { keyring: Keyring, suite: Option<Suite> },
}

impl Security {
    pub(crate) const fn is_noise(&self) -> bool {
        matches!(self, Security::Noise { .. })
    }

    pub(crate) const fn keyring(&self) -> Option<&Keyring> {
        match self {
            Security::Plain => None,
            Security::Noise { keyring, .. } => Some(keyring),
        }
    }
}

impl Config {
    /// A config for a mesh of those who have this secret: nobody else can join it, listen, or speak as one of its
    /// nodes. It takes a [`Secret`](crate::Secret), or a [`Keyring`] while the secret is being changed.
    ///
    /// Who has the secret is trusted with what it is sent, and not to be who it says it is: ids are proven.
    ///
    /// ```
    /// use cluster_core::{Config, Secret};
    ///
    /// let secret = Secret::from_hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")?;
    /// assert!(Config::new(secret).is_secure());
    /// # Ok::<(), cluster_core::ParseKeyError>(())
    /// ```
    #[must_use]
    pub fn new(secrets: impl Into<Keyring>) -> Config {
        let security = Security::Noise { keyring: secrets.into(), suite: None };
        Config { security, ..Config::insecure_plaintext() }
    }

    /// Other secrets. Can change at run time, which is how the secret of a running cluster is changed, see [`Keyring`].
    /// A config without a secret becomes a secure one.
    #[must_use]
    pub fn keyring(mut self, secrets: impl Into<Keyring>) -> Config {
        let suite = self.chosen_suite();
        self.security = Security::Noise { keyring: secrets.into(), suite };
        self
    }

    /// The key of this node, which makes its id. Default: a new one at each start. Set it to keep the id over restarts,
    /// and to be on the [list](Config::allow) of others. Needs a secret.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Config {
        self.identity = Some(identity);
        self
    }

    /// The only nodes that may be peers, at most [`MAX_ALLOWED`]. Default: everyone who has the secret. Can change at
    /// run time; a node that is taken off the list is disconnected at once. Needs a secret, without which ids prove
    /// nothing.
    #[must_use]
    pub fn allow(mut self, nodes: impl IntoIterator<Item = NodeId>) -> Config {
        self.allow = Some(nodes.into_iter().collect());
        self
    }

    /// Everyone who has the secret may be a peer: takes back [`allow`](Config::allow).
    #[must_use]
    pub fn allow_all(mut self) -> Config {
        self.allow = None;
        self
    }

    /// The cipher of connections that this node makes; it speaks either on those it accepts. Default: the adapter picks
    /// AES-GCM where the processor has instructions for it, else [`Suite::ChaChaPoly`]. Without a secret it is ignored.
    #[must_use]
    pub fn suite(mut self, suite: Suite) -> Config {
        if let Security::Noise { suite: chosen, .. } = &mut self.security {
            *chosen = Some(suite);
        }
        self
    }

    /// For adapters: the cipher if the user has not chosen any.
    #[must_use]
    pub fn default_suite(self, suite: Suite) -> Config {
        if self.chosen_suite().is_some() { self } else { self.suite(suite) }
    }

    /// Whether an [identity](Config::identity) is set.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// The secrets, unless the config is a [plain one](Config::insecure_plaintext).
    #[must_use]
    pub fn secrets(&self) -> Option<&Keyring> {
        self.security.keyring()
    }

    /// Confirms that everybody who can reach the node may join, listen, and speak as anyone: without a secret adapters
    /// refuse to listen at an address that is not of this machine alone, see [`check_address`](Config::check_address).
    #[must_use]
    pub fn plaintext_beyond_loopback(mut self) -> Config {
        self.exposed = true;
        self
    }

    /// For adapters, before a node is made that listens at this address.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the config has no secret, the address is not a loopback one, and nobody has
    /// [confirmed](Config::plaintext_beyond_loopback) that this is meant.
    pub fn check_address(&self, listen: SocketAddr) -> Result<(), ConfigError> {
        if self.is_secure() || self.exposed || listen.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(ConfigError::without("an address that others can reach", "a secret, or plaintext_beyond_loopback"))
    }

    /// Whether a secret protects the node.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.security.is_noise()
    }

    /// Whether this node may be a peer.
    #[must_use]
    pub fn allows(&self, id: NodeId) -> bool {
        self.allow.as_ref().is_none_or(|allowed| allowed.contains(&id))
    }

    pub(crate) fn chosen_suite(&self) -> Option<Suite> {
        match self.security {
            Security::Plain => None,
            Security::Noise { suite, .. } => suite,
        }
    }

    pub(super) fn check_security(&self) -> Result<(), ConfigError> {
        let secure = self.is_secure();
        if secure && self.node_id.is_some() {
            return Err(ConfigError::together("node_id", "a secret"));
        }
        if !secure && self.identity.is_some() {
            return Err(ConfigError::without("identity", "a secret"));
        }
        if !secure && self.allow.is_some() {
            return Err(ConfigError::without("allow", "a secret"));
        }
        self.security.keyring().map_or(Ok(()), Keyring::check)?;
        at_most("allowed nodes", self.allow.as_ref().map_or(0, BTreeSet::len), "MAX_ALLOWED", MAX_ALLOWED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use alloc::format;
    use alloc::string::ToString;

    fn config() -> Config {
        Config::new(Secret::from_bytes([0xab; 32]))
    }

    #[test]
    fn what_needs_a_secret_is_refused_without_one() {
        let id = NodeId::from_bytes([1; 16]);
        let identity = Identity::from_bytes([1; 32]);
        let with = config().identity(identity.clone()).allow([id]);
        assert_eq!(with.check(), Ok(()));
        let plain = Config::insecure_plaintext;
        assert_eq!(plain().identity(identity).check().unwrap_err().to_string(), "identity needs a secret");
        assert_eq!(plain().allow([id]).check().unwrap_err().to_string(), "allow needs a secret");
        let both = config().node_id(id).check().unwrap_err().to_string();
        assert_eq!(both, "node_id and a secret exclude each other");
    }

    #[test]
    fn a_choice_of_the_user_is_not_overridden() {
        assert_eq!(config().default_suite(Suite::AesGcm).chosen_suite(), Some(Suite::AesGcm));
        let chosen = config().suite(Suite::ChaChaPoly).default_suite(Suite::AesGcm);
        assert_eq!(chosen.chosen_suite(), Some(Suite::ChaChaPoly));
    }

    #[test]
    fn without_a_secret_only_this_machine_may_be_listened_to() {
        let plain = Config::insecure_plaintext;
        for (address, alone) in [("127.0.0.1:1", true), ("[::1]:1", true), ("[::ffff:127.0.0.1]:1", true)]
            .into_iter()
            .chain([("0.0.0.0:1", false), ("[::]:1", false), ("10.0.0.1:1", false), ("203.0.113.1:1", false)])
        {
            let address = address.parse().unwrap();
            assert_eq!(plain().check_address(address).is_ok(), alone, "{address}");
            assert_eq!(plain().plaintext_beyond_loopback().check_address(address), Ok(()));
            assert_eq!(config().check_address(address), Ok(()));
        }
    }

    #[test]
    fn a_config_shows_no_key() {
        let shown = format!("{:?}", config().identity(Identity::from_bytes([0xcd; 32])));
        assert!(!shown.contains("171") && !shown.contains("abab") && !shown.contains("205"), "{shown}");
    }
}
