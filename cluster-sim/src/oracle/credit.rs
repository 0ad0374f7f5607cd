//! O14: what a node has granted, summed over all peers, is within its budget; each grant is within the window and what
//! the message at the front still needs; and what it says of the streams it receives is true.
//!
//! All of it follows from the frames on the wire and from what the application takes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cluster_check::{Head, Incoming, Taken, successor};
use cluster_core::wire::{Ack, Data, PeerStream, StreamId};
use cluster_core::{Incarnation, Instant, Limits, Receipt, Run};

use super::Verdict;

/// How long the end of a stream is remembered at the least.
const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);

/// What one run of a node owes to its peers.
#[derive(Debug, Default)]
pub(super) struct Credit {
    accounts: BTreeMap<Run, Account>,
    /// Sum over all accounts.
    outstanding: u64,
    /// The largest window that was ever in force.
    window: u64,
}

/// The streams of one peer.
#[derive(Debug, Default)]
struct Account {
    /// Streams that are over, with whole messages that wait to be taken.
    rests: VecDeque<Rest>,
    current: Option<Receiving>,
    /// The latest chunk, in case the node refuses it.
    undo: Option<Receiving>,
    /// Messages that were taken and not acknowledged, where that is up to the application.
    unacknowledged: VecDeque<(Receipt, Place)>,
    /// When the last link of the two was lost.
    lost: Option<Instant>,
    /// The node may have forgotten the stream.
    forgotten: bool,
    /// No session goes on with it at present: only what is not taken takes memory.
    over: bool,
    /// The stream as it was when the session ended: its last acknowledgement may be handed out later.
    parting: Option<Receiving>,
}

/// A message that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) message: Taken,
    /// It came for the run that the node was before.
    pub(super) earlier: bool,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    id: StreamId,
    bytes: u64,
    index: u64,
    earlier: bool,
}

/// The stream that carries the peer's messages at present.
#[derive(Clone, Debug)]
struct Receiving {
    stream: Incoming,
    earlier: bool,
}

impl Credit {
    /// The node's windows may be this large from now on; those there are keep what they have.
    pub(super) fn configured(&mut self, limits: &Limits) {
        self.window = self.window.max(limits.recv_window).max(limits.initial_window);
    }

    /// A chunk of a peer's stream reaches the node, which may refuse it.
    pub(super) fn data(&mut self, peer: Run, data: &Data) {
        self.change(peer, |account| {
            let here = |current: &&mut Receiving| current.stream.received() == data.offset;
            let Some(current) = account.current.as_mut().filter(here) else { return };
            account.undo = Some(current.clone());
            current.stream.arrives(&data.bytes);
        });
    }

    /// The stream of this peer that the node receives at present.
    pub(super) fn current(&self, peer: Run) -> Option<StreamId> {
        Some(self.accounts.get(&peer)?.current.as_ref()?.stream.id())
    }

    /// The node is another run: no session goes on with what was sent to the one before.
    pub(super) fn reborn(&mut self) {
        for account in self.accounts.values_mut() {
            account.forgotten = true;
            account.rests.iter_mut().for_each(|rest| rest.earlier = true);
            account.current.iter_mut().for_each(|current| current.earlier = true);
        }
    }

    /// The node meets this run: of earlier ones of the same node it need not remember anything.
    pub(super) fn met(&mut self, run: Run) {
        let earliest = Run { incarnation: Incarnation(0), ..run };
        for (_, account) in self.accounts.range_mut(earliest..run) {
            account.forgotten = true;
        }
    }

    /// The node has refused the latest chunk.
    pub(super) fn refused(&mut self, peer: Run) {
        self.change(peer, |account| {
            if let Some(before) = account.undo.take() {
                account.current = Some(before);
            }
        });
    }

    /// The node has dealt with the latest chunk, and has kept it unless it has refused it.
    pub(super) fn dealt_with(&mut self, peer: Run, limits: &Limits) -> Verdict {
        if let Some(account) = self.accounts.get_mut(&peer) {
            account.undo = None;
        }
        self.within_budget(limits)
    }

    /// The application has taken a message of this length. Returns which one it is.
    pub(super) fn taken(&mut self, peer: Run, length: u64) -> Result<Place, String> {
        let bytes = Head::of(length).total();
        let mut place = None;
        self.change(peer, |account| place = account.take(bytes));
        place.ok_or_else(|| format!("a message of {length} bytes of {peer:?} is taken, and has not arrived"))
    }

