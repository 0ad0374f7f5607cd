//! The node of `cluster-core/examples/poll_loop` as an arm: each turns in a thread of its own, which is asked for things.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use cluster_conformance::cluster_core::adapter::BindError;
use cluster_conformance::cluster_core::{
    Config, Event, Instant, JoinError, Message, Node as Core, NodeId, SendError, SendErrorKind, Target,
};
use cluster_conformance::{Arm, BindFailure, Flushed, Nothing, Pending, TestNode};
use mio::Waker;

use crate::async_std::outcome;

#[path = "../../../cluster-core/examples/poll_loop/node.rs"]
#[allow(unreachable_pub, reason = "it is written to be copied")]
mod node;

/// How long a turn may wait while somebody asks for something.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) struct PollArm;

impl Arm for PollArm {
    fn name(&self) -> String {
        "poll loop".into()
    }

    fn bind(&self, address: &str, config: Config) -> Result<Box<dyn TestNode>, BindFailure> {
        match node::Node::bind(address, config) {
            Ok(node) => Ok(Box::new(PollNode::new(node))),
            Err(error @ BindError::Listen { .. }) => Err(BindFailure::Listen(error.to_string())),
            Err(BindError::Config(error)) => Err(BindFailure::Config(error)),
            Err(error) => Err(BindFailure::Other(error.to_string())),
        }
    }
}

/// Tried after each turn, until it says that it is done.
type Ask = Box<dyn FnMut(&mut node::Node) -> bool + Send>;

struct PollNode {
    address: SocketAddr,
    id: NodeId,
    /// Dropped, it ends the thread, and the node with it.
    ask: Option<Sender<Ask>>,
    waker: Arc<Waker>,
}

/// The program around the loop.
fn run(mut node: node::Node, asked: &Receiver<Ask>) {
    let mut asks: Vec<Ask> = Vec::new();
    loop {
        match asked.try_recv() {
            Ok(ask) => asks.push(ask),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                asks.retain_mut(|ask| !ask(&mut node));
                node.turn(if asks.is_empty() { Duration::MAX } else { LOOK }).expect("the poller works");
            }
        }
    }
}

impl PollNode {
    fn new(node: node::Node) -> PollNode {
        let (ask, asked) = mpsc::channel();
        let made =
            PollNode { address: node.local_addr(), id: node.host.core.run().id, ask: Some(ask), waker: node.waker() };
        thread::spawn(move || run(node, &asked));
        made
    }

    /// Asks until there is an answer.
    fn until<T: Send + 'static>(
        &self,
        mut ask: impl FnMut(&mut node::Node) -> Option<T> + Send + 'static,
    ) -> Pending<T> {
        let (sender, answer) = mpsc::channel();
        let ask = move |node: &mut node::Node| ask(node).map(|found| drop(sender.send(found))).is_some();
        self.ask.as_ref().and_then(|to| to.send(Box::new(ask)).ok()).expect("its thread runs");
        self.waker.wake().expect("its thread can be woken");
        Pending::received(answer)
    }

    /// Asks once.
    fn now<T: Send + 'static>(&self, ask: impl FnOnce(&mut node::Node) -> T + Send + 'static) -> T {
        let mut ask = Some(ask);
        let mut answer = self.until(move |node| ask.take().map(|ask| ask(node)));
        answer.wait(Duration::from_secs(3_600)).expect("a turn takes no time")
    }

    fn enter<T: Send + 'static>(&self, call: impl FnOnce(&mut Core, Instant) -> T + Send + 'static) -> T {
        self.now(|node| {
            let now = node.now();
            call(&mut node.host.core, now)
        })
    }

    /// Asks for what comes, for as long as that.
    fn next<T: Send + 'static>(
        &self,
        timeout: Duration,
        mut ask: impl FnMut(&mut node::Node) -> Poll<Option<T>> + Send + 'static,
    ) -> Result<T, Nothing> {
        let begin = std::time::Instant::now();
        let mut next = self.until(move |node| match ask(node) {
            Poll::Ready(found) => Some(found.ok_or(Nothing::Ended)),
            Poll::Pending => (begin.elapsed() >= timeout).then_some(Err(Nothing::TimedOut)),
        });
        next.wait(Duration::from_secs(3_600)).expect("it looks at the time")
    }
}

impl Drop for PollNode {
    fn drop(&mut self) {
        self.ask = None;
        self.waker.wake().expect("its thread can be woken");
    }
}

impl TestNode for PollNode {
    cluster_conformance::core_verbs!(enter);

    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn id(&self) -> NodeId {
        self.id
    }

    fn join(&self, target: Target) -> Pending<Result<NodeId, JoinError>> {
        let (sender, joined) = mpsc::channel();
        let tell = move |outcome| _ = sender.send(outcome);
        match self.now(|node| node.host.join(node.now(), target, tell)) {
            Ok(()) => Pending::new(move |timeout| Some(joined.recv_timeout(timeout).ok()?.map(|run| run.id))),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn send(&self, peer: NodeId, payload: Bytes) -> Pending<Result<(), SendError>> {
        self.until(move |node| match node.host.core.send(node.now(), peer, payload.clone()) {
            Err(SendError { kind: SendErrorKind::Full, .. }) => None,
            sent => Some(sent),
        })
    }

    fn recv(&self, timeout: Duration) -> Result<Message, Nothing> {
        self.next(timeout, node::Node::message)
    }

    fn event(&self, timeout: Duration) -> Result<Event, Nothing> {
        self.next(timeout, node::Node::event)
    }

    fn flush(&self, peer: NodeId) -> Pending<Flushed> {
        let (sender, flushed) = mpsc::channel();
        let tell = move |outcome| _ = sender.send(outcome);
        match self.now(move |node| node.host.flush(node.now(), peer, tell)) {
            Ok(()) => Pending::new(move |timeout| flushed.recv_timeout(timeout).ok().map(outcome)),
            Err(error) => Pending::ready(Flushed::Refused(error)),
        }
    }

    fn leave(&self, timeout: Duration) -> Pending<u64> {
        self.enter(move |core, now| core.leave(now, timeout));
        self.until(|node| node.host.has_left())
    }

    fn crash(self: Box<Self>) {}
}

cluster_conformance::conformance!(|| PollArm);
