//! The first inputs of each target: honest traffic, golden bytes, and a few scripts. What a fuzzer finds is added to
//! them.

use std::net::SocketAddr;

use cluster_core::wire::{
    Accept, Ack, Announce, Claim, Close, Data, Digest, Entry, List, Offer, PeerStream, Profile, Reject, Resume,
    StreamId, Update,
};
use cluster_core::{Bytes, Frame, Incarnation, NodeId, RejectCode, Role, Run};

use crate::channels::{self, Mode};
use crate::tape::Pen;

/// The seeds of a target, each with a name. `golden` are the bytes of the golden files, each with its name.
#[must_use]
pub fn of(target: &str, golden: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    match target {
        "record" => records(golden),
        "preamble" => preambles(golden),
        "handshake" => handshakes(),
        "frame" => edges()
            .into_iter()
            .chain(golden.iter().filter(|(name, _)| !name.starts_with("handshake")).cloned())
            .collect(),
        "node" => nodes(),
        "session" => sessions(),
        _ => Vec::new(),
    }
}

/// One frame of every kind.
#[must_use]
pub fn frames() -> Vec<Frame> {
    let address = SocketAddr::from(([10, 0, 0, 1], 7000));
    let name = "node-1".parse().ok();
    let metadata = Bytes::from_static(b"metadata");
    let profile = Profile { name, metadata, addresses: vec![address.into()], max_message: 1 << 20, window: 1 << 16 };
    let ack = Ack { received: 9, consumed: 4, consumed_messages: 1, granted: 1 << 16 };
    let offer = |peer| Offer { stream: StreamId(9), next: 0, peer };
    let run = Run { id: NodeId::from_bytes([3; 16]), incarnation: Incarnation(1) };
    let entry = Entry { run, addresses: vec![address] };
    vec![
        Frame::Data(Data { offset: 0, bytes: Bytes::from_static(b"\x43abc\x40") }),
        Frame::Ping { token: 1 },
        Frame::Pong { token: 1 },
        Frame::Ack(ack),
        Frame::Claim(Claim { generation: 1, rejoin: false, profile: profile.clone() }),
        Frame::Accept(Accept { profile: profile.clone(), offer: offer(PeerStream::None) }),
        Frame::Reject(Reject { code: RejectCode::Stale { known: Incarnation(7) } }),
        Frame::Resume(Resume { offer: offer(PeerStream::Live { id: StreamId(3), ack }) }),
        Frame::Close(Close::Leaving),
        Frame::Digest(Digest { buckets: [7; 16] }),
        Frame::List(List { buckets: 8, reply: true, entries: vec![entry.clone()] }),
        Frame::Announce(Announce { entries: vec![entry] }),
        Frame::Update(Update { profile }),
    ]
}

fn named(name: &str, bytes: Vec<u8>) -> (String, Vec<u8>) {
    (name.to_owned(), bytes)
}

/// Frames at the edge of what may be taken, on either side of it.
fn edges() -> Vec<(String, Vec<u8>)> {
    let data = |last: u8| [&b"\x83\x00\x1b\xff\xff\xff\xff\xff\xff\xff"[..], &[last], b"\x45hello"].concat();
    vec![
        named("data_to_the_end", data(0xfa)),
        named("data_beyond_the_end", data(0xfb)),
        named("one_more_element", b"\x84\x01\x07\xa1\x01\x02\xf6".to_vec()),
        named("too_deep", b"\x83\x01\x07\x81\x81\x81\x81\x81\x81\x81\x80".to_vec()),
        named("deep", b"\x83\x01\x07\x81\x81\x81\x81\x81\x81\x80".to_vec()),
        named("skipped", b"\x82\x18\x40\x00".to_vec()),
        named("entries_declared", b"\x82\x0b\x9a\xff\xff\xff\xff".to_vec()),
    ]
}

