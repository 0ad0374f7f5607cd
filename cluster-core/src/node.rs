//! The state machine: what goes in, what comes out, and who does what.

mod accept;
mod authorize;
mod claim;
mod context;
mod dial;
mod dialling;
mod exchange;
mod gate;
mod leave;
mod link_end;
mod liveness;
mod mail;
mod me;
mod messages;
mod output;
mod pairs;
mod peer_table;
#[cfg(test)]
mod search;
mod sessions;
mod settings;
mod targets;
#[cfg(test)]
mod tests;
mod tick;
mod timer;
mod view;

use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use zeroize::Zeroize as _;

use self::context::Context;
use self::dialling::Dialling;
use self::gate::Gate;
pub use self::mail::Deferred;
use self::mail::Mail;
use self::me::Me;
use self::pairs::Pairs;
use self::timer::{LinkTimer, Timer};
use crate::action::{Action, CloseMode};
use crate::channel::Channel;
use crate::config::{Config, ConfigError};
use crate::credentials::Role;
use crate::event::Event;
use crate::id::{Incarnation, LinkId, NodeId, Run};
use crate::identity::Identity;
use crate::input::Input;
use crate::limits;
use crate::link::{Link, LinkState};
use crate::mutant::mutant;
use crate::peer::Standing;
use crate::reason::{ProtocolError, Reason};
use crate::rng::{Purpose, Rng, Seed};
use crate::time::Instant;
use crate::wire::{Close, Frame, Offer, Profile, Update};

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
    /// The surroundings of every part.
    cx: Context,
    /// The identity and profile.
    me: Me,
    /// The places and rates of inbound connections.
    gate: Gate,
    /// The links, and the runs at their ends.
    pairs: Pairs,
    /// Messages.
    mail: Mail,
    /// The nodes and addresses to dial.
    dialling: Dialling,
    leaving: Option<Leaving>,
    /// Inputs since the node was last [checked](Node::check).
    #[cfg(debug_assertions)]
    unchecked: usize,
}

