//! The promises of the core, checked after every step: the seed of the full oracle.
//!
//! Each node run has one [`Check`]. It sees what the driver sees and the ground truth of the simulator, and keeps the
//! first violation; the world then stops with the seed, the time and the last lines of the trace.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{Event, JoinId, LinkId, Message, Node, NodeId, PeerState, Run};

use crate::host::Link;
use crate::numbered::Numbered;

/// `peers()` is looked at this often even if no event gave reason to.
const SWEEP: u64 = 256;

/// What one run of a node has been seen to do.
#[derive(Debug, Default)]
pub(crate) struct Check {
    peers: BTreeMap<NodeId, Word>,
    /// Runs that a handshake was completed with.
    proven: BTreeSet<Run>,
    /// Runs that were up at one time.
    known: BTreeSet<Run>,
    joins: BTreeSet<JoinId>,
    joins_ended: BTreeSet<JoinId>,
    numbered: BTreeMap<Run, Received>,
    /// By node, the latest run that a message was taken of.
    messages: BTreeMap<NodeId, Run>,
    left: bool,
    drains: u64,
    peers_changed: bool,
    links_changed: bool,
    broken: Option<String>,
}

/// Where the events of a peer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    run: Run,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up,
    Down,
    Undelivered,
    Gone,
}

/// Numbered messages of one sender run.
#[derive(Clone, Copy, Debug, Default)]
struct Received {
    count: u64,
    last: u64,
    gaps: u64,
    /// Times the session may have ended, and messages may have been lost.
    breaks: u64,
}

