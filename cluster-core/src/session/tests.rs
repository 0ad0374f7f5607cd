//! Two sessions, a wire between them that is cut at any byte, and every message accounted for.
//!
//! Each message carries its number. The model keeps what the sender was told of each and what the receiver took.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::time::Instant;

const ALICE: NodeId = NodeId::from_bytes([1; 16]);
const BOB: NodeId = NodeId::from_bytes([2; 16]);
const CAROL: NodeId = NodeId::from_bytes([3; 16]);

const WINDOW: u64 = 64;
const MAX_MESSAGE: u64 = 2_000;
const RECV_BUDGET: u64 = 2 * (WINDOW + 2_009);
const SEND_WINDOW: u64 = 3_000;

#[derive(Clone, Debug)]
enum Wire {
    Data(Data),
    Ack(Ack),
}

/// One node with its one peer.
#[derive(Clone, Debug)]
struct Side {
    peer: NodeId,
    session: Session,
    budget: Budget,
    leftovers: VecDeque<Leftover>,
    hogged: u64,
    ids: u64,
    /// On its way to this side.
    incoming: VecDeque<Wire>,
    /// Numbers of our messages without an outcome, and of those with one.
    open: VecDeque<u32>,
    delivered: Vec<u32>,
    in_doubt: Vec<u32>,
    not_delivered: BTreeSet<u32>,
    accepted: u32,
    /// What we took.
    taken: Vec<u32>,
    /// What we took and did not acknowledge, where that is up to us.
    manual: bool,
    unacknowledged: VecDeque<(u32, Place)>,
    acknowledged: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize, usize),
    Pull(usize, usize),
    Deliver(usize),
    Take(usize),
    /// The application acknowledges the oldest message that it took, or all of them.
    Acknowledge(usize, bool),
    Ack(usize),
    /// Another peer takes, or gives back, memory for remainders.
    Hog(usize),
    /// The link is cut; the side that dials next, how much of its handshake happens, who yields.
    Cut(usize, Handshake, bool),
    /// The session of one side is over; whether even its memory of the peer's stream goes.
    Expire(usize, bool),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Handshake {
    AcceptLost,
    ResumeLost,
    Whole,
}

fn number(payload: &Bytes) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

impl Side {
    fn new(peer: NodeId, ids: u64, manual: bool) -> Side {
        let session =
            Session::new(StreamId(ids), 0, Window::new(WINDOW, 4 * WINDOW), MAX_MESSAGE, manual, Past::Unknown);
        Side {
            peer,
            session,
            budget: Budget::new(RECV_BUDGET, 1, WINDOW, MAX_MESSAGE),
            leftovers: VecDeque::new(),
            hogged: 0,
            ids,
            incoming: VecDeque::new(),
            open: VecDeque::new(),
            delivered: Vec::new(),
            in_doubt: Vec::new(),
            not_delivered: BTreeSet::new(),
            accepted: 0,
            taken: Vec::new(),
            manual,
            unacknowledged: VecDeque::new(),
            acknowledged: BTreeSet::new(),
        }
    }

    fn serve(&mut self, served: Vec<Reservation>) {
        for Reservation { peer, bytes } in served {
            if peer == CAROL {
                self.hogged = bytes;
            } else {
                let unwanted = self.session.reserved(Instant::ZERO, bytes);
                let served = self.budget.release(unwanted);
                self.serve(served);
            }
        }
    }

    fn regrant(&mut self) {
        let served = self.session.regrant(Instant::ZERO, self.peer, true, &mut self.budget);
        self.serve(served);
        if let Some(stream) = self.session.receive() {
            let beyond = stream.granted() - stream.consumed();
            assert!(beyond <= self.session.window.size() + self.session.remainder.bytes());
        }
    }

    /// What a new stream of the peer may start with: what the earlier ones hold comes off it.
    fn terms(&self, other: &Side) -> Terms {
        let window = |side: &Side| {
            let held = side.session.receive().map_or(0, ReceiveStream::held);
            WINDOW.saturating_sub(held + side.uncovered())
        };
        Terms { credit: window(other), window: window(self) }
    }

    fn uncovered(&self) -> u64 {
        self.leftovers.iter().map(Leftover::uncovered).sum()
    }