    /// A message that was taken counts as delivered.
    pub(super) fn consumed(&mut self, peer: Run, place: Place) {
        self.change(peer, |account| account.consume(place));
    }

    /// A message that was taken waits for the application to acknowledge it.
    pub(super) fn waits(&mut self, peer: Run, place: Place, receipt: Receipt) {
        self.change(peer, |account| {
            // Of a peer that was forgotten nothing is kept once all is taken, and who acknowledges it then tells nobody.
            account.forgotten |= account.over;
            account.unacknowledged.push_back((receipt, place));
        });
    }

    /// The application acknowledges a message that it took, and all before it. Returns whose they are, and which.
    pub(super) fn acknowledged(&mut self, receipt: Receipt) -> Option<(Run, Vec<Place>)> {
        let of = |account: &Account| account.unacknowledged.iter().rposition(|(taken, _)| *taken == receipt);
        let (peer, last) = self.accounts.iter().find_map(|(&peer, account)| Some((peer, of(account)?)))?;
        let mut places = Vec::new();
        self.change(peer, |account| {
            places.extend(account.unacknowledged.drain(..=last).map(|(_, place)| place));
            for &place in &places {
                account.consume(place);
            }
        });
        Some((peer, places))
    }

    /// The node says what it knows of the peer's stream, before it knows what the peer has to say.
    pub(super) fn offers(&self, peer: Run, said: &PeerStream, now: Instant) -> Verdict {
        let Some(account) = self.accounts.get(&peer).filter(|account| !account.forgotten) else { return Ok(()) };
        let expired = account.lost.is_some_and(|lost| now - lost >= REMEMBERED);
        match (&account.current, said) {
            (Some(current), PeerStream::None) if !expired => Err(format!("it has forgotten {current:?}")),
            _ => Ok(()),
        }
    }

    /// A user, here or there, wants nothing more of the peer, so that nothing needs to be remembered of it.
    pub(super) fn parted(&mut self, peer: Run) {
        self.change(peer, |account| account.forgotten = true);
    }

    /// The node acknowledges and grants.
    pub(super) fn acks(&mut self, peer: Run, ack: &Ack, limits: &Limits) -> Verdict {
        let window = self.window;
        let mut verdict = None;
        self.change(peer, |account| {
            if account.over
                && let Some(parting) = &mut account.parting
            {
                // The last word on a link that was slow to take it.
                verdict = Some(parting.stream.acks(ack, window));
            } else if let Some(current) = &mut account.current {
                verdict = Some(current.stream.acks(ack, window));
            }
        });
        verdict.unwrap_or_else(|| Err(format!("it acknowledges {ack:?}, and no stream was begun")))?;
        self.within_budget(limits)
    }

    /// A link connects the two from now on. The node has said what it knows of the peer's stream; a new stream has
    /// this window; `theirs` is the stream that the peer has offered, and where it would go on.
    pub(super) fn resumes(&mut self, peer: Run, said: &PeerStream, theirs: (StreamId, u64), window: u64) -> Verdict {
        let most = self.window.max(window);
        let mut verdict = Ok(());
        self.change(peer, |account| {
            account.over = false;
            let fresh = |id| Incoming::new(id, window);
            match (*said, &mut account.current) {
                (PeerStream::Live { id, ack }, Some(current)) if current.stream.id() == id => {
                    verdict = current.stream.resumes(&ack, most);
                }
                (PeerStream::Live { id, ack }, _) => account.replace(Incoming::at(id, &ack)),
                (PeerStream::Closed { id, .. }, _) => account.replace(fresh(successor(id))),
                (PeerStream::None, _) if theirs.1 == 0 => account.replace(fresh(theirs.0)),
                (PeerStream::None, _) => account.replace(fresh(successor(theirs.0))),
            }
        });
        verdict
    }

    /// The link is gone: no grant is worth anything any more.
    pub(super) fn fenced(&mut self, peer: Run, now: Instant) {
        self.change(peer, |account| {
            account.lost = Some(now);
            if let Some(current) = &mut account.current {
                current.stream.fence();
            }
        });
    }

