//! Where a dial ends up: listeners, port-forwards, and addresses that answer in ways of their own.

use std::collections::VecDeque;
use std::net::SocketAddr;

use cluster_timeline::record::HostId;

use serde::{Deserialize, Serialize};

use super::{BACKLOG, Block, ConnId, DialError, End, EndState, Holder, Listener, Net, SYN_RETRIES, Side, Sock, Wake};
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
    /// The connection stands, and nobody ever reads from it or writes to it. Needs a host with that address.
    Stall,
    /// The connection stands, and is closed at once. Needs a host with that address.
    Close,
    /// The connection stands, and is reset at once. Needs a host with that address.
    Reset,
    /// Whoever listens at this other address answers, as if the dial had gone there.
    Elsewhere(SocketAddr),
}

/// What becomes of connections that a raw listener has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// They stand, and wait for the test to [accept](crate::NetMut::raw_accept) them.
    Wait,
    /// They are closed at once.
    Close,
    /// They are reset at once.
    Reset,
}

/// Where a request for a connection goes.
enum Route {
    /// To a listener, or to a kernel that takes it by itself, here; it seems to come from `source`.
    To { host: HostId, address: SocketAddr, source: SocketAddr, taker: Taker },
    /// An answer that there is no connection.
    Fail(DialError),
    /// No answer.
    Silent,
}

/// Who takes a connection.
#[derive(Clone, Copy)]
enum Taker {
    Process,
    Test(Greeting),
    /// The kernel, which leaves it at that or closes it.
    Nobody(Greeting),
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

    /// What listened at one address listens at the other, or no more.
    pub(crate) fn move_listener(&mut self, queue: &mut Queue, from: SocketAddr, to: Option<SocketAddr>) {
        let Some(to) = to else { return self.unlisten(queue, from) };
        if let Some(listener) = self.listeners.remove(&from) {
            self.listeners.insert(to, listener);
        }
    }

    pub(crate) fn set_fate(&mut self, address: SocketAddr, fate: Option<Fate>) {
        match fate {
            Some(fate) => self.fates.insert(address, fate),
            None => self.fates.remove(&address),
        };
    }

    /// Dials to the addresses of this host, and to those where nobody is, end as they normally would.
    pub(crate) fn forget_fates(&mut self, host: HostId) {
        let owners = &self.owners;
        self.fates.retain(|address, _| owners.get(&address.ip()).is_some_and(|&owner| owner != host));
    }

    pub(crate) fn forward(&mut self, from: SocketAddr, to: Option<SocketAddr>) {
        match to {
            Some(to) => self.forwards.insert(from, to),
            None => self.forwards.remove(&from),
        };
    }

    /// The host that a dial to `address` ends at, if there is one.
    pub(super) fn destination(&self, address: SocketAddr) -> Option<HostId> {
        let address = self.translate(address);
        self.listeners.get(&address).map(|listener| listener.host).or_else(|| self.owner(address.ip()))
    }

    /// The host that a connection to `address` would be accepted by, if nothing were in the way.
    pub(crate) fn leads_to(&self, address: SocketAddr) -> Option<HostId> {
        self.listeners.get(&self.translate(address)).map(|listener| listener.host)
    }

    /// Where a dial to `address` really goes.
    fn translate(&self, address: SocketAddr) -> SocketAddr {
        let address = match self.fates.get(&address) {
            Some(&Fate::Elsewhere(other)) => other,
            _ => address,
        };
        *self.forwards.get(&address).unwrap_or(&address)
    }

    pub(super) fn syn(&mut self, queue: &mut Queue, conn: ConnId, attempt: u32) {
        let sock = Sock { conn, side: Side::Dialer };
        let (host, to) = (self.end(sock).host, self.conns[conn].target);
        if self.state(sock) != EndState::Dialing || self.conns[conn].ends.len() > 1 {
            return;
        }
        match self.route(sock, to) {
            Route::To { host, address, source, taker } => self.answer(queue, conn, host, address, source, taker),
            Route::Fail(error) => {
                let back = self.ways.latency(self.destination(to).unwrap_or(host), host);
                queue.push_after(back, Due::DialFailed { conn, error });
            }
            Route::Silent if attempt < SYN_RETRIES => {
                queue.push_after(1_000_000_000 << attempt, Due::Syn { conn, attempt: attempt + 1 });
            }
            Route::Silent => self.dial_failed(conn, DialError::Unreachable),
        }
    }