    fn fence(&mut self, yields: bool) {
        self.incoming.clear();
        let served = self.session.fence(self.peer, yields, &mut self.budget);
        self.serve(served);
    }

    fn acked(&mut self, acked: Acked) {
        for _ in 0..acked.messages {
            self.delivered.push(self.open.pop_front().unwrap());
        }
    }

    fn doubt(&mut self, payloads: &[Bytes]) {
        for payload in payloads {
            assert_eq!(self.open.pop_front(), Some(number(payload)));
            self.in_doubt.push(number(payload));
        }
    }

    fn exchanged(&mut self, exchange: Exchange) {
        match exchange.resumed {
            Resumed::Continued(acked) | Resumed::CarriedOver(acked) => self.acked(acked),
            Resumed::Reset { in_doubt } => self.doubt(&in_doubt),
        }
        let served = self.budget.release(exchange.reserved);
        self.serve(served);
        self.leftovers.extend(exchange.leftover);
        self.session.charge(self.uncovered());
    }

    fn take(&mut self) -> bool {
        while let Some(first) = self.leftovers.front_mut() {
            if let Some((payload, _)) = first.poll() {
                self.taken.push(number(&payload));
                self.session.charge(self.uncovered());
                return true;
            }
            let drained = self.leftovers.pop_front().unwrap();
            let served = drained.release(&mut self.budget);
            self.session.charge(self.uncovered());
            self.serve(served);
            self.regrant();
        }
        let Some((payload, place)) = self.session.poll().unwrap() else { return false };
        self.taken.push(number(&payload));
        if self.manual {
            self.unacknowledged.push_back((number(&payload), place));
        }
        self.consumed();
        true
    }

    fn acknowledge(&mut self, all: bool) -> bool {
        let count = if all { self.unacknowledged.len() } else { 1 };
        let Some((_, place)) = self.unacknowledged.get(count.wrapping_sub(1)).copied() else { return false };
        let news = self.session.consume(place);
        for (number, _) in self.unacknowledged.drain(..count) {
            if news {
                self.acknowledged.insert(number);
            }
        }
        self.consumed();
        true
    }

    fn consumed(&mut self) {
        let consumed = self.session.receive().map_or(0, ReceiveStream::consumed);
        self.session.window().consumed(Instant::ZERO, consumed, Duration::ZERO, &mut self.budget);
        self.regrant();
    }

    fn expire(&mut self, forgets: bool) {
        self.fence(true);
        self.ids = self.ids.wrapping_add(1_000);
        let manual = self.manual;
        let fresh =
            |ids, past| Session::new(StreamId(ids), 0, Window::new(WINDOW, 4 * WINDOW), MAX_MESSAGE, manual, past);
        let Ending { outcomes, past } =
            core::mem::replace(&mut self.session, fresh(self.ids, Past::Unknown)).end(&mut self.budget);
        self.doubt(&outcomes.in_doubt);
        for payload in &outcomes.not_delivered {
            assert_eq!(self.open.pop_front(), Some(number(payload)));
            self.not_delivered.insert(number(payload));
        }
        match past {
            Past::Open(mut leftover) if forgets => {
                leftover.stream.end();
                self.leftovers.push_back(leftover);
            }
            past if !forgets => self.session = fresh(self.ids, past),
            _ => {}
        }
        self.session.charge(self.uncovered());
    }
}

struct World {
    sides: [Side; 2],
    linked: bool,
    /// Whether anything happened that may leave a message of each side in doubt.
    may_doubt: [bool; 2],
}

impl World {
    fn new(manual: bool) -> World {
        let sides = [Side::new(BOB, 1_000, manual), Side::new(ALICE, u64::MAX - 5, manual)];
        World { sides, linked: false, may_doubt: [false; 2] }
    }

