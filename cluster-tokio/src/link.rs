//! One connection: a task that reads and writes it, and senders that may write it themselves.
//!
//! # Who writes
//!
//! Frames of a link are pulled from the core, sealed by its channel and written to its socket under the link's io
//! lock, in one go: out of order they would break the stream. The link's task does so, and a sender may, if the link
//! is idle: that saves the hop to another task, about half of a round trip. A sender in a tight loop would then
//! pay one system call per message, so it leaves the work to the task if the last write is only
//! [`INLINE_GAP`] ago; the task finds all that came together meanwhile and writes up to a mebibyte at once.
//!
//! # Why no output is left behind
//!
//! The core announces output once ([`Action::Send`](cluster_core::Action::Send)) and again only after `poll_frame`
//! has returned `None`. Under the node's lock the announcement is stored in the flag [`SEND`]. Then:
//!
//! 1. Whoever has stored the flag goes on to do one of two things: it takes the io lock and calls [`Io::write`], or
//!    it calls [`Link::wake`], which is remembered if the task is not waiting. If it gets the lock but `write` ends
//!    otherwise than with [`Written::All`], it calls `wake` as well. (Exempt is the task itself, and whoever calls
//!    `write`, because of 2.)
//! 2. `write` clears the flag *before* it pulls, remembers in [`Io::more`] (under the io lock) if it stopped pulling
//!    before `None`, and returns `All` only if nothing was left in the channel, in `more`, and in the flag.
//! 3. The task calls `write` in each turn, after it was woken and before it waits again, and waits for nothing but
//!    the socket if `write` says [`Written::Full`], for nothing at all if it says [`Written::Some`].
//!
//! So when the task sleeps without waiting for the socket, its last `write` left nothing; output announced since
//! then was either written completely by a sender, or there is a wake-up that the task has not consumed.
//! A sender that fails to get the io lock need not care who holds it: the wake-up makes the task look after that.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cluster_core::adapter::Pulse;
use cluster_core::{Channel, ChannelError, CloseMode, Disconnect, Frame, Input, Instant, LinkId};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use crate::driver::{Caller, Shared, State};

/// The most links that a sender writes to by itself. A broadcast to more leaves them to their tasks, which run in
/// parallel.
pub(crate) const INLINE_LINKS: usize = 4;

/// A sender does not write by itself if the link was last written to less than this ago: less than a round trip on
/// loopback, more than the time between the sends of a tight loop.
const INLINE_GAP: Duration = Duration::from_micros(10);

/// How far the frames pulled are ahead of the bytes written, at most and about.
const PULL_AHEAD: usize = 1 << 20;

/// The most pieces of one vectored write.
const PIECES: usize = 64;

/// What one read takes at most.
const READ_BUFFER: usize = 256 << 10;

/// A read that fills less than this part of its buffer is copied, so that what is kept of it never pins more than
/// this times its size.
const PINNED: usize = 4;

/// The most read buffers kept for the next reads, over all links. Idle links hold none.
const BUFFERS: usize = 16;

/// The most inputs handed to the core under one lock.
const INPUTS: usize = 256;

/// After this many turns without a pause a link's task lets others run.
const TURNS: u32 = 16;

/// The core has announced output.
const SEND: u8 = 1;
/// The core has asked for an end, after what is left is written.
const FLUSH: u8 = 2;
/// The core has asked for an end at once.
const ABORT: u8 = 4;

/// What the node and the senders know of a link.
pub(crate) struct Link {
    id: LinkId,
    flags: AtomicU8,
    wake: Notify,
    /// When the link was last written to.
    written: AtomicU64,
    /// Set when the connection stands.
    io: OnceLock<Mutex<Io>>,
}

/// What the io lock guards.
struct Io {
    channel: Channel,
    /// `None` once our direction has ended.
    socket: Option<OwnedWriteHalf>,
    /// Frames were pulled, but not until `None`.
    more: bool,
    /// How often the core hears of reads without a whole frame, and of writes that took only a part.
    read: Pulse,
    written: Pulse,
    /// Empty between calls; kept for its capacity.
    frames: Vec<Frame>,
}

/// What [`Io::write`] has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// Nothing.
    All,
    /// Something that the socket may take at once.
    Some,
    /// Something that the socket does not take now.
    Full,
}

/// What a read has found.
enum Found {
    Frames,
    /// Nothing, after all.
    Nothing,
    End(Disconnect),
}

/// Where a link's connection comes from.
enum Origin {
    Dial(SocketAddr),
    Accepted(TcpStream),
}

