//! Who is alive: any byte counts, a ping asks for one, silence decides. A process that stood still itself accuses
//! nobody.
use super::Node;
use super::timer::{LinkTimer, Timer};
use crate::action::CloseMode;
use crate::flight::queueing;
use crate::id::LinkId;
use crate::limits::{ACK_DELAY, RESERVATION_STALL, SPEAK_INTERVAL};
use crate::link::Ping;
use crate::mutant::mutant;
use crate::reason::{ProtocolError, Reason};
use crate::time::Instant;

/// A ping may come early by this fraction of a heartbeat.
const SPREAD: u32 = 4;

impl Node {
    /// A link has come up. The first check is spread, so that the heartbeats of many peers do not come at once.
    pub(super) fn watch(&mut self, id: LinkId) {
        let heartbeat = self.cx.config.timing.heartbeat;
        let first = heartbeat / 2 + self.cx.rng.up_to(heartbeat / 2);
        self.cx.timers.set(Timer::Link(id, LinkTimer::Liveness), self.cx.now + first);
    }

    pub(super) fn check_liveness(&mut self, id: LinkId) {
        let timing = &self.cx.config.timing;
        let (heartbeat, timeout) = (timing.heartbeat, timing.peer_timeout);
        let Some(link) = self.pairs.link(id).filter(|link| link.is_up()) else { return };
        let heard = link.heard;
        let silence = self.cx.now - heard;
        if silence >= timeout && !mutant!(NoTimeout) {
            return self.drop_link(id, CloseMode::Abort, Reason::Timeout);
        }
        let fed = link.fed;
        let peer = link.run().map(|run| run.id);
        let owing = peer.is_some_and(|id| self.mail.owes_bytes(id));
        if owing
            && (self.cx.now - fed >= RESERVATION_STALL || peer.is_some_and(|id| self.mail.must_yield(&self.cx, id)))
        {
            self.cx.stats.reservation_stalls += 1;
            peer.into_iter().for_each(|id| self.mail.has_had_its_time(id));
            return self.drop_link(id, CloseMode::Abort, Reason::Timeout);
        }
        // Peers that were all heard at one moment are not pinged at one.
        let wait = heartbeat - self.cx.rng.up_to(heartbeat / SPREAD);
        let next = if silence >= heartbeat - heartbeat / SPREAD {
            if link.ping.is_none() && !mutant!(NoHeartbeat) {
                self.ping(id, false);
            }
            (heard + timeout).min(self.cx.now + wait)
        } else {
            heard + wait
        };
        let next = if owing { next.min(self.cx.now + RESERVATION_STALL) } else { next };
        let speaks = self.speak(id);
        self.cx.timers.set(Timer::Link(id, LinkTimer::Liveness), speaks.map_or(next, |speaks| next.min(speaks)));
    }

    /// Says something on a link at which bytes have arrived for a while without a word from here: the other side may be
    /// sending one long message, and hears of its arrival by this alone. Returns when it is time to look again.
    ///
    /// The word is an acknowledgement of what has arrived, or a ping if not even a frame is whole. A ping that waits for
    /// its answer goes out once more: a pong that stands behind much data does not keep this side silent.
    fn speak(&mut self, id: LinkId) -> Option<Instant> {
        let interval = self.cx.config.timing.heartbeat.min(SPEAK_INTERVAL);
        let link = self.pairs.link_mut(id).filter(|_| !mutant!(SilentReceiver))?;
        let due = link.owed.into_iter().chain(link.unacked).min()? + interval;
        if due > self.cx.now {
            return Some(due);
        }
        if link.run().is_some_and(|run| self.mail.has_progress(run.id)) {
            self.edit(id, |link| link.slots.progress = true);
        } else {
            link.unacked = None;
            match link.ping {
                _ if link.owed.is_none() => {}
                None => self.ping(id, false),
                Some(Ping { sent: None, .. }) => {}
                Some(Ping { token, .. }) => self.edit(id, |link| link.slots.ping = Some(token)),
            }
        }
        Some(self.cx.now + interval)
    }

    /// The liveness timer of a link fires soon enough to say something. With a short heartbeat it does so anyway.
    pub(super) fn owes_a_word(&mut self, id: LinkId) {
        if self.cx.config.timing.heartbeat > SPEAK_INTERVAL {
            self.cx.timers.set_no_later(Timer::Link(id, LinkTimer::Liveness), self.cx.now + SPEAK_INTERVAL);
        }
    }

