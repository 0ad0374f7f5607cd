//! The oracle of liveness: when some nodes are healed, and everything else stays as bad as it is for ever, those nodes
//! must find each other within a stated time, and then be quiet.
//!
//! | demand | of whom | checked by |
//! |---|---|---|
//! | L1: one link each two agree about, within [`World::bound`] | every pair of the core | [`World::converge`] |
//! | L6: the same, and L3, within three times as long | if there are hosts that mean harm | the same |
//! | L2: each knows all the others | the core | the same: a link that both have up is knowledge |
//! | L3, L7: what was accepted has an outcome, whoever else has stopped taking messages | every pair of the core | [`World::recover`] |
//! | L3: a session ends when its time is over | of anybody with a peer that stays lost | after every step |
//! | L4: down everywhere within three `peer_timeout`s of the healing | nodes that are dead | the same |
//! | L4: not dialled any more, once they are forgotten | nodes that are dead | tests only, see below |
//! | L5: no dial, no link that comes or goes, nothing on the wire but heartbeats and anti-entropy | the core | [`World::stay_quiet`] |
//!
//! That nobody dials who was forgotten is no demand on random schedules: others may still name it, and who is broken does
//! so for ever. The scenarios of S26, and a test of what users have forgotten, see to it in meshes where nobody does.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_core::{Event, Instant, PeerInfo, PeerState, Reason, Run};
use cluster_timeline::record::{FrameKind, HostId};

use crate::log::Logged;
use crate::machine::{Bind, Machine, Process};
use crate::restart::{Crash, Restart};
use crate::world::World;

/// What was said before everything healed has arrived by then: who is disconnected knows of it, for instance.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// How long a node that is leaving is waited for.
const LEAVING: Duration = Duration::from_secs(60);

/// How long the word that a user has disconnected a pair may take.
const GOODBYE: Duration = Duration::from_secs(10);

/// How often a user joins before giving up.
const JOINS: usize = 5;

/// How long hearsay may make the views of two nodes differ.
const HEARSAY: Duration = Duration::from_secs(60);

/// How long a healed mesh is watched.
const QUIET: Duration = Duration::from_secs(600);

impl World {
    /// Heals everything among the hosts of `core`, and nothing else: whatever is wrong with others, or between them and
    /// the core, stays so. Then demands that the core [recovers](World::recover), and that it is quiet for ten minutes,
    /// see [`stay_quiet`](World::stay_quiet). Returns how long it took until every two of them were linked.
    ///
    /// # Panics
    ///
    /// If the core does not recover, or is not quiet; or as [`heal_core`](World::heal_core).
    #[track_caller]
    pub fn heal_and_converge(&mut self, core: &[HostId]) -> Duration {
        let took = self.recover(core);
        self.stay_quiet(core, QUIET);
        took
    }

    /// Heals the hosts of `core`, see [`heal_core`](World::heal_core), and demands that they [converge](World::converge),
    /// that what they have accepted for each other has an outcome, and that whoever is dead is down. Returns how long
    /// it took until every two of them were linked.
    ///
    /// A node that says that a later run of its id was seen cannot help itself: its user starts it again.
    ///
    /// # Panics
    ///
    /// If the core does not recover; or as [`heal_core`](World::heal_core).
    #[track_caller]
    pub fn recover(&mut self, core: &[HostId]) -> Duration {
        let healed = self.now();
        self.heal_core(core);
        let begin = self.now();
        self.expect_dead_to_be_down(core, healed);
        let begin = self.restart_contested(core).unwrap_or(begin);
        self.converge_since(core, begin);
        let took = self.now() - healed;
        self.expect_outcomes(core);
        took
    }

