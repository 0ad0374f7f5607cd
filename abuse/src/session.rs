//! Sessions: every message that was accepted has one outcome, and it is the true one; nothing is delivered twice.

mod honest;
mod hostile;

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

/// The front message of a stream, and how long it is with its head; `None` if it is not complete. Written anew from
/// PROTOCOL.md, so that it can disagree with the node.
///
/// # Errors
///
/// The head is none of a message that may be sent.
fn front(stream: &[u8], max_message: u64) -> Result<Option<(&[u8], usize)>, ()> {
    let Some(&first) = stream.first() else { return Ok(None) };
    let (width, least) = match first {
        0x40..=0x57 => (0, 0),
        0x58 => (1, 24),
        0x59 => (2, 1 << 8),
        0x5a => (4, 1 << 16),
        0x5b => (8, 1 << 32),
        _ => return Err(()),
    };
    let Some(digits) = stream[1..].get(..width) else { return Ok(None) };
    let length = match width {
        0 => u64::from(first - 0x40),
        _ => digits.iter().fold(0, |length, digit| length << 8 | u64::from(*digit)),
    };
    if length < least || length > max_message {
        return Err(());
    }
    let end = 1 + width + length as usize;
    Ok(stream.get(1 + width..end).map(|payload| (payload, end)))
}

/// Appends a message to a stream.
fn append(stream: &mut Vec<u8>, payload: &[u8]) {
    match payload.len() {
        length @ 0..=23 => stream.push(0x40 | length as u8),
        length @ 24..=255 => stream.extend([0x58, length as u8]),
        length => stream.extend([&[0x59], &(length as u16).to_be_bytes()[..]].concat()),
    }
    stream.extend_from_slice(payload);
}