    /// Bytes have arrived and no frame: a sign of life.
    pub(super) fn bytes_read(&mut self, id: LinkId) {
        let now = self.cx.now;
        let Some(link) = self.pairs.link_mut(id).filter(|link| link.is_heard() && !mutant!(FramesAlone)) else {
            return;
        };
        (link.heard, link.fed) = (now, now);
        if link.is_up() && link.owed.is_none() {
            link.owed = Some(now);
            self.owes_a_word(id);
        }
    }

    /// The connection took some of what it had not taken before: it does not stand still.
    pub(super) fn bytes_written(&mut self, id: LinkId) {
        if let Some(since) = self.pairs.link_mut(id).and_then(|link| link.waiting_since.as_mut()) {
            *since = self.cx.now;
        }
    }

    /// A link under suspicion must answer within `probe_timeout`.
    pub(super) fn probe(&mut self, id: LinkId) {
        if self.pairs.link(id).is_some_and(|link| link.proven.is_some() && !link.is_closing() && !link.is_probed()) {
            self.cx.stats.probes += 1;
            self.ask(id);
        }
    }

    /// Pings a link under suspicion, as soon as it may be pinged again: whoever makes us suspect a peer over and over
    /// must not make us flood it.
    fn ask(&mut self, id: LinkId) {
        let Some(earliest) = self.pairs.link(id).map(|link| link.control.next_ping(self.cx.now)) else { return };
        if earliest > self.cx.now {
            let token = self.pairs.next_token();
            self.edit(id, |link| {
                link.ping = Some(Ping { token, sent: None, probe: true });
                link.slots.ping = None;
            });
            return self.cx.timers.set(Timer::Link(id, LinkTimer::Probe), earliest);
        }
        self.ping(id, true);
        self.cx.timers.set(Timer::Link(id, LinkTimer::Probe), self.cx.now + self.cx.config.timing.probe_timeout);
    }

    pub(super) fn probe_deadline(&mut self, id: LinkId) {
        match self.pairs.link(id).and_then(|link| link.ping) {
            Some(Ping { probe: true, sent: None, .. }) => self.ask(id),
            Some(Ping { probe: true, sent: Some(sent), .. }) => {
                let patience = self.patience(id, sent);
                if patience > self.cx.now {
                    return self.cx.timers.set(Timer::Link(id, LinkTimer::Probe), patience);
                }
                self.cx.stats.probes_lost += 1;
                self.drop_link(id, CloseMode::Abort, Reason::Timeout);
            }
            _ => {}
        }
    }

    /// Until when the answer to a probe is waited for. Where data is in flight, the ping may stand behind it: as long as
    /// bytes arrive as they must from a peer that receives, the link is alive.
    fn patience(&self, id: LinkId, sent: Instant) -> Instant {
        let timing = &self.cx.config.timing;
        let Some(link) = self.pairs.link(id) else { return sent };
        let send = link.run().and_then(|run| self.mail.outgoing(run.id));
        let busy = send.zip(link.flight.as_ref()).is_some_and(|(send, flight)| flight.is_busy(send.next()));
        let mut patience = timing.probe_timeout;
        if link.heard > sent || busy {
            patience = patience.saturating_add(SPEAK_INTERVAL);
        }
        link.heard.max(sent) + patience
    }

    pub(super) fn ping(&mut self, id: LinkId, probe: bool) {
        let token = self.pairs.next_token();
        let now = self.cx.now;
        self.edit(id, |link| {
            link.ping = Some(Ping { token, sent: Some(now), probe });
            link.control.sends_ping(now);
            link.slots.ping = Some(token);
        });
    }

    /// A ping was answered.
    pub(super) fn ponged(&mut self, id: LinkId, token: u64) {
        let now = self.cx.now;
        if mutant!(EchoPongs) {
            self.edit(id, |link| link.slots.pong = Some(token));
        }
        let Some(link) = self.pairs.link_mut(id) else { return };
        let Some((ping, sent)) = link.ping.filter(|ping| ping.token == token).and_then(|ping| Some((ping, ping.sent?)))
        else {
            if !mutant!(EchoPongs) {
                self.tolerate(id);
            }
            return;
        };
        link.ping = None;
        let Some(run) = link.run() else { return };
        if let Some(flight) = &mut link.flight {
            flight.ponged(now, token, queueing(self.cx.config.timing.heartbeat));
        }
        link.waiting_since = link.waiting_since.map(|_| now);
        self.mail.measured(run.id, now - sent);
        self.arm(id);
        if ping.probe {
            self.cx.timers.cancel(Timer::Link(id, LinkTimer::Probe));
            self.refuse_held(run.id);
            self.targets_up(run);
        }
    }

