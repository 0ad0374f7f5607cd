//! O4 and O5: the events of each peer form the promised word, and `peers()` says what the events said. Also:
//! each join has one outcome, and nothing follows `Left`.
//!
//! The word itself is that of [`Grammar`]. This adds the truth of the world: when a node may have forgotten a peer, and
//! may take an earlier run of it for new.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster_check::Grammar;
use cluster_core::{Event, Instant, JoinId, Node, NodeId, PeerState, Run};

use super::Verdict;

/// What one run of a node has told its user.
#[derive(Debug, Default)]
pub(super) struct Events {
    grammar: Grammar,
    /// Peers with an event since `peers()` was last compared.
    changed: BTreeSet<NodeId>,
    /// Peers that were up and are not.
    lost: BTreeMap<NodeId, Lost>,
    /// How often the node has forgotten lost peers because others answer where they were.
    takeovers: u64,
    joins: BTreeSet<JoinId>,
    joins_ended: usize,
}

/// How long a node must remember a peer that it has lost.
#[derive(Clone, Copy, Debug)]
struct Lost {
    /// When it was last up, by the clock of the node.
    since: Instant,
    /// The shortest memory that was in force from then on.
    memory: Duration,
    /// The takeovers at its latest event.
    takeovers: u64,
}

impl Events {
    pub(super) fn join_called(&mut self, join: JoinId) -> Verdict {
        if self.joins.insert(join) { Ok(()) } else { Err(format!("{join:?} was given twice")) }
    }

    /// Joins without an outcome so far.
    pub(super) fn joins_open(&self) -> usize {
        self.joins.len()
    }

    /// The node, which remembers for `memory` whom it has lost, tells its user something at `clock` by its own clock.
    pub(super) fn event(&mut self, event: &Event, clock: Instant, memory: Duration) -> Verdict {
        match event {
            Event::PeerUp(info) => {
                let id = info.run.id;
                self.changed.insert(id);
                let may_forget =
                    |lost: Lost| lost.takeovers < self.takeovers || clock - lost.since >= memory.min(lost.memory);
                if self.lost.remove(&id).is_some_and(may_forget) {
                    self.grammar.forgotten(id);
                }
            }
            Event::PeerDown { peer, .. } => {
                self.changed.insert(peer.id);
                self.lost.insert(peer.id, Lost { since: clock, memory, takeovers: self.takeovers });
            }
            Event::PeerUpdated(info) => drop(self.changed.insert(info.run.id)),
            Event::SessionReset { peer } => drop(self.changed.insert(peer.id)),
            Event::Undelivered(report) => self.still_lost(report.peer, memory),
            Event::PeerGone { peer } => self.still_lost(*peer, memory),
            Event::Delivered { peer, .. } if self.grammar.is_reported(*peer) => {
                return Err(format!("{event:?} came after what was not delivered"));
            }
            Event::Joined { join, .. } | Event::JoinFailed { join, .. } => self.join_ended(*join)?,
            _ => {}
        }
        self.grammar.next(event)
    }

    /// From now on the node remembers for `memory` whom it has lost, those included that it has lost already.
    pub(super) fn configured(&mut self, memory: Duration) {
        for lost in self.lost.values_mut() {
            lost.memory = lost.memory.min(memory);
        }
    }

    /// A message may be taken only of a run that was up at one time.
    pub(super) fn message(&self, from: Run) -> Verdict {
        if self.grammar.was_up(from) { Ok(()) } else { Err(format!("a message of {from:?}, which was never up")) }
    }

    pub(super) fn is_up(&self, run: Run) -> bool {
        self.grammar.up_run(run.id) == Some(run)
    }

    pub(super) fn has_left(&self) -> bool {
        self.grammar.has_left()
    }

    /// The node has nothing more to say for now: whether `peers()` says what the latest events said.
    pub(super) fn drained(&mut self, node: &Node, takeovers: u64) -> Verdict {
        self.takeovers = takeovers;
        for id in std::mem::take(&mut self.changed) {
            let told = self.grammar.up_run(id);
            let seen = node.peer(id).filter(|info| info.state == PeerState::Up).map(|info| info.run);
            if told != seen {
                return Err(format!("by its events {told:?} is up, by peers() {seen:?}"));
            }
        }
        Ok(())
    }

    /// The same for every peer there is.
    pub(super) fn sweep(&self, node: &Node) -> Verdict {
        let told = self.grammar.up_runs();
        let seen = node.peers().filter(|info| info.state == PeerState::Up).map(|info| info.run);
        if told.clone().eq(seen) {
            return Ok(());
        }
        let seen: Vec<Run> = node.peers().filter(|info| info.state == PeerState::Up).map(|info| info.run).collect();
        let told: Vec<Run> = told.collect();
        Err(format!("by its events the peers that are up are {told:?}, by peers() they are {seen:?}"))
    }

