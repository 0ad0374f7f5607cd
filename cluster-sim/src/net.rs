//! The simulated network: hosts with addresses, listeners, connections, and the ways between hosts.
//!
//! This is the kernel's side of things. It does what TCP stacks and the wires between them do, knows nothing of nodes,
//! and tells the processes on its hosts what they would learn from `epoll`: see [`Wake`].

mod carry;
mod faults;
mod route;
mod tape;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use self::tape::Tape;
use crate::host::HostId;
use crate::pipe::{Pipe, Way};
use crate::queue::{Due, Queue};
use crate::rng::{Purpose, Rng};

pub use faults::Block;
pub use route::{Fate, Greeting};

/// How many connections a kernel completes for a process that does not accept them.
const BACKLOG: usize = 128;

/// Requests for a connection that got no answer are repeated this often, first after a second, then after twice the
/// time before.
const SYN_RETRIES: u32 = 6;

/// One connection, ever.
pub(crate) type ConnId = usize;

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

#[derive(Debug)]
pub(crate) struct End {
    pub(crate) host: HostId,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) state: EndState,
    /// Nobody is told about it: a test reads and writes it by hand.
    pub(crate) raw: bool,
}

#[derive(Debug)]
struct Conn {
    /// The second is there once the listener's kernel has answered.
    ends: Vec<End>,
    /// By who writes.
    pipes: [Pipe; 2],
    target: SocketAddr,
}

#[derive(Debug)]
struct NetHost {
    ip: IpAddr,
    /// The host has power.
    up: bool,
    /// Its dials seem to come from this address.
    masquerade: Option<IpAddr>,
    next_port: u16,
    /// No descriptor is left.
    exhausted: bool,
    dials: u32,
    buffers: Option<Buffers>,
}

/// The sizes of the two buffers of each direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Bytes that the writer's kernel takes before they are acknowledged. Default 256 KiB.
    pub send: usize,
    /// Bytes that the reader's kernel takes before they are read. Default 256 KiB.
    pub receive: usize,
}

impl Default for Buffers {
    fn default() -> Buffers {
        Buffers { send: 256 << 10, receive: 256 << 10 }
    }
}

/// How long everything takes that goes from one host to another. What one connection carries stays in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Latency {
    /// At least, in nanoseconds. Default 1 ms.
    pub base: u64,
    /// At most on top of that, in nanoseconds, drawn anew for each segment. Default 0.2 ms.
    pub jitter: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { base: 1_000_000, jitter: 200_000 }
    }
}

#[derive(Debug)]
struct Listener {
    host: HostId,
    greeting: Option<Greeting>,
    backlog: VecDeque<Sock>,
}

/// Every host, listener and connection, and the ways between them.
#[derive(Debug)]
pub(crate) struct Net {
    seed: u64,
    pub(crate) latency: Latency,
    pub(crate) latencies: BTreeMap<(HostId, HostId), Latency>,
    pub(crate) chunked: bool,
    pub(crate) buffers: Buffers,
    /// How long TCP keeps sending again what is not acknowledged.
    pub(crate) give_up: u64,
    hosts: Vec<NetHost>,
    owners: BTreeMap<IpAddr, HostId>,
    listeners: BTreeMap<SocketAddr, Listener>,
    conns: Vec<Conn>,
    live: BTreeSet<ConnId>,
    cuts: BTreeSet<(HostId, HostId)>,
    blocks: BTreeMap<(HostId, HostId), Block>,
    fates: BTreeMap<SocketAddr, Fate>,
    forwards: BTreeMap<SocketAddr, SocketAddr>,
    next_nat_port: u16,
    /// Connections that stood at one time, by pair of hosts, the lesser first.
    pub(crate) opened: BTreeMap<(HostId, HostId), u64>,
    /// What someone on the path records, if there is someone.
    tape: Option<Tape>,
    /// What processes are to be told.
    pub(crate) wakes: VecDeque<(HostId, Wake)>,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Net {
        Net {
            seed,
            latency: Latency::default(),
            latencies: BTreeMap::new(),
            chunked: true,
            buffers: Buffers::default(),
            give_up: 924_000_000_000,
            hosts: Vec::new(),
            owners: BTreeMap::new(),
            listeners: BTreeMap::new(),
            conns: Vec::new(),
            live: BTreeSet::new(),
            cuts: BTreeSet::new(),
            blocks: BTreeMap::new(),
            fates: BTreeMap::new(),
            forwards: BTreeMap::new(),
            next_nat_port: 50_000,
            opened: BTreeMap::new(),
            tape: None,
            wakes: VecDeque::new(),
        }
    }

    /// A host with this address. Several may share a loopback address.
    pub(crate) fn add_host(&mut self, ip: IpAddr) -> HostId {
        let host = HostId(self.hosts.len() as u32);
        self.owners.entry(ip).or_insert(host);
        self.hosts.push(NetHost {
            ip,
            up: true,
            masquerade: None,
            next_port: 40_000,
            exhausted: false,
            dials: 0,
            buffers: None,
        });
        host
    }

    pub(crate) fn is_exhausted(&self, host: HostId) -> bool {
        self.hosts[host.index()].exhausted
    }

