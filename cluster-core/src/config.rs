//! What a node can be told to be, and the bounds it keeps.

mod error;
mod limits;
mod security;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::ops::RangeInclusive;
use core::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;

pub use self::error::ConfigError;
pub(crate) use self::error::at_most;
use self::error::{below, positive};
pub use self::limits::Limits;
pub(crate) use self::security::Security;
use crate::address::Target;
use crate::id::NodeId;
use crate::identity::Identity;
use crate::limits as fixed;
use crate::wire::Name;

/// The settings of a node.
///
/// Every setting has a default that suits a local network; a preset ([`lan`](Config::lan), [`wan`](Config::wan),
/// [`local`](Config::local), [`go`](Config::go)) changes the timing as a whole, a setter one value. Setters consume
/// and return the config, so they chain. Nothing is clamped: values that cannot work together are a [`ConfigError`]
/// when the node is made or [reconfigured](crate::Node::set_config).
///
/// ```
/// use cluster_core::Config;
/// use core::time::Duration;
///
/// # let secret = cluster_core::Secret::from_bytes([1; 32]);
/// let config = Config::new(secret)
///     .wan()
///     .name("node-1".parse()?)
///     .heartbeat(Duration::from_secs(2));
/// # Ok::<(), cluster_core::ParseNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub(crate) security: Security,
    pub(crate) identity: Option<Identity>,
    pub(crate) allow: Option<BTreeSet<NodeId>>,
    /// The user knows that a node without a secret can be reached.
    pub(crate) exposed: bool,
    pub(crate) cluster: Option<Name>,
    pub(crate) node_id: Option<NodeId>,
    pub(crate) name: Option<Name>,
    pub(crate) metadata: Bytes,
    pub(crate) advertise: Vec<SocketAddr>,
    pub(crate) seeds: Vec<Target>,
    pub(crate) follow: Vec<IpNet>,
    pub(crate) versions: RangeInclusive<u8>,
    pub(crate) timing: Timing,
    pub(crate) limits: Limits,
    pub(crate) offline: Offline,
    pub(crate) acknowledge: Acknowledge,
}

/// What becomes of a message to a peer that is lost, while the session with it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offline {
    /// It is accepted, up to `send_window`, and sent when the peer is back. The default.
    #[default]
    Queue,
    /// It is refused with [`SendErrorKind::NotConnected`](crate::SendErrorKind::NotConnected).
    Refuse,
}

/// When a message counts as delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acknowledge {
    /// When the application takes it. The default.
    #[default]
    OnTake,
    /// When the application says so, with [`Node::acknowledge`](crate::Node::acknowledge): for those who must know
    /// that a message was not only taken but dealt with. A message that was taken and not acknowledged keeps its place
    /// in the window of its sender, so an application that never acknowledges gets at most a window of messages.
    Manual,
}

/// Every interval and timeout. All can change at run time; the setter of the same name in [`Config`] says what each is
/// for and what its extremes do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// How long a peer may be silent before it is pinged.
    pub heartbeat: Duration,
    /// How long a peer may be silent before it is down.
    pub peer_timeout: Duration,
    /// How long a link under suspicion has to answer a ping.
    pub probe_timeout: Duration,
    /// How long a connection has until it links two peers.
    pub handshake_timeout: Duration,
    /// How long output may wait without the connection taking any of it.
    pub write_stall: Duration,
    /// How long a join tries.
    pub join_timeout: Duration,
    /// The longest wait before the first retry.
    pub reconnect_base: Duration,
    /// The longest wait before any retry.
    pub reconnect_max: Duration,
    /// How long a node that broke the protocol is not dialled by itself.
    pub violation_backoff: Duration,
    /// How long a link must last before the next loss counts as a first failure.
    pub stable_after: Duration,
    /// How long a lost peer is dialled; `None` is for ever.
    pub forget_after: Option<Duration>,
    /// How often a seed that nobody is connected at is dialled at the least.
    pub seed_interval: Duration,
    /// How often the view of the mesh is compared with that of one random peer.
    pub gossip_interval: Duration,
    /// How long it is remembered that a run left, that a peer was disconnected, or which run gave its place away.
    pub tombstone_ttl: Duration,
    /// How long the session with a lost peer is kept.
    pub session_ttl: Duration,
}

