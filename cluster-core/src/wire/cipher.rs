//! What protects the records of a channel once its handshake is done.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::channel::ChannelError;

/// How the plaintext of a record becomes its body, and back.
///
/// It is a seam: an encrypted mode adds a variant, and nothing outside this file and the handshake changes. One call
/// is one record, and calls are in the order of the stream, so a counter in here can be the nonce.
#[derive(Clone, Debug)]
pub(crate) enum Cipher {
    /// The body is the plaintext.
    Plain,
}

impl Cipher {
    /// Whether the plaintext of a record must lie in one piece to be sealed. If not, large payloads need no copy.
    pub(crate) const fn needs_one_piece(&self) -> bool {
        match self {
            Cipher::Plain => false,
        }
    }

    /// Turns the plaintext of one record, which is what follows `from` in `buffer`, into the part of its body that is
    /// written from the buffer. Returns by how many bytes that made it longer.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "an encrypted mode counts the records")]
    pub(crate) fn seal(&mut self, _buffer: &mut Vec<u8>, _from: usize) -> usize {
        match self {
            Cipher::Plain => 0,
        }
    }

    /// Turns the body of one record into its plaintext.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "an encrypted mode counts the records")]
    pub(crate) fn open(&mut self, body: Bytes) -> Result<Bytes, ChannelError> {
        match self {
            Cipher::Plain => Ok(body),
        }
    }
}
