//! What hostile bytes cost in memory: measured by an allocator that counts, not believed. Each test counts what its own
//! thread allocates.

use std::net::SocketAddr;
use std::path::Path;

use allocation_counter::measure;
use cluster_abuse::channels::{self, Mode, connected, side};
use cluster_abuse::seeds;
use cluster_core::limits::{MAX_ADDRESSES, MAX_CHUNK, MAX_LIST, MAX_METADATA};
use cluster_core::wire::{Announce, Claim, Data, Entry, List, Offer, PeerStream, Profile, Resume, StreamId, Update};
use cluster_core::{
    Action, Advertised, Bytes, Channel, Config, Frame, Incarnation, Input, Instant, LinkId, Node, NodeId, Proven,
    Received, Role, Run, Secret, Start,
};

/// What a link may hold at most of what one peer makes it hold, whatever the peer declares.
const PER_LINK: u64 = 128 << 10;

/// What a frame becomes in memory, for each byte of it, and besides: its fixed part, and the decoder's own.
const PER_BYTE: u64 = 4;
const PER_FRAME: u64 = 512;

/// What bytes of a stream cost until they are taken, for each of them, and besides.
const PER_STREAM_BYTE: u64 = 2;
const PER_STREAM: u64 = 8 << 10;

/// The most bytes that were allocated at a time while `run` ran, beyond what was there before.
fn peak(run: impl FnOnce()) -> u64 {
    measure(run).bytes_max
}

fn modes() -> [Mode; 3] {
    [0, 1, 2].map(Mode::of)
}

/// What was read from the socket, in pieces that are not counted: they are the driver's.
fn pieces(bytes: &[u8], size: usize) -> Vec<Bytes> {
    bytes.chunks(size).map(Bytes::copy_from_slice).collect()
}

fn receive(channel: &mut Channel, pieces: Vec<Bytes>) {
    for piece in pieces {
        channel.receive(piece);
        while let Ok(Some(_)) = channel.poll() {}
    }
}

#[test]
fn whatever_length_a_record_declares_nothing_is_allocated_for_it() {
    for mode in modes() {
        for length in (0..=u16::MAX).step_by(255).chain([1, u16::MAX - 1, u16::MAX]) {
            let (_, mut open) = connected(mode, 0);
            let prefix = pieces(&[&length.to_be_bytes()[..], &[7]].concat(), 3);
            let peak = peak(|| receive(&mut open, prefix));
            assert!(peak < 1_024, "{length} of {mode:?} costs {peak} bytes");
        }
    }
}

#[test]
fn a_link_holds_one_record_at_most_whatever_its_size_and_its_pieces() {
    let record = |length: u16, body: &[u8]| [&length.to_be_bytes()[..], body].concat();
    let chunk = Frame::Data(Data { offset: 0, bytes: vec![7; MAX_CHUNK].into() });
    for mode in modes() {
        for size in [1, 9, 1_000, 4_096, 65_536] {
            // A whole record of what can be in one, then one that has not quite arrived.
            let (mut honest, mut open) = connected(mode, 0);
            honest.send(chunk.clone());
            let whole = pieces(&channels::take(&mut honest), size);
            let partial = pieces(&record(u16::MAX, &[7; 65_534]), size);
            let peak = peak(|| {
                receive(&mut open, whole);
                receive(&mut open, partial);
            });
            assert!(peak < PER_LINK, "{peak} bytes for {mode:?} in pieces of {size}");
        }
    }
}

#[test]
fn a_stranger_costs_a_link_a_few_kibibytes() {
    let flood = [&b"\xf5clu\x01\x01"[..], &[7; 200_000]].concat();
    for mode in modes() {
        for role in [Role::Initiator, Role::Responder] {
            for first in [b"\0\0", b"\x01\0", b"\x01\x01"] {
                for length in [48_u16, 167, 2_034, u16::MAX] {
                    let mut bytes = flood.clone();
                    bytes[6..8].copy_from_slice(first);
                    bytes[12..14].copy_from_slice(&length.to_be_bytes());
                    let pieces = pieces(&bytes, 100);
                    let mut channel = side(role, mode, 0);
                    channels::take(&mut channel);
                    let peak = peak(|| receive(&mut channel, pieces));
                    assert!(peak < 8 << 10, "{peak} bytes of {mode:?} as {role:?}");
                }
            }
        }
    }
}

