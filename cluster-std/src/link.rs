//! One connection: the thread that opens and reads it, and what others know of it. Writing is in [`crate::writer`].
//!
//! The thread blocks in its read with a buffer of [`IDLE_BUFFER`] bytes. When a read fills that, more is likely to wait,
//! and it goes on with a large pooled buffer until a read brings little, or nothing comes for [`BURST_PAUSE`].
//!
//! Nothing ends a blocked call but the end of its socket: whoever wants the link to end shuts the socket down, and the
//! thread finds out why by the link's flags.

use std::convert::Infallible;
use std::io::{self, Read as _};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cluster_core::{ChannelError, CloseMode, Disconnect, Input, Instant, LinkId};
use socket2::{Domain, Protocol, Socket, Type};

use crate::buffers::READ_BUFFER;
use crate::driver::{Caller, Shared, State};
use crate::turn::{SEND, Turn};
use crate::writer::{Io, Written};

/// What a thread of an idle link reads into.
pub(crate) const IDLE_BUFFER: usize = 4 << 10;

/// How long a link that was receiving much keeps its large buffer without receiving anything.
const BURST_PAUSE: Duration = Duration::from_millis(100);

/// A sender does not write by itself if the link was last written to less than this ago: less than a round trip on
/// loopback, more than the time between the sends of a tight loop.
const INLINE_GAP: Duration = Duration::from_micros(10);

/// The most inputs handed to the core under one lock.
const INPUTS: usize = 256;

/// The core has asked for an end, after what is left is written.
pub(crate) const FLUSH: u8 = 2;
/// The core has asked for an end at once, or the node has stopped.
pub(crate) const ABORT: u8 = 4;

/// What the node, the senders and the two threads of a link know of it.
pub(crate) struct Link {
    id: LinkId,
    pub(crate) flags: AtomicU8,
    /// When the link was last written to.
    pub(crate) written: AtomicU64,
    pub(crate) io: Mutex<Io>,
    pub(crate) turn: Turn,
    /// The socket from before it is connected until nobody uses it any more, for ending blocked calls.
    line: Mutex<Line>,
    /// Why the link had to be given up on this side.
    failure: OnceLock<Disconnect>,
}

#[derive(Default)]
struct Line {
    socket: Option<Arc<Socket>>,
    dialing: bool,
}

/// Where a link's connection comes from.
enum Origin {
    Dial { address: SocketAddr, timeout: Duration },
    Accepted(Socket),
}

/// Starts a thread that opens a connection and serves it.
pub(crate) fn dial(shared: &Arc<Shared>, state: &mut State, id: LinkId, address: SocketAddr) {
    // The core closes a dial that takes too long; this is for systems that do not let it.
    let timeout = state.core.timing().handshake_timeout;
    begin(shared, state, id, Origin::Dial { address, timeout });
}

/// Starts a thread that serves a connection that the core has admitted.
pub(crate) fn accept(shared: &Arc<Shared>, state: &mut State, id: LinkId, socket: Socket) {
    begin(shared, state, id, Origin::Accepted(socket));
}

fn begin(shared: &Arc<Shared>, state: &mut State, id: LinkId, origin: Origin) {
    let begun = match state.core.channel(id) {
        // The core has changed its mind already, and waits to hear that the link is gone.
        None => Err(Disconnect::Closed),
        Some(channel) => {
            let link = Arc::new(Link {
                id,
                flags: AtomicU8::new(0),
                written: AtomicU64::new(0),
                io: Mutex::new(Io::new(channel)),
                turn: Turn::default(),
                line: Mutex::default(),
                failure: OnceLock::new(),
            });
            let (node, served) = (Arc::clone(shared), Arc::clone(&link));
            let run = move || run(&node, &served, origin);
            let spawned = shared.spawn(state, "cluster-link", Some(Arc::clone(&link)), run);
            spawned.map(|()| link).map_err(|_| Disconnect::Exhausted)
        }
    };
    match begun {
        Ok(link) => drop(state.links.insert(id, link)),
        Err(cause) => state.core.handle(shared.clock.now(), Input::Disconnected { link: id, cause }),
    }
}

/// A link's thread, from its dial or admission to the report that it is gone.
fn run(shared: &Arc<Shared>, link: &Arc<Link>, origin: Origin) {
    let cause = match link.open(origin) {
        Ok(socket) => serve(shared, link, &socket),
        Err(cause) => cause,
    };
    link.let_go();
    tracing::trace!(node = ?shared.id, link = link.id.as_u64(), ?cause, "link ended");
    shared.enter(Caller::Other, |state, now| {
        state.links.remove(&link.id);
        if !state.is_stopped() {
            state.core.handle(now, Input::Disconnected { link: link.id, cause });
        }
    });
}

