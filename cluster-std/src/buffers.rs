//! Read buffers for whoever is receiving much right now.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// What one read into a pooled buffer takes at most.
pub(crate) const READ_BUFFER: usize = 256 << 10;

/// A read that fills less than this part of its buffer is copied, so that what is kept of it never pins more than
/// this times its size.
const PINNED: usize = 4;

/// The most buffers kept for the next reads, over all links. Idle links hold none.
const BUFFERS: usize = 16;

/// Buffers that were used and will be again.
///
/// The memory of a buffer whose content went to the core comes back when the core lets go of it. The queue gives that
/// as much time as it can; fresh memory would cost a page fault for every 4 KiB.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<VecDeque<Buffer>>);

/// Memory that nobody else refers to while it is being read into.
#[derive(Debug)]
pub(crate) struct Buffer(Arc<[u8]>);

/// The beginning of a buffer that was read into.
struct Filled {
    memory: Arc<[u8]>,
    length: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

impl Buffers {
    /// Lets go of one, so that a node at rest ends up with none. Called with every tick.
    pub(crate) fn shrink(&self) {
        drop(self.lock().pop_front());
    }

    /// A buffer that nobody refers to.
    pub(crate) fn take(&self) -> Buffer {
        let mut kept = self.lock();
        if let Some(mut oldest) = kept.pop_front() {
            if !oldest.space().is_empty() {
                return oldest;
            }
            kept.push_front(oldest);
        }
        drop(kept);
        Buffer(vec![0; READ_BUFFER].into())
    }

    pub(crate) fn put(&self, buffer: Buffer) {
        let mut kept = self.lock();
        if kept.len() == BUFFERS {
            kept.pop_front();
        }
        kept.push_back(buffer);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Buffer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// Where to read to: all of it, or nothing while its content is still in use.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        Arc::get_mut(&mut self.0).unwrap_or_default()
    }

    /// The first `length` bytes: a copy if they are few, else the buffer itself, which is then in use.
    pub(crate) fn bytes(&self, length: usize) -> Bytes {
        if length < READ_BUFFER / PINNED {
            Bytes::copy_from_slice(&self.0[..length])
        } else {
            Bytes::from_owner(Filled { memory: Arc::clone(&self.0), length })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_not_read_into_while_its_content_is_in_use() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer.space()[0] = 7;
        let content = buffer.bytes(READ_BUFFER);
        assert!(buffer.space().is_empty());
        buffers.put(buffer);
        let mut other = buffers.take();
        other.space()[0] = 8;
        assert_eq!((content[0], content.len()), (7, READ_BUFFER));

        let memory = content.as_ptr();
        drop(content);
        assert_eq!(buffers.take().space().as_ptr(), memory);
    }

    #[test]
    fn a_small_content_pins_nothing() {
        let mut buffer = Buffers::default().take();
        let content = buffer.bytes(100);
        assert!(!buffer.space().is_empty());
        assert_eq!(content.len(), 100);
    }

    #[test]
    fn a_bounded_number_is_kept_and_ticks_let_go_of_them() {
        let buffers = Buffers::default();
        for _ in 0..2 * BUFFERS {
            buffers.put(Buffer(vec![0; 1].into()));
        }
        assert_eq!(buffers.lock().len(), BUFFERS);
        for _ in 0..BUFFERS {
            buffers.shrink();
        }
        assert!(buffers.lock().is_empty());
    }
}
