//! The life of a session: it begins with the first claim of a pair of runs, outlives the links that carry it, and ends
//! with the run, with its time to live, or because the other side no longer knows it.
//!
//! # Why it is like this
//!
//! * Every accepted message has exactly one outcome. [`Mail::gone`] ends a session and reports every
//!   unacknowledged message. A run that returns resumes its session, or both begin anew and the user sees
//!   [`Event::SessionReset`].
//! * The node fences the old link ([`Mail::fence`]) before it states where its streams stand: bytes on the old link must
//!   not arrive after that. The mutant `FenceAfterOffer` shows the damage.
//! * A peer that returns repeatedly and never completes a handshake must not keep its session. The record remembers the
//!   last try (`Correspondence::last_try`, tests in `node/tests/outcomes.rs`).
//! * A session that never came up here may be up at the other side, which sent its last step before the link broke. It is
//!   kept for as long as that side takes to dial again, `reconnect_max`.
//! * The user takes the remaining messages of an ended run before those of the next run, and they count against the next
//!   run's window: restarts would otherwise multiply the memory that one node can hold here.
//!
//! PROTOCOL.md has the rules for the other side under "Resuming".

use alloc::vec::Vec;

use super::correspondence::{Correspondence, Delivered, Flush};
use super::finished::FinishedStreams;
use super::{Effects, Mail, writable};
use crate::config::Acknowledge;
use crate::event::{Event, Undelivered};
use crate::id::{NodeId, Run};
use crate::limits::{DELIVERED_INTERVAL, RESERVATION_STALL};
use crate::mutant::mutant;
use crate::node::context::Context;
use crate::node::pairs::Pairs;
use crate::node::timer::Timer;
use crate::reason::ProtocolError;
use crate::session::{Ended, Exchange, Past, ReceiveStream, Resumed, Session, Terms, Window, successor};
use crate::time::Instant;
use crate::wire::{Offer, StreamId};

/// The agreement of both sides on how their streams resume over a new link.
#[derive(Debug)]
pub(in crate::node) struct Resumption {
    exchange: Exchange,
    /// The stream that was received before.
    before: Option<StreamId>,
    /// The streams have begun anew, for whatever reason.
    reset: bool,
}

impl Mail {
    /// Returns the offer for the answer to a claim. Begins a session if the run has none.
    pub(in crate::node) fn offer(&mut self, cx: &mut Context, id: NodeId) -> Option<Offer> {
        self.begin_session(cx, id).map(Session::offer)
    }

    fn begin_session(&mut self, cx: &mut Context, id: NodeId) -> Option<&mut Session> {
        let limits = &cx.config.limits;
        let of = self.runs.get_mut(&id)?;
        if of.session.is_none() {
            let own = StreamId(self.streams.next_u64());
            let window = Window::new(limits.initial_window, limits.recv_window);
            let manual = cx.config.acknowledge == Acknowledge::Manual;
            let past = match core::mem::replace(&mut of.past, Past::Unknown) {
                Past::Unknown => match self.inbox.reclaim(of.run) {
                    Some(leftover) => Past::Open(leftover),
                    None => self.finished.take(of.run, cx.now).map_or(Past::Unknown, |(id, at)| Past::Finished(id, at)),
                },
                past => past,
            };
            cx.stats.closed_streams_used += u64::from(matches!(past, Past::Finished(..)));
            let mut session = Session::new(own, of.credit, window, limits.max_message, manual, past);
            session.charge(self.inbox.uncovered(id));
            of.session = Some(session);
        }
        of.session.as_mut()
    }

    /// Resumes the streams as the two sides agree, over a link on which our profile granted `window`. The caller settles
    /// the acknowledged messages, and then [finishes](Mail::finish_resumption).
    pub(in crate::node) fn resume(
        &mut self,
        cx: &mut Context,
        run: Run,
        theirs: &Offer,
        outbound: bool,
        window: u64,
    ) -> Option<Result<Resumption, ProtocolError>> {
        let now = cx.now;
        let credit = self.runs.get(&run.id).map_or(0, |of| of.credit);
        let session = self.begin_session(cx, run.id)?;
        let before = session.receive().map(ReceiveStream::id);
        let terms = Terms { credit, window };
        let outcome = if outbound { session.answer(theirs, terms) } else { session.conclude(theirs, terms) };
        let exchange = match outcome {
            Ok(exchange) => exchange,
            Err(error) => return Some(Err(error)),
        };
        let consumed = session.receive().map_or(0, ReceiveStream::consumed);
        session.window().restart(now, consumed);
        let inside = session.receive().is_some_and(|stream| stream.buffered() > 0 && !stream.readable());
        cx.stats.messages_resumed += u64::from(inside);
        // A resumed stream keeps its id, and a carried-over one gets the next id. Any other belongs to a new session.
        let after = session.receive().map(ReceiveStream::id);
        let reset = before.is_some_and(|before| after != Some(before) && after != Some(successor(before)));
        Some(Ok(Resumption { exchange, before, reset }))
    }
}

