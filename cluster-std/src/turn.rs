//! The state of a link's writer: running, and wanted. The rules are in [`crate::writer`]; `tests/turns` tries the orders in which
//! threads can follow them.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use crate::sync::{Condvar, JoinHandle, Mutex, MutexGuard};

/// How long a writer without work stays.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// A link's writer: whether it runs, and whether it is wanted.
#[derive(Default)]
pub(crate) struct Turn {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: bool,
    running: bool,
    /// No writer is started any more.
    ended: bool,
    thread: Option<JoinHandle<()>>,
}

impl Turn {
    /// Makes the writer look at everything; starts one if there is none. Once it has ended, nothing.
    ///
    /// # Errors
    ///
    /// None could be started.
    pub(crate) fn want(&self, start: impl FnOnce() -> io::Result<JoinHandle<()>>) -> io::Result<()> {
        let mut state = self.lock();
        if state.ended {
            return Ok(());
        }
        state.wanted = true;
        if state.running {
            drop(state);
            self.changed.notify_one();
            return Ok(());
        }
        if let Some(ended) = state.thread.take() {
            let _ = ended.join();
        }
        state.thread = Some(start()?);
        state.running = true;
        Ok(())
    }

    /// Waits until the writer ends by itself.
    pub(crate) fn join(&self) {
        let thread = self.lock().thread.take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Ends the writer, which must not be blocked in its socket, and waits for its end.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
        self.join();
    }

    /// For the writer: waits until it is wanted. Says whether it is; otherwise it has to end.
    pub(crate) fn wait(&self) -> bool {
        let idle = |state: &mut State| !state.wanted && !state.ended;
        let waited = self.changed.wait_timeout_while(self.lock(), LINGER, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.running = state.wanted && !state.ended;
        state.wanted = false;
        state.running
    }

    /// For the writer: it ends, and none follows it.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.running = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
