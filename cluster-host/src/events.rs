//! The events that wait for one subscriber.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use cluster_core::Event;
use cluster_core::adapter::{EventQueue, Subscriber};

use crate::lock;
use crate::shell::{Runtime, Shell, Unread};

/// The events that wait for one subscriber, shared by the subscriber and the node.
pub struct Queue<R: Runtime> {
    waiting: Mutex<EventQueue<Arc<Unread<R>>>>,
    changed: R::Signal,
}

impl<R: Runtime> Queue<R> {
    /// Takes the next event, which counts as read, and returns whether no more can come after it.
    pub fn pop(&self) -> (Option<Event>, bool) {
        // Apart from the lock, which must be free when the node hears that something was read.
        let (next, ended) = {
            let mut waiting = self.lock();
            (waiting.pop(), waiting.has_ended())
        };
        (next.map(|(event, _unread)| event), ended)
    }

    /// Locks the queue, to look at it or to wait for a change.
    pub fn lock(&self) -> MutexGuard<'_, EventQueue<Arc<Unread<R>>>> {
        lock(&self.waiting)
    }

    /// Returns what the subscriber waits at.
    pub fn changed(&self) -> &R::Signal {
        &self.changed
    }

    /// Wakes the subscriber. Apart from `push`, so that no waker runs under the node's lock.
    pub fn wake(&self) {
        R::wake_one(&self.changed);
    }
}

impl<R: Runtime> Subscriber<Shell<R>> for Queue<R> {
    fn push(&self, event: Event, unread: Option<Arc<Unread<R>>>) {
        // The caller keeps one of its own, so none of these is the last.
        let _too_late = self.lock().push(event, unread);
    }

    fn end(&self) {
        self.lock().end();
    }
}

impl<R: Runtime> Default for Queue<R> {
    fn default() -> Queue<R> {
        Queue { waiting: Mutex::default(), changed: R::Signal::default() }
    }
}

impl<R: Runtime> fmt::Debug for Queue<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}