impl Resumption {
    /// Returns the acknowledgement of the other side, if our stream resumes.
    pub(in crate::node) fn acked(&self) -> Option<crate::session::Acked> {
        match &self.exchange.resumed {
            Resumed::Continued(acked) | Resumed::CarriedOver(acked) => Some(*acked),
            Resumed::Reset { .. } => None,
        }
    }
}

impl Mail {
    /// Completes a [resumption](Mail::resume). `up` is set if the user sees the run as up. Returns the offer that the
    /// initiator sends in return.
    pub(in crate::node) fn finish_resumption(
        &mut self,
        cx: &mut Context,
        run: Run,
        resumption: Resumption,
        up: bool,
    ) -> (Option<Offer>, Effects) {
        let mut effects = Effects::default();
        let Resumption { exchange, before, mut reset } = resumption;
        if let Resumed::Reset { in_doubt } = exchange.resumed {
            let lost = in_doubt.len() as u64;
            report_undelivered(cx, run, Ended { not_delivered: Vec::new(), in_doubt });
            self.flushed(cx, run.id, lost);
            // Nothing may be left whose acknowledgement would make room.
            let wish = self.runs.get_mut(&run.id).and_then(Correspondence::take_wish);
            writable(cx, wish);
            reset = true;
        }
        cx.stats.sessions_resumed += u64::from(before.is_some() && !reset);
        cx.stats.sessions_lost += u64::from(reset);
        if reset {
            self.session_was_reset(cx, run, up);
        }
        if let Some(leftover) = exchange.leftover {
            self.inbox.keep(run, leftover);
            self.announce(cx, run.id);
        }
        let served = self.budget.release(exchange.reserved);
        self.serve(cx, served, &mut effects);
        self.charge(cx, run.id, &mut effects);
        (exchange.answer, effects)
    }

    /// Reports that the two begin anew although the run is the same.
    fn session_was_reset(&mut self, cx: &mut Context, run: Run, up: bool) {
        let Some(of) = self.runs.get_mut(&run.id) else { return };
        if up {
            cx.event(Event::SessionReset { peer: run });
        } else if core::mem::take(&mut of.open) {
            self.delivered_is_over(cx, run.id);
            cx.event(Event::PeerGone { peer: run });
        }
    }

    /// Reports the deliveries of the session that is over; the next one counts from zero.
    fn delivered_is_over(&mut self, cx: &mut Context, id: NodeId) {
        cx.timers.cancel(Timer::Delivered(id));
        self.tell_delivered(cx, id);
        if let Some(of) = self.runs.get_mut(&id) {
            of.delivered = Delivered::default();
        }
    }

    /// Takes back unused credit after the link of a session is gone. With `yields`, also takes back the reservation of an
    /// incomplete message.
    pub(in crate::node) fn fence(&mut self, cx: &Context, id: NodeId, yields: bool) -> Effects {
        let mut effects = Effects::default();
        self.fence_into(cx, id, yields, &mut effects);
        effects
    }

    fn fence_into(&mut self, cx: &Context, id: NodeId, yields: bool, effects: &mut Effects) {
        let Some(of) = self.runs.get_mut(&id) else { return };
        of.ack_scheduled = false;
        if let Some(session) = &mut of.session {
            let served = session.fence(id, yields, &mut self.budget);
            self.serve(cx, served, effects);
        }
    }

