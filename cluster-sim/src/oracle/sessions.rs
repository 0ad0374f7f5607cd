//! O6 to O8: each message that a node accepts has exactly one outcome, and what the other application takes is
//! what was accepted, in order, each once.
//!
//! A [`Flow`] is what one run has accepted for another, over all links and sessions of the two. It follows the sender's
//! stream by what is said on the wire: messages are numbered over the whole flow, and each stream of it begins at a
//! number.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use cluster_check::{Head, Outgoing, Resumption};
use cluster_core::limits::MAX_FLUSHES;
use cluster_core::wire::{Ack, StreamId};
use cluster_core::{FlushId, Limits, Undelivered};

use super::Verdict;
use super::talk::Sending;

/// What one run has accepted for another run, and what has become of it.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The messages from number `first` on.
    log: VecDeque<Accepted>,
    first: u64,
    /// Every message below this has its outcome, as the sender sees it.
    settled: u64,
    /// Bytes of stream that the messages without an outcome take.
    retained: u64,
    /// The receiver has taken, or will never take, every message below this.
    passed: u64,
    stream: Option<Stream>,
    /// The numbers at which the streams begin that the receiver may still take from.
    bases: BTreeMap<StreamId, u64>,
    /// Messages in doubt that the sender's user must be told of.
    owed: Vec<Bytes>,
    /// Messages delivered in this session, as the sender sees it, and how many its user was told of.
    delivered: u64,
    told: u64,
    flushes: VecDeque<Flush>,
    /// Messages that were reported as not delivered or in doubt.
    lost: u64,
}

/// A flush that waits.
#[derive(Clone, Copy, Debug)]
struct Flush {
    id: FlushId,
    /// It waits for the messages below this number.
    mark: u64,
    /// How many of them were reported as undelivered since it was called.
    undelivered: u64,
}

#[derive(Debug)]
struct Accepted {
    payload: Bytes,
    taken: bool,
    /// It counts as delivered for its receiver: it was taken, and acknowledged where that is up to the application.
    consumed: bool,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Delivered,
    NotDelivered,
    InDoubt,
}

/// The stream that carries the flow at present.
#[derive(Clone, Copy, Debug)]
struct Stream {
    outgoing: Outgoing,
    /// Where the first message without an outcome begins.
    consumed: u64,
}

impl Flow {
    /// The sender has accepted a message.
    pub(super) fn accepted(&mut self, payload: Bytes, limits: &Limits) -> Verdict {
        self.retained += encoded(&payload);
        self.log.push_back(Accepted { payload, taken: false, consumed: false, outcome: None });
        if self.retained > limits.send_window && self.end() - self.settled > 1 {
            return Err(format!("{} bytes are retained, and the window has {}", self.retained, limits.send_window));
        }
        Ok(())
    }

    /// The sender names its stream in an offer, over a link on which a new stream has this credit.
    pub(super) fn named(&mut self, id: StreamId, credit: u64) -> Verdict {
        if let Some(stream) = &mut self.stream
            && stream.outgoing.id() == id
        {
            return Ok(());
        }
        let before = self.stream.filter(|stream| stream.outgoing.sent() > stream.consumed);
        self.begin(Outgoing::new(id, credit));
        match before {
            Some(before) => Err(format!("{before:?} is under way, and the sender offers {id:?}")),
            None => Ok(()),
        }
    }

    /// The sender hands out a chunk.
    pub(super) fn sent(&mut self, offset: u64, length: u64) -> Verdict {
        let accepted = self.retained;
        let Some(stream) = &mut self.stream else { return Err(format!("data at {offset}, and no stream was offered")) };
        stream.outgoing.sends(offset, length)?;
        let (sent, accepted) = (stream.outgoing.sent(), stream.consumed + accepted);
        if sent > accepted {
            return Err(format!("data up to {sent}, and only {accepted} is accepted"));
        }
        Ok(())
    }

    /// The sender learns how far the receiver is.
    pub(super) fn acked(&mut self, ack: &Ack) -> Verdict {
        if let Some(stream) = &mut self.stream {
            stream.outgoing.acked(ack);
        }
        self.delivered(ack.consumed)
    }