    /// Heals everything among the hosts of `core`: cuts, blocked dials, pauses, users that take no messages, and the
    /// like. Nodes that crashed or left start again. Pairs that a user disconnected are joined again, and so are nodes
    /// that know nobody through whom they could find the others. A node that has the id of another that runs starts again
    /// with one of its own; one that has told that its id is in use starts again, and so does one that was to listen at an
    /// address that its host has no more. No other node is told anything.
    ///
    /// # Panics
    ///
    /// If the core has fewer than two hosts, one of them twice, or one of another world.
    pub fn heal_core(&mut self, core: &[HostId]) {
        self.assert_core(core);
        for &host in core {
            self.heal_host(host);
            for &other in core.iter().filter(|&&other| other != host) {
                self.net_mut().heal_one_way(host, other);
                self.net_mut().allow_dials(host, other);
                self.net_mut().clear_way(host, other);
            }
        }
        let leaving = |world: &World| {
            core.iter().any(|&host| world.host(host).is_running() && world.host(host).core().is_leaving())
        };
        if !self.run_until(LEAVING, |world| !leaving(world)) {
            self.fail(&format!("a node that leaves has not left within {LEAVING:?}"));
        }
        for &host in core {
            if self.is_contested(host) || self.is_deaf(host) {
                self.host_mut(host).crash(Crash::Kill);
            }
            if !self.host(host).is_running() {
                self.host_mut(host).restart(Restart::default());
            }
        }
        for host in self.twins(core) {
            self.host_mut(host).crash(Crash::Kill);
            self.host_mut(host).restart(Restart::default().new_id());
        }
        self.run_for(UNDER_WAY);
        self.introduce(core);
    }

    /// How long the nodes of `core` may take to link every two of them, once nothing is wrong among them any more: twice
    /// the sum of
    ///
    /// * `peer_timeout`, until a dead link is noticed;
    /// * the longest wait until a node that is known is dialled: `reconnect_max`, or `seed_interval` if that is longer;
    /// * twice `handshake_timeout`: a dial that hangs, and one that succeeds;
    /// * `dial_interval` for each node, for the budget of dials on hearsay;
    ///
    /// and each of them the longest of any node. With the default config, 90 s and 0.2 s per node.
    ///
    /// # Panics
    ///
    /// If no node runs on one of the hosts.
    #[must_use]
    pub fn bound(&self, core: &[HostId]) -> Duration {
        let longest = |of: &dyn Fn(&cluster_core::Timing) -> Duration| {
            core.iter().map(|&host| of(self.host(host).core().timing())).max().unwrap_or_default()
        };
        let interval = core.iter().map(|&host| self.host(host).core().limits().dial_interval).max().unwrap_or_default();
        let detect = longest(&|timing| timing.peer_timeout);
        let wait = longest(&|timing| timing.reconnect_max.max(timing.seed_interval));
        let handshakes = longest(&|timing| timing.handshake_timeout) * 2;
        (detect + wait + handshakes + interval * core.len() as u32) * 2
    }

    /// Demands that every two nodes of `core` are [linked](World::linked) within [`bound`](World::bound), or three times
    /// as long while there are hosts that mean harm, and returns how long it took. Heals nothing.
    ///
    /// # Panics
    ///
    /// If they are not.
    #[track_caller]
    pub fn converge(&mut self, core: &[HostId]) -> Duration {
        let begin = self.now();
        self.converge_since(core, begin);
        self.now() - begin
    }

    /// How long a core may really take: L6, three times as long while somebody means harm, and keeps it busy.
    fn allowed(&self, core: &[HostId]) -> Duration {
        self.bound(core) * if self.actors.is_empty() { 1 } else { 3 }
    }

    #[track_caller]
    fn converge_since(&mut self, core: &[HostId], begin: Instant) {
        let bound = self.allowed(core);
        let mut apart = None;
        let linked = self.run_until(begin + bound - self.now(), |world| {
            // The pair that was apart a step ago most likely still is.
            apart = apart.filter(|&(a, b)| !world.linked(a, b)).or_else(|| world.apart(core));
            apart.is_none()
        });
        if let (false, Some((a, b))) = (linked, apart) {
            self.fail(&format!("L1: {a} and {b} are not linked {bound:?} after nothing was wrong any more"));
        }
        self.sweep();
    }