/// Starts a task that opens a connection and serves it.
pub(crate) fn dial(shared: &Arc<Shared>, state: &mut State, id: LinkId, address: SocketAddr) {
    begin(shared, state, id, Origin::Dial(address));
}

/// Starts a task that serves a connection that the core has admitted.
pub(crate) fn accept(shared: &Arc<Shared>, state: &mut State, id: LinkId, stream: TcpStream) {
    begin(shared, state, id, Origin::Accepted(stream));
}

fn begin(shared: &Arc<Shared>, state: &mut State, id: LinkId, origin: Origin) {
    let Some(channel) = state.core.channel(id) else {
        // The core has changed its mind already, and waits to hear that the link is gone.
        let now = shared.clock.now();
        return state.core.handle(now, Input::Disconnected { link: id, cause: Disconnect::Closed });
    };
    let link = Arc::new(Link {
        id,
        flags: AtomicU8::new(0),
        wake: Notify::new(),
        written: AtomicU64::new(0),
        io: OnceLock::new(),
    });
    state.links.insert(id, Arc::clone(&link));
    shared.spawn(state, run(Arc::clone(shared), link, channel, origin));
}

/// A link's task, from its dial or admission to the report that it is gone.
async fn run(shared: Arc<Shared>, link: Arc<Link>, channel: Channel, origin: Origin) {
    let stream = match origin {
        Origin::Accepted(stream) => Ok(stream),
        Origin::Dial(address) => connect(&link, address).await,
    };
    let cause = match stream {
        Ok(stream) => serve(&shared, &link, channel, stream).await,
        Err(cause) => cause,
    };
    tracing::trace!(node = ?shared.id, link = link.id.as_u64(), ?cause, "link ended");
    shared.enter(Caller::Other, |state, now| {
        state.links.remove(&link.id);
        state.core.handle(now, Input::Disconnected { link: link.id, cause });
    });
}

async fn connect(link: &Link, address: SocketAddr) -> Result<TcpStream, Disconnect> {
    let stream = tokio::select! {
        biased;
        () = link.closing() => return Err(Disconnect::Closed),
        stream = TcpStream::connect(address) => stream.map_err(|error| dial_failure(&error))?,
    };
    // A dial to a port of this host that nobody listens at can, by chance, meet itself.
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(remote)) if local == remote => Err(Disconnect::Refused),
        _ => Ok(stream),
    }
}

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

/// Runs a connection until it ends, and says why it did. Nothing of it is open any more then.
async fn serve(shared: &Arc<Shared>, link: &Link, channel: Channel, stream: TcpStream) -> Disconnect {
    // Without it small messages wait for the acknowledgement of earlier ones; that it fails is no reason to fail.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return Disconnect::Reset };
    let (socket, write) = stream.into_split();
    let io = Io {
        channel,
        socket: Some(write),
        more: false,
        read: Pulse::default(),
        written: Pulse::default(),
        frames: Vec::new(),
    };
    let io = link.io.get_or_init(|| Mutex::new(io));
    let mut connection = Connection { shared, link, io, socket, local };
    let cause = connection.exchange().await;
    match cause {
        End::Abort => connection.abort(),
        End::Flush => connection.flush().await,
        End::Lost(cause) => connection.end(cause),
    }
}

/// Why a connection is served no longer.
enum End {
    Abort,
    Flush,
    Lost(Disconnect),
}

/// A connection in the hands of its task.
struct Connection<'a> {
    shared: &'a Arc<Shared>,
    link: &'a Link,
    io: &'a Mutex<Io>,
    socket: OwnedReadHalf,
    local: SocketAddr,
}

