//! The state machine: what goes in, what comes out, and who does what.

mod admit;
mod claim;
mod dial;
mod dialer;
mod exchange;
mod leave;
mod liveness;
mod lost;
mod messages;
mod output;
#[cfg(test)]
mod search;
mod sessions;
mod targets;
#[cfg(test)]
mod tests;
mod timer;
mod trust;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use zeroize::Zeroize as _;

use self::admit::Familiar;
use self::dialer::Dialer;
use self::timer::{LinkTimer, Timer};
use crate::action::{Action, CloseMode};
use crate::address::{Advertised, Reach, reach};
use crate::admission::Admission;
use crate::candidate::Candidates;
use crate::channel::{Channel, Credentials, Hello, Role};
use crate::closed::ClosedStreams;
use crate::config::{Acknowledge, Config, ConfigError, Limits, Security, Timing};
use crate::event::{Event, PeerInfo};
use crate::gate::Gate;
use crate::id::{Incarnation, LinkId, NodeId, Run};
use crate::identity::Identity;
use crate::inbox::Inbox;
use crate::input::Input;
use crate::limits;
use crate::link::{Link, LinkState};
use crate::notice::Notices;
use crate::peer::{Peer, Standing};
use crate::reason::Reason;
use crate::rng::{Purpose, Rng, Seed};
use crate::session::Budget;
use crate::stats::{Memory, Stats, Usage};
use crate::target::Targets;
use crate::time::Instant;
use crate::timers::Timers;
use crate::tombstone::Tombstones;
use crate::unread::Unread;
use crate::wire::{Profile, Update};

/// What a node is born with, besides its [`Config`]. The seed is wiped when this is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Start {
    /// All randomness comes from here, and with it the keys of the links: `Debug` does not show it. A driver draws it
    /// from the operating system; a simulator from its own seed.
    pub seed: [u8; 32],
    /// Tells this run from earlier ones: greater at each start. Usually the wall clock in microseconds.
    pub incarnation: Incarnation,
    /// The address that the driver listens at, with its real port, if it listens at all.
    pub listen: Option<SocketAddr>,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Start { seed: _, incarnation, listen } = self;
        f.debug_struct("Start").field("incarnation", incarnation).field("listen", listen).finish_non_exhaustive()
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

/// One member of a mesh, as a state machine.
///
/// It does nothing by itself. A driver tells it what happens ([`handle`](Node::handle), [`accept`](Node::accept)) and
/// what the user wants ([`join`](Node::join), [`send`](Node::send), ...), and then does what it asks for
/// ([`poll_action`](Node::poll_action), [`poll_frame`](Node::poll_frame)) until it asks for nothing more, and calls
/// again at [`next_tick`](Node::next_tick) at the latest.
///
/// * Inputs change the state and append to the queue of actions; polling only takes from it. Calls may come in any
///   order, and the queue need not be empty before the next input.
/// * Every call takes `now`. A `now` below an earlier one counts as that earlier one.
/// * With the same seed, inputs and times, the outputs are the same to the byte, on every platform.
/// * Nothing that arrives over the network makes a call fail or panic.
#[derive(Clone, Debug)]
pub struct Node {
    config: Config,
    run: Run,
    /// What proves the id, where a secret protects the node.
    identity: Option<Identity>,
    seed: Seed,
    /// The incarnation it started with; it may adopt a later one, once.
    born: Incarnation,
    listen: Option<SocketAddr>,
    now: Instant,
    /// When this process was last found to have stood still; deadlines from before say nothing new.
    stalled: Instant,
    actions: VecDeque<Action>,
    timers: Timers<Timer>,
    rng: Rng,
    streams: Rng,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    next_join: u64,
    next_flush: u64,
    next_token: u64,
    peers: BTreeMap<NodeId, Peer>,
    candidates: Candidates,
    targets: Targets,
    tombstones: Tombstones,
    closed: ClosedStreams,
    dialer: Dialer,
    admission: Admission,
    gate: Gate,
    familiar: Familiar,
    inbox: Inbox,
    unread: Unread,
    budget: Budget,
    notices: Notices,
    /// Socket addresses that lead to this node.
    own: BTreeSet<SocketAddr>,
    /// The kinds of address that this node has to do with, so that hearsay may send it there.
    reaches: BTreeSet<Reach>,
    /// Another live node has this id; until then, nobody is dialled.
    muted_until: Option<Instant>,
    /// When the user was last told so.
    told_of_clone: Option<Instant>,
    leaving: Option<Leaving>,
    stats: Stats,
    /// Inputs since the node was last [checked](Node::check).
    #[cfg(debug_assertions)]
    unchecked: usize,
}

