//! O3: a peer is up only if it really completed a handshake, never by hearsay; where there is a secret nobody is
//! taken for a node that he is not; and who has not authenticated itself changes nothing.
//!
//! The truth about a handshake is what was said at the *other* end of the connection.

use std::collections::BTreeMap;

use cluster_core::{Frame, Run, Usage};

use super::Verdict;
use crate::net::{ConnId, Sock};

/// Every connection that a node has an end of, and how far each end has come.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    conns: BTreeMap<ConnId, [Option<End>; 2]>,
}

/// One end, if a node is there: what scripts and strangers do is no promise of anybody.
#[derive(Clone, Copy, Debug)]
struct End {
    /// As whom it introduced itself.
    run: Run,
    /// It has said what the other end needs to be up: `Accept` or `Resume`.
    agreed: bool,
    over: bool,
}

impl Handshakes {
    pub(super) fn opened(&mut self, sock: Sock, run: Run) {
        let ends = self.conns.entry(sock.conn).or_default();
        ends[sock.side as usize] = Some(End { run, agreed: false, over: false });
    }

    pub(super) fn sent(&mut self, sock: Sock, frame: &Frame) {
        if let Frame::Accept(_) | Frame::Resume(_) = frame
            && let Some(Some(end)) = self.conns.get_mut(&sock.conn).map(|ends| &mut ends[sock.side as usize])
        {
            end.agreed = true;
        }
    }

    /// This end is over; a connection is forgotten once no end needs the truth about the other.
    pub(super) fn gone(&mut self, sock: Sock) {
        let Some(ends) = self.conns.get_mut(&sock.conn) else { return };
        if let Some(end) = &mut ends[sock.side as usize] {
            end.over = true;
        }
        if ends.iter().flatten().all(|end| end.over) {
            self.conns.remove(&sock.conn);
        }
    }

    /// Who is at the other end of a connection, if that is a node.
    pub(super) fn other(&self, sock: Sock) -> Option<Run> {
        Some(self.other_end(sock)?.run)
    }

