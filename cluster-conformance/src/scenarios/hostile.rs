//! Connections that are up to no good, or to nothing: they end within their deadline, and the mesh does not notice.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use cluster_core::{Config, Event, Limits};

use crate::stage::{PATIENCE, QUIET, Stage, swift};

/// How long a stranger may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// The same, and some time for a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(2 + 3);

fn strict() -> Config {
    swift().probe_timeout(HANDSHAKE / 2).handshake_timeout(HANDSHAKE)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is some time");
    stream
}

/// Connects, writes `bytes`, and returns how long it took the other side to close.
fn shout(address: SocketAddr, bytes: &[u8]) -> Duration {
    let mut stream = connect(address);
    let begin = Instant::now();
    // It may be closed before all is written.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.len() <= 1_024, "{} bytes of answer", answer.len());
    begin.elapsed()
}

pub(super) fn strangers_are_closed_in_time_and_disturb_no_peer(stage: &Stage<'_>) {
    let [alice, bob] = stage.mesh_with([strict(), strict()]);
    alice.events();
    let address = alice.address();
    let garbage: Vec<u8> = (0..100_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let attacks: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &garbage,
        &[0xff; 70_000],
        &[0; 70_000],
        b"\xff\xff\xff\xff",
        b"",
    ];
    let shouting = attacks.map(|attack| {
        let attack = attack.to_vec();
        thread::spawn(move || shout(address, &attack))
    });
    // All the while messages go through.
    let mut round = 0;
    while round < 100 || !shouting.iter().all(|stranger| stranger.is_finished()) {
        alice.send(&bob, round.to_string());
        bob.expect(&alice, round.to_string());
        round += 1;
        stage.arm().pass(QUIET / 60);
    }
    for stranger in shouting {
        let took = stranger.join().expect("a stranger got little");
        assert!(took < CLOSED_WITHIN, "{took:?}");
    }
    let events = alice.events();
    assert!(events.iter().all(|event| matches!(event, Event::Delivered { .. })), "{events:?}");
    assert_eq!(alice.up(), [bob.id()].into());
}

pub(super) fn a_byte_at_a_time_does_not_extend_the_deadline(stage: &Stage<'_>) {
    let alice = stage.node_with(strict());
    let mut stream = connect(alice.address());
    let mut write = stream.try_clone().expect("there is a descriptor");
    let begin = Instant::now();
    let (closed, close) = channel::<()>();
    let dripping = thread::spawn(move || {
        let pause = Duration::from_millis(100);
        while write.write_all(&[0]).is_ok() && close.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {}
    });
    let _ = stream.read_to_end(&mut Vec::new());
    drop(closed);
    dripping.join().expect("it only writes");
    assert!(begin.elapsed() < CLOSED_WITHIN, "{:?}", begin.elapsed());
}

pub(super) fn node_whose_hello_comes_back_finds_no_peer(stage: &Stage<'_>) {
    let alice = stage.node_with(swift().join_timeout(Duration::from_millis(500)));
    let echo = TcpListener::bind("127.0.0.1:0").expect("a port of loopback is free");
    let address = echo.local_addr().expect("it is bound");
    thread::spawn(move || {
        // As many as the join may try.
        for mut stream in echo.incoming().take(100).flatten() {
            let Ok(mut answer) = stream.try_clone() else { return };
            let _ = std::io::copy(&mut stream, &mut answer);
        }
    });
    assert!(alice.join_at(address).is_err());
    assert!(alice.node().peers().is_empty());
}

pub(super) fn silent_strangers_beyond_the_cap_do_not_keep_a_peer_out(stage: &Stage<'_>) {
    let mut limits = Limits::default();
    limits.max_pending = 64;
    let alice = stage.node_with(strict().limits(limits));
    let silent: Vec<TcpStream> = (0..200).map(|_| connect(alice.address())).collect();
    let bob = stage.node();
    bob.join(&alice);
    for mut stream in silent {
        let begin = Instant::now();
        let _ = stream.read(&mut [0]);
        assert!(begin.elapsed() < CLOSED_WITHIN);
    }
    assert!(alice.node().stats().pending_limit > 0);
}

pub(super) fn handshake_cut_at_any_byte_leaves_no_trace(stage: &Stage<'_>) {
    let bob = stage.node();
    let alice = stage.node_with(swift().join_timeout(Duration::from_millis(100)));
    for length in (0..200).step_by(7) {
        // A forwarder that cuts both ways after `length` bytes.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback is free");
        let (address, target) = (listener.local_addr().expect("it is bound"), bob.address());
        let cutting = thread::spawn(move || -> std::io::Result<()> {
            let (near, _) = listener.accept()?;
            let far = TcpStream::connect(target)?;
            let (mut near_write, mut far_read) = (near.try_clone()?, far.try_clone()?);
            thread::spawn(move || std::io::copy(&mut far_read, &mut near_write));
            let _ = std::io::copy(&mut (&near).take(length), &mut &far);
            for stream in [near, far] {
                let _ = stream.shutdown(Shutdown::Both);
            }
            Ok(())
        });
        let _ = alice.join_at(address);
        cutting.join().expect("it only copies").expect("it is dialled");
    }
    // The last connection that was cut may still have been the one that linked the two; what was sent on it is lost.
    stage.until("a sound connection", || {
        let _ = alice.join_at(bob.address());
        let _ = alice.node().try_send(bob.id(), "sound".into());
        bob.node().recv(QUIET / 3).is_ok()
    });
    let is_pair = || alice.up() == [bob.id()].into() && bob.up() == [alice.id()].into();
    stage.until("each has the other", is_pair);
}