fn records(golden: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let (mut honest, _) = channels::connected(Mode::Plain, 0);
    frames().into_iter().for_each(|frame| honest.send(frame));
    let mut written = channels::take(&mut honest);
    for (_, frame) in golden.iter().filter(|(name, _)| !name.starts_with("handshake")) {
        written.extend((frame.len() as u16).to_be_bytes());
        written.extend(frame);
    }
    let script = |mode: u8, edits: &[u8]| {
        // A flight of two frames, altered or not, and another one.
        let ping = Pen::default().raw(&[1, 1]).near(4);
        let data = ping.raw(&[0]).near(0).raw(&[1]).bytes(b"message");
        Pen::default().raw(&[mode, 0, 1]).raw(&data.done()[1..]).raw(edits).raw(&[0, 2]).near(0).raw(&[0]).done()
    };
    vec![
        named("plain", [&[0, 0], &written[..]].concat()),
        named("plain_in_pieces", [&[0, 3], &written[..]].concat()),
        named("chacha", script(1, &[0])),
        named("aes", script(2, &[0])),
        named("flipped", script(1, &[1, 0, 0, 9, 1])),
        named("repeated", script(2, &[1, 6, 0, 0])),
    ]
}

fn preambles(golden: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let mut seeds = vec![named("http", b"\0GET / HTTP/1.1\r\n\r\n".to_vec())];
    for (name, bytes) in golden.iter().filter(|(name, _)| name.starts_with("handshake")) {
        // Odd flights are those of the initiator, which the responder reads.
        let to = if name.ends_with("_2") || name.contains("_2_") { 1 } else { 0 };
        let secure = if name.contains("chacha") || name.contains("aes") { 2 } else { 0 };
        for cut in [0, 5] {
            seeds.push((format!("{name}_{cut}"), [&[to | secure | cut << 3], &bytes[..]].concat()));
        }
    }
    for (name, role, mode) in [
        ("hello", Role::Initiator, Mode::of(0)),
        ("hello_chacha", Role::Initiator, Mode::of(1)),
        ("hello_aes", Role::Initiator, Mode::of(2)),
    ] {
        let first = if mode.is_secure() { 2 } else { 0 };
        seeds.push(named(name, [&[first], &channels::take(&mut channels::side(role, mode, 0))[..]].concat()));
    }
    seeds
}

fn handshakes() -> Vec<(String, Vec<u8>)> {
    let edits: [(&str, &[u8]); 5] = [
        ("honest", &[0, 0, 0]),
        ("flipped", &[1, 0, 0, 20, 1, 0, 0]),
        ("cut", &[0, 1, 2, 0, 30, 0]),
        ("reflected", &[0, 1, 6, 0, 0, 0]),
        ("added", &[0, 0, 1, 3, 0, 255, 0, 3, 1, 2, 3]),
    ];
    let mode = |mode: u8| edits.map(|(name, edits)| (format!("{name}_{mode}"), [&[mode], edits].concat()));
    (0..3).flat_map(mode).collect()
}

/// A member that is up, for [`node`](mod@crate::node).
fn member(pen: Pen, host: u8) -> Pen {
    // Claim with the next generation, not asked for by a user, one address; a resume of a stream that begins.
    pen.raw(&[2, host]).near(0).near(0).raw(&[0, 4, 0, host, 0]).near(0).near(0).raw(&[0])
}

