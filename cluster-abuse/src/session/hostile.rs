//! A node and one peer that keeps account of what it says: what the node must refuse, what it must take, and what became
//! of each message by the peer's own word.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use cluster_check::{Incoming, Outgoing, Resumption, Taken, successor};
use cluster_core::wire::{Accept, Ack, Claim, Data, Offer, PeerStream, Profile, Resume, StreamId};
use cluster_core::{
    Acknowledge, Bytes, Config, Disconnect, Frame, Incarnation, LinkId, ProtocolError, Reason, Receipt, Run,
};

use super::{MAX_STEPS, append, front, message, number};
use crate::draw::{self, Near};
use crate::driver::{Driver, at, id, small};
use crate::tape::Tape;

const MAX_MESSAGE: u64 = 2_000;

/// The largest window of the node.
const WINDOW: u64 = 4_096;

/// Beyond what it was told by more than this the peer has no credit, whatever the node has not yet said.
const MOST_UNTOLD: u64 = 3 * WINDOW + MAX_MESSAGE;

pub(super) fn run(shape: u8, tape: &mut Tape<'_>) {
    let mut table = Table::new(shape);
    table.dial(None);
    for _ in 0..MAX_STEPS {
        if !table.step(tape) {
            break;
        }
    }
    table.end();
}

struct Table {
    driver: Driver,
    peer: Run,
    profile: Profile,
    /// The application acknowledges what it takes.
    manual: bool,
    link: Option<LinkId>,
    generation: u64,
    theirs: Theirs,
    ours: Ours,
    /// The numbers of the messages that the node has accepted.
    accepted: u64,
    /// Those that the peer has said it took.
    consumed: BTreeSet<u64>,
    /// What the application has not acknowledged, and where it stands in the stream of the peer.
    receipts: VecDeque<(Receipt, Option<Taken>)>,
    flushes: usize,
    /// How many sessions were over when the last one began.
    gone: u64,
}

/// The stream that the node sends, as far as the peer has it.
#[derive(Debug)]
struct Theirs {
    stream: Outgoing,
    /// Everything that was ever sent of it.
    log: Vec<u8>,
    /// What the peer last said of it.
    said: Ack,
}

/// The stream that the peer sends.
#[derive(Debug)]
struct Ours {
    stream: Incoming,
    bytes: Vec<u8>,
    /// A head in it is wrong, and the node will find out when it comes to it.
    poisoned: bool,
    /// Messages of earlier streams that are still to be taken.
    leftover: VecDeque<Bytes>,
}

impl Ours {
    fn new(id: u64, granted: u64) -> Ours {
        let stream = Incoming::new(StreamId(id), granted);
        Ours { stream, bytes: Vec::new(), poisoned: false, leftover: VecDeque::new() }
    }

    fn id(&self) -> u64 {
        self.stream.id().0
    }

    /// What the application has not taken of it.
    fn untaken(&self) -> &[u8] {
        &self.bytes[self.stream.taken() as usize..]
    }

    /// The next message that the application must get.
    fn front(&self) -> Option<Bytes> {
        if let Some(payload) = self.leftover.front() {
            return Some(payload.clone());
        }
        let (payload, _) = front(self.untaken(), MAX_MESSAGE).ok()??;
        Some(Bytes::copy_from_slice(payload))
    }

    /// The application has taken it. Returns its place in the stream, unless that is over.
    fn took(&mut self) -> Option<Taken> {
        if self.leftover.pop_front().is_some() {
            return None;
        }
        let (_, length) = front(self.untaken(), MAX_MESSAGE).ok()??;
        self.stream.take(length as u64)
    }

    /// The stream is over: what is complete of it is still taken.
    fn replace(&mut self, id: u64, granted: u64) {
        let mut rest = self.untaken();
        let mut leftover = Vec::new();
        while let Ok(Some((payload, length))) = front(rest, MAX_MESSAGE) {
            leftover.push(Bytes::copy_from_slice(payload));
            rest = &rest[length..];
        }
        self.leftover.extend(leftover);
        let leftover = std::mem::take(&mut self.leftover);
        *self = Ours { leftover, ..Ours::new(id, granted) };
    }
}

