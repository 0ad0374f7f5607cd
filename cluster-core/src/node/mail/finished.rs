//! Streams of peers that are over: how much of each was consumed, so that a sender that comes back to it learns what was
//! delivered and what may go on.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::id::Run;
use crate::limits::MAX_CLOSED_STREAMS;
use crate::time::Instant;
use crate::wire::StreamId;

/// How long the end of a stream is remembered after the peer itself was forgotten.
const TTL: Duration = Duration::from_secs(24 * 3_600);

/// The ends of streams of runs that have no record any more.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct FinishedStreams {
    ends: BTreeMap<Run, (StreamId, u64, Instant)>,
}

impl FinishedStreams {
    /// Remembers that `consumed` bytes of the last stream of `run` were consumed. Returns whether another had to make
    /// room: should that run come back, what it sent last is in doubt.
    pub(in crate::node) fn insert(&mut self, run: Run, stream: StreamId, consumed: u64, now: Instant) -> bool {
        self.ends.retain(|_, (_, _, expires)| *expires > now);
        self.ends.insert(run, (stream, consumed, now + TTL));
        let full = self.ends.len() > MAX_CLOSED_STREAMS;
        let oldest = self.ends.iter().min_by_key(|(_, (_, _, expires))| *expires).map(|(run, _)| *run);
        if let (true, Some(oldest)) = (full, oldest) {
            self.ends.remove(&oldest);
        }
        full
    }

    /// What is remembered of `run`, which is back.
    pub(in crate::node) fn take(&mut self, run: Run, now: Instant) -> Option<(StreamId, u64)> {
        let (stream, consumed, expires) = self.ends.remove(&run)?;
        (expires > now).then_some((stream, consumed))
    }

    pub(in crate::node) fn len(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, NodeId};

    fn run(number: u64) -> Run {
        Run { id: NodeId::from_bytes([7; 16]), incarnation: Incarnation(number) }
    }

    #[test]
    fn an_end_is_remembered_for_a_day_and_used_once() {
        let mut closed = FinishedStreams::default();
        assert!(!closed.insert(run(1), StreamId(5), 99, Instant::ZERO));
        assert!(!closed.insert(run(2), StreamId(6), 98, Instant::ZERO));
        assert_eq!(closed.take(run(1), Instant::ZERO + TTL / 2), Some((StreamId(5), 99)));
        assert_eq!(closed.take(run(1), Instant::ZERO + TTL / 2), None);
        assert_eq!(closed.take(run(2), Instant::ZERO + TTL), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut closed = FinishedStreams::default();
        for number in 0..MAX_CLOSED_STREAMS as u64 {
            assert!(!closed.insert(run(number), StreamId(number), number, Instant::from_nanos(number)));
        }
        assert!(closed.insert(run(u64::MAX), StreamId(0), 0, Instant::from_nanos(1 << 20)));
        assert_eq!((closed.len(), closed.take(run(0), Instant::ZERO)), (MAX_CLOSED_STREAMS, None));
        assert!(closed.take(run(1), Instant::ZERO).is_some());
    }
}