/// Runs a connection until it ends, and says why it did. Nobody but the caller uses its socket any more then.
fn serve(shared: &Arc<Shared>, link: &Arc<Link>, socket: &Arc<Socket>) -> Disconnect {
    // Without it small messages wait for the acknowledgement of earlier ones; that it fails is no reason to fail.
    let _ = socket.set_tcp_nodelay(true);
    let Some(local) = socket.local_addr().ok().and_then(|local| local.as_socket()) else { return Disconnect::Reset };
    link.io().socket = Some(Arc::clone(socket));
    if link.is_closing() {
        // A writer that was woken before has found no socket.
        return Disconnect::Closed;
    }
    // The side that dialled speaks first.
    link.send_at_once(shared);
    let connection = Connection { shared, link, socket, local };
    match connection.read_all() {
        Ok(never) => match never {},
        Err(found) => connection.end(found),
    }
}

/// A connection in the hands of its thread.
struct Connection<'a> {
    shared: &'a Arc<Shared>,
    link: &'a Arc<Link>,
    socket: &'a Socket,
    local: SocketAddr,
}

impl Connection<'_> {
    fn read_all(&self) -> Result<Infallible, Disconnect> {
        let mut buffer = [0; IDLE_BUFFER];
        loop {
            let length = self.read(&mut buffer)?;
            self.receive(Bytes::copy_from_slice(&buffer[..length]))?;
            if length == buffer.len() && self.socket.set_read_timeout(Some(BURST_PAUSE)).is_ok() {
                self.read_burst()?;
                self.socket.set_read_timeout(None).map_err(|_| Disconnect::Reset)?;
            }
        }
    }

    /// Reads as long as much comes.
    fn read_burst(&self) -> Result<(), Disconnect> {
        let mut length = IDLE_BUFFER;
        while length >= IDLE_BUFFER {
            let mut buffer = self.shared.buffers.take();
            length = self.read(buffer.space())?;
            let bytes = buffer.bytes(length);
            self.shared.buffers.put(buffer);
            self.receive(bytes)?;
        }
        Ok(())
    }

    /// Reads once: some bytes, or none if there are none for now.
    fn read(&self, buffer: &mut [u8]) -> Result<usize, Disconnect> {
        let mut socket = self.socket;
        match socket.read(buffer) {
            Ok(0) => Err(Disconnect::Ended),
            Ok(length) => Ok(length),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(0),
                _ => Err(Disconnect::Reset),
            },
        }
    }

    /// Hands what came to the core, and writes what that leads to.
    fn receive(&self, bytes: Bytes) -> Result<(), Disconnect> {
        // Nothing is handed over once the core has closed the link; that it ignores it is another matter.
        if bytes.is_empty() || self.link.is_closing() {
            return Ok(());
        }
        self.link.io().channel.receive(bytes);
        let mut inputs = Vec::new();
        loop {
            let failure = self.parse(&mut inputs);
            let last = inputs.len() < INPUTS;
            self.shared.enter(Caller::Reader(self.link.id), |state, now| state.core.handle_all(now, inputs.drain(..)));
            if let Some(error) = failure {
                return Err(Disconnect::Channel(error));
            }
            if last || self.link.is_closing() {
                self.link.send_at_once(self.shared);
                return Ok(());
            }
        }
    }

    /// Takes what the channel has understood, a bounded number at a time.
    fn parse(&self, inputs: &mut Vec<Input>) -> Option<ChannelError> {
        let link = self.link.id;
        let mut io = self.link.io();
        while inputs.len() < INPUTS {
            match io.channel.poll() {
                Ok(Some(received)) => inputs.push(Input::received(link, self.local, received)),
                Ok(None) if inputs.is_empty() && io.read.beat(self.shared.clock.now()) => {
                    inputs.push(Input::BytesRead { link });
                }
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
        None
    }

    /// Ends what is left of the connection, given what the last read has found.
    fn end(self, found: Disconnect) -> Disconnect {
        let flags = self.link.flags.load(Ordering::Acquire);
        if flags & FLUSH != 0 && flags & ABORT == 0 {
            // The other side has ended its direction. Ours ends when the writer is done, or is aborted.
            self.link.wake_writer(self.shared);
            self.link.turn.join();
        } else if flags & ABORT == 0 {
            // The channel may have a last word, such as why it refuses.
            self.link.io().write_last();
        }
        let _ = self.socket.shutdown(Shutdown::Both);
        self.link.turn.end();
        if self.link.flags.load(Ordering::Acquire) & ABORT != 0 {
            let _ = self.socket.set_linger(Some(Duration::ZERO));
            return Disconnect::Closed;
        }
        if flags & FLUSH != 0 {
            return Disconnect::Closed;
        }
        self.drop_unread();
        self.link.failure.get().cloned().unwrap_or(found)
    }

    /// Bytes that nobody has read would turn the end into a reset, which could overtake the last word.
    fn drop_unread(&self) {
        let mut unread = READ_BUFFER;
        let mut buffer = [0; IDLE_BUFFER];
        if self.socket.set_nonblocking(true).is_ok() {
            let mut socket = self.socket;
            while let Ok(length @ 1..) = socket.read(&mut buffer)
                && unread > 0
            {
                unread = unread.saturating_sub(length);
            }
        }
    }
}

impl Link {
    pub(crate) fn id(&self) -> LinkId {
        self.id
    }

    /// Under the node's lock: the core has announced output. [`wake_writer`](Link::wake_writer) or
    /// [`send_at_once`](Link::send_at_once) must follow.
    pub(crate) fn announce(&self) {
        self.flags.fetch_or(SEND, Ordering::AcqRel);
    }

    /// Under the node's lock: the core wants an end. [`end`](Link::end) must follow.
    pub(crate) fn close(&self, mode: CloseMode) {
        let flag = match mode {
            CloseMode::Flush => FLUSH,
            CloseMode::Abort => ABORT,
        };
        self.flags.fetch_or(flag, Ordering::AcqRel);
    }

    /// Makes the link's threads do what the flags say.
    pub(crate) fn end(self: &Arc<Self>, shared: &Arc<Shared>) {
        if self.flags.load(Ordering::Acquire) & ABORT != 0 || self.is_dialing() {
            self.hang_up();
        } else {
            self.wake_writer(shared);
        }
    }

    /// Gives the link up for a reason of our own.
    pub(crate) fn fail(&self, cause: Disconnect) {
        let _ = self.failure.set(cause);
        self.hang_up();
    }

    /// Ends every call that is blocked in the socket. What was received before can still be read.
    pub(crate) fn hang_up(&self) {
        if let Some(socket) = &self.line().socket {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn is_dialing(&self) -> bool {
        self.line().dialing
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.flags.load(Ordering::Acquire) & (FLUSH | ABORT) != 0
    }

    /// Whether the last write is long enough ago for a sender to write by itself.
    pub(crate) fn has_rested(&self, now: Instant) -> bool {
        now - Instant::from_nanos(self.written.load(Ordering::Relaxed)) >= INLINE_GAP
    }

    /// Writes what the socket takes at once, and leaves the rest to the writer.
    pub(crate) fn send_at_once(self: &Arc<Self>, shared: &Arc<Shared>) {
        let written = self.io.try_lock().ok().map(|mut io| io.write(shared, self));
        if !matches!(written, Some(Ok(Written::All))) {
            self.wake_writer(shared);
        }
    }

    pub(crate) fn io(&self) -> MutexGuard<'_, Io> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, origin: Origin) -> Result<Arc<Socket>, Disconnect> {
        let opened = match origin {
            Origin::Accepted(socket) => {
                let socket = Arc::new(socket);
                self.line().socket = Some(Arc::clone(&socket));
                Ok(socket)
            }
            Origin::Dial { address, timeout } => self.dial(address, timeout),
        };
        // Whoever closed the link before its socket was known has left it to us.
        if self.is_closing() { Err(Disconnect::Closed) } else { opened.map_err(|error| dial_failure(&error)) }
    }

    fn dial(&self, address: SocketAddr, timeout: Duration) -> io::Result<Arc<Socket>> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        let socket = Arc::new(socket);
        *self.line() = Line { socket: Some(Arc::clone(&socket)), dialing: true };
        let connected =
            if self.is_closing() { Ok(()) } else { socket.connect_timeout(&address.into(), timeout.max(MIN_DIAL)) };
        self.line().dialing = false;
        connected?;
        // A dial to a port of this host that nobody listens at can, by chance, meet itself.
        match (socket.local_addr(), socket.peer_addr()) {
            (Ok(local), Ok(remote)) if local.as_socket() == remote.as_socket() => {
                Err(io::ErrorKind::ConnectionRefused.into())
            }
            _ => Ok(socket),
        }
    }

    /// Nobody finds the socket here any more.
    fn let_go(&self) {
        self.turn.end();
        self.line().socket = None;
        self.io().socket = None;
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A dial that may take no time at all would be no dial.
const MIN_DIAL: Duration = Duration::from_millis(1);

/// What a failed dial says about the address, or about us.
fn dial_failure(error: &io::Error) -> Disconnect {
    // EMFILE and ENFILE have these numbers on every Unix; Windows has its own for the first.
    const NO_DESCRIPTORS: [i32; 3] = [24, 23, 10_024];
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Disconnect::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Disconnect::Reset,
        io::ErrorKind::OutOfMemory => Disconnect::Exhausted,
        _ if error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code)) => Disconnect::Exhausted,
        _ => Disconnect::Unreachable,
    }
}
