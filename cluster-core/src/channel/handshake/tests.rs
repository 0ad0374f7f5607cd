//! Two channels in secure mode, and somebody in between.

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::channel::Proven;
use crate::channel::tests::{give, take};
use crate::id::{Incarnation, NodeId, Run};
use crate::identity::Identity;
use crate::limits::REKEY_AFTER;
use crate::secret::Secret;
use crate::wire::record::Body;
use crate::wire::{Data, Frame, noise};

fn hello(byte: u8) -> Hello {
    Hello {
        run: Run { id: NodeId::from_bytes([0; 16]), incarnation: Incarnation(u64::from(byte)) },
        cluster: "prod".parse().unwrap(),
        versions: 1..=1,
        features: 0b110,
        nonce: [0; 16],
    }
}

fn secret(byte: u8) -> Secret {
    Secret::from_bytes([byte; 32])
}

fn credentials(byte: u8) -> Credentials {
    let identity = Identity::from_bytes([byte; 32]);
    Credentials { identity, keyring: secret(1).into(), suite: Suite::AesGcm, entropy: [byte ^ 0xff; 32] }
}

fn run(byte: u8) -> Run {
    Run { id: Identity::from_bytes([byte; 32]).id(), ..hello(byte).run }
}

fn alice() -> Channel {
    Channel::secure(Role::Initiator, hello(0xa), credentials(0xa))
}

fn bob() -> Channel {
    Channel::secure(Role::Responder, Hello { features: 0b011, ..hello(0xb) }, credentials(0xb))
}

fn connected() -> (Channel, Channel) {
    let (mut alice, mut bob) = (alice(), bob());
    give(&mut bob, &take(&mut alice)).unwrap();
    give(&mut alice, &take(&mut bob)).unwrap();
    give(&mut bob, &take(&mut alice)).unwrap();
    (alice, bob)
}

fn data(byte: u8, length: usize) -> Frame {
    Frame::Data(Data { offset: 5, bytes: vec![byte; length].into() })
}

#[test]
fn each_side_learns_who_the_other_is_and_by_which_secret() {
    for suite in [Suite::ChaChaPoly, Suite::AesGcm] {
        let mut alice = Channel::secure(Role::Initiator, hello(0xa), Credentials { suite, ..credentials(0xa) });
        let mut bob = bob();
        assert_eq!(alice.output().len(), 62);
        assert_eq!(give(&mut bob, &take(&mut alice)), Ok(vec![Received::Greeted]));
        let proven = |byte, features| Proven { run: run(byte), version: 1, features, secret: Some(secret(1).id()) };
        assert_eq!(give(&mut alice, &take(&mut bob)), Ok(vec![Received::Connected(proven(0xb, 2))]));
        assert_eq!(give(&mut bob, &take(&mut alice)), Ok(vec![Received::Connected(proven(0xa, 2))]));
        alice.send(data(1, 60_000));
        alice.send(Frame::Ping { token: 7 });
        let received = give(&mut bob, &take(&mut alice)).unwrap();
        assert_eq!(received, [data(1, 60_000), Frame::Ping { token: 7 }].map(Received::Frame));
        bob.send(Frame::Pong { token: 7 });
        assert_eq!(give(&mut alice, &take(&mut bob)), Ok(vec![Received::Frame(Frame::Pong { token: 7 })]));
    }
}

#[test]
fn a_hello_that_is_not_of_a_member_is_answered_by_nothing() {
    let said = take(&mut alice());
    let flipped = (0..said.len() * 8).map(|bit| {
        let mut said = said.clone();
        said[bit / 8] ^= 1 << (bit % 8);
        said
    });
    let stranger = Credentials { keyring: secret(2).into(), ..credentials(0xa) };
    let stranger = Channel::secure(Role::Initiator, hello(0xa), stranger);
    let other_cluster = Hello { cluster: "test".parse().unwrap(), ..hello(0xa) };
    let other_cluster = Channel::secure(Role::Initiator, other_cluster, credentials(0xa));
    let plain = Channel::new(Role::Initiator, hello(0xa));
    let others = [stranger, other_cluster, plain].map(|mut channel| take(&mut channel));
    let garbage = [b"GET / HTTP/1.1\r\n".to_vec(), [&said[..14], &[7; 48]].concat(), vec![0xf5; 100]];
    for bad in flipped.chain(others).chain(garbage) {
        let mut bob = bob();
        assert!(give(&mut bob, &bad).is_err(), "{bad:?}");
        assert!(bob.output().is_empty(), "{bad:?}");
        assert!(give(&mut bob, &said).is_err() && take(&mut bob).is_empty());
    }
    for length in 0..said.len() {
        let mut bob = bob();
        assert_eq!(give(&mut bob, &said[..length]), Ok(Vec::new()));
        assert!(bob.output().is_empty());
    }
}

