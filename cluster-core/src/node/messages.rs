//! Messages between the user, [mail](super::mail) and links.

use bytes::Bytes;

use super::Node;
use super::mail::{Deferred, Effect, Effects};
use super::timer::{LinkTimer, Timer};
use crate::error::FlushError;
use crate::event::Undelivered;
use crate::flight::queueing;
use crate::id::{FlushId, LinkId, NodeId};
use crate::limits::{ACK_DELAY, RESERVATION_STALL};
use crate::link::Link;
use crate::message::{Broadcast, Message, Receipt, SendError, SendErrorKind};
use crate::session::{Acked, Due};
use crate::time::Instant;
use crate::wire::{Ack, Data};

impl Node {
    /// Accepts a message for a peer that is up, or lost and not yet gone. It arrives in order and exactly once, over
    /// however many links, or is reported once as undelivered.
    ///
    /// # Errors
    ///
    /// [`SendError`] gives the payload back; nothing has changed. After [`SendErrorKind::Full`] the node says with
    /// [`Action::Writable`](crate::Action::Writable) when to try again.
    pub fn send(&mut self, now: Instant, to: NodeId, payload: Bytes) -> Result<(), SendError> {
        self.advance(now);
        let accepted = match self.leaving {
            Some(_) => Err(SendErrorKind::Leaving),
            None => self.mail.send(&mut self.cx, to, &payload),
        };
        match accepted {
            Ok(link) => {
                link.into_iter().for_each(|link| self.arm(link));
                Ok(())
            }
            Err(kind) => Err(SendError { payload, kind }),
        }
    }

    /// Accepts a message for every peer whose session lives. Each gets it or is named in the report; a large payload is
    /// shared, not copied.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the node is leaving or the message is longer than its own `max_message`; nothing has changed.
    pub fn broadcast(&mut self, now: Instant, payload: Bytes) -> Result<Broadcast, SendError> {
        self.advance(now);
        let (length, cap) = (payload.len() as u64, self.cx.config.limits.max_message);
        let refused = match () {
            () if self.is_leaving() => Some(SendErrorKind::Leaving),
            () if length > cap => Some(SendErrorKind::TooLarge { length, cap }),
            () => None,
        };
        if let Some(kind) = refused {
            return Err(SendError { payload, kind });
        }
        let (report, links) = self.mail.broadcast(&mut self.cx, &payload);
        links.into_iter().for_each(|link| self.arm(link));
        Ok(report)
    }

    /// The user will read this [`Event::Undelivered`](crate::Event::Undelivered) later: until [`read`](Node::read) is
    /// told so it takes room in the `send_window` of its peer, of whatever run, as it did before. For drivers that queue
    /// events; who hands each to its user at once need not say anything.
    pub fn defer(&mut self, told: &Undelivered) -> Deferred {
        self.mail.defer(told)
    }

    /// What was [deferred](Node::defer) has been read, or never will be.
    pub fn read(&mut self, now: Instant, deferred: Deferred) {
        self.advance(now);
        self.mail.read(&mut self.cx, deferred);
    }

    /// Takes a message. Peers with messages take turns; of each peer they come in the order in which it sent them.
    ///
    /// Taking a message is what acknowledges it to its sender and gives it credit for more, unless the config says
    /// [`Acknowledge::Manual`](crate::Acknowledge::Manual).
    #[must_use]
    pub fn poll_message(&mut self, now: Instant) -> Option<Message> {
        self.advance(now);
        while let Some(id) = self.mail.turn() {
            let (taken, effects) = self.mail.take(&mut self.cx, &self.pairs, id);
            self.apply(effects);
            let message = taken.unwrap_or_else(|broken| {
                broken.link.into_iter().for_each(|link| self.violated(link, broken.error));
                None
            });
            self.mail.end_turn(&mut self.cx, id, message.is_some());
            if message.is_some() {
                return message;
            }
        }
        None
    }

    /// The application has dealt with a message that it took, and with all messages before it of the same run. Only
    /// needed, and only of consequence, with [`Acknowledge::Manual`](crate::Acknowledge::Manual), and for a peer that is
    /// up or lost: of one that was forgotten nothing is kept once its messages are taken, so to its user they are in doubt.
    pub fn acknowledge(&mut self, now: Instant, receipt: Receipt) {
        self.advance(now);
        let effects = self.mail.acknowledge(&mut self.cx, receipt);
        self.apply(effects);
    }

    /// Waits until every message accepted so far for a peer has its outcome: [`Event::Flushed`](crate::Event::Flushed)
    /// says so. Messages accepted later do not matter. For a lost peer that may take until its session is over.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if there is nothing to wait for, or too many wait already; nothing has changed.
    pub fn flush(&mut self, now: Instant, peer: NodeId) -> Result<FlushId, FlushError> {
        self.advance(now);
        self.mail.flush(&mut self.cx, peer)
    }

    /// A chunk of a peer's stream has arrived.
    pub(super) fn data(&mut self, link: LinkId, from: NodeId, data: Data) {
        match self.mail.data(&mut self.cx, from, data) {
            Ok(effects) => self.apply(effects),
            Err(error) => self.violated(link, error),
        }
    }

    /// A peer says how far our stream has come.
    pub(super) fn acknowledged(&mut self, link: LinkId, from: NodeId, ack: Ack) {
        match self.mail.acknowledged(from, &ack) {
            None => {}
            Some(Ok(acked)) => {
                self.settle(from, acked);
                self.landed(link, ack.received);
                if !acked.needed {
                    self.tolerate(link);
                }
            }
            Some(Err(error)) => self.violated(link, error),
        }
    }

    /// Bytes in flight have arrived up to this offset, so there may be room for more.
    fn landed(&mut self, id: LinkId, offset: u64) {
        let (now, queueing) = (self.cx.now, queueing(self.cx.config.timing.heartbeat));
        self.edit(id, |link| {
            if let Some(flight) = &mut link.flight {
                flight.acknowledged(now, offset, queueing);
            }
            // The connection does not stand still.
            link.waiting_since = link.waiting_since.map(|_| now);
        });
    }

    /// An acknowledgement has made room, or given credit.
    pub(super) fn settle(&mut self, id: NodeId, acked: Acked) {
        if let Some(link) = self.mail.settle(&mut self.cx, id, acked) {
            self.arm(link);
        }
        self.leave_progress();
    }

    /// Applies the effects of mail to links.
    pub(super) fn apply(&mut self, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Owes(link) => {
                    if let Some(link) = self.pairs.link_mut(link) {
                        link.fed = self.cx.now;
                        let deadline = self.cx.now + RESERVATION_STALL;
                        self.cx.timers.set_no_later(Timer::Link(link.id, LinkTimer::Liveness), deadline);
                    }
                }
                Effect::Ack(_, Due::Never) => {}
                Effect::Ack(link, Due::Soon) => {
                    self.cx.timers.set(Timer::Link(link, LinkTimer::Ack), self.cx.now + ACK_DELAY);
                }
                Effect::Ack(link, Due::Now) => self.edit(link, |link| link.slots.ack |= link.is_up()),
            }
        }
    }

    /// An acknowledgement is held back no longer.
    pub(super) fn ack_deadline(&mut self, link: LinkId) {
        let Some(run) = self.pairs.link(link).and_then(Link::run) else { return };
        if self.mail.ack_is_due(run.id) {
            self.edit(link, |link| link.slots.ack |= link.is_up());
        }
    }
}