    /// The session is over: a stream of which only the part of a message is left ends before it. Any other may go on.
    pub(super) fn over(&mut self, peer: Run) {
        self.change(peer, |account| {
            // Nothing is remembered of a stream whose last messages nobody acknowledges.
            account.forgotten |= !account.unacknowledged.is_empty();
            account.over = true;
            account.parting = account.current.clone();
            if let Some(current) = &mut account.current {
                current.stream.end();
            }
        });
    }

    fn change(&mut self, peer: Run, change: impl FnOnce(&mut Account)) {
        let account = self.accounts.entry(peer).or_default();
        self.outstanding -= account.outstanding();
        change(account);
        self.outstanding += account.outstanding();
    }

    fn within_budget(&self, limits: &Limits) -> Verdict {
        if self.outstanding <= limits.recv_budget {
            return Ok(());
        }
        Err(format!(
            "{} bytes are granted and not consumed, and the budget is {}",
            self.outstanding, limits.recv_budget
        ))
    }
}

impl Account {
    fn outstanding(&self) -> u64 {
        let rests: u64 = self.rests.iter().map(|rest| rest.bytes).sum();
        let current = self.current.as_ref().map(|current| &current.stream);
        let from = |stream: &Incoming| if self.over { stream.taken() } else { stream.consumed() };
        rests + current.map_or(0, |stream| stream.granted().max(stream.received()) - from(stream))
    }

    fn take(&mut self, bytes: u64) -> Option<Place> {
        if let Some(rest) = self.rests.front_mut() {
            let message = Taken { stream: rest.id, index: rest.index, end: 0 };
            let place = Place { message, earlier: rest.earlier };
            rest.bytes = rest.bytes.checked_sub(bytes)?;
            rest.index += 1;
            if rest.bytes == 0 {
                self.rests.pop_front();
            }
            return Some(place);
        }
        let Receiving { stream, earlier } = self.current.as_mut()?;
        Some(Place { message: stream.take(bytes)?, earlier: *earlier })
    }

    fn consume(&mut self, place: Place) {
        if let Some(current) = &mut self.current {
            current.stream.consume(place.message);
        }
    }

