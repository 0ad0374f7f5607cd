//! One connection: a task that reads and writes it, and senders that may write it themselves.
//!
//! # Inline writes
//!
//! The link's task writes it, and a sender may, if the link is idle: that saves the hop to another task, about half of a
//! round trip. A sender in a tight loop would then pay one system call per message, so it leaves the work to the task if
//! the last write was a moment ago ([`LinkStatus::has_rested`]); the task finds all that came together meanwhile and
//! writes up to a mebibyte at once.
//!
//! # Why no output is left behind
//!
//! The rules are those of `cluster_host`'s `link.rs`; the writer there is the task here.
//!
//! * [`Link::wake`] is remembered if the task is not waiting.
//! * The task calls `write` in each turn, after it was woken and before it waits again, and waits for nothing but the
//!   socket if `write` returns [`Written::Blocked`], for nothing at all if it returns [`Written::More`].
//! * A sender that fails to get the io lock need not care about its holder: the wake-up makes the task look after that.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::{Bytes, BytesMut};
use cluster_core::{Channel, CloseMode, Disconnect, Instant};
use cluster_host::{Io, LinkStatus, Origin, READ_BUFFER, Written, dial_failure, is_kept_whole, lock};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use crate::tasks::Shell;

/// The most links that a sender writes to by itself. A broadcast to more leaves them to their tasks, which run in
/// parallel.
pub(crate) const INLINE_LINKS: usize = 4;

/// After this many turns without a pause a link's task lets others run.
const TURNS: u32 = 16;

/// What the node and the senders know of a link.
pub(crate) struct Link {
    pub(crate) status: LinkStatus,
    wake: Notify,
    /// Set when the connection stands. The socket is gone once this direction has ended.
    io: OnceLock<Mutex<Io<OwnedWriteHalf>>>,
}

/// What a read has found.
enum Found {
    Frames,
    /// Nothing, after all.
    Nothing,
    End(Disconnect),
}

impl Link {
    pub(crate) fn new(status: LinkStatus) -> Link {
        Link { status, wake: Notify::new(), io: OnceLock::new() }
    }
}

/// A link's task, from its dial or admission to the report that it is gone.
pub(crate) async fn run(shell: Arc<Shell>, link: Arc<Link>, channel: Channel, origin: Origin<TcpStream>) {
    let stream = match origin {
        Origin::Accepted(stream) => Ok(stream),
        Origin::Dial(address) => connect(&link, address).await,
    };
    let cause = match stream {
        Ok(stream) => serve(&shell, &link, channel, stream).await,
        Err(cause) => cause,
    };
    shell.end_link(link.status.id(), cause);
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

/// Runs a connection until it ends, closes it, and returns why it ended.
async fn serve(shell: &Arc<Shell>, link: &Link, channel: Channel, stream: TcpStream) -> Disconnect {
    // Without it small messages wait for the acknowledgement of earlier ones; that it fails is no reason to fail.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return Disconnect::Reset };
    let (socket, write) = stream.into_split();
    let io = link.io.get_or_init(|| Mutex::new(Io::new(channel, Some(write))));
    let mut connection = Connection { shell, link, io, socket, local };
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
    shell: &'a Arc<Shell>,
    link: &'a Link,
    io: &'a Mutex<Io<OwnedWriteHalf>>,
    socket: OwnedReadHalf,
    local: SocketAddr,
}

impl Connection<'_> {
    async fn exchange(&mut self) -> End {
        let mut turns = 0;
        loop {
            match self.link.status.closing() {
                Some(CloseMode::Abort) => return End::Abort,
                Some(CloseMode::Flush) => return End::Flush,
                None => {}
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
            (true, Written::Blocked) => Interest::READABLE | Interest::WRITABLE,
            (true, Written::More | Written::Drained) => Interest::READABLE,
            (false, _) => Interest::WRITABLE,
        };
        tokio::select! {
            biased;
            () = self.link.wake.notified() => false,
            // An error is found again by the read or the write that follows.
            ready = self.socket.ready(interest) => ready.map_or(true, |ready| ready.is_readable()),
            () = std::future::ready(()), if written == Written::More => false,
        }
    }

    /// Reads once, and hands what came to the core.
    async fn read(&mut self) -> Found {
        let mut buffer = self.take_buffer();
        let read = self.read_now(&mut buffer).await;
        let bytes = match read {
            Some(Ok(0)) | Some(Err(_)) | None => Bytes::new(),
            Some(Ok(length)) if !is_kept_whole(length) => Bytes::copy_from_slice(&buffer),
            Some(Ok(_)) => buffer.split().freeze(),
        };
        self.put_buffer(buffer);
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
        match self.shell.receive(&self.link.status, self.io, self.local, bytes) {
            Ok(()) => Found::Frames,
            Err(error) => Found::End(Disconnect::Channel(error)),
        }
    }

    /// An empty buffer with room for one read.
    fn take_buffer(&self) -> BytesMut {
        let is_free = |buffer: &mut BytesMut| buffer.try_reclaim(READ_BUFFER);
        self.shell.runtime.buffers.take(is_free, || BytesMut::with_capacity(READ_BUFFER))
    }

    fn put_buffer(&self, mut buffer: BytesMut) {
        buffer.clear();
        self.shell.runtime.buffers.put(buffer);
    }

    /// Drops what waits, and resets the connection.
    fn abort(self) -> Disconnect {
        let _ = self.socket.as_ref().set_zero_linger();
        if let Some(write) = lock(self.io).socket.take() {
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
            if self.link.status.closing() == Some(CloseMode::Abort) {
                return self.abort();
            }
            let mut written = Written::Drained;
            if writing {
                match self.write() {
                    Ok(left) => written = left,
                    Err(_) => return self.end(Disconnect::Closed),
                }
                if written == Written::Drained {
                    writing = false;
                    lock(self.io).socket = None;
                    continue;
                }
            }
            if self.wait(written, reading).await {
                let mut buffer = self.take_buffer();
                let read = self.read_now(&mut buffer).await;
                self.put_buffer(buffer);
                reading = matches!(read, None | Some(Ok(1..)));
            }
        }
        Disconnect::Closed
    }

    /// Writes what the channel still has to say, such as why it refuses, if the socket takes it, and lets go.
    fn end(self, cause: Disconnect) -> Disconnect {
        lock(self.io).write_last(try_write);
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
        lock(self.io).write(self.shell, &self.link.status, try_write)
    }
}

impl Link {
    /// Makes the task look at everything. Remembered if it does not wait at present.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Writes from the sender's own call if that is of use, and leaves to the task what is then left.
    pub(crate) fn send_at_once(&self, shell: &Arc<Shell>, now: Instant) {
        let rested = self.status.has_rested(now);
        let io = self.io.get().filter(|_| rested).and_then(|io| io.try_lock().ok());
        let written = io.map(|mut io| io.write(shell, &self.status, try_write));
        if !matches!(written, Some(Ok(Written::Drained))) {
            self.wake();
        }
    }

    fn is_closing(&self) -> bool {
        self.status.closing().is_some()
    }

    async fn closing(&self) {
        while !self.is_closing() {
            self.wake.notified().await;
        }
    }
}

/// Writes what the socket takes now.
fn try_write(socket: &OwnedWriteHalf, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    socket.try_write_vectored(pieces)
}
