//! The order of the events of a node.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{Event, NodeId, Run};

/// Follows the events of one node and finds the first that may not come where it does. The events of each run of a peer
/// form the word `((PeerUp PeerUpdated* PeerDown)+ Undelivered? PeerGone)*`; while it is up, `Undelivered? SessionReset`
/// may come in between. A later run of a node follows an earlier one, and nothing follows `Left`. See [`Event`].
#[derive(Debug, Default)]
pub struct Grammar {
    runs: BTreeMap<NodeId, (Run, State)>,
    /// Every run that was ever up.
    seen: BTreeSet<Run>,
    left: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    phase: Phase,
    /// `Undelivered` came, and the `SessionReset` or `PeerGone` that it belongs to has yet to follow.
    reported: bool,
    /// The highest watermark of `Delivered`.
    delivered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up,
    Down,
    Gone,
}

impl Grammar {
    /// Returns the grammar of a node that has reported nothing yet.
    #[must_use]
    pub fn new() -> Grammar {
        Grammar::default()
    }

    /// Accepts the next event.
    ///
    /// # Errors
    ///
    /// The event may not come now; the text says why.
    pub fn next(&mut self, event: &Event) -> Result<(), String> {
        if self.left {
            return Err(format!("{event:?} came after Left"));
        }
        match event {
            Event::PeerUp(info) => self.up(info.run),
            Event::PeerUpdated(info) => self.expect(info.run, event, State::is_settled).map(drop),
            Event::PeerDown { peer, .. } => {
                self.expect(*peer, event, State::is_settled)?.phase = Phase::Down;
                Ok(())
            }
            Event::Undelivered(report) => {
                let may = |state: &State| state.phase != Phase::Gone && !state.reported;
                self.expect(report.peer, event, may)?.reported = true;
                if report.is_empty() { Err(format!("{event:?} reports nothing")) } else { Ok(()) }
            }
            Event::SessionReset { peer } => {
                let state = self.expect(*peer, event, |state| state.phase == Phase::Up)?;
                (state.reported, state.delivered) = (false, 0);
                Ok(())
            }
            Event::PeerGone { peer } => {
                let state = self.expect(*peer, event, |state| state.phase == Phase::Down)?;
                *state = State { phase: Phase::Gone, reported: false, delivered: 0 };
                Ok(())
            }
            Event::Delivered { peer, messages } => {
                let state = self.expect(*peer, event, |state| state.phase != Phase::Gone)?;
                if *messages < state.delivered {
                    return Err(format!("{event:?} came after {} were delivered", state.delivered));
                }
                state.delivered = *messages;
                Ok(())
            }
            Event::Flushed { peer, .. } => self.expect(*peer, event, |state| state.phase != Phase::Gone).map(drop),
            Event::Joined { peer, .. } => self.expect(*peer, event, |state| state.phase == Phase::Up).map(drop),
            Event::Lagged { .. } => Err(format!("{event:?}, but the events are read")),
            Event::Left { .. } => {
                self.left = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns whether this run was ever up, so that its messages can be taken.
    #[must_use]
    pub fn was_up(&self, run: Run) -> bool {
        self.seen.contains(&run)
    }

    /// Returns the run of a node that is up.
    #[must_use]
    pub fn up_run(&self, id: NodeId) -> Option<Run> {
        self.runs.get(&id).filter(|(_, state)| state.phase == Phase::Up).map(|(run, _)| *run)
    }

    /// Returns every run that is up, in the order of the ids.
    pub fn up_runs(&self) -> impl Iterator<Item = Run> + Clone + '_ {
        self.runs.values().filter(|(_, state)| state.phase == Phase::Up).map(|(run, _)| *run)
    }

    /// Returns whether `Undelivered` came of this run, and the event that it belongs to has yet to follow.
    #[must_use]
    pub fn is_reported(&self, run: Run) -> bool {
        self.runs.get(&run.id).is_some_and(|(current, state)| *current == run && state.reported)
    }

    /// Returns whether the node has left.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left
    }

    /// Notes that the node may have forgotten this peer: it may take an earlier run of it for new, once the one that was
    /// up is gone.
    pub fn forgotten(&mut self, id: NodeId) {
        if self.runs.get(&id).is_some_and(|(_, state)| state.phase == Phase::Gone) {
            self.runs.remove(&id);
        }
    }

    fn up(&mut self, run: Run) -> Result<(), String> {
        if let Some((before, state)) = self.runs.get(&run.id) {
            let gone = state.phase == Phase::Gone;
            if *before != run && !gone {
                return Err(format!("{run:?} is up before {before:?} is gone"));
            }
            if run.incarnation < before.incarnation {
                return Err(format!("{run:?} is up after its later run {before:?}"));
            }
            if *before == run && state.phase == Phase::Up {
                return Err(format!("{run:?} is up twice"));
            }
            if state.reported {
                return Err(format!("{run:?} is up after Undelivered without PeerGone"));
            }
        }
        let same = self.runs.get(&run.id).filter(|(before, _)| *before == run);
        let delivered = same.map_or(0, |(_, state)| state.delivered);
        self.runs.insert(run.id, (run, State { phase: Phase::Up, reported: false, delivered }));
        self.seen.insert(run);
        Ok(())
    }

    /// Returns the state of the run that an event is about, if the event may come now.
    fn expect(&mut self, run: Run, event: &Event, may: impl Fn(&State) -> bool) -> Result<&mut State, String> {
        let Some((current, state)) = self.runs.get_mut(&run.id) else {
            return Err(format!("{event:?} came before any PeerUp of {run:?}"));
        };
        if *current == run && may(state) {
            Ok(state)
        } else {
            Err(format!("{event:?} came when {current:?} was {state:?}"))
        }
    }
}

impl State {
    /// Whether the run is up, and no report waits for the event that it belongs to.
    fn is_settled(&self) -> bool {
        self.phase == Phase::Up && !self.reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use cluster_core::{Incarnation, PeerInfo, PeerState, Reason, Undelivered};

    fn run(incarnation: u64) -> Run {
        Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(incarnation) }
    }

