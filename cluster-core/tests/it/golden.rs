//! The bytes of the protocol, written out in `tests/golden/*.hex`, by hand or by other means than this implementation:
//! what is sent is exactly these, and these are understood. They are the contract with every other implementation; PROTOCOL.md says how to read the files.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use cluster_core::wire::{
    Accept, Ack, Announce, Claim, Close, Data, Digest, Entry, List, Offer, PeerStream, Profile, Reject, Resume,
    StreamId, Update,
};
use cluster_core::{
    Advertised, Channel, ChannelError, Credentials, Frame, Hello, Identity, Incarnation, NodeId, Proven, Received,
    RejectCode, Role, Run, Secret, Suite,
};

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("hex");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let digits: Vec<u8> = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().chars())
        .filter_map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    assert!(digits.len().is_multiple_of(2), "{name} ends in the middle of a byte");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn addresses() -> [SocketAddr; 2] {
    ["192.0.2.1:8080".parse().unwrap(), "[2001:db8::1]:8080".parse().unwrap()]
}

fn profile() -> Profile {
    Profile { name: None, metadata: Bytes::new(), addresses: Vec::new(), max_message: 16 << 20, window: 256 << 10 }
}

fn offer(next: u64, peer: PeerStream) -> Offer {
    Offer { stream: StreamId(0x0102_0304_0506_0708), next, peer }
}

const THEIRS: StreamId = StreamId(0x1112_1314_1516_1718);

fn entries() -> Vec<Entry> {
    vec![Entry { run: run(0, 7), addresses: addresses().to_vec() }, Entry { run: run(0xf0, 0), addresses: Vec::new() }]
}

fn frames() -> Vec<(&'static str, Frame)> {
    let full = Profile {
        name: Some("node-1".parse().unwrap()),
        metadata: Bytes::from_static(&[1, 2, 3]),
        addresses: [Advertised::Port(8080)].into_iter().chain(addresses().map(Advertised::Socket)).collect(),
        ..profile()
    };
    let ack = Ack { received: 100, consumed: 90, consumed_messages: 5, granted: 262_244 };
    let buckets = std::array::from_fn(|at| if at == 15 { u64::MAX } else { at as u64 });
    let first = Entry { addresses: vec![addresses()[0]], ..entries()[0].clone() };
    vec![
        ("data", Frame::Data(Data { offset: 70_000, bytes: Bytes::from_static(b"hello") })),
        ("ping", Frame::Ping { token: 1_000 }),
        ("pong", Frame::Pong { token: 1_000 }),
        ("ack", Frame::Ack(Ack { received: 1 << 32, consumed: 65_536, consumed_messages: 24, granted: u64::MAX })),
        ("claim", Frame::Claim(Claim { generation: 3, rejoin: true, profile: full })),
        ("accept_none", Frame::Accept(Accept { profile: profile(), offer: offer(0, PeerStream::None) })),
        (
            "accept_live",
            Frame::Accept(Accept { profile: profile(), offer: offer(1_024, PeerStream::Live { id: THEIRS, ack }) }),
        ),
        ("reject", Frame::Reject(Reject { code: RejectCode::Full })),
        (
            "reject_stale",
            Frame::Reject(Reject { code: RejectCode::Stale { known: Incarnation(1_700_000_000_000_000) } }),
        ),
        ("resume_closed", Frame::Resume(Resume { offer: offer(0, PeerStream::Closed { id: THEIRS, consumed: 90 }) })),
        ("close", Frame::Close(Close::Removed)),
        ("digest", Frame::Digest(Digest { buckets })),
        ("list", Frame::List(List { buckets: 0x8001, reply: true, entries: entries() })),
        ("announce", Frame::Announce(Announce { entries: vec![first] })),
        ("update", Frame::Update(Update { profile: Profile { name: Some("a".parse().unwrap()), ..profile() } })),
    ]
}

