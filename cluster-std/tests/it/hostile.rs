//! Connections that are up to no good, or to nothing: they end within their deadline, and the mesh does not notice.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use cluster_std::{Event, Limits, Reason};

use crate::world::{DEADLINE, bind, bind_with, local, mesh, text, until, until_down, up, waiting};

/// The handshake timeout of local timing, and some time for a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(2 + 3);

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
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

#[test]
fn strangers_are_closed_within_their_deadline_and_disturb_nobody() {
    let [alice, bob] = mesh();
    let mut events = alice.events();
    while events.try_next().is_some() {}
    let address = alice.local_addr();
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
        waiting(move || shout(address, &attack))
    });
    let mut rounds = 0..;
    for shout in shouting {
        // All the while messages go through.
        let took = loop {
            let round = rounds.next().unwrap_or_default().to_string();
            alice.send(bob.id(), round.clone()).unwrap();
            assert_eq!(text(&bob), round);
            if let Some(took) = shout.end_within(Duration::from_millis(5)) {
                break took;
            }
        };
        assert!(took < CLOSED_WITHIN, "{took:?}");
    }
    while let Some(event) = events.try_next() {
        assert!(matches!(event, Event::Delivered { .. }), "{event:?}");
    }
    assert_eq!(up(&alice), [bob.id()].into());
}

#[test]
fn a_byte_at_a_time_does_not_extend_the_deadline() {
    let alice = bind();
    let mut stream = connect(alice.local_addr());
    let mut write = stream.try_clone().unwrap();
    let begin = Instant::now();
    let (closed, close) = channel::<()>();
    let dripping = thread::spawn(move || {
        let pause = Duration::from_millis(100);
        while write.write_all(&[0]).is_ok() && close.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {}
    });
    let _ = stream.read_to_end(&mut Vec::new());
    drop(closed);
    dripping.join().unwrap();
    assert!(begin.elapsed() < CLOSED_WITHIN, "{:?}", begin.elapsed());
}

#[test]
fn our_own_hello_sent_back_is_no_peer() {
    let alice = bind_with(local().join_timeout(Duration::from_millis(500)));
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = echo.local_addr().unwrap();
    thread::spawn(move || {
        // As many as the join may try.
        for stream in echo.incoming().take(100) {
            let mut stream = stream.unwrap();
            let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
        }
    });
    assert!(alice.join(address).is_err());
    assert!(alice.peers().is_empty());
}

#[test]
fn silent_strangers_beyond_the_cap_do_not_keep_a_peer_out() {
    let mut limits = Limits::default();
    limits.max_pending = 64;
    let alice = bind_with(local().limits(limits));
    let silent: Vec<_> = (0..200).map(|_| connect(alice.local_addr())).collect();
    let bob = bind();
    assert_eq!(bob.join(alice.local_addr()), Ok(alice.id()));
    for mut stream in silent {
        let begin = Instant::now();
        let _ = stream.read(&mut [0]);
        assert!(begin.elapsed() < CLOSED_WITHIN);
    }
    assert!(alice.stats().pending_limit > 0);
}

#[test]
fn a_peer_that_vanishes_at_any_byte_of_the_handshake_leaves_nothing_behind() {
    let bob = bind();
    let alice = bind_with(local().join_timeout(Duration::from_millis(100)));
    // A forwarder that cuts both ways after so many bytes.
    for length in (0..200).step_by(7) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let target = bob.local_addr();
        let cutting = waiting(move || {
            let (near, _) = listener.accept().unwrap();
            let far = TcpStream::connect(target).unwrap();
            let back = [near.try_clone().unwrap(), far.try_clone().unwrap()];
            thread::spawn(move || {
                let [mut near, mut far] = back;
                let _ = std::io::copy(&mut far, &mut near);
            });
            let _ = std::io::copy(&mut (&near).take(length), &mut &far);
            for stream in [near, far] {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        let _ = alice.join(address);
        cutting.end("cut");
    }
    // The last connection that was cut may still have been the one that linked the two; what was sent on it is lost.
    until("a sound connection", || {
        let _ = alice.join(bob.local_addr());
        let _ = alice.try_send(bob.id(), "sound");
        matches!(bob.recv_timeout(Duration::from_millis(100)), Ok(Some(_)))
    });
    until("each has the other", || up(&alice) == [bob.id()].into() && up(&bob) == [alice.id()].into());
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_and_nothing_hangs() {
    // It says hello and then reads no more: the socket fills, and the writer waits in it.
    let mut limits = Limits::default();
    (limits.max_peers, limits.send_window) = (2, 64 << 20);
    (limits.initial_window, limits.recv_window) = (64 << 20, 64 << 20);
    let config = local().limits(limits).heartbeat(Duration::from_secs(60)).peer_timeout(Duration::from_secs(120));
    let bob = bind_with(config.clone());
    let alice = bind_with(config.write_stall(Duration::from_millis(500)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let target = bob.local_addr();
    thread::spawn(move || {
        let (near, _) = listener.accept().unwrap();
        let far = TcpStream::connect(target).unwrap();
        let (mut from, mut to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _ = std::io::copy(&mut (&near).take(4_096), &mut &far);
        // Answers go on; what comes is not read any more.
        thread::sleep(DEADLINE);
    });
    alice.join(address).unwrap();
    let mut events = alice.events();
    for _ in 0..60 {
        alice.try_send(bob.id(), vec![0; 1 << 20]).unwrap();
    }
    assert_eq!(until_down(&mut events, bob.id()), Reason::WriteStalled);
    alice.leave_within(Duration::ZERO);
}