impl Table {
    fn new(shape: u8) -> Table {
        let mut config = Config::insecure_plaintext().limits(small());
        let manual = shape & 1 == 1;
        if manual {
            config = config.acknowledge(Acknowledge::Manual);
        }
        let window = if shape & 2 == 2 { 600 } else { 1 << 20 };
        let profile = Profile {
            name: None,
            metadata: Bytes::new(),
            addresses: vec![at(1).into()],
            max_message: MAX_MESSAGE,
            window,
        };
        Table {
            driver: Driver::new(100, 1_000, config),
            peer: Run { id: id(1), incarnation: Incarnation(1) },
            profile,
            manual,
            link: None,
            generation: 0,
            theirs: Theirs { stream: Outgoing::new(StreamId(0), 0), log: Vec::new(), said: Ack::default() },
            ours: Ours::new(7, 0),
            accepted: 0,
            consumed: BTreeSet::new(),
            receipts: VecDeque::new(),
            flushes: 0,
            gone: 0,
        }
    }

    fn step(&mut self, tape: &mut Tape<'_>) -> bool {
        let Some(kind) = tape.try_byte() else { return false };
        match kind % 16 {
            0 | 1 => {
                let payload = message(self.accepted, usize::from(tape.short()) % 2_100);
                self.accepted += u64::from(self.driver.send(self.peer.id, payload));
            }
            2 => (0..=tape.choice(8)).for_each(|_| self.take()),
            3 => self.driver.pass(span(tape.byte())),
            4 | 5 => self.acks(tape),
            6 => {
                let near = self.near();
                self.ack(draw::ack(tape, &near.ack));
            }
            7 | 8 => self.sends(tape),
            9 => {
                let offset = tape.number(self.ours.bytes.len() as u64);
                let bytes = Bytes::copy_from_slice(tape.bytes());
                self.data(offset, bytes);
            }
            10 => self.returns(tape),
            11 => self.waits(tape),
            12 => self.says(tape),
            13 => {
                let count = tape.choice(4);
                for (receipt, taken) in self.receipts.drain(..count.min(self.receipts.len())) {
                    self.driver.user(|node, now| node.acknowledge(now, receipt));
                    if let Some(taken) = taken {
                        self.ours.stream.consume(taken);
                    }
                }
            }
            14 => {
                let peer = self.peer.id;
                let mut accepted = false;
                self.driver.user(|node, now| accepted = node.flush(now, peer).is_ok());
                self.flushes += usize::from(accepted);
            }
            _ => {
                let host = tape.byte() % 8;
                self.driver.handle(cluster_core::Input::Tick);
                self.driver.pass(Duration::from_millis(u64::from(host)));
            }
        }
        self.look();
        true
    }

    fn near(&self) -> Near {
        let Theirs { stream, said, .. } = &self.theirs;
        let ack = Ack { received: stream.sent(), granted: said.granted.max(stream.sent()), ..*said };
        let live = PeerStream::Live { id: stream.id(), ack };
        let received = self.ours.stream.received();
        let offer = Offer { stream: self.ours.stream.id(), next: received, peer: live };
        Near { offset: received, ack, generation: self.generation + 1, offer, incarnation: 1_000 }
    }

    /// Reads what the node has written, and notices when it has closed the link.
    fn look(&mut self) {
        let Some(link) = self.link else { return };
        let Some(line) = self.driver.links.get_mut(&link) else {
            self.link = None;
            return;
        };
        let (written, closed) = (std::mem::take(&mut line.written), line.closed.is_some());
        for frame in written {
            match frame {
                Frame::Data(data) => self.hears(&data),
                Frame::Ack(ack) => {
                    let Ours { stream, poisoned, .. } = &mut self.ours;
                    assert!(ack.granted >= stream.granted(), "{ack:?} falls below {}", stream.granted());
                    assert!(ack.received == stream.received() || *poisoned, "{ack:?} of {stream:?}");
                    assert!(ack.consumed <= ack.received && ack.received <= ack.granted, "{ack:?}");
                    let verdict = stream.acks(&ack, WINDOW);
                    assert_eq!(verdict.err().filter(|_| !*poisoned), None);
                }
                // A node that answers nobody is not what this is about: nobody here goes down for silence.
                Frame::Ping { token } if !closed => self.driver.frame(link, Frame::Pong { token }),
                _ => {}
            }
        }
        if closed {
            self.link = None;
            self.driver.close();
        }
    }

