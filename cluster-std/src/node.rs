//! The handle that users hold.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use cluster_core::Instant;
use cluster_host::api::{
    BindError, Broadcast, Closed, Config, ConfigError, FlushError, IntoTarget, JoinError, JoinFailure, LEAVE_TIMEOUT,
    Message, NodeId, PeerInfo, Receipt, Run, SendError, SendErrorKind, Stats, UnknownPeer,
};
use cluster_host::{Caller, Handle};

use crate::events::Events;
use crate::listener::Listener;
use crate::threads::{self, Shell, State, Threads, Until};

/// A member of a cluster.
///
/// It is a handle: clones are cheap, refer to the same node, and can be used from any thread. When the last one is
/// dropped the node ends at once, without a goodbye and without waiting for its threads; its peers take it for lost.
/// [`leave`](Node::leave) is the polite way.
#[derive(Clone)]
pub struct Node {
    shell: Handle<Threads>,
}

/// Everyday use.
impl Node {
    /// Makes a node that listens at `address`, and at no other. With port 0 the operating system picks a port.
    ///
    /// # Errors
    ///
    /// [`BindError`] if the address cannot be listened at, the config contradicts itself, or the operating system lacks
    /// something. Nothing is left then.
    pub fn bind(address: impl ToSocketAddrs + fmt::Display, config: Config) -> Result<Node, BindError> {
        config.check().map_err(BindError::Config)?;
        let listened = Listener::bind(&address);
        let (listener, local) = listened.map_err(|error| BindError::Listen { address: address.to_string(), error })?;
        let node = Node { shell: Handle::new(Shell::new(config, local, Threads::new(listener))?) };
        if let Err(error) = threads::start(&node.shell) {
            node.shell.stop();
            threads::join_threads(&node.shell);
            return Err(BindError::Exhausted(error));
        }
        Ok(node)
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
    /// again until `join_timeout` is over; the call lasts no longer.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if `target` is no address, or no member answered there.
    pub fn join(&self, target: impl IntoTarget) -> Result<NodeId, JoinError> {
        let target = target.into_target()?;
        let failed = |error| JoinError::Failed { target: target.clone(), error };
        let (sender, joined) = sync_channel(1);
        let begun = self.enter(|state, now| state.join(now, target.clone(), sender));
        begun.map_err(failed)?;
        joined.recv().unwrap_or(Err(JoinFailure::Leaving)).map(|run| run.id).map_err(failed)
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
    pub fn send(&self, peer: NodeId, payload: impl Into<Bytes>) -> Result<(), SendError> {
        self.send_until(peer, payload.into(), Instant::MAX)
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

    /// The next message from any peer, waiting for it. Clones of a node share its inbox: each message goes to one
    /// caller.
    ///
    /// # Errors
    ///
    /// [`Closed`] after the node has left and all it had received was taken.
    pub fn recv(&self) -> Result<Message, Closed> {
        // Without a deadline there is a message, or an error.
        self.recv_until(Instant::MAX)?.ok_or(Closed)
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
    /// try to reconnect. Returns when every connection, the listener and every thread has ended (but for a look-up of
    /// a name that is under way, at most one), with the number of messages that were not taken by their receivers.
    ///
    /// What was received before can still be taken with [`recv`](Node::recv).
    pub fn leave(&self) -> u64 {
        self.leave_within(LEAVE_TIMEOUT)
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

    /// Sends a message to one peer, waiting for room at most so long.
    ///
    /// # Errors
    ///
    /// As [`send`](Node::send), and [`Full`](SendErrorKind::Full) when there was no room in time, with the payload.
    pub fn send_timeout(&self, peer: NodeId, payload: impl Into<Bytes>, timeout: Duration) -> Result<(), SendError> {
        self.send_until(peer, payload.into(), self.shell.clock.after(timeout))
    }

    /// The next message if one is waiting.
    ///
    /// # Errors
    ///
    /// [`Closed`] after the node has left and all it had received was taken.
    pub fn try_recv(&self) -> Result<Option<Message>, Closed> {
        self.recv_until(Instant::ZERO)
    }

    /// The next message, waiting for it at most so long; `None` if there was none.
    ///
    /// # Errors
    ///
    /// [`Closed`] after the node has left and all it had received was taken.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<Message>, Closed> {
        self.recv_until(self.shell.clock.after(timeout))
    }

    /// Waits for a message, then appends it and those that wait behind it to `messages`, up to `limit` in all, and
    /// returns how many. It costs less per message than [`recv`](Node::recv). With a `limit` of 0 it returns 0 at once.
    ///
    /// # Errors
    ///
    /// [`Closed`] after the node has left and all it had received was taken.
    pub fn recv_many(&self, messages: &mut Vec<Message>, limit: usize) -> Result<usize, Closed> {
        self.take(limit, Instant::MAX, |message| messages.push(message))
    }

    /// [`recv_many`](Node::recv_many) that waits at most so long; 0 if there was none.
    ///
    /// # Errors
    ///
    /// [`Closed`] after the node has left and all it had received was taken.
    pub fn recv_many_timeout(
        &self,
        messages: &mut Vec<Message>,
        limit: usize,
        timeout: Duration,
    ) -> Result<usize, Closed> {
        self.take(limit, self.shell.clock.after(timeout), |message| messages.push(message))
    }

    /// The messages as they come, until the node has left and all it had received was taken: `for message in &node`.
    #[must_use]
    pub fn iter(&self) -> Messages<'_> {
        Messages { node: self }
    }

    /// Waits until every message accepted for a peer before this call is delivered: its application has taken it, or has
    /// acknowledged it where that is up to it.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if some of them will not be, or nobody can tell.
    pub fn flush(&self, peer: NodeId) -> Result<(), FlushError> {
        // Without a deadline it is over when it returns.
        self.flush_until(peer, Instant::MAX).map(drop)
    }

    /// [`flush`](Node::flush) that waits at most so long. Says whether everything is delivered.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if some of them will not be, or nobody can tell.
    pub fn flush_timeout(&self, peer: NodeId, timeout: Duration) -> Result<bool, FlushError> {
        self.flush_until(peer, self.shell.clock.after(timeout))
    }

    /// A message that was taken is dealt with, and so are all before it of the same peer. Only of consequence with
    /// [`Acknowledge::Manual`](cluster_core::Acknowledge::Manual).
    pub fn acknowledge(&self, receipt: Receipt) {
        self.enter(|state, now| state.core.acknowledge(now, receipt));
    }

    /// Closes the connection to a peer. Neither side dials the other again, and third nodes cannot talk them into it,
    /// until the user of either side joins the other.
    ///
    /// # Errors
    ///
    /// [`UnknownPeer`] if there is no such peer.
    pub fn disconnect(&self, peer: NodeId) -> Result<(), UnknownPeer> {
        self.enter(|state, now| state.core.disconnect(now, peer))
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
        self.enter(|state, now| state.core.set_config(now, config))
    }

    /// What the node has done, and how often it reached its bounds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shell.look(cluster_core::Node::stats)
    }

    /// [`leave`](Node::leave) with another timeout. Of several calls the earliest deadline holds.
    pub fn leave_within(&self, timeout: Duration) -> u64 {
        self.enter(|state, now| state.core.leave(now, timeout));
        threads::join_threads(&self.shell);
        self.shell.undelivered()
    }

    fn send_until(&self, peer: NodeId, payload: Bytes, deadline: Instant) -> Result<(), SendError> {
        let mut kept = payload;
        let sent = threads::enter_until(&self.shell, Caller::Sender, deadline, |state, now| {
            match state.core.send(now, peer, std::mem::take(&mut kept)) {
                Err(SendError { payload, kind: SendErrorKind::Full }) if !state.is_stopped() => {
                    kept = payload;
                    Err(threads::until_writable(state, peer))
                }
                sent => Ok(sent),
            }
        });
        sent.unwrap_or(Err(SendError { payload: kept, kind: SendErrorKind::Full }))
    }

    fn recv_until(&self, deadline: Instant) -> Result<Option<Message>, Closed> {
        let mut one = None;
        self.take(1, deadline, |message| one = Some(message))?;
        Ok(one)
    }

    fn take(&self, limit: usize, deadline: Instant, mut each: impl FnMut(Message)) -> Result<usize, Closed> {
        let taken = threads::enter_until(&self.shell, Caller::Other, deadline, |state, now| {
            match state.take(now, limit, &mut each) {
                Ok(None) => Err(Until::Message),
                Ok(Some(taken)) => Ok(Ok(taken)),
                Err(closed) => Ok(Err(closed)),
            }
        });
        taken.unwrap_or(Ok(0))
    }

    fn flush_until(&self, peer: NodeId, deadline: Instant) -> Result<bool, FlushError> {
        let (sender, flushed) = sync_channel(1);
        let begun = self.enter(|state, now| state.flush(now, peer, sender));
        begun.map_err(FlushError::Refused)?;
        match flushed.recv_timeout(deadline - self.shell.clock.now()) {
            Ok(undelivered) => FlushError::check(undelivered).map(|()| true),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(FlushError::Closed),
        }
    }

    fn enter<R>(&self, call: impl FnOnce(&mut State, Instant) -> R) -> R {
        self.shell.enter(Caller::Other, call)
    }
}

/// Shows the node's id and address.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shell.fmt(f)
    }
}

/// The messages of a node as they come; see [`Node::iter`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    node: &'a Node,
}

/// Waits for each message; ends when no more can come.
impl Iterator for Messages<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.node.recv().ok()
    }
}

/// The messages as they come.
impl<'a> IntoIterator for &'a Node {
    type Item = Message;
    type IntoIter = Messages<'a>;

    fn into_iter(self) -> Messages<'a> {
        self.iter()
    }
}
