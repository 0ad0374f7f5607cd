//! The handle that users hold.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster_host::api::{
    BindError, Broadcast, Closed, Config, ConfigError, FlushError, IntoTarget, JoinError, JoinFailure, LEAVE_TIMEOUT,
    Message, NodeId, PeerInfo, Receipt, Run, SendError, SendErrorKind, Stats, UnknownPeer,
};
use cluster_host::{Caller, Handle};
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::oneshot;
use tokio::task::coop::consume_budget;

use crate::events::Events;
use crate::listener;
use crate::tasks::{self, Shell, Tokio};

/// A member of a cluster.
///
/// It is a handle: clones are cheap, refer to the same node, and can be used from any thread. When the last one is
/// dropped the node ends at once, without a goodbye; its peers take it for lost. [`leave`](Node::leave) is the polite
/// way.
///
/// Every future here can be dropped at any time: what it had not yet returned is not lost to the next call.
#[derive(Clone)]
pub struct Node {
    shell: Handle<Tokio>,
}

/// Everyday use.
impl Node {
    /// Makes a node that listens at `address`, and at no other. With port 0 the operating system picks a port.
    ///
    /// Must be called within a tokio runtime with I/O and time enabled; the node lives in it.
    ///
    /// # Errors
    ///
    /// [`BindError`] if the address cannot be listened at, or the config contradicts itself; also if the config has no
    /// secret, others can reach the address, and nobody has
    /// [confirmed](Config::plaintext_beyond_loopback) that.
    pub async fn bind(address: impl ToSocketAddrs + fmt::Display, config: Config) -> Result<Node, BindError> {
        config.check().map_err(BindError::Config)?;
        let failed = |error| BindError::Listen { address: address.to_string(), error };
        let listener = TcpListener::bind(&address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let shell = Shell::new(config, local, Tokio::current())?;
        shell.enter(Caller::Other, |state, _| {
            shell.runtime.spawn(state, listener::listen(Arc::clone(&shell), listener));
            shell.runtime.spawn(state, tasks::tick(Arc::clone(&shell)));
        });
        Ok(Node { shell: Handle::new(shell) })
    }

    /// The address it listens at, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shell.address
    }

    /// Connects to the node at `target`, and through it to all of its peers. Returns the node found there once it is
    /// a peer; at once if it already is one.
    ///
    /// The address need not be one that the other node knows of: a tunnel or a forwarded port will do. It is tried
    /// again until `join_timeout` is over. A call that is dropped is carried on in the background up to that time.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if `target` is no address, or no member answered there.
    pub async fn join(&self, target: impl IntoTarget) -> Result<NodeId, JoinError> {
        let target = target.into_target()?;
        let failed = |error| JoinError::Failed { target: target.clone(), error };
        let (sender, joined) = oneshot::channel();
        let begun = self.shell.enter(Caller::Other, |state, now| state.join(now, target.clone(), sender));
        begun.map_err(failed)?;
        joined.await.unwrap_or(Err(JoinFailure::Leaving)).map(|run| run.id).map_err(failed)
    }

    /// Sends a message to one peer, waiting while as much is on its way to it as `send_window` allows.
    ///
    /// Messages to one peer arrive in the order of these calls, each exactly once, also when the connection is lost
    /// and made again in between; or an [`Event::Undelivered`](cluster_core::Event::Undelivered) gives them back.
    ///
    /// # Errors
    ///
    /// [`SendError`], with the payload, if no session with the peer lives, the message is too large, or the node is
    /// leaving. Never [`Full`](SendErrorKind::Full).
    pub async fn send(&self, peer: NodeId, payload: impl Into<Bytes>) -> Result<(), SendError> {
        let mut payload = payload.into();
        loop {
            consume_budget().await;
            let refused = self.shell.enter(Caller::Sender, |state, now| {
                let error = state.core.send(now, peer, payload).err()?;
                // Under the same lock as the refusal, so that the room it asks for cannot come in between.
                let room = (error.kind == SendErrorKind::Full && !state.is_stopped())
                    .then(|| state.until_writable(peer).notified_owned());
                Some((error, room))
            });
            match refused {
                None => return Ok(()),
                Some((error, None)) => return Err(error),
                Some((error, Some(room))) => {
                    payload = error.payload;
                    room.await;
                }
            }
        }
    }

    /// Waits until every message accepted for a peer before this call is delivered: its application has taken it, or has
    /// acknowledged it where that is up to it.
    ///
    /// A call that is dropped changes nothing.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if some of them will not be, or nobody can tell.
    pub async fn flush(&self, peer: NodeId) -> Result<(), FlushError> {
        let (sender, flushed) = oneshot::channel();
        let begun = self.shell.enter(Caller::Other, |state, now| state.flush(now, peer, sender));
        begun.map_err(FlushError::Refused)?;
        FlushError::check(flushed.await.unwrap_or(None))
    }

    /// Sends a message to every peer, and says for each whether it is queued. It waits for none of them: a peer that
    /// takes no more at present is in the report, and can be sent to by itself.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the message is larger than this node accepts, or the node is leaving.
    pub fn broadcast(&self, payload: impl Into<Bytes>) -> Result<Broadcast, SendError> {
        self.shell.broadcast(payload.into())
    }

