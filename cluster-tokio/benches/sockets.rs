//! How fast the node is in plain and in secure mode, beside raw TCP, and what a secure mesh costs:
//! `cargo bench -p cluster-tokio`.
//!
//! Everything is measured in turn, in one run, on one machine: the ratios are what counts. Raw TCP does the least that
//! anybody could: messages with a head of their length, many in one write, on the same runtime. A mesh is measured in
//! seconds of processor time of the whole process, beside the cryptography of its handshakes alone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster_core::wire::Data;
use cluster_core::{Channel, Credentials, Frame, Hello, Identity, Incarnation, NodeId, Role, Run};
use cluster_tokio::{Config, Node, PeerState, Secret, Suite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ROUNDS: usize = 5;
const ROUND_TRIPS: usize = 10_000;
const MESH: usize = 64;

/// How many messages of which length go one way.
const TALKS: [(usize, usize); 2] = [(64, 1_000_000), (65_536, 8_000)];

#[derive(Clone, Copy)]
enum Mode {
    Plain,
    Secure(Suite),
}

const MODES: [(&str, Mode); 3] = [
    ("plain", Mode::Plain),
    ("secure, AES-GCM", Mode::Secure(Suite::AesGcm)),
    ("secure, ChaChaPoly", Mode::Secure(Suite::ChaChaPoly)),
];

#[tokio::main]
async fn main() {
    for (size, count) in TALKS {
        one_way_beside_raw(size, count).await;
    }
    there_and_back_beside_raw().await;
    println!("records of 65,000 bytes, sealed and opened on one thread");
    for suite in [Suite::AesGcm, Suite::ChaChaPoly] {
        println!("  {suite:?}: {:.0} MB/s", median((0..ROUNDS).map(|_| cipher(suite)).collect()));
    }
    mesh_beside_its_cryptography().await;
}

async fn one_way_beside_raw(size: usize, count: usize) {
    println!("{count} messages of {size} bytes, one way, median of {ROUNDS} rounds");
    let mut raw = Vec::new();
    let mut nodes = [const { Vec::new() }; MODES.len()];
    for _ in 0..ROUNDS {
        raw.push(raw_one_way(size, count).await);
        for (took, (_, mode)) in nodes.iter_mut().zip(MODES) {
            took.push(one_way(mode, size, count).await);
        }
    }
    let rate = |took: Duration| count as f64 / took.as_secs_f64();
    let megabytes = |took| rate(took) * size as f64 / 1e6;
    let raw = median(raw);
    println!("  {:<20} {:>10.0} /s {:>6.0} MB/s", "raw TCP", rate(raw), megabytes(raw));
    for (took, (name, _)) in nodes.into_iter().zip(MODES) {
        let took = median(took);
        let ratio = rate(took) / rate(raw);
        println!("  {name:<20} {:>10.0} /s {:>6.0} MB/s   {ratio:.2} of raw TCP", rate(took), megabytes(took));
    }
}

async fn there_and_back_beside_raw() {
    println!("a message of 64 bytes there and back, mean of {ROUND_TRIPS}, median of {ROUNDS} rounds");
    let mut raw = Vec::new();
    let mut nodes = [const { Vec::new() }; MODES.len()];
    for _ in 0..ROUNDS {
        raw.push(raw_there_and_back().await);
        for (took, (_, mode)) in nodes.iter_mut().zip(MODES) {
            took.push(there_and_back(mode).await);
        }
    }
    let micros = |took: Duration| took.as_secs_f64() * 1e6 / ROUND_TRIPS as f64;
    let raw = median(raw);
    println!("  {:<20} {:>8.1} us", "raw TCP", micros(raw));
    for (took, (name, _)) in nodes.into_iter().zip(MODES) {
        let took = median(took);
        println!("  {name:<20} {:>8.1} us   {:.2} times raw TCP", micros(took), micros(took) / micros(raw));
    }
}

async fn mesh_beside_its_cryptography() {
    println!("a mesh of {MESH} nodes in this process, median of {ROUNDS} rounds, in seconds of processor time");
    let (mut plain, mut secure, mut handshakes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(mesh(Mode::Plain).await);
        secure.push(mesh(Mode::Secure(Suite::AesGcm)).await);
        handshakes.push(all_handshakes());
    }
    let (plain, secure, handshakes) = (median(plain), median(secure), median(handshakes));
    println!("  plain {plain:.2}, secure {secure:.2}; the cryptography of {} handshakes {handshakes:.2}", pairs());
    println!("  secure beyond plain: {:.2} times the cryptography", (secure - plain) / handshakes);
}

fn pairs() -> usize {
    MESH * (MESH - 1) / 2
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("a number"));
    values[values.len() / 2]
}

