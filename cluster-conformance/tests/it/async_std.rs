//! The node of `cluster-core/examples/async_std` as an arm: what is written to be copied does what an adapter must do.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_std::channel::{Receiver, Sender, bounded};
use async_std::task::{block_on, sleep, spawn};
use bytes::Bytes;
use cluster_conformance::cluster_core::adapter::{BindError, FlushError};
use cluster_conformance::cluster_core::{
    Config, Event, Instant, JoinError, Message, Node as Core, NodeId, SendError, Target,
};
use cluster_conformance::{Arm, BindFailure, Flushed, Nothing, Pending, TestNode};
use futures_lite::future::or;

#[path = "../../../cluster-core/examples/async_std/node.rs"]
#[allow(unreachable_pub, reason = "it is written to be copied")]
mod node;

pub(crate) struct AsyncStdArm;

impl Arm for AsyncStdArm {
    fn name(&self) -> String {
        "async-std".into()
    }

    fn bind(&self, address: &str, config: Config) -> Result<Box<dyn TestNode>, BindFailure> {
        match block_on(node::Node::bind(address, config)) {
            Ok(node) => Ok(Box::new(AsyncStdNode { node: Arc::new(node), crash: bounded(1) })),
            Err(error @ BindError::Listen { .. }) => Err(BindFailure::Listen(error.to_string())),
            Err(BindError::Config(error)) => Err(BindFailure::Config(error)),
            Err(error) => Err(BindFailure::Other(error.to_string())),
        }
    }
}

struct AsyncStdNode {
    node: Arc<node::Node>,
    /// Closed, it ends the calls that wait, each of which holds the node.
    crash: (Sender<()>, Receiver<()>),
}

impl AsyncStdNode {
    fn enter<T>(&self, call: impl FnOnce(&mut Core, Instant) -> T) -> T {
        self.node.enter(|host, now| call(&mut host.core, now))
    }

    /// Makes a call in a task of its own.
    fn call<T, F>(&self, call: impl FnOnce(Arc<node::Node>) -> F) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel();
        let (call, crashed) = (call(Arc::clone(&self.node)), self.crash.1.clone());
        let call = async move { drop(sender.send(call.await)) };
        spawn(or(call, async move { _ = crashed.recv().await }));
        Pending::received(receiver)
    }

    /// Makes a call that is given up when the time is over.
    fn within<T>(&self, timeout: Duration, call: impl Future<Output = Option<T>>) -> Result<T, Nothing> {
        let call = async { call.await.ok_or(Nothing::Ended) };
        block_on(or(call, async {
            sleep(timeout).await;
            Err(Nothing::TimedOut)
        }))
    }
}

impl TestNode for AsyncStdNode {
    cluster_conformance::core_verbs!(enter);

    fn local_addr(&self) -> std::net::SocketAddr {
        self.node.local_addr()
    }

    fn id(&self) -> NodeId {
        self.enter(|core, _| core.run().id)
    }

    fn join(&self, target: Target) -> Pending<Result<NodeId, JoinError>> {
        self.call(|node| async move { node.join(target).await })
    }

    fn send(&self, peer: NodeId, payload: Bytes) -> Pending<Result<(), SendError>> {
        self.call(|node| async move { node.send(peer, payload).await })
    }

    fn recv(&self, timeout: Duration) -> Result<Message, Nothing> {
        self.within(timeout, self.node.recv())
    }

    fn event(&self, timeout: Duration) -> Result<Event, Nothing> {
        self.within(timeout, self.node.event())
    }

    fn flush(&self, peer: NodeId) -> Pending<Flushed> {
        let (sender, flushed) = mpsc::channel();
        match self.node.enter(|host, now| host.flush(now, peer, move |outcome| _ = sender.send(outcome))) {
            Ok(()) => Pending::new(move |timeout| flushed.recv_timeout(timeout).ok().map(outcome)),
            Err(error) => Pending::ready(Flushed::Refused(error)),
        }
    }

    fn leave(&self, timeout: Duration) -> Pending<u64> {
        self.call(move |node| async move { node.leave(timeout).await })
    }

    fn crash(self: Box<Self>) {
        self.crash.0.close();
    }
}

pub(crate) fn outcome(undelivered: Option<u64>) -> Flushed {
    match FlushError::check(undelivered) {
        Ok(()) => Flushed::Delivered,
        Err(FlushError::Undelivered { messages }) => Flushed::Undelivered(messages),
        Err(_) => Flushed::Closed,
    }
}

cluster_conformance::conformance!(|| AsyncStdArm);
