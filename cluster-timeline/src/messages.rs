//! Messages from user to user: which one that was taken is which one that was sent.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use cluster_core::{Instant, NodeId, Run};

use crate::names::Names;
use crate::newest::Newest;
use crate::timeline::{MAX_MESSAGES, MessagePath};

/// How far into the queue of a pair of nodes a taken message is looked for: those before it were lost.
const SEARCH: usize = 1_000;

/// The messages so far.
///
/// Messages have no names on the wire, so a taken one is the oldest sent from that node to that run, not taken yet,
/// with the same payload. What the core promises (in order, once) makes that the right one.
#[derive(Clone, Debug)]
pub(crate) struct Messages {
    entries: Newest<Entry>,
    /// By sender and receiver, the numbers of the entries that were not taken.
    waiting: BTreeMap<(NodeId, NodeId), VecDeque<u64>>,
}

#[derive(Clone, Debug)]
struct Entry {
    from: NodeId,
    /// The run that the sender meant, or that took it.
    to: Run,
    payload: Bytes,
    sent: Option<Instant>,
    taken: Option<Instant>,
    given_up: Option<Instant>,
}

impl Default for Messages {
    fn default() -> Messages {
        Messages { entries: Newest::new(MAX_MESSAGES), waiting: BTreeMap::new() }
    }
}

impl Messages {
    /// A node has accepted a message for a run.
    pub(crate) fn sent(&mut self, at: Instant, from: NodeId, to: Run, payload: &Bytes) {
        let payload = payload.clone();
        let number = self.entries.push(Entry { from, to, payload, sent: Some(at), taken: None, given_up: None });
        let waiting = self.waiting.entry((from, to.id)).or_default();
        waiting.push_back(number);
        while waiting.front().is_some_and(|&oldest| self.entries.at_mut(oldest).is_none()) {
            waiting.pop_front();
        }
    }

    /// The user of a run has taken a message.
    pub(crate) fn taken(&mut self, at: Instant, from: NodeId, to: Run, payload: &Bytes) {
        let waiting = self.waiting.entry((from, to.id)).or_default();
        let entries = &mut self.entries;
        let is_it =
            |number: &u64| entries.at_mut(*number).is_some_and(|entry| entry.to == to && entry.payload == *payload);
        match waiting.iter().take(SEARCH).position(is_it) {
            Some(index) => {
                let number = waiting.drain(..=index).next_back();
                if let Some(entry) = number.and_then(|number| self.entries.at_mut(number)) {
                    entry.taken = Some(at);
                }
            }
            None => {
                let payload = payload.clone();
                self.entries.push(Entry { from, to, payload, sent: None, taken: Some(at), given_up: None });
            }
        }
    }

    /// The session of a node with a run is over.
    pub(crate) fn gone(&mut self, at: Instant, from: NodeId, to: Run) {
        for &number in self.waiting.get(&(from, to.id)).into_iter().flatten() {
            if let Some(entry) = self.entries.at_mut(number).filter(|entry| entry.to == to) {
                entry.given_up.get_or_insert(at);
            }
        }
    }

    pub(crate) fn paths(&self, names: &Names) -> Vec<MessagePath> {
        let view = |entry: &Entry| MessagePath {
            from: names.host(entry.from),
            to: names.host(entry.to.id),
            bytes: entry.payload.len(),
            sent: entry.sent,
            taken: entry.taken,
            given_up: entry.given_up.filter(|_| entry.taken.is_none()),
        };
        let mut paths: Vec<MessagePath> = self.entries.iter().map(view).collect();
        paths.sort_by_key(|path| (path.sent.or(path.taken), path.from, path.to));
        paths
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.entries.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::Incarnation;

    fn at(second: u64) -> Instant {
        Instant::from_nanos(second * 1_000_000_000)
    }

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    fn run(byte: u8, incarnation: u64) -> Run {
        Run { id: node(byte), incarnation: Incarnation(incarnation) }
    }

    fn outcomes(messages: &Messages) -> Vec<(Option<Instant>, Option<Instant>, Option<Instant>)> {
        let paths = messages.paths(&Names::default());
        paths.iter().map(|path| (path.sent, path.taken, path.given_up)).collect()
    }

    #[test]
    fn a_message_that_was_lost_is_not_taken_for_the_equal_one_of_the_next_run() {
        let mut messages = Messages::default();
        let hello = Bytes::from_static(b"hello");
        messages.sent(at(1), node(1), run(2, 1), &hello);
        messages.gone(at(2), node(1), run(2, 1));
        messages.sent(at(3), node(1), run(2, 2), &hello);
        messages.taken(at(4), node(1), run(2, 2), &hello);
        assert_eq!(outcomes(&messages), [(Some(at(1)), None, Some(at(2))), (Some(at(3)), Some(at(4)), None)]);
    }

    #[test]
    fn a_message_that_nobody_was_seen_to_send_is_shown_too() {
        let mut messages = Messages::default();
        messages.sent(at(1), node(1), run(2, 1), &Bytes::from_static(b"one"));
        messages.taken(at(2), node(1), run(2, 1), &Bytes::from_static(b"two"));
        assert_eq!(outcomes(&messages), [(Some(at(1)), None, None), (None, Some(at(2)), None)]);
    }
}
