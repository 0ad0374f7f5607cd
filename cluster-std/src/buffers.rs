//! The memory of read buffers.

use std::sync::Arc;

use bytes::Bytes;
use cluster_host::{READ_BUFFER, is_kept_whole};

/// Memory with one owner while it is being read into.
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

impl Buffer {
    pub(crate) fn new() -> Buffer {
        Buffer(vec![0; READ_BUFFER].into())
    }

    /// Returns whether nothing refers to what was read into it.
    pub(crate) fn is_free(&mut self) -> bool {
        !self.space().is_empty()
    }

    /// Where to read to: all of it, or nothing while its content is still in use.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        Arc::get_mut(&mut self.0).unwrap_or_default()
    }

    /// The first `length` bytes: a copy if they are few, else the buffer itself, which is then in use.
    pub(crate) fn bytes(&self, length: usize) -> Bytes {
        if is_kept_whole(length) {
            Bytes::from_owner(Filled { memory: Arc::clone(&self.0), length })
        } else {
            Bytes::copy_from_slice(&self.0[..length])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_host::Pool;

    #[test]
    fn buffer_is_not_read_into_while_its_content_is_in_use() {
        let buffers = Pool::default();
        let take = || buffers.take(Buffer::is_free, Buffer::new);
        let mut buffer = take();
        buffer.space()[0] = 7;
        let content = buffer.bytes(READ_BUFFER);
        assert!(buffer.space().is_empty());
        buffers.put(buffer);
        let mut other = take();
        other.space()[0] = 8;
        assert_eq!((content[0], content.len()), (7, READ_BUFFER));

        let memory = content.as_ptr();
        drop(content);
        assert_eq!(take().space().as_ptr(), memory);
    }

    #[test]
    fn small_content_pins_nothing() {
        let mut buffer = Buffer::new();
        let content = buffer.bytes(100);
        assert!(buffer.is_free());
        assert_eq!(content.len(), 100);
    }
}
