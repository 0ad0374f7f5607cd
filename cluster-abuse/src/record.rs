//! Records: the same however the bytes are cut; and where they are protected, what was written or nothing.

use cluster_core::{ChannelError, Frame, FrameError, Role};

use crate::channels::{self, Mode, Outcome};
use crate::draw::{Near, draw};
use crate::frame;
use crate::handshake::edit;
use crate::tape::Tape;

/// The most flights of one script.
const MAX_FLIGHTS: usize = 8;

/// One byte for the mode. Plain: one for the pieces, and what a peer writes. Secure: what an honest peer writes, and
/// how somebody alters it.
///
/// # Panics
///
/// If a promise is broken.
pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    match Mode::of(tape.byte()) {
        Mode::Plain => {
            let cut = usize::from(tape.byte());
            plain(tape.rest(), cut);
        }
        mode => secure(&mut tape, mode, channels::salt(data)),
    }
}

fn plain(bytes: &[u8], cut: usize) {
    let (mut whole, mut pieces) = channels::connected(Mode::Plain, 0);
    let outcome = Outcome::of(&mut whole, bytes, 0);
    assert_eq!(Outcome::of(&mut pieces, bytes, cut.max(1)), outcome, "it does not matter how bytes are cut");
    outcome.frames().for_each(frame::check);
    assert!(outcome.written.is_empty(), "a channel says nothing by itself");
    assert!(matches!(outcome.error, None | Some(ChannelError::Frame(_))), "{outcome:?}");
    // Records are read one by one: what comes before a record does not change what is in it.
    let (mut rest, mut frames, mut error) = (bytes, Vec::new(), None);
    while let Some((length, behind)) = rest.split_first_chunk::<2>().filter(|_| error.is_none()) {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((body, behind)) = behind.split_at_checked(length) else { break };
        let (_, mut alone) = channels::connected(Mode::Plain, 0);
        let record = Outcome::of(&mut alone, &[&(length as u16).to_be_bytes(), body].concat(), 0);
        assert!(length > 0 || record.error == Some(FrameError::Empty.into()));
        frames.extend(record.frames().cloned());
        error = record.error;
        rest = behind;
    }
    assert!(outcome.frames().eq(&frames) && outcome.error == error, "{outcome:?} instead of {frames:?}");
}

fn secure(tape: &mut Tape<'_>, mode: Mode, salt: u64) {
    let (initiator, responder) = channels::connected(mode, salt);
    let forth = tape.byte() & 1 == 0;
    let (mut honest, mut other) = if forth { (initiator, responder) } else { (responder, initiator) };
    let role = if forth { Role::Initiator } else { Role::Responder };
    let (mut said, mut written, mut passed): (Vec<Frame>, Vec<u8>, Vec<u8>) = Default::default();
    let mut outcome = Outcome::of(&mut other, &[], 0);
    for _ in 0..MAX_FLIGHTS {
        if tape.is_over() {
            break;
        }
        for _ in 0..1 + tape.choice(4) {
            let Some(frame) = draw(tape, &Near::default()) else { break };
            honest.send(frame.clone());
            said.push(frame);
        }
        let flight = channels::take(&mut honest);
        let mut altered = flight.clone();
        for _ in 0..tape.choice(4) {
            edit(&mut altered, &written, tape);
        }
        written.extend(flight);
        passed.extend(&altered);
        other.receive(altered.into());
        outcome.poll(&mut other);
    }
    let heard: Vec<&Frame> = outcome.frames().collect();
    assert!(said.iter().take(heard.len()).eq(heard.iter().copied()), "{role:?} said {said:?}, not {heard:?}");
    assert!(matches!(outcome.error, None | Some(ChannelError::Forged)), "{outcome:?}");
    if passed == written {
        assert!(heard.len() == said.len() && outcome.error.is_none(), "{said:?} became {outcome:?}");
    }
    let same = passed.iter().zip(&written).take_while(|(passed, written)| passed == written).count();
    assert!(same == written.len().min(passed.len()) || heard.len() < said.len(), "altered, and taken whole");
}
