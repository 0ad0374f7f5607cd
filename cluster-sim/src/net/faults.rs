//! What goes wrong with hosts and with the ways between them.

use std::net::IpAddr;
use std::time::Duration;

use cluster_timeline::record::HostId;

use super::ways::{Block, Ways};
use super::{Buffers, ConnId, EndState, Net, Side, Sock, Wake};
use crate::queue::{Due, Queue};
use crate::way::Delay;

impl Net {
    /// How long everything takes; between two hosts, or wherever nothing else was said.
    pub(crate) fn set_delay(&mut self, between: Option<(HostId, HostId)>, delay: Delay) {
        match between {
            Some((from, to)) => self.ways.way(from, to).delay = Some(delay),
            None => self.ways.delay = delay,
        }
    }

    /// How many bytes a second get through; between two hosts, or wherever nothing else was said.
    pub(crate) fn set_rate(&mut self, queue: &mut Queue, between: Option<(HostId, HostId)>, rate: Option<u64>) {
        match between {
            Some((from, to)) => {
                let way = self.ways.way(from, to);
                (way.rate, way.throttle) = (rate, Default::default());
                self.relaunch(queue, from, to);
            }
            None => {
                self.ways.rate = rate;
                let hosts = (0..self.hosts.len() as u32).map(HostId);
                for (from, to) in hosts.clone().flat_map(|from| hosts.clone().map(move |to| (from, to))) {
                    self.relaunch(queue, from, to);
                }
            }
        }
    }

    /// Whether there is an end to what gets through from one host to the other.
    pub(crate) fn is_narrow(&self, from: HostId, to: HostId) -> bool {
        self.ways.is_narrow(from, to)
    }

    /// How much gets through from this end of a connection to the other in a second, if there is an end to it, and how
    /// long a segment takes at most.
    pub(crate) fn width(&self, writer: Sock) -> Option<(u64, Duration)> {
        self.ways.width(self.end(writer).host, self.peer_host(writer)?)
    }

    /// Nothing gets from one host to the other, or everything does again.
    pub(crate) fn set_cut(&mut self, queue: &mut Queue, from: HostId, to: HostId, cut: bool) {
        self.change_way(queue, from, to, |ways| ways.way(from, to).cut = cut);
    }

    /// Nothing gets from one host to the other for up to `shut` nanoseconds, then everything for up to `open`, in turns.
    pub(crate) fn clog(&mut self, queue: &mut Queue, from: HostId, to: HostId, open: u64, shut: u64) {
        self.unclog(queue, from, to);
        let number = self.ways.clog(from, to, open, shut);
        self.turn_clog(queue, from, to, number);
    }

    pub(crate) fn unclog(&mut self, queue: &mut Queue, from: HostId, to: HostId) {
        self.change_way(queue, from, to, |ways| ways.unclog(from, to));
    }

    pub(super) fn turn_clog(&mut self, queue: &mut Queue, from: HostId, to: HostId, number: u32) {
        if let Some(span) = self.change_way(queue, from, to, |ways| ways.turn(from, to, number)) {
            queue.push_after(span, Due::Clog { from, to, number });
        }
    }

    /// The ways that are cut or clogged.
    pub(crate) fn hindered(&self) -> Vec<(HostId, HostId)> {
        self.ways.hindered()
    }

    pub(crate) fn set_block(&mut self, from: HostId, to: HostId, block: Option<Block>) {
        self.ways.way(from, to).block = block;
    }

    /// The process on the host ends, and the kernel closes or resets what it held.
    pub(crate) fn kill(&mut self, queue: &mut Queue, host: HostId, reset: bool) {
        self.unlisten_all(queue, host);
        for sock in self.sockets(host) {
            if reset {
                self.reset(queue, sock);
            } else {
                self.close(queue, sock);
            }
        }
    }

