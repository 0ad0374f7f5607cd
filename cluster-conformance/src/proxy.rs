//! A proxy on loopback that treats connections badly, by seed.

mod pipe;
mod random;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cluster_core::NodeId;
use socket2::SockRef;

use self::pipe::Pipe;
use self::random::Random;
use crate::arm::Way;

/// The most connections of one proxy at a time. Further ones are closed at once.
pub const MAX_CONNECTIONS: usize = 256;

/// How long a proxy tries to connect to where it leads.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a proxy treats the connections that come from now on. The default passes everything on as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// In which pieces bytes are passed on.
    pub pieces: Pieces,
    /// How long a piece is held back, drawn for each from this range of milliseconds; at most a second.
    pub delay: Option<RangeInclusive<u64>>,
    /// After how many bytes in either direction a connection ends, drawn for each direction from this range. `None`: it
    /// lasts as long as its ends want.
    pub life: Option<RangeInclusive<u64>>,
    /// How it ends then.
    pub end: End,
}

/// In which pieces bytes are passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pieces {
    /// As they come, up to 64 KiB at a time.
    #[default]
    AsTheyCome,
    /// Of random length.
    Random,
    /// Of one byte each: slow.
    Single,
}

/// How a connection ends that has lived its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// Both sides are told that there is nothing more to read.
    #[default]
    Close,
    /// Both sides get a reset; what they have not read is lost.
    Reset,
    /// Nobody is told anything, and nothing passes any more in either direction.
    Stall,
    /// The dialled side gets a reset, the side that dialled is told nothing: half open.
    HalfOpen,
}

/// A proxy: a port of loopback from which connections are passed on, each with two threads of its own. What happens to
/// them is drawn from a seed; threads, and with them the moments, are the operating system's.
///
/// At most [`MAX_CONNECTIONS`] at a time, 64 KiB of buffer for each direction. Dropping it ends every connection and
/// thread.
///
/// ```
/// use cluster_conformance::{Faults, Pieces, Proxy, Way};
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let proxy = Proxy::bind(1, Faults { pieces: Pieces::Single, ..Faults::default() })?;
/// proxy.lead_to(listener.local_addr()?);
///
/// let mut near = TcpStream::connect(proxy.address())?;
/// near.write_all(b"hello")?;
/// let (mut far, _) = listener.accept()?;
/// let mut buffer = [0; 5];
/// far.read_exact(&mut buffer)?;
/// assert_eq!(&buffer, b"hello");
///
/// assert_eq!(proxy.reset(None), 1);
/// assert!(near.read(&mut buffer).is_err(), "the connection is reset");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

/// What the threads of a proxy share.
struct Shared {
    state: Mutex<State>,
    /// The state has changed.
    changed: Condvar,
    accepted: AtomicUsize,
    /// By how they ended.
    ended: [AtomicUsize; 4],
}

struct State {
    rng: Random,
    faults: Faults,
    target: Option<SocketAddr>,
    /// Nothing passes.
    cut: bool,
    /// Nothing passes over connections that these have dialled.
    cut_from: BTreeSet<NodeId>,
    pipes: Vec<Arc<Pipe>>,
    closed: bool,
}

impl Proxy {
    /// A proxy at a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn bind(seed: u64, faults: Faults) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let state = State {
            rng: Random::new(seed),
            faults,
            target: None,
            cut: false,
            cut_from: BTreeSet::new(),
            pipes: Vec::new(),
            closed: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            accepted: AtomicUsize::new(0),
            ended: Default::default(),
        });
        let listening = thread::Builder::new().name("proxy".into()).spawn({
            let shared = Arc::clone(&shared);
            move || listen(&shared, &listener)
        })?;
        Ok(Proxy { address, shared, listening: Some(listening) })
    }

    /// Treats connections that come from now on like this.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.lock().faults = faults;
    }

    /// How many connections have come.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections have ended by what the proxy did to them.
    #[must_use]
    pub fn cuts(&self) -> usize {
        self.shared.ended.iter().map(|ended| ended.load(Ordering::SeqCst)).sum()
    }

    /// How many of these have ended in this way.
    #[must_use]
    pub fn cuts_by(&self, end: End) -> usize {
        self.shared.ended[end as usize].load(Ordering::SeqCst)
    }

    /// Closes every connection, as if each side had said goodbye to the other, and says how many there were.
    pub fn close(&self) -> usize {
        self.shared.end(|_| true, End::Close)
    }

    /// Makes every connection half open: the dialled side gets a reset, the other is told nothing. Says how many there
    /// were.
    pub fn half_open(&self) -> usize {
        self.shared.end(|_| true, End::HalfOpen)
    }
}

