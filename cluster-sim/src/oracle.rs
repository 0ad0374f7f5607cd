//! The promises of the core, checked after every step against what really happened.
//!
//! Truth is the simulator's own: what the driver was asked to do, what went over the wires, what was done at the other
//! end, and what applications took. Each file checks one group of promises and can be read, and tested, by itself; this
//! one, [`user`] and [`wire`] tell them what happens. `INVARIANTS.md` has the list of all promises.
//!
//! | file | promises |
//! |---|---|
//! | [`events`] | O4, O5: the word of events, `peers()`, joins, nothing after `Left` |
//! | [`links`] | O1, O12: one link per peer, and what is closed is over |
//! | [`suspects`] | S05: nobody is turned away for a link that is dead |
//! | [`alive`] | O18 to O20: no link is timed out on which bytes move, receivers speak, narrow ways are not filled |
//! | [`agreement`] | O2: both ends agree which link that is |
//! | [`handshakes`] | O3: up only by a handshake; strangers change nothing |
//! | [`sessions`], [`ends`], [`numbers`] | O6 to O8: each message one outcome, a true one; order |
//! | [`bounds`], [`memory`] | O9: every table within its bound, and the bytes in all streams |
//! | [`departed`] | O10: who left or was disconnected stays away |
//! | [`dials`] | O10, O11: whom a node dials, and that it floods nobody |
//! | [`runs`] | O13: incarnations and generations |
//! | [`credit`] | O14: grants |
//! | [`contract`] | O15: nothing left to poll, no deadline in the past |
//! | [`wire`] | O21: no node is blamed for a breach of the protocol |
//!
//! O16, that nothing that is sent with a secret can be read on a wire, is looked at where bytes are written: every
//! numbered message begins with a canary, which no connection of a schedule whose nodes have a secret may carry. O17,
//! that equal seeds give equal traces, is [`World::trace_hash`](crate::World::trace_hash), compared by tests. The oracle of
//! liveness is [`World::heal_and_converge`](crate::World::heal_and_converge).
//!
//! Nodes are held to their promises, puppets and strangers to none: what a node does with one of those is checked by
//! its own end alone.

mod agreement;
mod alive;
mod bounds;
mod contract;
mod credit;
mod departed;
mod dials;
mod ends;
mod events;
mod handshakes;
mod links;
mod memory;
mod numbers;
mod runs;
mod sessions;
mod suspects;
mod talk;
mod user;
mod verdict;
mod watch;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use cluster_core::{Event, Frame, Instant, LinkId, Node, NodeId, Run, Target, Timing};
use cluster_timeline::record::HostId;

use self::alive::{Alive, Wasted};
use self::credit::Credit;
use self::departed::Departed;
use self::dials::Dials;
use self::ends::Ends;
use self::events::Events;
use self::handshakes::{Handshakes, Untouched};
use self::links::Links;
use self::memory::Held;
use self::numbers::Numbers;
use self::runs::Runs;
use self::sessions::Flow;
use self::suspects::Suspects;
use self::talk::Talks;
pub(crate) use self::verdict::{Verdict, When, network};
use self::watch::Watch;
use crate::net::ConnId;

/// Every check of a world.
#[derive(Debug)]
pub(crate) struct Oracle {
    on: bool,
    /// By host, what its present run of a node has been seen to do.
    watches: Vec<Option<Box<Watch>>>,
    /// Which host a run of a node is on; `None`: several are, or something else claims to be it.
    whereabouts: BTreeMap<Run, Option<HostId>>,
    handshakes: Handshakes,
    /// By sender and receiver, both of them nodes.
    flows: BTreeMap<(Run, Run), Flow>,
    /// Connections whose ends have not been seen to agree since something changed.
    unsettled: BTreeSet<ConnId>,
    /// Flows of which the sender's user may have something to be told, since a node was last drained.
    advanced: Vec<(Run, Run)>,
    /// Numbered messages that were taken, by host, if nothing else is checked.
    counts: Vec<Numbers>,
    /// The bytes sent on connections that have ended on one side only.
    wasted: Wasted,
    broken: Option<Broken>,
}

/// What one run owes to another: outcomes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Debt {
    from: Run,
    to: Run,
    /// How many messages were accepted.
    messages: u64,
    /// How many of them were reported as not delivered or in doubt.
    lost: u64,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) host: HostId,
    pub(crate) text: String,
}