#[test]
fn another_secret_and_another_cluster_cannot_be_told_apart() {
    let stranger = Credentials { keyring: secret(2).into(), ..credentials(0xa) };
    let mut stranger = Channel::secure(Role::Initiator, hello(0xa), stranger);
    let other = Hello { cluster: "test".parse().unwrap(), ..hello(0xa) };
    let mut other = Channel::secure(Role::Initiator, other, credentials(0xa));
    for channel in [&mut stranger, &mut other] {
        assert_eq!(give(&mut bob(), &take(channel)), Err(ChannelError::Secret));
    }
}

#[test]
fn a_bit_that_is_flipped_in_the_answer_ends_the_handshake() {
    let (mut original, mut bob) = (alice(), bob());
    give(&mut bob, &take(&mut original)).unwrap();
    let answer = take(&mut bob);
    assert_eq!(answer.len(), 12 + 2 + 121);
    for bit in 0..answer.len() * 8 {
        let mut altered = answer.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let mut alice = alice();
        take(&mut alice);
        assert!(give(&mut alice, &altered).is_err(), "bit {bit}");
        assert!(alice.output().is_empty(), "bit {bit}");
    }
    assert!(give(&mut original, &answer).is_ok());
}

#[test]
fn a_bit_that_is_flipped_in_the_third_message_or_later_ends_the_connection() {
    let (mut alice, mut first) = (alice(), bob());
    let hello = take(&mut alice);
    give(&mut first, &hello).unwrap();
    give(&mut alice, &take(&mut first)).unwrap();
    alice.send(Frame::Ping { token: 7 });
    let said = take(&mut alice);
    let third = 2 + noise::THIRD;
    assert_eq!(said.len(), third + 2 + 3 + 16);
    for bit in 0..said.len() * 8 {
        let mut bob = bob();
        give(&mut bob, &hello).unwrap();
        take(&mut bob);
        let mut altered = said.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        bob.receive(Bytes::from(altered));
        // Of what comes before the altered record, nothing is lost.
        if bit / 8 >= third {
            assert!(matches!(bob.poll(), Ok(Some(Received::Connected(_)))));
        }
        // A length that is greater than it was leaves the reader waiting.
        assert!(matches!(bob.poll(), Err(_) | Ok(None)), "bit {bit}");
        assert!(bob.output().is_empty(), "bit {bit}");
    }
}

#[test]
fn a_recorded_conversation_gets_nobody_in() {
    let (mut alice, mut first) = (alice(), bob());
    let hello = take(&mut alice);
    give(&mut first, &hello).unwrap();
    let second = take(&mut first);
    give(&mut alice, &second).unwrap();
    let third = take(&mut alice);
    let fresh = |byte, role| {
        let credentials = Credentials { entropy: [byte; 32], ..credentials(byte) };
        Channel::secure(role, tests::hello(byte), credentials)
    };
    let mut later = fresh(0xb, Role::Responder);
    assert_eq!(give(&mut later, &hello), Ok(vec![Received::Greeted]));
    assert_eq!(give(&mut later, &third), Err(ChannelError::Forged));
    let mut later = fresh(0xa, Role::Initiator);
    assert_eq!(give(&mut later, &second), Err(ChannelError::Forged));
}

#[test]
fn a_hello_that_is_sent_back_proves_nothing() {
    let mut alice = alice();
    let said = take(&mut alice);
    assert_eq!(give(&mut alice, &said), Err(ChannelError::Forged));
    assert!(take(&mut alice).is_empty());
}

#[test]
fn a_hello_that_is_carried_to_its_own_node_meets_that_node() {
    let mut alice = alice();
    let mut mirror = Channel::secure(Role::Responder, hello(0xa), Credentials { entropy: [9; 32], ..credentials(0xa) });
    give(&mut mirror, &take(&mut alice)).unwrap();
    let found = give(&mut alice, &take(&mut mirror)).unwrap();
    assert!(matches!(found[..], [Received::Connected(proven)] if proven.run == run(0xa)));
}

#[test]
fn who_has_the_secret_is_told_that_no_version_is_common() {
    let older = Hello { versions: 1..=2, ..hello(0xa) };
    let newer = Hello { versions: 3..=4, ..hello(0xb) };
    let mut older = Channel::secure(Role::Initiator, older, credentials(0xa));
    let mut newer = Channel::secure(Role::Responder, newer, credentials(0xb));
    let theirs = give(&mut newer, &take(&mut older)).unwrap_err();
    assert_eq!(theirs, ChannelError::Version { ours: 3..=4, theirs: 1..=2 });
    let ours = give(&mut older, &take(&mut newer)).unwrap_err();
    assert_eq!(ours, ChannelError::Version { ours: 1..=2, theirs: 3..=4 });
}

#[test]
fn a_plain_and_a_secure_side_end_at_once() {
    let plain = |role| Channel::new(role, Hello { nonce: [1; 16], ..hello(1) });
    assert_eq!(give(&mut bob(), &take(&mut plain(Role::Initiator))), Err(ChannelError::Mode));
    let (mut alice, mut plain) = (alice(), plain(Role::Responder));
    assert_eq!(give(&mut plain, &take(&mut alice)), Err(ChannelError::Mode));
    assert_eq!(give(&mut alice, &take(&mut plain)), Err(ChannelError::Mode));
}

