//! The listening socket, and the thread that takes connections from it and asks the core which of them to keep.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};

use cluster_host::{ACCEPT_PAUSE, AcceptErrors, lock};
use socket2::Socket;

use crate::threads::{self, Shell};

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
    pub(crate) fn run(&self, shell: &Arc<Shell>) {
        let Some(socket) = lock(&self.0).clone() else { return };
        let mut errors = AcceptErrors::default();
        loop {
            let accepted = socket.accept();
            if lock(&self.0).is_none() {
                return;
            }
            match accepted {
                Ok((stream, from)) => {
                    errors.clear();
                    if let Some(from) = from.as_socket() {
                        shell.admit(stream, from);
                    }
                }
                Err(error) if errors.must_pause(&error, shell.address) => {
                    if threads::has_stopped_within(shell, ACCEPT_PAUSE) {
                        return;
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Makes [`run`](Listener::run) end.
    pub(crate) fn stop(&self, address: SocketAddr) {
        let Some(socket) = lock(&self.0).take() else { return };
        if socket.shutdown(Shutdown::Both).is_err() {
            // Not every system ends a waiting accept that way. A connection does; that none comes about says that
            // nobody waits.
            let _ = TcpStream::connect_timeout(&reachable(address), ACCEPT_PAUSE);
        }
    }
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
