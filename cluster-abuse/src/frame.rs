//! The codec of frames: what it takes has one meaning, and is within its limits.

use cluster_core::limits::{
    MAX_ADDRESSES, MAX_CHUNK, MAX_LIST, MAX_LIST_FRAME, MAX_METADATA, MAX_PROFILE_FRAME, MAX_RECORD, MAX_SMALL_FRAME,
};
use cluster_core::wire::{Entry, Profile};
use cluster_core::{Bytes, Frame, Received};

use crate::channels::{self, Mode, Outcome, is_printable};

/// Any bytes as one frame.
///
/// # Panics
///
/// If a promise is broken.
pub fn run(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let decoded = Frame::decode(bytes);
    match &decoded {
        Ok(frame) => {
            check(frame);
            assert!(frame.encode().len() <= data.len(), "no form is shorter than the one that is written: {frame:?}");
        }
        Err(error) => is_printable(&error.to_string()),
    }
    // In a record of its own it means the same.
    if data.len() <= MAX_RECORD {
        let (_, mut channel) = channels::connected(Mode::Plain, 0);
        let record = [&(data.len() as u16).to_be_bytes(), data].concat();
        let outcome = Outcome::of(&mut channel, &record, 0);
        match decoded {
            Ok(frame) => {
                assert_eq!((outcome.received, outcome.error), (vec![Received::Frame(frame)], None));
            }
            Err(_) => outcome.frames().for_each(check),
        }
    }
}

/// What holds for every frame that was received.
///
/// # Panics
///
/// If it does not.
pub fn check(frame: &Frame) {
    is_printable(&format!("{frame:?}"));
    let (count, cap) = match frame {
        Frame::Data(data) => {
            assert!((1..=MAX_CHUNK).contains(&data.bytes.len()), "{frame:?}");
            assert!(data.offset.checked_add(data.bytes.len() as u64).is_some(), "{frame:?}");
            (0, MAX_RECORD)
        }
        Frame::Claim(claim) => (profile(&claim.profile), MAX_PROFILE_FRAME),
        Frame::Accept(accept) => (profile(&accept.profile), MAX_PROFILE_FRAME),
        Frame::Update(update) => (profile(&update.profile), MAX_PROFILE_FRAME),
        Frame::List(list) => (entries(&list.entries), MAX_LIST_FRAME),
        Frame::Announce(announce) => (entries(&announce.entries), MAX_LIST_FRAME),
        _ => (0, MAX_SMALL_FRAME),
    };
    assert!(count <= MAX_LIST, "{frame:?}");
    let encoded = frame.encode();
    assert!(encoded.len() <= cap, "{frame:?} has {} bytes", encoded.len());
    assert_eq!(Frame::decode(encoded.into()).as_ref(), Ok(frame), "a frame survives its bytes");
}

fn profile(profile: &Profile) -> usize {
    assert!(profile.addresses.len() <= MAX_ADDRESSES && profile.metadata.len() <= MAX_METADATA, "{profile:?}");
    0
}

fn entries(entries: &[Entry]) -> usize {
    assert!(entries.iter().all(|entry| entry.addresses.len() <= MAX_ADDRESSES), "{entries:?}");
    entries.len()
}
