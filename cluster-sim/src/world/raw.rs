//! Connections that a test reads and writes by hand, byte for byte: strangers, scanners, attackers.

use std::net::SocketAddr;

use cluster_core::Config;
use cluster_timeline::record::HostId;

use super::World;
use crate::machine::{Process, Spec, parse};
use crate::net::Greeting;
use crate::socket::{EndState, Read, Sock};

/// The test's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawConn(Sock);

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
    /// Dials `to` by hand from `ip`, which is made a host if it is none yet. The connection stands after a round
    /// trip; writes before that take nothing.
    ///
    /// # Panics
    ///
    /// If the text is no IP address, or the host has no descriptors left.
    pub fn raw_dial(&mut self, ip: &str, to: SocketAddr) -> RawConn {
        let host = self.raw_host(ip);
        match self.net.dial(&mut self.queue, host, to, true) {
            Some(sock) => RawConn(sock),
            None => panic!("{host} has no descriptors left"),
        }
    }

    /// Listens at `address` by hand. With [`Greeting::Wait`], connections are for [`raw_accept`](World::raw_accept);
    /// those never accepted stand and are silent.
    ///
    /// # Panics
    ///
    /// If the text is no socket address, or it is listened at already.
    pub fn raw_listen(&mut self, address: &str, greeting: Greeting) -> SocketAddr {
        let address: SocketAddr = address.parse().unwrap_or_else(|_| panic!("{address:?} is no socket address"));
        let host = self.raw_host(&address.ip().to_string());
        self.net.listen(host, address, Some(greeting));
        address
    }

    /// Ends listening at an address, whoever does; connections that were not accepted are reset.
    pub fn unlisten(&mut self, address: SocketAddr) {
        self.net.unlisten(&mut self.queue, address);
        self.wake_all();
    }

    /// Takes the oldest connection that waits at a raw listener, with the address it seems to come from.
    pub fn raw_accept(&mut self, listener: SocketAddr) -> Option<(RawConn, SocketAddr)> {
        self.net.accept(listener).map(|(sock, from)| (RawConn(sock), from))
    }

    /// A raw connection, to do something with.
    pub fn raw(&mut self, conn: RawConn) -> RawMut<'_> {
        RawMut { world: self, sock: conn.0 }
    }

    /// How a raw connection is doing.
    #[must_use]
    pub fn raw_state(&self, conn: RawConn) -> RawState {
        match self.net.state(conn.0) {
            EndState::Dialing => RawState::Dialing,
            EndState::Open if self.net.is_ended(conn.0) => RawState::Ended,
            EndState::Open => RawState::Open,
            EndState::Failed => RawState::Failed,
            EndState::Reset => RawState::Reset,
            EndState::Closed | EndState::Lost => RawState::Closed,
        }
    }

    /// The host with this address, made if there is none; for [cuts](World::cut) and the like.
    ///
    /// # Panics
    ///
    /// If the text is no IP address.
    pub fn raw_host(&mut self, ip: &str) -> HostId {
        let owner = self.net.owner(parse(ip));
        owner.unwrap_or_else(|| {
            let spec = Spec::new(Config::insecure_plaintext()).ip(ip).stopped();
            self.add_machine(spec, Process::None)
        })
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