/// The bytes that stay allocated for each of the connections that fill the places of a node: in the node and its channel.
fn per_place(config: &Config, greeting: bool) -> u64 {
    let start = Start { seed: [1; 32], incarnation: Incarnation(1), listen: None };
    let mut node = Node::new(config.clone(), start, NOW).unwrap();
    let places = if greeting { node.limits().max_greeted } else { node.limits().max_pending };
    let mut channels = Vec::with_capacity(places);
    let kept = measure(|| {
        for number in 0..places as u32 {
            // As slow as the rates allow, and quicker than the deadline.
            let now = NOW + std::time::Duration::from_millis(u64::from(number) * 4);
            let from = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + number), 7000));
            let id = node.accept(now, from).unwrap();
            let mut channel = node.channel(id).unwrap();
            if greeting {
                channel.receive(Bytes::copy_from_slice(&hello(config)));
                assert_eq!(channel.poll(), Ok(Some(Received::Greeted)));
                channels::take(&mut channel);
                node.handle(now, Input::Greeted { link: id });
            }
            channels.push(channel);
            while node.poll_action().is_some() {}
        }
    });
    let usage = node.usage();
    assert_eq!(usage.silent_links + usage.greeted_links, places);
    // The channels are in the vector, which is not counted.
    u64::try_from(kept.bytes_current).unwrap() / places as u64 + size_of::<Channel>() as u64
}

/// What a member says first.
fn hello(config: &Config) -> Vec<u8> {
    let start = Start { seed: [2; 32], incarnation: Incarnation(1), listen: None };
    let mut node = Node::new(config.clone(), start, NOW).unwrap();
    node.join(NOW, SocketAddr::from(([10, 1, 1, 1], 7000)).into()).unwrap();
    let dialled = std::iter::from_fn(|| node.poll_action()).find_map(|action| match action {
        Action::Dial { link, .. } => Some(link),
        _ => None,
    });
    channels::take(&mut node.channel(dialled.unwrap()).unwrap())
}

#[test]
fn place_of_a_stranger_costs_little() {
    for (config, silent, greeted) in
        [(Config::insecure_plaintext(), 2_560, 3 << 10), (Config::new(Secret::from_bytes([1; 32])), 2_560, 6 << 10)]
    {
        let (silence, hello) = (per_place(&config, false), per_place(&config, true));
        println!("secure {}: {silence} bytes for silence, {hello} for a hello", config.is_secure());
        assert!(silence <= silent && hello <= greeted, "{silence} and {hello} bytes");
    }
}

fn profile(addresses: usize) -> Profile {
    let address = SocketAddr::from(([10, 0, 0, 1], 7000));
    Profile {
        name: "n".repeat(64).parse().ok(),
        metadata: vec![7; MAX_METADATA].into(),
        addresses: vec![Advertised::Socket(address); addresses],
        max_message: 1 << 20,
        window: 1 << 20,
    }
}

fn entries(count: usize, addresses: usize) -> Vec<Entry> {
    let run = Run { id: NodeId::from_bytes([7; 16]), incarnation: Incarnation(0) };
    let address = SocketAddr::from(([10, 0, 0, 1], 7000));
    vec![Entry { run, addresses: vec![address; addresses] }; count]
}

/// Frames of every kind, and those that become most.
fn frames() -> Vec<Vec<u8>> {
    let mut frames = seeds::frames();
    for addresses in 0..=MAX_ADDRESSES {
        frames.push(Frame::Update(Update { profile: profile(addresses) }));
        for count in [1, 2, 3, 5, 9, 100, 257, MAX_LIST - 1, MAX_LIST] {
            frames.push(Frame::List(List { buckets: 1, reply: false, entries: entries(count, addresses) }));
            frames.push(Frame::Announce(Announce { entries: entries(count, addresses) }));
        }
    }
    frames.iter().map(Frame::encode).collect()
}

