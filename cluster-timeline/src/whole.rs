//! How complete the mesh was, and who was cut off from whom.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{Instant, PeerState, Run};

use crate::record::HostId;
use crate::timeline::{FaultKind, FaultSpan, HostState, MeshSpan, PeerSpan, SplitSpan, StateSpan};

/// How many ways that are cut, or runs of hosts with numbers in a row, a text names.
const NAMED: usize = 6;

/// How complete the mesh was, from `begin` on.
pub(crate) fn mesh(begin: Instant, states: &[StateSpan], peers: &[PeerSpan]) -> Vec<MeshSpan> {
    let mut changes: BTreeMap<Instant, Vec<Change>> = BTreeMap::new();
    for span in states.iter().filter(|span| span.state.is_up()) {
        changes.entry(span.from).or_default().push(Change::Runs(span.host, span.run));
        if let Some(until) = span.until {
            changes.entry(until).or_default().push(Change::Ends(span.host, span.run));
        }
    }
    for span in peers.iter().filter(|span| span.state == PeerState::Up) {
        let Some(peer) = span.peer else { continue };
        changes.entry(span.from).or_default().push(Change::Up(span.host, peer, span.run));
        if let Some(until) = span.until {
            changes.entry(until).or_default().push(Change::Down(span.host, peer, span.run));
        }
    }
    let mut sight = Sight::default();
    let mut spans = vec![MeshSpan { from: begin, nodes: 0, seen: 0, stale: 0 }];
    for (from, mut together) in changes {
        // What ends at a time ends before what begins then.
        together.sort_by_key(|change| matches!(change, Change::Runs(..) | Change::Up(..)));
        for change in together {
            sight.change(change);
        }
        let span = MeshSpan { from, nodes: sight.runs.len(), seen: sight.seen, stale: sight.ups - sight.seen };
        match spans.last_mut() {
            Some(last) if last.from == from => *last = span,
            Some(last) if MeshSpan { from, ..*last } == span => {}
            _ => spans.push(span),
        }
    }
    spans
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Runs(HostId, Option<Run>),
    Ends(HostId, Option<Run>),
    Up(HostId, HostId, Run),
    Down(HostId, HostId, Run),
}

/// Who sees whom.
#[derive(Debug, Default)]
struct Sight {
    runs: BTreeMap<HostId, Run>,
    up: BTreeMap<(HostId, HostId), Run>,
    /// How many of `up` are of nodes that are there.
    ups: usize,
    /// How many of those are of the present run of a node that is there.
    seen: usize,
}

impl Sight {
    fn change(&mut self, change: Change) {
        match change {
            Change::Runs(host, Some(run)) => self.set_run(host, Some(run)),
            Change::Ends(host, Some(run)) if self.runs.get(&host) == Some(&run) => self.set_run(host, None),
            Change::Up(host, peer, run) => self.set_up(host, peer, Some(run)),
            Change::Down(host, peer, run) if self.up.get(&(host, peer)) == Some(&run) => self.set_up(host, peer, None),
            Change::Runs(..) | Change::Ends(..) | Change::Down(..) => {}
        }
    }

    fn set_run(&mut self, host: HostId, run: Option<Run>) {
        self.seen -= self.seen_with(host);
        self.ups -= self.ups_of(host);
        match run {
            Some(run) => self.runs.insert(host, run),
            None => self.runs.remove(&host),
        };
        self.seen += self.seen_with(host);
        self.ups += self.ups_of(host);
    }

    fn set_up(&mut self, host: HostId, peer: HostId, run: Option<Run>) {
        let running = usize::from(self.runs.contains_key(&host));
        self.seen -= usize::from(self.sees(host, peer));
        let before = match run {
            Some(run) => self.up.insert((host, peer), run),
            None => self.up.remove(&(host, peer)),
        };
        self.seen += usize::from(self.sees(host, peer));
        self.ups += running * usize::from(run.is_some());
        self.ups -= running * usize::from(before.is_some());
    }

    fn ups_of(&self, host: HostId) -> usize {
        if self.runs.contains_key(&host) {
            self.up.range((host, HostId(0))..=(host, HostId(u32::MAX))).count()
        } else {
            0
        }
    }