impl Config {
    /// The version of the protocol that this crate speaks.
    pub const VERSION: u8 = 1;

    /// A config for a mesh without any protection: whoever reaches the port can join, listen and speak as anyone.
    ///
    /// Such a node listens at loopback addresses only, unless that is
    /// [confirmed](Config::plaintext_beyond_loopback).
    ///
    /// For tests, for one machine, and for networks that are protected by other means. [`Config::new`] is for all others.
    #[must_use]
    pub fn insecure_plaintext() -> Config {
        Config {
            security: Security::Plain,
            identity: None,
            allow: None,
            exposed: false,
            cluster: None,
            node_id: None,
            name: None,
            metadata: Bytes::new(),
            advertise: Vec::new(),
            seeds: Vec::new(),
            follow: Vec::new(),
            versions: Config::VERSION..=Config::VERSION,
            timing: Timing::LAN,
            limits: Limits::default(),
            offline: Offline::default(),
            acknowledge: Acknowledge::default(),
        }
    }

    /// Timing for a local network, the default: heartbeat 1 s, peers down after 5 s of silence, retries from 0.25 s
    /// to 30 s.
    #[must_use]
    pub fn lan(mut self) -> Config {
        self.timing = Timing::LAN;
        self
    }

    /// Timing for the internet: heartbeat 3 s, peers down after 15 s of silence, probe 3 s, handshake and join 10 s,
    /// retries from 1 s to 60 s.
    #[must_use]
    pub fn wan(mut self) -> Config {
        self.timing = Timing::WAN;
        self
    }

    /// Timing for nodes of one machine, such as tests: heartbeat 0.2 s, peers down after 1 s of silence, retries from
    /// 20 ms to 1 s. A busy machine can stall a process for longer than that; peers then come back by themselves.
    #[must_use]
    pub fn local(mut self) -> Config {
        self.timing = Timing::LOCAL;
        self
    }

    /// The numbers of the Go package `BurntSushi/cluster`: reconnect every 5 min and for ever, health checks every
    /// 30 s with a peer severed after twice that, network timeout 10 s.
    ///
    /// The Go inbox of 100 messages has its counterpart in [`Limits::initial_window`] and [`Limits::recv_window`],
    /// which are set to 100 messages of 4 KiB: here an inbox is bounded in bytes.
    #[must_use]
    pub fn go(mut self) -> Config {
        self.timing = Timing::GO;
        self.limits.initial_window = 100 * 4_096;
        self.limits.recv_window = 100 * 4_096;
        self
    }

    /// The cluster this node belongs to; nodes of other clusters are refused. Default: `default`. It keeps clusters
    /// apart that meet by accident, it keeps nobody out.
    #[must_use]
    pub fn cluster(mut self, cluster: Name) -> Config {
        self.cluster = Some(cluster);
        self
    }

    /// The node's id without a secret; with one, the [identity](Config::identity) makes it. Default: random at each
    /// start. Set it to keep an id over restarts; two live nodes with one id are told so and only the first stays
    /// connected.
    #[must_use]
    pub fn node_id(mut self, id: NodeId) -> Config {
        self.node_id = Some(id);
        self
    }

    /// A label that peers see. Default: none. It need not be unique.
    #[must_use]
    pub fn name(mut self, name: Name) -> Config {
        self.name = Some(name);
        self
    }

