//! Connections that are up to no good, or to nothing: they end within their deadline, and the mesh does not notice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cluster_tokio::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{bind, bind_with, local, mesh, text, until, up, within};

/// The handshake timeout of local timing, and some time for a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(2 + 3);

/// Connects, writes `bytes`, and returns how long it took the other side to close.
async fn shout(address: SocketAddr, bytes: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begin = Instant::now();
    // It may be closed before all is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = within("close", stream.read_to_end(&mut answer)).await;
    assert!(answer.len() <= 1_024, "{} bytes of answer", answer.len());
    begin.elapsed()
}

#[tokio::test]
async fn strangers_are_closed_within_their_deadline_and_disturb_nobody() {
    let [alice, bob] = mesh().await;
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
    let mut shouting = tokio::task::JoinSet::new();
    for attack in attacks {
        let attack = attack.to_vec();
        shouting.spawn(async move { shout(address, &attack).await });
    }
    for round in 0..100 {
        alice.send(bob.id(), round.to_string()).await.unwrap();
        assert_eq!(text(&bob).await, round.to_string());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for took in shouting.join_all().await {
        assert!(took < CLOSED_WITHIN, "{took:?}");
    }
    while let Some(event) = events.try_next() {
        assert!(matches!(event, Event::Delivered { .. }), "{event:?}");
    }
    assert_eq!(up(&alice), [bob.id()].into());
}

#[tokio::test]
async fn a_byte_at_a_time_does_not_extend_the_deadline() {
    let alice = bind().await;
    let mut stream = TcpStream::connect(alice.local_addr()).await.unwrap();
    let begin = Instant::now();
    let (mut read, mut write) = stream.split();
    let drip = async {
        // The beginning of an honest preamble is not known here; zeros will do if they are not refused at once.
        while write.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await;
    };
    let closed = async {
        let mut answer = Vec::new();
        let _ = read.read_to_end(&mut answer).await;
    };
    tokio::select! {
        () = drip => {}
        () = within("close", closed) => {}
    }
    assert!(begin.elapsed() < CLOSED_WITHIN, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn our_own_hello_sent_back_is_no_peer() {
    let alice = bind().await;
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = echo.local_addr().unwrap();
    let echoing = tokio::spawn(async move {
        loop {
            let (stream, _) = echo.accept().await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    alice.set_config(local().join_timeout(Duration::from_millis(500))).unwrap();
    assert!(within("join", alice.join(address)).await.is_err());
    assert!(alice.peers().is_empty());
    echoing.abort();
}

#[tokio::test]
async fn silent_strangers_beyond_the_cap_do_not_keep_a_peer_out() {
    let mut limits = cluster_tokio::Limits::default();
    limits.max_pending = 64;
    let alice = bind_with(local().limits(limits)).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(alice.local_addr()).await.unwrap());
    }
    let bob = bind().await;
    assert_eq!(within("join", bob.join(alice.local_addr())).await, Ok(alice.id()));
    for mut stream in silent {
        let begin = Instant::now();
        let _ = within("close", stream.read(&mut [0])).await;
        assert!(begin.elapsed() < CLOSED_WITHIN);
    }
    assert!(alice.stats().pending_limit > 0);
}

#[tokio::test]
async fn a_peer_that_vanishes_at_any_byte_of_the_handshake_leaves_nothing_behind() {
    let bob = bind().await;
    let alice = bind_with(local()).await;
    // A forwarder that cuts both ways after so many bytes.
    for length in (0..200).step_by(7) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = bob.local_addr();
        let cutting = tokio::spawn(async move {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(target).await.unwrap();
            let (near, mut near_write) = near.into_split();
            let (mut far, mut far_write) = far.into_split();
            let mut near = near.take(length);
            tokio::select! {
                _ = tokio::io::copy(&mut near, &mut far_write) => {}
                _ = tokio::io::copy(&mut far, &mut near_write) => {}
            }
        });
        let joining = {
            let alice = alice.clone();
            tokio::spawn(async move { alice.join(address).await })
        };
        within("cut", cutting).await.unwrap();
        joining.abort();
    }
    // The last connection that was cut may still have been the one that linked the two; what was sent on it is lost.
    within("a sound connection", async {
        loop {
            let _ = alice.join(bob.local_addr()).await;
            let _ = alice.try_send(bob.id(), "sound");
            if tokio::time::timeout(Duration::from_millis(100), bob.recv()).await.is_ok() {
                return;
            }
        }
    })
    .await;
    until("each has the other", || up(&alice) == [bob.id()].into() && up(&bob) == [alice.id()].into()).await;
}