/// A session that goes on.
fn exchange() -> [(&'static str, Frame); 3] {
    let live = |id, received, consumed, consumed_messages| PeerStream::Live {
        id,
        ack: Ack { received, consumed, consumed_messages, granted: consumed + (256 << 10) },
    };
    let own = offer(0, PeerStream::None).stream;
    let responder = Offer { stream: THEIRS, next: 40, peer: live(own, 65, 50, 5) };
    let initiator = Offer { stream: own, next: 65, peer: live(THEIRS, 40, 40, 2) };
    [
        ("exchange_1_accept", Frame::Accept(Accept { profile: profile(), offer: responder })),
        ("exchange_2_resume", Frame::Resume(Resume { offer: initiator })),
        ("exchange_3_data", Frame::Data(Data { offset: 65, bytes: Bytes::from_static(b"age 7") })),
    ]
}

#[test]
fn every_frame_has_its_golden_bytes() {
    for (name, frame) in frames().into_iter().chain(exchange()) {
        assert_eq!(hex(&frame.encode()), hex(&golden(name)), "{name}");
        assert_eq!(Frame::decode(golden(name).into()), Ok(frame), "{name}");
    }
}

#[test]
fn every_kind_of_frame_and_every_golden_file_is_tested() {
    let mut kinds: Vec<u64> = frames().iter().map(|(_, frame)| frame.kind()).collect();
    kinds.dedup();
    assert_eq!(kinds, (0..13).collect::<Vec<_>>());

    let mut files: Vec<String> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"))
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !name.starts_with("handshake"))
        .collect();
    files.sort();
    let mut tested: Vec<&str> = frames().iter().chain(&exchange()).map(|(name, _)| *name).collect();
    tested.sort_unstable();
    assert_eq!(files, tested);
}

#[test]
fn the_handshake_has_its_golden_bytes() {
    let (mut alice, mut bob) = (alice("prod"), bob());
    assert_eq!(hex(&take(&mut alice)), hex(&golden("handshake_1")));
    bob.receive(golden("handshake_1").into());
    assert_eq!(bob.poll(), Ok(Some(Received::Greeted)));
    assert_eq!(bob.poll(), Ok(None));
    assert_eq!(hex(&take(&mut bob)), hex(&golden("handshake_2")));

    alice.receive(golden("handshake_2").into());
    let of_bob = Proven { run: run(0x10, 2), version: 1, features: 4, secret: None };
    assert_eq!(alice.poll(), Ok(Some(Received::Connected(of_bob))));
    alice.send(Frame::Ping { token: 7 });
    alice.send(Frame::Pong { token: 8 });
    assert_eq!(hex(&take(&mut alice)), hex(&golden("handshake_3")));

    bob.receive(golden("handshake_3").into());
    let of_alice = Proven { run: run(0, 1), version: 1, features: 4, secret: None };
    assert_eq!(bob.poll(), Ok(Some(Received::Connected(of_alice))));
    assert_eq!(bob.poll(), Ok(Some(Received::Frame(Frame::Ping { token: 7 }))));
    assert_eq!(bob.poll(), Ok(Some(Received::Frame(Frame::Pong { token: 8 }))));
    assert_eq!(bob.poll(), Ok(None));
}

#[test]
fn the_refusal_of_another_cluster_has_its_golden_bytes() {
    let (mut alice, mut bob) = (alice("test"), bob());
    bob.receive(take(&mut alice).into());
    assert_eq!(bob.poll(), Err(ChannelError::Cluster));
    assert_eq!(hex(&take(&mut bob)), hex(&golden("handshake_2_refused")));
    alice.receive(golden("handshake_2_refused").into());
    assert_eq!(alice.poll(), Err(ChannelError::Cluster));
}

fn run(first: u8, incarnation: u64) -> Run {
    let id = NodeId::from_bytes(std::array::from_fn(|at| first + at as u8));
    Run { id, incarnation: Incarnation(incarnation) }
}