    /// Whether every two of these nodes are [linked](World::linked), whoever else they are connected to.
    #[must_use]
    pub fn are_linked(&self, hosts: &[HostId]) -> bool {
        self.apart(hosts).is_none()
    }

    /// Waits until what may still follow from the recovery of `core` is over, and then demands that for `span` no link
    /// among them comes or goes, and, if no other node runs and nobody misbehaves, that none of them dials another and
    /// nothing is on the wire but heartbeats, anti-entropy, and what applications say.
    ///
    /// # Panics
    ///
    /// If that is not so.
    #[track_caller]
    pub fn stay_quiet(&mut self, core: &[HostId], span: Duration) {
        let gossip = core.iter().map(|&host| self.host(host).core().timing().gossip_interval).max().unwrap_or_default();
        self.run_for(HEARSAY + gossip);
        let begin = self.now();
        let before = core.iter().map(|&host| self.host(host).wire().clone()).collect::<Vec<_>>();
        let links = self.connections(core);
        self.run_for(span);
        let undisturbed = self.is_undisturbed(core);
        // Who is broken may tell stories of nodes that are gone, and others look for them where they were.
        if let Some(dial) = self.dials_among(core, begin).filter(|_| undisturbed) {
            self.fail(&format!("L5: {dial}"));
        }
        if let Some(change) = self.changes_among(core, begin) {
            self.fail(&format!("L5: {change}"));
        }
        if self.connections(core) != links {
            self.fail("L5: a link was replaced in a mesh that was quiet");
        }
        if undisturbed {
            for (&host, before) in core.iter().zip(&before) {
                self.expect_only_heartbeats(host, before, span);
            }
            self.expect_answers_only(core, &before);
        }
        self.sweep();
    }

    fn assert_core(&self, core: &[HostId]) {
        assert!(core.len() >= 2, "a core has at least two hosts");
        let hosts: BTreeSet<HostId> = core.iter().copied().collect();
        assert_eq!(hosts.len(), core.len(), "a host is in the core twice");
        for host in core {
            assert!(host.index() < self.machines.len(), "{host} is no host of this world");
            let puppet = matches!(self.machines[host.index()].process, Process::Puppet(_));
            assert!(!puppet, "{host} is a puppet, which promises nothing");
        }
    }

    fn heal_host(&mut self, host: HostId) {
        self.host_mut(host).power_on();
        self.host_mut(host).clock_stop(false);
        self.host_mut(host).set_drift(0);
        self.host_mut(host).set_late(Duration::ZERO);
        let behind = self.machines[host.index()].clock.behind();
        self.host_mut(host).clock_forward(behind);
        self.host_mut(host).resume();
        self.host_mut(host).exhaust(false);
        self.host_mut(host).set_reading(true);
        self.host_mut(host).set_consuming(true);
        if self.machines[host.index()].acknowledging > 0 {
            self.host_mut(host).set_acknowledging(1);
        }
        self.net.forget_fates(host);
    }

    /// The hosts of the core whose nodes have an id that others have as well.
    fn twins(&self, core: &[HostId]) -> Vec<HostId> {
        let is_twin = |host: HostId| {
            self.others(host)
                .into_iter()
                .any(|other| self.host(other).is_running() && self.host(other).id() == self.host(host).id())
        };
        core.iter().copied().filter(|&host| is_twin(host)).collect()
    }

