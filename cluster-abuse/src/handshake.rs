//! Somebody in the middle of a handshake: he may alter what he likes, but not so that anybody is connected by it.

use cluster_core::{Channel, Received, Role};

use crate::channels::{self, Mode, Outcome};
use crate::tape::Tape;

/// The most edits of one flight.
const MAX_EDITS: usize = 4;

/// One byte for the mode; then, for each of the three flights, how it is altered.
///
/// # Panics
///
/// If a promise is broken.
pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let mode = Mode::of(tape.byte());
    let salt = channels::salt(data);
    let [mut initiator, mut responder] =
        [Role::Initiator, Role::Responder].map(|role| channels::side(role, mode, salt));
    let (mut at_initiator, mut at_responder) = (nothing(), nothing());

    let hello = channels::take(&mut initiator);
    let first = altered(&hello, &[], &mut tape);
    pass(&first, &mut responder, &mut at_responder);

    let answer = at_responder.written.clone();
    let second = altered(&answer, &hello, &mut tape);
    pass(&second, &mut initiator, &mut at_initiator);

    let last = at_initiator.written.clone();
    let third = altered(&last, &answer, &mut tape);
    pass(&third, &mut responder, &mut at_responder);

    for (outcome, role) in [(&at_initiator, Role::Responder), (&at_responder, Role::Initiator)] {
        let connected = |received: &&Received| matches!(received, Received::Connected(_));
        assert!(outcome.received.iter().filter(connected).count() <= 1, "one is connected once");
        let greeted = outcome.received.iter().filter(|received| **received == Received::Greeted).count();
        assert!(greeted <= usize::from(role == Role::Initiator), "a responder is greeted, once");
        assert!(outcome.received.len() == greeted || outcome.is_connected(), "no frame comes before that");
        if let (false, Some(proven)) = (mode.is_secure(), outcome.proven()) {
            assert_eq!((proven.version, proven.features, proven.secret), (1, 0, None), "{role:?}");
        }
    }
    let untouched = first == hello && second == answer && third == last;
    assert!(!untouched || at_initiator.is_connected() && at_responder.is_connected(), "honest bytes connect");
    if mode.is_secure() {
        // What he adds behind a message is the beginning of the next, which he cannot know.
        let heard = first.starts_with(&hello) && second.starts_with(&answer);
        assert!(!at_initiator.is_connected() || heard, "altered and believed");
        let heard = first == hello && second.starts_with(&answer) && third.starts_with(&last);
        assert!(!at_responder.is_connected() || heard, "altered and believed");
        assert!(at_responder.frames().chain(at_initiator.frames()).count() == 0, "frames of nobody");
    }
}

fn nothing() -> Outcome {
    Outcome { received: Vec::new(), error: None, written: Vec::new() }
}

fn pass(bytes: &[u8], to: &mut Channel, outcome: &mut Outcome) {
    to.receive(bytes.to_vec().into());
    outcome.poll(to);
}

/// What the one in the middle makes of `bytes`. He also remembers what was said before.
fn altered(bytes: &[u8], before: &[u8], tape: &mut Tape<'_>) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..tape.choice(MAX_EDITS + 1) {
        edit(&mut out, before, tape);
    }
    out
}

/// One alteration.
pub(crate) fn edit(out: &mut Vec<u8>, before: &[u8], tape: &mut Tape<'_>) {
    let kind = tape.choice(7);
    let at = usize::from(tape.short()) % (out.len() + 1);
    match kind {
        0 => out[at..].iter_mut().take(1).zip([tape.byte()]).for_each(|(byte, flip)| *byte ^= flip),
        1 => out[at..].iter_mut().take(1).zip([tape.byte()]).for_each(|(byte, new)| *byte = new),
        2 => out.truncate(at),
        3 => drop(out.splice(at..at, tape.bytes().iter().copied())),
        4 => drop(out.drain(at..(at + 1 + usize::from(tape.byte())).min(out.len()))),
        5 => *out = tape.bytes().to_vec(),
        _ => *out = before.to_vec(),
    }
}