impl Default for Oracle {
    fn default() -> Oracle {
        Oracle {
            on: true,
            watches: Vec::new(),
            whereabouts: BTreeMap::new(),
            handshakes: Handshakes::default(),
            flows: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            advanced: Vec::new(),
            counts: Vec::new(),
            wasted: Wasted::default(),
            broken: None,
        }
    }
}

impl Oracle {
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Switches every check on or off; only before any node has started.
    pub(crate) fn set(&mut self, on: bool) {
        assert!(self.watches.is_empty(), "checks are switched before the first node starts");
        self.on = on;
    }

    /// The first violation, once.
    pub(crate) fn broken(&mut self) -> Option<Broken> {
        self.broken.take()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(crate) fn fail(&mut self, host: HostId, text: String) {
        self.broken.get_or_insert(Broken { host, text });
    }

    /// How many numbered messages of `from` the present run on `host` has taken.
    pub(crate) fn numbered(&self, host: HostId, from: Run) -> u64 {
        let checked = self.watch(host).map(|watch| &watch.numbers);
        checked.or_else(|| self.counts.get(host.index())).map_or(0, |numbers| numbers.from(from))
    }

    /// A node has started, listening at `listen`.
    pub(crate) fn started(&mut self, host: HostId, node: &Node, listen: Option<SocketAddr>, clock: Instant) {
        self.ended(host);
        if self.watches.len() <= host.index() {
            self.watches.resize_with(host.index() + 1, || None);
            self.counts.resize_with(host.index() + 1, Numbers::default);
        }
        self.counts[host.index()] = Numbers::default();
        if !self.on {
            return;
        }
        let run = node.run();
        let own = listen.into_iter().chain(node.addresses()).collect();
        let limits = node.limits().clone();
        let mut credit = Credit::default();
        credit.configured(&limits);
        self.watches[host.index()] = Some(Box::new(Watch {
            runs: Runs::new(run),
            events: Events::default(),
            links: Links::default(),
            untouched: Untouched::default(),
            departed: Departed::default(),
            dials: Dials::new(own, node.config().seeds()),
            suspects: Suspects::default(),
            alive: Alive::default(),
            credit,
            ends: Ends::default(),
            numbers: Numbers::default(),
            talks: Talks::default(),
            unfinished: BTreeSet::new(),
            fed: BTreeSet::new(),
            held: Held::default(),
            joined: 0,
            clock,
            listen,
            limits,
            timing: node.timing().clone(),
            acknowledge: node.acknowledge_mode(),
        }));
        self.is_at(run, host);
    }

    /// The process on a host is over.
    pub(crate) fn ended(&mut self, host: HostId) {
        let Some(watch) = self.watches.get_mut(host.index()).and_then(Option::take) else { return };
        self.counts[host.index()] = watch.numbers;
        for sock in watch.links.socks() {
            self.handshakes.gone(sock);
            self.wasted.forget(sock);
        }
        let runs = self.watches.iter().flatten().map(|watch| &watch.runs);
        let alive: BTreeSet<Run> = runs.flat_map(|runs| [runs.born(), runs.now()]).collect();
        self.flows.retain(|(from, to), _| alive.contains(from) || alive.contains(to));
    }

    pub(crate) fn resolved(&mut self, host: HostId, target: &Target, addresses: &[SocketAddr]) {
        self.check(host, |watch| {
            watch.dials.wanted.resolved(target, addresses);
            Ok(())
        });
    }

    /// The node tells its user something.
    pub(crate) fn event(&mut self, host: HostId, event: &Event, when: When) {
        let Some(own) = self.watch(host).map(|watch| watch.runs.now()) else { return };
        let mut verdict = Ok(());
        match event {
            Event::PeerUp(info) => {
                let sock = self.watch(host).and_then(|watch| watch.links.active(info.run.id));
                verdict = self.handshakes.up(info.run, sock.map(|(_, open)| open.sock));
                let joined = self.last_join(host, info.run, when);
                self.check(host, |watch| watch.departed.up(info.run, when.clock, joined));
            }
            Event::Undelivered(undelivered) => {
                self.finish_all(host);
                let peer = undelivered.peer;
                let ends = !self.watch(host).is_some_and(|watch| watch.events.is_up(peer));
                verdict = self.flow(own, peer).map_or(Ok(()), |flow| flow.undelivered(undelivered, ends));
            }
            Event::Delivered { peer, messages } => {
                self.finish_all(host);
                verdict = self.flow(own, *peer).map_or(Ok(()), |flow| flow.told_delivered(*messages));
            }
            Event::Flushed { flush, peer, undelivered } => {
                self.finish_all(host);
                verdict = self.flow(own, *peer).map_or(Ok(()), |flow| flow.flushed(*flush, *undelivered));
            }
            Event::PeerGone { peer } => verdict = self.session_over(host, *peer, when),
            _ => {}
        }
        self.judge(host, verdict, |text| text);
        self.check(host, |watch| {
            match event {
                Event::Delivered { peer, .. } => watch.held.touch(peer.id),
                _ => watch.held.touch_all(),
            }
            watch.untouched.event();
            watch.numbers.event(event);
            match event {
                Event::PeerUp(info) => watch.ends.up(info.run.id),
                Event::PeerDown { peer, reason, .. } => {
                    watch.ends.down(*peer, reason, when.clock, watch.timing.session_ttl);
                    let (timing, cap) = (&watch.timing, watch.limits.max_tombstones);
                    watch.departed.down(*peer, reason, when.clock, when.world, timing, cap);
                }
                Event::Joined { join, .. } | Event::JoinFailed { join, .. } => {
                    watch.dials.wanted.ended(*join);
                    watch.joined = when.world;
                }
                _ => {}
            }
            watch.events.event(event, when.clock, memory(&watch.timing))
        });
    }

    /// The node has nothing more to say for now.
    pub(crate) fn drained(&mut self, host: HostId, node: &mut Node, links: usize, when: When) {
        if !self.on {
            return;
        }
        self.finish_all(host);
        let verdict = contract::nothing_left(node);
        self.judge(host, verdict, |text| text);
        for (from, to) in std::mem::take(&mut self.advanced) {
            let verdict = self.flows.get(&(from, to)).map_or(Ok(()), Flow::drained);
            self.judge(host, verdict, |text| text);
        }
        let own = node.run();
        if self.watch(host).is_some_and(|watch| watch.runs.now() != own) {
            self.is_at(own, host);
        }
        self.check(host, |watch| {
            for peer in std::mem::take(&mut watch.fed) {
                watch.credit.dealt_with(peer, &watch.limits)?;
            }
            watch.clock = watch.clock.max(when.clock);
            let reborn = watch.runs.now() != own;
            if reborn {
                watch.credit.reborn();
            }
            watch.runs.is(own)?;
            let stats = node.stats();
            watch.ends.drained(node, watch.clock, stats.takeovers, reborn)?;
            watch.events.drained(node, stats.takeovers)?;
            watch.suspects.drained(when.clock, stats.own_stalls, &watch.timing)?;
            watch.alive.drained(when.clock, &stats, &watch.timing)?;
            watch.links.drained()?;
            let usage = node.usage();
            bounds::within(&usage, watch.counted(), &watch.limits)?;
            watch.held.drained(node, &watch.limits)?;
            watch.untouched.drained(&usage)?;
            if watch.events.has_left() {
                contract::nothing_after_left(node, links)?;
            }
            Ok(())
        });
    }

    /// Looks at everything about one node, whatever has changed.
    pub(crate) fn sweep(&mut self, host: HostId, node: &Node) {
        self.check(host, |watch| {
            watch.events.sweep(node)?;
            watch.held.sweep(node, &watch.limits)?;
            if node.is_consistent() { Ok(()) } else { Err("its links and peers contradict each other".to_owned()) }
        });
    }

    /// What each run of these has accepted for each other.
    pub(crate) fn accepted_between(&self, runs: &[Run]) -> Vec<Debt> {
        let pairs = runs.iter().flat_map(|&from| runs.iter().map(move |&to| (from, to)));
        let debt = |(from, to)| {
            let flow = self.flows.get(&(from, to)).filter(|_| self.are_nodes(from, to))?;
            Some(Debt { from, to, messages: flow.end(), lost: flow.lost() })
        };
        pairs.filter_map(debt).collect()
    }

    /// Whether every message of these has an outcome, which the sender knows, and whether it is that it was delivered.
    pub(crate) fn is_paid(&self, debt: &Debt) -> Option<bool> {
        let flow = self.flows.get(&(debt.from, debt.to)).filter(|_| self.are_nodes(debt.from, debt.to));
        let Some(flow) = flow else { return Some(true) };
        let paid = flow.is_done(debt.messages) && flow.is_settled(debt.messages);
        paid.then(|| flow.lost() == debt.lost)
    }

    /// Whether a node may stay away from this peer until a user joins.
    pub(crate) fn is_apart(&self, host: HostId, peer: NodeId) -> bool {
        self.watch(host).is_some_and(|watch| watch.departed.is_apart(peer))
    }

    /// Where the seeds of a node are, as far as it knows.
    pub(crate) fn seeds(&self, host: HostId) -> Vec<SocketAddr> {
        self.watch(host).map(|watch| watch.dials.wanted.seeds().collect()).unwrap_or_default()
    }

    fn watch(&self, host: HostId) -> Option<&Watch> {
        self.watches.get(host.index())?.as_deref()
    }

    /// Has one check of a host's node say whether all is well.
    fn check(&mut self, host: HostId, check: impl FnOnce(&mut Watch) -> Verdict) {
        let Some(Some(watch)) = self.watches.get_mut(host.index()) else { return };
        let verdict = check(watch);
        self.judge(host, verdict, |text| text);
    }

    fn judge(&mut self, host: HostId, verdict: Verdict, words: impl FnOnce(String) -> String) {
        if let Err(text) = verdict {
            self.fail(host, words(text));
        }
    }

    /// A node on this host is this run from now on.
    fn is_at(&mut self, run: Run, host: HostId) {
        if self.whereabouts.insert(run, Some(host)).is_some() {
            self.whereabouts.insert(run, None);
        }
    }

    /// What a run has accepted for another, if both are nodes, and nobody else claims to be either.
    fn flow(&mut self, from: Run, to: Run) -> Option<&mut Flow> {
        self.are_nodes(from, to).then(|| self.flows.entry((from, to)).or_default())
    }

    fn are_nodes(&self, from: Run, to: Run) -> bool {
        self.is_node(from) && self.is_node(to)
    }

    /// Whether this run is one node, and nobody else claims to be it.
    fn is_node(&self, run: Run) -> bool {
        self.whereabouts.get(&run).copied().flatten().is_some()
    }

    fn own_if_active(&self, host: HostId, link: LinkId, peer: Run) -> Option<Run> {
        let watch = self.watch(host)?;
        let (active, _) = watch.links.active(peer.id)?;
        (active == link).then(|| watch.runs.now())
    }

    /// Carries out what the handshake of a link means for the streams, if the node has kept the link.
    fn finish(&mut self, host: HostId, link: LinkId) {
        let Some(Some(watch)) = self.watches.get_mut(host.index()) else { return };
        if !watch.unfinished.remove(&link) {
            return;
        }
        let Some(open) = watch.links.find(link).filter(|open| open.granted && !open.closing) else { return };
        let (Some(peer), own) = (open.peer, watch.runs.now()) else { return };
        let (sending, receiving) = (watch.talks.sending(link), watch.talks.receiving(link));
        if let Some(receiving) = receiving {
            let verdict = watch.credit.resumes(peer, &receiving.said, receiving.offered, receiving.window);
            self.judge(host, verdict, |text| format!("from {peer:?}: {text}"));
        }
        if let Some(sending) = sending {
            let verdict = self.flow(own, peer).map_or(Ok(()), |flow| flow.resumes(&sending));
            self.judge(host, verdict, |text| format!("towards {peer:?}: {text}"));
            self.advanced.push((own, peer));
        }
    }

    fn finish_all(&mut self, host: HostId) {
        let unfinished = self.watch(host).map(|watch| watch.unfinished.clone()).unwrap_or_default();
        for link in unfinished {
            self.finish(host, link);
        }
    }

    /// The session with a peer is over. If the two are linked at this very moment the next one has begun with that link.
    fn session_over(&mut self, host: HostId, peer: Run, when: When) -> Verdict {
        self.finish_all(host);
        let Some(Some(watch)) = self.watches.get_mut(host.index()) else { return Ok(()) };
        let own = watch.runs.now();
        let linked = watch.links.active(peer.id).is_some_and(|(_, open)| open.peer == Some(peer) && !open.closing);
        if linked {
            return self.flow(own, peer).map_or(Ok(()), Flow::begins_anew);
        }
        watch.credit.over(peer);
        let is_node = self.is_node(peer);
        if let Some(Some(watch)) = self.watches.get_mut(host.index()) {
            // Whoever is no node may have any reason.
            if is_node {
                watch.ends.gone(peer, when.clock, watch.timing.session_ttl);
            } else {
                watch.ends.parted(peer.id);
            }
        }
        self.flow(own, peer).map_or(Ok(()), Flow::over)
    }

    fn unsettle(&mut self, host: HostId, link: LinkId) {
        if let Some(conn) = self.watch(host).and_then(|watch| watch.links.find(link)).map(|open| open.sock.conn) {
            self.unsettled.insert(conn);
        }
    }

    /// When the user of either side last had a join under way; `None` if nobody can know.
    fn last_join(&self, host: HostId, peer: Run, when: When) -> Option<u64> {
        let other = self.whereabouts.get(&peer).copied().flatten()?;
        Some(self.watch(host)?.last_join(when).max(self.watch(other)?.last_join(when)))
    }
}

/// Whether a frame can change what a node keeps in its streams.
fn concerns_streams(frame: &Frame) -> bool {
    use Frame::{Announce, Digest, List, Ping, Pong, Update};
    !matches!(frame, Ping { .. } | Pong { .. } | Digest(_) | List(_) | Announce(_) | Update(_))
}

/// How long a node remembers whom it has lost.
fn memory(timing: &Timing) -> Duration {
    timing.forget_after.unwrap_or(Duration::MAX).min(timing.tombstone_ttl)
}

#[cfg(test)]
mod tests {
    //! Values that the tests of the checks share.