    /// The ways that are cut.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = (HostId, HostId)> {
        self.cuts.iter().copied()
    }

    /// The ways on which dials are kept out.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (HostId, HostId, Block)> {
        self.blocks.iter().map(|(&(from, to), &block)| (from, to, block))
    }

    pub(crate) fn owner(&self, ip: IpAddr) -> Option<HostId> {
        self.owners.get(&ip).copied()
    }

    pub(crate) fn ip(&self, host: HostId) -> IpAddr {
        self.hosts[host.index()].ip
    }

    /// Starts a connection. The answer comes as [`Wake::Dialled`].
    pub(crate) fn dial(&mut self, queue: &mut Queue, host: HostId, to: SocketAddr, raw: bool) -> Option<Sock> {
        let entry = &mut self.hosts[host.index()];
        if entry.exhausted {
            return None;
        }
        let local = SocketAddr::new(entry.ip, entry.next_port);
        entry.next_port = entry.next_port.checked_add(1).unwrap_or(40_000);
        let index = entry.dials;
        entry.dials += 1;
        let conn = self.conns.len();
        let pipe = |side: u32| {
            let rng = Rng::new(self.seed, Purpose::Pipe, host.0, index << 1 | side);
            Pipe::new(rng, self.chunked, self.buffers.send, self.buffers.receive)
        };
        self.conns.push(Conn {
            ends: vec![End { host, local, remote: to, state: EndState::Dialing, raw }],
            pipes: [pipe(0), pipe(1)],
            target: to,
        });
        self.live.insert(conn);
        let span = self.destination(to).map_or(self.latency.base, |target| self.way(host, target).latency);
        queue.push_after(span, Due::Syn { conn, attempt: 0 });
        Some(Sock { conn, side: Side::Dialer })
    }

    /// Takes the oldest connection that waits at `listener`, with the address it seems to come from.
    pub(crate) fn accept(&mut self, listener: SocketAddr) -> Option<(Sock, SocketAddr)> {
        let entry = self.listeners.get_mut(&listener)?;
        if self.hosts[entry.host.index()].exhausted {
            return None;
        }
        let sock = entry.backlog.pop_front()?;
        Some((sock, self.end(sock).remote))
    }

    /// Takes what has arrived, at most `limit` bytes.
    pub(crate) fn read(&mut self, queue: &mut Queue, sock: Sock, limit: usize) -> Read {
        match self.end(sock).state {
            EndState::Open => {}
            EndState::Dialing => return Read::Blocked,
            EndState::Failed | EndState::Reset | EndState::Closed | EndState::Lost => return Read::Reset,
        }
        let back = self.way_from(sock);
        let writer = sock.peer();
        let pipe = &mut self.conns[sock.conn].pipes[writer.side as usize];
        match pipe.read(limit) {
            Ok(Some(bytes)) => {
                if pipe.is_clogged() && !pipe.window_scheduled && !back.cut {
                    pipe.window_scheduled = true;
                    queue.push_after(back.latency, Due::Window { conn: sock.conn, side: writer.side });
                }
                Read::Bytes(bytes)
            }
            Ok(None) => Read::Blocked,
            Err(()) => Read::Ended,
        }
    }

    /// Writes what the send buffer takes; if that is not all, [`Wake::Writable`] follows.
    pub(crate) fn write(&mut self, queue: &mut Queue, sock: Sock, bytes: &[u8]) -> usize {
        if self.end(sock).state != EndState::Open {
            return 0;
        }
        let pipe = &mut self.conns[sock.conn].pipes[sock.side as usize];
        if pipe.is_finished() {
            return 0;
        }
        let taken = pipe.write(queue.now(), bytes);
        if let Some(tape) = &mut self.tape
            && sock.side == Side::Dialer
            && !self.conns[sock.conn].ends[0].raw
        {
            tape.record(sock.conn, &bytes[..taken]);
        }
        let pipe = &mut self.conns[sock.conn].pipes[sock.side as usize];
        if let Some(at) = pipe.next_ack().filter(|_| pipe.blocked) {
            queue.push(at, Due::Acked { conn: sock.conn, side: sock.side });
        }
        self.pump(queue, sock);
        taken
    }

    /// Ends our direction of the stream after what is written.
    pub(crate) fn shutdown(&mut self, queue: &mut Queue, sock: Sock) {
        if self.end(sock).state == EndState::Open {
            self.conns[sock.conn].pipes[sock.side as usize].finish();
            self.pump(queue, sock);
        }
    }

    /// Gives the socket up as an operating system does: what is written is still delivered, unless something that has
    /// arrived was not read, which resets the connection.
    pub(crate) fn close(&mut self, queue: &mut Queue, sock: Sock) {
        let unread = self.conns[sock.conn].pipes[sock.peer().side as usize].has_unread();
        if self.end(sock).state != EndState::Open || unread {
            return self.reset(queue, sock);
        }
        self.shutdown(queue, sock);
        self.end_mut(sock).state = EndState::Closed;
        self.reap(sock.conn);
    }

    /// Gives the socket up and resets the connection.
    pub(crate) fn reset(&mut self, queue: &mut Queue, sock: Sock) {
        let state = self.end(sock).state;
        self.conns[sock.conn].pipes[sock.peer().side as usize].drop_unread();
        if state == EndState::Open {
            self.send_rst(queue, sock);
        }
        if !matches!(state, EndState::Lost) {
            self.end_mut(sock).state = EndState::Closed;
        }
        self.reap(sock.conn);
    }

    /// Whether the other side has ended its stream, and everything was read.
    pub(crate) fn is_ended(&self, sock: Sock) -> bool {
        self.conns[sock.conn].pipes[sock.peer().side as usize].is_ended()
    }

    pub(crate) fn state(&self, sock: Sock) -> EndState {
        self.end(sock).state
    }

    pub(crate) fn end(&self, sock: Sock) -> &End {
        &self.conns[sock.conn].ends[sock.side as usize]
    }

    /// The host at the other end of a connection, once there is one.
    pub(crate) fn peer_host(&self, sock: Sock) -> Option<HostId> {
        self.conns[sock.conn].ends.get(sock.peer().side as usize).map(|end| end.host)
    }

    /// Who has this end of a connection.
    pub(crate) fn host_at(&self, conn: ConnId, side: Side) -> Option<HostId> {
        self.conns[conn].ends.get(side as usize).map(|end| end.host)
    }

    /// Whether a connection stands at both ends, and nothing is on its way or unread.
    pub(crate) fn is_quiet(&self, conn: ConnId) -> bool {
        let Conn { ends, pipes, .. } = &self.conns[conn];
        let open = ends.len() == 2 && ends.iter().all(|end| end.state == EndState::Open);
        open && pipes.iter().all(|pipe| pipe.is_empty() && !pipe.is_finished() && !pipe.has_unread())
    }

    /// Carries out what is due.
    pub(crate) fn handle(&mut self, queue: &mut Queue, due: &Due) {
        match *due {
            Due::Syn { conn, attempt } => self.syn(queue, conn, attempt),
            Due::Established { conn } => self.established(queue, conn),
            Due::DialFailed { conn, error } => self.dial_failed(conn, error),
            Due::Segments { conn, side } => self.segments(queue, Sock { conn, side }),
            Due::Window { conn, side } => {
                self.conns[conn].pipes[side as usize].window_scheduled = false;
                self.pump(queue, Sock { conn, side });
            }
            Due::Acked { conn, side } => self.acked(queue, Sock { conn, side }),
            Due::GiveUp { conn, side, epoch } => self.give_up(Sock { conn, side }, epoch),
            Due::Tick { .. } | Due::Resolved { .. } | Due::Hostile { .. } => {}
        }
    }

    fn end_mut(&mut self, sock: Sock) -> &mut End {
        &mut self.conns[sock.conn].ends[sock.side as usize]
    }

    fn wake(&mut self, sock: Sock, wake: Wake) {
        let end = self.end(sock);
        if !end.raw {
            self.wakes.push_back((end.host, wake));
        }
    }

    fn established(&mut self, queue: &mut Queue, conn: ConnId) {
        let sock = Sock { conn, side: Side::Dialer };
        match self.end(sock).state {
            EndState::Dialing if self.way_from(sock.peer()).cut => {
                queue.push_after(1_000_000_000, Due::Established { conn });
            }
            EndState::Dialing => self.open(sock),
            // Given up in the meantime: the listener's side is told as soon as it says anything.
            _ => self.send_rst(queue, sock),
        }
    }

    fn open(&mut self, sock: Sock) {
        self.end_mut(sock).state = EndState::Open;
        self.wake(sock, Wake::Dialled(sock, Ok(())));
    }

    fn dial_failed(&mut self, conn: ConnId, error: DialError) {
        let sock = Sock { conn, side: Side::Dialer };
        if self.end(sock).state == EndState::Dialing {
            self.end_mut(sock).state = EndState::Failed;
            self.wake(sock, Wake::Dialled(sock, Err(error)));
        }
        self.reap(conn);
    }

    /// The way that what `writer` sends has to go.
    fn way_from(&self, writer: Sock) -> Way {
        let ends = &self.conns[writer.conn].ends;
        match ends.get(writer.peer().side as usize) {
            Some(reader) => self.way(self.end(writer).host, reader.host),
            None => Way { latency: self.latency.base, jitter: 0, cut: false },
        }
    }

    fn way(&self, from: HostId, to: HostId) -> Way {
        let latency = self.latencies.get(&(from, to)).unwrap_or(&self.latency);
        let powered = self.hosts[from.index()].up && self.hosts[to.index()].up;
        Way { latency: latency.base, jitter: latency.jitter, cut: !powered || self.cuts.contains(&(from, to)) }
    }

    /// Forgets a connection that nothing can come of any more.
    fn reap(&mut self, conn: ConnId) {
        let entry = &self.conns[conn];
        let over = |end: &End| !matches!(end.state, EndState::Open | EndState::Dialing);
        if entry.ends.iter().all(over) && entry.pipes.iter().all(Pipe::is_empty) {
            self.live.remove(&conn);
        }
    }
}