impl Check {
    /// The first violation.
    pub(crate) fn broken(&mut self) -> Option<String> {
        self.broken.take()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(crate) fn fail(&mut self, text: String) {
        self.broken.get_or_insert(text);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left
    }

    /// How many numbered messages of `from` were taken.
    pub(crate) fn numbered_from(&self, from: Run) -> u64 {
        self.numbered.get(&from).map_or(0, |received| received.count)
    }

    /// An `Accept` went over a link, which now connects the two.
    pub(crate) fn granted(&mut self) {
        self.links_changed = true;
    }

    pub(crate) fn connected(&mut self, run: Run) {
        self.proven.insert(run);
    }

    pub(crate) fn join_called(&mut self, join: JoinId) {
        if !self.joins.insert(join) {
            self.fail(format!("{join:?} was given twice"));
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        if self.left {
            self.fail(format!("an event after Left: {event:?}"));
        }
        match event {
            Event::PeerUp(info) => self.up(info.run),
            Event::PeerUpdated(info) => self.step(info.run, &[Phase::Up], Phase::Up, event),
            Event::PeerDown { peer, .. } => {
                self.step(*peer, &[Phase::Up], Phase::Down, event);
                self.session_break(*peer);
            }
            // A session that began anew while its link was replaced also reports, with the peer up.
            Event::Undelivered(undelivered) if self.phase(undelivered.peer) != Some(Phase::Up) => {
                self.step(undelivered.peer, &[Phase::Down], Phase::Undelivered, event);
            }
            Event::PeerGone { peer } => self.step(*peer, &[Phase::Down, Phase::Undelivered], Phase::Gone, event),
            Event::SessionReset { peer } => self.session_break(*peer),
            Event::Joined { join, .. } | Event::JoinFailed { join, .. } => self.join_ended(*join),
            Event::Left { .. } => self.left = true,
            _ => {}
        }
    }

    pub(crate) fn message(&mut self, own: Run, message: &Message) {
        let from = message.from;
        if !self.known.contains(&from) {
            self.fail(format!("a message of {from:?}, which was never up"));
        }
        let latest = self.messages.entry(from.id).or_insert(from);
        if from.incarnation < latest.incarnation {
            let text = format!("a message of {from:?} after one of {latest:?}");
            return self.fail(text);
        }
        *latest = from;
        let Some(numbered) = Numbered::parse(&message.payload) else { return };
        if numbered.from != from || numbered.to != own {
            return self
                .fail(format!("{own:?} got from {from:?} a message of {:?} for {:?}", numbered.from, numbered.to));
        }
        let received = self.numbered.entry(from).or_default();
        received.count += 1;
        if numbered.number <= received.last {
            let text = format!("number {} of {from:?} after number {}", numbered.number, received.last);
            return self.fail(text);
        }
        received.gaps += u64::from(numbered.number != received.last + 1);
        if received.gaps > received.breaks {
            let text = format!(
                "number {} of {from:?} after number {}, and no session ended in between",
                numbered.number, received.last
            );
            return self.fail(text);
        }
        received.last = numbered.number;
    }

    /// The node has nothing more to say for now.
    pub(crate) fn drained(&mut self, node: &mut Node, links: &BTreeMap<LinkId, Link>) {
        if let Some(action) = node.poll_action() {
            self.fail(format!("poll_action returned None, and then {action:?}"));
        }
        self.drains += 1;
        if std::mem::take(&mut self.peers_changed) || self.drains.is_multiple_of(SWEEP) {
            self.compare(node);
        }
        if std::mem::take(&mut self.links_changed) {
            self.one_link_each(links);
        }
        if self.left && (node.next_tick().is_some() || !links.is_empty()) {
            let at = node.next_tick();
            self.fail(format!("after Left there are {} links, and the next tick is {at:?}", links.len()));
        }
    }

    /// Whether `peers()` says what the events said.
    fn compare(&mut self, node: &Node) {
        let told = self.peers.values().filter(|word| word.phase == Phase::Up).map(|word| word.run);
        let seen = node.peers().filter(|info| info.state == PeerState::Up).map(|info| info.run);
        if !told.clone().eq(seen) {
            let seen: Vec<Run> = node.peers().filter(|info| info.state == PeerState::Up).map(|info| info.run).collect();
            let told: Vec<Run> = told.collect();
            self.fail(format!("by its events the peers that are up are {told:?}, by peers() they are {seen:?}"));
        }
    }

    fn one_link_each(&mut self, links: &BTreeMap<LinkId, Link>) {
        let mut seen = BTreeMap::new();
        for (&id, link) in links {
            let Some(peer) = link.peer.filter(|_| link.granted && !link.closing) else { continue };
            if let Some(other) = seen.insert(peer.id, id) {
                self.fail(format!("both {other} and {id} connect {peer:?}"));
            }
        }
    }

    fn up(&mut self, run: Run) {
        if !self.proven.contains(&run) {
            self.fail(format!("PeerUp of {run:?} without a handshake"));
        }
        match self.peers.get(&run.id) {
            None => {}
            Some(word) if word.run == run && matches!(word.phase, Phase::Down | Phase::Gone) => {}
            Some(word) if word.phase == Phase::Gone && word.run.incarnation < run.incarnation => {}
            Some(word) => {
                let text = format!("PeerUp of {run:?} when the events of that id stand at {word:?}");
                self.fail(text);
            }
        }
        self.peers.insert(run.id, Word { run, phase: Phase::Up });
        self.known.insert(run);
        self.peers_changed = true;
    }

    fn step(&mut self, run: Run, from: &[Phase], to: Phase, event: &Event) {
        let before = self.phase(run);
        if !before.is_some_and(|phase| from.contains(&phase)) {
            self.fail(format!("{event:?} when the events of that run stand at {before:?}"));
        }
        self.peers.insert(run.id, Word { run, phase: to });
        self.peers_changed = true;
    }

    fn phase(&self, run: Run) -> Option<Phase> {
        self.peers.get(&run.id).filter(|word| word.run == run).map(|word| word.phase)
    }

    fn session_break(&mut self, run: Run) {
        self.numbered.entry(run).or_default().breaks += 1;
    }

    fn join_ended(&mut self, join: JoinId) {
        if !self.joins.contains(&join) {
            self.fail(format!("{join:?} has an outcome and was never called"));
        }
        if !self.joins_ended.insert(join) {
            self.fail(format!("{join:?} has a second outcome"));
        }
    }
}
