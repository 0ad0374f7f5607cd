//! Coverage marks: rare paths that a long series of runs must have taken, or its faults are not what they seem.

use std::fmt;

use cluster_core::limits::MAX_CHUNK;
use cluster_core::{Disconnect, Event, JoinError, Reason, RejectCode, Stats};

use crate::world::World;

/// A path that few runs take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mark {
    /// A link was closed because another one of the pair outranks it.
    Outranked,
    /// A dial reached a run that is connected already.
    DuplicateDial,
    /// A link under suspicion answered its probe.
    ProbeWon,
    /// A link under suspicion did not answer its probe.
    ProbeLost,
    /// A node was told, or saw, that it is not to connect to a peer that left or was disconnected.
    TombstoneUsed,
    /// The address of a lost peer answered as another node.
    Takeover,
    /// A node was told that a later run of it was seen.
    StaleRestart,
    /// A later run took the place of one that was connected.
    Restarted,
    /// Two live nodes used one id.
    DuplicateIdentity,
    /// A node dialled itself.
    SelfConnection,
    /// A connection took no output for too long.
    WriteStall,
    /// A node noticed that it had itself stood still.
    OwnStall,
    /// A peer was down for its silence.
    Timeout,
    /// A handshake was not finished in time.
    HandshakeTimeout,
    /// A dial found no descriptor left.
    Exhausted,
    /// Two nodes cannot meet, and a third one sees both.
    PartialPartition,
    /// A session went on over another link.
    SessionResumed,
    /// A message went on over another link in its middle.
    MessageResumed,
    /// The time to live of a session was over before its peer came back.
    SessionExpired,
    /// A peer came back and learned the end of a stream whose session was over.
    ClosedStreamUsed,
    /// A session began anew with the same run.
    SessionReset,
    /// Nobody can tell whether a message was delivered.
    InDoubt,
    /// A flush has ended.
    Flushed,
    /// A message longer than one chunk was cut in the middle: it was in doubt.
    CutMessage,
    /// A message was delivered, and its sender knows.
    Delivered,
    /// A message was certainly not delivered.
    NotDelivered,
    /// A send was refused for lack of room.
    SendWindowFull,
    /// A send was refused for its length.
    TooLarge,
    /// A long message waited for credit.
    CreditShort,
    /// A join came to nothing.
    JoinFailed,
    /// A node left before everything it had sent was taken.
    LeftWithLoss,
}

impl Mark {
    /// Every mark.
    pub const ALL: [Mark; 31] = [
        Mark::Outranked,
        Mark::DuplicateDial,
        Mark::ProbeWon,
        Mark::ProbeLost,
        Mark::TombstoneUsed,
        Mark::Takeover,
        Mark::StaleRestart,
        Mark::Restarted,
        Mark::DuplicateIdentity,
        Mark::SelfConnection,
        Mark::WriteStall,
        Mark::OwnStall,
        Mark::Timeout,
        Mark::HandshakeTimeout,
        Mark::Exhausted,
        Mark::PartialPartition,
        Mark::SessionResumed,
        Mark::MessageResumed,
        Mark::SessionExpired,
        Mark::ClosedStreamUsed,
        Mark::SessionReset,
        Mark::InDoubt,
        Mark::Flushed,
        Mark::CutMessage,
        Mark::Delivered,
        Mark::NotDelivered,
        Mark::SendWindowFull,
        Mark::TooLarge,
        Mark::CreditShort,
        Mark::JoinFailed,
        Mark::LeftWithLoss,
    ];
}

/// How often each [`Mark`] was hit, in one run or in many.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Marks {
    counts: [u64; Mark::ALL.len()],
}

impl Marks {
    /// What the nodes of a world have told so far. Counters of nodes that run no more are not in it; events are.
    #[must_use]
    pub fn of(world: &World) -> Marks {
        let mut marks = Marks::default();
        for machine in &world.machines {
            for closed in &machine.log.closes {
                marks.reason(&closed.reason);
            }
            for logged in &machine.log.events {
                marks.event(&logged.event);
            }
            let exhausted = machine.log.ends.iter().filter(|end| end.cause == Disconnect::Exhausted).count();
            marks.add(Mark::Exhausted, exhausted as u64);
            if let Some(driver) = machine.process.driver() {
                marks.stats(&driver.node.stats());
            }
        }
        marks
    }

