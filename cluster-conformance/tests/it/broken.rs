//! Adapters that are broken on purpose, each in one way, and the scenario that finds it.
//!
//! Each is an arm that works with one thing done wrong to its nodes. The one that works is the simulator's, so that
//! each run is the same.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cluster_conformance::cluster_core::{
    Broadcast, Config, ConfigError, Event, JoinError, Message, NodeId, PeerInfo, Receipt, SendError, Stats, Target,
    UnknownPeer,
};
use cluster_conformance::{
    Arm, BindFailure, Faults, Flushed, Nothing, Pending, SCENARIOS, Scenario, TestNode, Way, replay,
};

use crate::replay::plan_of;
use crate::sim::SimArm;

/// What an adapter can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// What was sent last before leaving is never written.
    DropsTheLastWrite,
    /// An event overtakes the one before it.
    ReordersEvents,
    /// A leave closes at once what it should have flushed.
    IgnoresFlushOnClose,
    /// Deadlines of the core are noticed seconds late.
    TicksLate,
    /// Whoever waits for a message is not woken by one, and finds it when the time is over.
    LosesAWakeUp,
    /// One message of twenty is lost.
    DropsAMessage,
    /// One message of twenty comes twice.
    DuplicatesAMessage,
    /// A message comes with the payload of an earlier one.
    DeliversAnothersPayload,
    /// A disconnect is accepted and not carried out.
    IgnoresDisconnect,
    /// A message counts as delivered as soon as it is sent.
    ClaimsDeliveredTooEarly,
    /// A full send waits for ever.
    ForgetsWhoWaitsForRoom,
    /// A message that is refused comes back cut short.
    GivesBackAnotherPayload,
    /// A crash says goodbye.
    LeavesWhenDropped,
    /// Taking a message acknowledges it, whatever the config says.
    AcknowledgesByItself,
}

/// Each way to be wrong, and the scenario that is to notice.
const FOUND_BY: &[(Bug, &str)] = &[
    (Bug::DropsTheLastWrite, "leaving_delivers_what_was_sent_and_says_goodbye"),
    (Bug::ReordersEvents, "a_node_that_restarts_is_a_later_run_of_itself"),
    (Bug::IgnoresFlushOnClose, "leaving_delivers_what_was_sent_and_says_goodbye"),
    (Bug::TicksLate, "a_silent_peer_goes_down_in_time_and_comes_back"),
    (Bug::LosesAWakeUp, "a_receiver_that_waits_is_woken"),
    (Bug::DropsAMessage, "messages_arrive_once_in_order_and_unchanged"),
    (Bug::DuplicatesAMessage, "messages_arrive_once_in_order_and_unchanged"),
    (Bug::DeliversAnothersPayload, "messages_arrive_once_in_order_and_unchanged"),
    (Bug::IgnoresDisconnect, "a_disconnected_peer_stays_away_until_a_user_joins"),
    (Bug::ClaimsDeliveredTooEarly, "a_flush_waits_until_everything_is_taken"),
    (Bug::ForgetsWhoWaitsForRoom, "a_send_waits_for_room_and_goes_on_when_there_is_some"),
    (Bug::GivesBackAnotherPayload, "a_message_above_the_cap_is_refused_and_given_back"),
    (Bug::LeavesWhenDropped, "a_crash_is_noticed_and_dialled_after"),
    (Bug::AcknowledgesByItself, "a_message_counts_as_delivered_when_its_user_says_so"),
];

#[test]
fn every_broken_adapter_fails_the_scenario_that_is_about_what_it_breaks() {
    for &(bug, name) in FOUND_BY {
        let scenario = Scenario::named(name).unwrap_or_else(|| panic!("there is no scenario {name}"));
        let failure = scenario.play(move || Broken { inner: SimArm::new(), bug }).err();
        let failure = failure.unwrap_or_else(|| panic!("{bug:?} is not found by {name}"));
        println!("{bug:?} is found: {failure}");
    }
}

/// What replays of the simulator's schedules find, too.
const FOUND_BY_REPLAYS: &[Bug] =
    &[Bug::ReordersEvents, Bug::DropsAMessage, Bug::DuplicatesAMessage, Bug::DeliversAnothersPayload];

