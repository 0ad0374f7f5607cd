//! The simulated network: hosts with addresses, listeners, connections, and the ways between hosts.
//!
//! This is the kernel's side of things. It does what TCP stacks and the wires between them do, knows nothing of nodes,
//! and tells the processes on its hosts what they would learn from `epoll`: see [`Wake`].

mod canary;
mod carry;
mod conns;
mod faults;
mod route;
mod tape;
mod ways;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use cluster_core::LinkId;
use cluster_timeline::record::HostId;

use crate::pipe::Pipe;
use crate::queue::{Due, Queue};
use crate::rng::{Purpose, Small};
use crate::way::Transit;

use self::canary::Canary;
use self::conns::Conns;
use self::tape::{Tape, Wiretap};
use self::ways::Ways;

pub(crate) use crate::socket::{ConnId, DialError, EndState, Read, Side, Sock, Wake};
pub use route::{Fate, Greeting};
pub use ways::Block;

/// How many connections a kernel completes for a process that does not accept them.
const BACKLOG: usize = 128;

/// Requests for a connection that got no answer are repeated this often, first after a second, then after twice the
/// time before.
const SYN_RETRIES: u32 = 6;

#[derive(Debug)]
pub(crate) struct End {
    pub(crate) host: HostId,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) state: EndState,
    holder: Holder,
    /// What the process calls it.
    token: Option<LinkId>,
    /// The process was told that there is something to read, and has not looked yet.
    told: bool,
}

/// Who has the descriptor of an end, and hears what there is to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Process,
    /// A test reads and writes it by hand, and is told nothing.
    Test,
    /// The kernel alone: it closes the end when the other side does.
    Nobody,
}

#[derive(Debug)]
struct Conn {
    /// The second is there once the listener's kernel has answered.
    ends: Vec<End>,
    /// By who writes.
    pipes: [Pipe; 2],
    target: SocketAddr,
    /// Nothing gets through any more in either direction, whatever the ways are like.
    severed: bool,
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
    buffers: Option<Buffers>,
    /// Its ends of all the connections there are.
    socks: BTreeSet<Sock>,
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
    pub(crate) chunked: bool,
    pub(crate) buffers: Buffers,
    /// How long TCP keeps sending again what is not acknowledged.
    pub(crate) give_up: u64,
    hosts: Vec<NetHost>,
    owners: BTreeMap<IpAddr, HostId>,
    listeners: BTreeMap<SocketAddr, Listener>,
    conns: Conns<Conn>,
    ways: Ways,
    /// How many dials there were from each host to each other.
    dials: BTreeMap<(HostId, HostId), u32>,
    fates: BTreeMap<SocketAddr, Fate>,
    forwards: BTreeMap<SocketAddr, SocketAddr>,
    next_nat_port: u16,
    /// Connections that stood at one time, by pair of hosts, the lesser first.
    pub(crate) opened: BTreeMap<(HostId, HostId), u64>,
    /// What someone on the path records, if there is someone.
    tape: Option<Tape>,
    wiretap: Option<Wiretap>,
    canary: Option<Canary>,
    pub(crate) opened_in_all: u64,
    /// What processes are to be told.
    pub(crate) wakes: VecDeque<(HostId, Wake)>,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Net {
        Net {
            seed,
            chunked: true,
            buffers: Buffers::default(),
            give_up: 924_000_000_000,
            hosts: Vec::new(),
            owners: BTreeMap::new(),
            listeners: BTreeMap::new(),
            conns: Conns::default(),
            ways: Ways::new(seed),
            dials: BTreeMap::new(),
            fates: BTreeMap::new(),
            forwards: BTreeMap::new(),
            next_nat_port: 50_000,
            opened: BTreeMap::new(),
            tape: None,
            wiretap: None,
            canary: None,
            opened_in_all: 0,
            wakes: VecDeque::new(),
        }
    }

    /// Keeps everything that is written from now on.
    pub(crate) fn tap(&mut self) {
        self.wiretap.get_or_insert_default();
    }

    /// Everything that was kept, one direction of one connection after the other.
    pub(crate) fn tapped(&self) -> impl Iterator<Item = &[u8]> {
        self.wiretap.iter().flat_map(Wiretap::kept)
    }

    /// Starts to record the first words of those who dial.
    pub(crate) fn tape(&mut self) {
        self.tape.get_or_insert_default();
    }

