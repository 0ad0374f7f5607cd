//! The listening socket, and the thread that takes connections from it and asks the core which of them to keep.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::Socket;

use crate::driver::{Caller, Shared};
use crate::link;

/// How long no connection is taken after the operating system could not give one, usually for want of descriptors.
/// Without it the thread would spin, because the connection still waits.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections wait in the operating system to be accepted.
const BACKLOG: i32 = 1_024;

/// The socket, until the node stops.
pub(crate) struct Listener(Mutex<Option<Arc<Socket>>>);

impl Listener {
    /// Listens at the first address that can be listened at, and returns it with the real port.
    pub(crate) fn bind(address: impl ToSocketAddrs) -> io::Result<(Listener, SocketAddr)> {
        let listener = TcpListener::bind(address)?;
        let local = listener.local_addr()?;
        let socket = Socket::from(listener);
        // The standard library lets too few wait for when many nodes come at once.
        socket.listen(BACKLOG)?;
        Ok((Listener(Mutex::new(Some(Arc::new(socket)))), local))
    }

    /// Takes connections until the node stops. When this returns the socket is closed.
    pub(crate) fn run(&self, shared: &Arc<Shared>) {
        let Some(socket) = self.lock().clone() else { return };
        let mut pausing = false;
        loop {
            let accepted = socket.accept();
            if self.lock().is_none() {
                return;
            }
            match accepted {
                Ok((stream, from)) => {
                    pausing = false;
                    if let Some(from) = from.as_socket() {
                        admit(shared, stream, from);
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut pausing, true) {
                        tracing::warn!(address = %shared.address, %error, "accepting no connections for now");
                    }
                    if shared.has_stopped_within(ACCEPT_PAUSE) {
                        return;
                    }
                }
            }
        }
    }

    /// Makes [`run`](Listener::run) end.
    pub(crate) fn stop(&self, address: SocketAddr) {
        let Some(socket) = self.lock().take() else { return };
        if socket.shutdown(Shutdown::Both).is_err() {
            // Not every system ends a waiting accept that way. A connection does; that none comes about says that
            // nobody waits.
            let _ = TcpStream::connect_timeout(&reachable(address), ACCEPT_PAUSE);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Socket>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn admit(shared: &Arc<Shared>, socket: Socket, from: SocketAddr) {
    shared.enter(Caller::Other, |state, now| match state.core.accept(now, from) {
        Ok(link) => link::accept(shared, state, link, socket),
        // Whoever is turned away learns nothing, and leaves nothing behind here.
        Err(_) => drop(socket.set_linger(Some(Duration::ZERO))),
    });
}

/// Where a node that listens at `address` can be reached from its own host.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whether an error of accept is about the connection that was to be accepted, so that the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
