//! The incoming side: chunks into streams, messages out of them, memory for long messages.

use alloc::vec::Vec;

use bytes::Bytes;

use super::correspondence::Correspondence;
use super::{Effect, Effects, Mail};
use crate::action::Action;
use crate::id::{LinkId, NodeId, Run};
use crate::message::{Message, Receipt};
use crate::node::context::Context;
use crate::node::pairs::Pairs;
use crate::reason::ProtocolError;
use crate::session::{Due, Leftover, Past, Place, ReceiveStream, Reservation, Session};
use crate::wire::Data;

/// A message of a peer whose stream turned out to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) struct Broken {
    /// The link that the stream came by, if it is still there.
    pub(in crate::node) link: Option<LinkId>,
    pub(in crate::node) error: ProtocolError,
}

impl Mail {
    /// Appends a chunk to a run's stream.
    #[inline]
    pub(in crate::node) fn data(
        &mut self,
        cx: &mut Context,
        from: NodeId,
        data: Data,
    ) -> Result<Effects, ProtocolError> {
        let length = data.bytes.len() as u64;
        let Some(of) = self.runs.get_mut(&from) else { return Ok(Effects::default()) };
        let Some(session) = &mut of.session else { return Ok(Effects::default()) };
        session.data(data)?;
        of.feeding = true;
        cx.stats.bytes_received += length;
        if session.readable() {
            self.announce(cx, from);
        }
        Ok(self.regrant(cx, from))
    }

    /// Puts a run with a complete message into the inbox.
    pub(super) fn announce(&mut self, cx: &mut Context, from: NodeId) {
        if self.inbox.ready(from) {
            cx.actions.push_back(Action::Deliver);
        }
    }

    /// Returns the node whose message is next. [Take](Mail::take) it, then [end](Mail::end_turn) the turn.
    pub(in crate::node) fn turn(&mut self) -> Option<NodeId> {
        self.inbox.turn()
    }

    /// Takes a message of the node whose turn it is.
    pub(in crate::node) fn take(
        &mut self,
        cx: &mut Context,
        pairs: &Pairs,
        id: NodeId,
    ) -> (Result<Option<Message>, Broken>, Effects) {
        let mut effects = Effects::default();
        if let Some(message) = self.take_leftover(cx, pairs, id, &mut effects) {
            return (Ok(Some(message)), effects);
        }
        let Some(of) = self.runs.get_mut(&id) else { return (Ok(None), effects) };
        if let Past::Open(leftover) = &mut of.past {
            // From the stream of a run that is lost and may return.
            let message = leftover.poll().map(|(payload, place)| message(of.run, payload, place));
            self.close_past(cx, id, &mut effects);
            return (Ok(message), effects);
        }
        let Some(session) = of.session.as_mut() else { return (Ok(None), effects) };
        match session.poll() {
            Ok(taken) => {
                let message = taken.map(|(payload, place)| message(of.run, payload, place));
                self.consumed(cx, id, &mut effects);
                (Ok(message), effects)
            }
            Err(error) => (Err(Broken { link: of.link, error }), effects),
        }
    }

    /// Ends the turn of a node; its next one comes after those of all others.
    pub(in crate::node) fn end_turn(&mut self, cx: &mut Context, id: NodeId, taken: bool) {
        if self.is_readable(id) {
            self.inbox.rotate();
        } else {
            self.inbox.done();
        }
        cx.stats.messages_received += u64::from(taken);
    }

    fn is_readable(&mut self, id: NodeId) -> bool {
        if self.inbox.leftover(id).is_some() {
            return true;
        }
        let Some(of) = self.runs.get(&id) else { return false };
        match &of.past {
            Past::Open(leftover) => leftover.stream.readable(),
            _ => of.session.as_ref().is_some_and(Session::readable),
        }
    }

    /// Takes a message from the streams of ended or forgotten runs. These come before the present stream, even behind one
    /// whose messages are all taken and not all acknowledged.
    fn take_leftover(&mut self, cx: &mut Context, pairs: &Pairs, id: NodeId, effects: &mut Effects) -> Option<Message> {
        loop {
            let (run, leftover) = self.inbox.leftover(id)?;
            let run = *run;
            let message = leftover.poll().map(|(payload, place)| message(run, payload, place));
            if !leftover.stream.readable()
                && let Some(leftover) = self.inbox.take_leftover(id)
            {
                let stream = &leftover.stream;
                if stream.is_drained() && !stream.has_ended() {
                    self.remember_end(cx, pairs, run, stream.id(), stream.consumed());
                }
                self.release(cx, leftover, effects);
            }
            self.charge(cx, id, effects);
            if message.is_some() {
                return message;
            }
        }
    }

    /// Closes a stream without a session once all its messages are taken and acknowledged.
    fn close_past(&mut self, cx: &Context, id: NodeId, effects: &mut Effects) {
        let Some(of) = self.runs.get_mut(&id) else { return };
        let Past::Open(leftover) = &of.past else { return };
        if leftover.stream.is_drained() {
            let closed = Past::Finished(leftover.stream.id(), leftover.stream.consumed());
            if let Past::Open(leftover) = core::mem::replace(&mut of.past, closed) {
                self.release(cx, leftover, effects);
            }
        }
    }