    /// Bytes that peers see and nobody interprets, at most [`MAX_METADATA`](crate::limits::MAX_METADATA). Default: none.
    /// Can change at run time; peers get a `PeerUpdated`.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Config {
        self.metadata = metadata.into();
        self
    }

    /// One more address at which peers can dial this node, at most [`MAX_ADDRESSES`](crate::limits::MAX_ADDRESSES).
    /// Default: the address it is bound to. Needed behind a port-forward that others should use.
    #[must_use]
    pub fn advertise(mut self, address: SocketAddr) -> Config {
        self.advertise.push(address);
        self
    }

    /// One more seed: a target that is dialled until a member answers, and again whenever none of its addresses is
    /// connected, for ever. Default: none.
    #[must_use]
    pub fn seed(mut self, target: Target) -> Config {
        self.seeds.push(target);
        self
    }

    /// One more network, at most [`MAX_FOLLOWED`](crate::limits::MAX_FOLLOWED), whose addresses are dialled when peers
    /// name them, whatever kind they are. Default: none.
    ///
    /// Of each kind (loopback, private, global) that the node has an address of itself, all are followed without that:
    /// it is for a node whose peers are reached at other kinds of address than it is. Special addresses (documentation,
    /// reserved, Teredo ...) are followed only in such a network, whatever the node's own are; multicast, unspecified and
    /// link-local ones never are.
    ///
    /// ```
    /// # let secret = cluster_core::Secret::from_bytes([1; 32]);
    /// let config = cluster_core::Config::new(secret).follow("10.20.0.0/16".parse()?);
    /// # Ok::<(), cluster_core::ParseNetworkError>(())
    /// ```
    #[must_use]
    pub fn follow(mut self, network: IpNet) -> Config {
        self.follow.push(network);
        self
    }

    /// The protocol versions to speak. Default: all that this crate knows. Narrow it to keep a mesh on an old version
    /// while its nodes are upgraded one by one.
    #[must_use]
    pub fn versions(mut self, versions: RangeInclusive<u8>) -> Config {
        self.versions = versions;
        self
    }

    /// How long a peer may be silent before it is pinged: this, or up to a quarter less, so that many peers are not
    /// pinged at one moment. Default 1 s. Shorter costs a small frame per peer and interval on idle links, longer delays
    /// the notice that a peer died. At least [`MIN_HEARTBEAT`](crate::limits::MIN_HEARTBEAT), below
    /// [`peer_timeout`](Config::peer_timeout).
    ///
    /// Up to 1 s, it is also how soon a receiver acknowledges what has arrived of a long message, and about how long data
    /// may wait in the queues of a slow path: a link has no more in flight than it carries in that time.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Config {
        self.timing.heartbeat = interval;
        self
    }

    /// How long a peer may be silent before it is down. Default 5 s. Too short, and a busy peer is dropped and
    /// reconnected; too long, and messages wait on a dead link. Above [`heartbeat`](Config::heartbeat).
    ///
    /// Every byte that arrives ends the silence, so a slow link stays however long a message takes on it.
    #[must_use]
    pub fn peer_timeout(mut self, timeout: Duration) -> Config {
        self.timing.peer_timeout = timeout;
        self
    }

    /// How long a link under suspicion has to answer a ping. Default 1 s. Above the worst round trip; at most
    /// [`peer_timeout`](Config::peer_timeout).
    #[must_use]
    pub fn probe_timeout(mut self, timeout: Duration) -> Config {
        self.timing.probe_timeout = timeout;
        self
    }

    /// How long a connection has from dial or accept until it links two peers. Default 5 s. Too short, and peers far
    /// away never connect; too long, and silent strangers hold their places. Above
    /// [`probe_timeout`](Config::probe_timeout).
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Config {
        self.timing.handshake_timeout = timeout;
        self
    }

    /// How long output may wait without the connection taking any of it, or data for room in flight without any of what is
    /// under way arriving. Default 10 s; longer where a long record is under way, which may take as long as it does at
    /// [`SLOWEST_LINK`](crate::limits::SLOWEST_LINK). Then the link is closed.
    #[must_use]
    pub fn write_stall(mut self, timeout: Duration) -> Config {
        self.timing.write_stall = timeout;
        self
    }

    /// How long a join tries before it fails. Default 5 s.
    #[must_use]
    pub fn join_timeout(mut self, timeout: Duration) -> Config {
        self.timing.join_timeout = timeout;
        self
    }

    /// How long to wait before a lost peer is dialled again: a random span up to `base` after the first failure,
    /// the limit doubling with each failure up to `max`. Default 0.25 s and 30 s. `base` must not be above `max`.
    #[must_use]
    pub fn reconnect(mut self, base: Duration, max: Duration) -> Config {
        self.timing.reconnect_base = base;
        self.timing.reconnect_max = max;
        self
    }

    /// How long a node that broke the protocol is not dialled by itself: this, or up to a quarter more. Default 60 s. A
    /// join dials it at once, and it may come by itself: what one link of it did is no reason to refuse the next, or
    /// whoever uses its id in a mesh without a secret could keep it out. Shorter, and two versions that cannot get along
    /// try more often.
    #[must_use]
    pub fn violation_backoff(mut self, span: Duration) -> Config {
        self.timing.violation_backoff = span;
        self
    }

    /// How long a link must last before the next loss counts as a first failure. Default 10 s. At zero a flapping
    /// link is redialled at full speed.
    #[must_use]
    pub fn stable_after(mut self, span: Duration) -> Config {
        self.timing.stable_after = span;
        self
    }

    /// How long a lost peer is dialled before it is forgotten; `None` is for ever. Default 24 h.
    #[must_use]
    pub fn forget_after(mut self, span: Option<Duration>) -> Config {
        self.timing.forget_after = span;
        self
    }

    /// How often a seed that nobody is connected at is resolved and dialled again at the least. Default 30 s.
    #[must_use]
    pub fn seed_interval(mut self, interval: Duration) -> Config {
        self.timing.seed_interval = interval;
        self
    }

    /// How often the view of the mesh is compared with that of one random peer. Default 30 s. It repairs what the
    /// exchange at each connection missed.
    #[must_use]
    pub fn gossip_interval(mut self, interval: Duration) -> Config {
        self.timing.gossip_interval = interval;
        self
    }

    /// How long it is remembered that a run left or that a peer was disconnected. Default 24 h. Shorter than a
    /// partition, and departed nodes are dialled once more when it heals.
    #[must_use]
    pub fn tombstone_ttl(mut self, span: Duration) -> Config {
        self.timing.tombstone_ttl = span;
        self
    }

    /// How long the session with a lost peer is kept: what was accepted for it waits, and goes on without loss or
    /// repetition when the same run is back in time. Default 5 min; 15 min with [`go`](Config::go). Afterwards it is
    /// reported by [`Event::Undelivered`](crate::Event::Undelivered). Shorter than the usual outage, and more is
    /// reported; longer, and memory up to `send_window` and the peer's window is held for longer. Zero ends the session
    /// with its link.
    #[must_use]
    pub fn session_ttl(mut self, span: Duration) -> Config {
        self.timing.session_ttl = span;
        self
    }

    /// What becomes of a message to a peer that is lost, while the session with it lives. Default
    /// [`Offline::Queue`].
    #[must_use]
    pub fn offline(mut self, policy: Offline) -> Config {
        self.offline = policy;
        self
    }

    /// When a message counts as delivered. Default [`Acknowledge::OnTake`]. Cannot change while the node runs.
    #[must_use]
    pub fn acknowledge(mut self, mode: Acknowledge) -> Config {
        self.acknowledge = mode;
        self
    }

    /// The bounds on memory and on work. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Config {
        self.limits = limits;
        self
    }

    /// The seeds.
    #[must_use]
    pub fn seeds(&self) -> &[Target] {
        &self.seeds
    }

    /// Whether the settings can work together.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the two settings, or the setting and the bound, that contradict each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        let timing = &self.timing;
        let limits = &self.limits;
        at_most("MIN_HEARTBEAT", fixed::MIN_HEARTBEAT, "heartbeat", timing.heartbeat)?;
        positive("probe_timeout", timing.probe_timeout)?;
        positive("write_stall", timing.write_stall)?;
        positive("join_timeout", timing.join_timeout)?;
        positive("reconnect base", timing.reconnect_base)?;
        positive("seed_interval", timing.seed_interval)?;
        positive("gossip_interval", timing.gossip_interval)?;
        positive("dial_interval", limits.dial_interval)?;
        below("heartbeat", timing.heartbeat, "peer_timeout", timing.peer_timeout)?;
        at_most("probe_timeout", timing.probe_timeout, "peer_timeout", timing.peer_timeout)?;
        below("probe_timeout", timing.probe_timeout, "handshake_timeout", timing.handshake_timeout)?;
        at_most("reconnect base", timing.reconnect_base, "reconnect max", timing.reconnect_max)?;
        at_most("metadata length", self.metadata.len(), "MAX_METADATA", fixed::MAX_METADATA)?;
        at_most("advertised addresses", self.advertise.len(), "MAX_ADDRESSES", fixed::MAX_ADDRESSES)?;
        at_most("seeds", self.seeds.len(), "MAX_TARGETS", fixed::MAX_TARGETS)?;
        at_most("networks to follow", self.follow.len(), "MAX_FOLLOWED", fixed::MAX_FOLLOWED)?;
        at_most("lowest version", *self.versions.start(), "highest version", *self.versions.end())?;
        at_most("lowest version", *self.versions.start(), "VERSION", Config::VERSION)?;
        at_most("version 1", Config::VERSION, "highest version", *self.versions.end())?;
        self.check_security()?;
        for (name, value) in [
            ("max_peers", limits.max_peers),
            ("max_pending", limits.max_pending),
            ("max_pending_per_ip", limits.max_pending_per_ip),
            ("max_greeted", limits.max_greeted),
            ("accept_burst", limits.accept_burst as usize),
            ("accept_burst_per_ip", limits.accept_burst_per_ip as usize),
            ("max_dials", limits.max_dials),
            ("max_dials_per_ip", limits.max_dials_per_ip),
            ("dial_burst", limits.dial_burst as usize),
        ] {
            at_most("1", 1, name, value)?;
        }
        let (burst, interval) = (fixed::MIN_CONTROL_BURST as usize, fixed::MAX_CONTROL_INTERVAL);
        at_most("MIN_CONTROL_BURST", burst, "control_burst", limits.control_burst as usize)?;
        at_most("control_interval", limits.control_interval, "MAX_CONTROL_INTERVAL", interval)?;
        at_most("max_peers", limits.max_peers, "MAX_LIST", fixed::MAX_LIST)?;
        at_most("1 KiB", 1_024, "initial_window", limits.initial_window)?;
        at_most("initial_window", limits.initial_window, "recv_window", limits.recv_window)?;
        at_most("1", 1, "max_message", limits.max_message)?;
        at_most("max_message", limits.max_message, "4 GiB", 1 << 32)?;
        let sure = (limits.max_peers as u64).saturating_mul(limits.initial_window);
        let needed = sure.saturating_add(limits.max_message.saturating_add(9).saturating_mul(2));
        at_most("max_peers × initial_window + 2 × (max_message + 9)", needed, "recv_budget", limits.recv_budget)
    }

    pub(crate) fn cluster_name(&self) -> Name {
        self.cluster.clone().unwrap_or_else(Name::default_cluster)
    }
}