    /// The host loses power: nobody is told, and nobody answers.
    pub(crate) fn power_off(&mut self, queue: &mut Queue, host: HostId) {
        for sock in self.sockets(host) {
            self.end_mut(sock).state = EndState::Lost;
            self.pipe_mut(sock).drop_held();
            if let Some(peer) = self.peer_host(sock) {
                self.pipe_mut(sock.peer()).drop_unread();
                self.hold(queue, sock.conn, peer);
            }
        }
        self.hosts[host.index()].up = false;
        self.unlisten_all(queue, host);
        for sock in self.sockets(host) {
            self.reap(sock.conn);
        }
    }

    pub(crate) fn power_on(&mut self, queue: &mut Queue, host: HostId) {
        if std::mem::replace(&mut self.hosts[host.index()].up, true) {
            return;
        }
        for sock in self.sockets(host) {
            if let Some(peer) = self.peer_host(sock) {
                self.release(queue, sock.conn, peer);
            }
        }
    }

    /// The host gets another address; the connections it has keep theirs.
    pub(crate) fn readdress(&mut self, host: HostId, ip: IpAddr) {
        let before = self.hosts[host.index()].ip;
        if self.owners.get(&before) == Some(&host) {
            self.owners.remove(&before);
        }
        self.owners.entry(ip).or_insert(host);
        self.hosts[host.index()].ip = ip;
    }

    pub(crate) fn masquerade(&mut self, host: HostId, ip: Option<IpAddr>) {
        self.hosts[host.index()].masquerade = ip;
    }

    pub(crate) fn set_buffers(&mut self, host: HostId, buffers: Buffers) {
        self.hosts[host.index()].buffers = Some(buffers);
    }

    /// No descriptors are left on the host, or there are some again.
    pub(crate) fn exhaust(&mut self, host: HostId, exhausted: bool) {
        self.hosts[host.index()].exhausted = exhausted;
        if !exhausted {
            for (&address, listener) in &self.listeners {
                if listener.host == host && !listener.backlog.is_empty() {
                    self.wakes.push_back((host, Wake::Incoming(address)));
                }
            }
        }
    }

    /// Resets every connection between two hosts, as a router with a bad day does. Both ends notice.
    pub(crate) fn reset_between(&mut self, a: HostId, b: HostId) -> usize {
        let mut count = 0;
        for conn in self.between(a, b) {
            count += self.fail_end(Sock { conn, side: Side::Dialer });
            count += self.fail_end(Sock { conn, side: Side::Listener });
        }
        count
    }

    /// The ends that `at` has of connections with `peer` are reset, and `peer` is not told.
    pub(crate) fn reset_at(&mut self, at: HostId, peer: HostId) -> usize {
        let mut count = 0;
        for conn in self.between(at, peer) {
            for side in self.sides(conn, at) {
                count += self.fail_end(Sock { conn, side });
            }
        }
        count
    }

    /// Resets the end that `at` has of its oldest connection with `peer`. The peer gets the reset behind what is on its way.
    pub(crate) fn abort_at(&mut self, queue: &mut Queue, at: HostId, peer: HostId) -> usize {
        let conns = self.between(at, peer).into_iter();
        let mut ends = conns.flat_map(|conn| self.sides(conn, at).map(move |side| Sock { conn, side }));
        let Some(sock) = ends.find(|sock| self.state(*sock) == EndState::Open) else { return 0 };
        self.send_rst(queue, sock);
        self.fail_end(sock)
    }

    /// The connections that stand between two hosts carry nothing any more, ever.
    pub(crate) fn sever(&mut self, queue: &mut Queue, a: HostId, b: HostId) -> usize {
        let conns = self.between(a, b);
        for &conn in &conns {
            self.conns[conn].severed = true;
            self.hold(queue, conn, a);
            if a != b {
                self.hold(queue, conn, b);
            }
        }
        conns.len()
    }

