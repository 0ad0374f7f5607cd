//! What the worst frames of a member cost: as much in a full mesh, with every table full, as between two nodes.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant as Clock};

use cluster_core::limits::MAX_LIST;
use cluster_core::wire::{
    Ack, Announce, Claim, Digest, Entry, List, Offer, PeerStream, Profile, Resume, StreamId, Update,
};
use cluster_core::{
    Action, Bytes, Channel, Config, Credentials, Disconnect, Frame, Hello, Identity, Incarnation, Input, Instant,
    Limits, LinkId, Node, NodeId, Proven, Role, Run, Secret, Start, Suite,
};

const FRAMES: u64 = 100_000;

struct Bench {
    node: Node,
    now: Instant,
}

fn run(number: u32) -> Run {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    Run { id: NodeId::from_bytes(id), incarnation: Incarnation(1) }
}

fn place(number: u32) -> SocketAddr {
    let [_, high, middle, low] = number.to_be_bytes();
    SocketAddr::from(([10, high, middle, low], 7_000))
}

fn profile(metadata: Vec<u8>) -> Profile {
    let (metadata, addresses) = (Bytes::from(metadata), Vec::new());
    Profile { name: None, metadata, addresses, max_message: 1 << 20, window: 1 << 16 }
}

fn entry(number: u32) -> Entry {
    Entry { run: run(number), addresses: vec![place(number)] }
}

impl Bench {
    /// A node with so many peers up, each of which has named so many members that nobody can reach.
    fn new(peers: u32, named: u32) -> (Bench, LinkId) {
        let mut limits = Limits::default();
        // The budget ends such a link after 200 of these frames, which is not the point here.
        limits.control_burst = u32::MAX;
        let config = Config::insecure_plaintext().limits(limits).plaintext_beyond_loopback();
        let start = Start { seed: [1; 32], incarnation: Incarnation(1), listen: Some(place(0xff_0000)) };
        let mut bench = Bench { node: Node::new(config, start, Instant::ZERO).unwrap(), now: Instant::ZERO };
        let mut last = None;
        for number in 1..=peers {
            let link = bench.node.accept(bench.now, place(number)).unwrap();
            let proven = Proven { run: run(number), version: 1, features: 0, secret: None };
            bench.input(Input::Connected { link, proven, local: place(0xff_0000) });
            bench.frame(link, Frame::Claim(Claim { generation: 1, rejoin: false, profile: profile(Vec::new()) }));
            let offer = Offer { stream: StreamId(9), next: 0, peer: PeerStream::None };
            bench.frame(link, Frame::Resume(Resume { offer }));
            let entries = (0..named).map(|index| entry(1_000 + number * named + index)).collect();
            bench.frame(link, Frame::List(List { buckets: u16::MAX, reply: false, entries }));
            last = Some(link);
        }
        (bench, last.unwrap())
    }

    fn input(&mut self, input: Input) {
        self.node.handle(self.now, input);
        while let Some(action) = self.node.poll_action() {
            if let Action::Send { link } = action {
                while self.node.poll_frame(link).is_some() {}
            }
        }
    }

    fn frame(&mut self, link: LinkId, frame: Frame) {
        self.input(Input::Frame { link, frame });
    }

    fn cost(&mut self, link: LinkId, count: u64, frame: impl Fn(u64) -> Frame) -> Duration {
        let begin = Clock::now();
        for number in 0..count {
            self.now = self.now + Duration::from_micros(10);
            self.frame(link, frame(number));
        }
        begin.elapsed()
    }
}