    /// Marks a message, and all before it of the same run, as consumed by the application.
    pub(in crate::node) fn acknowledge(&mut self, cx: &mut Context, receipt: Receipt) -> Effects {
        let mut effects = Effects::default();
        let Receipt { from, place } = receipt;
        let Some(of) = self.runs.get_mut(&from.id).filter(|of| of.run == from) else { return effects };
        match (&mut of.session, &mut of.past) {
            (Some(session), _) => {
                if session.consume(place) {
                    self.consumed(cx, from.id, &mut effects);
                }
            }
            (None, Past::Open(leftover)) => {
                leftover.stream.consume(place);
                self.close_past(cx, from.id, &mut effects);
            }
            (None, _) => {}
        }
        effects
    }

    /// Grows the window if the consumption calls for it, and grants credit.
    fn consumed(&mut self, cx: &mut Context, id: NodeId, effects: &mut Effects) {
        let Some(of) = self.runs.get_mut(&id) else { return };
        let Some(session) = &mut of.session else { return };
        let consumed = session.receive().map_or(0, ReceiveStream::consumed);
        session.window().consumed(cx.now, consumed, of.rtt, &mut self.budget);
        self.regrant_into(cx, id, effects);
    }

    /// Grants a run as much as its window and the budget allow, and acknowledges when that is worth a frame.
    fn regrant(&mut self, cx: &mut Context, id: NodeId) -> Effects {
        let mut effects = Effects::default();
        self.regrant_into(cx, id, &mut effects);
        effects
    }

    pub(super) fn regrant_into(&mut self, cx: &mut Context, id: NodeId, effects: &mut Effects) {
        let Some(of) = self.runs.get_mut(&id) else { return };
        let Some(session) = &mut of.session else { return };
        let owed = session.is_partial();
        let served = session.regrant(cx.now, id, of.link.is_some(), &mut self.budget);
        let owes = session.is_partial() && !owed;
        let due = of.ack_due();
        if owes {
            owes_from_now(of, effects);
        }
        cx.stats.recv_budget_limit = self.budget.waits();
        effects.ack(due);
        if !served.is_empty() {
            self.serve(cx, served, effects);
        }
    }

    /// Hands room in the budget to runs that waited; room that one of them no longer needs goes to the next.
    pub(super) fn serve(&mut self, cx: &Context, mut served: Vec<Reservation>, effects: &mut Effects) {
        while let Some(Reservation { peer, bytes }) = served.pop() {
            let mut of = self.runs.get_mut(&peer);
            let session = of.as_mut().and_then(|of| of.session.as_mut());
            let unused = session.map_or(bytes, |session| session.reserved(cx.now, bytes));
            if unused > 0 {
                served.extend(self.budget.release(unused));
            } else if let Some(of) = &mut of {
                owes_from_now(of, effects);
            }
            effects.ack(of.and_then(Correspondence::ack_due));
        }
    }

    /// Returns whether a run could send more of a message for which memory is reserved.
    pub(in crate::node) fn owes_bytes(&self, id: NodeId) -> bool {
        self.session(id).is_some_and(Session::owes_bytes)
    }

    /// Returns whether others wait for the memory that is reserved for a run, and the run is too slow. Time during which
    /// this process stood still does not count.
    pub(in crate::node) fn must_yield(&self, cx: &Context, id: NodeId) -> bool {
        self.session(id).is_some_and(|session| session.must_yield(cx.now, cx.stalled, &self.budget))
    }

    /// Makes a run lose its reservation together with its link: it has not continued its message in time.
    pub(in crate::node) fn has_had_its_time(&mut self, id: NodeId) {
        if let Some(of) = self.runs.get_mut(&id) {
            of.feeding = false;
        }
    }

    /// Returns whether a run needs an acknowledgement when the timer for it fires.
    pub(in crate::node) fn ack_is_due(&mut self, id: NodeId) -> bool {
        let Some(of) = self.runs.get_mut(&id) else { return false };
        of.ack_scheduled = false;
        of.session.as_ref().is_some_and(|session| session.due() != Due::Never)
    }

    fn release(&mut self, cx: &Context, leftover: Leftover, effects: &mut Effects) {
        let served = leftover.release(&mut self.budget);
        self.serve(cx, served, effects);
    }

    /// Charges the remains of earlier runs of a node to the window of its present run.
    pub(super) fn charge(&mut self, cx: &mut Context, id: NodeId, effects: &mut Effects) {
        let uncovered = self.inbox.uncovered(id);
        if let Some(session) = self.runs.get_mut(&id).and_then(|of| of.session.as_mut()) {
            session.charge(uncovered);
            self.regrant_into(cx, id, effects);
        }
    }
}

/// Starts the time in which a run must continue the message that memory is reserved for.
fn owes_from_now(of: &mut Correspondence, effects: &mut Effects) {
    of.feeding = true;
    if let Some(link) = of.link {
        effects.push(Effect::Owes(link));
    }
}

fn message(from: Run, payload: Bytes, place: Place) -> Message {
    Message { from, payload, receipt: Receipt { from, place } }
}