    /// The node sends: from where it was told to go on, within its credit, messages that it was given, in their order.
    fn hears(&mut self, data: &Data) {
        let Theirs { stream, log, .. } = &mut self.theirs;
        assert_eq!(stream.sends(data.offset, data.bytes.len() as u64), Ok(()), "{data:?}");
        let at = data.offset as usize;
        let known = data.bytes.len().min(log.len() - at);
        assert_eq!(log[at..at + known], data.bytes[..known], "a stream changes when it is sent again");
        log.extend_from_slice(&data.bytes[known..]);
    }

    /// The messages of the node's stream that end at or below `offset`, and whether the last of them ends there.
    fn messages_below(&self, offset: u64) -> (Vec<u64>, bool) {
        let (mut at, mut numbers) = (0, Vec::new());
        while let Ok(Some((payload, length))) = front(&self.theirs.log[at..], MAX_MESSAGE)
            && (at + length) as u64 <= offset
        {
            numbers.push(number(payload));
            at += length;
        }
        (numbers, at as u64 == offset)
    }

    /// The peer has said that everything below was taken, and the node has believed it.
    fn settle(&mut self, consumed: u64) {
        let (numbers, whole) = self.messages_below(consumed);
        assert!(whole, "{consumed} is not the end of a message");
        self.consumed.extend(numbers);
    }

    /// What became of the link: nothing, or the reason for which the node has closed it.
    fn verdict(&self, link: LinkId) -> Option<Reason> {
        self.driver.links.get(&link).and_then(|line| line.closed.clone())
    }

    /// An honest acknowledgement: all that came has arrived, some of it was taken, and more may come.
    fn acks(&mut self, tape: &mut Tape<'_>) {
        let (numbers, _) = self.messages_below(self.theirs.stream.sent());
        let already = self.theirs.said.consumed_messages as usize;
        let count = (already + tape.choice(8)).min(numbers.len()).max(already);
        let (mut consumed, mut rest) = (0, &self.theirs.log[..]);
        for _ in 0..count {
            let Ok(Some((_, length))) = front(rest, MAX_MESSAGE) else { break };
            consumed += length as u64;
            rest = &rest[length..];
        }
        let said = self.theirs.said;
        let granted = said.granted.max(consumed.saturating_add(self.profile.window));
        self.ack(Ack { received: self.theirs.stream.sent(), consumed, consumed_messages: count as u64, granted });
    }

    /// An acknowledgement of any kind, which the node must take or refuse.
    fn ack(&mut self, ack: Ack) {
        self.look();
        let Some(link) = self.link else { return };
        let (said, sent) = (self.theirs.said, self.theirs.stream.sent());
        let (numbers, whole) = self.messages_below(ack.consumed);
        let valid = ack.received >= said.received
            && ack.granted >= said.granted
            && ack.consumed >= said.consumed
            && ack.consumed <= ack.received
            && ack.received <= ack.granted
            && ack.received <= sent
            && whole
            && ack.consumed_messages == numbers.len() as u64;
        self.driver.frame(link, Frame::Ack(ack));
        if valid {
            assert_eq!(self.verdict(link), None, "{ack:?} after {said:?}, of {sent}");
            self.theirs.said = ack;
            self.theirs.stream.acked(&ack);
            self.settle(ack.consumed);
        } else {
            let expected = Reason::Protocol(ProtocolError::BadAck);
            assert_eq!(self.verdict(link), Some(expected), "{ack:?} after {said:?}, of {sent}");
        }
    }

    /// An honest piece of the stream: a message, a part of one, or the rest of one.
    fn sends(&mut self, tape: &mut Tape<'_>) {
        let length = usize::from(tape.short()) % (MAX_MESSAGE as usize + 1);
        let mut bytes = Vec::new();
        append(&mut bytes, &vec![length as u8; length]);
        // An honest peer goes on with what it has begun.
        let mut part = self.ours.untaken();
        while let Ok(Some((_, whole))) = front(part, MAX_MESSAGE) {
            part = &part[whole..];
        }
        if !part.is_empty() && !self.ours.poisoned {
            let mut missing = part.to_vec();
            let begun = missing.len();
            while matches!(front(&missing, MAX_MESSAGE), Ok(None)) && missing.len() < 3_000 {
                missing.push(7);
            }
            bytes = missing.split_off(begun);
        }
        let room = self.ours.stream.granted().saturating_sub(self.ours.stream.received()) as usize;
        let cut = match tape.byte() {
            0..=127 => bytes.len(),
            cut => usize::from(cut - 127) * 8,
        };
        bytes.truncate(cut.min(room));
        if !bytes.is_empty() {
            self.data(self.ours.stream.received(), bytes.into());
        }
    }

