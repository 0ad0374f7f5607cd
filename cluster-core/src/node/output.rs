//! What goes out on a link, pulled as its socket takes it: control frames first, each read at that moment, then data.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Node;
use super::timer::{LinkTimer, Timer};
use crate::action::{Action, CloseMode};
use crate::flight::{Flight, queueing};
use crate::id::{LinkId, NodeId};
use crate::limits::MAX_CHUNK;
use crate::link::LinkState;
use crate::session::SendStream;
use crate::wire::Frame;

/// What a frame is taken to cost besides its data, so that a batch of small ones ends, too.
const FRAME_COST: usize = 64;

impl Node {
    /// The next frame to send on a link, to be sealed by its channel and written.
    ///
    /// To be called after [`Action::Send`], as the socket takes more, until it returns `None`; that asks for the next
    /// [`Action::Send`]. Between this and the socket there should wait about 1 MiB at most: a node that is not asked
    /// for `write_stall` while output waits takes the connection for dead.
    #[must_use]
    pub fn poll_frame(&mut self, link: LinkId) -> Option<Frame> {
        let frame = self.next_frame(link);
        let now = self.cx.now;
        let found = self.pairs.link_mut(link)?;
        match &frame {
            Some(frame) => {
                found.waiting_since = Some(now);
                found.spoke = now;
                found.owed = None;
                self.cx.stats.frames_sent += 1;
                if let Frame::Data(data) = frame {
                    self.cx.stats.bytes_sent += data.bytes.len() as u64;
                }
            }
            None => {
                found.armed = false;
                found.waiting_since = None;
            }
        }
        frame
    }

    /// Takes frames with [`poll_frame`](Node::poll_frame) until there are no more, or they come to about `limit` bytes.
    /// Returns whether there may be more.
    ///
    /// On a slow link fewer bytes are taken at once, so that the record they fill does not keep a ping waiting.
    pub fn poll_frames(&mut self, link: LinkId, limit: usize, frames: &mut Vec<Frame>) -> bool {
        let mut bytes = 0;
        let flight = self.pairs.link(link).and_then(|link| link.flight.as_ref());
        let chunk = flight.map_or(MAX_CHUNK, |flight| flight.chunk());
        let limit = if chunk < MAX_CHUNK { limit.min(chunk) } else { limit };
        // The ping behind a chunk shares its record.
        while bytes < limit || self.pairs.link(link).is_some_and(|link| link.slots.ping.is_some()) {
            let Some(frame) = self.poll_frame(link) else { return false };
            bytes += match &frame {
                Frame::Data(data) => data.bytes.len(),
                _ => 0,
            } + FRAME_COST;
            frames.push(frame);
        }
        true
    }

    fn next_frame(&mut self, id: LinkId) -> Option<Frame> {
        let link = self.pairs.link_mut(id)?;
        if link.proven.is_none() || matches!(link.state, LinkState::Closing { mode: CloseMode::Abort, .. }) {
            return None;
        }
        if let Some(frame) = link.slots.handshake.take() {
            return Some(frame);
        }
        if let Some(ack) = link.slots.last_ack.take() {
            return Some(Frame::Ack(ack));
        }
        if let Some(close) = link.slots.close.take() {
            return Some(Frame::Close(close));
        }
        if link.is_closing() {
            return None;
        }
        if let Some(token) = link.slots.pong.take() {
            return Some(Frame::Pong { token });
        }
        if link.slots.ping.is_some() {
            return self.next_ping(id);
        }
        if !link.is_up() {
            return None;
        }
        let run = link.run()?;
        link.slots.ack = false;
        let progress = core::mem::take(&mut link.slots.progress);
        if let Some(ack) = self.mail.ack(run.id, progress)? {
            link.unacked = None;
            return Some(Frame::Ack(ack));
        }
        if link.slots.has_gossip() {
            if link.control.may_gossip(self.cx.now) {
                link.control.gossips(self.cx.now);
                return self.next_gossip(id, run.id);
            }
            self.cx.timers.set_no_later(Timer::Link(id, LinkTimer::Pace), link.control.next_gossip());
        }
        self.next_chunk(id, run.id)
    }

    /// The ping that waits; its answer tells how long what was handed out before it takes.
    fn next_ping(&mut self, id: LinkId) -> Option<Frame> {
        let link = self.pairs.link_mut(id)?;
        let token = link.slots.ping.take()?;
        let send = link.run().filter(|_| link.is_up()).and_then(|run| self.mail.outgoing(run.id));
        if let (Some(send), Some(flight)) = (send, &mut link.flight) {
            flight.pinged(self.cx.now, token, send.next());
        }
        Some(Frame::Ping { token })
    }

