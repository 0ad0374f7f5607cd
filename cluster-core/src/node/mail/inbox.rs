//! Whose messages wait to be taken.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::{NodeId, Run};
use crate::session::Leftover;

/// The order in which peers with complete messages are served, and what is left of streams whose run is over.
///
/// Holds no message itself: messages stay undecoded in their streams until they are taken.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Inbox {
    order: VecDeque<NodeId>,
    queued: BTreeSet<NodeId>,
    leftovers: BTreeMap<NodeId, VecDeque<(Run, Leftover)>>,
    /// `Action::Deliver` was emitted and taking has not yet come to an end.
    announced: bool,
}

impl Inbox {
    /// A peer has a complete message. Returns whether the driver is to be told.
    pub(in crate::node) fn ready(&mut self, id: NodeId) -> bool {
        if self.queued.insert(id) {
            self.order.push_back(id);
        }
        debug_assert_eq!(self.order.len(), self.queued.len(), "a peer has one turn");
        !core::mem::replace(&mut self.announced, true)
    }

    /// The peer whose turn it is. At `None` the driver is to be told of the next message again.
    pub(in crate::node) fn turn(&mut self) -> Option<NodeId> {
        let turn = self.order.front().copied();
        self.announced = turn.is_some();
        turn
    }

    /// The peer whose turn it was has more; the others come first.
    pub(in crate::node) fn rotate(&mut self) {
        if self.order.len() > 1 {
            self.order.rotate_left(1);
        }
    }

    /// The peer whose turn it was has nothing more.
    pub(in crate::node) fn done(&mut self) {
        if let Some(id) = self.order.pop_front() {
            self.queued.remove(&id);
        }
        debug_assert_eq!(self.order.len(), self.queued.len(), "a peer has one turn");
    }

    /// The run is over; what it sent completely stays readable, before anything of a later run.
    pub(in crate::node) fn keep(&mut self, run: Run, leftover: Leftover) {
        self.leftovers.entry(run.id).or_default().push_back((run, leftover));
    }

    /// No stream goes on: only whole messages are left to be taken.
    pub(in crate::node) fn end(&mut self) {
        for (_, leftover) in self.leftovers.values_mut().flatten() {
            leftover.stream.end();
        }
    }

    /// The nodes that left something.
    pub(in crate::node) fn left_behind(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.leftovers.keys().copied()
    }

    /// Bytes that wait to be taken.
    pub(in crate::node) fn buffered(&self) -> u64 {
        self.leftovers.values().flatten().map(|(_, leftover)| leftover.stream.buffered()).sum()
    }

    pub(in crate::node) fn leftover(&mut self, id: NodeId) -> Option<&mut (Run, Leftover)> {
        self.leftovers.get_mut(&id)?.front_mut()
    }

    /// The oldest leftover of the node, which is used up.
    pub(in crate::node) fn take_leftover(&mut self, id: NodeId) -> Option<Leftover> {
        let streams = self.leftovers.get_mut(&id)?;
        let (_, leftover) = streams.pop_front()?;
        if streams.is_empty() {
            self.leftovers.remove(&id);
        }
        Some(leftover)
    }

    /// The stream of a run that was forgotten and is back: it may go on.
    pub(in crate::node) fn reclaim(&mut self, run: Run) -> Option<Leftover> {
        let streams = self.leftovers.get_mut(&run.id)?;
        let goes_on = |(of, leftover): &(Run, Leftover)| *of == run && !leftover.stream.has_ended();
        if !streams.back().is_some_and(goes_on) {
            return None;
        }
        let (_, leftover) = streams.pop_back()?;
        if streams.is_empty() {
            self.leftovers.remove(&run.id);
        }
        Some(leftover)
    }

    /// Bytes of leftovers of the node that no budget holds; they are charged to the window of its next run.
    pub(in crate::node) fn uncovered(&self, id: NodeId) -> u64 {
        self.leftovers.get(&id).into_iter().flatten().map(|(_, leftover)| leftover.uncovered()).sum()
    }
}