    fn seen_with(&self, host: HostId) -> usize {
        let others = self.runs.keys().filter(|&&other| other != host);
        others.map(|&other| usize::from(self.sees(host, other)) + usize::from(self.sees(other, host))).sum()
    }

    fn sees(&self, host: HostId, peer: HostId) -> bool {
        let run = self.up.get(&(host, peer));
        host != peer && self.runs.contains_key(&host) && run.is_some() && self.runs.get(&peer) == run
    }
}

/// Who was cut off from whom, and when.
pub(crate) fn splits(states: &[StateSpan], faults: &[FaultSpan]) -> Vec<SplitSpan> {
    let mut changes: BTreeMap<Instant, Vec<(bool, HostId, HostId)>> = BTreeMap::new();
    for span in faults.iter().filter(|span| span.kind == FaultKind::Cut) {
        let Some(to) = span.to else { continue };
        changes.entry(span.from).or_default().push((true, span.host, to));
        if let Some(until) = span.until {
            changes.entry(until).or_default().push((false, span.host, to));
        }
    }
    let used = states.iter().filter(|span| span.state != HostState::Idle).map(|span| span.host);
    let hosts: BTreeSet<HostId> =
        used.chain(faults.iter().filter(|span| span.to.is_some()).map(|span| span.host)).collect();
    let mut cuts = BTreeSet::new();
    let mut spans: Vec<SplitSpan> = Vec::new();
    for (from, mut together) in changes {
        together.sort_unstable();
        for (begins, host, to) in together {
            if begins {
                cuts.insert((host, to))
            } else {
                cuts.remove(&(host, to))
            };
        }
        if let Some(last) = spans.last_mut().filter(|last| last.until.is_none()) {
            last.until = Some(from);
        }
        if !cuts.is_empty() {
            let islands = islands(&hosts, &cuts);
            let text = if islands.len() > 1 { split_text(&islands) } else { cuts_text(&cuts) };
            spans.push(SplitSpan { from, until: None, islands, text });
        }
    }
    spans
}

/// The hosts, in groups whose members can reach each other, the group of the first host first.
fn islands(hosts: &BTreeSet<HostId>, cuts: &BTreeSet<(HostId, HostId)>) -> Vec<Vec<HostId>> {
    let mut left = hosts.clone();
    let mut islands = Vec::new();
    while let Some(first) = left.pop_first() {
        let mut island = vec![first];
        let mut next = 0;
        while let Some(&host) = island.get(next) {
            let near = |&&other: &&HostId| !cuts.contains(&(host, other)) && !cuts.contains(&(other, host));
            let reached: Vec<HostId> = left.iter().filter(near).copied().collect();
            for other in reached {
                left.remove(&other);
                island.push(other);
            }
            next += 1;
        }
        island.sort_unstable();
        islands.push(island);
    }
    islands
}

fn split_text(islands: &[Vec<HostId>]) -> String {
    islands.iter().map(|island| list(island)).collect::<Vec<_>>().join(" | ")
}

/// The ways that are cut, those in both directions once.
fn cuts_text(cuts: &BTreeSet<(HostId, HostId)>) -> String {
    let both = |&(from, to): &(HostId, HostId)| cuts.contains(&(to, from));
    let shown = cuts.iter().filter(|&&(from, to)| from < to || !both(&(from, to)));
    let name = |&(from, to): &(HostId, HostId)| format!("{from} {} {to}", if both(&(from, to)) { "|" } else { "↛" });
    let names: Vec<String> = shown.map(name).collect();
    if names.len() > NAMED {
        let hosts: BTreeSet<HostId> = cuts.iter().flat_map(|&(from, to)| [from, to]).collect();
        return format!("{} ways between {} hosts", names.len(), hosts.len());
    }
    names.join(", ")
}