impl Timing {
    const LAN: Timing = Timing {
        heartbeat: Duration::from_secs(1),
        peer_timeout: Duration::from_secs(5),
        probe_timeout: Duration::from_secs(1),
        handshake_timeout: Duration::from_secs(5),
        write_stall: Duration::from_secs(10),
        join_timeout: Duration::from_secs(5),
        reconnect_base: Duration::from_millis(250),
        reconnect_max: Duration::from_secs(30),
        violation_backoff: Duration::from_secs(60),
        stable_after: Duration::from_secs(10),
        forget_after: Some(DAY),
        seed_interval: Duration::from_secs(30),
        gossip_interval: Duration::from_secs(30),
        tombstone_ttl: DAY,
        session_ttl: Duration::from_secs(5 * 60),
    };

    const WAN: Timing = Timing {
        heartbeat: Duration::from_secs(3),
        peer_timeout: Duration::from_secs(15),
        probe_timeout: Duration::from_secs(3),
        handshake_timeout: Duration::from_secs(10),
        write_stall: Duration::from_secs(30),
        join_timeout: Duration::from_secs(10),
        reconnect_base: Duration::from_secs(1),
        reconnect_max: Duration::from_secs(60),
        stable_after: Duration::from_secs(30),
        ..Timing::LAN
    };