    fn route(&mut self, sock: Sock, to: SocketAddr) -> Route {
        let fate = self.fates.get(&to).copied();
        match fate {
            Some(Fate::Refuse) => return Route::Fail(DialError::Refused),
            Some(Fate::Hang) => return Route::Silent,
            Some(Fate::Unreachable) => return Route::Fail(DialError::Unreachable),
            Some(Fate::Stall | Fate::Close | Fate::Reset | Fate::Elsewhere(_)) | None => {}
        }
        let from = self.end(sock).host;
        let Some(host) = self.destination(to) else { return Route::Silent };
        if !self.is_open(from, host) {
            return Route::Silent;
        }
        match self.ways.block(from, host) {
            Some(Block::Drop) => return Route::Silent,
            Some(Block::Refuse) => return Route::Fail(DialError::Refused),
            None => {}
        }
        let address = self.translate(to);
        let greeting = match fate {
            Some(Fate::Stall) => Some(Greeting::Wait),
            Some(Fate::Close) => Some(Greeting::Close),
            Some(Fate::Reset) => Some(Greeting::Reset),
            _ => None,
        };
        let taker = match (greeting, self.listeners.get(&address)) {
            (Some(greeting), _) => Taker::Nobody(greeting),
            (None, None) => return Route::Fail(DialError::Refused),
            (None, Some(entry)) if entry.backlog.len() >= BACKLOG => return Route::Silent,
            (None, Some(entry)) => entry.greeting.map_or(Taker::Process, Taker::Test),
        };
        Route::To { host, address, source: self.source(sock, to), taker }
    }

    /// The address that the listener sees.
    fn source(&mut self, sock: Sock, to: SocketAddr) -> SocketAddr {
        let end = self.end(sock);
        let forwarded = self.forwards.contains_key(&to).then_some(to.ip());
        let Some(ip) = forwarded.or(self.hosts[end.host.index()].masquerade) else { return end.local };
        self.next_nat_port = self.next_nat_port.checked_add(1).unwrap_or(50_000);
        SocketAddr::new(ip, self.next_nat_port)
    }

    /// The listener's kernel completes the connection.
    fn answer(
        &mut self,
        queue: &mut Queue,
        conn: ConnId,
        host: HostId,
        address: SocketAddr,
        source: SocketAddr,
        taker: Taker,
    ) {
        let dialer = self.conns[conn].ends[0].host;
        let sock = Sock { conn, side: Side::Listener };
        let (holder, greeting) = match taker {
            Taker::Process => (Holder::Process, Greeting::Wait),
            Taker::Test(greeting) => (Holder::Test, greeting),
            Taker::Nobody(greeting) => (Holder::Nobody, greeting),
        };
        if let (Greeting::Wait, Holder::Process | Holder::Test, Some(listener)) =
            (greeting, holder, self.listeners.get_mut(&address))
        {
            listener.backlog.push_back(sock);
        }
        let end = End { host, local: address, remote: source, state: EndState::Open, holder, token: None, told: false };
        self.conns[conn].ends.push(end);
        self.hosts[host.index()].socks.insert(sock);
        for (side, writer, reader) in [(Side::Dialer, dialer, host), (Side::Listener, host, dialer)] {
            let send = self.hosts[writer.index()].buffers.unwrap_or(self.buffers).send;
            let receive = self.hosts[reader.index()].buffers.unwrap_or(self.buffers).receive;
            self.pipe_mut(Sock { conn, side }).set_limits(send, receive);
        }
        *self.opened.entry((dialer.min(host), dialer.max(host))).or_default() += 1;
        self.opened_in_all += 1;
        let at = queue.now().saturating_add(self.ways.latency(host, dialer));
        self.pipe_mut(sock).not_before(at);
        queue.push(at, Due::Established { conn });
        match greeting {
            Greeting::Close => self.close(queue, sock),
            Greeting::Reset => self.reset(queue, sock),
            Greeting::Wait if holder == Holder::Process => self.wakes.push_back((host, Wake::Incoming(address))),
            Greeting::Wait => {}
        }
    }
}