    use bytes::Bytes;
    use cluster_core::wire::{Accept, Offer, PeerStream, Profile, StreamId};
    use cluster_core::{Config, FlushId, Incarnation, JoinId, Limits, Start};

    use super::*;
    use crate::net::{Side, Sock};

    pub(super) fn run(id: u8, incarnation: u64) -> Run {
        Run { id: NodeId::from_bytes([id; 16]), incarnation: Incarnation(incarnation) }
    }

    pub(super) fn node() -> Node {
        let start = Start { seed: [7; 32], incarnation: Incarnation(1), listen: None };
        Node::new(Config::insecure_plaintext(), start, Instant::ZERO).unwrap()
    }

    /// The name that a node gives to its link after `before` others.
    pub(super) fn link(before: u64) -> LinkId {
        let mut limits = Limits::default();
        (limits.max_pending, limits.max_pending_per_ip, limits.accept_burst_per_ip) = (1_000, 1_000, 1_000);
        let start = Start { seed: [7; 32], incarnation: Incarnation(1), listen: None };
        let mut node = Node::new(Config::insecure_plaintext().limits(limits), start, Instant::ZERO).unwrap();
        let from = "10.9.9.9:1".parse().unwrap();
        let links = (0..=before).map(|_| node.accept(Instant::ZERO, from).unwrap());
        links.last().unwrap()
    }