    /// Keeps the session of a lost run for its return.
    pub(in crate::node) fn suspend(&mut self, cx: &mut Context, id: NodeId) -> Effects {
        let mut effects = Effects::default();
        let Some(of) = self.runs.get_mut(&id) else { return effects };
        of.suspended = true;
        let Some(session) = &of.session else { return effects };
        let reserves = session.has_reservation();
        let timing = &cx.config.timing;
        // A session that never came up here is kept for as long as the other side, which may think that it did, takes
        // to dial again.
        let ttl = if of.open { timing.session_ttl } else { timing.session_ttl.min(timing.reconnect_max) };
        if cx.timers.deadline(Timer::Session(id)).is_none() {
            cx.timers.set(Timer::Session(id), cx.now + ttl);
        }
        if !reserves {
            return effects;
        }
        let yields = self.must_yield(cx, id);
        if self.runs.get_mut(&id).is_some_and(|of| core::mem::take(&mut of.feeding)) && !yields {
            cx.timers.set(Timer::Reservation(id), cx.now + RESERVATION_STALL);
        } else {
            // It was back and brought nothing, or too little: a run that comes and goes must not keep the memory from
            // others.
            self.fence_into(cx, id, true, &mut effects);
        }
        effects
    }

    /// Notes that the run is up.
    pub(in crate::node) fn opened(&mut self, id: NodeId) {
        if let Some(of) = self.runs.get_mut(&id) {
            of.open = true;
        }
    }

    /// Ends the wait for the return of a run.
    pub(in crate::node) fn returned(&mut self, cx: &mut Context, id: NodeId) {
        cx.timers.cancel(Timer::Session(id));
        cx.timers.cancel(Timer::Reservation(id));
        if let Some(of) = self.runs.get_mut(&id) {
            of.last_try = false;
            of.suspended = false;
        }
    }

    /// Returns whether the session of the run has expired and a link has a last deadline to bring it back.
    pub(in crate::node) fn is_last_try(&self, id: NodeId) -> bool {
        self.runs.get(&id).is_some_and(|of| of.last_try)
    }

    /// Gives a link that may bring the run back another deadline, the last one if it `counts`.
    pub(in crate::node) fn wait_once_more(&mut self, cx: &mut Context, id: NodeId, counts: bool) {
        if let Some(of) = self.runs.get_mut(&id) {
            of.last_try |= counts;
        }
        cx.timers.set(Timer::Session(id), cx.now + cx.config.timing.handshake_timeout);
    }

    /// Moves the end of the session with a lost run. A session that never came up keeps its own end, and so does a last
    /// try, unless the new end is later.
    pub(in crate::node) fn retime_session(&mut self, cx: &mut Context, id: NodeId, ends: Instant) {
        let Some(of) = self.runs.get_mut(&id).filter(|of| of.open) else { return };
        if cx.timers.deadline(Timer::Session(id)).is_some() && (!of.last_try || ends > cx.now) {
            of.last_try = false;
            cx.timers.set(Timer::Session(id), cx.now.max(ends));
        }
    }

    /// Returns whether the node has reported the run as up, and not yet as gone.
    pub(in crate::node) fn has_opened(&self, id: NodeId) -> bool {
        self.runs.get(&id).is_some_and(|of| of.open)
    }

    /// Ends the session with a run and reports the outcome of every message.
    /// [Fence](Mail::fence) the session first, yielding.
    pub(in crate::node) fn gone(&mut self, cx: &mut Context, id: NodeId) {
        if !self.runs.contains_key(&id) {
            return;
        }
        self.returned(cx, id);
        self.end_session(cx, id);
        let Some(of) = self.runs.get_mut(&id) else { return };
        if core::mem::take(&mut of.open) {
            let (run, wish) = (of.run, of.take_wish());
            cx.event(Event::PeerGone { peer: run });
            writable(cx, wish);
        }
    }

    /// Reports unacknowledged messages; complete messages of the run stay readable.
    fn end_session(&mut self, cx: &mut Context, id: NodeId) {
        self.delivered_is_over(cx, id);
        let Some(of) = self.runs.get_mut(&id) else { return };
        let Some(session) = of.session.take() else { return };
        let run = of.run;
        cx.stats.sessions_lost += u64::from(of.open);
        let settled = session.send.settled_messages();
        let ending = session.end(&mut self.budget);
        of.past = ending.past;
        if matches!(of.past, Past::Open(_)) {
            self.announce(cx, id);
        }
        let lost = (ending.outcomes.not_delivered.len() + ending.outcomes.in_doubt.len()) as u64;
        report_undelivered(cx, run, ending.outcomes);
        self.finish_flushes(cx, id, settled + lost, lost);
    }

