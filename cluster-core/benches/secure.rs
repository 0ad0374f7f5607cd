//! What secure mode costs: a handshake, a hello that is refused, and records of either cipher.

use bytes::Bytes;
use cluster_core::wire::Data;
use cluster_core::{Channel, Credentials, Frame, Hello, Identity, Incarnation, NodeId, Role, Run, Secret, Suite};
use divan::counter::BytesCount;

fn main() {
    divan::main();
}

fn side(role: Role, secret: u8, suite: Suite) -> Channel {
    let hello = Hello {
        run: Run { id: NodeId::from_bytes([0; 16]), incarnation: Incarnation(1) },
        cluster: "bench".parse().unwrap(),
        versions: 1..=1,
        features: 0,
        nonce: [0; 16],
    };
    let keyring = Secret::from_bytes([secret; 32]).into();
    Channel::secure(role, hello, Credentials { identity: identity(), keyring, suite, entropy: [secret; 32] })
}

fn identity() -> Identity {
    static IDENTITY: std::sync::OnceLock<Identity> = std::sync::OnceLock::new();
    IDENTITY.get_or_init(|| Identity::from_bytes([7; 32])).clone()
}

fn take(channel: &mut Channel) -> Bytes {
    let output = channel.output();
    let bytes: Vec<u8> = output.pieces().flatten().copied().collect();
    output.advance(bytes.len());
    bytes.into()
}

fn connected(suite: Suite) -> (Channel, Channel) {
    let (mut alice, mut bob) = (side(Role::Initiator, 1, suite), side(Role::Responder, 1, suite));
    for _ in 0..2 {
        bob.receive(take(&mut alice));
        let _ = bob.poll().unwrap();
        alice.receive(take(&mut bob));
        let _ = alice.poll().unwrap();
    }
    (alice, bob)
}

/// Both sides of a handshake.
#[divan::bench]
fn handshake() -> (Channel, Channel) {
    connected(Suite::ChaChaPoly)
}

/// What the initiator spends to say hello.
#[divan::bench]
fn say_hello() -> Bytes {
    take(&mut side(Role::Initiator, 1, Suite::ChaChaPoly))
}

/// What the responder spends on the hello of a stranger.
#[divan::bench]
fn refuse_hello(bencher: divan::Bencher<'_, '_>) {
    let hello = take(&mut side(Role::Initiator, 2, Suite::ChaChaPoly));
    bencher.bench(|| {
        let mut bob = side(Role::Responder, 1, Suite::ChaChaPoly);
        bob.receive(hello.clone());
        bob.poll().is_err()
    });
}

/// One record, sealed and opened.
#[divan::bench(args = [64, 4_096, 65_000])]
fn chacha(bencher: divan::Bencher<'_, '_>, size: usize) {
    record(bencher, Suite::ChaChaPoly, size);
}

/// The same.
#[divan::bench(args = [64, 4_096, 65_000])]
fn aes(bencher: divan::Bencher<'_, '_>, size: usize) {
    record(bencher, Suite::AesGcm, size);
}

fn record(bencher: divan::Bencher<'_, '_>, suite: Suite, size: usize) {
    let (mut alice, mut bob) = connected(suite);
    let bytes = Bytes::from(vec![7; size]);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        alice.send(Frame::Data(Data { offset: 0, bytes: bytes.clone() }));
        bob.receive(take(&mut alice));
        bob.poll().unwrap()
    });
}