    /// An event of a peer that may be lost, which it stays.
    fn still_lost(&mut self, peer: Run, memory: Duration) {
        self.changed.insert(peer.id);
        if let Some(lost) = self.lost.get_mut(&peer.id) {
            (lost.memory, lost.takeovers) = (lost.memory.min(memory), self.takeovers);
        }
    }

    fn join_ended(&mut self, join: JoinId) -> Verdict {
        self.joins_ended += 1;
        if self.joins.remove(&join) {
            return Ok(());
        }
        Err(format!("{join:?} has an outcome, and no such join is under way ({} have ended)", self.joins_ended))
    }
}

#[cfg(test)]
mod tests {
    use cluster_core::{PeerInfo, Reason, Undelivered};

    use super::super::tests::run;
    use super::*;

    fn up(run: Run) -> Event {
        let state = PeerState::Up;
        Event::PeerUp(PeerInfo { run, name: None, metadata: bytes::Bytes::new(), address: None, state })
    }

    fn down(peer: Run) -> Event {
        Event::PeerDown { peer, name: None, reason: Reason::Timeout }
    }

    fn gone(peer: Run) -> Event {
        Event::PeerGone { peer }
    }

    fn in_doubt(peer: Run) -> Event {
        Event::Undelivered(Undelivered { peer, not_delivered: Vec::new(), in_doubt: vec![bytes::Bytes::new()] })
    }

    fn delivered(peer: Run) -> Event {
        Event::Delivered { peer, messages: 1 }
    }

    fn verdict(events: &[Event]) -> Verdict {
        let mut checked = Events::default();
        events.iter().try_for_each(|event| checked.event(event, Instant::ZERO, Duration::MAX))
    }

    #[test]
    fn deliveries_are_reported_before_what_was_not_delivered() {
        let peer = run(1, 1);
        verdict(&[up(peer), down(peer), delivered(peer), in_doubt(peer), gone(peer)]).unwrap();
        verdict(&[up(peer), down(peer), in_doubt(peer), delivered(peer)]).unwrap_err();
        verdict(&[up(peer), in_doubt(peer), delivered(peer)]).unwrap_err();
    }

    #[test]
    fn events_that_form_no_word_are_found() {
        verdict(&[up(run(1, 1)), up(run(1, 1))]).unwrap_err();
        verdict(&[up(run(1, 2)), down(run(1, 2)), gone(run(1, 2)), up(run(1, 1))]).unwrap_err();
    }

    #[test]
    fn earlier_run_is_accepted_once_the_later_one_is_forgotten() {
        let (old, new, memory) = (run(1, 1), run(1, 2), Duration::from_secs(60));
        for (after, allowed) in [(memory / 2, false), (memory, true)] {
            let mut events = Events::default();
            for event in [up(new), down(new)] {
                events.event(&event, Instant::ZERO, memory).unwrap();
            }
            events.event(&gone(new), Instant::ZERO + after, memory).unwrap();
            assert_eq!(events.event(&up(old), Instant::ZERO + after, memory).is_ok(), allowed);
        }
    }

    #[test]
    fn earlier_run_is_accepted_after_a_setting_dropped_the_lost() {
        let (old, new, memory) = (run(1, 1), run(1, 2), Duration::from_secs(60));
        for lost in [false, true] {
            let mut events = Events::default();
            events.event(&up(new), Instant::ZERO, memory).unwrap();
            if !lost {
                events.configured(Duration::ZERO);
                events.configured(memory);
            }
            events.event(&down(new), Instant::ZERO, memory).unwrap();
            events.event(&gone(new), Instant::ZERO, memory).unwrap();
            if lost {
                events.configured(Duration::ZERO);
                events.configured(memory);
            }
            assert_eq!(events.event(&up(old), Instant::ZERO, memory).is_ok(), lost);
        }
    }

    #[test]
    fn message_of_a_run_that_was_never_up_is_found() {
        let mut events = Events::default();
        events.event(&up(run(1, 1)), Instant::ZERO, Duration::MAX).unwrap();
        events.message(run(1, 1)).unwrap();
        events.message(run(1, 2)).unwrap_err();
    }

    #[test]
    fn peers_that_contradict_the_events_are_found() {
        let mut events = Events::default();
        let node = super::super::tests::node();
        events.event(&up(run(1, 1)), Instant::ZERO, Duration::MAX).unwrap();
        events.drained(&node, 0).unwrap_err();
        events.sweep(&node).unwrap_err();
    }
}
