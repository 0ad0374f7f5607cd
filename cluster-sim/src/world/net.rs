//! What a test can see of the network, and what it does to it.

use std::net::SocketAddr;
use std::time::Duration;

use cluster_core::{Config, Instant};
use cluster_timeline::record::HostId;

use super::World;
use super::raw::{RawConn, RawState};
use crate::log::Dialled;
use crate::machine::{Process, Spec, parse};
use crate::net::{Buffers, Greeting};
use crate::queue::nanos;
use crate::socket::EndState;

/// The network of a world, to look at.
#[derive(Clone, Copy, Debug)]
pub struct Net<'w> {
    world: &'w World,
}

/// The network of a world, to do something to.
#[derive(Debug)]
pub struct NetMut<'w> {
    pub(crate) world: &'w mut World,
}

impl World {
    /// Returns what can be seen of the network.
    #[must_use]
    pub fn net(&self) -> Net<'_> {
        Net { world: self }
    }

    /// Returns a handle through which a test does something to the network.
    pub fn net_mut(&mut self) -> NetMut<'_> {
        NetMut { world: self }
    }
}

impl<'w> Net<'w> {
    /// How many connections between two hosts have ever stood at the TCP level, whoever dialled.
    #[must_use]
    #[track_caller]
    pub fn opened(self, a: HostId, b: HostId) -> u64 {
        self.world.assert_here(a);
        self.world.assert_here(b);
        self.world.net.opened.get(&(a.min(b), a.max(b))).copied().unwrap_or(0)
    }

    /// How many connections the kernels of all hosts know, those included that are closed and still deliver.
    #[must_use]
    pub fn open_connections(self) -> usize {
        self.world.net.connections()
    }

    /// The bytes that were written since [`tap_wire`](crate::NetMut::tap_wire): one direction of one connection after
    /// the other.
    pub fn tapped(self) -> impl Iterator<Item = &'w [u8]> {
        self.world.net.tapped()
    }

    /// Every dial that a node has asked for, oldest first.
    #[must_use]
    pub fn dials(self) -> &'w [Dialled] {
        &self.world.dials
    }

    /// How many dials went to `address` since `since`.
    #[must_use]
    pub fn dials_to(self, address: SocketAddr, since: Instant) -> usize {
        self.world.dials.iter().filter(|dial| dial.to == address && dial.at >= since).count()
    }

    /// How a raw connection is doing.
    #[must_use]
    pub fn raw_state(self, conn: RawConn) -> RawState {
        match self.world.net.state(conn.0) {
            EndState::Dialing => RawState::Dialing,
            EndState::Open if self.world.net.is_ended(conn.0) => RawState::Ended,
            EndState::Open => RawState::Open,
            EndState::Failed => RawState::Failed,
            EndState::Reset => RawState::Reset,
            EndState::Closed | EndState::Lost => RawState::Closed,
        }
    }
}

impl NetMut<'_> {
    /// Whether new connections split what is written and what is read at random (the default).
    pub fn set_chunked(&mut self, chunked: bool) {
        self.world.net.chunked = chunked;
    }

    /// The buffers of new connections of hosts that have none of their own.
    pub fn set_buffers(&mut self, buffers: Buffers) {
        self.world.net.buffers = buffers;
    }

    /// How long TCP keeps sending again what is not acknowledged, before it fails the connection. Default 924 s, as
    /// on Linux.
    pub fn set_give_up(&mut self, span: Duration) {
        self.world.net.give_up = nanos(span);
    }

    /// A port-forward: connections to `public` go to `inner`, and seem to come from the IP of `public`.
    pub fn forward(&mut self, public: &str, inner: SocketAddr) -> SocketAddr {
        let public = public.parse().unwrap_or_else(|_| panic!("{public:?} is no socket address"));
        self.world.net.forward(public, Some(inner));
        public
    }

    /// Ends a port-forward: nobody answers there any more. Connections that stand are kept.
    pub fn unforward(&mut self, public: SocketAddr) {
        self.world.net.forward(public, None);
    }

    /// The addresses that a name has from now on.
    ///
    /// # Panics
    ///
    /// If one of the texts is no IP address.
    pub fn set_name(&mut self, name: &str, ips: &[&str]) {
        self.world.names.insert(name.to_owned(), ips.iter().map(|ip| parse(ip)).collect());
    }

    /// The name does not exist from now on.
    pub fn remove_name(&mut self, name: &str) {
        self.world.names.remove(name);
    }

    /// Keeps every byte that anybody writes into a connection from now on, for [`tapped`](crate::Net::tapped).
    pub fn tap_wire(&mut self) {
        self.world.net.tap();
    }

    /// Dials `to` by hand from `ip`, which is made a host if it is none yet. The connection stands after a round
    /// trip; writes before that take nothing.
    ///
    /// # Panics
    ///
    /// If the text is no IP address, or the host has no descriptors left.
    pub fn raw_dial(&mut self, ip: &str, to: SocketAddr) -> RawConn {
        let host = self.raw_host(ip);
        match self.world.net.dial(&mut self.world.queue, host, to, true) {
            Some(sock) => RawConn(sock),
            None => panic!("{host} has no descriptors left"),
        }
    }

    /// Listens at `address` by hand. With [`Greeting::Wait`], connections are for [`raw_accept`](Self::raw_accept);
    /// those never accepted stand and are silent.
    ///
    /// # Panics
    ///
    /// If the text is no socket address, or it is listened at already.
    pub fn raw_listen(&mut self, address: &str, greeting: Greeting) -> SocketAddr {
        let address: SocketAddr = address.parse().unwrap_or_else(|_| panic!("{address:?} is no socket address"));
        let host = self.raw_host(&address.ip().to_string());
        self.world.net.listen(host, address, Some(greeting));
        address
    }

    /// Takes the oldest connection that waits at a raw listener, with the address it seems to come from.
    pub fn raw_accept(&mut self, listener: SocketAddr) -> Option<(RawConn, SocketAddr)> {
        self.world.net.accept(listener).map(|(sock, from)| (RawConn(sock), from))
    }

    /// Ends listening at an address, whoever does; connections that were not accepted are reset.
    pub fn unlisten(&mut self, address: SocketAddr) {
        self.world.net.unlisten(&mut self.world.queue, address);
        self.world.wake_all();
    }

    /// The host with this address, made if there is none; for [cuts](Self::cut) and the like.
    ///
    /// # Panics
    ///
    /// If the text is no IP address.
    pub fn raw_host(&mut self, ip: &str) -> HostId {
        let owner = self.world.net.owner(parse(ip));
        owner.unwrap_or_else(|| {
            let spec = Spec::new(Config::insecure_plaintext()).ip(ip).stopped();
            self.world.add_machine(spec, Process::Absent)
        })
    }
}