    /// The users of nodes that are kept out for the clock of an earlier run start them again. Returns when the
    /// last of them did, if any.
    fn restart_contested(&mut self, core: &[HostId]) -> Option<Instant> {
        let mut last = None;
        for _ in core {
            let contested = |world: &World| core.iter().copied().find(|&host| world.is_contested(host));
            let bound = self.allowed(core);
            let over = self.run_until(bound, |world| world.are_linked(core) || contested(world).is_some());
            let Some(host) = contested(self).filter(|_| over) else { return last };
            self.host_mut(host).crash(Crash::Kill);
            self.host_mut(host).restart(Restart::default());
            self.introduce(core);
            last = Some(self.now());
        }
        last
    }

    /// Whether the node on `host` is to listen at an address that its host has no more.
    fn is_deaf(&self, host: HostId) -> bool {
        let machine = &self.machines[host.index()];
        self.host(host).is_running() && machine.spec.bind == Bind::Address && machine.listen.is_none()
    }

    /// Whether the node on `host` has told that its id is in use, or was by a later run.
    fn is_contested(&self, host: HostId) -> bool {
        let run = self.host(host).run();
        let told = |logged: &Logged| {
            logged.run == run && matches!(logged.event, Event::DuplicateIdentity { newcomer } if newcomer == run)
        };
        self.host(host).is_running() && self.host(host).events().iter().rev().any(told)
    }

    /// Has users join where nodes cannot find each other by themselves.
    fn introduce(&mut self, core: &[HostId]) {
        let is_apart = |world: &World, &(a, b): &(HostId, HostId)| {
            world.oracle.is_apart(a, world.host(b).id()) || world.oracle.is_apart(b, world.host(a).id())
        };
        let apart: Vec<_> = pairs(core).filter(|pair| is_apart(self, pair)).collect();
        // Whoever joins before the goodbye has come has joined a peer that is up.
        let told = |world: &World| !apart.iter().any(|&(a, b)| world.host(a).sees(b) || world.host(b).sees(a));
        let _ = self.run_until(GOODBYE, told);
        for (a, b) in apart {
            self.introduce_pair(a, b);
        }
        // Of each part of the core whose nodes know ways to each other, one joins the first part.
        let mut found: BTreeSet<HostId> = BTreeSet::new();
        for &host in core {
            if found.contains(&host) {
                continue;
            }
            if let Some(&first) = core.first().filter(|&&first| first != host) {
                self.introduce_pair(host, first);
            }
            let mut next = vec![host];
            while let Some(host) = next.pop() {
                if found.insert(host) {
                    next.extend(core.iter().copied().filter(|&b| self.knows(host, b) || self.knows(b, host)));
                }
            }
        }
    }

    /// Has the user of one join the other, as often as any user would.
    fn introduce_pair(&mut self, a: HostId, b: HostId) {
        let (from, to) = if self.machines[b.index()].listen.is_some() { (a, b) } else { (b, a) };
        for _ in 0..JOINS {
            let before = self.host(from).events().len();
            // If very many joins are under way, one of them is as good.
            let Ok(join) = self.node(from).join(to) else { return };
            let outcome = |world: &World| {
                let later = world.host(from).events().get(before..).unwrap_or_default();
                later.iter().find_map(|logged| match logged.event {
                    Event::Joined { join: of, .. } if of == join => Some(true),
                    Event::JoinFailed { join: of, .. } if of == join => Some(false),
                    _ => None,
                })
            };
            let timeout = self.host(from).core().timing().join_timeout;
            if self.run_until(timeout, |world| outcome(world).is_some()) && outcome(self) == Some(true) {
                return;
            }
        }
    }

    /// Whether the node on `host` will dial, by itself, an address that leads to `peer`.
    fn knows(&self, host: HostId, peer: HostId) -> bool {
        let node = self.host(host).core();
        let configured = node.config().seeds().iter().filter_map(|seed| self.look_up(seed).ok()).flatten();
        let seeds = configured.chain(self.oracle.seeds(host));
        // Who is at the address of another is found only as long as that one is looked for.
        let kept = node.timing().forget_after.is_none_or(|span| span > self.allowed(&[host, peer]));
        let sought = |info: &PeerInfo| {
            info.run.id == self.host(peer).id() && (info.state == PeerState::Up || kept && !self.shuns(host, peer))
        };
        let peers = node.peers().filter(sought).filter_map(|info| info.address);
        seeds.chain(peers).any(|address| self.net.leads_to(address) == Some(peer))
    }

