//! `cluster-tokio` as an arm, on both of tokio's runtimes.

use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use cluster_conformance::cluster_core::{Config, Event, JoinError, Message, NodeId, SendError, Target};
use cluster_conformance::{Arm, BindFailure, Flushed, Nothing, Pending, TestNode};
use cluster_tokio as adapter;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::task::JoinSet;

/// The call itself ends in time.
const FOREVER: Duration = Duration::from_secs(3_600);

/// A runtime on threads of its own.
pub(crate) struct TokioArm {
    name: &'static str,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TokioArm {
    pub(crate) fn current_thread() -> TokioArm {
        TokioArm::new("tokio, current thread", Builder::new_current_thread())
    }

    pub(crate) fn multi_thread() -> TokioArm {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2);
        TokioArm::new("tokio, multi thread", builder)
    }

    fn new(name: &'static str, mut builder: Builder) -> TokioArm {
        let runtime = builder.enable_all().build().expect("a runtime can be made");
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        // What is spawned runs as long as this blocks.
        let thread = thread::spawn(move || drop(runtime.block_on(stopped)));
        TokioArm { name, handle, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for TokioArm {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, None | Some(Ok(()))), "the runtime has panicked");
    }
}

impl Arm for TokioArm {
    fn name(&self) -> String {
        self.name.into()
    }

    fn bind(&self, address: &str, config: Config) -> Result<Box<dyn TestNode>, BindFailure> {
        let (sender, receiver) = mpsc::channel();
        let address = address.to_owned();
        self.handle.spawn(async move {
            let made = adapter::Node::bind(address, config).await.map(|node| (node.events(), node));
            let _ = sender.send(made);
        });
        match receiver.recv().expect("the runtime runs") {
            Ok((events, node)) => Ok(Box::new(TokioNode {
                node,
                events: Arc::new(AsyncMutex::new(events)),
                runtime: self.handle.clone(),
                calls: Mutex::default(),
            })),
            Err(error @ adapter::BindError::Listen { .. }) => Err(BindFailure::Listen(error.to_string())),
            Err(adapter::BindError::Config(error)) => Err(BindFailure::Config(error)),
            Err(error) => Err(BindFailure::Other(error.to_string())),
        }
    }
}

struct TokioNode {
    node: adapter::Node,
    events: Arc<AsyncMutex<adapter::Events>>,
    runtime: Handle,
    /// Calls that wait. Each holds a handle of the node, so they end with it.
    calls: Mutex<JoinSet<()>>,
}

impl TokioNode {
    /// Has the runtime make a call, and waits for its outcome on this thread.
    fn call<T, F>(&self, call: impl FnOnce(adapter::Node) -> F) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel();
        let outcome = call(self.node.clone());
        let mut calls = self.calls.lock().expect("no call panics");
        while calls.try_join_next().is_some() {}
        calls.spawn_on(async move { drop(sender.send(outcome.await)) }, &self.runtime);
        Pending::received(receiver)
    }

    /// As `call`, for a call that is given up when the time is over.
    fn within<T, F>(&self, timeout: Duration, call: impl FnOnce(adapter::Node) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let call = |node| {
            let outcome = call(node);
            async move { tokio::time::timeout(timeout, outcome).await.ok() }
        };
        self.call(call).wait(FOREVER).flatten()
    }
}

impl TestNode for TokioNode {
    cluster_conformance::same_verbs!(node);

    fn join(&self, target: Target) -> Pending<Result<NodeId, JoinError>> {
        self.call(|node| async move { node.join(target).await.map_err(join_error) })
    }

    fn add_seed(&self, target: Target) -> Result<(), JoinError> {
        self.node.add_seed(target).map_err(join_error)
    }

    fn send(&self, peer: NodeId, payload: Bytes) -> Pending<Result<(), SendError>> {
        self.call(|node| async move { node.send(peer, payload).await })
    }

    fn recv(&self, timeout: Duration) -> Result<Message, Nothing> {
        match self.node.try_recv() {
            Ok(Some(message)) => Ok(message),
            Ok(None) if timeout.is_zero() => Err(Nothing::TimedOut),
            Ok(None) => match self.within(timeout, |node| async move { node.recv().await }) {
                Some(Ok(message)) => Ok(message),
                Some(Err(adapter::Closed)) => Err(Nothing::Ended),
                None => Err(Nothing::TimedOut),
            },
            Err(adapter::Closed) => Err(Nothing::Ended),
        }
    }

    fn event(&self, timeout: Duration) -> Result<Event, Nothing> {
        let events = Arc::clone(&self.events);
        if timeout.is_zero() {
            return events.blocking_lock().try_next().ok_or(Nothing::TimedOut);
        }
        match self.within(timeout, |_| async move { events.lock().await.next().await }) {
            Some(Some(event)) => Ok(event),
            Some(None) => Err(Nothing::Ended),
            None => Err(Nothing::TimedOut),
        }
    }

    fn flush(&self, peer: NodeId) -> Pending<Flushed> {
        self.call(|node| async move {
            match node.flush(peer).await {
                Ok(()) => Flushed::Delivered,
                Err(adapter::FlushError::Undelivered { messages }) => Flushed::Undelivered(messages),
                Err(adapter::FlushError::Refused(error)) => Flushed::Refused(error),
                Err(_) => Flushed::Closed,
            }
        })
    }

    fn leave(&self, timeout: Duration) -> Pending<u64> {
        self.call(|node| async move { node.leave_within(timeout).await })
    }

    fn crash(self: Box<Self>) {
        let calls = self.calls.into_inner().expect("no call panics");
        drop((calls, self.node));
    }
}

fn join_error(error: adapter::JoinError) -> JoinError {
    match error {
        adapter::JoinError::Failed { error, .. } => error,
        other => panic!("a target is always an address: {other}"),
    }
}

mod current_thread {
    cluster_conformance::conformance!(super::TokioArm::current_thread);
}

mod multi_thread {
    cluster_conformance::conformance!(super::TokioArm::multi_thread);
}
