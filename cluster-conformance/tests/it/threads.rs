//! `cluster-std` as an arm: blocking already, so that hardly any call needs a thread.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cluster_conformance::cluster_core::{Config, Event, JoinError, Message, NodeId, SendError, SendErrorKind, Target};
use cluster_conformance::{Arm, BindFailure, Flushed, Nothing, Pending, TestNode};
use cluster_std as adapter;

pub(crate) struct StdArm;

impl Arm for StdArm {
    fn name(&self) -> String {
        "std".into()
    }

    fn bind(&self, address: &str, config: Config) -> Result<Box<dyn TestNode>, BindFailure> {
        match adapter::Node::bind(address, config) {
            Ok(node) => Ok(Box::new(StdNode { events: Mutex::new(node.events()), node, calls: Arc::default() })),
            Err(error @ adapter::BindError::Listen { .. }) => Err(BindFailure::Listen(error.to_string())),
            Err(adapter::BindError::Config(error)) => Err(BindFailure::Config(error)),
            Err(error) => Err(BindFailure::Other(error.to_string())),
        }
    }
}

struct StdNode {
    node: adapter::Node,
    events: Mutex<adapter::Events>,
    /// Every thread that makes a call with a handle of its own has one of these.
    calls: Arc<()>,
}

impl StdNode {
    fn on_thread<T: Send + 'static>(&self, call: impl FnOnce(&adapter::Node) -> T + Send + 'static) -> Pending<T> {
        let (node, calls) = (self.node.clone(), Arc::clone(&self.calls));
        Pending::on_thread(move || {
            let outcome = call(&node);
            drop((node, calls));
            outcome
        })
    }
}

impl TestNode for StdNode {
    cluster_conformance::same_verbs!(node);

    fn join(&self, target: Target) -> Pending<Result<NodeId, JoinError>> {
        self.on_thread(|node| node.join(target).map_err(join_error))
    }

    fn add_seed(&self, target: Target) -> Result<(), JoinError> {
        self.node.add_seed(target).map_err(join_error)
    }

    fn send(&self, peer: NodeId, payload: Bytes) -> Pending<Result<(), SendError>> {
        let mut waiting = match self.node.try_send(peer, payload) {
            Err(error) if error.kind == SendErrorKind::Full => error.payload,
            outcome => return Pending::ready(outcome),
        };
        let node = self.node.clone();
        Pending::new(move |timeout| match node.send_timeout(peer, std::mem::take(&mut waiting), timeout) {
            Err(error) if error.kind == SendErrorKind::Full => {
                waiting = error.payload;
                None
            }
            outcome => Some(outcome),
        })
    }

    fn recv(&self, timeout: Duration) -> Result<Message, Nothing> {
        let received = if timeout.is_zero() { self.node.try_recv() } else { self.node.recv_timeout(timeout) };
        received.map_err(|adapter::Closed| Nothing::Ended)?.ok_or(Nothing::TimedOut)
    }

    fn event(&self, timeout: Duration) -> Result<Event, Nothing> {
        let mut events = self.events.lock().expect("no call panics");
        let event = if timeout.is_zero() { events.try_next() } else { events.next_timeout(timeout) };
        event.ok_or(if events.has_ended() { Nothing::Ended } else { Nothing::TimedOut })
    }

    fn flush(&self, peer: NodeId) -> Pending<Flushed> {
        self.on_thread(move |node| match node.flush(peer) {
            Ok(()) => Flushed::Delivered,
            Err(adapter::FlushError::Undelivered { messages }) => Flushed::Undelivered(messages),
            Err(adapter::FlushError::Refused(error)) => Flushed::Refused(error),
            Err(_) => Flushed::Closed,
        })
    }

    fn leave(&self, timeout: Duration) -> Pending<u64> {
        self.on_thread(move |node| node.leave_within(timeout))
    }

    fn crash(self: Box<Self>) {
        // A join that goes on has a handle, too, but not for longer than its timeout.
        while Arc::strong_count(&self.calls) > 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn join_error(error: adapter::JoinError) -> JoinError {
    match error {
        adapter::JoinError::Failed { error, .. } => error,
        other => panic!("a target is always an address: {other}"),
    }
}

cluster_conformance::conformance!(|| StdArm);
