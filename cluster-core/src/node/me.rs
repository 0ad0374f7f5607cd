//! The identity of a node, and its profile.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::context::Context;
use crate::address::Advertised;
use crate::channel::{Channel, Hello};
use crate::config::{Config, Security};
use crate::credentials::{Credentials, Role};
use crate::id::{Incarnation, LinkId};
use crate::identity::Identity;
use crate::rng::{Purpose, Rng, Seed};
use crate::time::Instant;
use crate::wire::Profile;

/// How far ahead of its own start a node adopts an incarnation: one year, in microseconds.
const MAX_ADOPTED_STEP: u64 = 366 * 24 * 60 * 60 * 1_000_000;

/// The node dials no peer for this long after it met another live node with its id, and reports the meeting once.
pub(super) const MUTE: Duration = Duration::from_secs(60);

/// The values that a node starts with.
#[derive(Clone, Debug)]
pub(super) struct Me {
    /// Proves the id, where a secret protects the node.
    identity: Option<Identity>,
    seed: Seed,
    /// The incarnation it started with. It may adopt a later one, once.
    born: Incarnation,
    listen: Option<SocketAddr>,
    /// When the node last reported that another live node has its id.
    told_of_clone: Option<Instant>,
}

impl Me {
    pub(super) fn new(identity: Option<Identity>, seed: Seed, born: Incarnation, listen: Option<SocketAddr>) -> Me {
        Me { identity, seed, born, listen, told_of_clone: None }
    }

    /// Returns the address that the driver listens at.
    pub(super) fn listen(&self) -> Option<SocketAddr> {
        self.listen
    }

    /// Creates the channel of a link. Returns `None` if a secret protects the node and it has no identity, which cannot
    /// happen.
    pub(super) fn channel(&self, cx: &Context, link: LinkId, role: Role) -> Option<Channel> {
        let mut rng = Rng::new(&self.seed, Purpose::Link(link.0));
        let hello = Hello {
            run: cx.run,
            cluster: cx.config.cluster_name(),
            versions: cx.config.versions.clone(),
            features: 0,
            nonce: rng.bytes(),
        };
        Some(match &cx.config.security {
            Security::Plain => Channel::new(role, hello),
            Security::Noise { keyring, suite } => {
                let (identity, keyring) = (self.identity.clone()?, keyring.clone());
                let credentials =
                    Credentials { identity, keyring, suite: suite.unwrap_or_default(), entropy: rng.bytes() };
                Channel::secure(role, hello, credentials)
            }
        })
    }

    /// Returns the profile for peers of which the node holds no earlier streams.
    pub(super) fn profile(&self, config: &Config) -> Profile {
        Profile {
            name: config.name.clone(),
            metadata: config.metadata.clone(),
            addresses: self.advertised(config),
            max_message: config.limits.max_message,
            window: config.limits.initial_window,
        }
    }

    /// Returns the addresses at which the node asks to be dialled.
    pub(super) fn advertised(&self, config: &Config) -> Vec<Advertised> {
        if config.advertise.is_empty() {
            self.listen.map(Advertised::from).into_iter().collect()
        } else {
            config.advertise.iter().copied().map(Advertised::from).collect()
        }
    }

    /// Returns the complete addresses at which the node listens or that its user advertises.
    pub(super) fn own_addresses<'a>(&self, config: &'a Config) -> impl Iterator<Item = SocketAddr> + use<'a> {
        let addresses = self.listen.into_iter().chain(config.advertise.iter().copied());
        addresses.filter(|address| !address.ip().is_unspecified())
    }

    /// Notes that another live node has this id. Returns whether to report it now.
    pub(super) fn met_clone(&mut self, now: Instant) -> bool {
        let news = self.told_of_clone.is_none_or(|told| now - told >= MUTE);
        if news {
            self.told_of_clone = Some(now);
        }
        news
    }

    /// Makes the next meeting with a node of the same id news: this node becomes another run.
    pub(super) fn forget_clone(&mut self) {
        self.told_of_clone = None;
    }

    /// Returns whether the run `present` may become one after `known`, which others have seen. It may once, and not by
    /// more than a clock can be wrong.
    pub(super) fn may_adopt(&self, present: Incarnation, known: Incarnation) -> bool {
        let believable = known.0 <= self.born.0.saturating_add(MAX_ADOPTED_STEP) && known.0 < u64::MAX;
        present == self.born && believable && known >= present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000_000;

    #[test]
    fn later_incarnation_is_adopted_once_within_a_year() {
        let me = Me::new(None, Seed::new([0; 32]), Incarnation(NOW), None);
        let may = |present, known| me.may_adopt(Incarnation(present), Incarnation(known));
        assert!(may(NOW, NOW) && may(NOW, NOW + MAX_ADOPTED_STEP));
        assert!(!may(NOW, NOW - 1) && !may(NOW, NOW + MAX_ADOPTED_STEP + 1));
        assert!(!may(NOW + 1, NOW + 2), "it has adopted one before");
    }

    #[test]
    fn advertised_addresses_replace_the_one_listened_at() {
        let listen: SocketAddr = "0.0.0.0:7000".parse().unwrap();
        let public: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let me = Me::new(None, Seed::new([0; 32]), Incarnation(NOW), Some(listen));
        let config = Config::insecure_plaintext();
        assert_eq!(me.advertised(&config), [Advertised::from(listen)]);
        assert_eq!(me.own_addresses(&config).count(), 0);
        let config = config.advertise(public);
        assert_eq!(me.advertised(&config), [Advertised::from(public)]);
        assert!(me.own_addresses(&config).eq([public]));
    }
}
