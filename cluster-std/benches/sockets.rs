//! How fast the node is, beside raw blocking sockets that carry the same frames: `cargo bench -p cluster-std`.
//!
//! Both are measured in turn, in one run, on one machine: the ratio is what counts. The raw sockets do the least that
//! anybody could: each message has a head of two bytes, many go into one write, one thread writes and one reads.

use std::io::{BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster_std::{Config, Node};

const SIZE: usize = 64;
const MESSAGES: usize = 1_000_000;
const ROUND_TRIPS: usize = 20_000;
const ROUNDS: usize = 5;

fn main() {
    let mut throughput = Vec::new();
    let mut latency = Vec::new();
    for _ in 0..ROUNDS {
        throughput.push((node_throughput(), raw_throughput()));
        latency.push((node_round_trip(), raw_round_trip()));
    }
    println!("{MESSAGES} messages of {SIZE} bytes, one way, median of {ROUNDS} rounds:");
    let rate = |took: Duration| MESSAGES as f64 / took.as_secs_f64() / 1e6;
    let (node, raw) = median(throughput);
    println!("  node {:.2} M/s, raw sockets {:.2} M/s: {:.2} of it", rate(node), rate(raw), rate(node) / rate(raw));
    println!("one message of {SIZE} bytes there and back, mean of {ROUND_TRIPS}, median of {ROUNDS} rounds:");
    let mean = |took: Duration| took.as_secs_f64() * 1e6 / ROUND_TRIPS as f64;
    let (node, raw) = median(latency);
    println!("  node {:.1} µs, raw sockets {:.1} µs: {:.2} times that", mean(node), mean(raw), mean(node) / mean(raw));
}

/// The round in the middle by the ratio of its two times.
fn median(mut rounds: Vec<(Duration, Duration)>) -> (Duration, Duration) {
    rounds.sort_by(|a, b| (a.0.as_secs_f64() / a.1.as_secs_f64()).total_cmp(&(b.0.as_secs_f64() / b.1.as_secs_f64())));
    rounds[rounds.len() / 2]
}

fn nodes() -> [Node; 2] {
    let config = Config::insecure_plaintext;
    let nodes = [config(), config()].map(|config| Node::bind("127.0.0.1:0", config).expect("a port is free"));
    nodes[0].join(nodes[1].local_addr()).expect("it is there");
    while nodes[1].peers().is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    nodes
}

fn node_throughput() -> Duration {
    let [alice, bob] = nodes();
    let payload = Bytes::from_static(&[7; SIZE]);
    let begin = Instant::now();
    let reader = thread::spawn(move || {
        let mut messages = Vec::new();
        let mut taken = 0;
        while taken < MESSAGES {
            taken += bob.recv_many(&mut messages, 4_096).expect("the node is open");
            messages.clear();
        }
        let took = begin.elapsed();
        bob.leave();
        took
    });
    let to = alice.peers()[0].run.id;
    for _ in 0..MESSAGES {
        alice.send(to, payload.clone()).expect("the peer is up");
    }
    let took = reader.join().expect("it counts");
    alice.leave();
    took
}

fn node_round_trip() -> Duration {
    let [alice, bob] = nodes();
    let (to, back) = (bob.id(), alice.id());
    let echo = bob.clone();
    let echo = thread::spawn(move || {
        for _ in 0..ROUND_TRIPS {
            let message = echo.recv().expect("the node is open");
            echo.send(back, message.payload).expect("the peer is up");
        }
    });
    let payload = Bytes::from_static(&[7; SIZE]);
    let begin = Instant::now();
    for _ in 0..ROUND_TRIPS {
        alice.send(to, payload.clone()).expect("the peer is up");
        alice.recv().expect("the node is open");
    }
    let took = begin.elapsed();
    echo.join().expect("it echoes");
    alice.leave();
    bob.leave();
    took
}

fn sockets() -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let alice = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (bob, _) = listener.accept().expect("it is connected");
    for socket in [&alice, &bob] {
        socket.set_nodelay(true).expect("a socket option");
    }
    [alice, bob]
}

fn write(to: &mut impl Write, payload: &[u8]) {
    // As the node's stream has it: a head that says how long the message is.
    to.write_all(&[0x58, payload.len() as u8]).and_then(|()| to.write_all(payload)).expect("the other side reads");
}

fn read(from: &mut impl Read, payload: &mut [u8; SIZE]) {
    let mut head = [0; 2];
    from.read_exact(&mut head).and_then(|()| from.read_exact(payload)).expect("the other side writes");
    assert_eq!(head, [0x58, SIZE as u8]);
}

fn raw_throughput() -> Duration {
    let [alice, bob] = sockets();
    let begin = Instant::now();
    let reader = thread::spawn(move || {
        let mut from = BufReader::with_capacity(256 << 10, bob);
        let mut payload = [0; SIZE];
        for _ in 0..MESSAGES {
            read(&mut from, &mut payload);
            // The node hands over each message as a value of its own.
            std::hint::black_box(Bytes::copy_from_slice(&payload));
        }
        begin.elapsed()
    });
    let mut to = BufWriter::with_capacity(64 << 10, alice);
    for _ in 0..MESSAGES {
        write(&mut to, &[7; SIZE]);
    }
    to.flush().expect("the other side reads");
    reader.join().expect("it counts")
}

fn raw_round_trip() -> Duration {
    let [mut alice, mut bob] = sockets();
    let exchange = |socket: &mut TcpStream, first: bool| {
        let mut frame = [7; SIZE + 2];
        for _ in 0..ROUND_TRIPS {
            if first {
                socket.write_all(&frame).expect("the other side reads");
            }
            socket.read_exact(&mut frame).expect("the other side writes");
            if !first {
                socket.write_all(&frame).expect("the other side reads");
            }
        }
    };
    let echo = thread::spawn(move || exchange(&mut bob, false));
    let begin = Instant::now();
    exchange(&mut alice, true);
    let took = begin.elapsed();
    echo.join().expect("it echoes");
    took
}