    /// A ping asks for an answer.
    pub(super) fn pinged(&mut self, id: LinkId, token: u64) {
        let now = self.cx.now;
        if self.pairs.link_mut(id).is_some_and(|link| link.control.hears_ping(now)) {
            self.tolerate(id);
        }
        self.edit(id, |link| link.slots.pong = Some(token));
    }

    /// The other side has said something that advances nothing: it may do so, in moderation.
    pub(super) fn tolerate(&mut self, id: LinkId) {
        let (now, rate) = (self.cx.now, self.cx.config.limits.control());
        let Some(link) = self.pairs.link_mut(id).filter(|link| !link.is_closing()) else { return };
        if !link.control.tolerates(now, rate) {
            self.cx.stats.control_limit += 1;
            self.violated(id, ProtocolError::Flood);
        }
    }

    /// Output waits and the connection may have stopped taking it.
    pub(super) fn check_stall(&mut self, id: LinkId) {
        let limit = self.cx.config.timing.write_stall;
        let Some(link) = self.pairs.link(id) else { return };
        let held = link.flight.as_ref().and_then(|flight| flight.stalls_at(limit)).filter(|_| link.is_up());
        let Some(due) = link.waiting_since.map(|since| since + limit).into_iter().chain(held).min() else { return };
        if due <= self.cx.now {
            self.cx.stats.write_stalls += 1;
            let closing = self.pairs.link(id).is_some_and(|link| link.is_closing());
            if closing {
                self.close(id, CloseMode::Abort, Reason::WriteStalled);
            } else {
                self.drop_link(id, CloseMode::Abort, Reason::WriteStalled);
            }
        } else {
            self.cx.timers.set(Timer::Link(id, LinkTimer::Stall), due);
        }
    }

    /// A link has lasted: its next loss is a first one.
    pub(super) fn link_is_stable(&mut self, id: LinkId) {
        let Some(run) = self.pairs.link(id).filter(|link| link.is_up()).and_then(|link| link.run()) else {
            return;
        };
        if self.pairs.peer(run.id).is_some_and(|peer| peer.live() == Some(id)) {
            self.dialling.stable(run.id);
        }
    }

    /// This process stood still. What the others said meanwhile may wait unread, so every deadline about them starts
    /// over, with less than a whole timeout left: those who are really gone are noticed soon.
    pub(super) fn own_stall(&mut self) {
        self.cx.stats.own_stalls += 1;
        let now = self.cx.now;
        let timing = self.cx.config.timing.clone();
        for link in self.pairs.links_mut().filter(|link| !link.is_closing()) {
            if link.is_up() {
                link.heard = link.heard.max(now - timing.heartbeat);
                link.fed = now;
                let spread = self.cx.rng.up_to(timing.heartbeat / SPREAD);
                self.cx.timers.set(Timer::Link(link.id, LinkTimer::Liveness), now + ACK_DELAY + spread);
            } else {
                self.cx.timers.set(Timer::Link(link.id, LinkTimer::Handshake), now + timing.handshake_timeout);
            }
            match link.ping {
                Some(Ping { probe: true, sent: Some(_), .. }) => {
                    self.cx.timers.set(Timer::Link(link.id, LinkTimer::Probe), now + timing.probe_timeout);
                }
                // It has not been asked yet.
                Some(Ping { probe: true, sent: None, .. }) => {
                    self.cx.timers.set(Timer::Link(link.id, LinkTimer::Probe), link.control.next_ping(now));
                }
                _ => {}
            }
            if link.waiting_since.is_some() {
                link.waiting_since = Some(now);
                self.cx.timers.set(Timer::Link(link.id, LinkTimer::Stall), now + timing.write_stall);
            }
            if let Some(flight) = &mut link.flight {
                flight.resume(now);
            }
        }
        self.cx.stalled = now;
    }
}