    /// How often this one was hit.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.counts[mark as usize]
    }

    /// Those that were never hit.
    #[must_use]
    pub fn missing(&self) -> Vec<Mark> {
        Mark::ALL.into_iter().filter(|&mark| self.count(mark) == 0).collect()
    }

    /// Adds what other runs have hit.
    pub fn merge(&mut self, other: &Marks) {
        for mark in Mark::ALL {
            self.add(mark, other.count(mark));
        }
    }

    fn add(&mut self, mark: Mark, count: u64) {
        self.counts[mark as usize] += count;
    }

    fn reason(&mut self, reason: &Reason) {
        let mark = match reason {
            Reason::Outranked | Reason::Rejected(RejectCode::Outranked) => Mark::Outranked,
            Reason::Duplicate => Mark::DuplicateDial,
            Reason::Forbidden | Reason::Rejected(RejectCode::Removed) => Mark::TombstoneUsed,
            Reason::Rejected(RejectCode::Stale { .. }) => Mark::StaleRestart,
            Reason::SelfConnection => Mark::SelfConnection,
            Reason::WriteStalled => Mark::WriteStall,
            Reason::HandshakeTimeout => Mark::HandshakeTimeout,
            _ => return,
        };
        self.add(mark, 1);
    }

    fn event(&mut self, event: &Event) {
        let mark = match event {
            Event::PeerDown { reason: Reason::Restarted, .. } => Mark::Restarted,
            Event::PeerDown { reason: Reason::Timeout, .. } => Mark::Timeout,
            Event::DuplicateIdentity { .. } => Mark::DuplicateIdentity,
            Event::PartialPartition { .. } => Mark::PartialPartition,
            Event::SessionReset { .. } => Mark::SessionReset,
            Event::Flushed { .. } => Mark::Flushed,
            Event::Undelivered(undelivered) => {
                let cut = undelivered.in_doubt.iter().filter(|payload| payload.len() > MAX_CHUNK).count();
                self.add(Mark::CutMessage, cut as u64);
                self.add(Mark::InDoubt, undelivered.in_doubt.len() as u64);
                return self.add(Mark::NotDelivered, undelivered.not_delivered.len() as u64);
            }
            Event::JoinFailed { error: JoinError::Failed(_) | JoinError::TimedOut, .. } => Mark::JoinFailed,
            Event::Left { undelivered: 1.. } => Mark::LeftWithLoss,
            _ => return,
        };
        self.add(mark, 1);
    }

    fn stats(&mut self, stats: &Stats) {
        self.add(Mark::Delivered, stats.messages_delivered);
        self.add(Mark::ProbeWon, stats.probes.saturating_sub(stats.probes_lost));
        self.add(Mark::ProbeLost, stats.probes_lost);
        self.add(Mark::Takeover, stats.takeovers);
        self.add(Mark::OwnStall, stats.own_stalls);
        self.add(Mark::SessionResumed, stats.sessions_resumed);
        self.add(Mark::MessageResumed, stats.messages_resumed);
        self.add(Mark::SessionExpired, stats.sessions_expired);
        self.add(Mark::ClosedStreamUsed, stats.closed_streams_used);
        self.add(Mark::SendWindowFull, stats.send_window_limit);
        self.add(Mark::TooLarge, stats.message_limit);
        self.add(Mark::CreditShort, stats.recv_budget_limit);
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(Mark::ALL.into_iter().map(|mark| (mark, self.count(mark)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Crash, Restart};
    use cluster_core::Config;
    use std::time::Duration;

    #[test]
    fn a_world_is_marked_by_what_its_nodes_tell() {
        let mut world = World::new(1);
        let hosts = world.add_many(2, &Config::insecure_plaintext());
        let own = world.host(hosts[0]).addr();
        world.node(hosts[0]).join(hosts[1]).unwrap();
        world.node(hosts[0]).join(own).unwrap();
        world.run_for(Duration::from_secs(1));
        assert_eq!(Marks::of(&world).count(Mark::Restarted), 0);
        world.host_mut(hosts[1]).crash(Crash::Power);
        world.host_mut(hosts[1]).restart(Restart::default());
        world.node(hosts[1]).join(hosts[0]).unwrap();
        world.run_for(Duration::from_secs(5));
        let marks = Marks::of(&world);
        assert_eq!(marks.count(Mark::Restarted), 1, "{marks:?}");
        assert!(marks.missing().contains(&Mark::WriteStall) && !marks.missing().contains(&Mark::Restarted));
        let mut twice = marks.clone();
        twice.merge(&marks);
        assert_eq!(twice.count(Mark::Restarted), 2);
    }

    #[test]
    fn every_mark_has_a_place_of_its_own() {
        assert!(Mark::ALL.into_iter().enumerate().all(|(index, mark)| mark as usize == index));
    }
}
