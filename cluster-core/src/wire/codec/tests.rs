//! What the codec takes and what it refuses.

use alloc::vec;
use alloc::vec::Vec;

use proptest::collection;
use proptest::prelude::*;

use super::*;
use crate::wire::arbitrary;

fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
    Frame::decode(Bytes::copy_from_slice(bytes))
}

/// The bytes of a list with one entry that has these addresses.
fn list(addresses: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x84\x0a\x01\xf4\x81\x83\x50".to_vec();
    bytes.extend([7; 16]);
    bytes.push(0);
    bytes.extend(addresses);
    bytes
}

#[test]
fn frames_that_break_a_rule_are_refused() {
    let malformed = FrameError::Malformed;
    for (bytes, expected) in [
        (&b""[..], FrameError::Empty),
        (b"\x80", malformed),
        (b"\xa1\x01\x07", malformed),
        (b"\x82\x20\x07", malformed),
        (b"\x81\x01", malformed),
        (b"\x82\x01", malformed),
        (b"\x82\x18\x01\x07", malformed),
        (b"\x82\x01\x18\x07", malformed),
        (b"\x98\x02\x01\x07", malformed),
        (b"\x9f\x01\x07\xff", malformed),
        (b"\xc1\x82\x01\x07", malformed),
        (b"\x82\x01\xc1\x07", malformed),
        (b"\x82\x01\x26", malformed),
        (b"\x82\x01\x41\x07", malformed),
        (b"\x82\x01\x07\x00", FrameError::Trailing),
        (b"\x82\x0d\x00", FrameError::UnknownType(13)),
        (b"\x82\x18\x3f\x00", FrameError::UnknownType(63)),
        (b"\x82\x18\x40\x00", FrameError::UnknownType(64)),
        // data: exactly three elements, a byte string that is not empty, and no end beyond 2^64 - 1
        (b"\x84\x00\x00\x41x\x00", malformed),
        (b"\x82\x00\x00", malformed),
        (b"\x83\x00\x00\x40", FrameError::Empty),
        (b"\x83\x00\x00\x42x", malformed),
        (b"\x83\x00\x00\x58\x01x", malformed),
        (b"\x83\x00\x00\x61x", malformed),
        (b"\x83\x00\x00\x81\x01", malformed),
        (b"\x83\x00\x00\x5f\x41x\xff", malformed),
        (b"\x83\x00\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x41x", malformed),
        (b"\x83\x00\x00\x5b\xff\xff\xff\xff\xff\xff\xff\xff", FrameError::TooLong { kind: 0, cap: MAX_CHUNK }),
        // close and reject: codes fit a byte, and a stale run is told of which
        (b"\x82\x08\x19\x01\x00", malformed),
        (b"\x82\x06\x02", malformed),
        (b"\x82\x06\xf5", malformed),
        // resume: a stream is null or an array, and nothing passes for either
        (b"\x82\x07\x83\x00\x00\xf7", malformed),
        (b"\x82\x07\x83\x00\x00\x80", malformed),
        (b"\x82\x07\x83\x00\x00\x46\x00\x01\x02\x03\x04\x05", malformed),
        (b"\x82\x07\x83\x00\x00\x83\x02\x00\x00", malformed),
        (b"\x82\x07\x82\x00\x00", malformed),
        (b"\x82\x07\x43\x00\x00\x00", malformed),
        // digest: sixteen numbers, not sixteen bytes
        (b"\x82\x09\x500123456789abcdef", malformed),
        // update: name, metadata, addresses
        (b"\x82\x0c\x85\x61 \x40\x80\x00\x00", malformed),
        (b"\x82\x0c\x85\x60\x40\x80\x00\x00", malformed),
        (b"\x82\x0c\x85\x41a\x40\x80\x00\x00", malformed),
        (b"\x82\x0c\x85\xf6\x81\x01\x80\x00\x00", malformed),
        (b"\x82\x0c\x85\xf6\x60\x80\x00\x00", malformed),
        (b"\x82\x0c\x85\xf6\x40\x81\x41x\x00\x00", malformed),
        (b"\x82\x0c\x85\xf6\x40\x81\x82\x01\x02\x00\x00", malformed),
        (b"\x82\x0c\x85\xf6\x40\x85\x42xx\x42xx\x42xx\x42xx\x42xx\x00\x00", malformed),
        // list
        (b"\x84\x0a\x1a\x00\x01\x00\x00\xf4\x80", malformed),
        (b"\x84\x0a\x01\x00\x80", malformed),
        (b"\x84\x0a\x01\xf4\x40", malformed),
        (b"\x84\x0a\x01\xf4\x9b\xff\xff\xff\xff\xff\xff\xff\xff", malformed),
        (&list(b"\x81\x42xx"), malformed),
        (&list(b"\x81\x47xxxxxxx"), malformed),
        (&list(b"\x40"), malformed),
    ] {
        assert_eq!(decode(bytes), Err(expected), "{bytes:02x?}");
    }
    assert!(decode(&list(b"\x81\x46xxxxxx")).is_ok());
    assert!(decode(b"\x82\x07\x83\x00\x00\xf6").is_ok());
    assert!(decode(b"\x82\x0c\x85\xf6\x40\x81\x42xx\x00\x00").is_ok());
}

