//! The order in which the events of a node may come.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{Event, NodeId, Run};

/// Follows the events of one node and finds the first that may not come where it does: of each run of a peer
/// `((PeerUp PeerUpdated* PeerDown)+ Undelivered? PeerGone)*`, one run of a node after the other, and nothing after
/// `Left`. See [`Event`].
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
    /// `Undelivered` came, and what it goes with has yet to follow.
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
    /// No event has come yet.
    #[must_use]
    pub fn new() -> Grammar {
        Grammar::default()
    }

    /// The next event.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn next(&mut self, event: &Event) -> Result<(), String> {
        if self.left {
            return Err(format!("{event:?} came after Left"));
        }
        match event {
            Event::PeerUp(info) => self.up(info.run),
            Event::PeerUpdated(info) => self.expect(info.run, event, |state| state.phase == Phase::Up).map(drop),
            Event::PeerDown { peer, .. } => {
                self.expect(*peer, event, |state| state.phase == Phase::Up && !state.reported)?.phase = Phase::Down;
                Ok(())
            }
            Event::Undelivered(report) => {
                let known = |state: &State| state.phase != Phase::Gone && !state.reported;
                self.expect(report.peer, event, known)?.reported = true;
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
            Event::Joined { peer, .. } => self.expect(*peer, event, |state| state.phase == Phase::Up).map(drop),
            Event::Lagged { .. } => Err(format!("{event:?}, but the events are read")),
            Event::Left { .. } => {
                self.left = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether this run was ever up, so that messages of it can be taken.
    #[must_use]
    pub fn was_up(&self, run: Run) -> bool {
        self.seen.contains(&run)
    }

    /// The run of a node that is up.
    #[must_use]
    pub fn up_run(&self, id: NodeId) -> Option<Run> {
        self.runs.get(&id).filter(|(_, state)| state.phase == Phase::Up).map(|(run, _)| *run)
    }

    /// The node may have forgotten this peer, and may take an earlier run of it for new, if the one that was up is gone.
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

    /// The state of the run that an event is about, if the event may come now.
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

    fn reset() -> Event {
        Event::SessionReset { peer: run(1) }
    }

    fn word(events: impl IntoIterator<Item = Event>) -> Result<(), String> {
        let mut grammar = Grammar::new();
        events.into_iter().try_for_each(|event| grammar.next(&event))
    }

    #[test]
    fn what_is_promised_may_come() {
        let left = Event::Left { undelivered: 0 };
        assert_eq!(word([up(1), down(1), up(1), down(1), undelivered(1), gone(1), up(1), down(1), gone(1)]), Ok(()));
        assert_eq!(word([up(1), down(1), gone(1), up(2), down(2), left]), Ok(()));
        assert_eq!(word([up(1), delivered(4), down(1), delivered(9), gone(1), up(1), delivered(1)]), Ok(()));
        assert_eq!(word([up(1), delivered(4), undelivered(1), reset(), delivered(1), down(1)]), Ok(()));
    }

    #[test]
    fn an_earlier_run_may_come_only_if_the_later_one_is_gone_and_forgotten() {
        let mut grammar = Grammar::new();
        for event in [up(2), down(2)] {
            grammar.next(&event).unwrap();
            grammar.forgotten(run(2).id);
            grammar.next(&up(1)).unwrap_err();
        }
        grammar.next(&gone(2)).unwrap();
        grammar.forgotten(run(2).id);
        grammar.next(&up(1)).unwrap();
        assert!(grammar.was_up(run(2)), "there may be messages of it");
    }

    #[test]
    fn what_is_not_may_not() {
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