#[test]
fn replays_find_adapters_that_lose_or_mix_up_what_they_carry() {
    for &bug in FOUND_BY_REPLAYS {
        let replays = || (0..20).map(|seed| replay(&Broken { inner: SimArm::seeded(seed), bug }, &plan_of(seed)));
        let broken = replays().find_map(Result::err).unwrap_or_else(|| panic!("{bug:?} is not found"));
        println!("{bug:?} is found: {broken}");
    }
}

#[test]
fn an_adapter_that_is_only_wrapped_fails_nothing() {
    for scenario in SCENARIOS {
        let outcome = scenario.play(|| Wrapped(SimArm::new()));
        assert_eq!(outcome, Ok(()));
    }
}

/// An arm with a bug.
struct Broken {
    inner: SimArm,
    bug: Bug,
}

/// The same without one.
struct Wrapped(SimArm);

impl Arm for Broken {
    fn name(&self) -> String {
        format!("{:?}", self.bug)
    }

    fn bind(&self, address: &str, config: Config) -> Result<Box<dyn TestNode>, BindFailure> {
        bind(&self.inner, Some(self.bug), address, config)
    }

    fn anywhere(&self) -> &'static str {
        self.inner.anywhere()
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }

    fn pass(&self, span: Duration) {
        self.inner.pass(span);
    }

    fn way(&self, seed: u64, faults: Faults) -> Box<dyn Way> {
        self.inner.way(seed, faults)
    }

    fn has_sockets(&self) -> bool {
        false
    }
}

impl Arm for Wrapped {
    fn name(&self) -> String {
        "wrapped".into()
    }

    fn bind(&self, address: &str, config: Config) -> Result<Box<dyn TestNode>, BindFailure> {
        bind(&self.0, None, address, config)
    }

    fn anywhere(&self) -> &'static str {
        self.0.anywhere()
    }

    fn now(&self) -> Duration {
        self.0.now()
    }

    fn pass(&self, span: Duration) {
        self.0.pass(span);
    }

    fn way(&self, seed: u64, faults: Faults) -> Box<dyn Way> {
        self.0.way(seed, faults)
    }

    fn has_sockets(&self) -> bool {
        false
    }
}

fn bind(inner: &SimArm, bug: Option<Bug>, address: &str, config: Config) -> Result<Box<dyn TestNode>, BindFailure> {
    let node: Rc<dyn TestNode> = inner.bind(address, config)?.into();
    if bug == Some(Bug::TicksLate) {
        inner.ticks_late(node.local_addr(), Duration::from_secs(6));
    }
    let (arm, held, repeated) = (inner.clone(), Rc::default(), RefCell::default());
    Ok(Box::new(BrokenNode { node, arm, bug, held, events: RefCell::default(), taken: Cell::new(0), repeated }))
}

struct BrokenNode {
    node: Rc<dyn TestNode>,
    arm: SimArm,
    bug: Option<Bug>,
    /// What was sent last and is not written yet.
    held: Rc<RefCell<Option<(NodeId, Bytes)>>>,
    /// Events that were overtaken.
    events: RefCell<VecDeque<Event>>,
    /// How many messages were taken.
    taken: Cell<u64>,
    repeated: RefCell<Option<Message>>,
}

impl BrokenNode {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The next message, with something wrong about one in twenty.
    fn spoil(&self, message: Message) -> Option<Message> {
        let number = self.taken.get() + 1;
        self.taken.set(number);
        let turn = number.is_multiple_of(20);
        let mut spoiled = message.clone();
        match self.bug {
            Some(Bug::DropsAMessage) if turn => return None,
            Some(Bug::DuplicatesAMessage) if turn => drop(self.repeated.replace(Some(message))),
            Some(Bug::DeliversAnothersPayload) => {
                let before = self.repeated.replace(Some(message));
                if let (true, Some(before)) = (turn, before) {
                    spoiled.payload = before.payload;
                }
            }
            Some(Bug::AcknowledgesByItself) => self.node.acknowledge(message.receipt),
            _ => {}
        }
        Some(spoiled)
    }
}