#[test]
fn elements_that_a_later_version_added_are_skipped() {
    for (longer, known) in [
        (&b"\x83\x01\x07\xf6"[..], &b"\x82\x01\x07"[..]),
        (b"\x84\x01\x07\xa1\x61k\x81\x20\x42xx", b"\x82\x01\x07"),
        (b"\x84\x06\x02\x09\xf4", b"\x83\x06\x02\x09"),
        (b"\x83\x06\x00\x09", b"\x82\x06\x00"),
        (b"\x82\x0c\x86\xf6\x40\x80\x00\x00\x81\x81\x01", b"\x82\x0c\x85\xf6\x40\x80\x00\x00"),
        (b"\x82\x07\x84\x00\x00\x84\x01\x02\x03\x60\xf5", b"\x82\x07\x83\x00\x00\x83\x01\x02\x03"),
    ] {
        assert_eq!(decode(longer), decode(known), "{longer:02x?}");
        assert!(decode(known).is_ok(), "{known:02x?}");
    }
}

#[test]
fn what_is_skipped_keeps_within_the_limits() {
    let nested = |levels: usize| [vec![0x83, 1, 7], vec![0x81; levels - 1], vec![0xf6]].concat();
    assert_eq!(decode(&nested(MAX_NESTING)), Ok(Frame::Ping { token: 7 }));
    assert_eq!(decode(&nested(MAX_NESTING + 1)), Err(FrameError::TooDeep));

    let long = |kind: &[u8], size: usize| {
        let mut frame = [&[0x83], kind, &[7, 0x59]].concat();
        let filling = size - frame.len() - 2;
        frame.extend((filling as u16).to_be_bytes());
        frame.resize(size, 0);
        Bytes::from(frame)
    };
    assert_eq!(Frame::decode(long(&[1], MAX_SMALL_FRAME)), Ok(Frame::Ping { token: 7 }));
    for (kind, number) in [(&[1][..], 1), (&[0x18, 64], 64)] {
        assert_eq!(next(&mut long(kind, MAX_SMALL_FRAME), 0).map(|_| ()), Ok(()));
        let expected = Err(FrameError::TooLong { kind: number, cap: MAX_SMALL_FRAME });
        assert_eq!(next(&mut long(kind, MAX_SMALL_FRAME + 1), 0), expected);
    }
    assert_eq!(next(&mut Bytes::from_static(b"\x82\x18\x40\xc0\x00"), 0), Err(FrameError::Malformed));
    assert_eq!(next(&mut Bytes::from_static(b"\x82\x18\x40\x82\x00"), 0), Err(FrameError::Malformed));
}