    /// Whether the node on `host` leaves `peer` alone for a while, because a rule was broken: a node whose clock stood still
    /// thinks so of everybody who talks to it.
    fn shuns(&self, host: HostId, peer: HostId) -> bool {
        let span = self.host(host).core().timing().violation_backoff * 5 / 4;
        let of = |event: &Event| matches!(event, Event::PeerDown { peer: run, .. } if run.id == self.host(peer).id());
        let last = self
            .host(host)
            .events()
            .iter()
            .rev()
            .find(|logged| logged.run == self.host(host).run() && of(&logged.event));
        last.is_some_and(|logged| {
            let broke = matches!(logged.event, Event::PeerDown { reason: Reason::Protocol(_), .. });
            broke && self.now() - logged.at < span
        })
    }

    /// Two of these nodes that are not linked.
    fn apart(&self, hosts: &[HostId]) -> Option<(HostId, HostId)> {
        pairs(hosts).find(|&(a, b)| !self.linked(a, b))
    }

    /// What the core has accepted for itself is delivered, if a little later: nothing is wrong any more.
    #[track_caller]
    fn expect_outcomes(&mut self, core: &[HostId]) {
        let runs: Vec<Run> = core.iter().map(|&host| self.host(host).run()).collect();
        let debts = self.oracle.accepted_between(&runs);
        let (bound, begin) = (self.allowed(core), self.now());
        if !self.run_until(bound, |world| debts.iter().all(|debt| world.oracle.is_paid(debt).is_some())) {
            let late = debts.iter().find(|debt| self.oracle.is_paid(debt).is_none());
            self.fail(&format!("L3: {late:?} has messages without an outcome {bound:?} after all are linked"));
        }
        // A link that was dead before anything healed may be noticed only now, and if that takes long its session may be
        // over by then, by clocks that may go faster.
        let most = bound.min((self.now() - begin) * 2);
        let kept = core.iter().all(|&host| self.host(host).core().timing().session_ttl >= most);
        if let Some(lost) = debts.iter().find(|debt| kept && self.oracle.is_paid(debt) != Some(true)) {
            self.fail(&format!("L3: of {lost:?} some were not delivered, although all are linked"));
        }
    }

    #[track_caller]
    fn expect_dead_to_be_down(&mut self, core: &[HostId], healed: Instant) {
        let timeout = core.iter().map(|&host| self.host(host).core().timing().peer_timeout).max().unwrap_or_default();
        let deadline = healed + timeout * 3;
        self.run_for(deadline - self.now());
        let running: BTreeSet<Run> = self.running().into_iter().map(|host| self.host(host).run()).collect();
        // The kernel of a process that was killed still sends what it had taken, over minutes on a slow way, and each byte is
        // a sign of life.
        let is_over =
            |machine: &&Machine| matches!(machine.process, Process::Absent) && !self.net.is_draining(machine.id);
        let ended = self.machines.iter().filter(is_over);
        let dead: Vec<Run> = ended.filter_map(|machine| machine.run).filter(|run| !running.contains(run)).collect();
        for &host in core {
            let up = |run: &&Run| {
                let info = self.host(host).core().peer(run.id);
                info.is_some_and(|info| info.run == **run && info.state == PeerState::Up)
            };
            if let Some(run) = dead.iter().find(up).copied() {
                self.fail(&format!("L4: {host} has {run:?} up, which is dead"));
            }
        }
    }

    fn connections(&self, core: &[HostId]) -> BTreeSet<usize> {
        let runs: BTreeSet<Run> = core.iter().map(|&host| self.host(host).run()).collect();
        let among = |link: &crate::log::LinkView| link.peer.is_some_and(|peer| runs.contains(&peer));
        core.iter().flat_map(|&host| self.host(host).links()).filter(among).map(|link| link.connection).collect()
    }

