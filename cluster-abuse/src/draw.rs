//! Frames of every kind out of a script, most of them nearly right.

use std::net::SocketAddr;

use cluster_core::limits::{MAX_ADDRESSES, MAX_METADATA};
use cluster_core::wire::{
    Accept, Ack, Announce, Claim, Close, Data, Digest, Entry, List, Offer, PeerStream, Profile, Reject, Resume,
    StreamId, Update,
};
use cluster_core::{Advertised, Bytes, Frame, Incarnation, NodeId, RejectCode, Run};

use crate::tape::Tape;

/// What an honest peer would say next: numbers are drawn near to these.
#[derive(Clone, Copy, Debug)]
pub struct Near {
    /// Of the next data.
    pub offset: u64,
    /// Of what it has received.
    pub ack: Ack,
    /// Of the next claim.
    pub generation: u64,
    /// Where the streams stand.
    pub offer: Offer,
    /// Of the run of whoever is spoken to.
    pub incarnation: u64,
}

impl Default for Near {
    fn default() -> Near {
        let offer = Offer { stream: StreamId(9), next: 0, peer: PeerStream::None };
        Near { offset: 0, ack: Ack::default(), generation: 1, offer, incarnation: 1 }
    }
}

/// The next frame of a script, if there is one: only such as can be on the wire.
pub fn draw(tape: &mut Tape<'_>, near: &Near) -> Option<Frame> {
    let frame = match tape.try_byte()? % 16 {
        0 | 13 => {
            let offset = tape.number(near.offset);
            Frame::Data(Data { offset, bytes: chunk(tape) })
        }
        1 => Frame::Ping { token: tape.number(1) },
        2 => Frame::Pong { token: tape.number(1) },
        3 | 14 => Frame::Ack(ack(tape, &near.ack)),
        4 => {
            let generation = tape.number(near.generation);
            Frame::Claim(Claim { generation, rejoin: tape.byte() & 1 == 1, profile: profile(tape) })
        }
        5 => Frame::Accept(Accept { profile: profile(tape), offer: offer(tape, near) }),
        6 => Frame::Reject(Reject { code: reject(tape, near) }),
        7 => Frame::Resume(Resume { offer: offer(tape, near) }),
        8 => Frame::Close(match tape.byte() {
            0 => Close::Leaving,
            1 => Close::Removed,
            code => Close::Other(code),
        }),
        9 => Frame::Digest(Digest { buckets: std::array::from_fn(|_| tape.number(0)) }),
        10 => Frame::List(List { buckets: tape.short(), reply: tape.byte() & 1 == 1, entries: entries(tape, near) }),
        11 => Frame::Announce(Announce { entries: entries(tape, near) }),
        12 => Frame::Update(Update { profile: profile(tape) }),
        _ => return Frame::decode(Bytes::copy_from_slice(tape.bytes())).ok(),
    };
    Frame::decode(frame.encode().into()).ok()
}

/// Half of the chunks are what a script says, the others long ones of one byte: heads of messages and their content.
fn chunk(tape: &mut Tape<'_>) -> Bytes {
    match tape.byte() {
        kind @ 0..=127 => {
            let mut bytes = tape.bytes().to_vec();
            if kind & 1 == 1 {
                // A message with its head.
                let length = bytes.len();
                let head = match length {
                    0..=23 => vec![0x40 | length as u8],
                    24..=255 => vec![0x58, length as u8],
                    _ => [&[0x59], &(length as u16).to_be_bytes()[..]].concat(),
                };
                bytes.splice(..0, head);
            }
            bytes.into()
        }
        _ => vec![tape.byte(); usize::from(tape.short())].into(),
    }
}

/// Four numbers.
pub fn ack(tape: &mut Tape<'_>, near: &Ack) -> Ack {
    Ack {
        received: tape.number(near.received),
        consumed: tape.number(near.consumed),
        consumed_messages: tape.number(near.consumed_messages),
        granted: tape.number(near.granted),
    }
}

