//! A proxy that treats connections badly: it forwards in pieces of random size, stalls, and cuts them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

pub(crate) struct Cutter {
    pub(crate) address: SocketAddr,
    /// How many connections were cut.
    pub(crate) cuts: Arc<AtomicUsize>,
    target: SyncSender<SocketAddr>,
    ended: Arc<AtomicBool>,
}

impl Cutter {
    /// Cuts each connection after `least` to `most` bytes in either direction.
    pub(crate) fn new(seed: u64, least: u64, most: u64) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback is free");
        let address = listener.local_addr().expect("it is bound");
        let (target, told) = sync_channel(1);
        let cutter = Cutter { address, cuts: Arc::default(), target, ended: Arc::default() };
        let (cuts, ended) = (Arc::clone(&cutter.cuts), Arc::clone(&cutter.ended));
        thread::spawn(move || {
            let mut rng = Random(seed);
            let Ok(to) = told.recv() else { return };
            while let Ok((near, _)) = listener.accept()
                && !ended.load(Ordering::SeqCst)
            {
                let Ok(far) = TcpStream::connect(to) else { continue };
                let [near_too, far_too] = [&near, &far].map(|stream| stream.try_clone().expect("a descriptor"));
                for (from, to) in [(near, far), (far_too, near_too)] {
                    let (life, rng, cuts) = (rng.between(least, most), Random(rng.next()), Arc::clone(&cuts));
                    thread::spawn(move || {
                        let cut = forward(&from, &to, life, rng);
                        cuts.fetch_add(usize::from(cut), Ordering::SeqCst);
                        // Both ways end together.
                        let _ = from.shutdown(Shutdown::Both);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        cutter
    }

    /// Says where it leads; connections wait until then.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.target.send(target).expect("its thread waits for it");
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// Forwards at most `life` bytes. Says whether it was this that ended it.
fn forward(mut from: &TcpStream, mut to: &TcpStream, life: u64, mut rng: Random) -> bool {
    let mut left = life;
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let limit = (rng.between(1, buffer.len() as u64)).min(left) as usize;
        let Ok(length @ 1..) = from.read(&mut buffer[..limit]) else { return false };
        left -= length as u64;
        let split = rng.between(0, length as u64) as usize;
        for piece in [&buffer[..split], &buffer[split..length]] {
            if to.write_all(piece).is_err() {
                return false;
            }
        }
        if rng.between(0, 50) == 0 {
            thread::sleep(Duration::from_millis(rng.between(0, 3)));
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