    fn replace(&mut self, stream: Incoming) {
        self.forgotten = false;
        let Some(Receiving { stream, earlier }) = self.current.replace(Receiving { stream, earlier: false }) else {
            return;
        };
        let bytes = stream.untaken();
        if bytes > 0 {
            self.rests.push_back(Rest { id: stream.id(), bytes, index: stream.taken_messages(), earlier });
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::tests::run;
    use super::*;

    const S: StreamId = StreamId(7);
    const PEER: u8 = 2;

    /// Takes and consumes a message.
    fn take(credit: &mut Credit, peer: Run, length: u64) -> Result<(StreamId, u64), String> {
        let place = credit.taken(peer, length)?;
        credit.consumed(peer, place);
        Ok((place.message.stream, place.message.index))
    }

    /// A stream with a window of 100 bytes, on which messages of ten bytes each have come.
    fn credit(messages: usize) -> Credit {
        let mut credit = Credit { window: 100, ..Credit::default() };
        credit.resumes(run(PEER, 1), &PeerStream::None, (S, 0), 100).unwrap();
        feed(&mut credit, run(PEER, 1), &data(0, &whole(messages))).unwrap();
        credit
    }

    fn whole(messages: usize) -> Vec<u8> {
        [0x49, 1, 2, 3, 4, 5, 6, 7, 8, 9].repeat(messages)
    }

    fn data(offset: u64, bytes: &[u8]) -> Data {
        Data { offset, bytes: Bytes::copy_from_slice(bytes) }
    }

    fn limits() -> Limits {
        let mut limits = Limits::default();
        (limits.recv_window, limits.recv_budget) = (100, 500);
        limits
    }

    fn ack(received: u64, consumed: u64, granted: u64) -> Ack {
        Ack { received, consumed, consumed_messages: consumed / 10, granted }
    }

    fn feed(credit: &mut Credit, peer: Run, data: &Data) -> Verdict {
        credit.data(peer, data);
        credit.dealt_with(peer, &limits())
    }

    #[test]
    fn an_acknowledgement_says_what_is_true_and_grants_no_more_than_the_window() {
        let peer = run(PEER, 1);
        let mut credit = credit(3);
        assert_eq!(take(&mut credit, peer, 9), Ok((S, 0)));
        credit.acks(peer, &ack(30, 10, 110), &limits()).unwrap();
        for wrong in [ack(31, 10, 110), ack(30, 20, 110), ack(30, 10, 111)] {
            credit.acks(peer, &wrong, &limits()).unwrap_err();
        }
    }

    #[test]
    fn all_grants_together_are_within_the_budget() {
        let mut credit = Credit::default();
        for number in 1..=5 {
            credit.resumes(run(number, 1), &PeerStream::None, (S, 0), 100).unwrap();
        }
        feed(&mut credit, run(1, 1), &data(0, &whole(1))).unwrap();
        credit.resumes(run(6, 1), &PeerStream::None, (S, 0), 100).unwrap();
        feed(&mut credit, run(1, 1), &data(10, &whole(1))).unwrap_err();
        credit.fenced(run(6, 1), Instant::ZERO);
        feed(&mut credit, run(1, 1), &data(20, &whole(1))).unwrap();
    }

    #[test]
    fn messages_are_taken_as_they_have_arrived_whatever_their_chunks() {
        let peer = run(PEER, 1);
        let mut credit = credit(0);
        let mut bytes = whole(2);
        bytes.extend([0x40, 0x58, 30]);
        bytes.extend([0; 30]);
        for (offset, byte) in bytes.iter().enumerate() {
            feed(&mut credit, peer, &data(offset as u64, &[*byte])).unwrap();
        }
        for (index, length) in [9, 9, 0, 30].into_iter().enumerate() {
            assert_eq!(take(&mut credit, peer, length), Ok((S, index as u64)));
        }
        take(&mut credit, peer, 0).unwrap_err();
    }

    #[test]
    fn a_stream_that_is_over_is_taken_before_the_next() {
        let peer = run(PEER, 1);
        let mut credit = credit(2);
        feed(&mut credit, peer, &data(20, &[0x49, 1])).unwrap();
        credit.over(peer);
        credit.resumes(peer, &PeerStream::Closed { id: S, consumed: 0 }, (S, 22), 80).unwrap();
        feed(&mut credit, peer, &data(0, &whole(1))).unwrap();
        for place in [(S, 0), (S, 1), (successor(S), 0)] {
            assert_eq!(take(&mut credit, peer, 9), Ok(place));
        }
    }

    #[test]
    fn a_part_may_be_given_up_and_a_whole_message_may_not() {
        let peer = run(PEER, 1);
        let live = |received| PeerStream::Live { id: S, ack: ack(received, 0, 100) };
        let mut part = credit(1);
        feed(&mut part, peer, &data(10, &[0x49, 1, 2])).unwrap();
        part.resumes(peer, &live(11), (S, 13), 100).unwrap();
        feed(&mut part, peer, &data(11, &whole(1)[1..])).unwrap();
        assert_eq!((take(&mut part, peer, 9), take(&mut part, peer, 9)), (Ok((S, 0)), Ok((S, 1))));
        credit(1).resumes(peer, &live(9), (S, 10), 100).unwrap_err();
    }

    #[test]
    fn a_stream_outlives_its_session_unless_only_a_part_is_left_of_it() {
        let peer = run(PEER, 1);
        let part = data(10, &[0x49, 1]);
        let live = PeerStream::Live { id: S, ack: ack(12, 0, 100) };
        for taken in [false, true] {
            let mut credit = credit(1);
            feed(&mut credit, peer, &part).unwrap();
            if taken {
                take(&mut credit, peer, 9).unwrap();
            }
            credit.fenced(peer, Instant::ZERO);
            credit.over(peer);
            assert_eq!(credit.resumes(peer, &live, (S, 12), 100).is_err(), taken);
        }
    }

    #[test]
    fn a_stream_that_is_forgotten_too_early_is_found() {
        let (peer, now) = (run(PEER, 1), Instant::ZERO);
        let offers = |credit: &Credit, at| credit.offers(peer, &PeerStream::None, at);
        let mut credit = credit(1);
        credit.fenced(peer, now);
        offers(&credit, now + REMEMBERED / 2).unwrap_err();
        offers(&credit, now + REMEMBERED).unwrap();
        credit.parted(peer);
        offers(&credit, now).unwrap();
    }

    #[test]
    fn a_chunk_that_the_node_refuses_has_not_arrived() {
        let peer = run(PEER, 1);
        let mut credit = credit(0);
        credit.data(peer, &data(0, &whole(1)));
        credit.refused(peer);
        take(&mut credit, peer, 9).unwrap_err();
    }
}