    /// A link connects the two from now on.
    pub(super) fn resumes(&mut self, sending: &Sending) -> Verdict {
        let Some(stream) = self.stream else { return Ok(()) };
        let Sending { known, same, credit } = *sending;
        let mut outgoing = stream.outgoing;
        match outgoing.resume(&known, same && stream.consumed == 0, credit) {
            Resumption::Continued(ack) => {
                self.stream = Some(Stream { outgoing, ..stream });
                self.delivered(ack.consumed)
            }
            Resumption::Again => {
                self.stream = Some(Stream { outgoing, ..stream });
                Ok(())
            }
            Resumption::CarriedOver(consumed) => {
                let verdict = self.delivered(consumed);
                self.begin(outgoing);
                verdict
            }
            Resumption::Lost => {
                let doubtful = self.handed_out();
                let owed: Vec<Bytes> = self.pending().take(doubtful).map(|message| message.payload.clone()).collect();
                self.owed.extend(owed);
                self.settle(doubtful, Outcome::InDoubt);
                self.begin(outgoing);
                Ok(())
            }
        }
    }

    /// The sender's user is told of messages that came to nothing: those in doubt after a reset; or all, as `ends` says
    /// that the peer is not up and the session may be over.
    pub(super) fn undelivered(&mut self, told: &Undelivered, ends: bool) -> Verdict {
        if !ends || !self.owed.is_empty() {
            let owed = std::mem::take(&mut self.owed);
            return if owed == told.in_doubt && told.not_delivered.is_empty() {
                Ok(())
            } else {
                Err(format!("{} messages are in doubt after a reset, and the user is told of {told:?}", owed.len()))
            };
        }
        let doubtful = self.handed_out();
        let doubted = self.pending().take(doubtful).map(|message| &message.payload);
        let untouched = self.pending().skip(doubtful).map(|message| &message.payload);
        if !doubted.eq(&told.in_doubt) || !untouched.eq(&told.not_delivered) {
            let pending = self.end() - self.settled;
            return Err(format!("{pending} messages have no outcome, {doubtful} are handed out; told are {told:?}"));
        }
        self.settle(doubtful, Outcome::InDoubt);
        let never = self.pending().position(|message| message.taken);
        self.settle(usize::MAX, Outcome::NotDelivered);
        match never {
            Some(_) => Err("a message is reported as not delivered, and was taken".to_owned()),
            None => Ok(()),
        }
    }

    /// The sender's user is told how many messages of this session are delivered.
    pub(super) fn told_delivered(&mut self, messages: u64) -> Verdict {
        let before = std::mem::replace(&mut self.told, messages);
        if messages == self.delivered && messages > before {
            return Ok(());
        }
        Err(format!("{messages} are told to be delivered after {before}, and {} are", self.delivered))
    }

    /// The sender's user waits for the outcomes of everything accepted so far.
    pub(super) fn flush(&mut self, id: FlushId) -> Verdict {
        self.flushes.push_back(Flush { id, mark: self.end(), undelivered: 0 });
        if self.flushes.len() <= MAX_FLUSHES {
            return Ok(());
        }
        Err(format!("{} flushes wait, and {MAX_FLUSHES} are allowed", self.flushes.len()))
    }

    /// A flush has ended.
    pub(super) fn flushed(&mut self, id: FlushId, undelivered: u64) -> Verdict {
        match self.flushes.pop_front() {
            Some(flush) if flush.id == id && flush.mark <= self.settled && flush.undelivered == undelivered => Ok(()),
            flush => Err(format!("{id:?} has ended with {undelivered} undelivered at {}: {flush:?}", self.settled)),
        }
    }

    /// The user of the sender has been told everything that is to be told for now.
    pub(super) fn drained(&self) -> Verdict {
        if !self.owed.is_empty() {
            return Err(format!("{} messages are in doubt, untold", self.owed.len()));
        }
        match self.flushes.front() {
            Some(flush) if flush.mark <= self.settled => Err(format!("{flush:?} has ended, untold")),
            _ => Ok(()),
        }
    }

    /// The session is over at the sender.
    pub(super) fn over(&mut self) -> Verdict {
        self.stream = None;
        let forgotten = self.end() - self.settled;
        if forgotten > 0 {
            return Err(format!("the session is over, and {forgotten} messages have no outcome"));
        }
        self.trim();
        self.begins_anew()
    }