impl TestNode for BrokenNode {
    fn local_addr(&self) -> SocketAddr {
        self.node.local_addr()
    }

    fn id(&self) -> NodeId {
        self.node.id()
    }

    fn join(&self, target: Target) -> Pending<Result<NodeId, JoinError>> {
        self.node.join(target)
    }

    fn add_seed(&self, target: Target) -> Result<(), JoinError> {
        self.node.add_seed(target)
    }

    fn try_send(&self, peer: NodeId, payload: Bytes) -> Result<(), SendError> {
        self.node.try_send(peer, payload).map_err(|mut error| {
            if self.has(Bug::GivesBackAnotherPayload) {
                error.payload.truncate(error.payload.len() / 2);
            }
            error
        })
    }

    fn send(&self, peer: NodeId, payload: Bytes) -> Pending<Result<(), SendError>> {
        if self.has(Bug::DropsTheLastWrite) {
            // Written as soon as something else is.
            return match self.held.replace(Some((peer, payload))) {
                Some((peer, payload)) => self.node.send(peer, payload),
                None => Pending::ready(Ok(())),
            };
        }
        let mut sending = self.node.send(peer, payload);
        if !self.has(Bug::ForgetsWhoWaitsForRoom) {
            return sending;
        }
        match sending.wait(Duration::ZERO) {
            Some(outcome) => Pending::ready(outcome),
            None => {
                let arm = self.arm.clone();
                Pending::new(move |timeout| {
                    arm.pass(timeout);
                    None
                })
            }
        }
    }

    fn broadcast(&self, payload: Bytes) -> Result<Broadcast, SendError> {
        self.node.broadcast(payload)
    }

    fn recv(&self, timeout: Duration) -> Result<Message, Nothing> {
        if self.has(Bug::DuplicatesAMessage)
            && let Some(message) = self.repeated.take()
        {
            return Ok(message);
        }
        if self.has(Bug::LosesAWakeUp) {
            return self.node.recv(Duration::ZERO).inspect_err(|_| self.arm.pass(timeout));
        }
        loop {
            if let Some(message) = self.spoil(self.node.recv(timeout)?) {
                return Ok(message);
            }
        }
    }

    fn event(&self, timeout: Duration) -> Result<Event, Nothing> {
        if let Some(overtaken) = self.events.borrow_mut().pop_front() {
            return Ok(overtaken);
        }
        let event = self.node.event(timeout)?;
        if self.has(Bug::ReordersEvents)
            && let Ok(later) = self.node.event(Duration::ZERO)
        {
            self.events.borrow_mut().push_back(event);
            return Ok(later);
        }
        Ok(event)
    }

    fn acknowledge(&self, receipt: Receipt) {
        self.node.acknowledge(receipt);
    }

    fn peers(&self) -> Vec<PeerInfo> {
        self.node.peers()
    }

    fn disconnect(&self, peer: NodeId) -> Result<(), UnknownPeer> {
        if self.has(Bug::IgnoresDisconnect) { Ok(()) } else { self.node.disconnect(peer) }
    }

    fn flush(&self, peer: NodeId) -> Pending<Flushed> {
        match self.bug {
            Some(Bug::ClaimsDeliveredTooEarly) => Pending::ready(Flushed::Delivered),
            _ => self.node.flush(peer),
        }
    }

    fn leave(&self, timeout: Duration) -> Pending<u64> {
        let timeout = if self.has(Bug::IgnoresFlushOnClose) { Duration::ZERO } else { timeout };
        self.node.leave(timeout)
    }

    fn set_config(&self, config: Config) -> Result<(), ConfigError> {
        self.node.set_config(config)
    }

    fn stats(&self) -> Stats {
        self.node.stats()
    }

    fn crash(self: Box<Self>) {
        if self.has(Bug::LeavesWhenDropped) {
            let _ = self.node.leave(Duration::ZERO).wait(Duration::from_secs(5));
        } else {
            self.arm.kill(self.node.local_addr());
        }
    }
}
