//! Frames of every kind for the property tests.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;
use proptest::collection;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::address::Advertised;
use crate::id::{Incarnation, NodeId, Run};
use crate::limits::{MAX_ADDRESSES, MAX_METADATA};
use crate::wire::RejectCode;

/// Numbers with heads of every length.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0_u32..64).prop_map(|(number, shift)| number >> shift)
}

fn bytes(length: core::ops::RangeInclusive<usize>) -> impl Strategy<Value = Bytes> {
    collection::vec(any::<u8>(), length).prop_map(Bytes::from)
}

fn socket() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![any::<([u8; 4], u16)>().prop_map(SocketAddr::from), any::<([u8; 16], u16)>().prop_map(SocketAddr::from)]
}

fn advertised() -> impl Strategy<Value = Advertised> {
    prop_oneof![any::<u16>().prop_map(Advertised::Port), socket().prop_map(Advertised::Socket)]
}

fn profile() -> impl Strategy<Value = Profile> {
    let name = option::of("[A-Za-z0-9._-]{1,64}".prop_map(|name: String| name.parse().unwrap()));
    let metadata = prop_oneof![4 => bytes(0..=30), 1 => bytes(MAX_METADATA - 1..=MAX_METADATA)];
    (name, metadata, collection::vec(advertised(), 0..=MAX_ADDRESSES), number(), number()).prop_map(
        |(name, metadata, addresses, max_message, window)| Profile { name, metadata, addresses, max_message, window },
    )
}

fn ack() -> impl Strategy<Value = Ack> {
    (number(), number(), number(), number()).prop_map(|(received, consumed, consumed_messages, granted)| Ack {
        received,
        consumed,
        consumed_messages,
        granted,
    })
}

fn offer() -> impl Strategy<Value = Offer> {
    let peer = prop_oneof![
        Just(PeerStream::None),
        (number(), ack()).prop_map(|(id, ack)| PeerStream::Live { id: StreamId(id), ack }),
        (number(), number()).prop_map(|(id, consumed)| PeerStream::Closed { id: StreamId(id), consumed }),
    ];
    (number(), number(), peer).prop_map(|(stream, next, peer)| Offer { stream: StreamId(stream), next, peer })
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (any::<[u8; 16]>(), number(), collection::vec(socket(), 0..=MAX_ADDRESSES));
    let entry = entry.prop_map(|(id, incarnation, addresses)| Entry {
        run: Run { id: NodeId::from_bytes(id), incarnation: Incarnation(incarnation) },
        addresses,
    });
    collection::vec(entry, 0..20)
}

fn reject_code() -> impl Strategy<Value = RejectCode> {
    prop_oneof![
        Just(RejectCode::Outranked),
        Just(RejectCode::DuplicateIdentity),
        number().prop_map(|known| RejectCode::Stale { known: Incarnation(known) }),
        Just(RejectCode::Removed),
        Just(RejectCode::Leaving),
        Just(RejectCode::Full),
        (6_u8..).prop_map(RejectCode::Other),
    ]
}

fn close() -> impl Strategy<Value = Close> {
    prop_oneof![Just(Close::Leaving), Just(Close::Removed), (2_u8..).prop_map(Close::Other),]
}

pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    let chunk = prop_oneof![8 => bytes(1..=40), 2 => bytes(1..=9_000)];
    let data = (number(), chunk).prop_map(|(offset, bytes)| Data { offset: offset.saturating_sub(9_000), bytes });
    prop_oneof![
        3 => data.prop_map(Frame::Data),
        1 => number().prop_map(|token| Frame::Ping { token }),
        1 => number().prop_map(|token| Frame::Pong { token }),
        1 => ack().prop_map(Frame::Ack),
        1 => (number(), any::<bool>(), profile())
            .prop_map(|(generation, rejoin, profile)| Frame::Claim(Claim { generation, rejoin, profile })),
        1 => (profile(), offer()).prop_map(|(profile, offer)| Frame::Accept(Accept { profile, offer })),
        1 => reject_code().prop_map(|code| Frame::Reject(Reject { code })),
        1 => offer().prop_map(|offer| Frame::Resume(Resume { offer })),
        1 => close().prop_map(Frame::Close),
        1 => any::<[u64; 16]>().prop_map(|buckets| Frame::Digest(Digest { buckets })),
        1 => (any::<u16>(), any::<bool>(), entries())
            .prop_map(|(buckets, reply, entries)| Frame::List(List { buckets, reply, entries })),
        1 => entries().prop_map(|entries| Frame::Announce(Announce { entries })),
        1 => profile().prop_map(|profile| Frame::Update(Update { profile })),
    ]
}
