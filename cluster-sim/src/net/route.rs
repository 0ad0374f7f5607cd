//! Where a dial ends up: listeners, port-forwards, and addresses that answer in ways of their own.

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{BACKLOG, Block, ConnId, DialError, End, EndState, Listener, Net, SYN_RETRIES, Side, Sock, Wake};
use crate::host::HostId;
use crate::queue::{Due, Queue};

/// What becomes of every dial to an address, whoever is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is refused at once.
    Refuse,
    /// It is never answered.
    Hang,
    /// A router says that there is no way.
    Unreachable,
}

/// What becomes of connections that a raw listener has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// They stand, and wait for the test to [accept](crate::World::raw_accept) them.
    Wait,
    /// They are closed at once.
    Close,
    /// They are reset at once.
    Reset,
}

/// Where a request for a connection goes.
enum Route {
    /// Here, seeming to come from there.
    To { listener: SocketAddr, source: SocketAddr },
    /// An answer that there is no connection.
    Fail(DialError),
    /// No answer.
    Silent,
}

impl Net {
    /// Has a process, or a raw listener, take the connections to `address`.
    pub(crate) fn listen(&mut self, host: HostId, address: SocketAddr, greeting: Option<Greeting>) {
        let before = self.listeners.insert(address, Listener { host, greeting, backlog: VecDeque::new() });
        assert!(before.is_none(), "{address} is listened at already");
    }

    /// Ends listening; connections that were not accepted are reset.
    pub(crate) fn unlisten(&mut self, queue: &mut Queue, address: SocketAddr) {
        if let Some(listener) = self.listeners.remove(&address) {
            for sock in listener.backlog {
                self.reset(queue, sock);
            }
        }
    }

    pub(crate) fn set_fate(&mut self, address: SocketAddr, fate: Option<Fate>) {
        match fate {
            Some(fate) => self.fates.insert(address, fate),
            None => self.fates.remove(&address),
        };
    }

    pub(crate) fn forward(&mut self, from: SocketAddr, to: Option<SocketAddr>) {
        match to {
            Some(to) => self.forwards.insert(from, to),
            None => self.forwards.remove(&from),
        };
    }

    /// The host that a dial to `address` ends at, if there is one.
    pub(super) fn destination(&self, address: SocketAddr) -> Option<HostId> {
        let address = *self.forwards.get(&address).unwrap_or(&address);
        self.listeners.get(&address).map(|listener| listener.host).or_else(|| self.owner(address.ip()))
    }

    /// The host that a connection to `address` would be accepted by, if nothing were in the way.
    pub(crate) fn leads_to(&self, address: SocketAddr) -> Option<HostId> {
        let address = *self.forwards.get(&address).unwrap_or(&address);
        self.listeners.get(&address).map(|listener| listener.host)
    }

    pub(super) fn syn(&mut self, queue: &mut Queue, conn: ConnId, attempt: u32) {
        let sock = Sock { conn, side: Side::Dialer };
        let (host, to) = (self.end(sock).host, self.conns[conn].target);
        if self.end(sock).state != EndState::Dialing || self.conns[conn].ends.len() > 1 {
            return;
        }
        match self.route(sock, to) {
            Route::To { listener, source } => self.answer(queue, conn, listener, source),
            Route::Fail(error) => {
                let back = self.destination(to).map_or(self.latency.base, |target| self.way(target, host).latency);
                queue.push_after(back, Due::DialFailed { conn, error });
            }
            Route::Silent if attempt < SYN_RETRIES => {
                queue.push_after(1_000_000_000 << attempt, Due::Syn { conn, attempt: attempt + 1 });
            }
            Route::Silent => self.dial_failed(conn, DialError::Unreachable),
        }
    }

    fn route(&mut self, sock: Sock, to: SocketAddr) -> Route {
        match self.fates.get(&to) {
            Some(Fate::Refuse) => return Route::Fail(DialError::Refused),
            Some(Fate::Hang) => return Route::Silent,
            Some(Fate::Unreachable) => return Route::Fail(DialError::Unreachable),
            None => {}
        }
        let from = self.end(sock).host;
        let Some(host) = self.destination(to) else { return Route::Silent };
        if self.way(from, host).cut {
            return Route::Silent;
        }
        match self.blocks.get(&(from, host)) {
            Some(Block::Drop) => return Route::Silent,
            Some(Block::Refuse) => return Route::Fail(DialError::Refused),
            None => {}
        }
        let listener = *self.forwards.get(&to).unwrap_or(&to);
        match self.listeners.get(&listener) {
            None => Route::Fail(DialError::Refused),
            Some(entry) if entry.backlog.len() >= BACKLOG => Route::Silent,
            Some(_) => Route::To { listener, source: self.source(sock, to, listener) },
        }
    }

    /// The address that the listener sees.
    fn source(&mut self, sock: Sock, to: SocketAddr, listener: SocketAddr) -> SocketAddr {
        let end = self.end(sock);
        let masquerade = self.hosts[end.host.index()].masquerade;
        let translated = if to == listener { masquerade } else { Some(to.ip()) };
        let Some(ip) = translated else { return end.local };
        self.next_nat_port = self.next_nat_port.checked_add(1).unwrap_or(50_000);
        SocketAddr::new(ip, self.next_nat_port)
    }

    /// The listener's kernel completes the connection.
    fn answer(&mut self, queue: &mut Queue, conn: ConnId, address: SocketAddr, source: SocketAddr) {
        let dialer = self.conns[conn].ends[0].host;
        let Some(listener) = self.listeners.get_mut(&address) else { return };
        let (host, greeting) = (listener.host, listener.greeting);
        let sock = Sock { conn, side: Side::Listener };
        let raw = greeting.is_some();
        if !matches!(greeting, Some(Greeting::Close | Greeting::Reset)) {
            listener.backlog.push_back(sock);
        }
        self.conns[conn].ends.push(End { host, local: address, remote: source, state: EndState::Open, raw });
        for (writer, reader) in [(dialer, host), (host, dialer)] {
            let send = self.hosts[writer.index()].buffers.unwrap_or(self.buffers).send;
            let receive = self.hosts[reader.index()].buffers.unwrap_or(self.buffers).receive;
            let side = if (writer, reader) == (dialer, host) { Side::Dialer } else { Side::Listener };
            self.conns[conn].pipes[side as usize].set_limits(send, receive);
        }
        *self.opened.entry((dialer.min(host), dialer.max(host))).or_default() += 1;
        let at = queue.now() + self.way(host, dialer).latency;
        self.conns[conn].pipes[Side::Listener as usize].not_before(at);
        queue.push(at, Due::Established { conn });
        match greeting {
            Some(Greeting::Close) => self.close(queue, sock),
            Some(Greeting::Reset) => self.reset(queue, sock),
            Some(Greeting::Wait) => {}
            None => self.wakes.push_back((host, Wake::Incoming(address))),
        }
    }
}
