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
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use cluster_core::{CloseMode, Disconnect};
use cluster_host::{Io, LinkStatus, NewLink, Origin, READ_BUFFER, Written, dial_failure, lock};
use socket2::{Domain, Protocol, Socket, Type};

use crate::buffers::Buffer;
use crate::threads::{self, Shell, State};
use crate::turn::Turn;
use crate::writer::Outlet;

/// What a thread of an idle link reads into.
pub(crate) const IDLE_BUFFER: usize = 4 << 10;

/// How long a link that was receiving much keeps its large buffer without receiving anything.
const BURST_PAUSE: Duration = Duration::from_millis(100);

/// What the node, the senders and the two threads of a link know of it.
pub(crate) struct Link {
    pub(crate) status: LinkStatus,
    /// Its socket is there from when the connection stands to its end.
    pub(crate) io: Mutex<Io<Outlet>>,
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

/// Starts a thread that opens a connection or takes an accepted one, and serves it.
pub(crate) fn start(shell: &Arc<Shell>, state: &mut State, new: NewLink<Socket>) -> io::Result<Arc<Link>> {
    let NewLink { status, channel, origin } = new;
    let link = Arc::new(Link {
        status,
        io: Mutex::new(Io::new(channel, None)),
        turn: Turn::default(),
        line: Mutex::default(),
        failure: OnceLock::new(),
    });
    // The core closes a dial that takes too long; this is for systems that do not let it.
    let timeout = state.core.timing().handshake_timeout;
    let (node, served) = (Arc::clone(shell), Arc::clone(&link));
    let run = move || run(&node, &served, origin, timeout);
    threads::spawn(state, "cluster-link", Some(Arc::clone(&link)), run)?;
    Ok(link)
}

/// A link's thread, from its dial or admission to the report that it is gone.
fn run(shell: &Arc<Shell>, link: &Arc<Link>, origin: Origin<Socket>, timeout: Duration) {
    let cause = match link.open(origin, timeout) {
        Ok(socket) => serve(shell, link, &socket),
        Err(cause) => cause,
    };
    link.let_go();
    shell.end_link(link.status.id(), cause);
}

/// Runs a connection until it ends, and returns why it ended. Only the caller uses its socket then.
fn serve(shell: &Arc<Shell>, link: &Arc<Link>, socket: &Arc<Socket>) -> Disconnect {
    // Without it small messages wait for the acknowledgement of earlier ones; that it fails is no reason to fail.
    let _ = socket.set_tcp_nodelay(true);
    let Some(local) = socket.local_addr().ok().and_then(|local| local.as_socket()) else { return Disconnect::Reset };
    link.io().socket = Some(Outlet::new(Arc::clone(socket)));
    if link.is_closing() {
        // A writer that was woken before has found no socket.
        return Disconnect::Closed;
    }
    // The side that dialled speaks first.
    link.send_at_once(shell);
    let connection = Connection { shell, link, socket, local };
    match connection.read_all() {
        Ok(never) => match never {},
        Err(found) => connection.end(found),
    }
}

/// A connection in the hands of its thread.
struct Connection<'a> {
    shell: &'a Arc<Shell>,
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
            let mut buffer = self.shell.runtime.buffers.take(Buffer::is_free, Buffer::new);
            length = self.read(buffer.space())?;
            let bytes = buffer.bytes(length);
            self.shell.runtime.buffers.put(buffer);
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
        let received = self.shell.receive(&self.link.status, &self.link.io, self.local, bytes);
        received.map_err(Disconnect::Channel)?;
        self.link.send_at_once(self.shell);
        Ok(())
    }

    /// Ends what is left of the connection, given what the last read has found.
    fn end(self, found: Disconnect) -> Disconnect {
        let closing = self.link.status.closing();
        match closing {
            Some(CloseMode::Flush) => {
                // The other side has ended its direction. Ours ends when the writer is done, or is aborted.
                self.link.wake_writer(self.shell);
                self.link.turn.join();
            }
            // The channel may have a last word, such as why it refuses.
            None => Outlet::write_last(&mut self.link.io()),
            Some(CloseMode::Abort) => {}
        }
        let _ = self.socket.shutdown(Shutdown::Both);
        self.link.turn.end();
        if self.link.status.closing() == Some(CloseMode::Abort) {
            let _ = self.socket.set_linger(Some(Duration::ZERO));
            return Disconnect::Closed;
        }
        if closing.is_some() {
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
    /// Makes the link's threads do what the flags say.
    pub(crate) fn end(self: &Arc<Self>, shell: &Arc<Shell>) {
        if self.status.closing() == Some(CloseMode::Abort) || self.is_dialing() {
            self.hang_up();
        } else {
            self.wake_writer(shell);
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
        self.status.closing().is_some()
    }

    /// Writes what the socket takes at once, and leaves the rest to the writer.
    pub(crate) fn send_at_once(self: &Arc<Self>, shell: &Arc<Shell>) {
        let written = self.io.try_lock().ok().map(|mut io| Outlet::write(&mut io, shell, &self.status));
        if !matches!(written, Some(Ok(Written::Drained))) {
            self.wake_writer(shell);
        }
    }

    pub(crate) fn io(&self) -> MutexGuard<'_, Io<Outlet>> {
        lock(&self.io)
    }

    fn open(&self, origin: Origin<Socket>, timeout: Duration) -> Result<Arc<Socket>, Disconnect> {
        let opened = match origin {
            Origin::Accepted(socket) => {
                let socket = Arc::new(socket);
                self.line().socket = Some(Arc::clone(&socket));
                Ok(socket)
            }
            Origin::Dial(address) => self.dial(address, timeout),
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
        lock(&self.line)
    }
}

/// A dial that may take no time at all would be no dial.
const MIN_DIAL: Duration = Duration::from_millis(1);