    /// A piece of the stream of any kind, which the node must take or refuse.
    fn data(&mut self, offset: u64, bytes: Bytes) {
        self.look();
        let Some(link) = self.link else { return };
        let frame = Frame::Data(Data { offset, bytes: bytes.clone() });
        let Ok(frame) = Frame::decode(frame.encode().into()) else { return };
        // Behind a bad head nothing means anything.
        if self.ours.poisoned {
            return;
        }
        let (due, end, granted) =
            (self.ours.stream.received(), offset + bytes.len() as u64, self.ours.stream.granted());
        self.driver.frame(link, frame);
        let verdict = self.verdict(link);
        if offset != due {
            assert_eq!(verdict, Some(Reason::Protocol(ProtocolError::WrongOffset)), "{offset} where {due} is due");
            return;
        }
        if verdict == Some(Reason::Protocol(ProtocolError::CreditExceeded)) {
            assert!(end > granted, "{end} is within {granted}");
            return;
        }
        assert!(end <= granted + MOST_UNTOLD, "{end} is far beyond {granted}");
        self.ours.bytes.extend_from_slice(&bytes);
        self.ours.stream.arrives(&bytes);
        // A bad head is found when it comes to the front.
        let (mut rest, mut complete) = (self.ours.untaken(), 0);
        let bad = loop {
            match front(rest, MAX_MESSAGE) {
                Ok(Some((_, length))) => (rest, complete) = (&rest[length..], complete + 1),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        self.ours.poisoned = bad;
        match verdict {
            None => assert!(!bad || complete > 0 || !self.ours.leftover.is_empty(), "a bad head is taken"),
            Some(Reason::Protocol(ProtocolError::BadMessageHead | ProtocolError::MessageTooLarge)) => {
                assert!(bad && complete == 0, "a head is refused that is none too bad");
            }
            Some(reason) => panic!("{bytes:?} at {offset} closes the link: {reason}"),
        }
    }

    /// The application takes a message: the next there is.
    fn take(&mut self) {
        self.look();
        let due = self.ours.front();
        let taken = self.driver.take();
        assert_eq!(
            taken.as_ref().map(|message| &message.payload),
            due.as_ref(),
            "messages are taken in order, and once"
        );
        let Some(taken) = taken else { return };
        assert_eq!(taken.from, self.peer);
        let mut place = self.ours.took();
        if let Some(place) = place.take_if(|_| !self.manual) {
            self.ours.stream.consume(place);
        }
        self.receipts.push_back((taken.receipt, place));
    }

    /// Any other frame.
    fn says(&mut self, tape: &mut Tape<'_>) {
        self.look();
        let Some(link) = self.link else { return };
        let Some(frame) = draw::draw(tape, &self.near()) else { return };
        let unexpected = matches!(frame, Frame::Claim(_) | Frame::Accept(_) | Frame::Resume(_) | Frame::Reject(_));
        match frame {
            // These have steps of their own, and a farewell ends everything.
            Frame::Data(_) | Frame::Ack(_) | Frame::Close(_) => {}
            frame => {
                self.driver.frame(link, frame);
                let expected = unexpected.then_some(Reason::Protocol(ProtocolError::UnexpectedFrame));
                assert_eq!(self.verdict(link), expected);
            }
        }
    }

    /// The link is lost, and the peer dials again: most often honestly.
    fn returns(&mut self, tape: &mut Tape<'_>) {
        self.lose();
        let honest = tape.byte() < 160;
        let drawn = (!honest).then(|| draw::offer(tape, &self.near()));
        self.dial(drawn);
    }

    fn lose(&mut self) {
        self.look();
        if let Some(link) = self.link.take() {
            self.driver.end(link, Disconnect::Reset);
        }
    }

    /// The link is lost, and the node dials again.
    fn waits(&mut self, tape: &mut Tape<'_>) {
        self.lose();
        let drawn = (tape.byte() >= 160).then(|| draw::offer(tape, &self.near()));
        for _ in 0..200 {
            let dials: Vec<LinkId> = self
                .driver
                .links
                .iter()
                .filter(|(_, line)| line.dialled.is_some() && line.run.is_none() && line.closed.is_none())
                .map(|(link, _)| *link)
                .collect();
            for link in dials {
                if self.driver.links[&link].dialled == Some(at(1)) && self.link.is_none() {
                    return self.answer(link, drawn);
                }
                self.driver.end(link, Disconnect::Refused);
            }
            self.driver.pass(Duration::from_millis(250));
            self.driver.close();
        }
    }

    /// The peer dials, claims, and makes this offer, or an honest one.
    fn dial(&mut self, drawn: Option<Offer>) {
        self.driver.close();
        self.notice();
        let Some(link) = self.driver.accept(at(1)) else { return };
        self.driver.connect(link, self.peer, None);
        self.generation += 1;
        let claim = Claim { generation: self.generation, rejoin: false, profile: self.profile.clone() };
        self.driver.frame(link, Frame::Claim(claim));
        let accepted = self.driver.links.get_mut(&link).and_then(|line| {
            std::mem::take(&mut line.written).into_iter().find_map(|frame| match frame {
                Frame::Accept(accept) => Some(accept),
                _ => None,
            })
        });
        let Some(Accept { profile, offer }) = accepted else {
            return self.driver.end(link, Disconnect::Reset);
        };
        self.learn(&offer);
        // What the node reads goes on only where it says so.
        let (mut next, mut same) = (0, false);
        let before = self.ours.id();
        match offer.peer {
            PeerStream::Live { id, ack } if id == self.ours.stream.id() => {
                (next, same) = (ack.received, true);
                self.keep(ack);
            }
            PeerStream::Live { .. } | PeerStream::None | PeerStream::Closed { .. } => {
                self.ours.replace(before.wrapping_add(1), profile.window);
            }
        }
        let honest = Offer { stream: self.ours.stream.id(), next, peer: self.live() };
        let offer = drawn.unwrap_or(honest);
        let frame = Frame::Resume(Resume { offer });
        self.driver.frame(link, frame);
        let same = same && offer.stream == self.ours.stream.id() && offer.next == self.ours.stream.received();
        if self.stands(link, &offer, None) && !same {
            assert_eq!(offer.next, 0, "another stream begins at its beginning");
            self.ours.replace(offer.stream.0, profile.window);
        }
    }

    /// The node has dialled, and the peer accepts with this offer, or an honest one.
    fn answer(&mut self, link: LinkId, drawn: Option<Offer>) {
        self.notice();
        self.driver.connect(link, self.peer, None);
        let claimed = self.driver.links.get_mut(&link).and_then(|line| {
            std::mem::take(&mut line.written).into_iter().find_map(|frame| match frame {
                Frame::Claim(claim) => Some(claim),
                _ => None,
            })
        });
        let Some(Claim { generation, profile, .. }) = claimed else {
            return self.driver.end(link, Disconnect::Reset);
        };
        self.generation = self.generation.max(generation);
        let honest = Offer { stream: self.ours.stream.id(), next: self.ours.stream.received(), peer: self.live() };
        let offer = drawn.unwrap_or(honest);
        self.driver.frame(link, Frame::Accept(Accept { profile: self.profile.clone(), offer }));
        let resumed = self.driver.links.get_mut(&link).and_then(|line| {
            let at = line.written.iter().position(|frame| matches!(frame, Frame::Resume(_)))?;
            match line.written.remove(at) {
                Frame::Resume(resume) => Some(resume.offer),
                _ => None,
            }
        });
        if !self.stands(link, &offer, resumed.map(|resumed| resumed.stream)) {
            return;
        }
        let resumed = resumed.expect("who stands has answered");
        assert_eq!((resumed.stream, resumed.next), (self.theirs.stream.id(), self.theirs.stream.sent()));
        match resumed.peer {
            PeerStream::Live { id, ack } if id == self.ours.stream.id() && ack.received > 0 => self.keep(ack),
            PeerStream::Live { id, ack } => {
                assert_eq!(ack.received, 0, "{ack:?} of a stream that is new");
                self.ours.replace(id.0, ack.granted);
            }
            PeerStream::Closed { id, .. } => self.ours.replace(id.0.wrapping_add(1), profile.window),
            PeerStream::None => self.ours.replace(offer.stream.0.wrapping_add(1), profile.window),
        }
    }

    /// The node goes on with our stream from here. What is beyond it has dropped.
    fn keep(&mut self, ack: Ack) {
        let Ours { stream, bytes, poisoned, .. } = &mut self.ours;
        assert!(stream.taken() <= ack.received && ack.received <= stream.received(), "{ack:?} of {stream:?}");
        let verdict = stream.resumes(&ack, WINDOW);
        assert_eq!(verdict.err().filter(|_| !*poisoned), None);
        bytes.truncate(ack.received as usize);
    }

    /// What an honest peer says of the node's stream.
    fn live(&self) -> PeerStream {
        let Theirs { stream, said, .. } = &self.theirs;
        let granted = said.granted.max(said.consumed + self.profile.window).max(stream.sent());
        PeerStream::Live { id: stream.id(), ack: Ack { received: stream.sent(), granted, ..*said } }
    }

    /// The node names its stream: the one it had, or another.
    fn learn(&mut self, offer: &Offer) {
        if offer.stream == self.theirs.stream.id() {
            assert!(offer.next <= self.theirs.log.len() as u64, "{offer:?}");
        } else {
            self.begin(offer.stream);
            assert_eq!(offer.next, 0, "another stream begins at its beginning");
        }
    }

    fn begin(&mut self, id: StreamId) {
        let said = self.fresh();
        self.theirs = Theirs { stream: Outgoing::new(id, said.granted), log: Vec::new(), said };
    }

    /// What a peer has said of a stream of which nothing came.
    fn fresh(&self) -> Ack {
        Ack { granted: self.profile.window, ..Ack::default() }
    }

    /// Notices that the session was over meanwhile: the node's stream is then one unheard of.
    fn notice(&mut self) {
        if self.gone != self.driver.gone {
            self.begin(successor(self.theirs.stream.id()));
        }
    }

    /// What follows for the node's stream from an offer that was made: it goes on, or it is `now` another, if the node
    /// has said so. Returns whether the link stands.
    fn stands(&mut self, link: LinkId, offer: &Offer, now: Option<StreamId>) -> bool {
        self.gone = self.driver.gone;
        if let Some(reason) = self.verdict(link) {
            assert_eq!(reason, Reason::Protocol(ProtocolError::BadOffer), "{offer:?}");
            self.driver.close();
            return false;
        }
        if !self.driver.links.contains_key(&link) {
            return false;
        }
        self.link = Some(link);
        let id = self.theirs.stream.id();
        let mut stream = self.theirs.stream;
        let unheard = self.theirs.said.consumed == 0 && now == Some(id);
        match stream.resume(&offer.peer, unheard, self.profile.window) {
            Resumption::CarriedOver(consumed) if now.is_none_or(|now| now == stream.id()) => {
                self.settle(consumed);
                self.begin(stream.id());
            }
            _ if now.is_some_and(|now| now != id) => self.begin(now.unwrap_or(id)),
            Resumption::Continued(ack) => {
                self.settle(ack.consumed);
                assert!(ack.received <= self.theirs.log.len() as u64, "{offer:?}");
                (self.theirs.said, self.theirs.stream) = (ack, stream);
            }
            Resumption::Again => (self.theirs.said, self.theirs.stream) = (self.fresh(), stream),
            Resumption::CarriedOver(_) | Resumption::Lost => {
                assert_eq!(now, None, "{offer:?} ends the stream");
                self.begin(stream.id());
            }
        }
        true
    }

    /// The node leaves: every message has its outcome, and it is the one that the peer knows.
    fn end(mut self) {
        self.look();
        self.driver.leave();
        let undelivered: BTreeSet<u64> = self.driver.undelivered.iter().map(|payload| number(payload)).collect();
        assert_eq!(undelivered.len(), self.driver.undelivered.len(), "nothing is reported twice");
        let outcomes: Vec<u64> = undelivered.union(&self.consumed).copied().collect();
        assert_eq!(outcomes, (0..self.accepted).collect::<Vec<u64>>(), "every message has an outcome");
        let both: Vec<&u64> = undelivered.intersection(&self.consumed).collect();
        assert!(both.is_empty(), "{both:?} were delivered, and reported as undelivered");
        assert_eq!(self.driver.flushed, self.flushes, "every flush comes to an end");
        // What was complete stays readable after the end.
        while let Some(due) = self.ours.front() {
            assert_eq!(self.driver.take().map(|message| message.payload), Some(due));
            self.ours.took();
        }
        assert!(self.driver.take().is_none());
    }
}

/// Up to ten minutes: longer than a session is kept.
fn span(byte: u8) -> Duration {
    match byte {
        0..=127 => Duration::from_millis(u64::from(byte)),
        128..=223 => Duration::from_millis(u64::from(byte - 127) * 100),
        _ => Duration::from_secs(u64::from(byte - 223) * 20),
    }
}