    fn connect(&mut self, dialler: usize, handshake: Handshake, yields: bool) {
        let [alice, bob] = &mut self.sides;
        let (initiator, responder) = if dialler == 0 { (alice, bob) } else { (bob, alice) };
        self.linked = false;
        responder.fence(yields);
        initiator.fence(yields);
        let (ours, theirs) = (initiator.terms(responder), responder.terms(initiator));
        let offer = responder.session.offer();
        if handshake == Handshake::AcceptLost {
            return;
        }
        let exchange = initiator.session.answer(&offer, ours).unwrap();
        let answer = exchange.answer.unwrap();
        initiator.exchanged(exchange);
        if handshake == Handshake::ResumeLost {
            // What the initiator sends after it is lost as well.
            let _ = initiator.session.send.pull(WINDOW as usize);
            return;
        }
        let exchange = responder.session.conclude(&answer, theirs).unwrap();
        responder.exchanged(exchange);
        for (from, to) in [(&*initiator, &*responder), (&*responder, &*initiator)] {
            let read = to.session.receive().map(ReceiveStream::id);
            assert_eq!(read, Some(from.session.send.id()), "what one side reads is what the other writes");
        }
        self.linked = true;
        initiator.regrant();
        responder.regrant();
    }

    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Send(side, size) => {
                let side = &mut self.sides[side];
                let size = size.max(4);
                if !side.session.send.fits(size, SEND_WINDOW, 0) {
                    return false;
                }
                let mut payload = alloc::vec![0; size];
                payload[..4].copy_from_slice(&side.accepted.to_be_bytes());
                side.session.send.push(&payload.into());
                side.open.push_back(side.accepted);
                side.accepted += 1;
                true
            }
            Step::Pull(side, max) if self.linked => {
                let Some(data) = self.sides[side].session.send.pull(max) else { return false };
                self.sides[1 - side].incoming.push_back(Wire::Data(data));
                true
            }
            Step::Deliver(side) => {
                let side = &mut self.sides[side];
                match side.incoming.pop_front() {
                    Some(Wire::Data(data)) => {
                        side.session.data(data).unwrap();
                        side.regrant();
                    }
                    Some(Wire::Ack(ack)) => {
                        let acked = side.session.send.ack(&ack).unwrap();
                        assert!(acked.advanced);
                        side.acked(acked);
                    }
                    None => return false,
                }
                true
            }
            Step::Take(side) => self.sides[side].take(),
            Step::Acknowledge(side, all) => self.sides[side].acknowledge(all),
            Step::Ack(side) if self.linked => {
                let Some(ack) = self.sides[side].session.ack(false) else { return false };
                self.sides[1 - side].incoming.push_back(Wire::Ack(ack));
                true
            }
            Step::Pull(..) | Step::Ack(_) => false,
            Step::Hog(side) => {
                let side = &mut self.sides[side];
                let hogged = core::mem::take(&mut side.hogged);
                let mut served = side.budget.release(hogged);
                if hogged == 0 {
                    if side.budget.reserve(Instant::ZERO, CAROL, 1_000, false) {
                        side.hogged = 1_000;
                    } else {
                        served = side.budget.cancel(CAROL);
                    }
                }
                side.serve(served);
                true
            }
            Step::Cut(dialler, handshake, yields) => {
                self.connect(dialler, handshake, yields);
                true
            }
            Step::Expire(side, forgets) => {
                self.linked = false;
                self.may_doubt[side] = true;
                self.may_doubt[1 - side] |= forgets;
                self.sides[1 - side].fence(false);
                self.sides[side].expire(forgets);
                true
            }
        }
    }

    fn settle(&mut self) {
        for side in 0..2 {
            if self.sides[side].hogged > 0 {
                self.step(Step::Hog(side));
            }
            let served = self.sides[side].budget.cancel(CAROL);
            self.sides[side].serve(served);
        }
        self.connect(0, Handshake::Whole, false);
        let quiet = |world: &mut World| {
            (0..2).any(|side| {
                let [pull, take, all] = [Step::Pull(side, 1_000), Step::Take(side), Step::Acknowledge(side, true)];
                [pull, Step::Deliver(side), take, all, Step::Ack(side)].into_iter().any(|step| world.step(step))
            })
        };
        while quiet(self) {}
    }

    fn check(&self) {
        for side in 0..2 {
            let (ours, theirs) = (&self.sides[side], &self.sides[1 - side]);
            assert!(theirs.taken.is_sorted_by(|a, b| a < b), "exactly once and in order: {:?}", theirs.taken);
            let taken: BTreeSet<u32> = theirs.taken.iter().copied().collect();
            assert!(ours.delivered.iter().all(|number| taken.contains(number)), "delivered was taken");
            let acknowledged = |number| theirs.acknowledged.contains(number);
            assert!(!theirs.manual || ours.delivered.iter().all(acknowledged), "delivered was acknowledged");
            assert!(ours.not_delivered.is_disjoint(&taken), "not delivered was never taken");
            assert!(self.may_doubt[side] || ours.in_doubt.is_empty(), "doubt has a cause");
            assert_eq!(ours.session.send.pending_messages(), ours.open.len() as u64);
        }
    }
}

