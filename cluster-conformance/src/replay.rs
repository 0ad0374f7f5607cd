//! Schedules of faults and traffic, played with real nodes: what holds in a simulated world must hold in this one.

mod ledger;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use cluster_check::Grammar;
use cluster_core::{Config, Event, Name, NodeId, PeerState};

use self::ledger::{Ledger, Life};
use crate::arm::{Arm, Flushed, Pending, TestNode, Way};
use crate::proxy::Faults;
use crate::stage::own_cluster;

/// How long a mesh has, once everything is healed, to become whole again and to give every message its outcome.
pub const RECOVERY: Duration = Duration::from_secs(25);

/// The most nodes of a [`Plan`].
pub const MAX_PLAN_NODES: usize = 16;

/// How long to wait before everything is looked at again.
const LOOK: Duration = Duration::from_millis(1);

/// How long a node that leaves waits for its peers.
const LEAVING: Duration = Duration::from_millis(200);

/// How often a user who was disconnected asks to be let in again, when everything is healed.
const ASKING: Duration = Duration::from_millis(250);

/// What to do with which nodes, and when.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the randomness of the ways comes from.
    pub seed: u64,
    /// How many nodes there are, from 2 to [`MAX_PLAN_NODES`]. All start at once and have each other as seeds.
    pub nodes: usize,
    /// What every node is configured to be. Its cluster, its id, its seeds and what it advertises are added to this.
    pub config: Config,
    /// How the ways between the nodes treat connections, apart from what the steps do to them.
    pub faults: Faults,
    /// What is done, in the order of time.
    pub steps: Vec<(Duration, Act)>,
}

/// One thing that is done. Nodes are numbers from 0. What makes no sense at the time is left out, such as the crash of a
/// node that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing passes any more between two nodes, and nobody is told.
    Cut(usize, usize),
    /// What was cut between two nodes passes again.
    Heal(usize, usize),
    /// Everything that was cut passes again.
    HealAll,
    /// The connections between two nodes are reset.
    Reset(usize, usize),
    /// A node ends without a goodbye.
    Crash(usize),
    /// A node that has ended starts again, as a later run of itself.
    Restart(usize),
    /// A node leaves.
    Leave(usize),
    /// The first node disconnects the second.
    Disconnect(usize, usize),
    /// The first node joins the second.
    Join(usize, usize),
    /// The first node sends the second so many messages of this length, as many as there is room for.
    Send(usize, usize, usize, u32),
    /// A node sends a message of this length to all of its peers.
    Broadcast(usize, usize),
}

/// What a replay was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many messages were accepted.
    pub sent: u64,
    /// How many messages were taken.
    pub taken: u64,
    /// How many messages were reported as not delivered, or in doubt.
    pub undelivered: u64,
    /// How many connections were reset.
    pub resets: usize,
    /// How many nodes were made.
    pub lives: usize,
}

/// A promise was broken in a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The seed of the plan.
    pub seed: u64,
    /// Which promise, by which node.
    pub text: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan {}: {}", self.seed, self.text)
    }
}

impl std::error::Error for Broken {}

/// Plays a plan with nodes of an adapter that reach each other over [ways](Arm::way) only, then heals everything, and
/// checks all the time and at the end:
///
/// - The events of every node follow the [`Grammar`].
/// - Every message is taken at most once, in order, by the node it was meant for.
/// - When everything is healed and every node runs, the mesh becomes complete within [`RECOVERY`].
/// - Then every message of a node that has not crashed has its outcome: taken, or reported as not delivered or in doubt.
///   What is reported as not delivered was not taken.
///
/// # Errors
///
/// The first promise that is broken.
///
/// # Panics
///
/// If the plan has less than two nodes or too many, names one that is not there, or no node can be made.
pub fn replay(arm: &dyn Arm, plan: &Plan) -> Result<Replayed, Broken> {
    assert!((2..=MAX_PLAN_NODES).contains(&plan.nodes), "a plan is for 2 to {MAX_PLAN_NODES} nodes");
    let mut player = Player::new(arm, plan);
    player.play().map_err(|text| Broken { seed: plan.seed, text })
}

struct Player<'a> {
    arm: &'a dyn Arm,
    plan: &'a Plan,
    places: Vec<Place>,
    ledger: Ledger,
    /// Ports are used again, maybe by a replay that goes on at the same time.
    cluster: Name,
    /// Pairs of which one has disconnected the other.
    apart: BTreeSet<(usize, usize)>,
    replayed: Replayed,
}

/// Where one node after the other runs.
struct Place {
    way: Box<dyn Way>,
    running: Option<Running>,
}

