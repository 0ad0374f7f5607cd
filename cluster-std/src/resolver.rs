//! Looking up names, one at a time, in a thread that lives as long as there are names to look up.
//!
//! A look-up is a call of the operating system that nobody can end. The thread therefore does not keep the node alive,
//! and the end of the node does not wait for it.

use std::collections::VecDeque;
use std::net::ToSocketAddrs as _;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use cluster_core::{Input, Target};
use cluster_host::Caller;

use crate::threads::{STACK, Shell, State};

/// The names that wait, each at most once: as many as the core has targets.
#[derive(Default)]
pub(crate) struct Resolver {
    waiting: VecDeque<Target>,
    thread: Option<JoinHandle<()>>,
    /// The thread has not yet found that nothing waits.
    running: bool,
    /// The thread is in a look-up.
    busy: bool,
}

impl Resolver {
    /// The next name to look up. Without one the thread ends.
    pub(crate) fn next(&mut self, stopped: bool) -> Option<Target> {
        let next = self.waiting.pop_front().filter(|_| !stopped);
        self.running = next.is_some();
        self.busy = next.is_some();
        next
    }

    /// The thread, if it ends soon.
    pub(crate) fn take_thread(&mut self) -> Option<JoinHandle<()>> {
        self.thread.take().filter(|_| !self.busy)
    }
}

/// Looks a name up when those before it are done, and tells the core.
pub(crate) fn resolve(shell: &Arc<Shell>, state: &mut State, target: Target) {
    let resolver = &mut state.running.resolver;
    resolver.waiting.push_back(target);
    if resolver.running {
        return;
    }
    if let Some(ended) = resolver.thread.take() {
        let _ = ended.join();
    }
    let weak = Arc::downgrade(shell);
    match thread::Builder::new().name("cluster-names".into()).stack_size(STACK).spawn(move || run(&weak)) {
        Ok(thread) => {
            resolver.thread = Some(thread);
            resolver.running = true;
        }
        Err(error) => {
            let now = shell.clock.now();
            for target in std::mem::take(&mut resolver.waiting) {
                state.core.handle(now, Input::Resolved { target, outcome: Err(error.to_string()) });
            }
        }
    }
}

fn run(shell: &Weak<Shell>) {
    while let Some(target) = shell.upgrade().and_then(|shell| next(&shell)) {
        let outcome = target.as_str().to_socket_addrs().map(Iterator::collect).map_err(|error| error.to_string());
        let Some(shell) = shell.upgrade() else { return };
        shell.enter(Caller::Other, |state, now| state.core.handle(now, Input::Resolved { target, outcome }));
    }
}

/// Returns the next name to look up. The node may have stopped.
fn next(shell: &Shell) -> Option<Target> {
    let mut state = shell.lock();
    let stopped = state.is_stopped();
    state.running.resolver.next(stopped)
}