fn step(expiry: bool) -> impl Strategy<Value = Step> {
    let side = || 0_usize..2;
    let handshake =
        prop_oneof![1 => Just(Handshake::AcceptLost), 2 => Just(Handshake::ResumeLost), 4 => Just(Handshake::Whole)];
    prop_oneof![
        6 => (side(), prop_oneof![4_usize..40, 40_usize..2_001]).prop_map(|(side, size)| Step::Send(side, size)),
        12 => (side(), prop_oneof![1_usize..30, 30_usize..2_001]).prop_map(|(side, max)| Step::Pull(side, max)),
        12 => side().prop_map(Step::Deliver),
        8 => side().prop_map(Step::Take),
        4 => (side(), any::<bool>()).prop_map(|(side, all)| Step::Acknowledge(side, all)),
        6 => side().prop_map(Step::Ack),
        1 => side().prop_map(Step::Hog),
        3 => (side(), handshake, any::<bool>()).prop_map(|(side, handshake, yields)| Step::Cut(side, handshake, yields)),
        u32::from(expiry) => (side(), any::<bool>()).prop_map(|(side, forgets)| Step::Expire(side, forgets)),
    ]
}

fn run(manual: bool, steps: Vec<Step>) -> World {
    let mut world = World::new(manual);
    world.connect(0, Handshake::Whole, false);
    for step in steps {
        world.step(step);
        world.check();
    }
    world.settle();
    world.check();
    for side in &mut world.sides {
        assert!(side.open.is_empty(), "every accepted message has an outcome: {:?}", side.open);
        let outcomes = side.delivered.len() + side.in_doubt.len() + side.not_delivered.len();
        assert_eq!(outcomes as u32, side.accepted, "and only one");
        side.fence(true);
        assert!(side.leftovers.is_empty());
        let pool = (RECV_BUDGET - WINDOW) / 2;
        assert!(side.budget.grow(pool) && !side.budget.grow(1), "the whole budget came back: {:?}", side.budget);
        assert!(
            side.budget.reserve(Instant::ZERO, CAROL, pool, false)
                && !side.budget.reserve(Instant::ZERO, CAROL, 1, false),
            "{:?}",
            side.budget
        );
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn over_any_number_of_cuts_every_message_is_delivered_exactly_once_and_in_order(
        manual in any::<bool>(),
        steps in prop::collection::vec(step(false), 0..200),
    ) {
        let world = run(manual, steps);
        for (ours, theirs) in [(&world.sides[0], &world.sides[1]), (&world.sides[1], &world.sides[0])] {
            prop_assert!(theirs.taken.iter().copied().eq(0..ours.accepted));
            prop_assert_eq!(&ours.delivered, &theirs.taken);
        }
    }

    #[test]
    fn when_sessions_expire_every_message_still_has_one_true_outcome(
        manual in any::<bool>(),
        steps in prop::collection::vec(step(true), 0..200),
    ) {
        run(manual, steps);
    }

    #[test]
    fn hostile_offers_neither_panic_nor_lose_a_message(
        steps in prop::collection::vec((step(false), 0_u8..10, edge(), edge(), edge(), edge(), edge()), 0..60),
    ) {
        let mut world = World::new(false);
        world.connect(0, Handshake::Whole, false);
        for (step, kind, a, b, c, d, e) in steps {
            if kind > 3 {
                // An honest step may now break the protocol, as the other side believed a lie.
                let Side { session, budget, .. } = &mut world.sides[0];
                match step {
                    Step::Send(_, size) if session.send.fits(size, SEND_WINDOW, 0) => {
                        session.send.push(&alloc::vec![0; size].into());
                    }
                    Step::Pull(_, max) => drop(session.send.pull(max)),
                    Step::Deliver(_) => {
                        let offset = session.receive().map_or(0, ReceiveStream::received);
                        let _ = session.data(Data { offset, bytes: Bytes::from_static(&[0x41, 0, 0x58, 30]) });
                        let _ = session.regrant(Instant::ZERO, BOB, true, budget);
                    }
                    Step::Take(_) => drop(session.poll()),
                    Step::Ack(_) => drop(session.ack(false)),
                    _ => drop(session.fence(BOB, kind > 6, budget)),
                }
                continue;
            }
            let session = &mut world.sides[0].session;
            let id = if kind % 2 == 0 { session.send.id() } else { StreamId(a) };
            let stream = session.receive().map_or(StreamId(b), ReceiveStream::id);
            let peer = match a % 3 {
                0 => PeerStream::None,
                1 => PeerStream::Closed { id, consumed: c },
                _ => PeerStream::Live { id, ack: Ack { received: b, consumed: c, consumed_messages: d, granted: e } },
            };
            let terms = Terms { credit: d, window: e };
            let offer = Offer { stream: if d % 2 == 0 { stream } else { StreamId(d) }, next: e, peer };
            let (accepted, settled) = (session.send.accepted_messages(), session.send.settled_messages());
            let result = if kind < 2 { session.answer(&offer, terms) } else { session.conclude(&offer, terms) };
            let reported = match result {
                Ok(Exchange { resumed: Resumed::Continued(acked) | Resumed::CarriedOver(acked), .. }) => acked.messages,
                Ok(Exchange { resumed: Resumed::Reset { in_doubt }, .. }) => in_doubt.len() as u64,
                Err(error) => { prop_assert_eq!(error, ProtocolError::BadOffer); 0 }
            };
            prop_assert_eq!(session.send.settled_messages(), settled + reported);
            prop_assert_eq!(session.send.accepted_messages(), accepted);
        }
        let session = &world.sides[0].session;
        let open = session.send.pending_messages();
        let Ending { outcomes, .. } = session.clone().end(&mut world.sides[0].budget);
        prop_assert_eq!((outcomes.in_doubt.len() + outcomes.not_delivered.len()) as u64, open);
    }
}

fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..20, 0_u64..2_000, Just(u64::MAX), u64::MAX - 60..u64::MAX, any::<u64>()]
}

