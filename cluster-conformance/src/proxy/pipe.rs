//! One connection that is passed on: two sockets, and a thread for each direction.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use cluster_core::NodeId;
use cluster_core::limits::MAX_HANDSHAKE;
use socket2::SockRef;

use super::random::Random;
use super::{End, Faults, Pieces, Shared};

/// Bytes that are read at a time.
const BUFFER: usize = 64 << 10;

/// The longest that one piece is held back.
const LONGEST_DELAY: u64 = 1_000;

/// How often a writer whose peer takes nothing looks whether the pipe has ended.
const PATIENCE: Duration = Duration::from_millis(20);

/// The bytes before the first record.
const PREAMBLE: usize = 12;

/// The third message of the handshake in plain mode: its kind and an echo come before the id, the incarnation after it.
const THIRD: u8 = 3;
const BEFORE_ID: usize = 1 + 16;
const AFTER_ID: usize = 8;

pub(super) struct Pipe {
    /// Of whoever dialled, and of whoever was dialled, until it ends.
    near: Mutex<Option<Arc<TcpStream>>>,
    far: Mutex<Option<Arc<TcpStream>>>,
    faults: Faults,
    ended: AtomicBool,
    opening: Mutex<Opening>,
}

/// What the side that dialled has said first, until it has said who it is.
#[derive(Default)]
struct Opening {
    bytes: Vec<u8>,
    dialler: Option<NodeId>,
}

impl Pipe {
    pub(super) fn new(near: &Arc<TcpStream>, far: &Arc<TcpStream>, faults: Faults) -> Pipe {
        for stream in [near, far] {
            // Without these it is slower, and no less right.
            let _ = stream.set_nodelay(true);
            let _ = stream.set_write_timeout(Some(PATIENCE));
        }
        let [near, far] = [near, far].map(|stream| Mutex::new(Some(Arc::clone(stream))));
        Pipe { near, far, faults, ended: AtomicBool::new(false), opening: Mutex::default() }
    }

    /// Who dialled, as soon as that was said.
    pub(super) fn dialler(&self) -> Option<NodeId> {
        lock(&self.opening).dialler
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Whether a socket is kept open although the connection has ended.
    pub(super) fn is_kept(&self) -> bool {
        lock(&self.near).is_some()
    }

    /// Ends the connection like this, unless it has ended already.
    pub(super) fn end(&self, how: End) -> bool {
        if self.ended.swap(true, Ordering::SeqCst) {
            return false;
        }
        match how {
            End::Close => {
                for stream in [&self.near, &self.far].into_iter().filter_map(|side| lock(side).take()) {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            End::Reset => self.let_go(),
            End::Stall => {}
            End::HalfOpen => {
                lock(&self.far).take().iter().for_each(|far| abort(far));
                // Only to get the thread that reads there out of its call: the other end learns nothing of it.
                lock(&self.near).iter().for_each(|near| drop(near.shutdown(Shutdown::Read)));
            }
        }
        true
    }

    /// Keeps no socket open. The other ends get a reset as soon as the threads have noticed.
    pub(super) fn let_go(&self) {
        self.ended.store(true, Ordering::SeqCst);
        [&self.near, &self.far].into_iter().filter_map(|side| lock(side).take()).for_each(|stream| abort(&stream));
    }

    /// Passes on what one side says until that is over, by one of the sides or by the proxy.
    pub(super) fn forward(&self, shared: &Shared, from: &TcpStream, to: &TcpStream, outward: bool, mut rng: Random) {
        let mut left = self.faults.life.as_ref().map_or(u64::MAX, |life| rng.within(life));
        let mut buffer = vec![0; BUFFER];
        while left > 0 && shared.may_pass(self) {
            let most = match self.faults.pieces {
                Pieces::Random => rng.within(&(1..=BUFFER as u64)),
                Pieces::AsTheyCome | Pieces::Single => BUFFER as u64,
            };
            let mut from = from;
            let length = match from.read(&mut buffer[..most.min(left) as usize]) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return self.broken(),
            };
            if length == 0 {
                if !self.has_ended() {
                    // It has said all it had to say; what it is told may go on.
                    let _ = to.shutdown(Shutdown::Write);
                }
                return;
            }
            left -= length as u64;
            if outward {
                self.listen_in(&buffer[..length]);
            }
            if !self.write(shared, to, &buffer[..length], &mut rng) {
                return self.broken();
            }
        }
        if left == 0 && self.end(self.faults.end) {
            shared.has_cut(self.faults.end);
        }
    }

    /// One side has gone: so does the other.
    fn broken(&self) {
        self.end(End::Reset);
    }

    fn write(&self, shared: &Shared, mut to: &TcpStream, bytes: &[u8], rng: &mut Random) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match self.faults.pieces {
                Pieces::AsTheyCome => rest.len(),
                Pieces::Random => rng.within(&(1..=rest.len() as u64)) as usize,
                Pieces::Single => 1,
            };
            let (mut piece, after) = rest.split_at(length);
            if let Some(delay) = &self.faults.delay {
                thread::sleep(Duration::from_millis(rng.within(delay).min(LONGEST_DELAY)));
            }
            while !piece.is_empty() {
                if !shared.may_pass(self) {
                    return false;
                }
                match to.write(piece) {
                    Ok(written) => piece = &piece[written..],
                    Err(error) if is_in_vain(&error) => {}
                    Err(_) => return false,
                }
            }
            rest = after;
        }
        true
    }

    /// Finds out who dialled: in plain mode the third message of the handshake says so, after the preamble and the
    /// first one.
    fn listen_in(&self, bytes: &[u8]) {
        let mut opening = lock(&self.opening);
        if opening.dialler.is_some() || opening.bytes.len() >= MAX_HANDSHAKE {
            return;
        }
        let room = MAX_HANDSHAKE - opening.bytes.len();
        opening.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        opening.dialler = third_message(&opening.bytes);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The id in the second record, if that is a third message.
fn third_message(bytes: &[u8]) -> Option<NodeId> {
    let (_, rest) = record(bytes.get(PREAMBLE..)?)?;
    let (third, _) = record(rest)?;
    let (before, id) = third.split_at_checked(BEFORE_ID)?;
    let (id, after) = id.split_first_chunk()?;
    (before[0] == THIRD && after.len() == AFTER_ID).then(|| NodeId::from_bytes(*id))
}

/// The first record, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn is_in_vain(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// The other end gets a reset when the socket is closed, and whoever reads from it here stops at once.
fn abort(stream: &TcpStream) {
    // A socket that is gone already needs neither.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_dialled_is_found_in_the_third_message_and_not_before_it_is_whole() {
        let id = [9; 16];
        let mut bytes = b"the preamble\x00\x05first\x00\x29\x03".to_vec();
        bytes.extend([5; 16]);
        bytes.extend(id);
        bytes.extend([0; 8]);
        assert_eq!(third_message(&bytes), Some(NodeId::from_bytes(id)));
        assert_eq!(third_message(&bytes[..bytes.len() - 1]), None);
    }
}
