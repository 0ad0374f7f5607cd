//! O4 and O5: the events of each peer form the promised word, and `peers()` says what the events said. Also:
//! each join has one outcome, and nothing follows `Left`.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use cluster_core::{Event, Instant, JoinId, Node, NodeId, PeerState, Run};

use super::Verdict;

/// What one run of a node has told its user.
#[derive(Debug, Default)]
pub(super) struct Events {
    peers: BTreeMap<NodeId, Word>,
    /// Peers whose events went on since `peers()` was last compared.
    changed: BTreeSet<NodeId>,
    /// Runs that were up at one time.
    known: BTreeSet<Run>,
    /// How often the node has forgotten lost peers because others answer where they were.
    takeovers: u64,
    /// The time by the node's clock, and how long it remembers whom it has lost.
    clock: Instant,
    memory: Duration,
    joins: BTreeSet<JoinId>,
    joins_ended: usize,
    left: bool,
}

/// Where the events of a peer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    run: Run,
    phase: Phase,
    /// How many takeovers there had been when it came to this.
    takeovers: u64,
    /// When it was last up, by the clock of the node.
    seen: Instant,
    /// For how long the node remembers it from then on, by the settings at that time.
    memory: Duration,
}

impl Word {
    fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Doubt)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up,
    /// Up, and messages were reported: the session has begun anew.
    Doubt,
    Down,
    Undelivered,
    Gone,
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
        (self.clock, self.memory) = (clock, memory);
        if self.left {
            return Err(format!("an event after Left: {event:?}"));
        }
        match event {
            Event::PeerUp(info) => self.up(info.run),
            Event::PeerUpdated(info) => self.step(info.run, &[Phase::Up], Phase::Up, event),
            Event::PeerDown { peer, .. } => self.step(*peer, &[Phase::Up], Phase::Down, event),
            Event::Undelivered(undelivered) if self.is_up(undelivered.peer) => {
                self.step(undelivered.peer, &[Phase::Up], Phase::Doubt, event)
            }
            Event::Undelivered(undelivered) => self.step(undelivered.peer, &[Phase::Down], Phase::Undelivered, event),
            Event::SessionReset { peer } => self.step(*peer, &[Phase::Up, Phase::Doubt], Phase::Up, event),
            Event::PeerGone { peer } => self.step(*peer, &[Phase::Down, Phase::Undelivered], Phase::Gone, event),
            Event::Delivered { peer, .. } => self.stay(*peer, &[Phase::Up, Phase::Down], event),
            Event::Flushed { peer, .. } => {
                self.stay(*peer, &[Phase::Up, Phase::Doubt, Phase::Down, Phase::Undelivered], event)
            }
            Event::Joined { join, .. } | Event::JoinFailed { join, .. } => self.join_ended(*join),
            Event::Left { .. } => {
                self.left = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// From now on the node remembers for `memory` whom it has lost, those included that it has lost already.
    pub(super) fn configured(&mut self, memory: Duration) {
        self.memory = memory;
        for word in self.peers.values_mut().filter(|word| !word.is_up()) {
            word.memory = word.memory.min(memory);
        }
    }

    /// A message may be taken only of a run that was up at one time.
    pub(super) fn message(&self, from: Run) -> Verdict {
        if self.known.contains(&from) { Ok(()) } else { Err(format!("a message of {from:?}, which was never up")) }
    }

    pub(super) fn is_up(&self, run: Run) -> bool {
        self.peers.get(&run.id).is_some_and(|word| word.run == run && word.is_up())
    }

    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    /// The node has nothing more to say for now: whether `peers()` says what the latest events said.
    pub(super) fn drained(&mut self, node: &Node, takeovers: u64) -> Verdict {
        self.takeovers = takeovers;
        for id in std::mem::take(&mut self.changed) {
            let told = self.peers.get(&id).filter(|word| word.is_up()).map(|word| word.run);
            let seen = node.peer(id).filter(|info| info.state == PeerState::Up).map(|info| info.run);
            if told != seen {
                return Err(format!("by its events {told:?} is up, by peers() {seen:?}"));
            }
        }
        Ok(())
    }

    /// The same for every peer there is.
    pub(super) fn sweep(&self, node: &Node) -> Verdict {
        let told = self.peers.values().filter(|word| word.is_up()).map(|word| word.run);
        let seen = node.peers().filter(|info| info.state == PeerState::Up).map(|info| info.run);
        if told.clone().eq(seen) {
            return Ok(());
        }
        let seen: Vec<Run> = node.peers().filter(|info| info.state == PeerState::Up).map(|info| info.run).collect();
        let told: Vec<Run> = told.collect();
        Err(format!("by its events the peers that are up are {told:?}, by peers() they are {seen:?}"))
    }

    fn up(&mut self, run: Run) -> Verdict {
        let before = self.peers.insert(run.id, self.word(run, Phase::Up));
        self.known.insert(run);
        self.changed.insert(run.id);
        match before {
            None => Ok(()),
            Some(word) if word.run == run && matches!(word.phase, Phase::Down | Phase::Gone) => Ok(()),
            Some(word) if word.phase == Phase::Gone && word.run.incarnation < run.incarnation => Ok(()),
            // Who has forgotten the later run takes an earlier one in.
            Some(word) if word.phase == Phase::Gone && word.takeovers < self.takeovers => Ok(()),
            Some(word) if word.phase == Phase::Gone && self.clock - word.seen >= self.memory.min(word.memory) => Ok(()),
            Some(word) => Err(format!("PeerUp of {run:?} when the events of that id stand at {word:?}")),
        }
    }

    fn word(&self, run: Run, phase: Phase) -> Word {
        let before = self.peers.get(&run.id).filter(|word| !word.is_up());
        let (seen, memory) = before.map_or((self.clock, self.memory), |word| (word.seen, word.memory.min(self.memory)));
        Word { run, phase, takeovers: self.takeovers, seen, memory }
    }

    fn step(&mut self, run: Run, from: &[Phase], to: Phase, event: &Event) -> Verdict {
        let before = self.phase(run);
        self.peers.insert(run.id, self.word(run, to));
        self.changed.insert(run.id);
        if before.is_some_and(|phase| from.contains(&phase)) {
            return Ok(());
        }
        Err(format!("{event:?} when the events of that run stand at {before:?}"))
    }

    fn stay(&self, run: Run, within: &[Phase], event: &Event) -> Verdict {
        let phase = self.phase(run);
        if phase.is_some_and(|phase| within.contains(&phase)) {
            return Ok(());
        }
        Err(format!("{event:?} when the events of that run stand at {phase:?}"))
    }

    fn phase(&self, run: Run) -> Option<Phase> {
        self.peers.get(&run.id).filter(|word| word.run == run).map(|word| word.phase)
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
    fn the_promised_word_passes() {
        let (old, new) = (run(1, 1), run(1, 2));
        verdict(&[up(old), down(old), gone(old), up(old), down(old), gone(old), up(new)]).unwrap();
        verdict(&[up(old), down(old), up(old), delivered(old), down(old), delivered(old)]).unwrap();
        verdict(&[up(old), in_doubt(old), Event::SessionReset { peer: old }, down(old)]).unwrap();
        verdict(&[up(old), down(old), in_doubt(old), gone(old), up(old)]).unwrap();
    }

    #[test]
    fn any_other_word_does_not() {
        let (old, new) = (run(1, 1), run(1, 2));
        for wrong in [
            vec![up(old), up(old)],
            vec![down(old)],
            vec![up(old), gone(old)],
            vec![up(old), down(old), up(new)],
            vec![up(new), down(new), gone(new), up(old)],
            vec![up(old), down(old), gone(old), gone(old)],
            vec![Event::SessionReset { peer: old }],
            vec![up(old), in_doubt(old), down(old)],
            vec![up(old), down(old), in_doubt(old), in_doubt(old)],
            vec![up(old), down(old), gone(old), delivered(old)],
            vec![Event::Left { undelivered: 0 }, up(old)],
        ] {
            verdict(&wrong).unwrap_err();
        }
    }

    #[test]
    fn an_earlier_run_is_let_in_once_the_later_one_is_forgotten() {
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
    fn who_has_the_lost_forgotten_lets_an_earlier_run_in_and_no_other_way() {
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
    fn nothing_is_taken_of_a_run_that_was_never_up() {
        let mut events = Events::default();
        events.event(&up(run(1, 1)), Instant::ZERO, Duration::MAX).unwrap();
        events.message(run(1, 1)).unwrap();
        events.message(run(1, 2)).unwrap_err();
    }

    #[test]
    fn peers_that_say_otherwise_are_found_at_once_and_by_a_sweep() {
        let mut events = Events::default();
        let node = super::super::tests::node();
        events.event(&up(run(1, 1)), Instant::ZERO, Duration::MAX).unwrap();
        events.drained(&node, 0).unwrap_err();
        events.sweep(&node).unwrap_err();
    }
}