/// How far a graceful leave has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// Waiting until what was accepted is taken, up to the deadline. Counts the messages that were reported as
    /// undelivered since.
    Draining { deadline: Instant, undelivered: u64 },
    /// Goodbyes are said; waiting for the links to end.
    Closing { undelivered: u64 },
    /// Over.
    Left,
}

impl Node {
    /// A node that has yet to do anything.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if two settings contradict each other.
    pub fn new(config: Config, start: Start, now: Instant) -> Result<Node, ConfigError> {
        config.check()?;
        let Start { ref seed, incarnation, listen } = start;
        let seed = Seed::new(*seed);
        let mut drawn = Rng::new(&seed, Purpose::Identity);
        let identity = config.is_secure().then(|| match &config.identity {
            Some(identity) => identity.clone(),
            None => Identity::from_bytes(drawn.bytes()),
        });
        let proven = identity.as_ref().map(Identity::id).or(config.node_id);
        let id = proven.unwrap_or_else(|| NodeId::from_bytes(drawn.bytes()));
        let budget = Budget::new(
            config.limits.recv_budget,
            config.limits.max_peers as u64,
            config.limits.initial_window,
            config.limits.max_message,
        );
        let mut node = Node {
            run: Run { id, incarnation },
            identity,
            rng: Rng::new(&seed, Purpose::Jitter),
            streams: Rng::new(&seed, Purpose::Streams),
            seed,
            born: incarnation,
            listen,
            now,
            stalled: Instant::ZERO,
            actions: VecDeque::new(),
            timers: Timers::new(),
            links: BTreeMap::new(),
            next_link: 0,
            next_join: 0,
            next_flush: 0,
            next_token: 0,
            peers: BTreeMap::new(),
            candidates: Candidates::default(),
            targets: Targets::default(),
            tombstones: Tombstones::default(),
            closed: ClosedStreams::default(),
            dialer: Dialer::new(&config.limits, now),
            admission: Admission::new(&config.limits, now),
            gate: Gate::default(),
            familiar: Familiar::default(),
            inbox: Inbox::default(),
            unread: Unread::default(),
            budget,
            notices: Notices::default(),
            own: BTreeSet::new(),
            reaches: BTreeSet::new(),
            muted_until: None,
            told_of_clone: None,
            leaving: None,
            stats: Stats::default(),
            #[cfg(debug_assertions)]
            unchecked: 0,
            config,
        };
        node.note_own();
        node.schedule_gossip();
        for seed in node.config.seeds.clone() {
            node.want_seed(seed);
        }
        Ok(node)
    }