    fn fail_end(&mut self, sock: Sock) -> usize {
        let stands = matches!(self.state(sock), EndState::Open | EndState::Dialing);
        if stands {
            self.fail(sock);
        }
        usize::from(stands)
    }

    /// The ends that `host` has of connections that are not over.
    fn sockets(&self, host: HostId) -> Vec<Sock> {
        self.hosts[host.index()].socks.iter().copied().collect()
    }

    fn unlisten_all(&mut self, queue: &mut Queue, host: HostId) {
        let mine = |(&address, listener): (&_, &super::Listener)| {
            (listener.host == host && listener.greeting.is_none()).then_some(address)
        };
        for address in self.listeners.iter().filter_map(mine).collect::<Vec<_>>() {
            self.unlisten(queue, address);
        }
    }

    /// The connections that stand between two hosts, or are over and still deliver.
    fn between(&self, a: HostId, b: HostId) -> Vec<ConnId> {
        let fewer = |host: HostId| self.hosts[host.index()].socks.len();
        let (host, other) = if fewer(a) <= fewer(b) { (a, b) } else { (b, a) };
        let socks = self.hosts[host.index()].socks.iter();
        let mut conns: Vec<ConnId> =
            socks.filter(|sock| self.peer_host(**sock) == Some(other)).map(|sock| sock.conn).collect();
        conns.dedup();
        conns
    }

    /// Changes a way, and what is under way with it.
    fn change_way<T>(&mut self, queue: &mut Queue, from: HostId, to: HostId, change: impl FnOnce(&mut Ways) -> T) -> T {
        let before = self.ways.is_shut(from, to);
        let result = change(&mut self.ways);
        let after = self.ways.is_shut(from, to);
        if after != before {
            self.ways.way(from, to).throttle = Default::default();
            for conn in self.between(from, to) {
                if after {
                    self.hold(queue, conn, from);
                } else {
                    self.release(queue, conn, from);
                }
            }
        }
        result
    }

    /// The way from one host to the other is wider or narrower than before.
    fn relaunch(&mut self, queue: &mut Queue, from: HostId, to: HostId) {
        for conn in self.between(from, to) {
            for side in self.sides(conn, from) {
                let writer = Sock { conn, side };
                self.with_way(writer, |pipe, way| pipe.relaunch(queue.now(), way));
                self.schedule(queue, writer);
            }
        }
    }

    /// What `from` has sent on a connection does not get through any more.
    fn hold(&mut self, queue: &mut Queue, conn: ConnId, from: HostId) {
        for side in self.sides(conn, from) {
            let writer = Sock { conn, side };
            if self.pipe_mut(writer).hold() {
                self.await_give_up(queue, writer);
            }
        }
    }

    /// What `from` has sent on a connection gets through again, if nothing else is in the way.
    fn release(&mut self, queue: &mut Queue, conn: ConnId, from: HostId) {
        for side in self.sides(conn, from) {
            let writer = Sock { conn, side };
            let Some(latency) = self.back(writer) else { continue };
            self.with_way(writer, |pipe, way| pipe.release(queue.now(), way));
            self.schedule(queue, writer);
            // The acknowledgements and window updates for the other direction go this way too.
            let other = writer.peer();
            let pipe = self.pipe_mut(other);
            pipe.release_acks(queue.now(), latency);
            if pipe.is_clogged() && !std::mem::replace(&mut pipe.window_scheduled, true) {
                queue.push_after(latency, Due::Window { conn, side: other.side });
            }
            self.await_ack(queue, other);
        }
    }

    /// The sides of a connection that are on `host`; both when it dialled itself.
    fn sides(&self, conn: ConnId, host: HostId) -> impl Iterator<Item = Side> + use<> {
        let of = |side: Side| self.conns[conn].ends.get(side as usize).is_some_and(|end| end.host == host);
        let sides = [Side::Dialer, Side::Listener].map(|side| of(side).then_some(side));
        sides.into_iter().flatten()
    }
}
