//! What an adapter has to offer so that the suite can run on it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster_core::{
    Broadcast, Config, ConfigError, Event, FlushError, JoinError, Message, NodeId, PeerInfo, Receipt, SendError, Stats,
    Target, UnknownPeer,
};

use crate::proxy::{Faults, Proxy};

/// An adapter as the suite sees it: it makes nodes, and says how time passes for them.
///
/// Only [`name`](Arm::name) and [`bind`](Arm::bind) have to be written for an adapter of real sockets. The other
/// methods are for worlds with a time and a network of their own.
pub trait Arm {
    /// What the adapter is called in failures.
    fn name(&self) -> String;

    /// Makes a node that listens at `address`, which is `host:port`; port 0 is any port.
    ///
    /// # Errors
    ///
    /// What the adapter says when the address cannot be listened at, or the config contradicts itself; nothing of the
    /// node is left.
    fn bind(&self, address: &str, config: Config) -> Result<Box<dyn TestNode>, BindFailure>;

    /// An address at which a node gets a port of its own.
    fn anywhere(&self) -> &'static str {
        "127.0.0.1:0"
    }

    /// The time since some moment in the past.
    fn now(&self) -> Duration {
        static EPOCH: OnceLock<Instant> = OnceLock::new();
        EPOCH.get_or_init(Instant::now).elapsed()
    }

    /// Lets time pass.
    fn pass(&self, span: Duration) {
        thread::sleep(span);
    }

    /// A new way to a node, over which connections can be cut. It treats them as `faults` say, if it can.
    fn way(&self, seed: u64, faults: Faults) -> Box<dyn Way> {
        match Proxy::bind(seed, faults) {
            Ok(proxy) => Box::new(proxy),
            Err(error) => panic!("no port of loopback is free for a proxy: {error}"),
        }
    }

    /// Whether its nodes use the sockets of the operating system. Scenarios about these are left out if not.
    fn has_sockets(&self) -> bool {
        true
    }
}

/// A node of an adapter, with blocking verbs. An asynchronous adapter drives its runtime inside, or on a thread.
///
/// The suite calls a node from one thread. No call may block for longer than the timeout it is given; verbs without a
/// timeout return at once, and what has to be waited for is [`Pending`]. Each verb is that of the adapter with the same
/// name, as [`cluster_core::Node`] documents it.
pub trait TestNode {
    /// Where it listens, with the real port.
    fn local_addr(&self) -> SocketAddr;

    /// Its id.
    fn id(&self) -> NodeId;

    /// Begins to join, and tells the outcome.
    fn join(&self, target: Target) -> Pending<Result<NodeId, JoinError>>;

    /// Adds a seed.
    ///
    /// # Errors
    ///
    /// As [`cluster_core::Node::add_seed`].
    fn add_seed(&self, target: Target) -> Result<(), JoinError>;

    /// Sends what can be queued at once.
    ///
    /// # Errors
    ///
    /// As [`cluster_core::Node::send`], with the payload.
    fn try_send(&self, peer: NodeId, payload: Bytes) -> Result<(), SendError>;

    /// Begins to send, waiting for room as long as there is none. The message is sent, or it has its error, when the
    /// outcome is told. What is dropped before is sent or not.
    fn send(&self, peer: NodeId, payload: Bytes) -> Pending<Result<(), SendError>>;

    /// Sends to every peer.
    ///
    /// # Errors
    ///
    /// As [`cluster_core::Node::broadcast`].
    fn broadcast(&self, payload: Bytes) -> Result<Broadcast, SendError>;

    /// Takes the next message, waiting at most `timeout` for it. With a timeout of zero it takes one that is there.
    ///
    /// # Errors
    ///
    /// [`Nothing`] says why there is none.
    fn recv(&self, timeout: Duration) -> Result<Message, Nothing>;

    /// The next event since the node was made, waiting at most `timeout` for it.
    ///
    /// # Errors
    ///
    /// [`Nothing`] says why there is none.
    fn event(&self, timeout: Duration) -> Result<Event, Nothing>;

    /// Acknowledges a message, and all before it of the same peer.
    fn acknowledge(&self, receipt: Receipt);

    /// The peers that are up or lost.
    fn peers(&self) -> Vec<PeerInfo>;

