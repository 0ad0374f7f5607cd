//! What goes wrong with hosts and with the ways between them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Buffers, ConnId, EndState, Net, Side, Sock, Wake};
use crate::host::HostId;
use crate::queue::{Due, Queue};

/// How dials from one host to another are kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// They are never answered, as by most firewalls.
    Drop,
    /// They are refused.
    Refuse,
}

impl Net {
    /// Nothing gets from one host to the other, or everything does again.
    pub(crate) fn set_cut(&mut self, queue: &mut Queue, from: HostId, to: HostId, cut: bool) {
        if cut && self.cuts.insert((from, to)) {
            for conn in self.between(from, to) {
                self.hold(queue, conn, from);
            }
        } else if !cut && self.cuts.remove(&(from, to)) {
            for conn in self.between(from, to) {
                self.release(queue, conn, from);
            }
        }
    }

    pub(crate) fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.cuts.contains(&(from, to))
    }

    pub(crate) fn set_block(&mut self, from: HostId, to: HostId, block: Option<Block>) {
        match block {
            Some(block) => self.blocks.insert((from, to), block),
            None => self.blocks.remove(&(from, to)),
        };
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
            let outgoing = &mut self.conns[sock.conn].pipes[sock.side as usize];
            outgoing.drop_unsent();
            outgoing.drop_held();
            if let Some(peer) = self.peer_host(sock) {
                self.hold(queue, sock.conn, peer);
            }
        }
        self.hosts[host.index()].up = false;
        self.unlisten_all(queue, host);
    }

    pub(crate) fn power_on(&mut self, queue: &mut Queue, host: HostId) {
        if std::mem::replace(&mut self.hosts[host.index()].up, true) {
            return;
        }
        for conn in self.live.iter().copied().collect::<Vec<_>>() {
            let hosts = self.conns[conn].ends.iter().map(|end| end.host).collect::<Vec<_>>();
            if let [dialer, listener] = hosts[..]
                && (dialer == host || listener == host)
            {
                self.release(queue, conn, if dialer == host { listener } else { dialer });
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
            for side in [Side::Dialer, Side::Listener] {
                let sock = Sock { conn, side };
                if matches!(self.end(sock).state, EndState::Open | EndState::Dialing) {
                    self.fail(sock);
                    count += 1;
                }
            }
        }
        count
    }

    /// The ends that `host` has of connections that are not over.
    pub(crate) fn sockets(&self, host: HostId) -> Vec<Sock> {
        let mut sockets = Vec::new();
        for &conn in &self.live {
            for side in [Side::Dialer, Side::Listener] {
                if self.conns[conn].ends.get(side as usize).is_some_and(|end| end.host == host) {
                    sockets.push(Sock { conn, side });
                }
            }
        }
        sockets
    }

    fn unlisten_all(&mut self, queue: &mut Queue, host: HostId) {
        let mine = |(&address, listener): (&_, &super::Listener)| {
            (listener.host == host && listener.greeting.is_none()).then_some(address)
        };
        for address in self.listeners.iter().filter_map(mine).collect::<Vec<_>>() {
            self.unlisten(queue, address);
        }
    }

    fn between(&self, a: HostId, b: HostId) -> Vec<ConnId> {
        let joins = |&conn: &ConnId| {
            let ends = &self.conns[conn].ends;
            ends.len() == 2 && (a.min(b), a.max(b)) == (ends[0].host.min(ends[1].host), ends[0].host.max(ends[1].host))
        };
        self.live.iter().copied().filter(joins).collect()
    }

    /// What `from` has sent on a connection does not get through any more.
    fn hold(&mut self, queue: &mut Queue, conn: ConnId, from: HostId) {
        for side in self.sides(conn, from) {
            let pipe = &mut self.conns[conn].pipes[side as usize];
            if pipe.hold() {
                let epoch = pipe.hold;
                queue.push_after(self.give_up, Due::GiveUp { conn, side, epoch });
            }
        }
    }

    /// What `from` has sent on a connection gets through again, if nothing else is in the way.
    fn release(&mut self, queue: &mut Queue, conn: ConnId, from: HostId) {
        for side in self.sides(conn, from) {
            let writer = Sock { conn, side };
            let way = self.way_from(writer);
            if way.cut {
                continue;
            }
            self.conns[conn].pipes[side as usize].release(queue.now(), way);
            self.schedule(queue, writer);
            // The acknowledgements and window updates for the other direction go this way too.
            let other = side.other();
            let pipe = &mut self.conns[conn].pipes[other as usize];
            pipe.release_acks(queue.now(), way);
            if pipe.blocked {
                queue.push_after(way.latency, Due::Acked { conn, side: other });
            }
            if pipe.is_clogged() && !pipe.window_scheduled {
                pipe.window_scheduled = true;
                queue.push_after(way.latency, Due::Window { conn, side: other });
            }
        }
    }

    /// The sides of a connection that are on `host`; both when it dialled itself.
    fn sides(&self, conn: ConnId, host: HostId) -> Vec<Side> {
        let mut sides = Vec::new();
        for side in [Side::Dialer, Side::Listener] {
            if self.conns[conn].ends.get(side as usize).is_some_and(|end| end.host == host) {
                sides.push(side);
            }
        }
        sides
    }
}