/// Hosts by name, several in a row as a range; only their number if that would take long.
pub(crate) fn list(hosts: &[HostId]) -> String {
    let mut ranges: Vec<(HostId, HostId)> = Vec::new();
    for &host in hosts {
        match ranges.last_mut() {
            Some((_, last)) if last.0 + 1 == host.0 => *last = host,
            _ => ranges.push((host, host)),
        }
    }
    let name = |&(first, last): &(HostId, HostId)| match last.0 - first.0 {
        0 => first.to_string(),
        1 => format!("{first} {last}"),
        _ => format!("{first}–{last}"),
    };
    if ranges.len() > NAMED {
        return format!("{} hosts", hosts.len());
    }
    ranges.iter().map(name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::{Incarnation, NodeId};

    fn at(second: u64) -> Instant {
        Instant::from_nanos(second * 1_000_000_000)
    }

    fn run(host: u32, incarnation: u64) -> Run {
        Run { id: NodeId::from_bytes([host as u8; 16]), incarnation: Incarnation(incarnation) }
    }

    fn running(host: u32, incarnation: u64, from: u64, until: Option<u64>) -> StateSpan {
        let (host, run) = (HostId(host), Some(run(host, incarnation)));
        StateSpan { host, state: HostState::Running, run, from: at(from), until: until.map(at) }
    }

    fn up(host: u32, peer: u32, incarnation: u64, from: u64, until: Option<u64>) -> PeerSpan {
        PeerSpan {
            host: HostId(host),
            peer: Some(HostId(peer)),
            run: run(peer, incarnation),
            state: PeerState::Up,
            from: at(from),
            until: until.map(at),
            ended: None,
        }
    }

    fn cut(from: u32, to: u32, since: u64, until: Option<u64>) -> FaultSpan {
        let (host, to) = (HostId(from), Some(HostId(to)));
        FaultSpan { kind: FaultKind::Cut, host, to, from: at(since), until: until.map(at) }
    }

    #[test]
    fn the_mesh_is_whole_while_everybody_sees_the_present_run_of_everybody() {
        let states = [running(0, 1, 0, None), running(1, 1, 0, Some(5)), running(1, 2, 6, None)];
        let peers = [up(0, 1, 1, 2, Some(8)), up(1, 0, 1, 3, Some(5)), up(0, 1, 2, 8, None), up(1, 0, 1, 8, None)];
        let spans: Vec<_> = mesh(at(0), &states, &peers)
            .iter()
            .map(|span| (span.from.as_nanos() / 1_000_000_000, span.nodes, span.seen, span.is_whole()))
            .collect();
        let expected =
            [(0, 2, 0, false), (2, 2, 1, false), (3, 2, 2, true), (5, 1, 0, false), (6, 2, 0, false), (8, 2, 2, true)];
        assert_eq!(mesh(at(0), &states, &peers)[3].stale, 1, "it does not know yet");
        assert_eq!(spans, expected);
    }

    #[test]
    fn many_hosts_and_ways_are_told_by_their_number() {
        let even: Vec<HostId> = (0..10).map(|number| HostId(2 * number)).collect();
        assert_eq!((list(&even[..3]), list(&even)), ("n0 n2 n4".to_owned(), "10 hosts".to_owned()));
        let states: Vec<StateSpan> = (0..8).map(|host| running(host, 1, 0, None)).collect();
        let ways: Vec<FaultSpan> = (0..8).map(|host| cut(host, (host + 1) % 8, 1, None)).collect();
        assert_eq!(splits(&states, &ways[..2])[0].text, "n0 ↛ n1, n1 ↛ n2");
        assert_eq!(splits(&states, &ways)[0].text, "8 ways between 8 hosts");
    }

    #[test]
    fn a_partition_is_told_by_its_islands_and_single_cuts_by_their_ends() {
        let states: Vec<StateSpan> = (0..5).map(|host| running(host, 1, 0, None)).collect();
        let mut faults = vec![cut(0, 1, 1, Some(2))];
        for host in 0..4 {
            faults.extend([cut(host, 4, 3, Some(4)), cut(4, host, 3, None)]);
        }
        let spans: Vec<_> =
            splits(&states, &faults).into_iter().map(|span| (span.from, span.until, span.text)).collect();
        assert_eq!(spans[0], (at(1), Some(at(2)), "n0 ↛ n1".to_owned()));
        assert_eq!(spans[1], (at(3), Some(at(4)), "n0–n3 | n4".to_owned()));
        assert_eq!((spans[2].1, &*spans[2].2), (None, "n0–n3 | n4"));
        assert_eq!(spans.len(), 3);
    }
}