impl Connection<'_> {
    async fn exchange(&mut self) -> End {
        let mut turns = 0;
        loop {
            let flags = self.link.flags.load(Ordering::Acquire);
            if flags & ABORT != 0 {
                return End::Abort;
            }
            if flags & FLUSH != 0 {
                return End::Flush;
            }
            let written = match self.write() {
                Ok(written) => written,
                Err(_) => {
                    // What the other side said before, such as why it ends, is still to be read.
                    while matches!(self.read().await, Found::Frames) {}
                    return End::Lost(Disconnect::Reset);
                }
            };
            if self.wait(written, true).await {
                match self.read().await {
                    Found::Frames => {}
                    Found::Nothing => continue,
                    // What arrived last may have asked for a flush, which includes reading to the end.
                    Found::End(_) if self.link.is_closing() => continue,
                    Found::End(cause) => return End::Lost(cause),
                }
            }
            turns += 1;
            if turns % TURNS == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits until there is something to do, according to what the last write has left. Says whether the socket may
    /// have something to read.
    async fn wait(&self, written: Written, read: bool) -> bool {
        let interest = match (read, written) {
            (true, Written::Full) => Interest::READABLE | Interest::WRITABLE,
            (true, Written::Some | Written::All) => Interest::READABLE,
            (false, _) => Interest::WRITABLE,
        };
        tokio::select! {
            biased;
            () = self.link.wake.notified() => false,
            // An error is found again by the read or the write that follows.
            ready = self.socket.ready(interest) => ready.map_or(true, |ready| ready.is_readable()),
            () = std::future::ready(()), if written == Written::Some => false,
        }
    }

    /// Reads once, and hands what came to the core.
    async fn read(&mut self) -> Found {
        let mut buffer = self.shared.buffers.take();
        let read = self.read_now(&mut buffer).await;
        let bytes = match read {
            Some(Ok(0)) | Some(Err(_)) | None => Bytes::new(),
            Some(Ok(length)) if length < READ_BUFFER / PINNED => Bytes::copy_from_slice(&buffer),
            Some(Ok(_)) => buffer.split().freeze(),
        };
        self.shared.buffers.put(buffer);
        match read {
            None => Found::Nothing,
            Some(Ok(0)) => Found::End(Disconnect::Ended),
            Some(Err(_)) => Found::End(Disconnect::Reset),
            Some(Ok(_)) => self.receive(bytes),
        }
    }

    /// Reads what is there now, if anything is.
    async fn read_now(&mut self, buffer: &mut BytesMut) -> Option<io::Result<usize>> {
        tokio::select! {
            biased;
            read = self.socket.read_buf(buffer) => Some(read),
            () = std::future::ready(()) => None,
        }
    }

    fn receive(&self, bytes: Bytes) -> Found {
        self.lock().channel.receive(bytes);
        let mut inputs = Vec::new();
        loop {
            let failure = self.parse(&mut inputs);
            let last = inputs.len() < INPUTS;
            self.shared.enter(Caller::Link(self.link.id), |state, now| state.core.handle_all(now, inputs.drain(..)));
            if let Some(error) = failure {
                return Found::End(Disconnect::Channel(error));
            }
            // Nothing is handed over once the core has closed the link; that it ignores it is another matter.
            if last || self.link.is_closing() {
                return Found::Frames;
            }
        }
    }

    /// Takes what the channel has understood, a bounded number at a time.
    fn parse(&self, inputs: &mut Vec<Input>) -> Option<ChannelError> {
        let link = self.link.id;
        let mut io = self.lock();
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

    /// Drops what waits, and resets the connection.
    fn abort(self) -> Disconnect {
        let _ = self.socket.as_ref().set_zero_linger();
        if let Some(write) = self.lock().socket.take() {
            write.forget();
        }
        Disconnect::Closed
    }

    /// Writes what waits, ends our direction, and waits for the other side to end its own. The core aborts it if it
    /// takes too long.
    async fn flush(mut self) -> Disconnect {
        let mut reading = true;
        let mut writing = true;
        while reading || writing {
            if self.link.flags.load(Ordering::Acquire) & ABORT != 0 {
                return self.abort();
            }
            let mut written = Written::All;
            if writing {
                match self.write() {
                    Ok(left) => written = left,
                    Err(_) => return self.end(Disconnect::Closed),
                }
                if written == Written::All {
                    writing = false;
                    self.lock().socket = None;
                    continue;
                }
            }
            if self.wait(written, reading).await {
                let mut buffer = self.shared.buffers.take();
                let read = self.read_now(&mut buffer).await;
                buffer.clear();
                self.shared.buffers.put(buffer);
                reading = matches!(read, None | Some(Ok(1..)));
            }
        }
        Disconnect::Closed
    }

    /// Writes what the channel still has to say, such as why it refuses, if the socket takes it, and lets go.
    fn end(self, cause: Disconnect) -> Disconnect {
        self.lock().finish();
        // Unread bytes would turn the end into a reset, which could overtake that.
        let mut buffer = [0; 4_096];
        let mut unread = READ_BUFFER;
        while unread > 0 {
            match self.socket.try_read(&mut buffer) {
                Ok(length @ 1..) => unread = unread.saturating_sub(length),
                _ => break,
            }
        }
        cause
    }

    fn write(&self) -> io::Result<Written> {
        self.lock().write(self.shared, self.link)
    }

    fn lock(&self) -> MutexGuard<'_, Io> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    pub(crate) fn id(&self) -> LinkId {
        self.id
    }

    /// Under the node's lock: the core has announced output. [`wake`](Link::wake) or
    /// [`send_at_once`](Link::send_at_once) must follow.
    pub(crate) fn announce(&self) {
        self.flags.fetch_or(SEND, Ordering::AcqRel);
    }

    /// Under the node's lock: the core wants an end. [`wake`](Link::wake) must follow.
    pub(crate) fn close(&self, mode: CloseMode) {
        let flag = match mode {
            CloseMode::Flush => FLUSH,
            CloseMode::Abort => ABORT,
        };
        self.flags.fetch_or(flag, Ordering::AcqRel);
    }

    /// Makes the task look at everything. Remembered if it does not wait at present.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Writes from the sender's own call if that is of use, and leaves to the task what is then left.
    pub(crate) fn send_at_once(&self, shared: &Arc<Shared>, now: Instant) {
        let rested = now - Instant::from_nanos(self.written.load(Ordering::Relaxed)) >= INLINE_GAP;
        let io = self.io.get().filter(|_| rested).and_then(|io| io.try_lock().ok());
        let written = io.map(|mut io| io.write(shared, self));
        if !matches!(written, Some(Ok(Written::All))) {
            self.wake();
        }
    }

    fn is_closing(&self) -> bool {
        self.flags.load(Ordering::Acquire) & (FLUSH | ABORT) != 0
    }

    async fn closing(&self) {
        while !self.is_closing() {
            self.wake.notified().await;
        }
    }
}

impl Io {
    /// Pulls, seals and writes once. See the head of this file for what it owes to whom.
    fn write(&mut self, shared: &Arc<Shared>, link: &Link) -> io::Result<Written> {
        // Pulling while earlier output waits would look to the core as if the socket took some.
        if self.channel.output().is_empty() {
            self.pull(shared, link);
        }
        let output = self.channel.output();
        if !output.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut pieces = 0;
            let mut length = 0;
            for (slice, piece) in slices.iter_mut().zip(output.pieces()) {
                *slice = IoSlice::new(piece);
                pieces += 1;
                length += piece.len();
            }
            let socket = self.socket.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
            let written = match socket.try_write_vectored(&slices[..pieces]) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Full),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Written::Some),
                Err(error) => return Err(error),
            };
            output.advance(written);
            let now = shared.clock.now();
            link.written.store(now.as_nanos(), Ordering::Relaxed);
            if written < length {
                if self.written.beat(now) {
                    shared.enter(Caller::Link(link.id), |state, now| {
                        state.core.handle(now, Input::BytesWritten { link: link.id });
                    });
                }
                return Ok(Written::Full);
            }
        }
        let announced = link.flags.load(Ordering::Acquire) & SEND != 0;
        let left = announced || self.more || !self.channel.output().is_empty();
        Ok(if left { Written::Some } else { Written::All })
    }

    fn pull(&mut self, shared: &Arc<Shared>, link: &Link) {
        let announced = link.flags.fetch_and(!SEND, Ordering::AcqRel) & SEND != 0;
        if !announced && !self.more {
            return;
        }
        self.more = shared.pull(link.id, PULL_AHEAD, &mut self.frames);
        for frame in self.frames.drain(..) {
            self.channel.send(frame);
        }
        self.frames.shrink_to(PIECES);
    }

    /// Ends our direction after one more try to write what the channel has.
    fn finish(&mut self) {
        if let Some(socket) = self.socket.take() {
            let output = self.channel.output();
            let slices: Vec<_> = output.pieces().take(PIECES).map(IoSlice::new).collect();
            if !slices.is_empty() {
                let _ = socket.try_write_vectored(&slices);
            }
        }
    }
}

/// Read buffers for whoever has something to read right now.
///
/// The memory of a buffer whose content went to the core comes back when the core lets go of it. The queue gives that
/// as much time as it can; fresh memory would cost a page fault for every 4 KiB.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<VecDeque<BytesMut>>);

impl Buffers {
    /// Lets go of one, so that a node at rest ends up with none. Called with every tick.
    pub(crate) fn shrink(&self) {
        drop(self.lock().pop_front());
    }

    /// An empty buffer with room for one read.
    fn take(&self) -> BytesMut {
        let mut kept = self.lock();
        if let Some(mut oldest) = kept.pop_front() {
            if oldest.try_reclaim(READ_BUFFER) {
                return oldest;
            }
            kept.push_front(oldest);
        }
        drop(kept);
        BytesMut::with_capacity(READ_BUFFER)
    }

    fn put(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut kept = self.lock();
        if kept.len() == BUFFERS {
            kept.pop_front();
        }
        kept.push_back(buffer);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<BytesMut>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
