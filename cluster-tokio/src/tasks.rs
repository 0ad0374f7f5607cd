//! How a node runs on tokio: its tasks, and what they and its callers wait at. The loop around the core is
//! [`cluster_host::Shell`].
//!
//! Each wake-up is of the kind that is remembered, so none of them can be too late. No lock is held across an await.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use cluster_core::{Input, Instant, Target};
use cluster_host::{Caller, LinkStatus, NewLink, Pool, Runtime};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use crate::link::{self, Link};

/// A node on tokio.
pub(crate) type Shell = cluster_host::Shell<Tokio>;

/// What the lock of such a node guards.
pub(crate) type State = cluster_host::State<Tokio>;

/// What a node on tokio has besides.
pub(crate) struct Tokio {
    pub(crate) buffers: Pool<BytesMut>,
    /// How many tasks live.
    tasks: watch::Sender<usize>,
    runtime: Handle,
}

impl Tokio {
    /// For a node in the runtime of the caller.
    pub(crate) fn current() -> Tokio {
        Tokio { buffers: Pool::default(), tasks: watch::Sender::new(0), runtime: Handle::current() }
    }

    /// Starts a task that [`stopped`](Tokio::stopped) waits for and the end of the node ends.
    pub(crate) fn spawn(&self, state: &mut State, task: impl Future<Output = ()> + Send + 'static) {
        if state.is_stopped() {
            return;
        }
        while state.running.try_join_next().is_some() {}
        let alive = Alive::new(self.tasks.clone());
        let task = async move {
            let _alive = alive;
            task.await;
        };
        state.running.spawn_on(task, &self.runtime);
    }

    /// Waits until every task has ended.
    pub(crate) async fn stopped(&self) {
        let mut tasks = self.tasks.subscribe();
        // The sender is ours, so it cannot be gone.
        let _ = tasks.wait_for(|alive| *alive == 0).await;
    }
}

impl Runtime for Tokio {
    type Link = Link;
    type Stream = TcpStream;
    type Running = JoinSet<()>;
    type Signal = Notify;
    type Sender<T: Send> = oneshot::Sender<T>;

    fn wake_one(signal: &Notify) {
        signal.notify_one();
    }

    /// Reaches every future that was made before.
    fn wake_all(signal: &Notify) {
        signal.notify_waiters();
    }

    fn send<T: Send>(sender: oneshot::Sender<T>, outcome: T) {
        // The call may have been dropped.
        let _ = sender.send(outcome);
    }

    fn resolve(shell: &Arc<Shell>, state: &mut State, target: Target) {
        shell.runtime.spawn(state, resolve(Arc::clone(shell), target));
    }

    fn serve(shell: &Arc<Shell>, state: &mut State, new: NewLink<TcpStream>) -> io::Result<Arc<Link>> {
        let NewLink { status, channel, origin } = new;
        let link = Arc::new(Link::new(status));
        shell.runtime.spawn(state, link::run(Arc::clone(shell), Arc::clone(&link), channel, origin));
        Ok(link)
    }

    fn refuse(stream: TcpStream) {
        let _ = stream.set_zero_linger();
    }

    fn status(link: &Link) -> &LinkStatus {
        &link.status
    }

    /// Also when a handle is dropped by a task of the node itself.
    fn halt(state: &mut State, _: &mut Vec<Arc<Link>>) {
        state.running.abort_all();
        state.links.clear();
    }

    fn write(shell: &Arc<Shell>, link: &Arc<Link>, links: usize, caller: Caller, now: Instant) {
        match caller {
            Caller::Sender if links <= link::INLINE_LINKS => link.send_at_once(shell, now),
            _ => link.wake(),
        }
    }

    fn close(_: &Arc<Shell>, link: &Arc<Link>) {
        link.wake();
    }
}

/// Counts a task from its start to the moment when all that it owned is dropped.
struct Alive(watch::Sender<usize>);

impl Alive {
    fn new(tasks: watch::Sender<usize>) -> Alive {
        tasks.send_modify(|alive| *alive += 1);
        Alive(tasks)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_modify(|alive| *alive -= 1);
    }
}

/// Ticks the core when it wants to be ticked.
pub(crate) async fn tick(shell: Arc<Shell>) {
    loop {
        shell.runtime.buffers.shrink();
        let next = shell.enter(Caller::Other, |state, now| state.tick(now));
        let wake_at = next.and_then(|next| shell.clock.to_system(next));
        let earlier = shell.earlier.notified();
        match wake_at {
            Some(wake_at) => {
                // Whichever comes first, the answer is to look again.
                let _ = tokio::time::timeout_at(wake_at.into(), earlier).await;
            }
            None => earlier.await,
        }
    }
}

async fn resolve(shell: Arc<Shell>, target: Target) {
    let found = tokio::net::lookup_host(target.as_str()).await;
    let outcome = found.map(Iterator::collect).map_err(|error| error.to_string());
    shell.enter(Caller::Other, |state, now| state.core.handle(now, Input::Resolved { target, outcome }));
}
