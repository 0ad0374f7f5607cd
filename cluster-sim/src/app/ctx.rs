//! What an application can do.

use std::time::Duration;

use bytes::Bytes;
use cluster_core::{
    Broadcast, Config, ConfigError, FlushError, FlushId, Instant, JoinError, JoinId, NodeId, PeerInfo, Receipt, Run,
    SendError, Target, UnknownPeer,
};
use cluster_timeline::record::{HostId, Record};

use super::disk::Disk;
use super::timers::{MAX_TIMERS, Timers};
use crate::calls::Calls;
use crate::rng::Rng;

/// The shortest time after which a timer is due, so that one that is set again and again lets time pass.
const SHORTEST: Duration = Duration::from_micros(1);

/// What an [`App`](super::App) can do: use its node, and everything that it may use of its host. Nothing else in a
/// simulated program may depend on time or chance: no real clock, no thread, no other randomness, no order of a
/// `HashMap`.
#[derive(Debug)]
pub struct Ctx<'a> {
    pub(super) calls: Calls<'a>,
    pub(super) desk: &'a mut Desk,
}

/// What is kept for an application.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) timers: Timers,
    pub(super) rng: Rng,
}

/// The node.
impl Ctx<'_> {
    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.run().id
    }

    /// Which run of the node this is.
    #[must_use]
    pub fn run(&self) -> Run {
        self.calls.node.run()
    }

    /// Up and lost peers, ordered by id.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> + '_ {
        self.calls.node.peers()
    }

    /// One peer, if it is up or lost.
    #[must_use]
    pub fn peer(&self, id: NodeId) -> Option<PeerInfo> {
        self.calls.node.peer(id)
    }

    /// Sends to one peer.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; if there was no room, [`App::on_writable`](super::App::on_writable) follows.
    pub fn send(&mut self, to: NodeId, payload: impl Into<Bytes>) -> Result<(), SendError> {
        self.calls.send(to, payload.into())
    }

    /// Sends to every peer.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn broadcast(&mut self, payload: impl Into<Bytes>) -> Result<Broadcast, SendError> {
        self.calls.broadcast(payload.into())
    }

    /// Waits for the outcomes of everything accepted so far for a peer; an
    /// [`Event::Flushed`](cluster_core::Event::Flushed) says so.
    ///
    /// # Errors
    ///
    /// See [`FlushError`].
    pub fn flush(&mut self, peer: NodeId) -> Result<FlushId, FlushError> {
        self.calls.flush(peer)
    }

    /// Acknowledges a message that was taken, and all before it of the same run; needed only with
    /// [`Acknowledge::Manual`](cluster_core::Acknowledge::Manual).
    pub fn acknowledge(&mut self, receipt: Receipt) {
        self.calls.acknowledge(receipt);
    }

    /// Joins the mesh at `target`. An [`Event::Joined`](cluster_core::Event::Joined) or `JoinFailed` follows.
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    pub fn join(&mut self, target: impl Into<Target>) -> Result<JoinId, JoinError> {
        self.calls.join(target.into())
    }

    /// Disconnects a peer.
    ///
    /// # Errors
    ///
    /// If there is no such peer.
    pub fn disconnect(&mut self, peer: NodeId) -> Result<(), UnknownPeer> {
        self.calls.disconnect(peer)
    }

    /// Leaves gracefully, waiting at most `timeout` for what was sent to be taken.
    pub fn leave(&mut self, timeout: Duration) {
        self.calls.leave(timeout);
    }

    /// The settings of the node.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.calls.node.config()
    }

    /// Changes settings.
    ///
    /// # Errors
    ///
    /// If they contradict each other, or cannot change.
    pub fn set_config(&mut self, config: Config) -> Result<(), ConfigError> {
        self.calls.set_config(config)
    }
}

/// The host.
impl Ctx<'_> {
    /// On which host this is.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.calls.io.host
    }

    /// The host's own monotonic clock, in virtual time. It begins anywhere, and faults may make it jump.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.calls.io.clock()
    }

    /// Has [`App::on_timer`](super::App::on_timer) called with this key once `after` has passed, at the least a
    /// microsecond. A timer of the same key that is set already is replaced.
    ///
    /// # Panics
    ///
    /// If 65,536 timers are set.
    pub fn set_timer(&mut self, key: u64, after: Duration) {
        let at = self.now() + after.max(SHORTEST);
        assert!(self.desk.timers.set(key, at), "an application has more than {MAX_TIMERS} timers");
    }

    /// Forgets a timer. Says whether it was set.
    pub fn cancel_timer(&mut self, key: u64) -> bool {
        self.desk.timers.cancel(key)
    }

    /// A number below `bound`, 0 if that is 0, from the random stream of this process, which comes from the seed.
    pub fn draw(&mut self, bound: u64) -> u64 {
        self.desk.rng.below(bound)
    }

    /// What outlives the process.
    pub fn disk(&mut self) -> &mut Disk {
        self.calls.io.disk
    }

    /// Writes a line into the trace: it is shown when a run fails, and in the [`Timeline`](crate::Timeline).
    pub fn log(&mut self, line: impl Into<String>) {
        self.calls.io.trace(Record::App(line.into()));
    }
}