    /// Tells the node a fact about the network. Never fails: what makes no sense is ignored or counted.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.advance(now);
        if self.has_left() {
            return;
        }
        match input {
            Input::Frame { link, frame } => self.frame(link, frame),
            Input::Greeted { link } => self.greeted(link),
            Input::Connected { link, proven, local } => self.connected(link, proven, local),
            Input::Disconnected { link, cause } => self.disconnected(link, cause),
            Input::Resolved { target, outcome } => self.resolved(&target, outcome),
            Input::BytesRead { link } => self.bytes_read(link),
            Input::BytesWritten { link } => self.bytes_written(link),
            Input::Tick => self.fire_due(),
        }
        #[cfg(debug_assertions)]
        self.check();
    }

    /// Asserts in debug builds that the node is consistent. That costs as much as the tables are long, so a node with long
    /// ones does so once in as many inputs: then the cost of an input does not grow with the mesh.
    #[cfg(debug_assertions)]
    fn check(&mut self) {
        self.unchecked += 1;
        let entries = self.links.len() + self.peers.len();
        if entries <= CHECKED_ALWAYS || self.unchecked >= entries {
            self.unchecked = 0;
            assert!(self.is_consistent());
        }
    }

    /// Handles what a driver has found in one turn: first a tick if one is due, so that a node that was itself stalled
    /// knows it before it judges others, then the inputs in their order.
    pub fn handle_all(&mut self, now: Instant, inputs: impl IntoIterator<Item = Input>) {
        self.tick(now);
        for input in inputs {
            self.handle(now, input);
        }
    }

    /// Handles [`Input::Tick`] if one is due.
    pub fn tick(&mut self, now: Instant) {
        if self.next_tick().is_some_and(|due| due <= now) {
            self.handle(now, Input::Tick);
        }
    }

    /// The channel of a link that [`Action::Dial`] named or [`accept`](Node::accept) admitted. `None` if the node has
    /// given the link up meanwhile: the driver then closes the connection and reports it as
    /// [`Disconnected`](Input::Disconnected), as every other. To be called once for each link.
    #[must_use]
    pub fn channel(&self, link: LinkId) -> Option<Channel> {
        let found = self.links.get(&link).filter(|link| link.state == LinkState::Opening)?;
        let role = if found.is_inbound() { Role::Responder } else { Role::Initiator };
        let mut rng = Rng::new(&self.seed, Purpose::Link(link.0));
        let hello = Hello {
            run: self.run,
            cluster: self.config.cluster_name(),
            versions: self.config.versions.clone(),
            features: 0,
            nonce: rng.bytes(),
        };
        Some(match &self.config.security {
            Security::Plain => Channel::new(role, hello),
            Security::Noise { keyring, suite } => {
                let (identity, keyring) = (self.identity.clone()?, keyring.clone());
                let credentials =
                    Credentials { identity, keyring, suite: suite.unwrap_or_default(), entropy: rng.bytes() };
                Channel::secure(role, hello, credentials)
            }
        })
    }

    /// Takes the next thing that the driver must do.
    ///
    /// Every call that changes the node may add actions. Before the driver waits for anything, this must have
    /// returned `None`.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Input::Tick`] is due next; `None` if nothing is ever due. Costs O(1) or O(log n).
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The node and run that this is.
    #[must_use]
    pub fn run(&self) -> Run {
        self.run
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The peers that are up, and those that were lost and are being dialled, in the order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> + '_ {
        self.peers.values().filter(|peer| peer.is_known()).map(Peer::info)
    }

    /// One of [`peers`](Node::peers).
    #[must_use]
    pub fn peer(&self, id: NodeId) -> Option<PeerInfo> {
        self.peers.get(&id).filter(|peer| peer.is_known()).map(Peer::info)
    }

    /// What the node has counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }

    /// How full the node's tables are.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            actions: self.actions.len(),
            timers: self.timers.len(),
            links: self.links.len(),
            silent_links: self.gate.silent(),
            greeted_links: self.gate.greeted(),
            peers: self.peers.len(),
            candidates: self.candidates.len(),
            introduced: self.candidates.most_introduced(),
            waiting_dials: self.dialer.waiting(),
            targets: self.targets.len(),
            tombstones: self.tombstones.len(),
            own_addresses: self.own.len(),
            notice_sources: self.notices.len(),
            accept_sources: self.admission.len(),
            left_behind: self.inbox.left_behind().count(),
            closed_streams: self.closed.len(),
            unread: self.unread.len(),
        }
    }

    /// How many bytes the messages in the node's streams take.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let received: u64 = self.peers.values().map(Peer::buffered).sum();
        let retained = self.peers.values().map(Peer::retained).sum();
        Memory { received: received + self.inbox.buffered(), retained, unread: self.unread.total() }
    }

    /// The part of [`memory`](Node::memory) that is in the present streams of one peer.
    #[doc(hidden)]
    #[must_use]
    pub fn memory_of(&self, peer: NodeId) -> Memory {
        let peer = self.peers.get(&peer);
        Memory { received: peer.map_or(0, Peer::buffered), retained: peer.map_or(0, Peer::retained), unread: 0 }
    }

    /// The part of [`memory`](Node::memory) that is in the present streams of no peer.
    #[doc(hidden)]
    #[must_use]
    pub fn memory_besides(&self) -> Memory {
        Memory { received: self.inbox.buffered(), retained: 0, unread: self.unread.total() }
    }

    /// The nodes that [`memory_of`](Node::memory_of) has something to say of.
    #[doc(hidden)]
    pub fn peer_ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// The intervals and timeouts in force.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.config.timing
    }

    /// When a message that this node takes counts as delivered.
    #[must_use]
    pub fn acknowledge_mode(&self) -> Acknowledge {
        self.config.acknowledge
    }

    /// The complete addresses at which this node says it can be dialled.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let complete = |address| match address {
            Advertised::Socket(address) => Some(address),
            Advertised::Port(_) => None,
        };
        self.advertised().into_iter().filter_map(complete).collect()
    }

    /// Changes the settings of a running node. Intervals and timeouts apply from their next use, limits to what comes
    /// next; seeds that are new are added. A changed name, metadata or list of addresses is told to the peers. A link
    /// that was made with a secret which is not in the keyring any more ends, and its session goes on over a new one; a
    /// peer that is not allowed any more is gone.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if two settings contradict each other, or if the cluster, the id or identity, whether there is a
    /// secret, the versions, `max_message`, `recv_budget`, `initial_window` or `max_peers` differ. Nothing has changed
    /// then.
    pub fn set_config(&mut self, now: Instant, config: Config) -> Result<(), ConfigError> {
        config.check()?;
        let (old, new) = (&self.config.limits, &config.limits);
        for (field, same) in [
            ("cluster", self.config.cluster_name() == config.cluster_name()),
            ("node_id", self.config.node_id == config.node_id),
            ("identity", self.config.identity == config.identity),
            ("whether there is a secret", self.config.is_secure() == config.is_secure()),
            ("versions", self.config.versions == config.versions),
            ("max_message", old.max_message == new.max_message),
            ("recv_budget", old.recv_budget == new.recv_budget),
            ("initial_window", old.initial_window == new.initial_window),
            ("max_peers", old.max_peers == new.max_peers),
            ("acknowledge", self.config.acknowledge == config.acknowledge),
        ] {
            if !same {
                return Err(ConfigError::fixed(field));
            }
        }
        self.advance(now);
        let before = self.profile();
        let moved = self.config.advertise != config.advertise;
        self.config = config;
        self.distrust_links();
        if self.is_leaving() {
            return Ok(());
        }
        if moved {
            self.own.clear();
            self.note_own();
        }
        for seed in self.config.seeds.clone() {
            self.want_seed(seed);
        }
        if self.profile() != before {
            self.tell_profile();
        }
        self.retime();
        Ok(())
    }

    /// Moves the clock, never backwards. A deadline that passed unnoticed by more than [`OWN_STALL`] says that this
    /// process itself stood still; its peers are not to blame for the silence.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.timers.next().is_some_and(|due| due >= self.stalled && self.now - due > OWN_STALL) {
            self.own_stall();
        }
    }

    fn event(&mut self, event: Event) {
        self.actions.push_back(Action::Event(event));
    }

    /// The addresses that lead to this node by its own account.
    fn note_own(&mut self) {
        for address in self.listen.into_iter().chain(self.config.advertise.clone()) {
            if !address.ip().is_unspecified() {
                self.own.insert(address);
                self.reaches.insert(reach(address));
            }
        }
    }

    /// What this node says of itself.
    fn profile(&self) -> Profile {
        Profile {
            name: self.config.name.clone(),
            metadata: self.config.metadata.clone(),
            addresses: self.advertised(),
            max_message: self.config.limits.max_message,
            window: self.config.limits.initial_window,
        }
    }

    /// The same for one peer: what is left of its earlier streams counts against the window of a new one.
    fn profile_for(&self, peer: NodeId) -> Profile {
        let profile = self.profile();
        let present = self.peers.get(&peer).map_or(0, Peer::buffered);
        let charged = self.inbox.uncovered(peer).saturating_add(present);
        Profile { window: profile.window.saturating_sub(charged), ..profile }
    }

    fn advertised(&self) -> Vec<Advertised> {
        if self.config.advertise.is_empty() {
            self.listen.map(Advertised::from).into_iter().collect()
        } else {
            self.config.advertise.iter().copied().map(Advertised::from).collect()
        }
    }

    /// Tells every peer what this node says of itself now. On a link that is being set up it has said something else
    /// already, so there it follows once the link is up.
    fn tell_profile(&mut self) {
        let told = |link: &&Link| {
            matches!(link.state, LinkState::Claiming { .. } | LinkState::Accepted { .. } | LinkState::Up { .. })
        };
        let told: Vec<LinkId> = self.links.values().filter(told).map(|link| link.id).collect();
        for link in told {
            self.edit(link, |link| link.slots.update = true);
        }
    }

    fn update_frame(&self) -> Update {
        Update { profile: self.profile() }
    }

    fn up_links(&self) -> Vec<LinkId> {
        let live = self.peers.values().filter_map(|peer| peer.live);
        live.filter(|link| self.links.get(link).is_some_and(Link::is_up)).collect()
    }

    fn new_link(&mut self, dial: Option<crate::link::Dial>, remote: SocketAddr) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(id, Link::new(id, dial, remote, self.config.limits.control(), self.now));
        self.timers.set(Timer::Link(id, LinkTimer::Handshake), self.now + self.config.timing.handshake_timeout);
        id
    }

    /// Changes a link's output and arms it if something waits now.
    fn edit(&mut self, link: LinkId, change: impl FnOnce(&mut Link)) {
        if let Some(found) = self.links.get_mut(&link) {
            change(found);
            self.arm(link);
        }
    }

    /// Asks the driver to end a link. What the link meant to its peer is settled by the caller.
    fn close(&mut self, id: LinkId, mode: CloseMode, reason: Reason) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if let LinkState::Closing { mode: current, since } = &mut link.state {
            if *current == mode || mode == CloseMode::Flush {
                return;
            }
            *current = mode;
            self.gate.linger_no_more(id, *since);
        } else {
            link.state = LinkState::Closing { mode, since: self.now };
            self.gate.leave(id);
            if link.lingers_since().is_some() && link.is_inbound() {
                self.gate.linger(id, self.now);
            }
        }
        link.ping = None;
        match mode {
            CloseMode::Flush => {
                self.timers.cancel_link(id, Some(LinkTimer::Stall));
                let deadline = self.now + self.config.timing.handshake_timeout;
                self.timers.set(Timer::Link(id, LinkTimer::Handshake), deadline);
            }
            CloseMode::Abort => {
                link.armed = false;
                self.timers.cancel_link(id, None);
            }
        }
        self.actions.push_back(Action::Close { link: id, mode, reason });
    }

    fn next_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// What must hold between any two calls; checked in debug builds and by the simulator.
    #[doc(hidden)]
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let of_peer = |id: NodeId, link: LinkId| {
            self.links.get(&link).is_some_and(|link| !link.is_closing() && link.run().is_none_or(|run| run.id == id))
        };
        let seated = |link: &Link| self.gate.holds(link.id) == link.is_pending();
        let inbound = self.links.values().filter(|link| link.is_inbound()).count();
        let gate = self.links.values().all(seated) && self.gate.inbound() == inbound;
        gate && self.peers.values().all(|peer| {
            peer.live.is_none_or(|link| of_peer(peer.run.id, link))
                && peer.dialing.is_none_or(|link| of_peer(peer.run.id, link))
                && (peer.standing != Standing::Up || peer.live.is_some())
                && (peer.is_known() || peer.live.is_some() || peer.dialing.is_some() || peer.mail.session.is_some())
        })
    }
}

/// Up to so many links and peers, debug builds check the node after every input.
#[cfg(debug_assertions)]
const CHECKED_ALWAYS: usize = 64;

/// How late a deadline must be noticed for the node to conclude that it stood still itself.
const OWN_STALL: Duration = Duration::from_secs(1);

/// What one entry of a list takes on the wire, about: array heads, id, incarnation, and its addresses.
fn entry_size(addresses: usize) -> u64 {
    29 + addresses as u64 * 8
}

const _: () = assert!(limits::MAX_LIST * (1 + 1 + 17 + 9 + 1 + limits::MAX_ADDRESSES * 19) < limits::MAX_LIST_FRAME);