#[test]
fn a_message_larger_than_the_window_comes_in_over_links_that_live_for_a_few_bytes() {
    let mut world = World::new(false);
    world.connect(0, Handshake::Whole, false);
    assert!(world.step(Step::Send(0, 2_000)));
    for i in 0..400 {
        world.step(Step::Pull(0, 6));
        world.step(Step::Deliver(1));
        world.connect(i % 2, Handshake::Whole, false);
        world.step(Step::Ack(1));
        world.step(Step::Deliver(0));
    }
    assert!(world.step(Step::Take(1)), "it makes progress by parts");
}

#[test]
fn a_tombstone_keeps_an_expired_session_free_of_doubt_even_if_its_news_is_lost() {
    let mut world = World::new(false);
    world.connect(1, Handshake::Whole, false);
    for _ in 0..3 {
        world.step(Step::Send(0, 8));
    }
    world.step(Step::Pull(0, 1_000));
    world.step(Step::Deliver(1));
    assert!(world.step(Step::Take(1)) && world.step(Step::Take(1)) && world.step(Step::Take(1)));
    world.step(Step::Send(0, 8));
    world.step(Step::Pull(0, 5));
    world.step(Step::Deliver(1));
    world.step(Step::Expire(1, false));
    for dialler in [1, 1, 0, 0, 1] {
        world.connect(dialler, Handshake::ResumeLost, false);
    }
    world.settle();
    assert_eq!((&world.sides[0].delivered[..], &world.sides[0].in_doubt[..]), (&[0, 1, 2, 3][..], &[][..]));
    assert_eq!(world.sides[1].taken, [0, 1, 2, 3]);
}
