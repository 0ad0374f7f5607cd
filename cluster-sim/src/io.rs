//! What a driver can do: sockets, names, and telling the user, here the log, the trace and the checks.

use std::net::SocketAddr;

use cluster_core::limits::MAX_DATA_HEAD;
use cluster_core::{
    CloseMode, Disconnect, Event, Frame, Instant, LinkId, Message, Node, NodeId, Notice, Proven, Reason, Refused, Run,
    Target,
};
use cluster_timeline::record::{Brief, FrameKind, HostId, Record};

use crate::app::Disk;
use crate::log::{Closed, Dialled, Ended, Log, Logged, Noticed, Taken};
use crate::net::Net;
use crate::oracle::{Oracle, When};
use crate::queue::{Due, Queue};
use crate::socket::{Read, Side, Sock};
use crate::trace::Trace;

/// The most that one read takes.
const READ: usize = 64 << 10;

/// How long a look-up takes.
const LOOK_UP: u64 = 2_000_000;

/// One host's view of the world, for the length of one turn.
#[derive(Debug)]
pub(crate) struct Io<'a> {
    pub(crate) host: HostId,
    /// Which of the host's processes it is.
    pub(crate) life: u32,
    /// As what the process acts: a node may adopt a later incarnation.
    pub(crate) run: Run,
    /// The host's own monotonic clock.
    pub(crate) clock: Instant,
    pub(crate) net: &'a mut Net,
    pub(crate) queue: &'a mut Queue,
    pub(crate) trace: &'a mut Trace,
    pub(crate) log: &'a mut Log,
    pub(crate) oracle: &'a mut Oracle,
    pub(crate) dials: &'a mut Vec<Dialled>,
    /// Messages the user takes at present; `None`: all.
    pub(crate) appetite: &'a mut Option<u64>,
    /// Bytes the process reads from its sockets at present; `None`: all.
    pub(crate) reading: &'a mut Option<u64>,
    /// After how many messages the user acknowledges; 0: only when told to.
    pub(crate) acknowledging: u64,
    /// What applications have kept.
    pub(crate) disk: &'a mut Disk,
}

