//! What protects the records of a channel once its handshake is done.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use snow::TransportState;

use super::record::Body;
use crate::limits::REKEY_AFTER;

/// By how many bytes a sealed record is longer than its plaintext.
const TAG: usize = 16;

/// How the plaintext of a record becomes its body, and back. One call is one record, and calls are in the order of the
/// stream, so a counter in here is the nonce.
pub(crate) enum Cipher {
    /// The body is the plaintext.
    Plain,
    /// The body is sealed with the keys of a secure handshake.
    Noise(Box<Keys>),
}

/// The keys of both directions. Each replaces itself after every [`REKEY_AFTER`] records.
pub(crate) struct Keys(pub(crate) TransportState);

/// The body of a record is not what the other side has sealed, or not in that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forged;

impl Cipher {
    pub(crate) fn noise(state: TransportState) -> Cipher {
        Cipher::Noise(Box::new(Keys(state)))
    }

    /// Whether the plaintext of a record must lie in one piece to be sealed. If not, large payloads need no copy.
    pub(crate) const fn needs_one_piece(&self) -> bool {
        match self {
            Cipher::Plain => false,
            Cipher::Noise(_) => true,
        }
    }

    /// Turns the plaintext of one record, which is what follows `from` in `buffer`, into the part of its body that is
    /// written from the buffer. Returns by how many bytes that made it longer. `scratch` is for use in between.
    pub(crate) fn seal(&mut self, buffer: &mut Vec<u8>, from: usize, scratch: &mut Vec<u8>) -> usize {
        match self {
            Cipher::Plain => 0,
            Cipher::Noise(keys) => {
                scratch.clear();
                scratch.extend_from_slice(&buffer[from..]);
                buffer.resize(buffer.len() + TAG, 0);
                keys.seal(scratch, &mut buffer[from..]);
                TAG
            }
        }
    }

    /// Turns the body of one record into its plaintext. That of a sealed one gets memory of its own: frames are slices
    /// of it, and live as long as they like.
    pub(crate) fn open(&mut self, body: Body) -> Result<Body, Forged> {
        match self {
            Cipher::Plain => Ok(body),
            Cipher::Noise(keys) => keys.open(&body.bytes),
        }
    }
}

impl Keys {
    fn seal(&mut self, plaintext: &[u8], body: &mut [u8]) {
        if self.0.write_message(plaintext, body) != Ok(body.len()) {
            // The nonces of a link last for more than its life. In any case nothing goes out unsealed.
            body.fill(0);
        }
        if self.0.sending_nonce().is_multiple_of(REKEY_AFTER) {
            self.0.rekey_outgoing();
        }
    }

    fn open(&mut self, body: &[u8]) -> Result<Body, Forged> {
        let length = body.len().checked_sub(TAG).ok_or(Forged)?;
        let mut plaintext = vec![0; length];
        if self.0.read_message(body, &mut plaintext) != Ok(length) {
            return Err(Forged);
        }
        if self.0.receiving_nonce().is_multiple_of(REKEY_AFTER) {
            self.0.rekey_incoming();
        }
        Ok(Body { backing: length, bytes: plaintext.into() })
    }
}
