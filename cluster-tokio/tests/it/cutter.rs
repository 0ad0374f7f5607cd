//! A proxy that treats connections badly: it forwards in pieces of random size, stalls, and cuts them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) struct Cutter {
    pub(crate) address: SocketAddr,
    /// How many connections were cut.
    pub(crate) cuts: Arc<AtomicUsize>,
    target: watch::Sender<Option<SocketAddr>>,
    _tasks: JoinSet<()>,
}

impl Cutter {
    /// Cuts each connection after `least` to `most` bytes in either direction.
    pub(crate) async fn new(seed: u64, least: u64, most: u64) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback is free");
        let address = listener.local_addr().expect("it is bound");
        let cuts = Arc::new(AtomicUsize::new(0));
        let target = watch::Sender::new(None);
        let mut tasks = JoinSet::new();
        let (counter, mut to) = (Arc::clone(&cuts), target.subscribe());
        tasks.spawn(async move {
            let mut rng = Random(seed);
            let mut pipes = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let Ok(to) = to.wait_for(Option::is_some).await.map(|to| *to) else { return };
                let Some(to) = to else { continue };
                let lives = [rng.between(least, most), rng.between(least, most)];
                let seeds = [rng.next(), rng.next()];
                let counter = Arc::clone(&counter);
                pipes.spawn(async move {
                    let Ok(far) = TcpStream::connect(to).await else { return };
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    let cut = tokio::select! {
                        cut = forward(near_read, far_write, lives[0], Random(seeds[0])) => cut,
                        cut = forward(far_read, near_write, lives[1], Random(seeds[1])) => cut,
                    };
                    counter.fetch_add(usize::from(cut), Ordering::SeqCst);
                });
            }
        });
        Cutter { address, cuts, target, _tasks: tasks }
    }

    /// Says where it leads; connections wait until then.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }
}

/// Forwards at most `life` bytes. Says whether it was this that ended it.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, life: u64, mut rng: Random) -> bool {
    let mut left = life;
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let limit = (rng.between(1, buffer.len() as u64)).min(left) as usize;
        match from.read(&mut buffer[..limit]).await {
            Ok(length @ 1..) => {
                left -= length as u64;
                let split = rng.between(0, length as u64) as usize;
                for piece in [&buffer[..split], &buffer[split..length]] {
                    if to.write_all(piece).await.is_err() {
                        return false;
                    }
                }
                if rng.between(0, 50) == 0 {
                    tokio::time::sleep(Duration::from_millis(rng.between(0, 3))).await;
                }
            }
            _ => return false,
        }
    }
    true
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }
}