#[track_caller]
fn decodes_within_its_size(bytes: Vec<u8>) {
    let (length, shown) = (bytes.len() as u64, bytes[..bytes.len().min(32)].to_vec());
    let bytes = Bytes::from(bytes);
    let mut decoded = None;
    let peak = peak(|| decoded = Some(Frame::decode(bytes).is_ok()));
    assert!(
        peak <= PER_BYTE * length + PER_FRAME,
        "{length} bytes, {shown:02x?}.., cost {peak} (decoded: {decoded:?})"
    );
}

#[test]
fn a_frame_costs_at_most_four_times_its_bytes() {
    frames().into_iter().for_each(decodes_within_its_size);
}

#[test]
fn whatever_a_fuzzer_made_of_frames_costs_at_most_four_times_its_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/frame");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        decodes_within_its_size(std::fs::read(file.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 100);
}

#[test]
fn what_a_frame_declares_and_does_not_have_costs_nothing() {
    let array = b"\x9a\xff\xff\xff\xff";
    decodes_within_its_size(array.to_vec());
    // An array, a map, a byte string and a text of 2^32 - 1, where each kind of frame has some element.
    for kind in 0..=13 {
        for head in [b"\x9a\xff\xff\xff\xff", b"\xba\xff\xff\xff\xff", b"\x5a\xff\xff\xff\xff", b"\x7a\xff\xff\xff\xff"]
        {
            decodes_within_its_size([&[0x82, kind], &head[..]].concat());
            decodes_within_its_size([&[0x82, kind], &head[..], &[0; 200]].concat());
            decodes_within_its_size([&[0x84, kind, 0, 0xf4], &head[..], &[0x80; 200]].concat());
            decodes_within_its_size([&[0x82, kind, 0x85, 0xf6, 0x40], &head[..], &[0x40; 200]].concat());
        }
    }
    // Small items where entries are due, as many as there may be entries; behind one that is an entry, too.
    let entry = Frame::Announce(Announce { entries: entries(1, 0) }).encode().split_off(3);
    for items in [vec![0; MAX_LIST], [&entry[..], &[0; MAX_LIST - 1]].concat()] {
        decodes_within_its_size([&[0x82, 0x0b, 0x99, 0x02, 0x00], &items[..]].concat());
        decodes_within_its_size([&[0x84, 0x0a, 0x01, 0xf4, 0x99, 0x02, 0x00], &items[..]].concat());
    }
    for frame in frames() {
        for cut in [1, 2, 3, 9, frame.len() / 2, frame.len() - 1] {
            decodes_within_its_size(frame[..cut.min(frame.len())].to_vec());
        }
    }
}

const NOW: Instant = Instant::ZERO;

/// A node, with a peer that is up and may send.
fn node() -> (Node, LinkId) {
    let listen = SocketAddr::from(([10, 0, 0, 100], 7000));
    let start = Start { seed: [1; 32], incarnation: Incarnation(1), listen: Some(listen) };
    let mut node = Node::new(Config::insecure_plaintext(), start, NOW).unwrap();
    let link = node.accept(NOW, SocketAddr::from(([10, 0, 0, 1], 4_000))).unwrap();
    let run = Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(1) };
    let proven = Proven { run, version: 1, features: 0, secret: None };
    node.handle(NOW, Input::Connected { link, proven, local: listen });
    let claim = Claim { generation: 1, rejoin: false, profile: profile(1) };
    node.handle(NOW, Input::Frame { link, frame: Frame::Claim(claim) });
    let offer = Offer { stream: StreamId(1), next: 0, peer: PeerStream::None };
    node.handle(NOW, Input::Frame { link, frame: Frame::Resume(Resume { offer }) });
    drain(&mut node, link);
    assert_eq!(node.peers().count(), 1);
    (node, link)
}

fn drain(node: &mut Node, link: LinkId) {
    while node.poll_action().is_some() {}
    while node.poll_frame(link).is_some() {}
}

