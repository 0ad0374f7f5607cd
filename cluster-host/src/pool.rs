//! Read buffers for links that are receiving something right now.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::lock;

/// What one read into a pooled buffer takes at most.
pub const READ_BUFFER: usize = 256 << 10;

/// A read that fills less than this part of its buffer is copied, so that what is kept of it never pins more than
/// this times its size.
const PINNED: usize = 4;

/// The most buffers kept for the next reads, over all links. Idle links hold none.
const BUFFERS: usize = 16;

/// Returns whether the buffer of a read of this length goes to the core; the bytes of a shorter one are copied.
#[must_use]
pub fn is_kept_whole(length: usize) -> bool {
    length >= READ_BUFFER / PINNED
}

/// Buffers that were used and will be again.
///
/// The memory of a buffer whose content went to the core comes back when the core releases it. The queue gives that
/// as much time as it can; fresh memory would cost a page fault for every 4 KiB.
#[derive(Debug)]
pub struct Pool<B>(Mutex<VecDeque<B>>);

impl<B> Default for Pool<B> {
    fn default() -> Pool<B> {
        Pool(Mutex::default())
    }
}

impl<B> Pool<B> {
    /// Drops one buffer, so that a node at rest ends up with none. To be called with every tick.
    pub fn shrink(&self) {
        drop(lock(&self.0).pop_front());
    }

    /// Takes the oldest buffer if the content it had is no longer in use; otherwise makes a new one.
    pub fn take(&self, is_free: impl FnOnce(&mut B) -> bool, make: impl FnOnce() -> B) -> B {
        let mut kept = lock(&self.0);
        if let Some(mut oldest) = kept.pop_front() {
            if is_free(&mut oldest) {
                return oldest;
            }
            kept.push_front(oldest);
        }
        drop(kept);
        make()
    }

    /// Keeps a buffer for a later read.
    pub fn put(&self, buffer: B) {
        let mut kept = lock(&self.0);
        if kept.len() == BUFFERS {
            kept.pop_front();
        }
        kept.push_back(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_keeps_a_bounded_number_and_ticks_drop_them() {
        let pool = Pool::default();
        for number in 0..2 * BUFFERS {
            pool.put(number);
        }
        assert_eq!(lock(&pool.0).len(), BUFFERS);
        for _ in 0..BUFFERS {
            pool.shrink();
        }
        assert!(lock(&pool.0).is_empty());
    }

    #[test]
    fn buffer_in_use_is_not_taken_and_keeps_its_position() {
        let pool = Pool::default();
        pool.put(1);
        assert_eq!(pool.take(|_| false, || 2), 2);
        assert_eq!(pool.take(|_| true, || 3), 1);
        assert_eq!(pool.take(|_| true, || 3), 3);
    }
}