impl Way for Proxy {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn lead_to(&self, node: SocketAddr) {
        self.shared.lock().target = Some(node);
        self.shared.changed.notify_all();
    }

    fn cut(&self, from: Option<NodeId>) {
        let mut state = self.shared.lock();
        match from {
            Some(id) => drop(state.cut_from.insert(id)),
            None => state.cut = true,
        }
    }

    fn heal(&self, from: Option<NodeId>) {
        let mut state = self.shared.lock();
        match from {
            Some(id) => drop(state.cut_from.remove(&id)),
            None => state.cut = false,
        }
        self.shared.changed.notify_all();
    }

    fn reset(&self, from: Option<NodeId>) -> usize {
        self.shared.end(|pipe| from.is_none() || pipe.dialler() == from, End::Reset)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.closed = true;
            state.pipes.iter().for_each(|pipe| pipe.let_go());
        }
        self.shared.changed.notify_all();
        // Its own connection gets the listener out of accept.
        let woken = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT);
        if let (Ok(_), Some(listening)) = (woken, self.listening.take()) {
            // It ends every pipe, and does not panic.
            let _ = listening.join();
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while nothing may pass over a pipe; `false`: it has ended.
    fn may_pass(&self, pipe: &Pipe) -> bool {
        let mut state = self.lock();
        loop {
            if state.closed || pipe.has_ended() {
                return false;
            }
            if !state.cut && !pipe.dialler().is_some_and(|id| state.cut_from.contains(&id)) {
                return true;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A pipe has ended because its life was over.
    fn has_cut(&self, how: End) {
        self.ended[how as usize].fetch_add(1, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Ends the pipes that are wanted, in the same way.
    fn end(&self, mut wanted: impl FnMut(&Pipe) -> bool, how: End) -> usize {
        let state = self.lock();
        let ended = state.pipes.iter().filter(|pipe| wanted(pipe) && pipe.end(how)).count();
        drop(state);
        self.ended[how as usize].fetch_add(ended, Ordering::SeqCst);
        self.changed.notify_all();
        ended
    }
}

/// Accepts connections until the proxy is dropped, then waits for the threads of all of them.
fn listen(shared: &Arc<Shared>, listener: &TcpListener) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let accepted = listener.accept();
        threads.retain(|thread| !thread.is_finished());
        if shared.lock().closed {
            break;
        }
        match accepted {
            Ok((near, _)) if threads.len().max(shared.lock().pipes.len()) < MAX_CONNECTIONS => {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(shared);
                // Without a thread for it the connection is closed.
                threads.extend(thread::Builder::new().name("proxied".into()).spawn(move || carry(&shared, near)));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            // Out of descriptors: some connection ends sooner or later.
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    for thread in threads {
        // It has nothing to tell.
        let _ = thread.join();
    }
}

/// Passes one connection on until it ends.
fn carry(shared: &Arc<Shared>, near: TcpStream) {
    let Some(target) = wait_for_target(shared) else { return };
    let Ok(far) = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT) else {
        // Nobody is there: whoever dialled learns it as soon as a proxy can tell.
        let _ = SockRef::from(&near).set_linger(Some(Duration::ZERO));
        return;
    };
    let (near, far) = (Arc::new(near), Arc::new(far));
    let (pipe, seeds) = {
        let mut state = shared.lock();
        if state.closed {
            return;
        }
        let pipe = Arc::new(Pipe::new(&near, &far, state.faults.clone()));
        state.pipes.push(Arc::clone(&pipe));
        (pipe, [state.rng.next(), state.rng.next()])
    };
    let outward = thread::Builder::new().name("proxied".into()).spawn({
        let (shared, pipe, near, far) = (Arc::clone(shared), Arc::clone(&pipe), Arc::clone(&near), Arc::clone(&far));
        move || pipe.forward(&shared, &near, &far, true, Random::new(seeds[0]))
    });
    if let Ok(outward) = outward {
        pipe.forward(shared, &far, &near, false, Random::new(seeds[1]));
        // Sockets are closed when nobody holds them any more.
        drop((near, far));
        // It has nothing to tell.
        let _ = outward.join();
    }
    if !(pipe.has_ended() && pipe.is_kept()) {
        shared.lock().pipes.retain(|other| !Arc::ptr_eq(other, &pipe));
    }
}

fn wait_for_target(shared: &Shared) -> Option<SocketAddr> {
    let mut state = shared.lock();
    loop {
        if state.closed {
            return None;
        }
        if let (Some(target), false) = (state.target, state.cut) {
            return Some(target);
        }
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests;
