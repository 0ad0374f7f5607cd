//! How a node runs on threads: which threads it has, and what they and its callers wait at. The loop around the core is
//! [`cluster_host::Shell`].
//!
//! A caller waits with a condition variable of the node's lock and looks again when woken, so no wake-up can come too
//! late. Further leaves of the lock order are the locks of a link's line and of the buffers. A link's turn lock is only
//! taken with no lock held, or with its io lock.

use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cluster_core::{CloseMode, Instant, NodeId, Target};
use cluster_host::{Caller, LinkStatus, NewLink, Pool, Runtime, lock};
use socket2::Socket;

use crate::buffers::Buffer;
use crate::link::{self, Link};
use crate::listener::Listener;
use crate::resolver::{self, Resolver};

/// The stack that each thread of a node may use: address space, of which only what is touched takes memory.
pub const STACK: usize = 256 << 10;

/// A node on threads.
pub(crate) type Shell = cluster_host::Shell<Threads>;

/// What the lock of such a node guards.
pub(crate) type State = cluster_host::State<Threads>;

/// What a node on threads has besides.
pub(crate) struct Threads {
    pub(crate) buffers: Pool<Buffer>,
    pub(crate) listener: Listener,
    /// The node has stopped.
    stopped: Condvar,
    /// Held by the caller that joins the threads.
    joining: Mutex<()>,
}

/// The threads of a node, under its lock.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) resolver: Resolver,
    /// Each with the link that it serves, if it does.
    threads: Vec<(JoinHandle<()>, Option<Arc<Link>>)>,
}

/// What a caller waits for.
pub(crate) enum Until {
    Message,
    Room(Arc<Condvar>),
}

impl Threads {
    pub(crate) fn new(listener: Listener) -> Threads {
        Threads { buffers: Pool::default(), listener, stopped: Condvar::new(), joining: Mutex::new(()) }
    }
}

impl Runtime for Threads {
    type Link = Link;
    type Stream = Socket;
    type Running = Running;
    type Signal = Condvar;
    type Sender<T: Send> = SyncSender<T>;

    fn wake_one(signal: &Condvar) {
        signal.notify_one();
    }

    fn wake_all(signal: &Condvar) {
        signal.notify_all();
    }

    fn send<T: Send>(sender: SyncSender<T>, outcome: T) {
        // The channel has room for the one outcome. The caller may have timed out.
        let _ = sender.try_send(outcome);
    }

    fn resolve(shell: &Arc<Shell>, state: &mut State, target: Target) {
        resolver::resolve(shell, state, target);
    }

    fn serve(shell: &Arc<Shell>, state: &mut State, link: NewLink<Socket>) -> io::Result<Arc<Link>> {
        link::start(shell, state, link)
    }

    fn refuse(stream: Socket) {
        let _ = stream.set_linger(Some(Duration::ZERO));
    }

    fn status(link: &Link) -> &LinkStatus {
        &link.status
    }

    fn halt(state: &mut State, closes: &mut Vec<Arc<Link>>) {
        for (_, link) in state.links.drain() {
            link.status.close(CloseMode::Abort);
            closes.push(link);
        }
    }

    fn write(shell: &Arc<Shell>, link: &Arc<Link>, _: usize, caller: Caller, now: Instant) {
        match caller {
            Caller::Puller(_) => link.wake_writer(shell),
            Caller::Sender if !link.status.has_rested(now) => link.wake_writer(shell),
            Caller::Sender | Caller::Reader(_) | Caller::Other => link.send_at_once(shell),
        }
    }

    fn close(shell: &Arc<Shell>, link: &Arc<Link>) {
        link.end(shell);
    }

    fn stopped(shell: &Arc<Shell>) {
        shell.runtime.listener.stop(shell.address);
        shell.runtime.stopped.notify_all();
    }
}

/// Starts the threads that every node has.
pub(crate) fn start(shell: &Arc<Shell>) -> io::Result<()> {
    shell.enter(Caller::Other, |state, _| {
        let node = Arc::clone(shell);
        spawn(state, "cluster-loop", None, move || run(&node))?;
        let node = Arc::clone(shell);
        spawn(state, "cluster-accept", None, move || node.runtime.listener.run(&node))
    })
}