impl Io<'_> {
    /// The same view, for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Io<'_> {
        Io {
            host: self.host,
            life: self.life,
            run: self.run,
            clock: self.clock,
            net: self.net,
            queue: self.queue,
            trace: self.trace,
            log: self.log,
            oracle: self.oracle,
            dials: self.dials,
            appetite: self.appetite,
            reading: self.reading,
            acknowledging: self.acknowledging,
            disk: self.disk,
        }
    }

    /// The host's own monotonic clock.
    pub(crate) fn clock(&self) -> Instant {
        self.clock
    }

    pub(crate) fn resolve(&mut self, target: Target) {
        self.trace(Record::Resolve(target.clone()));
        let due = Due::Resolved { host: self.host, life: self.life, target: Box::new(target) };
        self.queue.push_after(LOOK_UP, due);
    }

    pub(crate) fn dial(&mut self, link: LinkId, to: SocketAddr) -> Option<Sock> {
        self.trace(Record::Dial(link, to));
        self.dials.push(Dialled { at: self.at(), from: self.host, link, to });
        self.oracle.dial(self.host, link, to, self.when());
        let sock = self.net.dial(self.queue, self.host, to, false);
        if let (Some(recorder), Some(sock)) = (self.trace.recording(), sock) {
            recorder.connection(self.host, link, sock.into());
        }
        sock
    }

    pub(crate) fn accept(&mut self, listener: SocketAddr) -> Option<(Sock, SocketAddr)> {
        self.net.accept(listener)
    }

    /// The link that a socket is of, by what the driver has said.
    pub(crate) fn link(&self, sock: Sock) -> Option<LinkId> {
        self.net.token(sock)
    }

    pub(crate) fn set_link(&mut self, sock: Sock, link: LinkId) {
        self.net.set_token(sock, link);
    }

    pub(crate) fn local(&self, sock: Sock) -> SocketAddr {
        self.net.end(sock).local
    }

    pub(crate) fn read(&mut self, sock: Sock) -> Read {
        let limit = self.reading.map_or(READ, |budget| READ.min(usize::try_from(budget).unwrap_or(READ)));
        if limit == 0 {
            return Read::Blocked;
        }
        let read = self.net.read(self.queue, sock, limit);
        if let (Read::Bytes(bytes), Some(budget)) = (&read, &mut *self.reading) {
            *budget -= bytes.len() as u64;
        }
        read
    }

    pub(crate) fn write(&mut self, sock: Sock, bytes: &[u8]) -> usize {
        let taken = self.net.write(self.queue, sock, bytes);
        if taken > 0 {
            self.trace.bytes(self.queue.now(), sock.conn.serial, &bytes[..taken]);
        }
        taken
    }

    pub(crate) fn shutdown(&mut self, sock: Sock) {
        self.net.shutdown(self.queue, sock);
    }

    pub(crate) fn close(&mut self, sock: Sock) {
        self.net.close(self.queue, sock);
    }

    pub(crate) fn reset(&mut self, sock: Sock) {
        self.net.reset(self.queue, sock);
    }

    pub(crate) fn is_hungry(&self) -> bool {
        *self.appetite != Some(0)
    }

    pub(crate) fn message(&mut self, message: Message) {
        if let Some(appetite) = &mut *self.appetite {
            *appetite -= 1;
        }
        self.trace(Record::Message(message.from, message.payload.len()));
        if let Some(recorder) = self.trace.recording() {
            recorder.message_taken(Instant::from_nanos(self.queue.now()), self.run, &message);
        }
        self.oracle.message(self.host, &message);
        self.log.taken += 1;
        if self.log.keep_messages {
            let Message { from, payload, receipt } = message;
            self.log.messages.push(Taken { at: self.at(), run: self.run, from, payload, receipt });
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.trace(Record::Event(event.clone()));
        self.oracle.event(self.host, &event, self.when());
        match event {
            Event::PeerUp(_) => self.log.up += 1,
            Event::PeerDown { .. } => self.log.up = self.log.up.saturating_sub(1),
            _ => {}
        }
        self.log.events.push(Logged { at: self.at(), run: self.run, event });
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.trace(Record::Notice(notice.clone()));
        self.log.notices.push(Noticed { at: self.at(), notice });
    }

    pub(crate) fn writable(&mut self, peer: NodeId) {
        self.log.writable.push((self.at(), peer));
    }

    pub(crate) fn admitted(&mut self, link: LinkId, sock: Sock, from: SocketAddr) {
        debug_assert_eq!(self.net.end(sock).host, self.host, "a socket of another host");
        self.trace(Record::Admitted(link, from));
        if let Some(recorder) = self.trace.recording() {
            recorder.connection(self.host, link, sock.into());
        }
    }

    pub(crate) fn refused(&mut self, refused: &Refused) {
        self.trace(Record::Refused(refused.from, refused.reason.clone()));
        self.oracle.refused(self.host);
        self.log.refused += 1;
    }

    /// A link has a connection that stands, or is being dialled.
    pub(crate) fn opened(&mut self, link: LinkId, sock: Sock) {
        let from = (sock.side == Side::Listener).then(|| self.net.end(sock).remote.ip());
        self.oracle.opened(self.host, self.run, link, sock, from);
    }

    pub(crate) fn greeted(&mut self, link: LinkId) {
        self.oracle.greeted(self.host, link);
    }

    pub(crate) fn connected(&mut self, link: LinkId, sock: Sock, proven: Proven) {
        self.trace(Record::Connected(link, proven.run));
        self.oracle.connected(self.host, link, proven, self.local(sock), self.when());
    }

    pub(crate) fn disconnected(&mut self, link: LinkId, cause: &Disconnect) {
        self.trace(Record::Disconnected(link, cause.clone()));
        self.oracle.gone(self.host, link, cause);
        self.log.ends.push(Ended { at: self.at(), link, cause: cause.clone() });
    }

    pub(crate) fn close_asked(&mut self, link: LinkId, mode: CloseMode, reason: &Reason, peer: Option<Run>) {
        self.trace(Record::Close(link, mode, reason.clone()));
        self.oracle.closed(self.host, link, reason, self.when());
        self.log.closes.push(Closed { at: self.at(), link, peer, mode, reason: reason.clone() });
    }

    pub(crate) fn got(&mut self, id: LinkId, frame: &Frame, sock: Sock) {
        self.trace(Record::Got(id, Brief::of(frame)));
        let ip = self.net.end(sock).remote.ip();
        self.oracle.got(self.host, id, frame, ip);
    }

    /// Bytes of a link were read.
    pub(crate) fn bytes_read(&mut self, link: LinkId) {
        self.oracle.bytes_read(self.host, link, self.when());
    }

    /// The node hears that bytes of a link were read which make no whole frame.
    pub(crate) fn part_read(&mut self, link: LinkId) {
        self.oracle.part_read(self.host, link, self.when());
    }

    /// The kernel takes no bytes of a link, or does again.
    pub(crate) fn stuck(&mut self, link: LinkId, stuck: bool) {
        self.oracle.stuck(self.host, link, stuck);
    }

    /// A frame is about to be written.
    pub(crate) fn sent(&mut self, id: LinkId, frame: &Frame, sock: Sock) {
        self.trace(Record::Sent(id, Brief::of(frame)));
        let width = if matches!(frame, Frame::Data(_)) { self.net.width(sock) } else { None };
        self.oracle.sent(self.host, id, frame, width, self.when());
        let bytes = match frame {
            Frame::Data(data) => data.bytes.len() + MAX_DATA_HEAD,
            control => control.encode().len(),
        };
        self.log.wire.count(FrameKind::of(frame), bytes);
    }

    /// The node has nothing more to say for now.
    pub(crate) fn drained(&mut self, node: &mut Node, links: usize) {
        self.oracle.drained(self.host, node, links, self.when());
    }

    /// The node always has more to say, at one and the same moment.
    pub(crate) fn endless(&mut self, actions: u32) {
        self.oracle.fail(self.host, format!("{actions} actions at one moment, and no end of them"));
    }

    pub(crate) fn trace(&mut self, what: Record) {
        self.trace.add(self.queue.now(), Some(self.host), what);
    }

    fn at(&self) -> Instant {
        Instant::from_nanos(self.queue.now())
    }

    /// When this happens.
    pub(crate) fn when(&self) -> When {
        When { clock: self.clock, world: self.queue.now() }
    }
}