    /// The name that a node gives to its join after `before` others.
    pub(super) fn join(before: u64) -> JoinId {
        let mut node = node();
        let joins = (0..=before).map(|_| node.join(Instant::ZERO, "10.9.9.9:1".parse().unwrap()).unwrap());
        joins.last().unwrap()
    }

    /// The names of two flushes.
    pub(super) fn flushes() -> (FlushId, FlushId) {
        let mut world = crate::World::new(1);
        let hosts = world.add_many(2, &Config::insecure_plaintext());
        world.node(hosts[0]).join(hosts[1]).unwrap();
        world.run_for(Duration::from_secs(1));
        let peer = world.host(hosts[1]).id();
        (world.node(hosts[0]).flush(peer).unwrap(), world.node(hosts[0]).flush(peer).unwrap())
    }

    pub(super) fn sock(conn: u32) -> Sock {
        Sock { conn: ConnId::nth(conn), side: Side::Dialer }
    }

    pub(super) fn accept() -> Frame {
        let profile =
            Profile { name: None, metadata: Bytes::new(), addresses: Vec::new(), max_message: 1, window: 1_024 };
        let offer = Offer { stream: StreamId(1), next: 0, peer: PeerStream::None };
        Frame::Accept(Accept { profile, offer })
    }

    #[test]
    fn sources_are_addresses_or_networks() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
