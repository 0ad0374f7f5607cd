//! What the nodes of a schedule are configured to be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use cluster_core::{Acknowledge, Config, Limits, Secret};
use serde::{Deserialize, Serialize};

use super::{WorldError, span};
use crate::net::Buffers;

/// The config of every node of a schedule, as far as schedules vary it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// The nodes share a [secret](Profile::secret), without which nobody is let in. Default: no.
    pub secure: bool,
    /// The timing as a whole.
    pub pace: Pace,
    /// How many of the nodes, from the first, every node has as seeds. With none, each node joins the first one at
    /// time 0. Default 2.
    pub seeds: u32,
    /// The longest message in bytes. Default 16 MiB.
    pub max_message: u64,
    /// Bytes accepted for one peer and not yet taken by it. Default 8 MiB.
    pub send_window: u64,
    /// The credit in bytes that each peer has for sure. Default 256 KiB.
    pub initial_window: u64,
    /// The credit in bytes that a peer may grow to. Default 8 MiB.
    pub recv_window: u64,
    /// How many peers a node may have, and has credit for: at least as many as there are other nodes, and hostile
    /// [members](super::Op::Insider) besides. Default 512.
    pub max_peers: usize,
    /// The credit in bytes beyond what peers have for sure, for windows that grow and for long messages. Default
    /// 128 MiB.
    pub spare_credit: u64,
    /// The bytes of the send buffer and of the receive buffer of every connection. Default 256 KiB.
    pub buffer: usize,
    /// How long output may wait without the connection taking any of it. Default 10 s, at every pace.
    #[serde(with = "span")]
    pub write_stall: Duration,
    /// How long a lost peer is dialled before it is forgotten. Default 24 h.
    #[serde(with = "span")]
    pub forget_after: Duration,
    /// How long it is remembered who left or was disconnected. Default 24 h.
    #[serde(with = "span")]
    pub tombstone_ttl: Duration,
    /// How long the session with a lost peer is kept. Default 5 min, at every pace.
    #[serde(with = "span")]
    pub session_ttl: Duration,
    /// After how many messages users acknowledge those they have taken; 0: a message that is taken is delivered.
    /// Default 0.
    pub acknowledge: u64,
}

/// A preset of every interval and timeout of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// [`Config::lan`].
    #[default]
    Lan,
    /// [`Config::wan`].
    Wan,
    /// [`Config::local`].
    Local,
}

impl Default for Profile {
    fn default() -> Profile {
        let limits = Limits::default();
        Profile {
            secure: false,
            pace: Pace::Lan,
            seeds: 2,
            max_message: limits.max_message,
            send_window: limits.send_window,
            initial_window: limits.initial_window,
            recv_window: limits.recv_window,
            max_peers: limits.max_peers,
            spare_credit: limits.recv_budget - limits.max_peers as u64 * limits.initial_window,
            buffer: Buffers::default().send,
            write_stall: Duration::from_secs(10),
            forget_after: DAY,
            tombstone_ttl: DAY,
            session_ttl: Duration::from_secs(300),
            acknowledge: 0,
        }
    }
}

impl Profile {
    /// The secret that nodes have whose profile says that they have one.
    #[must_use]
    pub fn secret() -> Secret {
        Secret::from_bytes(*b"the secret of a simulated world!")
    }

    /// The config of a node in a world of this many.
    #[must_use]
    pub fn config(&self, nodes: u32) -> Config {
        let mut limits = Limits::default();
        limits.max_message = self.max_message;
        limits.send_window = self.send_window;
        limits.initial_window = self.initial_window;
        limits.recv_window = self.recv_window;
        limits.max_peers = self.max_peers;
        let sure = (self.max_peers as u64).saturating_mul(self.initial_window);
        limits.recv_budget = sure.saturating_add(self.spare_credit);
        let config = if self.secure { Config::new(Profile::secret()) } else { Config::insecure_plaintext() };
        let config = self.pace.of(config);
        let config = config.limits(limits).write_stall(self.write_stall);
        let config = config.forget_after(Some(self.forget_after)).tombstone_ttl(self.tombstone_ttl);
        let config = config.session_ttl(self.session_ttl).acknowledge(match self.acknowledge {
            0 => Acknowledge::OnTake,
            _ => Acknowledge::Manual,
        });
        self.with_seeds(config, nodes)
    }

    pub(crate) fn with_seeds(&self, config: Config, nodes: u32) -> Config {
        (0..self.seeds.min(nodes)).fold(config, |config, seed| config.seed(address(seed).into()))
    }

    /// The buffers of every connection, for [`NetMut::set_buffers`](crate::NetMut::set_buffers).
    #[must_use]
    pub fn buffers(&self) -> Buffers {
        Buffers { send: self.buffer, receive: self.buffer }
    }

    pub(crate) fn check(&self, nodes: u32) -> Result<(), WorldError> {
        if self.seeds > nodes {
            return Err(WorldError::UnknownNode { node: self.seeds - 1, nodes });
        }
        if self.buffer == 0 {
            return Err(WorldError::NoBuffer);
        }
        super::check_span(self.write_stall)?;
        super::check_span(self.forget_after)?;
        super::check_span(self.tombstone_ttl)?;
        super::check_span(self.session_ttl)?;
        Ok(self.config(nodes).check()?)
    }
}

impl Pace {
    /// `config` at this pace.
    #[must_use]
    pub fn of(self, config: Config) -> Config {
        match self {
            Pace::Lan => config.lan(),
            Pace::Wan => config.wan(),
            Pace::Local => config.local(),
        }
    }
}

/// The address that the `index`-th host of a world has at first.
pub(crate) fn address(index: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, (index / 250) as u8, (index % 250) as u8 + 1)), 7_000)
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_is_the_default_config_with_two_seeds() {
        let seeds = ["10.0.0.1:7000", "10.0.0.2:7000"].map(|text| text.parse().unwrap());
        let expected = seeds.into_iter().fold(Config::insecure_plaintext(), Config::seed);
        assert_eq!(Profile::default().config(3), expected);
        assert_eq!(Profile::default().check(3), Ok(()));
    }

    #[test]
    fn more_seeds_than_nodes_are_refused() {
        assert_eq!(Profile::default().check(1), Err(WorldError::UnknownNode { node: 1, nodes: 1 }));
    }
}
