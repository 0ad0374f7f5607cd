//! Two channels talk, and one of them is lied to.

use alloc::vec;
use alloc::vec::Vec;

use proptest::collection;
use proptest::prelude::*;

use super::*;
use crate::id::{Incarnation, NodeId};
use crate::wire::{Data, arbitrary};

/// Nobody else may: of a secure channel there must not be two that go on with the same keys.
impl Clone for Channel {
    fn clone(&self) -> Channel {
        assert!(self.secure.is_none() && matches!(self.cipher, Cipher::Plain), "a secure channel is one of a kind");
        Channel {
            role: self.role,
            hello: self.hello.clone(),
            secure: None,
            state: self.state.clone(),
            cipher: Cipher::Plain,
            reader: self.reader.clone(),
            record: self.record.clone(),
            backing: self.backing,
            spent: self.spent,
            output: self.output.clone(),
        }
    }
}

fn hello(byte: u8) -> Hello {
    Hello {
        run: Run { id: NodeId::from_bytes([byte; 16]), incarnation: Incarnation(u64::from(byte)) },
        cluster: "prod".parse().unwrap(),
        versions: 1..=1,
        features: 0b110,
        nonce: [byte; 16],
    }
}

fn alice() -> Channel {
    Channel::new(Role::Initiator, hello(0xa))
}

fn bob() -> Channel {
    Channel::new(Role::Responder, Hello { features: 0b011, ..hello(0xb) })
}

pub(super) fn take(channel: &mut Channel) -> Vec<u8> {
    let output = channel.output();
    let bytes: Vec<u8> = output.pieces().flatten().copied().collect();
    output.advance(bytes.len());
    assert!(output.is_empty());
    bytes
}

fn poll_all(channel: &mut Channel) -> Result<Vec<Received>, ChannelError> {
    core::iter::from_fn(|| channel.poll().transpose()).collect()
}

pub(super) fn give(channel: &mut Channel, bytes: &[u8]) -> Result<Vec<Received>, ChannelError> {
    channel.receive(Bytes::copy_from_slice(bytes));
    poll_all(channel)
}

/// Both sides of a connection whose handshake is done.
fn connected() -> (Channel, Channel) {
    let (mut alice, mut bob) = (alice(), bob());
    give(&mut bob, &take(&mut alice)).unwrap();
    give(&mut alice, &take(&mut bob)).unwrap();
    give(&mut bob, &take(&mut alice)).unwrap();
    (alice, bob)
}

/// What both sides of a handshake make of each other, after as many flights as there are.
fn outcome(mut alice: Channel, mut bob: Channel) -> (ChannelError, ChannelError) {
    let _ = give(&mut bob, &take(&mut alice));
    let _ = give(&mut alice, &take(&mut bob));
    let _ = give(&mut bob, &take(&mut alice));
    (alice.poll().unwrap_err(), bob.poll().unwrap_err())
}