    /// Disconnects a peer.
    ///
    /// # Errors
    ///
    /// If there is no such peer.
    fn disconnect(&self, peer: NodeId) -> Result<(), UnknownPeer>;

    /// Begins to wait until everything accepted for a peer has its outcome.
    fn flush(&self, peer: NodeId) -> Pending<Flushed>;

    /// Begins to leave, giving peers `timeout` to take what was sent to them. It has left, and nothing of it runs any
    /// more but what its handle needs, when the number of undelivered messages is told.
    fn leave(&self, timeout: Duration) -> Pending<u64>;

    /// Changes settings.
    ///
    /// # Errors
    ///
    /// If they contradict each other, or cannot change.
    fn set_config(&self, config: Config) -> Result<(), ConfigError>;

    /// What the node counts.
    fn stats(&self) -> Stats;

    /// Ends the node without a goodbye: the last handle is dropped.
    fn crash(self: Box<Self>);
}

/// A way to a node: an address at which connections are accepted and passed on. A [`Proxy`] is one.
///
/// Connections can be told apart by the node that dialled them, in plain mode.
pub trait Way {
    /// Where it begins.
    fn address(&self) -> SocketAddr;

    /// Says where it leads from now on. Connections that come before the first call wait for it.
    fn lead_to(&self, node: SocketAddr);

    /// Nothing passes any more over connections that this node dialled, `None`: over any, nor over those that come
    /// later, and nobody is told.
    fn cut(&self, from: Option<NodeId>);

    /// What was cut passes again, what has waited included.
    fn heal(&self, from: Option<NodeId>);

    /// Resets the connections that this node dialled, `None`: all, and says how many there were.
    fn reset(&self, from: Option<NodeId>) -> usize;
}

/// Something that was begun and whose outcome is waited for. Dropping it waits no longer.
pub struct Pending<T> {
    wait: Box<dyn FnMut(Duration) -> Option<T>>,
}

impl<T: 'static> Pending<T> {
    /// `wait` waits for the outcome, at most as long as it is told to.
    pub fn new(wait: impl FnMut(Duration) -> Option<T> + 'static) -> Pending<T> {
        Pending { wait: Box::new(wait) }
    }

    /// The outcome is known.
    pub fn ready(outcome: T) -> Pending<T> {
        let mut outcome = Some(outcome);
        Pending::new(move |_| outcome.take())
    }

    /// The outcome comes over a channel, from a task or a thread.
    ///
    /// # Panics
    ///
    /// When it is waited for, if the sender is dropped without an outcome.
    #[must_use]
    pub fn received(receiver: Receiver<T>) -> Pending<T> {
        Pending::new(move |timeout| match receiver.recv_timeout(timeout) {
            Ok(outcome) => Some(outcome),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("a call of the adapter ended without an outcome"),
        })
    }

    /// The outcome is that of a call that blocks, which goes on on a thread of its own.
    ///
    /// # Panics
    ///
    /// If there can be no thread; and when it is waited for, if the call panics.
    pub fn on_thread(call: impl FnOnce() -> T + Send + 'static) -> Pending<T>
    where
        T: Send,
    {
        let (sender, receiver) = mpsc::channel();
        // Nobody may wait for the outcome any more.
        let thread = thread::Builder::new().name("call".into()).spawn(move || drop(sender.send(call())));
        if let Err(error) = thread {
            panic!("there is no thread for a call: {error}");
        }
        Pending::received(receiver)
    }

    /// The outcome, if there is one within `timeout`. There is one only once.
    pub fn wait(&mut self, timeout: Duration) -> Option<T> {
        (self.wait)(timeout)
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

/// A node could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindFailure {
    /// The address cannot be listened at: all that the adapter says about it.
    Listen(String),
    /// The config contradicts itself.
    Config(ConfigError),
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for BindFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindFailure::Listen(words) | BindFailure::Other(words) => f.write_str(words),
            BindFailure::Config(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BindFailure {}

/// Why there is no message, or no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// None came in time.
    TimedOut,
    /// None can come any more: the node has left, and all there was is taken.
    Ended,
}

/// How a flush ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is delivered.
    Delivered,
    /// So many messages are not, or nobody can tell.
    Undelivered(u64),
    /// It could not begin.
    Refused(FlushError),
    /// The node ended before.
    Closed,
}