    /// The session is over at the sender, and another has begun at the same moment.
    pub(super) fn begins_anew(&mut self) -> Verdict {
        let (delivered, told) = (std::mem::take(&mut self.delivered), std::mem::take(&mut self.told));
        if delivered == told { Ok(()) } else { Err(format!("{delivered} messages were delivered, and {told} told")) }
    }

    /// The receiver's application has dealt with the message with this index on this stream.
    pub(super) fn consumed(&mut self, stream: StreamId, index: u64) {
        let number = self.bases.get(&stream).map(|base| base + index);
        let place = number.and_then(|number| usize::try_from(number.checked_sub(self.first)?).ok());
        if let Some(message) = place.and_then(|place| self.log.get_mut(place)) {
            message.consumed = true;
        }
    }

    /// The receiver's application has taken the message with this index on this stream.
    pub(super) fn taken(&mut self, stream: StreamId, index: u64, payload: &Bytes) -> Verdict {
        let Some(&base) = self.bases.get(&stream) else { return Err(format!("a message of {stream:?}, never begun")) };
        let number = base + index;
        if number < self.passed {
            return Err(format!("message {number} is taken after {}", self.passed));
        }
        for skipped in self.passed..number {
            let outcome = self.find(skipped).and_then(|message| message.outcome);
            if !matches!(outcome, Some(Outcome::InDoubt | Outcome::NotDelivered)) {
                return Err(format!("message {number} is taken, and {skipped} before it was not ({outcome:?})"));
            }
        }
        self.passed = number + 1;
        let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        let Some(message) = place.and_then(|place| self.log.get_mut(place)) else {
            return Err(format!("message {number} is taken, and was never accepted"));
        };
        message.taken = true;
        if message.payload != *payload {
            return Err(format!("message {number} is not what was accepted"));
        }
        if message.outcome == Some(Outcome::NotDelivered) {
            return Err(format!("message {number} is taken, and was reported as not delivered"));
        }
        self.bases.retain(|_, other| *other >= base);
        self.trim();
        Ok(())
    }

    /// The number that the next message will have.
    pub(super) fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    /// Whether every message below this number was taken, or will never be.
    pub(super) fn is_done(&self, number: u64) -> bool {
        (self.passed.max(self.first)..number.min(self.end()))
            .all(|pending| self.find(pending).is_none_or(|message| message.taken || message.outcome.is_some()))
    }

    /// How many messages were reported as not delivered or in doubt.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether the sender knows the outcome of every message below this number.
    pub(super) fn is_settled(&self, number: u64) -> bool {
        self.settled >= number
    }

    fn find(&self, number: u64) -> Option<&Accepted> {
        self.log.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The messages without an outcome.
    fn pending(&self) -> impl Iterator<Item = &Accepted> {
        self.log.iter().skip((self.settled - self.first) as usize)
    }

    /// How many messages without an outcome were handed out, wholly or in part.
    fn handed_out(&self) -> usize {
        let Some(stream) = self.stream else { return 0 };
        let mut at = stream.consumed;
        let begun = |message: &&Accepted| {
            let begun = at < stream.outgoing.sent();
            at += encoded(&message.payload);
            begun
        };
        self.pending().take_while(begun).count()
    }

    /// The receiver says that it has taken everything below this offset.
    fn delivered(&mut self, consumed: u64) -> Verdict {
        while let Some(stream) = self.stream
            && stream.consumed < consumed
        {
            let number = self.settled;
            let Some(message) = self.find(number) else {
                return Err(format!("bytes below {consumed} are acknowledged, and were never accepted"));
            };
            let (consumed_there, length) = (message.consumed, encoded(&message.payload));
            if let Some(stream) = &mut self.stream {
                stream.consumed += length;
            }
            self.settle(1, Outcome::Delivered);
            if !consumed_there {
                return Err(format!("message {number} counts as delivered, and was not taken or not acknowledged"));
            }
        }
        match self.stream {
            Some(stream) if stream.consumed > consumed && consumed > 0 && stream.outgoing.sent() > 0 => {
                // An older acknowledgement, or one that ends inside a message.
                Err(format!("bytes below {consumed} are acknowledged after those below {}", stream.consumed))
            }
            _ => Ok(()),
        }
    }

    fn settle(&mut self, count: usize, outcome: Outcome) {
        let from = (self.settled - self.first) as usize;
        let until = self.log.len().min(from.saturating_add(count));
        for message in self.log.range_mut(from..until) {
            message.outcome = Some(outcome);
            self.retained -= encoded(&message.payload);
        }
        let before = self.settled;
        self.settled += (until - from) as u64;
        if outcome == Outcome::Delivered {
            self.delivered += self.settled - before;
        } else {
            self.lost += self.settled - before;
            for flush in &mut self.flushes {
                flush.undelivered += flush.mark.min(self.settled) - flush.mark.min(before);
            }
        }
        self.trim();
    }

    fn begin(&mut self, outgoing: Outgoing) {
        self.stream = Some(Stream { outgoing, consumed: 0 });
        self.bases.insert(outgoing.id(), self.settled);
    }

    /// Forgets messages that nothing can happen to any more.
    fn trim(&mut self) {
        while self.first < self.passed && self.log.front().is_some_and(|message| message.outcome.is_some()) {
            self.log.pop_front();
            self.first += 1;
        }
    }
}

/// The bytes of stream that a message takes.
fn encoded(payload: &Bytes) -> u64 {
    Head::of(payload.len() as u64).total()
}

#[cfg(test)]
mod tests {
    use cluster_check::successor;
    use cluster_core::wire::PeerStream;