/// Starts a thread that [`join_threads`] waits for. Once the node has stopped, nothing.
pub(crate) fn spawn(
    state: &mut State,
    name: &str,
    link: Option<Arc<Link>>,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    if state.is_stopped() {
        return Ok(());
    }
    for ended in state.running.threads.extract_if(.., |(thread, _)| thread.is_finished()) {
        // If it panicked, the panic hook has reported it.
        let _ = ended.0.join();
    }
    let handle = thread::Builder::new().name(name.into()).stack_size(STACK).spawn(run)?;
    state.running.threads.push((handle, link));
    Ok(())
}

/// [`Shell::enter`] for a caller that waits: calls again and again until there is a result, at the latest at `deadline`.
pub(crate) fn enter_until<R>(
    shell: &Arc<Shell>,
    caller: Caller,
    deadline: Instant,
    mut call: impl FnMut(&mut State, Instant) -> Result<R, Until>,
) -> Option<R> {
    let mut state = shell.lock();
    loop {
        let now = shell.clock.now();
        let result = call(&mut state, now);
        if let Some(effects) = shell.drain(&mut state, now) {
            drop(state);
            shell.finish(*effects, caller, now);
            if let Ok(result) = result {
                return Some(result);
            }
            // Much may have happened meanwhile.
            state = shell.lock();
            continue;
        }
        let until = match result {
            Ok(result) => return Some(result),
            Err(_) if now >= deadline => return None,
            Err(until) => until,
        };
        let condition = match &until {
            Until::Message => &shell.inbox,
            Until::Room(room) => room,
        };
        state = wait(condition, state, deadline - now);
    }
}

/// Returns what a caller waits for after a send to this peer was refused as full, under the same lock as the refusal.
pub(crate) fn until_writable(state: &mut State, peer: NodeId) -> Until {
    Until::Room(state.until_writable(peer))
}

/// Waits until the node has stopped, at most for `timeout`; returns whether it has.
pub(crate) fn has_stopped_within(shell: &Shell, timeout: Duration) -> bool {
    let waited = shell.runtime.stopped.wait_timeout_while(shell.lock(), timeout, |state| !state.is_stopped());
    waited.unwrap_or_else(PoisonError::into_inner).0.is_stopped()
}

/// Waits until the node has stopped and every thread has ended, but not for a look-up that is under way.
pub(crate) fn join_threads(shell: &Shell) {
    let stopped = shell.runtime.stopped.wait_while(shell.lock(), |state| !state.is_stopped());
    drop(stopped.unwrap_or_else(PoisonError::into_inner));
    // A second caller waits for the first.
    let _joining = lock(&shell.runtime.joining);
    let (threads, resolver) = {
        let running = &mut shell.lock().running;
        (std::mem::take(&mut running.threads), running.resolver.take_thread())
    };
    for (handle, link) in threads.into_iter().chain(resolver.map(|thread| (thread, None))) {
        // A dial cannot be ended in the instant before its system call begins.
        while let Some(link) = link.as_ref().filter(|link| link.is_dialing()) {
            link.hang_up();
            thread::sleep(Duration::from_millis(1));
        }
        let _ = handle.join();
    }
}

/// The event loop: ticks the core when it wants to be ticked.
fn run(shell: &Arc<Shell>) {
    let mut state = shell.lock();
    while !state.is_stopped() {
        shell.runtime.buffers.shrink();
        let now = shell.clock.now();
        state.tick(now);
        if let Some(effects) = shell.drain(&mut state, now) {
            drop(state);
            shell.finish(*effects, Caller::Other, now);
            state = shell.lock();
        }
        let due = state.next_tick().unwrap_or(Instant::MAX);
        let now = shell.clock.now();
        if due > now && !state.is_stopped() {
            state = wait(&shell.earlier, state, due - now);
        }
    }
}

/// Waits for a condition that is looked at again afterwards, or for the time to pass.
fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>, timeout: Duration) -> MutexGuard<'a, State> {
    condition.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
}
