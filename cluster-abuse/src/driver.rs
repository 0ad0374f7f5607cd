//! A real node, and a driver that does what it asks for and believes nothing: what holds for every node at every moment
//! is checked after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cluster_check::Grammar;
use cluster_core::limits::{MAX_ALIASES, MAX_CLOSED_STREAMS, MAX_NOTICE_SOURCES, MAX_TARGETS};
use cluster_core::{
    Action, Bytes, CloseMode, Config, Disconnect, Event, Frame, Identity, Incarnation, Input, Instant, Limits, LinkId,
    Message, Node, NodeId, Proven, Reason, Run, SecretId, Start, Target,
};

use crate::channels::is_printable;
use crate::frame;

/// How many actions one input may cause, for each entry that the node's tables have, and besides: a script may have
/// asked for that many flushes, which all end at once.
const ACTIONS_PER_ENTRY: usize = 8;
const ACTIONS: usize = 64 + 256;

/// How long a node remembers which run was the last, with its usual intervals.
const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);

/// How many ticks a node may ask for within one second, for each entry that its tables have, and besides.
const TICKS_PER_ENTRY: usize = 64;
const TICKS: usize = 256;

/// A link as the driver knows it.
#[derive(Debug, Default)]
pub struct Line {
    /// Where it was dialled; `None` if it came in.
    pub dialled: Option<SocketAddr>,
    /// Who was proven to be at the other end.
    pub run: Option<Run>,
    /// With which secret.
    pub secret: Option<SecretId>,
    /// The node asked to close it, and was not told yet that it is gone.
    pub closed: Option<Reason>,
    /// What the node sent and nobody has read.
    pub written: Vec<Frame>,
}

/// A node and its driver.
#[derive(Debug)]
pub struct Driver {
    /// The node.
    pub node: Node,
    /// The time.
    pub now: Instant,
    /// Every link that the node was not told the end of.
    pub links: BTreeMap<LinkId, Line>,
    /// The names that the node wants to be resolved.
    pub unresolved: Vec<Target>,
    /// Payloads that came back.
    pub undelivered: Vec<Bytes>,
    /// Those of them that were certainly not delivered.
    pub not_delivered: Vec<Bytes>,
    /// Messages that were accepted, once per receiver.
    pub accepted: u64,
    /// Sessions that were over.
    pub gone: u64,
    /// The flushes that came to their end.
    pub flushed: usize,
    /// Addresses that the user has named: he may send his node where he likes.
    named: BTreeSet<SocketAddr>,
    grammar: Grammar,
    /// When each peer was last lost, and how many tombstones had been dropped then.
    lost: BTreeMap<NodeId, (Instant, u64)>,
    alive: BTreeSet<LinkId>,
}

/// The address of a host.
#[must_use]
pub fn at(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 7000))
}

/// The id of a host.
#[must_use]
pub fn id(host: u8) -> NodeId {
    NodeId::from_bytes([host; 16])
}

/// Bounds so small that scripts reach them.
#[must_use]
pub fn small() -> Limits {
    let mut limits = Limits::default();
    (limits.max_peers, limits.max_pending, limits.max_pending_per_ip, limits.max_greeted) = (4, 4, 3, 3);
    (limits.max_message, limits.send_window) = (2_000, 8_000);
    (limits.initial_window, limits.recv_window, limits.recv_budget) = (1_024, 4_096, 20_000);
    (limits.max_tombstones, limits.max_candidates, limits.max_candidates_per_peer) = (4, 8, 4);
    (limits.max_dials, limits.dial_burst) = (2, 4);
    limits
}

impl Driver {
    /// A node of this host, at time zero.
    ///
    /// # Panics
    ///
    /// If the config contradicts itself.
    #[must_use]
    pub fn new(host: u8, incarnation: u64, config: Config) -> Driver {
        let start = Start { seed: [host; 32], incarnation: Incarnation(incarnation), listen: Some(at(host)) };
        let config = match config.is_secure() {
            true => config.identity(Identity::from_bytes([host; 32])),
            false => config.node_id(id(host)),
        };
        let node = Node::new(config, start, Instant::ZERO).expect("a config that agrees with itself");
        Driver {
            node,
            now: Instant::ZERO,
            links: BTreeMap::new(),
            unresolved: Vec::new(),
            undelivered: Vec::new(),
            not_delivered: Vec::new(),
            accepted: 0,
            gone: 0,
            flushed: 0,
            named: BTreeSet::new(),
            grammar: Grammar::new(),
            lost: BTreeMap::new(),
            alive: BTreeSet::new(),
        }
    }

    /// Somebody dials the node from this address.
    pub fn accept(&mut self, from: SocketAddr) -> Option<LinkId> {
        let entries = self.entries();
        let link = self.node.accept(self.now, from).ok();
        if let Some(link) = link {
            assert!(self.alive.insert(link), "{link:?} is used twice");
            self.links.insert(link, Line::default());
        }
        self.act(entries);
        link
    }