    /// Returns the ids of all runs that have a record.
    pub(in crate::node) fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.runs.keys().copied()
    }

    /// Moves the remaining messages of a run to the inbox: this node becomes another run.
    pub(in crate::node) fn let_go(&mut self, cx: &mut Context, id: NodeId) {
        let Some(of) = self.runs.get_mut(&id) else { return };
        let run = of.run;
        if let Past::Open(leftover) = core::mem::replace(&mut of.past, Past::Unknown) {
            self.inbox.keep(run, leftover);
            self.announce(cx, id);
        }
    }

    /// Ends all streams: this node becomes another run.
    pub(in crate::node) fn forget_streams(&mut self) {
        self.inbox.end();
        self.finished = FinishedStreams::default();
    }

    /// Removes the record of a run. [Remember](Mail::remember) it next.
    pub(in crate::node) fn drop_record(&mut self, id: NodeId) -> Option<Correspondence> {
        self.runs.remove(&id)
    }

    /// Keeps the complete messages of a removed record, ahead of those of the next run.
    pub(in crate::node) fn remember(&mut self, cx: &mut Context, pairs: &Pairs, dropped: Correspondence) {
        match dropped.past {
            Past::Open(leftover) => {
                self.inbox.keep(dropped.run, leftover);
                self.announce(cx, dropped.run.id);
            }
            Past::Finished(stream, consumed) => self.remember_end(cx, pairs, dropped.run, stream, consumed),
            Past::Unknown => {}
        }
    }

    /// Hands the session of an earlier run on: a bug on purpose.
    pub(in crate::node) fn inherit(&mut self, id: NodeId, dropped: &mut Correspondence) {
        if let Some(of) = self.runs.get_mut(&id) {
            of.session = dropped.session.take();
        }
    }

    /// Remembers how much of a stream was delivered, in case the run returns.
    pub(super) fn remember_end(&mut self, cx: &mut Context, pairs: &Pairs, run: Run, stream: StreamId, consumed: u64) {
        let replaced = self.runs.get(&run.id).is_some_and(|of| of.run.incarnation > run.incarnation);
        if !replaced && !pairs.tombstones.covers(run) && self.finished.insert(run, stream, consumed, cx.now) {
            cx.stats.closed_stream_limit += 1;
        }
    }

    /// Counts newly acknowledged messages and reports them, at most once per interval.
    pub(super) fn delivered(&mut self, cx: &mut Context, id: NodeId, messages: u64) {
        if messages == 0 {
            return;
        }
        let Some(of) = self.runs.get_mut(&id) else { return };
        of.delivered.messages += messages;
        match of.delivered.told_at.map(|told| told + DELIVERED_INTERVAL) {
            Some(next) if next > cx.now => cx.timers.set(Timer::Delivered(id), next),
            _ => self.tell_delivered(cx, id),
        }
        self.flushed(cx, id, 0);
    }

    /// Reports the number of delivered messages if it has risen.
    pub(in crate::node) fn tell_delivered(&mut self, cx: &mut Context, id: NodeId) {
        let Some(of) = self.runs.get_mut(&id) else { return };
        let Delivered { messages, told, .. } = of.delivered;
        if messages > told {
            of.delivered = Delivered { messages, told: messages, told_at: Some(cx.now) };
            cx.event(Event::Delivered { peer: of.run, messages });
        }
    }

    /// Notes that more messages have their outcome; the last `lost` of them are undelivered.
    pub(super) fn flushed(&mut self, cx: &mut Context, id: NodeId, lost: u64) {
        let Some(of) = self.runs.get(&id).filter(|of| !of.flushes.is_empty()) else { return };
        let settled = of.session.as_ref().map_or(0, |session| session.send.settled_messages());
        self.finish_flushes(cx, id, settled, lost);
    }

    fn finish_flushes(&mut self, cx: &mut Context, id: NodeId, settled: u64, lost: u64) {
        let Some(of) = self.runs.get_mut(&id) else { return };
        for flush in &mut of.flushes {
            flush.undelivered += flush.mark.min(settled) - flush.mark.min(settled - lost);
        }
        while let Some(flush) = of.flushes.pop_front_if(|flush| flush.mark <= settled) {
            let Flush { id: flush, undelivered, .. } = flush;
            cx.event(Event::Flushed { flush, peer: of.run, undelivered });
        }
    }
}

fn report_undelivered(cx: &mut Context, peer: Run, Ended { not_delivered, in_doubt }: Ended) {
    let undelivered = Undelivered { peer, not_delivered, in_doubt };
    if !undelivered.is_empty() && !mutant!(SilentLoss) {
        cx.stats.messages_undelivered += undelivered.len() as u64;
        cx.event(Event::Undelivered(undelivered));
    }
}