/// The same bytes, cut into pieces of these sizes.
fn cut<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    sizes.iter().cycle().map_while(move |&size| {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[test]
fn each_side_learns_who_the_other_is() {
    let (mut alice, mut bob) = (alice(), bob());
    assert_eq!(give(&mut bob, &take(&mut alice)), Ok(vec![Received::Greeted]));
    let of =
        |byte| vec![Received::Connected(Proven { run: hello(byte).run, version: 1, features: 0b010, secret: None })];
    assert_eq!(give(&mut alice, &take(&mut bob)), Ok(of(0xb)));
    assert_eq!(give(&mut bob, &take(&mut alice)), Ok(of(0xa)));
    assert!(take(&mut bob).is_empty());
}

#[test]
fn the_first_flight_is_short_whatever_the_name() {
    let cluster = "n".repeat(Name::MAX_LEN).parse().unwrap();
    let mut alice = Channel::new(Role::Initiator, Hello { cluster, ..hello(1) });
    assert_eq!(alice.output().len(), 96);
}

#[test]
fn the_first_frames_travel_with_the_third_message() {
    let (mut alice, mut bob) = (alice(), bob());
    give(&mut bob, &take(&mut alice)).unwrap();
    give(&mut alice, &take(&mut bob)).unwrap();
    alice.send(Frame::Ping { token: 7 });
    let received = give(&mut bob, &take(&mut alice)).unwrap();
    assert!(matches!(received[..], [Received::Connected(_), Received::Frame(Frame::Ping { token: 7 })]));
}

#[test]
fn both_sides_name_both_ranges_when_no_version_is_common() {
    let older = Channel::new(Role::Initiator, Hello { versions: 1..=2, ..hello(1) });
    let newer = Channel::new(Role::Responder, Hello { versions: 3..=4, ..hello(2) });
    let expected =
        (ChannelError::Version { ours: 1..=2, theirs: 3..=4 }, ChannelError::Version { ours: 3..=4, theirs: 1..=2 });
    assert_eq!(outcome(older, newer), expected);
}

#[test]
fn both_sides_name_the_cluster_when_it_differs() {
    let stranger = Channel::new(Role::Initiator, Hello { cluster: "test".parse().unwrap(), ..hello(1) });
    assert_eq!(outcome(stranger, bob()), (ChannelError::Cluster, ChannelError::Cluster));
}

#[test]
fn a_side_that_encrypts_is_told_that_the_other_does_not() {
    let mut bob = bob();
    assert_eq!(give(&mut bob, b"\xf5clu\x01\x01\x01\x00\x00\x00\x00\x00"), Err(ChannelError::Mode));
    assert_eq!(take(&mut bob), b"\xf5clu\x01\x01\x00\x00\x00\x00\x00\x03");
}

#[test]
fn another_protocol_is_noticed_at_its_first_byte() {
    for bytes in [&b"G"[..], b"\x16", b"\r", b"\xf4", b"\xf5cl\0"] {
        for mut channel in [alice(), bob()] {
            take(&mut channel);
            let (last, first) = bytes.split_last().unwrap();
            assert_eq!(give(&mut channel, first), Ok(Vec::new()));
            assert_eq!(give(&mut channel, &[*last]), Err(ChannelError::NotThisProtocol));
            assert!(channel.output().is_empty());
        }
    }
}

#[test]
fn a_recorded_conversation_cannot_be_replayed() {
    let (mut alice, mut bob) = (alice(), bob());
    let first = take(&mut alice);
    give(&mut bob, &first).unwrap();
    let second = take(&mut bob);
    give(&mut alice, &second).unwrap();
    let third = take(&mut alice);

    let mut later = Channel::new(Role::Responder, Hello { nonce: [1; 16], ..hello(0xb) });
    assert_eq!(give(&mut later, &first), Ok(vec![Received::Greeted]));
    assert_eq!(give(&mut later, &third), Err(ChannelError::Replay));
    let mut later = Channel::new(Role::Initiator, Hello { nonce: [2; 16], ..hello(0xa) });
    assert_eq!(give(&mut later, &second), Err(ChannelError::Replay));
}

#[test]
fn a_hello_that_is_sent_back_is_refused() {
    let (mut alice, mut bob) = (alice(), bob());
    let first = take(&mut alice);
    assert_eq!(give(&mut alice, &first), Err(ChannelError::Replay));
    give(&mut bob, &first).unwrap();
    let second = take(&mut bob);
    assert_eq!(give(&mut bob, &second[Preamble::SIZE..]), Err(ChannelError::Handshake));
    let mut mirror = Channel::new(Role::Responder, hello(0xa));
    assert_eq!(give(&mut mirror, &first), Err(ChannelError::Replay));
}

#[test]
fn an_answer_that_contradicts_the_preambles_is_refused() {
    let (mut alice, mut bob) = (alice(), bob());
    give(&mut bob, &take(&mut alice)).unwrap();
    let second = take(&mut bob);
    let (version, features) = (second.len() - 5, second.len() - 1);
    for at in [version, features, 11] {
        let mut changed = second.clone();
        changed[at] ^= 2;
        assert_eq!(give(&mut alice.clone(), &changed), Err(ChannelError::Handshake), "byte {at}");
    }
    assert!(give(&mut alice, &second).is_ok());
}

#[test]
fn a_long_handshake_is_refused_by_its_declared_length() {
    let (mut alice, mut bob) = (alice(), bob());
    let first = take(&mut alice);
    let mut long = first[..Preamble::SIZE].to_vec();
    long.extend((MAX_HANDSHAKE as u16).to_be_bytes());
    assert_eq!(give(&mut bob.clone(), &long), Err(ChannelError::HandshakeTooLong));
    give(&mut bob, &first).unwrap();
    let rest = MAX_HANDSHAKE - first.len() - 2;
    assert_eq!(give(&mut bob.clone(), &(rest as u16).to_be_bytes()), Ok(Vec::new()));
    assert_eq!(give(&mut bob, &(rest as u16 + 1).to_be_bytes()), Err(ChannelError::HandshakeTooLong));
}

#[test]
fn an_error_is_final() {
    let (_, mut bob) = connected();
    bob.send(Frame::Ping { token: 1 });
    assert_eq!(give(&mut bob, &[0, 0]), Err(ChannelError::Frame(FrameError::Empty)));
    bob.send(Frame::Ping { token: 2 });
    assert_eq!(give(&mut bob, b"\x00\x03\x82\x01\x07"), Err(ChannelError::Frame(FrameError::Empty)));
    assert_eq!(take(&mut bob), b"\x00\x03\x82\x01\x01");
    assert_eq!(bob.reader.held(), 0);
}

#[test]
fn frames_before_a_bad_one_are_returned() {
    let (_, mut bob) = connected();
    bob.receive(Bytes::from_static(b"\x00\x06\x82\x01\x07\x82\x0d\x00"));
    assert_eq!(bob.poll(), Ok(Some(Received::Frame(Frame::Ping { token: 7 }))));
    assert_eq!(bob.poll(), Err(ChannelError::Frame(FrameError::UnknownType(13))));
}

#[test]
fn unknown_frames_from_64_on_are_skipped() {
    let (_, mut bob) = connected();
    let received = give(&mut bob, b"\x00\x05\x82\x18\x40\xf6\x82").unwrap_err();
    assert_eq!(received, ChannelError::Frame(FrameError::Malformed));
    let (_, mut bob) = connected();
    let received = give(&mut bob, b"\x00\x07\x82\x18\x40\xf6\x82\x01\x07\x00\x04\x82\x18\xff\x00");
    assert_eq!(received, Ok(vec![Received::Frame(Frame::Ping { token: 7 })]));
}

#[test]
fn a_record_of_the_greatest_length_is_taken() {
    let (_, mut bob) = connected();
    let pings = b"\x82\x01\x07".repeat(21_845);
    let received = give(&mut bob, &[&[0xff, 0xff], &pings[..]].concat()).unwrap();
    assert_eq!(received.len(), 21_845);
}

#[test]
fn a_large_chunk_arrives_as_a_slice_and_a_small_one_as_a_copy() {
    let (mut alice, mut bob) = connected();
    for length in [100_usize, 40_000] {
        alice.send(Frame::Data(Data { offset: 5, bytes: vec![1; length].into() }));
    }
    let bytes = Bytes::from(take(&mut alice));
    bob.receive(bytes.clone());
    let range = bytes.as_ptr_range();
    for sliced in [false, true] {
        let Ok(Some(Received::Frame(Frame::Data(data)))) = bob.poll() else { panic!("not data") };
        assert_eq!(range.contains(&data.bytes.as_ptr()), sliced);
    }
}

#[test]
fn nothing_secret_is_shown() {
    let (mut alice, mut bob) = connected();
    alice.send(Frame::Data(Data { offset: 0, bytes: Bytes::from_static(b"SECRET") }));
    let shown = alloc::format!("{alice:?}");
    bob.receive(take(&mut alice).into());
    assert!(!(shown + &alloc::format!("{bob:?}")).contains("83, 69, 67"));
    let received = alloc::format!("{:?}", bob.poll());
    assert!(!received.contains("SECRET") && received.contains("6 bytes"));
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_the_frames_are_the_same(
        from_alice in collection::vec(arbitrary::frame(), 0..12),
        from_bob in collection::vec(arbitrary::frame(), 0..12),
        sizes in prop_oneof![Just(vec![1]), collection::vec(1_usize..40, 1..20), collection::vec(1_usize..20_000, 1..20)],
        flush in any::<u16>(),
    ) {
        let (mut a, mut b) = (alice(), bob());
        let mut alice_said = take(&mut a);
        give(&mut b, &alice_said).unwrap();
        let mut bob_said = take(&mut b);
        give(&mut a, &bob_said).unwrap();
        for (channel, said, frames) in [(&mut a, &mut alice_said, &from_alice), (&mut b, &mut bob_said, &from_bob)] {
            channel.state = State::Open;
            for (index, frame) in frames.iter().enumerate() {
                channel.send(frame.clone());
                if flush >> (index % 16) & 1 == 1 {
                    said.extend(take(channel));
                }
            }
            said.extend(take(channel));
        }
        let (mut new_alice, mut new_bob) = (alice(), bob());
        take(&mut new_alice);
        for (channel, said, frames) in [(&mut new_bob, alice_said, from_alice), (&mut new_alice, bob_said, from_bob)] {
            let mut received = Vec::new();
            for piece in cut(&said, &sizes) {
                received.extend(give(channel, piece).unwrap());
                prop_assert!(channel.reader.held() <= 2 * said.len());
            }
            if channel.role == Role::Responder {
                prop_assert_eq!(received.remove(0), Received::Greeted);
            }
            prop_assert!(matches!(received.remove(0), Received::Connected(_)));
            prop_assert_eq!(received, frames.into_iter().map(Received::Frame).collect::<Vec<_>>());
            prop_assert_eq!(channel.reader.buffered(), 0);
        }
    }

    #[test]
    fn garbage_never_panics_nor_costs_much(
        frames in collection::vec(arbitrary::frame(), 0..4),
        changes in collection::vec((any::<usize>(), any::<u8>()), 0..6),
        tail in collection::vec(any::<u8>(), 0..300),
        sizes in collection::vec(1_usize..500, 1..10),
        open: bool,
    ) {
        let (mut alice, mut bob) = (alice(), bob());
        let mut said = take(&mut alice);
        give(&mut bob.clone(), &said).unwrap();
        if open {
            (alice, bob) = connected();
            frames.into_iter().for_each(|frame| alice.send(frame));
            said = take(&mut alice);
        }
        said.extend(tail);
        for (at, byte) in changes {
            if let Some(changed) = at.checked_rem(said.len()) {
                said[changed] = byte;
            }
        }
        let mut given = 0;
        for piece in cut(&said, &sizes) {
            given += piece.len();
            let _ = give(&mut bob, piece);
            // Twelve bytes are kept of the preamble.
            prop_assert!(bob.reader.held() + bob.record.len() <= 4 * given + Preamble::SIZE);
        }
    }
}