    const LOCAL: Timing = Timing {
        heartbeat: Duration::from_millis(200),
        peer_timeout: Duration::from_secs(1),
        probe_timeout: Duration::from_millis(500),
        handshake_timeout: Duration::from_secs(2),
        write_stall: Duration::from_secs(5),
        reconnect_base: Duration::from_millis(20),
        reconnect_max: Duration::from_secs(1),
        stable_after: Duration::from_secs(2),
        seed_interval: Duration::from_secs(2),
        gossip_interval: Duration::from_secs(5),
        ..Timing::LAN
    };

    const GO: Timing = Timing {
        heartbeat: Duration::from_secs(30),
        peer_timeout: Duration::from_secs(60),
        probe_timeout: Duration::from_secs(5),
        handshake_timeout: Duration::from_secs(10),
        write_stall: Duration::from_secs(10),
        join_timeout: Duration::from_secs(10),
        reconnect_base: Duration::from_secs(300),
        reconnect_max: Duration::from_secs(300),
        forget_after: None,
        seed_interval: Duration::from_secs(300),
        session_ttl: Duration::from_secs(15 * 60),
        ..Timing::LAN
    };
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn base() -> Config {
        Config::insecure_plaintext()
    }

    #[test]
    fn every_preset_can_work() {
        for config in [base(), base().lan(), base().wan(), base().local(), base().go()] {
            assert_eq!(config.check(), Ok(()));
        }
    }