    /// The other end of a link has proven who it is, and which secret it has where there is one.
    pub fn connect(&mut self, link: LinkId, run: Run, secret: Option<SecretId>) {
        let Some(line) = self.links.get_mut(&link).filter(|line| line.run.is_none()) else { return };
        (line.run, line.secret) = (Some(run), secret);
        let proven = Proven { run, version: 1, features: 0, secret };
        self.handle(Input::Connected { link, proven, local: at(100) });
    }

    /// A frame arrives.
    pub fn frame(&mut self, link: LinkId, frame: Frame) {
        self.handle(Input::Frame { link, frame });
    }

    /// A link is gone.
    pub fn end(&mut self, link: LinkId, cause: Disconnect) {
        if self.links.remove(&link).is_some() {
            self.handle(Input::Disconnected { link, cause });
        }
    }

    /// Reports the end of every link that the node asked to close.
    pub fn close(&mut self) {
        let closed: Vec<LinkId> =
            self.links.iter().filter(|(_, line)| line.closed.is_some()).map(|(link, _)| *link).collect();
        closed.into_iter().for_each(|link| self.end(link, Disconnect::Closed));
    }

    /// The user wants a member's address to be dialled.
    pub fn join(&mut self, address: SocketAddr) {
        self.named.extend([address, SocketAddr::new(address.ip().to_canonical(), address.port())]);
        let entries = self.entries();
        let _ = self.node.join(self.now, address.into());
        self.act(entries);
    }

    /// The user sends a message. Says whether it was accepted.
    pub fn send(&mut self, to: NodeId, payload: Bytes) -> bool {
        let entries = self.entries();
        let accepted = self.node.send(self.now, to, payload).is_ok();
        self.accepted += u64::from(accepted);
        self.act(entries);
        accepted
    }

    /// The user sends a message to everyone.
    pub fn broadcast(&mut self, payload: Bytes) {
        let entries = self.entries();
        let queued = self.node.broadcast(self.now, payload).map_or(0, |report| report.queued.len());
        self.accepted += queued as u64;
        self.act(entries);
    }

    /// The user takes a message.
    pub fn take(&mut self) -> Option<Message> {
        let entries = self.entries();
        let message = self.node.poll_message(self.now);
        if let Some(message) = &message {
            assert!(self.grammar.was_up(message.from), "{message:?} comes before its sender is up");
            assert!(message.payload.len() as u64 <= self.node.limits().max_message, "{message:?}");
        }
        self.act(entries);
        message
    }

    /// The user does something else.
    pub fn user(&mut self, what: impl FnOnce(&mut Node, Instant)) {
        let entries = self.entries();
        what(&mut self.node, self.now);
        self.act(entries);
    }

    /// Something happens on the network.
    pub fn handle(&mut self, input: Input) {
        let entries = self.entries();
        self.node.handle(self.now, input);
        self.act(entries);
    }

