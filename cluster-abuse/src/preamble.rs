//! The first bytes of a stranger: judged as PROTOCOL.md says, however they are cut, and in secure mode never answered.

use cluster_core::limits::MAX_HANDSHAKE;
use cluster_core::{ChannelError, Role, Suite};

use crate::channels::{self, Mode, Outcome};
use crate::tape::Tape;

const MAGIC: &[u8] = b"\xf5clu";
const SIZE: usize = 12;

/// What a hello in secure mode has, preamble and length included.
const SECURE_HELLO: usize = SIZE + 2 + 48;

/// One byte that says to whom and in which pieces; the others are what a stranger says.
///
/// # Panics
///
/// If a promise is broken.
pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let first = tape.byte();
    let role = if first & 1 == 0 { Role::Responder } else { Role::Initiator };
    // Another secret than any corpus has: nobody who says something here is a member.
    let suite = if first & 4 == 0 { Suite::ChaChaPoly } else { Suite::AesGcm };
    let mode = if first & 2 == 0 { Mode::Plain } else { Mode::Secure(0x5a, suite) };
    let cut = usize::from(first >> 3);
    let bytes = tape.rest();

    let side = || {
        let mut channel = channels::side(role, mode, 0);
        channels::take(&mut channel);
        channel
    };
    let outcome = Outcome::of(&mut side(), bytes, 0);
    assert_eq!(Outcome::of(&mut side(), bytes, cut), outcome, "it does not matter how bytes are cut");

    let error = outcome.error.as_ref();
    let common = bytes.len().min(MAGIC.len());
    let is_ours = bytes[..common] == MAGIC[..common];
    assert_eq!(error == Some(&ChannelError::NotThisProtocol), !is_ours, "{outcome:?}");
    if is_ours && let Some(preamble) = bytes.first_chunk::<SIZE>() {
        judged(preamble, role, mode, &outcome);
    } else {
        assert!(outcome.written.is_empty() && outcome.received.is_empty(), "{outcome:?}");
    }
    assert!(outcome.written.len() <= MAX_HANDSHAKE);
    assert!(error.is_some() || outcome.is_connected() || bytes.len() <= MAX_HANDSHAKE, "the handshake is bounded");
    if mode.is_secure() {
        assert!(outcome.received.is_empty() && outcome.written.is_empty(), "nothing is said to a stranger");
        assert!(error.is_some() || bytes.len() < SECURE_HELLO || role == Role::Initiator && bytes.len() < 200);
    }
}

/// The rules of the preamble, in their order.
fn judged(preamble: &[u8; SIZE], role: Role, mode: Mode, outcome: &Outcome) {
    let [.., min, max, named, suite, _, _, _, _] = *preamble;
    let known = match mode {
        Mode::Plain => named == 0 && suite == 0,
        Mode::Secure(_, Suite::ChaChaPoly) if role == Role::Initiator => named == 1 && suite == 0,
        Mode::Secure(..) if role == Role::Initiator => named == 1 && suite == 1,
        Mode::Secure(..) => named == 1 && suite <= 1,
    };
    assert_eq!(outcome.error == Some(ChannelError::Mode), !known, "{outcome:?}");
    // A responder in secure mode does not say whether the version is one of its own before it knows who asks.
    let early = !mode.is_secure() || role == Role::Initiator;
    let version = max.min(1);
    let spoken = version == 1 && min <= 1;
    let refused = matches!(outcome.error, Some(ChannelError::Version { .. }));
    assert_eq!(refused, known && early && !spoken, "{outcome:?}");
}