    /// One of the recordings.
    pub(crate) fn overheard(&self, choice: u64) -> Option<Bytes> {
        self.tape.as_ref()?.pick(choice)
    }

    /// Numbered messages must not be readable on any wire from now on.
    pub(crate) fn expect_secrecy(&mut self) {
        self.canary.get_or_insert_default();
    }

    /// Who has written a numbered message that can be read on the wire.
    pub(crate) fn leaked(&self) -> Option<HostId> {
        let sock = self.canary.as_ref()?.seen()?;
        self.conns.get(sock.conn).map(|conn| conn.ends[sock.side as usize].host)
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
            buffers: None,
            socks: BTreeSet::new(),
        });
        host
    }

    pub(crate) fn is_exhausted(&self, host: HostId) -> bool {
        self.hosts[host.index()].exhausted
    }

    /// The ways that are cut.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = (HostId, HostId)> {
        self.ways.cuts()
    }

    /// The ways on which dials are kept out.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (HostId, HostId, Block)> {
        self.ways.blocks()
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
        let target = self.destination(to).unwrap_or(host);
        // A connection more of one pair of hosts does not change what is drawn for those of others.
        let dials = self.dials.entry((host, target)).or_default();
        let index = *dials;
        *dials = dials.wrapping_add(1);
        let pipe = |side: u32| {
            let rng = Small::new(self.seed, Purpose::Pipe, pair_number(host, target), index << 1 | side);
            Pipe::new(rng, self.chunked, self.buffers.send, self.buffers.receive)
        };
        let holder = if raw { Holder::Test } else { Holder::Process };
        let conn = self.conns.insert(Conn {
            ends: vec![End { host, local, remote: to, state: EndState::Dialing, holder, token: None, told: false }],
            pipes: [pipe(0), pipe(1)],
            target: to,
            severed: false,
        });
        let sock = Sock { conn, side: Side::Dialer };
        self.hosts[host.index()].socks.insert(sock);
        queue.push_after(self.ways.latency(host, target), Due::Syn { conn, attempt: 0 });
        Some(sock)
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
        match self.state(sock) {
            EndState::Open => {}
            EndState::Dialing => return Read::Blocked,
            EndState::Failed | EndState::Reset | EndState::Closed | EndState::Lost => return Read::Reset,
        }
        self.end_mut(sock).told = false;
        let writer = sock.peer();
        let pipe = self.pipe_mut(writer);
        let read = pipe.read(limit);
        if pipe.is_clogged()
            && !pipe.window_scheduled
            && matches!(read, Ok(Some(_)))
            && let Some(latency) = self.back(sock)
        {
            self.pipe_mut(writer).window_scheduled = true;
            queue.push_after(latency, Due::Window { conn: sock.conn, side: writer.side });
        }
        match read {
            Ok(Some(bytes)) => Read::Bytes(bytes),
            Ok(None) => Read::Blocked,
            Err(()) => Read::Ended,
        }
    }

    /// Writes what the send buffer takes; if that is not all, [`Wake::Writable`] follows.
    pub(crate) fn write(&mut self, queue: &mut Queue, sock: Sock, bytes: &[u8]) -> usize {
        if self.state(sock) != EndState::Open {
            return 0;
        }
        let pipe = self.pipe_mut(sock);
        if pipe.is_finished() {
            return 0;
        }
        let taken = pipe.write(queue.now(), bytes);
        if let Some(tape) = &mut self.tape
            && sock.side == Side::Dialer
            && self.conns[sock.conn].ends[0].holder == Holder::Process
        {
            tape.record(sock.conn, &bytes[..taken]);
        }
        if let Some(tap) = &mut self.wiretap {
            tap.record(sock, &bytes[..taken]);
        }
        if let Some(canary) = &mut self.canary {
            canary.look(sock, &bytes[..taken]);
        }
        self.await_ack(queue, sock);
        self.pump(queue, sock);
        taken
    }

    /// Ends our direction of the stream after what is written.
    pub(crate) fn shutdown(&mut self, queue: &mut Queue, sock: Sock) {
        if self.state(sock) == EndState::Open {
            self.pipe_mut(sock).finish();
            self.pump(queue, sock);
        }
    }

    /// Gives the socket up as an operating system does: what is written is still delivered, unless something that has
    /// arrived was not read, which resets the connection.
    pub(crate) fn close(&mut self, queue: &mut Queue, sock: Sock) {
        if self.state(sock) != EndState::Open || self.pipe_mut(sock.peer()).has_unread() {
            return self.reset(queue, sock);
        }
        self.shutdown(queue, sock);
        self.end_mut(sock).state = EndState::Closed;
        self.reap(sock.conn);
    }

    /// Gives the socket up and resets the connection.
    pub(crate) fn reset(&mut self, queue: &mut Queue, sock: Sock) {
        if self.conns.get(sock.conn).is_none() {
            return;
        }
        let state = self.state(sock);
        self.pipe_mut(sock.peer()).drop_unread();
        if state == EndState::Open {
            self.send_rst(queue, sock);
        }
        if state != EndState::Lost {
            self.end_mut(sock).state = EndState::Closed;
        }
        self.reap(sock.conn);
    }

    /// Whether the other side has ended its stream, and everything was read.
    pub(crate) fn is_ended(&self, sock: Sock) -> bool {
        self.conns.get(sock.conn).is_none_or(|conn| conn.pipes[sock.peer().side as usize].is_ended())
    }

    /// The state of an end; of a connection that is over, closed.
    pub(crate) fn state(&self, sock: Sock) -> EndState {
        let end = self.conns.get(sock.conn).and_then(|conn| conn.ends.get(sock.side as usize));
        end.map_or(EndState::Closed, |end| end.state)
    }

    /// An end that somebody holds.
    pub(crate) fn end(&self, sock: Sock) -> &End {
        &self.conns[sock.conn].ends[sock.side as usize]
    }

    /// What the process that holds an end calls it.
    pub(crate) fn token(&self, sock: Sock) -> Option<LinkId> {
        self.conns.get(sock.conn)?.ends.get(sock.side as usize)?.token
    }

    pub(crate) fn set_token(&mut self, sock: Sock, token: LinkId) {
        self.end_mut(sock).token = Some(token);
    }

    /// The host at the other end of a connection, once there is one.
    pub(crate) fn peer_host(&self, sock: Sock) -> Option<HostId> {
        self.conns[sock.conn].ends.get(sock.peer().side as usize).map(|end| end.host)
    }

    /// Who has this end of a connection.
    pub(crate) fn host_at(&self, conn: ConnId, side: Side) -> Option<HostId> {
        self.conns.get(conn)?.ends.get(side as usize).map(|end| end.host)
    }

    /// Whether a connection stands at both ends, and nothing is on its way or unread.
    pub(crate) fn is_quiet(&self, conn: ConnId) -> bool {
        let Some(Conn { ends, pipes, .. }) = self.conns.get(conn) else { return false };
        let open = ends.len() == 2 && ends.iter().all(|end| end.state == EndState::Open);
        open && pipes.iter().all(|pipe| pipe.is_empty() && !pipe.is_finished() && !pipe.has_unread())
    }

    /// Returns whether bytes that a host has written are on their way over connections that it has closed.
    pub(crate) fn is_draining(&self, host: HostId) -> bool {
        let drains = |conn: &Conn| {
            let is_its_own = |end: &End| end.host == host && end.state == EndState::Closed;
            conn.ends.iter().zip(&conn.pipes).any(|(end, pipe)| is_its_own(end) && pipe.next_arrival().is_some())
        };
        self.conns.iter().any(drains)
    }

    /// How many connections there are, those included whose last bytes are under way.
    pub(crate) fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Carries out what is due.
    pub(crate) fn handle(&mut self, queue: &mut Queue, due: &Due) {
        let conn = match *due {
            Due::Clog { from, to, number } => return self.turn_clog(queue, from, to, number),
            Due::Tick { .. } | Due::Resolved { .. } | Due::Hostile { .. } | Due::Resume { .. } | Due::Feed { .. } => {
                return;
            }
            Due::Syn { conn, .. }
            | Due::Established { conn }
            | Due::DialFailed { conn, .. }
            | Due::Segments { conn, .. }
            | Due::Window { conn, .. }
            | Due::Acked { conn, .. }
            | Due::GiveUp { conn, .. } => conn,
        };
        if self.conns.get(conn).is_none() {
            return;
        }
        match *due {
            Due::Syn { conn, attempt } => self.syn(queue, conn, attempt),
            Due::Established { conn } => self.established(queue, conn),
            Due::DialFailed { conn, error } => self.dial_failed(conn, error),
            Due::Segments { conn, side } => self.segments(queue, Sock { conn, side }),
            Due::Window { conn, side } => {
                self.pipe_mut(Sock { conn, side }).window_scheduled = false;
                self.pump(queue, Sock { conn, side });
            }
            Due::Acked { conn, side } => self.acked(queue, Sock { conn, side }),
            Due::GiveUp { conn, side, epoch } => self.give_up(Sock { conn, side }, epoch),
            _ => {}
        }
    }

    fn end_mut(&mut self, sock: Sock) -> &mut End {
        &mut self.conns[sock.conn].ends[sock.side as usize]
    }

    /// What `writer` writes to.
    fn pipe_mut(&mut self, writer: Sock) -> &mut Pipe {
        &mut self.conns[writer.conn].pipes[writer.side as usize]
    }

    fn wake(&mut self, sock: Sock, wake: Wake) {
        let end = self.end_mut(sock);
        let again = matches!(wake, Wake::Readable(_)) && std::mem::replace(&mut end.told, true);
        if end.holder == Holder::Process && !again {
            let host = end.host;
            self.wakes.push_back((host, wake));
        }
    }

    fn established(&mut self, queue: &mut Queue, conn: ConnId) {
        let sock = Sock { conn, side: Side::Dialer };
        match self.state(sock) {
            EndState::Dialing if self.back(sock.peer()).is_none() => {
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
        if self.state(sock) == EndState::Dialing {
            self.end_mut(sock).state = EndState::Failed;
            self.wake(sock, Wake::Dialled(sock, Err(error)));
        }
        self.reap(conn);
    }

    /// Lets a pipe meet the way that what `writer` sends has to go.
    fn with_way<T>(&mut self, writer: Sock, act: impl FnOnce(&mut Pipe, &mut Transit<'_>) -> T) -> T {
        let conn = &mut self.conns[writer.conn];
        let from = conn.ends[writer.side as usize].host;
        let to = conn.ends.get(writer.peer().side as usize).map_or(from, |end| end.host);
        let powered = self.hosts[from.index()].up && self.hosts[to.index()].up;
        let mut way = if powered && !conn.severed { self.ways.transit(from, to) } else { Transit::cut() };
        act(&mut conn.pipes[writer.side as usize], &mut way)
    }

    /// How long what `writer` says takes to get to the other side, apart from segments; `None` if it does not.
    fn back(&self, writer: Sock) -> Option<u64> {
        let conn = &self.conns[writer.conn];
        let from = conn.ends[writer.side as usize].host;
        let to = conn.ends.get(writer.peer().side as usize).map_or(from, |end| end.host);
        (!conn.severed && self.is_open(from, to)).then(|| self.ways.latency(from, to))
    }

    /// Whether anything gets from one host to another.
    fn is_open(&self, from: HostId, to: HostId) -> bool {
        self.hosts[from.index()].up && self.hosts[to.index()].up && !self.ways.is_shut(from, to)
    }

    /// Forgets a connection that nothing can come of any more.
    fn reap(&mut self, conn: ConnId) {
        let Some(entry) = self.conns.get(conn) else { return };
        let over = |end: &End| match end.state {
            EndState::Open | EndState::Dialing => false,
            EndState::Closed | EndState::Lost => true,
            EndState::Failed | EndState::Reset => end.holder == Holder::Nobody,
        };
        if !entry.ends.iter().all(over) || !entry.pipes.iter().all(Pipe::is_empty) {
            return;
        }
        for (end, side) in entry.ends.iter().zip([Side::Dialer, Side::Listener]) {
            self.hosts[end.host.index()].socks.remove(&Sock { conn, side });
        }
        self.conns.remove(conn);
        if let Some(canary) = &mut self.canary {
            canary.forget(conn);
        }
    }
}

/// A number of 24 bits for a pair of hosts: another one for each, unless there are more than 4,096 hosts.
fn pair_number(one: HostId, other: HostId) -> u32 {
    const BITS: u32 = 12;
    if one.0.max(other.0) < 1 << BITS {
        return one.0 << BITS | other.0;
    }
    let mixed = u64::from(one.0) << 32 | u64::from(other.0);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - 2 * BITS)) as u32
}