fn alice(cluster: &str) -> Channel {
    let nonce = std::array::from_fn(|at| 0xa0 + at as u8);
    let cluster = cluster.parse().unwrap();
    Channel::new(Role::Initiator, Hello { run: run(0, 1), cluster, versions: 1..=1, features: 0b101, nonce })
}

fn bob() -> Channel {
    let nonce = std::array::from_fn(|at| 0xb0 + at as u8);
    let cluster = "prod".parse().unwrap();
    Channel::new(Role::Responder, Hello { run: run(0x10, 2), cluster, versions: 1..=1, features: 0b110, nonce })
}

fn take(channel: &mut Channel) -> Vec<u8> {
    let output = channel.output();
    let bytes: Vec<u8> = output.pieces().flatten().copied().collect();
    output.advance(bytes.len());
    bytes
}

/// So that a difference is readable.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The secret is 00 01 02 ..., alice's key 20 21 ..., bob's 60 61 ..., and their ephemeral keys are 40 41 ... and
/// 80 81 ...: what they say is then what the Noise framework makes of it, which was computed by other means.
#[test]
fn the_secure_handshake_has_its_golden_bytes_with_either_cipher() {
    let ascending = |first: u8| std::array::from_fn(|at| first + at as u8);
    for (suite, name) in [(Suite::ChaChaPoly, "chacha"), (Suite::AesGcm, "aes")] {
        let flight = |number: u8| golden(&format!("handshake_{name}_{number}"));
        let credentials = |key, entropy| Credentials {
            identity: Identity::from_bytes(ascending(key)),
            keyring: Secret::from_bytes(ascending(0)).into(),
            suite,
            entropy: ascending(entropy),
        };
        let hello = |incarnation, features| Hello {
            run: run(0, incarnation),
            cluster: "prod".parse().unwrap(),
            versions: 1..=1,
            features,
            nonce: [0; 16],
        };
        let mut alice = Channel::secure(Role::Initiator, hello(1, 0b101), credentials(0x20, 0x40));
        let mut bob = Channel::secure(Role::Responder, hello(2, 0b110), credentials(0x60, 0x80));
        let secret = Some(Secret::from_bytes(ascending(0)).id());
        let proven = |id: &str, incarnation| {
            let run = Run { id: id.parse().unwrap(), incarnation: Incarnation(incarnation) };
            Ok(Some(Received::Connected(Proven { run, version: 1, features: 4, secret })))
        };

        assert_eq!(hex(&take(&mut alice)), hex(&flight(1)), "{name}");
        bob.receive(flight(1).into());
        assert_eq!(bob.poll(), Ok(Some(Received::Greeted)));
        assert_eq!(bob.poll(), Ok(None));
        assert_eq!(hex(&take(&mut bob)), hex(&flight(2)), "{name}");
        alice.receive(flight(2).into());
        assert_eq!(alice.poll(), proven("6adfaa064a9fa4e6bf443fd17914299d", 2));
        alice.send(Frame::Ping { token: 7 });
        alice.send(Frame::Pong { token: 8 });
        assert_eq!(hex(&take(&mut alice)), hex(&flight(3)), "{name}");
        bob.receive(flight(3).into());
        assert_eq!(bob.poll(), proven("0d9c6e3b741b13ce2c4de455aabe51c9", 1));
        assert_eq!(bob.poll(), Ok(Some(Received::Frame(Frame::Ping { token: 7 }))));
        assert_eq!(bob.poll(), Ok(Some(Received::Frame(Frame::Pong { token: 8 }))));
        bob.send(Frame::Pong { token: 7 });
        assert_eq!(hex(&take(&mut bob)), hex(&flight(4)), "{name}");
        alice.receive(flight(4).into());
        assert_eq!(alice.poll(), Ok(Some(Received::Frame(Frame::Pong { token: 7 }))));
    }
}