fn config(mode: Mode) -> Config {
    match mode {
        Mode::Plain => Config::insecure_plaintext(),
        Mode::Secure(suite) => Config::new(Secret::from_bytes([7; 32])).suite(suite),
    }
}

async fn bind(mode: Mode) -> Node {
    Node::bind("127.0.0.1:0", config(mode)).await.expect("a port is free")
}

async fn nodes(mode: Mode) -> [Node; 2] {
    let nodes = [bind(mode).await, bind(mode).await];
    nodes[0].join(nodes[1].local_addr()).await.expect("it is there");
    complete(&nodes).await;
    nodes
}

async fn complete(nodes: &[Node]) {
    let up = |node: &Node| node.peers().iter().filter(|peer| peer.state == PeerState::Up).count();
    while nodes.iter().any(|node| up(node) < nodes.len() - 1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn leave(nodes: impl IntoIterator<Item = Node>) {
    for node in nodes {
        node.leave_within(Duration::ZERO).await;
    }
}

async fn one_way(mode: Mode, size: usize, count: usize) -> Duration {
    let [alice, bob] = nodes(mode).await;
    let to = bob.id();
    let sender = alice.clone();
    let begin = Instant::now();
    let sending = tokio::spawn(async move {
        let payload = Bytes::from(vec![7; size]);
        for _ in 0..count {
            sender.send(to, payload.clone()).await.expect("the peer is up");
        }
    });
    let mut messages = Vec::new();
    let mut taken = 0;
    while taken < count {
        taken += bob.recv_many(&mut messages, 1_024).await.expect("the node is open");
        messages.clear();
    }
    let took = begin.elapsed();
    sending.await.expect("it sends");
    leave([alice, bob]).await;
    took
}

async fn there_and_back(mode: Mode) -> Duration {
    let [alice, bob] = nodes(mode).await;
    let (to, back) = (bob.id(), alice.id());
    let other = bob.clone();
    let echo = tokio::spawn(async move {
        for _ in 0..ROUND_TRIPS {
            let message = other.recv().await.expect("the node is open");
            other.send(back, message.payload).await.expect("the peer is up");
        }
    });
    let payload = Bytes::from_static(&[7; 64]);
    let begin = Instant::now();
    for _ in 0..ROUND_TRIPS {
        alice.send(to, payload.clone()).await.expect("the peer is up");
        alice.recv().await.expect("the node is open");
    }
    let took = begin.elapsed();
    echo.await.expect("it echoes");
    leave([alice, bob]).await;
    took
}

async fn sockets() -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let alice = TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it listens");
    let (bob, _) = listener.accept().await.expect("it is connected");
    for socket in [&alice, &bob] {
        socket.set_nodelay(true).expect("a socket option");
    }
    [alice, bob]
}

async fn raw_one_way(size: usize, count: usize) -> Duration {
    let [alice, bob] = sockets().await;
    let begin = Instant::now();
    let sending = tokio::spawn(async move {
        let payload = vec![7; size];
        let mut to = tokio::io::BufWriter::with_capacity(64 << 10, alice);
        for _ in 0..count {
            to.write_u32(size as u32).await.expect("the other side reads");
            to.write_all(&payload).await.expect("the other side reads");
        }
        to.flush().await.expect("the other side reads");
    });
    let mut from = tokio::io::BufReader::with_capacity(256 << 10, bob);
    for _ in 0..count {
        let length = from.read_u32().await.expect("the other side writes") as usize;
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await.expect("the other side writes");
        std::hint::black_box(Bytes::from(payload));
    }
    sending.await.expect("it sends");
    begin.elapsed()
}

async fn raw_there_and_back() -> Duration {
    let [mut alice, mut bob] = sockets().await;
    let echo = tokio::spawn(async move {
        let mut frame = [7; 68];
        for _ in 0..ROUND_TRIPS {
            bob.read_exact(&mut frame).await.expect("the other side writes");
            bob.write_all(&frame).await.expect("the other side reads");
        }
    });
    let mut frame = [7; 68];
    let begin = Instant::now();
    for _ in 0..ROUND_TRIPS {
        alice.write_all(&frame).await.expect("the other side reads");
        alice.read_exact(&mut frame).await.expect("the other side writes");
    }
    let took = begin.elapsed();
    echo.await.expect("it echoes");
    took
}

fn side(role: Role, identity: &Identity, suite: Suite) -> Channel {
    let run = Run { id: NodeId::from_bytes([0; 16]), incarnation: Incarnation(1) };
    let cluster = "bench".parse().expect("a name");
    let hello = Hello { run, cluster, versions: 1..=1, features: 0, nonce: [0; 16] };
    let keyring = Secret::from_bytes([7; 32]).into();
    Channel::secure(role, hello, Credentials { identity: identity.clone(), keyring, suite, entropy: [7; 32] })
}

fn take(channel: &mut Channel) -> Bytes {
    let output = channel.output();
    let bytes: Vec<u8> = output.pieces().flatten().copied().collect();
    output.advance(bytes.len());
    bytes.into()
}

fn handshake(identity: &Identity, suite: Suite) -> [Channel; 2] {
    let [mut dialler, mut listener] = [side(Role::Initiator, identity, suite), side(Role::Responder, identity, suite)];
    for _ in 0..2 {
        listener.receive(take(&mut dialler));
        listener.poll().expect("an honest handshake");
        dialler.receive(take(&mut listener));
        dialler.poll().expect("an honest handshake");
    }
    [dialler, listener]
}

/// Megabytes a second.
fn cipher(suite: Suite) -> f64 {
    const RECORDS: usize = 1_000;
    let [mut alice, mut bob] = handshake(&Identity::from_bytes([7; 32]), suite);
    let bytes = Bytes::from(vec![7; 65_000]);
    let begin = Instant::now();
    for _ in 0..RECORDS {
        alice.send(Frame::Data(Data { offset: 0, bytes: bytes.clone() }));
        bob.receive(take(&mut alice));
        std::hint::black_box(bob.poll().expect("an honest record"));
    }
    (RECORDS * bytes.len()) as f64 / begin.elapsed().as_secs_f64() / 1e6
}

/// Seconds that both sides of as many handshakes as a mesh has links take on one processor.
fn all_handshakes() -> f64 {
    let identity = Identity::from_bytes([7; 32]);
    let begin = processor_time();
    for _ in 0..pairs() {
        std::hint::black_box(handshake(&identity, Suite::AesGcm));
    }
    processor_time() - begin
}

/// Seconds of processor time that it takes until all nodes are peers of all others.
async fn mesh(mode: Mode) -> f64 {
    let begin = processor_time();
    let mut nodes = Vec::new();
    for _ in 0..MESH {
        nodes.push(bind(mode).await);
    }
    for node in &nodes[1..] {
        node.join(nodes[0].local_addr()).await.expect("it is there");
    }
    complete(&nodes).await;
    let took = processor_time() - begin;
    leave(nodes).await;
    took
}

/// What this process has used so far, from proc(5), in seconds: ticks are hundredths on every Linux.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this measures on Linux");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / 100.0
}