/// What it costs a node to be sent these chunks, and to keep them.
fn cost_of(chunks: Vec<Bytes>) -> (Node, LinkId, u64) {
    let (mut node, link) = node();
    let peak = peak(|| {
        let mut offset = 0;
        for bytes in chunks {
            let data = Data { offset, bytes };
            offset += data.bytes.len() as u64;
            node.handle(NOW, Input::Frame { link, frame: Frame::Data(data) });
            drain(&mut node, link);
        }
    });
    assert_eq!(node.stats().protocol_errors, 0);
    (node, link, peak)
}

#[test]
fn a_message_that_is_declared_and_does_not_come_costs_nothing() {
    let head = Bytes::from_static(b"\x5a\x01\0\0\0");
    let (node, _, peak) = cost_of(vec![head]);
    assert_eq!(node.memory().received, 5);
    assert!(peak < 4 << 10, "{peak} bytes");

    // As much as its window lets it send at once, and no more.
    let window = node.limits().initial_window;
    let mut bytes = b"\x5a\x01\0\0\0".to_vec();
    bytes.resize(window as usize, 7);
    let (node, _, peak) = cost_of(pieces(&bytes, 1_000));
    assert_eq!(node.memory().received, window);
    assert!(peak < PER_STREAM_BYTE * window + PER_STREAM, "{peak} bytes");
}

#[test]
fn what_is_kept_of_a_chunk_is_twice_its_size_at_most_however_its_record_is_filled() {
    // As many entries as a record has room for beside the chunk; they cost nothing, and keep the record alive if the
    // chunk is a part of it.
    let filler = |chunk: usize| {
        let count = (MAX_CHUNK - chunk).saturating_sub(100) / 58;
        (count > 0).then(|| Frame::List(List { buckets: 0, reply: false, entries: entries(count.min(MAX_LIST), 4) }))
    };
    for mode in modes() {
        for chunk in [1, 100, 4_096, 8_192, 16_384, 30_000, 40_000, MAX_CHUNK] {
            let (mut node, link) = node();
            let (mut honest, mut open) = connected(mode, 0);
            let window = node.limits().initial_window as usize;
            let (count, stream) = ((window / chunk).min(150), Bytes::from(vec![0x40; chunk]));
            let mut record = |index| {
                honest.send(Frame::Data(Data { offset: (index * chunk) as u64, bytes: stream.clone() }));
                filler(chunk).into_iter().for_each(|frame| honest.send(frame));
                channels::take(&mut honest)
            };
            let records: Vec<Vec<u8>> = (0..count).map(&mut record).collect();
            let kept = measure(|| {
                for record in &records {
                    open.receive(Bytes::copy_from_slice(record));
                    while let Ok(Some(received)) = open.poll() {
                        if let Received::Frame(frame) = received {
                            node.handle(NOW, Input::Frame { link, frame });
                            drain(&mut node, link);
                        }
                    }
                }
            });
            let received = (count * chunk) as u64;
            assert_eq!((node.memory().received, node.stats().protocol_errors), (received, 0));
            let kept = kept.bytes_current.unsigned_abs();
            assert!(kept < PER_STREAM_BYTE * received + (24 << 10), "{kept} bytes for {count} of {chunk}, {mode:?}");
        }
    }
}

#[test]
fn a_flood_of_empty_messages_costs_what_its_bytes_say() {
    let flood = vec![0x40; 256 << 10];
    for size in [1, 2, 100, 4_096, MAX_CHUNK] {
        let chunks = pieces(&flood, size);
        let (mut node, link, peak) = cost_of(chunks);
        assert!(peak < PER_STREAM_BYTE * flood.len() as u64 + PER_STREAM, "{peak} bytes in chunks of {size}");

        // They are not unpacked when the first of them is taken either, and each gives back its place.
        let mut taken = 0;
        let peak = self::peak(|| {
            while node.poll_message(NOW).is_some() {
                taken += 1;
                drain(&mut node, link);
            }
        });
        assert_eq!(taken, flood.len());
        assert!(peak < PER_STREAM, "{peak} bytes to take them");
    }
}