#[test]
fn a_list_of_the_most_runs_fits_and_one_more_is_refused() {
    let run = Run { id: crate::NodeId::from_bytes([7; 16]), incarnation: Incarnation(u64::MAX) };
    let entry = Entry { run, addresses: vec!["[::1]:1".parse().unwrap(); MAX_ADDRESSES] };
    let list = |entries| Frame::List(List { buckets: 0xffff, reply: true, entries });
    let full = list(vec![entry; MAX_LIST]);
    assert!(full.encode().len() <= MAX_LIST_FRAME);
    assert_eq!(Frame::decode(full.encode().into()), Ok(full));
    let overfull = list(vec![Entry { run, addresses: Vec::new() }; MAX_LIST + 1]);
    assert_eq!(Frame::decode(overfull.encode().into()), Err(FrameError::Malformed));
}

#[test]
fn the_longest_chunk_fits_a_record_and_a_longer_one_is_refused() {
    let data = |length| Frame::Data(Data { offset: u64::MAX / 2, bytes: vec![1; length].into() });
    let longest = data(MAX_CHUNK);
    assert_eq!(longest.encode().len(), crate::limits::MAX_PLAINTEXT);
    assert_eq!(Frame::decode(longest.encode().into()), Ok(longest));
    let expected = Err(FrameError::TooLong { kind: DATA, cap: MAX_CHUNK });
    assert_eq!(Frame::decode(data(MAX_CHUNK + 1).encode().into()), expected);
}

#[test]
fn a_chunk_is_a_slice_unless_it_would_pin_a_much_larger_buffer() {
    let bytes = Bytes::from_static(b"\x83\x00\x00\x42xx");
    for (backing, sliced) in [(5, true), (6, false), (64, false)] {
        let Ok(Some(Frame::Data(data))) = next(&mut bytes.clone(), backing) else { panic!("not data") };
        assert_eq!(data.bytes, b"xx"[..]);
        assert_eq!(data.bytes.as_ptr() == bytes[4..].as_ptr(), sliced, "{backing}");
    }
}

/// A change to the bytes of a frame, small enough that much of it still makes sense.
fn mutation() -> impl Strategy<Value = (usize, u8, u8)> {
    (any::<usize>(), any::<u8>(), 0_u8..4)
}

fn mutate(bytes: &mut Vec<u8>, (at, byte, how): (usize, u8, u8)) {
    let at = at % (bytes.len() + 1);
    match how {
        0 => bytes.insert(at, byte),
        1 if at < bytes.len() => drop(bytes.remove(at)),
        2 => bytes.truncate(at),
        _ if at < bytes.len() => bytes[at] = byte,
        _ => {}
    }
}

proptest! {
    #[test]
    fn every_frame_survives_its_bytes(frame in arbitrary::frame()) {
        prop_assert_eq!(Frame::decode(frame.encode().into()), Ok(frame));
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused(frame in arbitrary::frame(), at: usize) {
        let bytes = Bytes::from(frame.encode());
        prop_assert!(Frame::decode(bytes.slice(..at % bytes.len())).is_err());
    }

    #[test]
    fn every_frame_has_one_encoding(frame in arbitrary::frame(), mutations in collection::vec(mutation(), 0..4)) {
        let mut bytes = frame.encode();
        mutations.into_iter().for_each(|mutation| mutate(&mut bytes, mutation));
        if let Ok(decoded) = Frame::decode(bytes.clone().into()) {
            let encoded = decoded.encode();
            prop_assert_eq!(Frame::decode(encoded.clone().into()), Ok(decoded));
            // Only elements that were skipped can be missing.
            prop_assert!(encoded.len() < bytes.len() || encoded == bytes, "{:02x?} {:02x?}", encoded, bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in 0_u8..16, bytes in collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        for elements in 0x81..0x87 {
            let _ = decode(&[&[elements, kind], &bytes[..]].concat());
        }
    }
}