type Kind = (&'static str, fn(u64) -> Frame);

/// Small frames, each of which makes a careless node do as much as possible.
const WORST: [Kind; 9] = [
    ("pings", |number| Frame::Ping { token: number }),
    ("pongs", |number| Frame::Pong { token: u64::MAX - number }),
    ("acknowledgements", |_| Frame::Ack(Ack { granted: 1 << 16, ..Ack::default() })),
    ("credit", |number| Frame::Ack(Ack { granted: (1 << 16) + number, ..Ack::default() })),
    ("digests", |number| Frame::Digest(Digest { buckets: [number; 16] })),
    ("empty lists", |_| Frame::List(List { buckets: u16::MAX, reply: true, entries: Vec::new() })),
    ("announcements of members that are up", |number| {
        Frame::Announce(Announce { entries: vec![entry(1 + number as u32 % 500)] })
    }),
    ("announcements of invented members", |number| {
        Frame::Announce(Announce { entries: vec![entry(0x10_0000 + number as u32 % 10_000)] })
    }),
    ("profiles", |number| Frame::Update(Update { profile: profile(number.to_be_bytes().to_vec()) })),
];

#[test]
fn a_hundred_thousand_of_the_worst_frames_cost_less_than_a_second_however_large_the_mesh() {
    for (kind, frame) in WORST {
        let best = |peers, named| {
            let round = |_| {
                let (mut bench, link) = Bench::new(peers, named);
                bench.cost(link, FRAMES, frame)
            };
            (0..3).map(round).min().unwrap()
        };
        let (small, full) = (best(2, 0), best(500, 4));
        println!("{kind}: {small:?} with 2 peers, {full:?} with 500 peers and 2,000 candidates");
        assert!(full < Duration::from_secs(1), "{kind}: {full:?}");
        assert!(full < small * 8 + Duration::from_millis(100), "{kind}: {full:?}, and {small:?} with two peers");
    }
}

#[test]
fn the_longest_lists_cost_by_their_entries_and_not_by_the_mesh() {
    let lists = |peers, named| {
        let round = |_| {
            let (mut bench, link) = Bench::new(peers, named);
            bench.cost(link, 200, |number| {
                let entries =
                    (0..MAX_LIST as u32).map(|index| entry(0x10_0000 + number as u32 * 512 + index)).collect();
                Frame::List(List { buckets: u16::MAX, reply: true, entries })
            })
        };
        (0..3).map(round).min().unwrap()
    };
    let (small, full) = (lists(2, 0), lists(500, 4));
    println!("{} entries: {small:?} with 2 peers, {full:?} with 500", 200 * MAX_LIST);
    assert!(full < Duration::from_secs(1), "{full:?}");
    assert!(full < small * 8, "{full:?}, and {small:?} with two peers");
}

/// Connections of strangers, with as many of them waiting as may be: each new one displaces another.
#[test]
fn connections_of_strangers_cost_little_however_many_peers_were_seen() {
    const CONNECTIONS: u32 = 20_000;
    let accepts = |peers| {
        let round = |_| {
            let (mut bench, _) = Bench::new(peers, 0);
            let begin = Clock::now();
            for number in 0..CONNECTIONS {
                bench.now = bench.now + Duration::from_millis(1);
                let _ = bench.node.accept(bench.now, place(0x10_0000 + number));
                while let Some(action) = bench.node.poll_action() {
                    if let Action::Close { link, .. } = action {
                        bench.node.handle(bench.now, Input::Disconnected { link, cause: Disconnect::Closed });
                    }
                }
            }
            assert!(bench.node.stats().pending_limit > u64::from(CONNECTIONS) / 2);
            begin.elapsed()
        };
        (0..3).map(round).min().unwrap()
    };
    let (small, full) = (accepts(2), accepts(500));
    println!("{CONNECTIONS} connections: {small:?} with 2 peers, {full:?} with 500");
    assert!(full < Duration::from_secs(1), "{full:?}");
}

/// A side of a secure channel that has the secret of this number.
fn side(role: Role, secret: u8) -> Channel {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::from_bytes([7; 32]));
    let hello = Hello {
        run: run(u32::from(secret)),
        cluster: "worst".parse().unwrap(),
        versions: 1..=1,
        features: 0,
        nonce: [0; 16],
    };
    let (identity, keyring) = (IDENTITY.clone(), Secret::from_bytes([secret; 32]).into());
    let credentials = Credentials { identity, keyring, suite: Suite::ChaChaPoly, entropy: [secret; 32] };
    Channel::secure(role, hello, credentials)
}

fn said(channel: &mut Channel) -> Bytes {
    let output = channel.output();
    let bytes: Vec<u8> = output.pieces().flatten().copied().collect();
    output.advance(bytes.len());
    bytes.into()
}

/// The shortest of many times, so that it does not matter what else the machine does.
fn shortest(mut run: impl FnMut()) -> Duration {
    let once = |_| {
        let begin = Clock::now();
        run();
        begin.elapsed()
    };
    (0..500).map(once).min().unwrap()
}

#[test]
fn refusing_a_hello_costs_less_than_it_costs_to_say_it() {
    let hello = said(&mut side(Role::Initiator, 2));
    let saying = shortest(|| drop(said(&mut side(Role::Initiator, 1))));
    let refusing = shortest(|| {
        let mut bob = side(Role::Responder, 1);
        bob.receive(hello.clone());
        assert!(bob.poll().is_err());
    });
    assert!(refusing < saying, "{refusing:?} to refuse it, {saying:?} to say it");
}