    /// The next chunk of a stream if the link has room for it in flight; else, perhaps, a ping that finds out when.
    fn next_chunk(&mut self, id: LinkId, peer: NodeId) -> Option<Frame> {
        let flight = self.pairs.link_mut(id)?.flight.as_mut()?;
        let send = self.mail.outgoing_mut(peer)?;
        if !send.unsent() {
            return None;
        }
        let before = send.next();
        let room = flight.room(before);
        if room == 0 {
            self.cx.stats.flight_limit += 1;
            self.hold(id);
            return self.next_ping(id);
        }
        let chunk = send.pull(room.min(flight.chunk()))?;
        let sent = send.next();
        flight.sent(self.cx.now, before, sent, queueing(self.cx.config.timing.heartbeat));
        if flight.wants_sample(sent) {
            self.measure(id);
        }
        Some(Frame::Data(chunk))
    }

    /// Has a ping say how long what is in flight takes, as soon as a ping may go out.
    fn measure(&mut self, id: LinkId) {
        let Some(link) = self.pairs.link_mut(id).filter(|link| link.ping.is_none()) else { return };
        let earliest = link.control.next_ping(self.cx.now);
        if earliest > self.cx.now {
            self.cx.timers.set_no_later(Timer::Link(id, LinkTimer::Pace), earliest);
        } else {
            self.ping(id, false);
        }
    }

    fn next_gossip(&mut self, id: LinkId, peer: NodeId) -> Option<Frame> {
        let link = self.pairs.link_mut(id)?;
        if core::mem::take(&mut link.slots.update) {
            return Some(Frame::Update(self.update_frame()));
        }
        if core::mem::take(&mut link.slots.digest) {
            return Some(Frame::Digest(self.digest_for(peer)));
        }
        if let Some((buckets, reply)) = link.slots.list.take() {
            return Some(Frame::List(self.list_for(peer, buckets, reply)));
        }
        let joiners = core::mem::take(&mut link.slots.announce);
        Some(Frame::Announce(self.announcement(&joiners)))
    }

    /// Tells the driver, once, that a link has output.
    pub(super) fn arm(&mut self, id: LinkId) {
        let Some(link) = self.pairs.link_mut(id) else { return };
        if link.armed || link.proven.is_none() {
            return;
        }
        let gossips = link.slots.has_gossip() && (!link.is_up() || link.control.may_gossip(self.cx.now));
        if link.slots.has_gossip() && !gossips {
            self.cx.timers.set_no_later(Timer::Link(id, LinkTimer::Pace), link.control.next_gossip());
        }
        let silent = link.slots.is_empty() && !gossips;
        let data = self.data_waits(id);
        if silent && data == Some(false) {
            return self.hold(id);
        }
        let Some(link) = self.pairs.link_mut(id).filter(|_| !silent || data == Some(true)) else { return };
        link.armed = true;
        link.waiting_since = Some(self.cx.now);
        self.cx.timers.set_no_later(Timer::Link(id, LinkTimer::Stall), self.cx.now + self.cx.config.timing.write_stall);
        self.cx.actions.push_back(Action::Send { link: id });
    }

    /// Data waits for room in flight: a ping finds out how fast the link is, and a deadline whether it carries anything.
    fn hold(&mut self, id: LinkId) {
        let write_stall = self.cx.config.timing.write_stall;
        if let Some(flight) = self.pairs.link_mut(id).and_then(|link| link.flight.as_mut()) {
            flight.hold(self.cx.now);
            self.cx
                .timers
                .set_no_later(Timer::Link(id, LinkTimer::Stall), flight.stalls_at(write_stall).unwrap_or(self.cx.now));
        }
        self.measure(id);
    }

    /// Whether there is room in flight for data that waits on a link; `None` if none waits.
    fn data_waits(&self, id: LinkId) -> Option<bool> {
        let link = self.pairs.link(id).filter(|link| link.is_up())?;
        let send = self.mail.outgoing(link.run()?.id)?;
        let flight = link.flight.as_ref().filter(|_| send.unsent())?;
        Some(flight.room(send.next()) > 0)
    }

    /// Nothing is in flight yet on a link that has just come up. The answer to the last step of its handshake has shown
    /// how long a round trip takes.
    pub(super) fn begin_flight(&mut self, id: LinkId, peer: NodeId) {
        let Some(sent) = self.mail.outgoing(peer).map(SendStream::next) else { return };
        let queueing = queueing(self.cx.config.timing.heartbeat);
        let Some(link) = self.pairs.link_mut(id) else { return };
        link.flight = Some(Box::new(Flight::new(self.cx.now, sent, self.cx.now - link.spoke, queueing)));
    }
}
