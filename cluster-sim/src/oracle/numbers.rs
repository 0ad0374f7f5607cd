//! O6 once more, by what numbered messages say of themselves: they come once, in order, to the run they were meant for,
//! and without a gap as long as the session lasts.

use std::collections::BTreeMap;

use cluster_core::{Event, Message, NodeId, Run};

use super::Verdict;
use crate::numbered::Numbered;

/// What one run of a node has taken.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    received: BTreeMap<Run, Received>,
    /// By node, the latest run that a message was taken of.
    latest: BTreeMap<NodeId, Run>,
}

/// Numbered messages of one sender run.
#[derive(Clone, Copy, Debug, Default)]
struct Received {
    count: u64,
    /// Whom the last one was for: a process may be a later run by now, and its messages begin with one again.
    to: Option<Run>,
    last: u64,
    gaps: u64,
    /// Times the session may have ended, and messages may have been lost.
    breaks: u64,
}

impl Numbers {
    /// How many numbered messages of `from` were taken.
    pub(super) fn from(&self, from: Run) -> u64 {
        self.received.get(&from).map_or(0, |received| received.count)
    }

    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::PeerGone { peer } | Event::SessionReset { peer } => {
                self.received.entry(*peer).or_default().breaks += 1;
            }
            // Whether it may be an earlier run is for its events to say.
            Event::PeerUp(info) => {
                let run = info.run;
                self.latest.entry(run.id).and_modify(|latest| *latest = run.min(*latest)).or_insert(run);
            }
            _ => {}
        }
    }

    /// Counts a message without looking at it closely.
    pub(super) fn count(&mut self, message: &Message) {
        if Numbered::is_one(&message.payload) {
            self.received.entry(message.from).or_default().count += 1;
        }
    }

    /// The node, which was born as one run and is `own` now, takes a message.
    pub(super) fn message(&mut self, born: Run, own: Run, from: Run, payload: &[u8]) -> Verdict {
        let latest = self.latest.entry(from.id).or_insert(from);
        if from.incarnation < latest.incarnation {
            return Err(format!("a message of {from:?} after one of {latest:?}"));
        }
        *latest = from;
        let Some(numbered) = Numbered::parse(payload) else { return Ok(()) };
        let received = self.received.entry(from).or_default();
        // What came for the earlier run can be taken before anything that came for the later one.
        let meant = numbered.to == own || numbered.to == born && received.to.is_none_or(|to| to == born);
        if numbered.from != from || !meant {
            return Err(format!("{own:?} got from {from:?} a message of {:?} for {:?}", numbered.from, numbered.to));
        }
        if received.to.replace(numbered.to) != Some(numbered.to) {
            received.last = 0;
        }
        let before = std::mem::replace(&mut received.last, numbered.number);
        received.count += 1;
        // A session may have ended at its sender before it was up here.
        received.gaps += u64::from(before > 0 && numbered.number != before + 1);
        if numbered.number <= before {
            return Err(format!("number {} of {from:?} after number {before}", numbered.number));
        }
        if received.gaps > received.breaks {
            return Err(format!(
                "number {} of {from:?} after number {before}, and no session ended in between",
                numbered.number
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    fn verdict(numbers: &[u64], breaks: u64) -> Verdict {
        let (from, to) = (run(1, 1), run(2, 1));
        let mut checked = Numbers::default();
        checked.received.entry(from).or_default().breaks = breaks;
        numbers.iter().try_for_each(|&number| {
            let payload = Numbered { from, to, number }.payload(64);
            checked.message(to, to, from, &payload)
        })
    }

    #[test]
    fn order_and_gaps_are_seen() {
        verdict(&[1, 2, 3], 0).unwrap();
        verdict(&[2, 3], 0).unwrap();
        verdict(&[1, 3], 1).unwrap();
        for wrong in [&[1, 3][..], &[1, 1], &[1, 2, 1]] {
            assert!(verdict(wrong, 0).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn misdelivery_and_older_runs_are_seen() {
        let (old, new, to) = (run(1, 1), run(1, 2), run(2, 1));
        let mut numbers = Numbers::default();
        let payload = |from, to| Numbered { from, to, number: 1 }.payload(64);
        numbers.message(to, to, new, &payload(new, run(3, 1))).unwrap_err();
        numbers.message(to, to, old, &payload(old, to)).unwrap_err();
    }

    #[test]
    fn a_later_run_of_the_receiver_takes_what_came_for_the_earlier_one_first() {
        let (from, born, own) = (run(1, 1), run(2, 1), run(2, 2));
        let payload = |to, number| Numbered { from, to, number }.payload(64);
        let mut numbers = Numbers::default();
        numbers.message(born, born, from, &payload(born, 1)).unwrap();
        numbers.message(born, own, from, &payload(born, 2)).unwrap();
        numbers.message(born, own, from, &payload(own, 1)).unwrap();
        numbers.message(born, own, from, &payload(own, 1)).unwrap_err();
        numbers.message(born, own, from, &payload(born, 3)).unwrap_err();
    }
}
