//! What goes out on a link, pulled as its socket takes it: control frames first, each read at that moment, then data.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Node;
use super::timer::{LinkTimer, Timer};
use crate::action::{Action, CloseMode};
use crate::event::Event;
use crate::flight::{Flight, queueing};
use crate::id::{LinkId, NodeId, Run};
use crate::limits::MAX_CHUNK;
use crate::link::{Link, LinkState};
use crate::mutant::mutant;
use crate::peer::Standing;
use crate::reason::{ProtocolError, Reason};
use crate::wire::{Close, Frame, Offer, Profile};

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
        let now = self.now;
        let found = self.links.get_mut(&link)?;
        match &frame {
            Some(frame) => {
                found.waiting_since = Some(now);
                found.spoke = now;
                found.owed = None;
                self.stats.frames_sent += 1;
                if let Frame::Data(data) = frame {
                    self.stats.bytes_sent += data.bytes.len() as u64;
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
        let flight = self.links.get(&link).and_then(|link| link.flight.as_ref());
        let chunk = flight.map_or(MAX_CHUNK, |flight| flight.chunk());
        let limit = if chunk < MAX_CHUNK { limit.min(chunk) } else { limit };
        // The ping behind a chunk shares its record.
        while bytes < limit || self.links.get(&link).is_some_and(|link| link.slots.ping.is_some()) {
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
        let link = self.links.get_mut(&id)?;
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
        let session = self.peers.get_mut(&run.id).and_then(|peer| peer.mail.session.as_mut())?;
        if let Some(ack) = session.ack(progress) {
            link.unacked = None;
            return Some(Frame::Ack(ack));
        }
        if link.slots.has_gossip() {
            if link.talk.may_gossip(self.now) {
                link.talk.gossips(self.now);
                return self.next_gossip(id, run.id);
            }
            self.timers.set_no_later(Timer::Link(id, LinkTimer::Pace), link.talk.next_gossip());
        }
        self.next_chunk(id, run.id)
    }

    /// The ping that waits; its answer tells how long what was handed out before it takes.
    fn next_ping(&mut self, id: LinkId) -> Option<Frame> {
        let link = self.links.get_mut(&id)?;
        let token = link.slots.ping.take()?;
        let session =
            link.run().filter(|_| link.is_up()).and_then(|run| self.peers.get(&run.id)?.mail.session.as_ref());
        if let (Some(session), Some(flight)) = (session, &mut link.flight) {
            flight.pinged(self.now, token, session.send.next());
        }
        Some(Frame::Ping { token })
    }

    /// The next chunk of a stream if the link has room for it in flight; else, perhaps, a ping that finds out when.
    fn next_chunk(&mut self, id: LinkId, peer: NodeId) -> Option<Frame> {
        let flight = self.links.get_mut(&id)?.flight.as_mut()?;
        let send = &mut self.peers.get_mut(&peer)?.mail.session.as_mut()?.send;
        if !send.unsent() {
            return None;
        }
        let before = send.next();
        let room = flight.room(before);
        if room == 0 {
            self.stats.flight_limit += 1;
            self.hold(id);
            return self.next_ping(id);
        }
        let chunk = send.pull(room.min(flight.chunk()))?;
        let sent = send.next();
        flight.sent(self.now, before, sent, queueing(self.config.timing.heartbeat));
        if flight.wants_sample(sent) {
            self.measure(id);
        }
        Some(Frame::Data(chunk))
    }

    /// Has a ping say how long what is in flight takes, as soon as a ping may go out.
    fn measure(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.ping.is_none()) else { return };
        let earliest = link.talk.next_ping(self.now);
        if earliest > self.now {
            self.timers.set_no_later(Timer::Link(id, LinkTimer::Pace), earliest);
        } else {
            self.ping(id, false);
        }
    }

    fn next_gossip(&mut self, id: LinkId, peer: NodeId) -> Option<Frame> {
        let link = self.links.get_mut(&id)?;
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
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.armed || link.proven.is_none() {
            return;
        }
        let gossips = link.slots.has_gossip() && (!link.is_up() || link.talk.may_gossip(self.now));
        if link.slots.has_gossip() && !gossips {
            self.timers.set_no_later(Timer::Link(id, LinkTimer::Pace), link.talk.next_gossip());
        }
        let silent = link.slots.is_empty() && !gossips;
        let data = self.data_waits(id);
        if silent && data == Some(false) {
            return self.hold(id);
        }
        let Some(link) = self.links.get_mut(&id).filter(|_| !silent || data == Some(true)) else { return };
        link.armed = true;
        link.waiting_since = Some(self.now);
        self.timers.set_no_later(Timer::Link(id, LinkTimer::Stall), self.now + self.config.timing.write_stall);
        self.actions.push_back(Action::Send { link: id });
    }

    /// Data waits for room in flight: a ping finds out how fast the link is, and a deadline whether it carries anything.
    fn hold(&mut self, id: LinkId) {
        let write_stall = self.config.timing.write_stall;
        if let Some(flight) = self.links.get_mut(&id).and_then(|link| link.flight.as_mut()) {
            flight.hold(self.now);
            self.timers
                .set_no_later(Timer::Link(id, LinkTimer::Stall), flight.stalls_at(write_stall).unwrap_or(self.now));
        }
        self.measure(id);
    }

    /// Whether there is room in flight for data that waits on a link; `None` if none waits.
    fn data_waits(&self, id: LinkId) -> Option<bool> {
        let link = self.links.get(&id).filter(|link| link.is_up())?;
        let send = &self.peers.get(&link.run()?.id)?.mail.session.as_ref()?.send;
        let flight = link.flight.as_ref().filter(|_| send.unsent())?;
        Some(flight.room(send.next()) > 0)
    }

    /// A frame has arrived.
    pub(super) fn frame(&mut self, id: LinkId, frame: Frame) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_heard()) else { return };
        let Some(run) = link.run() else { return };
        link.heard = self.now;
        link.owed = None;
        self.stats.frames_received += 1;
        match frame {
            Frame::Ping { token } => return self.pinged(id, token),
            Frame::Pong { token } => return self.ponged(id, token),
            Frame::Claim(claim) if link.state == LinkState::Authenticated => return self.claimed(id, claim),
            Frame::Accept(accept) => return self.accepted(id, accept),
            Frame::Reject(reject) => return self.rejected(id, reject.code),
            Frame::Resume(resume) => return self.resumed(id, resume),
            Frame::Close(close) => return self.goodbye(id, close),
            _ if !link.is_up() => return self.violated(id, ProtocolError::UnexpectedFrame),
            _ => {}
        }
        match frame {
            Frame::Data(data) => {
                link.fed = self.now;
                if link.unacked.is_none() {
                    link.unacked = Some(self.now);
                    self.owes_a_word(id);
                }
                return self.data(id, run.id, data);
            }
            Frame::Ack(ack) => return self.acknowledged(id, run.id, ack),
            _ => self.tolerate(id),
        }
        if !self.links.get(&id).is_some_and(Link::is_heard) {
            return;
        }
        match frame {
            Frame::Digest(digest) => self.digest_received(id, run, digest),
            Frame::List(list) => self.list_received(id, run, list),
            Frame::Announce(announce) => self.announced(run, announce),
            Frame::Update(update) => self.updated(run, &update.profile),
            _ => self.violated(id, ProtocolError::UnexpectedFrame),
        }
    }

    /// The other side says goodbye: we say nothing more either.
    fn goodbye(&mut self, id: LinkId, close: Close) {
        let reason = match close {
            Close::Leaving => Reason::Left,
            Close::Removed => Reason::Removed,
            Close::Other(code) => Reason::Other(code),
        };
        let Some(run) = self.links.get(&id).and_then(Link::run) else { return };
        self.drop_link(id, CloseMode::Flush, reason.clone());
        // It may have come before the peer was ever up, and still counts.
        self.departs(run, &reason);
    }

    /// A peer has changed what it says of itself.
    fn updated(&mut self, run: Run, profile: &Profile) {
        let Some(peer) = self.peers.get_mut(&run.id) else { return };
        // The limits of a link are those of its handshake.
        let profile = Profile { max_message: peer.profile.max_message, window: peer.profile.window, ..profile.clone() };
        if peer.profile == profile {
            return;
        }
        peer.contact.addresses.update(&profile.addresses);
        peer.profile = profile;
        let info = peer.info();
        if peer.is_up() {
            self.event(Event::PeerUpdated(info));
        }
    }

    /// Nothing is in flight yet on a link that has just come up. The answer to the last step of its handshake has shown
    /// how long a round trip takes.
    fn begin_flight(&mut self, id: LinkId, peer: NodeId) {
        let Some(sent) = self.peers.get(&peer).and_then(|peer| Some(peer.mail.session.as_ref()?.send.next())) else {
            return;
        };
        let queueing = queueing(self.config.timing.heartbeat);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.flight = Some(Box::new(Flight::new(self.now, sent, self.now - link.spoke, queueing)));
    }

    /// A link connects the two from now on, and data may flow.
    pub(super) fn up(&mut self, id: LinkId, run: Run, theirs: &Offer) {
        if !self.exchange_offers(id, run, theirs) {
            return;
        }
        self.stats.links_up += 1;
        self.begin_flight(id, run.id);
        self.timers.cancel(Timer::Link(id, LinkTimer::Handshake));
        self.timers.set(Timer::Link(id, LinkTimer::Stable), self.now + self.config.timing.stable_after);
        self.watch(id);
        self.timers.cancel(Timer::Reconnect(run.id));
        self.timers.cancel(Timer::Forget(run.id));
        self.session_resumes(run.id);
        self.tombstones.unbury(run.id);
        self.drop_candidate(run.id);
        self.dialer.withdraw(run.id);
        let Some(peer) = self.peers.get_mut(&run.id) else { return };
        peer.rest.clear();
        if mutant!(BackoffResetAtConnect) {
            peer.contact.backoff.reset();
        }
        peer.mail.open = true;
        let is_news = !peer.is_up();
        peer.standing = Standing::Up;
        if is_news {
            let info = peer.info();
            self.event(Event::PeerUp(info));
        }
        self.targets_up(run);
        self.schedule_digest(id, run.id);
        self.arm(id);
    }
}