    use super::super::tests::run;
    use super::*;

    const S: StreamId = StreamId(7);

    fn message(number: u8) -> Bytes {
        Bytes::from(vec![number; 9])
    }

    /// Ten bytes of stream each, all handed out up to `sent`.
    fn flow(messages: u8, sent: u64) -> Flow {
        let mut flow = Flow::default();
        flow.named(S, 1_000).unwrap();
        for number in 0..messages {
            flow.accepted(message(number), &Limits::default()).unwrap();
        }
        flow.sent(0, sent).unwrap();
        flow
    }

    fn ack(consumed: u64) -> Ack {
        Ack { received: consumed, consumed, consumed_messages: consumed / 10, granted: 1_000 }
    }

    fn resumes(flow: &mut Flow, known: PeerStream, same: bool) {
        flow.resumes(&Sending { known, same, credit: 1_000 }).unwrap();
    }

    fn told(in_doubt: &[u8], not_delivered: &[u8]) -> Undelivered {
        let payloads = |numbers: &[u8]| numbers.iter().copied().map(message).collect();
        Undelivered { peer: run(1, 1), in_doubt: payloads(in_doubt), not_delivered: payloads(not_delivered) }
    }

    /// The receiver takes a message, which counts as delivered by that.
    fn take(flow: &mut Flow, stream: StreamId, index: u64, payload: &Bytes) -> Verdict {
        flow.consumed(stream, index);
        flow.taken(stream, index, payload)
    }

    #[test]
    fn what_is_taken_in_order_and_acknowledged_passes() {
        let mut flow = flow(3, 30);
        for index in 0..3 {
            take(&mut flow, S, index, &message(index as u8)).unwrap();
        }
        flow.acked(&ack(20)).unwrap();
        flow.told_delivered(2).unwrap();
        flow.undelivered(&told(&[2], &[]), true).unwrap();
        flow.over().unwrap();
        assert!(flow.is_done(3));
    }

    #[test]
    fn loss_repetition_disorder_and_damage_are_found() {
        let wrong: [fn(&mut Flow) -> Verdict; 5] = [
            |flow| take(flow, S, 1, &message(1)),
            |flow| take(flow, S, 0, &message(0)).and(take(flow, S, 0, &message(0))),
            |flow| take(flow, S, 0, &message(1)),
            |flow| take(flow, StreamId(8), 0, &message(0)),
            |flow| (0..4).try_for_each(|index| take(flow, S, index, &message(index as u8))),
        ];
        for (index, wrong) in wrong.iter().enumerate() {
            assert!(wrong(&mut flow(3, 30)).is_err(), "case {index}");
        }
    }

    #[test]
    fn an_outcome_that_is_not_true_is_found() {
        let mut never_taken = flow(3, 30);
        never_taken.acked(&ack(10)).unwrap_err();
        flow(3, 15).undelivered(&told(&[0, 1, 2], &[]), true).unwrap_err();
        flow(3, 15).undelivered(&told(&[0], &[1, 2]), true).unwrap_err();
        flow(3, 15).undelivered(&told(&[0, 1], &[]), true).unwrap_err();
        flow(3, 15).undelivered(&told(&[0, 1], &[2]), true).unwrap();
        flow(3, 15).over().unwrap_err();
        let mut later = flow(3, 15);
        later.undelivered(&told(&[0, 1], &[2]), true).unwrap();
        take(&mut later, S, 0, &message(0)).unwrap();
        take(&mut later, S, 1, &message(1)).unwrap();
        take(&mut later, S, 2, &message(2)).unwrap_err();
    }

