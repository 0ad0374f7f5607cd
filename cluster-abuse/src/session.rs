//! Sessions: every message that was accepted has one outcome, and it is the true one; nothing is delivered twice.

mod honest;
mod hostile;

use cluster_check::{BadHead, Head};
use cluster_core::Bytes;

use crate::tape::Tape;

/// The most steps of one script.
const MAX_STEPS: usize = 256;

/// One byte says who the peer is: a hostile one, of whom it is known what the node must make of each of his words, or
/// an honest one, with a bad connection. The others say what happens.
///
/// # Panics
///
/// If a promise is broken.
pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let shape = tape.byte();
    if shape & 1 == 0 { hostile::run(shape >> 1, &mut tape) } else { honest::run(shape >> 1, &mut tape) }
}

/// A message with a number, and as long as it is to be.
fn message(number: u64, length: usize) -> Bytes {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(length.max(payload.len()), number as u8);
    payload.into()
}

/// The number of such a message.
fn number(payload: &[u8]) -> u64 {
    let number = payload.first_chunk().map(|digits| u64::from_be_bytes(*digits)).expect("a number");
    assert!(payload[8..].iter().all(|&byte| byte == number as u8), "message {number} has changed");
    number
}

/// The front message of a stream, and how long it is with its head; `None` if it is not complete.
///
/// # Errors
///
/// The head is none of a message that may be sent.
fn front(stream: &[u8], max_message: u64) -> Result<Option<(&[u8], usize)>, BadHead> {
    let Some(head) = Head::read(stream.iter().copied())? else { return Ok(None) };
    if head.length() > max_message {
        return Err(BadHead);
    }
    let end = head.total() as usize;
    Ok(stream.get(head.size()..end).map(|payload| (payload, end)))
}

/// Appends a message to a stream.
fn append(stream: &mut Vec<u8>, payload: &[u8]) {
    Head::of(payload.len() as u64).write(stream);
    stream.extend_from_slice(payload);
}