    fn up(incarnation: u64) -> Event {
        let run = run(incarnation);
        Event::PeerUp(PeerInfo { run, name: None, metadata: Bytes::new(), address: None, state: PeerState::Up })
    }

    fn down(incarnation: u64) -> Event {
        Event::PeerDown { peer: run(incarnation), name: None, reason: Reason::Reset }
    }

    fn gone(incarnation: u64) -> Event {
        Event::PeerGone { peer: run(incarnation) }
    }

    fn undelivered(incarnation: u64) -> Event {
        let (peer, payload) = (run(incarnation), Bytes::from_static(b"x"));
        Event::Undelivered(Undelivered { peer, not_delivered: vec![payload], in_doubt: vec![] })
    }

    fn delivered(messages: u64) -> Event {
        Event::Delivered { peer: run(1), messages }
    }

    fn updated() -> Event {
        match up(1) {
            Event::PeerUp(info) => Event::PeerUpdated(info),
            other => other,
        }
    }

    fn reset() -> Event {
        Event::SessionReset { peer: run(1) }
    }

    fn word(events: impl IntoIterator<Item = Event>) -> Result<(), String> {
        let mut grammar = Grammar::new();
        events.into_iter().try_for_each(|event| grammar.next(&event))
    }

    #[test]
    fn promised_words_are_accepted() {
        let left = Event::Left { undelivered: 0 };
        assert_eq!(word([up(1), down(1), up(1), down(1), undelivered(1), gone(1), up(1), down(1), gone(1)]), Ok(()));
        assert_eq!(word([up(1), updated(), down(1), gone(1), up(2), down(2), left]), Ok(()));
        assert_eq!(word([up(1), down(1), up(1), delivered(1), down(1), delivered(1), undelivered(1), gone(1)]), Ok(()));
        assert_eq!(word([up(1), down(1), gone(1), up(1), down(1), gone(1), up(2)]), Ok(()));
        assert_eq!(word([up(1), delivered(4), down(1), delivered(9), gone(1), up(1), delivered(1)]), Ok(()));
        assert_eq!(word([up(1), delivered(4), undelivered(1), reset(), delivered(1), down(1)]), Ok(()));
    }

    #[test]
    fn earlier_run_may_come_once_the_later_one_is_forgotten() {
        let mut grammar = Grammar::new();
        for event in [up(2), down(2)] {
            grammar.next(&event).unwrap();
            grammar.forgotten(run(2).id);
            grammar.next(&up(1)).unwrap_err();
        }
        grammar.next(&gone(2)).unwrap();
        grammar.forgotten(run(2).id);
        grammar.next(&up(1)).unwrap();
        assert!(grammar.was_up(run(2)), "messages of it can still be taken");
    }

    #[test]
    fn other_words_are_rejected() {
        let left = || Event::Left { undelivered: 0 };
        for events in [
            vec![down(1)],
            vec![up(1), up(1)],
            vec![up(1), gone(1)],
            vec![up(1), down(1), down(1)],
            vec![up(1), down(1), up(2)],
            vec![up(2), down(2), gone(2), up(1)],
            vec![up(1), down(2)],
            vec![up(1), down(1), undelivered(1), undelivered(1)],
            vec![up(1), down(1), undelivered(1), up(1)],
            vec![up(1), undelivered(1), down(1)],
            vec![up(1), undelivered(1), updated()],
            vec![reset()],
            vec![up(1), down(1), gone(1), gone(1)],
            vec![up(1), down(1), gone(1), undelivered(1)],
            vec![up(1), delivered(4), delivered(3)],
            vec![up(1), down(1), gone(1), delivered(1)],
            vec![left(), up(1)],
            vec![Event::Lagged { missed: 1 }],
        ] {
            assert!(word(events.clone()).is_err(), "{events:?}");
        }
    }
}