    /// Lets time pass, with a tick whenever one is due.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        let (mut second, mut ticks) = (self.now, 0);
        while let Some(due) = self.node.next_tick().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.handle(Input::Tick);
            let next = self.node.next_tick();
            assert!(next.is_none_or(|next| next > self.now), "{next:?} is due again at {:?}", self.now);
            if self.now - second > Duration::from_secs(1) {
                (second, ticks) = (self.now, 0);
            }
            ticks += 1;
            assert!(ticks <= TICKS + TICKS_PER_ENTRY * self.entries(), "too many ticks at {:?}", self.now);
        }
        self.now = end;
    }

    /// Lets time pass without any tick: the process stands still.
    pub fn stall(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    /// The node leaves, and its links end as it asks. Every message that was accepted has its outcome then.
    pub fn leave(&mut self) {
        self.user(|node, now| node.leave(now, Duration::ZERO));
        for _ in 0..60 {
            self.close();
            self.pass(Duration::from_secs(1));
        }
        // What was never connected nobody has to close, and what was silent has had its time.
        let left: Vec<LinkId> = self.links.keys().copied().collect();
        left.into_iter().for_each(|link| self.end(link, Disconnect::Reset));
        assert!(self.node.has_left(), "{:?}", self.node.usage());
        assert_eq!((self.node.usage().links, self.node.memory().retained), (0, 0));
        let delivered = self.node.stats().messages_delivered;
        assert_eq!(delivered + self.undelivered.len() as u64, self.accepted, "each message has one outcome");
    }

    fn entries(&self) -> usize {
        let usage = self.node.usage();
        usage.links + usage.peers + usage.candidates + usage.targets
    }

    /// Does what the node asks for. There were so many entries before whatever it was.
    fn act(&mut self, entries: usize) {
        let entries = entries.max(self.entries());
        let mut actions = 0;
        while let Some(action) = self.node.poll_action() {
            actions += 1;
            self.carry_out(action);
        }
        assert!(actions <= ACTIONS + ACTIONS_PER_ENTRY * entries, "{actions} actions at once");
        self.check();
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Resolve { target } => self.unresolved.push(target),
            Action::Dial { link, address } => {
                assert!(self.alive.insert(link), "{link:?} is used twice");
                assert!(self.named.contains(&address) || may_be_dialled(address), "{address} is dialled");
                self.links.insert(link, Line { dialled: Some(address), ..Line::default() });
            }
            Action::Send { link } => self.pull(link),
            Action::Close { link, mode, reason } => {
                is_printable(&reason.to_string());
                if mode == CloseMode::Flush {
                    self.pull(link);
                }
                let line = self.links.get_mut(&link).expect("only what is there can be closed");
                line.closed.get_or_insert(reason);
            }
            Action::Deliver | Action::Writable { .. } => {}
            Action::Event(event) => self.event(event),
            Action::Notice(notice) => is_printable(&notice.reason.to_string()),
        }
    }

    fn pull(&mut self, link: LinkId) {
        let Some(line) = self.links.get_mut(&link) else { return };
        let mut pongs = 0;
        while let Some(frame) = self.node.poll_frame(link) {
            frame::check(&frame);
            pongs += usize::from(matches!(frame, Frame::Pong { .. }));
            line.written.push(frame);
        }
        assert!(pongs <= 1, "{pongs} pongs at once");
    }

    fn event(&mut self, event: Event) {
        is_printable(&format!("{event:?}"));
        let dropped = self.node.stats().tombstone_limit;
        match &event {
            Event::PeerDown { peer, .. } => drop(self.lost.insert(peer.id, (self.now, dropped))),
            Event::PeerUp(info) => {
                // Runs are remembered for a day, and only so many.
                let lost = self.lost.get(&info.run.id);
                if lost.is_some_and(|(at, before)| self.now >= *at + REMEMBERED || dropped > *before) {
                    self.grammar.forgotten(info.run.id);
                }
            }
            _ => {}
        }
        if let Err(wrong) = self.grammar.next(&event) {
            panic!("{wrong}");
        }
        match event {
            Event::Undelivered(told) => {
                self.not_delivered.extend_from_slice(&told.not_delivered);
                self.undelivered.extend(told.not_delivered.into_iter().chain(told.in_doubt));
            }
            Event::PeerGone { .. } => self.gone += 1,
            Event::Flushed { .. } => self.flushed += 1,
            _ => {}
        }
    }

    /// What holds between any two calls: no table is fuller than its bound.
    fn check(&self) {
        let (usage, memory, limits) = (self.node.usage(), self.node.memory(), self.node.limits());
        let outbound = self.links.values().filter(|line| line.dialled.is_some()).count();
        for (what, entries, bound) in [
            ("actions", usage.actions, 0),
            ("links", usage.links, self.links.len()),
            ("inbound links", self.links.len() - outbound, limits.max_inbound()),
            ("silent links", usage.silent_links, limits.max_pending),
            ("greeted links", usage.greeted_links, limits.max_greeted),
            ("peers", usage.peers, limits.max_peers),
            ("candidates", usage.candidates, limits.max_candidates),
            ("waiting dials", usage.waiting_dials, limits.max_peers + limits.max_candidates),
            ("targets", usage.targets, MAX_TARGETS),
            ("tombstones", usage.tombstones, 3 * limits.max_tombstones),
            ("own addresses", usage.own_addresses, MAX_ALIASES + 2),
            ("notice sources", usage.notice_sources, MAX_NOTICE_SOURCES + 1),
            ("left behind", usage.left_behind, limits.max_peers),
            ("closed streams", usage.closed_streams, MAX_CLOSED_STREAMS),
            ("unread", usage.unread, 2 * limits.max_peers),
            ("timers", usage.timers, 7 * usage.links + 5 * usage.peers + usage.candidates + 2 * usage.targets + 4),
        ] {
            assert!(entries <= bound, "{entries} {what} instead of {bound}: {usage:?}");
        }
        assert!(memory.received <= limits.recv_budget, "{memory:?}");
        assert!(memory.received + memory.retained <= limits.max_memory(), "{memory:?}");
        assert!(self.node.is_consistent());
        let config = self.node.config();
        let known = |secret| config.secrets().is_some_and(|ring| ring.ids().any(|id| id == secret));
        let retired =
            self.links.values().find(|line| line.closed.is_none() && line.secret.is_some_and(|secret| !known(secret)));
        assert!(retired.is_none(), "{retired:?} has a secret that was dropped");
        let stranger = self.node.peers().find(|peer| !config.allows(peer.run.id));
        assert!(stranger.is_none(), "{stranger:?} is not allowed");
    }
}

/// Where a node of 10.0.0.100 may be sent by others: to private addresses, and to a port.
fn may_be_dialled(address: SocketAddr) -> bool {
    let private = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    };
    private && address.port() != 0
}