    /// The next message from any peer. Clones of a node share its inbox: each message goes to one caller.
    ///
    /// Cancel safe: a dropped call has taken nothing.
    ///
    /// # Errors
    ///
    /// [`Closed`] after the node has left and all it had received was taken.
    pub async fn recv(&self) -> Result<Message, Closed> {
        loop {
            consume_budget().await;
            let woken = self.shell.inbox.notified();
            if let Some(message) = self.try_recv()? {
                return Ok(message);
            }
            woken.await;
        }
    }

    /// What happens from now on, beginning with the peers that are up.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { queue: self.shell.subscribe() }
    }

    /// The peers that are up, and those that were lost and are being dialled, ordered by id.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shell.look(|core| core.peers().collect())
    }

    /// Leaves the cluster: peers get what was sent to them, for up to [`LEAVE_TIMEOUT`], then a goodbye, and do not
    /// try to reconnect. Returns when every connection, task and the listener has ended, with the number of messages
    /// that were not taken by their receivers.
    ///
    /// What was received before can still be taken with [`recv`](Node::recv). A call that is dropped does not stop
    /// the node from leaving.
    pub async fn leave(&self) -> u64 {
        self.leave_within(LEAVE_TIMEOUT).await
    }
}

/// Operating a node.
impl Node {
    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.shell.id
    }

    /// This run of the node. It changes at most once, when the mesh has seen a later run than the clock of this host
    /// gave it.
    #[must_use]
    pub fn run(&self) -> Run {
        self.shell.look(cluster_core::Node::run)
    }

    /// Adds a target that is dialled whenever nobody is connected there, for as long as the node lives.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if `target` is no address, there are too many already, or the node is leaving.
    pub fn add_seed(&self, target: impl IntoTarget) -> Result<(), JoinError> {
        self.shell.add_seed(target)
    }

    /// Sends a message to one peer if it can be queued at once.
    ///
    /// # Errors
    ///
    /// As [`send`](Node::send), and [`Full`](SendErrorKind::Full), with the payload.
    pub fn try_send(&self, peer: NodeId, payload: impl Into<Bytes>) -> Result<(), SendError> {
        self.shell.send(peer, payload.into())
    }

    /// The next message if one is waiting.
    ///
    /// # Errors
    ///
    /// [`Closed`] after the node has left and all it had received was taken.
    pub fn try_recv(&self) -> Result<Option<Message>, Closed> {
        let mut one = None;
        self.take(1, |message| one = Some(message))?;
        Ok(one)
    }

    /// Waits for a message, then appends it and those that wait behind it to `messages`, up to `limit` in all, and
    /// returns how many. It costs less per message than [`recv`](Node::recv).
    ///
    /// Cancel safe: a dropped call has taken nothing. With a `limit` of 0 it returns 0 at once.
    ///
    /// # Errors
    ///
    /// [`Closed`] after the node has left and all it had received was taken.
    pub async fn recv_many(&self, messages: &mut Vec<Message>, limit: usize) -> Result<usize, Closed> {
        loop {
            consume_budget().await;
            let woken = self.shell.inbox.notified();
            let taken = self.take(limit, |message| messages.push(message))?;
            if taken > 0 || limit == 0 {
                return Ok(taken);
            }
            woken.await;
        }
    }

    /// A message that was taken is dealt with, and so are all before it of the same peer. Only of consequence with
    /// [`Acknowledge::Manual`](cluster_core::Acknowledge::Manual).
    pub fn acknowledge(&self, receipt: Receipt) {
        self.shell.enter(Caller::Other, |state, now| state.core.acknowledge(now, receipt));
    }

    /// Closes the connection to a peer. Neither side dials the other again, and third nodes cannot talk them into it,
    /// until the user of either side joins the other.
    ///
    /// # Errors
    ///
    /// [`UnknownPeer`] if there is no such peer.
    pub fn disconnect(&self, peer: NodeId) -> Result<(), UnknownPeer> {
        self.shell.enter(Caller::Other, |state, now| state.core.disconnect(now, peer))
    }

    /// What is known of a peer.
    #[must_use]
    pub fn peer(&self, id: NodeId) -> Option<PeerInfo> {
        self.shell.look(|core| core.peer(id))
    }

    /// The addresses that the node tells its peers to dial it at.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shell.look(cluster_core::Node::addresses)
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> Config {
        self.shell.look(|core| core.config().clone())
    }

    /// Changes settings while the node runs. Intervals and timeouts apply from now on.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if they contradict each other, or one of them cannot change; then nothing has changed.
    pub fn set_config(&self, config: Config) -> Result<(), ConfigError> {
        self.shell.enter(Caller::Other, |state, now| state.core.set_config(now, config))
    }

    /// What the node has done, and how often it reached its bounds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shell.look(cluster_core::Node::stats)
    }

    /// [`leave`](Node::leave) with another timeout. Of several calls the earliest deadline holds.
    pub async fn leave_within(&self, timeout: Duration) -> u64 {
        self.shell.enter(Caller::Other, |state, now| state.core.leave(now, timeout));
        self.shell.runtime.stopped().await;
        self.shell.undelivered()
    }

    fn take(&self, limit: usize, each: impl FnMut(Message)) -> Result<usize, Closed> {
        let taken = self.shell.enter(Caller::Other, |state, now| state.take(now, limit, each))?;
        Ok(taken.unwrap_or(0))
    }
}

/// Shows the node's id and address.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shell.fmt(f)
    }
}