struct Running {
    node: Box<dyn TestNode>,
    life: Life,
    grammar: Grammar,
    leaving: Option<Pending<u64>>,
}

impl<'a> Player<'a> {
    fn new(arm: &'a dyn Arm, plan: &'a Plan) -> Player<'a> {
        let places = (0..plan.nodes as u64).map(|number| {
            let way = arm.way(plan.seed.wrapping_mul(MAX_PLAN_NODES as u64) + number, plan.faults.clone());
            Place { way, running: None }
        });
        let places = places.collect();
        let (ledger, apart) = (Ledger::default(), BTreeSet::new());
        let cluster = own_cluster();
        let mut player = Player { arm, plan, places, ledger, cluster, apart, replayed: Replayed::default() };
        (0..plan.nodes).for_each(|at| player.start(at));
        player
    }

    fn play(&mut self) -> Result<Replayed, String> {
        let start = self.arm.now();
        for &(at, act) in &self.plan.steps {
            while self.arm.now() < start + at {
                self.look()?;
            }
            self.act(act)?;
        }
        self.recover()?;
        self.settle()?;
        self.ledger.check()?;
        let (sent, taken, undelivered) = self.ledger.counts();
        Ok(Replayed { sent, taken, undelivered, ..self.replayed })
    }

    fn start(&mut self, at: usize) {
        let others = self.places.iter().enumerate().filter(|(other, _)| *other != at);
        let config = self.plan.config.clone().cluster(self.cluster.clone());
        let config = config.node_id(id_of(at)).advertise(self.places[at].way.address());
        let config = others.fold(config, |config, (_, other)| config.seed(other.way.address().into()));
        let node = match self.arm.bind(self.arm.anywhere(), config) {
            Ok(node) => node,
            Err(error) => panic!("plan {}: node {at} cannot be made: {error}", self.plan.seed),
        };
        self.places[at].way.lead_to(node.local_addr());
        let life = self.ledger.begin(at);
        self.replayed.lives += 1;
        self.places[at].running = Some(Running { node, life, grammar: Grammar::new(), leaving: None });
    }

    fn act(&mut self, act: Act) -> Result<(), String> {
        match act {
            Act::Cut(a, b) => self.between(a, b, |way, from| way.cut(Some(from))),
            Act::Heal(a, b) => self.between(a, b, |way, from| way.heal(Some(from))),
            Act::HealAll => self.heal_all(),
            Act::Reset(a, b) => {
                let mut resets = 0;
                self.between(a, b, |way, from| resets += way.reset(Some(from)));
                self.replayed.resets += resets;
            }
            Act::Crash(at) => {
                // What it has said before, it has said.
                self.look_at(at)?;
                if let Some(running) = self.places[at].running.take() {
                    self.ledger.crashed(running.life);
                    running.node.crash();
                }
            }
            Act::Restart(at) if self.places[at].running.is_none() => self.start(at),
            Act::Leave(at) => {
                if let Some(running) = self.acting(at) {
                    running.leaving = Some(running.node.leave(LEAVING));
                }
            }
            Act::Disconnect(at, peer) => {
                if self.acting(at).is_some_and(|running| running.node.disconnect(id_of(peer)).is_ok()) {
                    self.apart.insert((at.min(peer), at.max(peer)));
                }
            }
            Act::Join(at, to) => self.join(at, to),
            Act::Send(from, to, length, count) if from != to => {
                for _ in 0..count {
                    if !self.send(from, to, length) {
                        break;
                    }
                }
            }
            Act::Broadcast(from, length) => self.broadcast(from, length),
            Act::Restart(_) | Act::Send(..) => {}
        }
        Ok(())
    }

    fn between(&self, a: usize, b: usize, mut act: impl FnMut(&dyn Way, NodeId)) {
        act(&*self.places[a].way, id_of(b));
        act(&*self.places[b].way, id_of(a));
    }

    fn heal_all(&self) {
        for place in &self.places {
            (0..self.places.len()).for_each(|from| place.way.heal(Some(id_of(from))));
        }
    }

    fn join(&self, at: usize, to: usize) {
        if let Some(running) = &self.places[at].running
            && running.leaving.is_none()
        {
            // Whether it succeeds is seen by the mesh.
            drop(running.node.join(self.places[to].way.address().into()));
        }
    }

    fn send(&mut self, from: usize, to: usize, length: usize) -> bool {
        let Some(running) = &self.places[from].running else { return false };
        let (life, payload) = (running.life, self.ledger.payload(running.life, length));
        let accepted = running.node.try_send(id_of(to), payload).is_ok();
        if accepted {
            self.ledger.accepted(life, to);
        }
        accepted
    }

    fn broadcast(&mut self, from: usize, length: usize) {
        let Some(running) = &self.places[from].running else { return };
        let (life, payload) = (running.life, self.ledger.payload(running.life, length));
        if let Ok(report) = running.node.broadcast(payload) {
            report.queued.into_iter().filter_map(place_of).for_each(|to| self.ledger.accepted(life, to));
        }
    }

    /// The node that runs there and does not leave.
    fn acting(&mut self, at: usize) -> Option<&mut Running> {
        self.places[at].running.as_mut().filter(|running| running.leaving.is_none())
    }

    /// Looks at everything that has happened, and lets a little time pass.
    fn look(&mut self) -> Result<(), String> {
        (0..self.places.len()).try_for_each(|at| self.look_at(at))?;
        self.arm.pass(LOOK);
        Ok(())
    }

    /// Takes the messages of a node and reads its events.
    fn look_at(&mut self, at: usize) -> Result<(), String> {
        let Some(running) = &mut self.places[at].running else { return Ok(()) };
        let wrong = |text: String| format!("node {at}: {text}");
        while let Ok(message) = running.node.recv(Duration::ZERO) {
            self.ledger.taken(at, place_of(message.from.id), &message.payload).map_err(wrong)?;
        }
        let mut left = running.leaving.as_mut().is_some_and(|leaving| leaving.wait(Duration::ZERO).is_some());
        while let Ok(event) = running.node.event(Duration::ZERO) {
            running.grammar.next(&event).map_err(wrong)?;
            match event {
                Event::Undelivered(report) => {
                    let to = place_of(report.peer.id);
                    self.ledger.reported(running.life, to, &report.not_delivered, &report.in_doubt).map_err(wrong)?;
                }
                Event::Left { .. } => left |= running.leaving.is_none(),
                _ => {}
            }
        }
        if left {
            self.places[at].running = None;
        }
        Ok(())
    }

    /// Heals everything, starts whoever does not run, and waits until the mesh is complete.
    fn recover(&mut self) -> Result<(), String> {
        self.heal_all();
        let deadline = self.arm.now() + RECOVERY;
        let mut asked = None;
        while !self.is_complete() {
            if self.arm.now() >= deadline {
                return Err(format!("the mesh is not complete {RECOVERY:?} after it was healed: {}", self.ups()));
            }
            for at in 0..self.places.len() {
                if self.places[at].running.is_none() {
                    self.start(at);
                }
            }
            if asked.is_none_or(|at| self.arm.now() >= at + ASKING) {
                asked = Some(self.arm.now());
                self.apart.iter().for_each(|&(at, to)| self.join(at, to));
            }
            self.look()?;
        }
        Ok(())
    }

    /// Waits until every message has its outcome.
    fn settle(&mut self) -> Result<(), String> {
        let deadline = self.arm.now() + RECOVERY;
        let mut flushing: Vec<(usize, usize, Pending<Flushed>)> = Vec::new();
        for (at, place) in self.places.iter().enumerate() {
            let others = (0..self.places.len()).filter(|to| *to != at);
            let node = place.running.iter().map(|running| &running.node);
            flushing.extend(node.flat_map(|node| others.clone().map(move |to| (at, to, node.flush(id_of(to))))));
        }
        while let Some((at, to, pending)) = flushing.last_mut() {
            if pending.wait(Duration::ZERO).is_some() {
                flushing.pop();
                continue;
            }
            if self.arm.now() >= deadline {
                return Err(format!("node {at}: the flush of node {to} does not end"));
            }
            self.look()?;
        }
        self.look()
    }

    fn is_complete(&self) -> bool {
        let whole = |running: &Running| running.leaving.is_none() && up(&*running.node) == self.places.len() - 1;
        self.places.iter().all(|place| place.running.as_ref().is_some_and(whole))
    }

    fn ups(&self) -> String {
        let ups = self.places.iter().map(|place| place.running.as_ref().map(|running| up(&*running.node)));
        format!("{:?} peers are up", ups.collect::<Vec<_>>())
    }
}

fn up(node: &dyn TestNode) -> usize {
    node.peers().iter().filter(|peer| peer.state == PeerState::Up).count()
}

fn id_of(place: usize) -> NodeId {
    NodeId::from_bytes([place as u8 + 1; 16])
}

fn place_of(id: NodeId) -> Option<usize> {
    let place = usize::from(id.as_bytes()[0]).checked_sub(1)?;
    (id_of(place) == id).then_some(place)
}