    #[test]
    fn a_contradiction_names_both_settings_and_their_values() {
        let config = base().heartbeat(Duration::from_secs(7));
        assert_eq!(config.check().unwrap_err().to_string(), "heartbeat (7s) must be below peer_timeout (5s)");
        let limits = Limits { recv_budget: 1 << 20, ..Limits::default() };
        let text = base().limits(limits).check().unwrap_err().to_string();
        assert!(text.contains("recv_budget (1048576)") && text.contains("max_peers × initial_window"), "{text}");
    }

    #[test]
    fn a_value_at_the_edge_is_taken_and_one_beyond_is_not() {
        let edge = Duration::from_secs(5);
        assert!(base().heartbeat(edge - Duration::from_nanos(1)).check().is_ok());
        assert!(base().heartbeat(edge).check().is_err());
        assert!(base().probe_timeout(edge - Duration::from_nanos(1)).check().is_ok());
        assert!(base().heartbeat(Duration::ZERO).check().is_err());
        let limits = Limits { dial_interval: Duration::ZERO, ..Limits::default() };
        let text = base().limits(limits).check().unwrap_err().to_string();
        assert_eq!(text, "dial_interval must not be zero");
        assert!(base().metadata(alloc::vec![0; fixed::MAX_METADATA]).check().is_ok());
        assert!(base().metadata(alloc::vec![0; fixed::MAX_METADATA + 1]).check().is_err());
        assert!(base().versions(2..=3).check().is_err());
    }
}
