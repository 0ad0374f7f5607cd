//! What a test can see of the network, and what it does to it.

use std::net::SocketAddr;
use std::time::Duration;

use cluster_core::{Config, Instant};
use cluster_timeline::record::{HostId, Record};

use super::World;
use super::raw::{RawConn, RawState};
use crate::log::Dialled;
use crate::machine::{Process, Spec, parse};
use crate::net::{Block, Buffers, Fate, Greeting};
use crate::queue::nanos;
use crate::socket::EndState;
use crate::way::Latency;

/// The network of a world, to look at.
#[derive(Clone, Copy, Debug)]
pub struct Net<'w> {
    world: &'w World,
}

/// The network of a world, to do something to.
#[derive(Debug)]
pub struct NetMut<'w> {
    world: &'w mut World,
}

impl World {
    /// The network, to look at.
    #[must_use]
    pub fn net(&self) -> Net<'_> {
        Net { world: self }
    }

    /// The network, to do something to.
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

    /// The bytes that were written since [`tap_wire`](crate::NetMut::tap_wire): one direction of one connection after the other.
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
    /// How long everything takes between hosts that have no latency of their own.
    pub fn set_latency(&mut self, latency: impl Into<Latency>) {
        let latency = latency.into();
        self.world.trace.add(self.world.queue.now(), None, Record::Fault(format!("latency: {latency:?}")));
        self.world.net.set_delay(None, latency.into());
    }

    /// How long everything takes that goes from one host to another.
    #[track_caller]
    pub fn set_latency_from(&mut self, from: HostId, to: HostId, latency: impl Into<Latency>) {
        self.world.assert_here(to);
        let latency = latency.into();
        self.world.fault(from, format!("latency to {to}: {latency:?}"));
        self.world.net.set_delay(Some((from, to)), latency.into());
    }

    /// How many bytes a second get from any host to any other that has no bandwidth of its own; `None`, the default: as
    /// many as there are. All connections from one host to another share it, byte by byte in the order in which they
    /// were written; acknowledgements and dials take none of it.
    ///
    /// # Panics
    ///
    /// If it is 0: that is a [cut](crate::NetMut::cut).
    pub fn set_bandwidth(&mut self, bytes_per_second: Option<u64>) {
        assert_ne!(bytes_per_second, Some(0), "a way that carries nothing is cut");
        self.world.trace.add(self.world.queue.now(), None, Record::Fault(format!("bandwidth: {bytes_per_second:?}")));
        self.world.net.set_rate(&mut self.world.queue, None, bytes_per_second);
    }

    /// How many bytes a second get from one host to another; `None`: as many as by
    /// [`set_bandwidth`](crate::NetMut::set_bandwidth).
    ///
    /// # Panics
    ///
    /// If it is 0: that is a [cut](crate::NetMut::cut_one_way).
    #[track_caller]
    pub fn set_bandwidth_from(&mut self, from: HostId, to: HostId, bytes_per_second: Option<u64>) {
        self.world.assert_here(to);
        assert_ne!(bytes_per_second, Some(0), "a way that carries nothing is cut");
        self.world.fault(from, format!("bandwidth to {to}: {bytes_per_second:?}"));
        self.world.net.set_rate(&mut self.world.queue, Some((from, to)), bytes_per_second);
    }

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

    /// Nothing gets from either host to the other any more, and nobody is told.
    ///
    /// # Panics
    ///
    /// If one of them is no host of this world.
    #[track_caller]
    pub fn cut(&mut self, a: HostId, b: HostId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Nothing gets from `from` to `to` any more, and nobody is told.
    ///
    /// # Panics
    ///
    /// If one of them is no host of this world.
    #[track_caller]
    pub fn cut_one_way(&mut self, from: HostId, to: HostId) {
        self.world.assert_here(to);
        self.world.condition(from, format!("cut towards {to}"));
        self.world.net.set_cut(&mut self.world.queue, from, to, true);
    }

    /// Undoes [`cut`](crate::NetMut::cut), [`cut_one_way`](crate::NetMut::cut_one_way) and [`clog`](NetMut::clog) in both directions.
    #[track_caller]
    pub fn heal(&mut self, a: HostId, b: HostId) {
        self.heal_one_way(a, b);
        self.heal_one_way(b, a);
    }

    /// What `from` sends gets to `to` again, whether the way was cut or clogged. What it has sent in the meantime
    /// arrives in a burst, as far as the bandwidth allows.
    #[track_caller]
    pub fn heal_one_way(&mut self, from: HostId, to: HostId) {
        self.world.assert_here(to);
        self.world.condition(from, format!("heal towards {to}"));
        self.world.net.unclog(&mut self.world.queue, from, to);
        self.world.net.set_cut(&mut self.world.queue, from, to, false);
        self.world.wake_all();
    }

    /// Undoes every cut and every clog.
    pub fn heal_all(&mut self) {
        for (from, to) in self.world.net.hindered() {
            self.heal_one_way(from, to);
        }
    }

    /// From now on nothing gets from `from` to `to` for a random span of up to `shut`, then everything for one of up to
    /// `open`, and so on, until the way is [healed](crate::NetMut::heal_one_way). Nothing is lost, and nobody is told.
    ///
    /// # Panics
    ///
    /// If one of the spans is shorter than a microsecond: time would stand still.
    #[track_caller]
    pub fn clog(&mut self, from: HostId, to: HostId, open: Duration, shut: Duration) {
        self.world.assert_here(to);
        assert!(open.min(shut) >= Duration::from_micros(1), "a clogged way turns once in a microsecond at the most");
        self.world.fault(from, format!("clog towards {to}: open {open:?}, shut {shut:?}"));
        self.world.net.clog(&mut self.world.queue, from, to, nanos(open), nanos(shut));
        self.world.wake_all();
    }

    /// Cuts every host of one side off from every host of the other. Hosts on neither side reach both.
    ///
    /// # Panics
    ///
    /// If one of them is no host of this world.
    #[track_caller]
    pub fn partition(&mut self, one: &[HostId], other: &[HostId]) {
        for &host in one.iter().chain(other) {
            self.world.assert_here(host);
        }
        for &a in one {
            for &b in other {
                self.cut(a, b);
            }
        }
    }

    /// Cuts a host off from every other.
    #[track_caller]
    pub fn isolate(&mut self, host: HostId) {
        self.world.assert_here(host);
        for other in self.world.others(host) {
            self.cut(host, other);
        }
    }

    /// Keeps dials, but nothing else, of `from` out of `to`.
    #[track_caller]
    pub fn block_dials(&mut self, from: HostId, to: HostId, how: Block) {
        self.world.assert_here(to);
        self.world.condition(from, format!("dials to {to}: {how:?}"));
        self.world.net.set_block(from, to, Some(how));
    }

    /// Undoes [`block_dials`](crate::NetMut::block_dials).
    #[track_caller]
    pub fn allow_dials(&mut self, from: HostId, to: HostId) {
        self.world.assert_here(to);
        self.world.condition(from, format!("dials to {to} allowed"));
        self.world.net.set_block(from, to, None);
    }

    /// Resets every connection between two hosts; both ends notice at once. Returns how many ends were told.
    #[track_caller]
    pub fn reset_connections(&mut self, a: HostId, b: HostId) -> usize {
        self.world.assert_here(b);
        self.world.fault(a, format!("reset all with {b}"));
        let count = self.world.net.reset_between(a, b);
        self.world.wake_all();
        count
    }

    /// Resets the ends that `at` has of connections with `peer`, of which `peer` learns nothing until it sends: then
    /// the kernel of `at` answers with a reset. Returns how many ends were told.
    #[track_caller]
    pub fn reset_one_side(&mut self, at: HostId, peer: HostId) -> usize {
        self.world.assert_here(peer);
        self.world.fault(at, format!("reset towards {peer}, which is not told"));
        let count = self.world.net.reset_at(at, peer);
        self.world.wake_all();
        count
    }

    /// Resets the ends that `at` has of connections with `peer`, which are half-open from then on: `peer` never learns
    /// of it, whatever it sends. New connections are as any other. Returns how many ends were told.
    #[track_caller]
    pub fn half_open(&mut self, at: HostId, peer: HostId) -> usize {
        self.world.assert_here(peer);
        self.world.fault(at, format!("half-open towards {peer}"));
        self.world.net.sever(&mut self.world.queue, at, peer);
        let count = self.world.net.reset_at(at, peer);
        self.world.wake_all();
        count
    }

    /// The connections that stand between two hosts carry nothing any more, ever, and neither end is told: something in
    /// between has forgotten them. New connections are as any other. Returns how many there are.
    #[track_caller]
    pub fn sever_connections(&mut self, a: HostId, b: HostId) -> usize {
        self.world.assert_here(b);
        self.world.fault(a, format!("connections with {b} severed"));
        self.world.net.sever(&mut self.world.queue, a, b)
    }

    /// What becomes of every dial to `address`, whoever is there; `None`: what normally would.
    pub fn set_fate(&mut self, address: SocketAddr, fate: Option<Fate>) {
        let to = self.world.net.owner(address.ip());
        self.world.trace.add(self.world.queue.now(), to, Record::Fault(format!("dials to {address}: {fate:?}")));
        self.world.net.set_fate(address, fate);
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

    /// Listens at `address` by hand. With [`Greeting::Wait`], connections are for [`raw_accept`](crate::NetMut::raw_accept);
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

    /// The host with this address, made if there is none; for [cuts](crate::NetMut::cut) and the like.
    ///
    /// # Panics
    ///
    /// If the text is no IP address.
    pub fn raw_host(&mut self, ip: &str) -> HostId {
        let owner = self.world.net.owner(parse(ip));
        owner.unwrap_or_else(|| {
            let spec = Spec::new(Config::insecure_plaintext()).ip(ip).stopped();
            self.world.add_machine(spec, Process::None)
        })
    }

    /// What goes from one host to another takes a millisecond and finds all the room it needs, as by default, whatever
    /// holds for the others.
    pub(crate) fn clear_way(&mut self, from: HostId, to: HostId) {
        self.world.net.set_delay(Some((from, to)), Latency::default().into());
        if self.world.net.is_narrow(from, to) {
            self.set_bandwidth_from(from, to, Some(u64::MAX));
        }
    }
}