    fn dials_among(&self, core: &[HostId], since: Instant) -> Option<String> {
        let recent = self.dials.iter().rev().take_while(|dial| dial.at >= since);
        let mut among = recent.filter(|dial| {
            let to = self.net.leads_to(dial.to);
            core.contains(&dial.from) && to.is_some_and(|to| core.contains(&to))
        });
        among.next().map(|dial| format!("{} dials {} at {:?}", dial.from, dial.to, dial.at))
    }

    fn changes_among(&self, core: &[HostId], since: Instant) -> Option<String> {
        let runs: BTreeSet<Run> = core.iter().map(|&host| self.host(host).run()).collect();
        core.iter().find_map(|&host| {
            let recent = self.host(host).events().iter().rev().take_while(|logged| logged.at >= since);
            let mut changes = recent.filter(|logged| match &logged.event {
                Event::PeerUp(info) => runs.contains(&info.run),
                Event::PeerDown { peer, .. } | Event::SessionReset { peer } => runs.contains(peer),
                _ => false,
            });
            changes.next().map(|logged| format!("{host} says at {:?} {:?}", logged.at, logged.event))
        })
    }

    /// Whether the core is alone with itself.
    fn is_undisturbed(&self, core: &[HostId]) -> bool {
        self.running().iter().all(|host| core.contains(host))
            && !self.machines.iter().any(|machine| matches!(machine.process, Process::Puppet(_)))
    }

    #[track_caller]
    fn expect_only_heartbeats(&mut self, host: HostId, before: &crate::log::Wire, span: Duration) {
        let timing = self.host(host).core().timing();
        let peers = self.host(host).core().peers().count() as u64;
        let times = |interval: Duration| 2 + (span.as_nanos() / interval.as_nanos().max(1)) as u64;
        let most = |kind: FrameKind| match kind {
            // What applications say to each other, and what follows from it.
            FrameKind::Data | FrameKind::Ack if self.has_apps() => u64::MAX,
            // What was taken last may be acknowledged only now.
            FrameKind::Ack => peers,
            FrameKind::Ping => peers * times(timing.heartbeat * 3 / 4),
            // As often as others ask, which have intervals of their own.
            FrameKind::Pong => u64::MAX,
            FrameKind::Digest => times(timing.gossip_interval / 2),
            _ => 0,
        };
        let wire = self.host(host).wire();
        let counts = FrameKind::ALL.map(|kind| (kind, wire.frames(kind) - before.frames(kind), most(kind)));
        if let Some((kind, count, most)) = counts.into_iter().find(|&(_, count, most)| count > most) {
            self.fail(&format!(
                "L5: {host} sends {count} {kind:?} in {span:?} of quiet, and {most} are to be expected"
            ));
        }
    }

    /// Nobody answers more than was asked: no answer leads to another.
    #[track_caller]
    fn expect_answers_only(&mut self, core: &[HostId], before: &[crate::log::Wire]) {
        let count = |kind: FrameKind| -> u64 {
            core.iter()
                .zip(before)
                .map(|(&host, before)| self.host(host).wire().frames(kind) - before.frames(kind))
                .sum()
        };
        let (pings, pongs) = (count(FrameKind::Ping), count(FrameKind::Pong));
        // One of each link may have been asked for before.
        let most = pings + (core.len() * core.len()) as u64;
        if pongs > most {
            self.fail(&format!("L5: {pings} pings are answered by {pongs} pongs"));
        }
    }
}

fn pairs(hosts: &[HostId]) -> impl Iterator<Item = (HostId, HostId)> {
    hosts.iter().enumerate().flat_map(|(index, &a)| hosts[index + 1..].iter().map(move |&b| (a, b)))
}