fn nodes() -> Vec<(String, Vec<u8>)> {
    let up = |shape: u8| member(Pen::default().raw(&[shape]), 1);
    let mut seeds = vec![
        named("members", member(member(up(0), 2), 3).raw(&[10, 120, 12]).done()),
        named("messages", up(1).raw(&[13, 1, 0, 40, 4, 0, 0]).near(0).raw(&[1]).bytes(b"hi").raw(&[15, 16, 0]).done()),
        named("seeds", Pen::default().raw(&[4, 8, 0, 1]).near(0).raw(&[3, 0, 0, 0, 10, 110, 19, 3, 1, 2, 3]).done()),
        named("silence", up(0).raw(&[10, 160, 10, 200, 12, 10, 255, 21, 255, 10, 1]).done()),
        named("leaves", up(2).raw(&[13, 1, 0, 40, 20, 1, 0, 10, 200]).done()),
    ];
    // With a secret: a member that has the other one, which is dropped; then one that is not allowed any more.
    let secure = |host: u8, has: u8| {
        let pen = Pen::default().raw(&[16, 2, host]).near(0).raw(&[has]);
        pen.near(0).raw(&[0, 4, 0, host, 0]).near(0).near(0).raw(&[0])
    };
    seeds.push(named("rotated", secure(1, 1).raw(&[10, 120, 20, 0, 4, 0, 10, 200]).done()));
    seeds.push(named("expelled", secure(1, 0).raw(&[13, 1, 0, 40, 20, 0, 5, 4, 10, 200]).done()));
    for frame in frames() {
        let bytes = frame.encode();
        let name = format!("frame_{}", frame.kind());
        seeds.push((name, up(0).raw(&[5, 0, 15]).bytes(&bytes).raw(&[10, 120]).done()));
    }
    seeds
}

fn sessions() -> Vec<(String, Vec<u8>)> {
    let send = |pen: Pen, length: u16| pen.raw(&[0]).raw(&length.to_be_bytes());
    let hostile = |shape: u8| send(send(Pen::default().raw(&[shape << 1]), 30), 900);
    let ack = |received: i8, consumed: i8, messages: i8, granted: i8| {
        Pen::default().raw(&[6]).near(received).near(consumed).near(messages).near(granted).done()
    };
    let mut seeds = vec![
        named("acked", hostile(0).raw(&[4, 1, 3, 50, 4, 2]).done()),
        named("manual", hostile(1).raw(&[7, 0, 9, 0, 2, 3, 13, 3, 4, 2]).done()),
        named("returned", hostile(0).raw(&[4, 1, 10, 0, 4, 1, 11, 0, 4, 2]).done()),
        named("long", hostile(2).raw(&[7, 7, 0, 255, 7, 0, 0, 0, 2, 1, 7, 0, 0, 0, 3, 60, 2, 4]).done()),
        named("forgotten", hostile(0).raw(&[10, 200, 1]).near(0).near(0).raw(&[4, 2]).done()),
        named("expired", hostile(0).raw(&[14, 3, 255, 10, 0, 4, 1]).done()),
        named("out_of_place", hostile(0).raw(&[9]).near(1).bytes(b"\x41a").done()),
        named("overrun", hostile(0).raw(&[9]).near(0).bytes(&[0x40; 1_100]).done()),
        named("bad_head", hostile(0).raw(&[9]).near(0).bytes(b"\x41a\xff").raw(&[2, 2]).done()),
        named("greatest", hostile(0).raw(&[6, 0xc0, 0xc0, 0xc0, 0xc0]).done()),
    ];
    for (name, frame) in [
        ("ack_beyond", ack(1, 0, 0, 0)),
        ("ack_inside", ack(0, 1, 0, 0)),
        ("ack_miscounted", ack(0, 0, 1, 0)),
        ("credit_back", ack(0, 0, 0, -1)),
        ("ack_right", ack(0, 0, 0, 0)),
    ] {
        seeds.push(named(name, hostile(0).raw(&[4, 1]).raw(&frame).done()));
    }
    let honest = |shape: u8| {
        let pen = Pen::default().raw(&[shape << 1 | 1, 9, 0]);
        send(send(pen, 20), 1_500).raw(&[128 + 2, 0, 255, 9, 0])
    };
    seeds.extend([
        named("pair", honest(0).raw(&[128 + 2, 8, 9, 0]).done()),
        named("pair_cut", honest(0).raw(&[7, 0, 0, 9, 0, 0, 3, 0, 9, 0, 128 + 2, 8]).done()),
        named("pair_half_cut", honest(1).raw(&[7, 0, 1, 6, 200, 9, 0, 128 + 2, 8, 128 + 8, 3]).done()),
        named("pair_restarted", honest(0).raw(&[128 + 9, 255, 9, 0, 6, 100, 9, 0, 128 + 2, 8]).done()),
    ]);
    seeds
}