    #[test]
    fn credit_and_offsets_are_kept_by_the_sender() {
        let mut flow = Flow::default();
        flow.sent(0, 1).unwrap_err();
        flow.named(S, 15).unwrap();
        flow.accepted(message(0), &Limits::default()).unwrap();
        flow.accepted(message(1), &Limits::default()).unwrap();
        flow.sent(0, 10).unwrap();
        flow.sent(11, 1).unwrap_err();
        flow.sent(10, 6).unwrap_err();
    }

    #[test]
    fn a_reset_puts_in_doubt_what_was_handed_out_and_carries_the_rest_over() {
        let mut flow = flow(3, 15);
        take(&mut flow, S, 0, &message(0)).unwrap();
        resumes(&mut flow, PeerStream::None, false);
        flow.drained().unwrap_err();
        flow.undelivered(&told(&[0, 1], &[]), false).unwrap();
        flow.drained().unwrap();
        flow.named(successor(S), 1_000).unwrap();
        flow.sent(0, 10).unwrap();
        take(&mut flow, successor(S), 0, &message(2)).unwrap();
        flow.acked(&ack(10)).unwrap();
        flow.over().unwrap_err();
    }

    #[test]
    fn a_stream_goes_on_over_the_next_link_from_where_the_receiver_is() {
        let mut flow = flow(3, 30);
        take(&mut flow, S, 0, &message(0)).unwrap();
        let ack = Ack { received: 15, consumed: 10, consumed_messages: 1, granted: 1_000 };
        resumes(&mut flow, PeerStream::Live { id: S, ack }, true);
        flow.sent(15, 15).unwrap();
        let mut ended = tests::flow(3, 30);
        take(&mut ended, S, 0, &message(0)).unwrap();
        resumes(&mut ended, PeerStream::Closed { id: S, consumed: 10 }, false);
        ended.sent(0, 20).unwrap();
        take(&mut ended, successor(S), 0, &message(1)).unwrap();
    }

    #[test]
    fn a_message_that_waits_to_be_acknowledged_is_not_delivered() {
        let mut flow = flow(3, 30);
        flow.taken(S, 0, &message(0)).unwrap();
        flow.consumed(S, 0);
        flow.taken(S, 1, &message(1)).unwrap();
        flow.acked(&ack(10)).unwrap();
        flow.acked(&ack(20)).unwrap_err();
    }

    #[test]
    fn what_the_user_is_told_of_deliveries_and_flushes_is_true() {
        let (first, second) = super::super::tests::flushes();
        let mut flow = flow(3, 15);
        flow.flush(first).unwrap();
        flow.accepted(message(3), &Limits::default()).unwrap();
        flow.flush(second).unwrap();
        take(&mut flow, S, 0, &message(0)).unwrap();
        flow.acked(&ack(10)).unwrap();
        flow.told_delivered(1).unwrap();
        flow.told_delivered(1).unwrap_err();
        flow.drained().unwrap();
        flow.undelivered(&told(&[1], &[2, 3]), true).unwrap();
        flow.drained().unwrap_err();
        flow.flushed(first, 2).unwrap();
        flow.flushed(second, 2).unwrap_err();
        flow.over().unwrap();
    }

    #[test]
    fn what_a_receiver_has_not_heard_of_begins_again_and_is_in_no_doubt() {
        let mut flow = flow(3, 15);
        resumes(&mut flow, PeerStream::None, true);
        flow.drained().unwrap();
        flow.sent(0, 30).unwrap();
        take(&mut flow, S, 0, &message(0)).unwrap();
    }

    #[test]
    fn a_full_window_takes_no_more() {
        let mut limits = Limits::default();
        limits.send_window = 15;
        let mut flow = Flow::default();
        flow.accepted(Bytes::from(vec![0; 100]), &limits).unwrap();
        flow.accepted(message(0), &limits).unwrap_err();
    }
}
