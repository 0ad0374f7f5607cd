//! The sockets of a host: their names, and what a process learns about them.

use std::net::SocketAddr;

use bytes::Bytes;
use cluster_timeline::record::ConnectionEnd;

/// One connection, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnId {
    /// Counts the connections: no two have the same.
    pub(crate) serial: u32,
    /// Where it is kept.
    pub(crate) place: u32,
}

#[cfg(test)]
impl ConnId {
    pub(crate) fn nth(serial: u32) -> ConnId {
        ConnId { serial, place: serial }
    }
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Side {
    /// The one that dialled.
    Dialer,
    /// The one that listened.
    Listener,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Dialer => Side::Listener,
            Side::Listener => Side::Dialer,
        }
    }
}

/// One end of one connection: what a process holds a descriptor of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sock {
    pub(crate) conn: ConnId,
    pub(crate) side: Side,
}

impl Sock {
    /// The other end.
    pub(crate) fn peer(self) -> Sock {
        Sock { conn: self.conn, side: self.side.other() }
    }
}

impl From<Sock> for ConnectionEnd {
    fn from(sock: Sock) -> ConnectionEnd {
        ConnectionEnd { connection: sock.conn.serial as usize, outbound: sock.side == Side::Dialer }
    }
}

/// Why a dial came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialError {
    Refused,
    Unreachable,
}

/// What a process learns about its sockets. Repeated or late wakes do no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A connection waits to be accepted.
    Incoming(SocketAddr),
    /// A dial has ended.
    Dialled(Sock, Result<(), DialError>),
    /// There is something to read: bytes, the end, or an error.
    Readable(Sock),
    /// There is room to write.
    Writable(Sock),
}

/// What a read returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes(Bytes),
    /// Nothing at present.
    Blocked,
    /// The other side has ended its stream.
    Ended,
    /// The connection was reset, or TCP gave up on it.
    Reset,
}

/// The state of one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndState {
    Dialing,
    Open,
    /// The dial came to nothing.
    Failed,
    /// The other side reset the connection, or TCP gave up.
    Reset,
    /// The process has closed it; the kernel may still be delivering.
    Closed,
    /// The host lost power: not even the kernel remembers it.
    Lost,
}
