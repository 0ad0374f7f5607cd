//! Looking up names, one at a time, in a thread that lives as long as there are names to look up.
//!
//! A look-up is a call of the operating system that nobody can end. The thread therefore does not keep the node alive,
//! and the end of the node does not wait for it.

use std::collections::VecDeque;
use std::net::ToSocketAddrs as _;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use cluster_core::{Input, Target};

use crate::driver::{Caller, STACK, Shared, State};

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
pub(crate) fn resolve(shared: &Arc<Shared>, state: &mut State, target: Target) {
    let resolver = &mut state.resolver;
    resolver.waiting.push_back(target);
    if resolver.running {
        return;
    }
    if let Some(ended) = resolver.thread.take() {
        let _ = ended.join();
    }
    let weak = Arc::downgrade(shared);
    match thread::Builder::new().name("cluster-names".into()).stack_size(STACK).spawn(move || run(&weak)) {
        Ok(thread) => {
            resolver.thread = Some(thread);
            resolver.running = true;
        }
        Err(error) => {
            let now = shared.clock.now();
            for target in std::mem::take(&mut resolver.waiting) {
                state.core.handle(now, Input::Resolved { target, outcome: Err(error.to_string()) });
            }
        }
    }
}

fn run(shared: &Weak<Shared>) {
    while let Some(target) = shared.upgrade().and_then(|shared| shared.next_look_up()) {
        let outcome = target.as_str().to_socket_addrs().map(Iterator::collect).map_err(|error| error.to_string());
        let Some(shared) = shared.upgrade() else { return };
        shared.enter(Caller::Other, |state, now| state.core.handle(now, Input::Resolved { target, outcome }));
    }
}