#[test]
fn the_answer_must_be_of_the_suite_that_was_asked_for() {
    let (mut alice, mut bob) = (alice(), bob());
    give(&mut bob, &take(&mut alice)).unwrap();
    let mut answer = take(&mut bob);
    answer[7] = Suite::ChaChaPoly.number();
    assert_eq!(give(&mut alice, &answer), Err(ChannelError::Mode));
}

#[test]
fn records_that_are_dropped_repeated_swapped_or_sent_back_end_the_connection() {
    let records = |channel: &mut Channel| {
        [1, 2].map(|token| {
            channel.send(Frame::Ping { token });
            take(channel)
        })
    };
    for order in [&[1][..], &[0, 0], &[1, 0]] {
        let (mut alice, mut bob) = connected();
        let records = records(&mut alice);
        let said: Vec<u8> = order.iter().flat_map(|&at: &usize| records[at].clone()).collect();
        assert_eq!(give(&mut bob, &said), Err(ChannelError::Forged));
    }
    let (mut alice, _) = connected();
    let [one, _] = records(&mut alice);
    assert_eq!(give(&mut alice, &one), Err(ChannelError::Forged));
}

#[test]
fn a_record_too_short_for_its_seal_is_refused() {
    for length in 0..16 {
        let (_, mut bob) = connected();
        assert_eq!(give(&mut bob, &[&[0, length][..], &vec![0; length.into()]].concat()), Err(ChannelError::Forged));
    }
    let (mut alice, mut bob) = connected();
    // Sealed, but nothing inside.
    let mut empty = vec![0, 16];
    alice.cipher.seal(&mut empty, 2, &mut Vec::new());
    assert_eq!(give(&mut bob, &empty), Err(ChannelError::Frame(crate::FrameError::Empty)));
}

#[test]
fn what_is_sent_is_not_on_the_wire() {
    let (mut alice, mut bob) = connected();
    let canary = b"a canary of 32 bytes in a stream";
    for length in [32, 5_000, 65_000] {
        let bytes: Bytes = canary.repeat(length / 32).into();
        alice.send(Frame::Data(Data { offset: 0, bytes }));
        let said = take(&mut alice);
        assert!(said.windows(8).all(|window| !canary.windows(8).any(|part| part == window)));
        assert!(give(&mut bob, &said).is_ok());
    }
}

#[test]
fn an_idle_channel_holds_little_and_the_record_under_way_no_more_than_its_bytes() {
    let (mut alice, mut bob) = connected();
    for _ in 0..20 {
        alice.send(data(1, 65_000));
    }
    let said = take(&mut alice);
    alice.send(Frame::Ping { token: 1 });
    take(&mut alice);
    assert!(alice.output.held() <= 2_048, "{}", alice.output.held());
    give(&mut bob, &said).unwrap();
    assert!(bob.reader.held() <= Preamble::SIZE && bob.record.is_empty() && bob.secure.is_none());
}

#[test]
fn the_same_entropy_makes_the_same_bytes() {
    let talk = || {
        let (mut alice, mut bob) = (alice(), bob());
        let mut said = vec![take(&mut alice)];
        give(&mut bob, &said[0]).unwrap();
        said.push(take(&mut bob));
        give(&mut alice, &said[1]).unwrap();
        alice.send(Frame::Ping { token: 1 });
        said.push(take(&mut alice));
        said
    };
    assert_eq!(talk(), talk());
}

#[test]
fn nothing_secret_is_shown() {
    let shown = alloc::format!("{:?} {:?} {:?}", alice(), connected().0, credentials(0xa));
    assert!(!shown.contains("10, 10") && !shown.contains("0a0a") && !shown.contains("245"), "{shown}");
}

#[test]
fn keys_are_replaced_at_both_ends_after_the_same_record() {
    let (mut alice, mut bob) = connected();
    let (mut record, mut scratch) = (Vec::new(), Vec::new());
    for _ in 0..REKEY_AFTER + 2 {
        record.clear();
        record.push(7);
        alice.cipher.seal(&mut record, 0, &mut scratch);
        let body = Body { backing: record.len(), bytes: Bytes::copy_from_slice(&record) };
        assert!(bob.cipher.open(body).is_ok_and(|body| body.bytes[..] == [7]));
    }
    // Whoever has kept the first keys cannot read what comes under the next.
    let (_, mut outdated) = connected();
    let Cipher::Noise(keys) = &mut outdated.cipher else { unreachable!("it is sealed") };
    keys.0.set_receiving_nonce(REKEY_AFTER + 1);
    let body = || Body { backing: record.len(), bytes: Bytes::copy_from_slice(&record) };
    assert_eq!(outdated.cipher.open(body()).map(|_| ()), Err(crate::wire::cipher::Forged));
    // The other direction counts for itself.
    bob.send(Frame::Ping { token: 1 });
    assert!(give(&mut alice, &take(&mut bob)).is_ok());
}