/// How far a graceful leave has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// Waits until the peers have taken every accepted message, up to the deadline. Counts undelivered messages from
    /// `before` on.
    Draining { deadline: Instant, before: u64 },
    /// Goodbyes are said; waiting for the links to end.
    Closing { before: u64 },
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
        let mut node = Node {
            me: Me::new(identity, seed.clone(), incarnation, listen),
            gate: Gate::new(&config.limits, now),
            pairs: Pairs::default(),
            mail: Mail::new(&config.limits, Rng::new(&seed, Purpose::Streams)),
            dialling: Dialling::new(&config.limits, now),
            leaving: None,
            cx: Context::new(config, Run { id, incarnation }, Rng::new(&seed, Purpose::Jitter), now),
            #[cfg(debug_assertions)]
            unchecked: 0,
        };
        node.dialling.set_own(node.me.own_addresses(&node.cx.config));
        node.schedule_gossip();
        for seed in node.cx.config.seeds.clone() {
            node.dialling.targets_mut().seed(&mut node.cx, seed);
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
        let entries = self.pairs.links().len() + self.pairs.peers().len();
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
        let found = self.pairs.link(link).filter(|link| link.state == LinkState::Opening)?;
        let role = if found.is_inbound() { Role::Responder } else { Role::Initiator };
        self.me.channel(&self.cx, link, role)
    }

    /// Takes the next thing that the driver must do.
    ///
    /// Every call that changes the node may add actions. Before the driver waits for anything, this must have
    /// returned `None`.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.cx.actions.pop_front()
    }

    /// When [`Input::Tick`] is due next; `None` if nothing is ever due. Costs O(1) or O(log n).
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        self.cx.timers.next()
    }

    /// A frame has arrived.
    fn frame(&mut self, id: LinkId, frame: Frame) {
        let Some(link) = self.pairs.link_mut(id).filter(|link| link.is_heard()) else { return };
        let Some(run) = link.run() else { return };
        link.heard = self.cx.now;
        link.owed = None;
        self.cx.stats.frames_received += 1;
        match frame {
            Frame::Ping { token } => return self.pinged(id, token),
            Frame::Pong { token } => return self.ponged(id, token),
            Frame::Claim(claim) if link.state == LinkState::Authenticated => return self.claimed(id, claim),
            Frame::Accept(accept) => return self.accepted(id, accept),
            Frame::Reject(reject) => return self.rejected(id, reject.code),
            Frame::Resume(resume) => return self.resumed(id, resume),
            Frame::Close(close) => return self.goodbye(id, close),
            _ if !link.is_up() => return self.violated(id, ProtocolError::UnexpectedFrame),
            _ => {}
        }
        match frame {
            Frame::Data(data) => {
                link.fed = self.cx.now;
                if link.unacked.is_none() {
                    link.unacked = Some(self.cx.now);
                    self.owes_a_word(id);
                }
                return self.data(id, run.id, data);
            }
            Frame::Ack(ack) => return self.acknowledged(id, run.id, ack),
            _ => self.tolerate(id),
        }
        if !self.pairs.link(id).is_some_and(Link::is_heard) {
            return;
        }
        match frame {
            Frame::Digest(digest) => self.digest_received(id, run, digest),
            Frame::List(list) => self.list_received(id, run, list),
            Frame::Announce(announce) => self.announced(run, announce),
            Frame::Update(update) => self.updated(run, &update.profile),
            _ => self.violated(id, ProtocolError::UnexpectedFrame),
        }
    }

    /// The other side says goodbye: we say nothing more either.
    fn goodbye(&mut self, id: LinkId, close: Close) {
        let reason = match close {
            Close::Leaving => Reason::Left,
            Close::Removed => Reason::Removed,
            Close::Other(code) => Reason::Other(code),
        };
        let Some(run) = self.pairs.link(id).and_then(Link::run) else { return };
        self.drop_link(id, CloseMode::Flush, reason.clone());
        // It may have come before the peer was ever up, and still counts.
        self.departs(run, &reason);
    }

    /// A link that was not given up before has come to its end.
    fn link_ended(&mut self, link: &Link, reason: Reason) {
        if !matches!(link.state, LinkState::Up { .. }) {
            self.gate.failed(&mut self.cx, link, &reason);
        }
        if link.proven.is_some() && matches!(reason, Reason::Channel(_)) {
            self.cx.stats.protocol_errors += 1;
        }
        let proven = link.run().map(|run| run.id);
        let expected = link.dial.as_ref().and_then(|dial| dial.expected);
        let shunned = self.shunned_for(&reason);
        let is_at = |id: &NodeId| self.pairs.peer(*id).is_some_and(|peer| peer.is_at(link.id));
        if let (Some(until), Some(id)) = (shunned, proven.filter(is_at)) {
            self.dialling.shun(id, until);
        }
        for id in proven.into_iter().chain(expected.filter(|id| Some(*id) != proven)) {
            match self.pairs.peer_mut(id) {
                Some(peer) if peer.live() == Some(link.id) || mutant!(EndsByPeer) && peer.live().is_some() => {
                    peer.end_live();
                    self.mail.detach(id);
                    // Its offer may have been bad, so that the dial that found it ends without a link that is up.
                    self.dialling.ended(id, link.id);
                    self.live_lost(id, reason.clone());
                }
                _ => self.dial_ended(id, link.id, &reason),
            }
        }
        for number in link.targets() {
            self.target_dial_ended(number, proven, &reason, shunned);
        }
    }

    /// A link connects the two from now on, and data may flow.
    fn peer_up(&mut self, id: LinkId, run: Run, theirs: &Offer) {
        if !self.exchange_offers(id, run, theirs) {
            return;
        }
        self.cx.stats.links_up += 1;
        self.begin_flight(id, run.id);
        self.cx.timers.cancel(Timer::Link(id, LinkTimer::Handshake));
        self.cx.timers.set(Timer::Link(id, LinkTimer::Stable), self.cx.now + self.cx.config.timing.stable_after);
        self.watch(id);
        self.cx.timers.cancel(Timer::Forget(run.id));
        self.mail.returned(&mut self.cx, run.id);
        self.pairs.tombstones.unbury(run.id);
        let Some(peer) = self.pairs.peer_mut(run.id) else { return };
        peer.rest.clear();
        debug_assert_eq!(peer.live(), Some(id), "a peer comes up by its live link");
        let before = peer.come_up();
        let is_first = before == Standing::New || mutant!(BackoffResetAtConnect);
        self.dialling.up(&mut self.cx, run.id, id, is_first);
        self.mail.opened(run.id);
        if let Some(peer) = self.pairs.peer(run.id).filter(|_| matches!(before, Standing::New | Standing::Lost { .. }))
        {
            self.cx.event(Event::PeerUp(self.info(peer)));
        }
        self.targets_up(run);
        self.schedule_digest(id, run.id);
        self.arm(id);
    }

    /// A peer that was up is so no more.
    fn peer_down(&mut self, id: NodeId, reason: Reason) {
        let Some(peer) = self.pairs.peer_mut(id) else { return };
        let run = peer.run;
        let name = peer.profile.name.clone();
        peer.go_down(self.cx.now);
        let reason = if self.is_restarted(run) && reason.is_transient() { Reason::Restarted } else { reason };
        if reason == Reason::Timeout {
            self.cx.stats.timeouts += 1;
        }
        self.cx.event(Event::PeerDown { peer: run, name, reason: reason.clone() });
        let returns = reason.is_transient() && reason != Reason::Restarted && !self.is_leaving();
        if returns && !self.cx.config.timing.session_ttl.is_zero() {
            self.suspend_session(id);
        } else {
            self.run_gone(id);
        }
        self.mail.wake_if_closed(&mut self.cx, id);
        match reason {
            Reason::Left => self.bury(run),
            Reason::Removed => self.mark_removed(run, true),
            Reason::LocalDisconnect => self.mark_removed(run, false),
            Reason::LocalLeave => self.remove_peer(id),
            Reason::NotAllowed => self.displace(id),
            _ => {
                self.dialling.back_off(&mut self.cx, id);
                if let Some(span) = self.cx.config.timing.forget_after {
                    self.cx.timers.set(Timer::Forget(id), self.cx.now + span);
                }
            }
        }
    }

    /// Nothing more comes of the run in this session: every message that was accepted for it gets its outcome.
    fn run_gone(&mut self, id: NodeId) {
        self.fence_session(id, true);
        self.mail.gone(&mut self.cx, id);
    }

    /// Moves the clock, never backwards. A deadline that passed unnoticed by more than [`OWN_STALL`] says that this
    /// process itself stood still; its peers are not to blame for the silence.
    fn advance(&mut self, now: Instant) {
        self.cx.now = self.cx.now.max(now);
        if self.cx.timers.next().is_some_and(|due| due >= self.cx.stalled && self.cx.now - due > OWN_STALL) {
            self.own_stall();
        }
    }

    /// Returns the profile for one peer: the remains of its earlier streams count against the window of a new one.
    fn profile_for(&self, peer: NodeId) -> Profile {
        let profile = self.me.profile(&self.cx.config);
        let charged = self.mail.charged(peer);
        Profile { window: profile.window.saturating_sub(charged), ..profile }
    }

    fn update_frame(&self) -> Update {
        Update { profile: self.me.profile(&self.cx.config) }
    }

    fn up_links(&self) -> Vec<LinkId> {
        let live = self.pairs.peers().filter_map(|peer| peer.live());
        live.filter(|link| self.pairs.link(*link).is_some_and(Link::is_up)).collect()
    }

    fn new_link(&mut self, dial: Option<crate::link::Dial>, remote: SocketAddr) -> LinkId {
        let id = self.pairs.open(&self.cx, dial, remote);
        self.cx
            .timers
            .set(Timer::Link(id, LinkTimer::Handshake), self.cx.now + self.cx.config.timing.handshake_timeout);
        id
    }

    /// Changes a link's output and arms it if something waits now.
    fn edit(&mut self, link: LinkId, change: impl FnOnce(&mut Link)) {
        if let Some(found) = self.pairs.link_mut(link) {
            change(found);
            self.arm(link);
        }
    }

    /// Asks the driver to end a link. What the link meant to its peer is settled by the caller.
    fn close(&mut self, id: LinkId, mode: CloseMode, reason: Reason) {
        let Some(link) = self.pairs.link_mut(id) else { return };
        if let LinkState::Closing { mode: current, since } = &mut link.state {
            if *current == mode || mode == CloseMode::Flush {
                return;
            }
            *current = mode;
            self.gate.aborted(id, *since);
        } else {
            debug_assert!(link.opened <= self.cx.now, "time goes back");
            link.state = LinkState::Closing { mode, since: self.cx.now };
            self.gate.closing(&self.cx, link);
        }
        link.ping = None;
        match mode {
            CloseMode::Flush => {
                self.cx.timers.cancel_link(id, Some(LinkTimer::Stall));
                let deadline = self.cx.now + self.cx.config.timing.handshake_timeout;
                self.cx.timers.set(Timer::Link(id, LinkTimer::Handshake), deadline);
            }
            CloseMode::Abort => {
                link.armed = false;
                self.cx.timers.cancel_link(id, None);
            }
        }
        self.cx.actions.push_back(Action::Close { link: id, mode, reason });
    }

    /// What must hold between any two calls; checked in debug builds and by the simulator.
    #[doc(hidden)]
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let of_peer = |id: NodeId, link: LinkId| {
            self.pairs.link(link).is_some_and(|link| !link.is_closing() && link.run().is_none_or(|run| run.id == id))
        };
        self.gate.is_consistent(&self.pairs)
            && self.mail.is_consistent(&self.pairs)
            && self.dialling.is_consistent(&self.pairs)
            && self.pairs.peers().all(|peer| {
                let is_idle = peer.is_lost() && peer.is_idle();
                !is_idle || self.is_leaving() || self.dialling.is_due(&self.cx, peer.run.id) || mutant!(GiveUpOnLost)
            })
            && self.pairs.peers().all(|peer| {
                peer.live().is_none_or(|link| of_peer(peer.run.id, link))
                    && peer.dialing().is_none_or(|link| of_peer(peer.run.id, link))
                    && peer.is_consistent()
                    && (peer.is_known() || !peer.is_idle() || self.mail.has_session(peer.run.id))
            })
    }
}

/// Debug builds check a node with at most this many links and peers after every input.
#[cfg(debug_assertions)]
const CHECKED_ALWAYS: usize = 64;

/// How late a deadline must be noticed for the node to conclude that it stood still itself.
const OWN_STALL: Duration = Duration::from_secs(1);

/// What one entry of a list takes on the wire, about: array heads, id, incarnation, and its addresses.
fn entry_size(addresses: usize) -> u64 {
    29 + addresses as u64 * 8
}

const _: () = assert!(limits::MAX_LIST * (1 + 1 + 17 + 9 + 1 + limits::MAX_ADDRESSES * 19) < limits::MAX_LIST_FRAME);