/// Where streams stand.
pub fn offer(tape: &mut Tape<'_>, near: &Near) -> Offer {
    let kind = tape.byte();
    let stream = StreamId(tape.number(near.offer.stream.0));
    let next = tape.number(near.offer.next);
    let (id, stated) = match near.offer.peer {
        PeerStream::None => (near.offer.stream, near.ack),
        PeerStream::Live { id, ack } => (id, ack),
        PeerStream::Closed { id, consumed } => (id, Ack { received: consumed, consumed, ..near.ack }),
    };
    let peer = match kind % 4 {
        0 => near.offer.peer,
        1 => PeerStream::None,
        2 => PeerStream::Live { id: StreamId(tape.number(id.0)), ack: ack(tape, &stated) },
        _ => PeerStream::Closed { id: StreamId(tape.number(id.0)), consumed: tape.number(stated.consumed) },
    };
    Offer { stream, next, peer }
}

fn reject(tape: &mut Tape<'_>, near: &Near) -> RejectCode {
    match tape.byte() {
        0 => RejectCode::Outranked,
        1 => RejectCode::DuplicateIdentity,
        2 => RejectCode::Stale { known: Incarnation(tape.number(near.incarnation)) },
        3 => RejectCode::Removed,
        4 => RejectCode::Leaving,
        5 => RejectCode::Full,
        code => RejectCode::Other(code),
    }
}

/// What a node says of itself.
pub fn profile(tape: &mut Tape<'_>) -> Profile {
    let shape = tape.byte();
    let name = (shape & 1 == 1).then(|| "mallory".parse().expect("a name"));
    let metadata = if shape & 2 == 2 { vec![0x1b; usize::from(tape.short()) % (MAX_METADATA + 1)] } else { Vec::new() };
    let addresses = (0..usize::from(shape >> 2) % (MAX_ADDRESSES + 1))
        .map(|_| if tape.byte() & 1 == 0 { Advertised::Socket(address(tape)) } else { Advertised::Port(tape.short()) })
        .collect();
    let (max_message, window) = (tape.number(2_000), tape.number(4_096));
    Profile { name, metadata: metadata.into(), addresses, max_message, window }
}

fn entries(tape: &mut Tape<'_>, near: &Near) -> Vec<Entry> {
    (0..tape.byte())
        .map_while(|_| {
            let run = who(tape, near.incarnation)?;
            let count = tape.choice(MAX_ADDRESSES + 1);
            Some(Entry { run, addresses: (0..count).map(|_| address(tape)).collect() })
        })
        .collect()
}

/// A run: its id is one byte, sixteen times.
pub fn who(tape: &mut Tape<'_>, incarnation: u64) -> Option<Run> {
    let id = NodeId::from_bytes([tape.try_byte()?; 16]);
    Some(Run { id, incarnation: Incarnation(tape.number(incarnation)) })
}

/// Most addresses are of hosts nearby, some of kinds that nobody should be sent to.
pub fn address(tape: &mut Tape<'_>) -> SocketAddr {
    let host = tape.byte();
    let ip = match tape.byte() {
        0..=199 => [10, 0, 0, host].into(),
        200 => [127, 0, 0, host].into(),
        201 => [0, 0, 0, 0].into(),
        202 => [224, 0, 0, host].into(),
        203 => [169, 254, 0, host].into(),
        204 => [203, 0, 113, host].into(),
        205 => [255, 255, 255, 255].into(),
        206..=215 => [0xfe80, 0, 0, 0, 0, 0, 0, u16::from(host)].into(),
        216..=225 => [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)].into(),
        226 => [0, 0, 0, 0, 0, 0xffff, 0x7f00, u16::from(host)].into(),
        227 => [0xff02, 0, 0, 0, 0, 0, 0, 1].into(),
        228 => [0_u16; 8].into(),
        _ => [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)].into(),
    };
    let port = if host == 255 { 0 } else { 7000 };
    SocketAddr::new(ip, port)
}
