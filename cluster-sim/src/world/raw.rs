//! Connections that a test reads and writes by hand, byte for byte: strangers, scanners, attackers.

use super::World;
use crate::socket::{Read, Sock};

/// The test's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawConn(pub(super) Sock);

/// How a raw connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawState {
    /// The dial is under way.
    Dialing,
    /// It stands.
    Open,
    /// It stands, the other side has ended its stream, and everything was read.
    Ended,
    /// The dial came to nothing.
    Failed,
    /// The other side reset it, or TCP gave up.
    Reset,
    /// The test has closed it.
    Closed,
}

/// A raw connection, to do something with.
#[derive(Debug)]
pub struct RawMut<'w> {
    world: &'w mut World,
    sock: Sock,
}

impl World {
    /// A raw connection, to do something with.
    pub fn raw(&mut self, conn: RawConn) -> RawMut<'_> {
        RawMut { world: self, sock: conn.0 }
    }
}

impl RawMut<'_> {
    /// Writes, and says how many of the bytes were taken.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> usize {
        self.world.net.write(&mut self.world.queue, self.sock, bytes.as_ref())
    }

    /// Everything that has arrived and was not read yet.
    pub fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Read::Bytes(bytes) = self.world.net.read(&mut self.world.queue, self.sock, usize::MAX) {
            all.extend_from_slice(&bytes);
        }
        all
    }

    /// Ends this direction of the stream.
    pub fn shutdown(&mut self) {
        self.world.net.shutdown(&mut self.world.queue, self.sock);
    }

    /// Closes as an operating system does: with a reset if something that has arrived was not read.
    pub fn close(&mut self) {
        self.world.net.close(&mut self.world.queue, self.sock);
    }

    /// Resets the connection.
    pub fn reset(&mut self) {
        self.world.net.reset(&mut self.world.queue, self.sock);
    }
}