    /// A channel with a secret stands, and whoever is at the other end of it was taken for `run`, which is or is not a
    /// node of this world.
    pub(super) fn proven(&self, run: Run, sock: Sock, is_node: bool) -> Verdict {
        match self.other_end(sock) {
            Some(end) if end.run.id != run.id => Err(format!("{:?} was taken for {run:?}", end.run)),
            None if is_node && !self.talks_to_strangers(run) => {
                Err(format!("somebody who is no node was taken for {run:?}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a node speaks to somebody who is none, and who may pass on what it says.
    fn talks_to_strangers(&self, run: Run) -> bool {
        self.conns.values().any(|ends| match ends {
            [Some(end), None] | [None, Some(end)] => end.run.id == run.id,
            _ => false,
        })
    }

    /// A node says that a run is up; `sock` is its end of the connection of the link that it is up by.
    pub(super) fn up(&self, run: Run, sock: Option<Sock>) -> Verdict {
        let Some(sock) = sock else { return Err(format!("PeerUp of {run:?}, with which no link connects it")) };
        match self.other_end(sock) {
            Some(end) if end.run != run => {
                Err(format!("PeerUp of {run:?}, and at the other end of that connection is {:?}", end.run))
            }
            Some(end) if !end.agreed => Err(format!("PeerUp of {run:?}, which has not agreed to that link")),
            Some(_) | None => Ok(()),
        }
    }

    fn other_end(&self, sock: Sock) -> Option<End> {
        self.conns.get(&sock.conn)?[sock.side.other() as usize]
    }
}

/// What must not change while nobody but strangers does anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Untouched {
    usage: Usage,
    events: usize,
    /// What has been done since the last look, if it was strangers alone.
    strangers: Option<&'static str>,
    others: bool,
}

impl Untouched {
    /// Someone who has not authenticated itself has done something.
    pub(super) fn stranger(&mut self, what: &'static str) {
        self.strangers = Some(what);
    }

    /// Somebody else has done something, or time has passed.
    pub(super) fn other(&mut self) {
        self.others = true;
    }

    pub(super) fn event(&mut self) {
        self.events += 1;
    }

    /// The node has nothing more to say for now.
    pub(super) fn drained(&mut self, usage: &Usage) -> Verdict {
        let told = std::mem::take(&mut self.events);
        let before = std::mem::replace(&mut self.usage, usage.clone());
        let (strangers, others) = (self.strangers.take(), std::mem::take(&mut self.others));
        let Some(what) = strangers.filter(|_| !others) else { return Ok(()) };
        // A stranger takes the place of its connection, with its deadline, and is counted by where it comes from.
        let mut but_its_place = before.clone();
        (but_its_place.links, but_its_place.timers) = (usage.links, usage.timers);
        (but_its_place.silent_links, but_its_place.greeted_links) = (usage.silent_links, usage.greeted_links);
        (but_its_place.accept_sources, but_its_place.notice_sources) = (usage.accept_sources, usage.notice_sources);
        if told > 0 || but_its_place != *usage {
            return Err(format!("{what} of a stranger led to {told} events and from {before:?} to {usage:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accept, run, sock};
    use super::*;

    #[test]
    fn a_peer_is_up_only_by_a_link_that_it_agreed_to_itself() {
        let mut handshakes = Handshakes::default();
        let (here, there) = (sock(1), Sock { side: sock(1).side.other(), ..sock(1) });
        handshakes.opened(here, run(1, 1));
        handshakes.opened(there, run(2, 1));
        handshakes.up(run(2, 1), None).unwrap_err();
        handshakes.up(run(2, 1), Some(here)).unwrap_err();
        handshakes.sent(there, &accept());
        handshakes.up(run(2, 1), Some(here)).unwrap();
        handshakes.up(run(2, 2), Some(here)).unwrap_err();
        handshakes.gone(there);
        handshakes.up(run(2, 1), Some(here)).unwrap();
    }

    #[test]
    fn nobody_is_taken_for_a_node_that_he_is_not() {
        let mut handshakes = Handshakes::default();
        let (here, there) = (sock(1), Sock { side: sock(1).side.other(), ..sock(1) });
        handshakes.opened(here, run(1, 1));
        handshakes.proven(run(3, 1), here, false).unwrap();
        handshakes.proven(run(2, 1), here, true).unwrap_err();
        handshakes.opened(sock(2), run(2, 1));
        handshakes.proven(run(2, 1), here, true).unwrap();
        handshakes.opened(there, run(2, 1));
        handshakes.proven(run(2, 1), here, true).unwrap();
        handshakes.proven(run(3, 1), here, true).unwrap_err();
    }

    #[test]
    fn what_strangers_do_changes_no_table_and_is_no_event() {
        let mut untouched = Untouched::default();
        let before = Usage::default();
        let mut after = Usage::default();
        after.peers = 1;
        untouched.stranger("a connection");
        untouched.drained(&before).unwrap();
        untouched.stranger("a connection");
        untouched.other();
        untouched.drained(&after).unwrap();
        untouched.stranger("a connection");
        untouched.drained(&before).unwrap_err();
        untouched.stranger("a connection");
        untouched.event();
        untouched.drained(&before).unwrap_err();
    }

    #[test]
    fn strangers_have_their_place_and_nothing_else() {
        let verdict = |change: fn(&mut Usage)| {
            let (mut untouched, mut after) = (Untouched::default(), Usage::default());
            change(&mut after);
            untouched.stranger("a connection");
            untouched.drained(&after)
        };
        let theirs: [fn(&mut Usage); 4] = [
            |usage| usage.links += 1,
            |usage| usage.timers += 1,
            |usage| usage.accept_sources += 1,
            |usage| usage.notice_sources += 1,
        ];
        assert!(theirs.into_iter().all(|change| verdict(change).is_ok()));
        let not_theirs: [fn(&mut Usage); 11] = [
            |usage| usage.actions += 1,
            |usage| usage.peers += 1,
            |usage| usage.candidates += 1,
            |usage| usage.introduced += 1,
            |usage| usage.waiting_dials += 1,
            |usage| usage.targets += 1,
            |usage| usage.tombstones += 1,
            |usage| usage.own_addresses += 1,
            |usage| usage.left_behind += 1,
            |usage| usage.closed_streams += 1,
            |usage| usage.unread += 1,
        ];
        assert!(not_theirs.into_iter().all(|change| verdict(change).is_err()));
    }
}
