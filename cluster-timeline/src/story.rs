//! The moments of a run that somebody would tell it by.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster_core::Instant;

use crate::record::HostId;
use crate::timeline::{FaultKind, HostState, Note, NoteKind, StateSpan, Timeline};
use crate::units;
use crate::whole::list;

/// Losses that follow each other within this are one moment.
const TOGETHER: Duration = Duration::from_secs(1);

/// How many groups of losers a moment names.
const NAMED: usize = 3;

/// What happened to a host that does not run for a while.
const PAUSED: &str = "paused";

/// A moment worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Instant,
    /// What kind of moment.
    pub kind: MomentKind,
    /// Whose, if it is one host's.
    pub host: Option<HostId>,
    /// What happened, in a few words.
    pub text: String,
}

/// The kinds of moment, in the order in which those of one time are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MomentKind {
    /// The last cut was undone.
    Healed,
    /// Hosts were cut off from others, or a way between two was.
    Split,
    /// Something happened to a host: a start, a crash, a pause, a leave.
    Host,
    /// Something else was done to the world.
    Fault,
    /// Nodes lost peers.
    Lost,
    /// The mesh is complete no more.
    Broken,
    /// The mesh became complete.
    Whole,
    /// A promise was broken.
    Violation,
}

impl MomentKind {
    /// The name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MomentKind::Healed => "healed",
            MomentKind::Split => "split",
            MomentKind::Host => "host",
            MomentKind::Fault => "fault",
            MomentKind::Lost => "lost",
            MomentKind::Broken => "broken",
            MomentKind::Whole => "whole",
            MomentKind::Violation => "violation",
        }
    }
}

impl Timeline {
    /// The moments that the run is best told by, oldest first: who was cut off from whom, which hosts crashed, which
    /// peers were lost, when the mesh was whole again, what was violated.
    #[must_use]
    pub fn story(&self) -> Vec<Moment> {
        let mut moments = self.split_moments();
        moments.extend(self.host_moments());
        moments.extend(self.fault_moments());
        moments.sort_by_key(|moment| moment.at);
        let matters = |moment: &&Moment| moment.kind != MomentKind::Split && !moment.text.ends_with(PAUSED);
        let causes: Vec<Moment> = moments.iter().filter(matters).cloned().collect();
        moments.extend(self.condition_moments());
        moments.extend(self.lost_moments());
        moments.extend(self.mesh_moments(&causes));
        moments.extend(self.violations.iter().map(|breach| Moment {
            at: breach.at,
            kind: MomentKind::Violation,
            host: breach.host,
            text: breach.text.lines().next().unwrap_or_default().to_owned(),
        }));
        moments.sort_by_key(|moment| (moment.at, moment.kind));
        moments
    }

    fn split_moments(&self) -> Vec<Moment> {
        let mut moments = Vec::new();
        for (index, split) in self.splits.iter().enumerate() {
            let what = if split.islands.len() > 1 { "the network is split" } else { "cut" };
            let text = format!("{what}: {}", split.text);
            moments.push(Moment { at: split.from, kind: MomentKind::Split, host: None, text });
            let next = self.splits.get(index + 1).map(|next| next.from);
            if let Some(at) = split.until.filter(|&until| next != Some(until)) {
                moments.push(Moment {
                    at,
                    kind: MomentKind::Healed,
                    host: None,
                    text: "every cut is healed".to_owned(),
                });
            }
        }
        moments
    }

    fn host_moments(&self) -> Vec<Moment> {
        let mut before: BTreeMap<HostId, HostState> = BTreeMap::new();
        let mut groups: BTreeMap<(Instant, &str), Vec<HostId>> = BTreeMap::new();
        for &StateSpan { host, state, from, .. } in &self.states {
            let what = match (before.insert(host, state), state) {
                (None | Some(HostState::Idle), HostState::Running) => "started",
                (Some(HostState::Paused), HostState::Running) => "resumed",
                (Some(_), HostState::Running) => "started again",
                (_, HostState::Paused) => PAUSED,
                (_, HostState::Left) => "left",
                (_, HostState::Crashed) => "crashed",
                (_, HostState::Puppet) => "started as a puppet",
                (_, HostState::Idle) => continue,
            };
            groups.entry((from, what)).or_default().push(host);
        }
        let moment = |((at, what), hosts): ((Instant, &str), Vec<HostId>)| {
            let host = if let [host] = hosts[..] { Some(host) } else { None };
            Moment { at, kind: MomentKind::Host, host, text: format!("{} {what}", list(&hosts)) }
        };
        groups.into_iter().map(moment).collect()
    }

    /// Faults that happened once, other than what befalls a whole host.
    fn fault_moments(&self) -> Vec<Moment> {
        let mut moments = Vec::new();
        for note in self.notes.iter().filter(|note| note.kind == NoteKind::Fault) {
            if let Some(host) = note.host {
                let text = format!("{host}: {}", note.text);
                moments.push(Moment { at: note.at, kind: MomentKind::Fault, host: Some(host), text });
            }
        }
        moments
    }

    /// Faults other than cuts that held for a while.
    fn condition_moments(&self) -> Vec<Moment> {
        let moment = |at, host, text| Moment { at, kind: MomentKind::Fault, host: Some(host), text };
        let mut moments = Vec::new();
        for span in self.faults.iter().filter(|span| span.kind != FaultKind::Cut) {
            let to = span.to.map_or_else(String::new, |to| format!(" → {to}"));
            let text = format!("{}{to}: {}", span.host, span.kind.name());
            if let Some(until) = span.until {
                moments.push(moment(until, span.host, format!("{text}: over")));
            }
            moments.push(moment(span.from, span.host, text));
        }
        moments
    }

    fn lost_moments(&self) -> Vec<Moment> {
        let mut downs = self.notes.iter().filter(|note| note.kind == NoteKind::Down).peekable();
        let mut moments = Vec::new();
        while let Some(first) = downs.next() {
            let mut group = vec![first];
            let mut last = first.at;
            while let Some(next) = downs.next_if(|next| next.at - last <= TOGETHER) {
                last = next.at;
                group.push(next);
            }
            let losers: BTreeSet<HostId> = group.iter().filter_map(|note| note.host).collect();
            let host = if losers.len() == 1 { losers.first().copied() } else { None };
            moments.push(Moment { at: first.at, kind: MomentKind::Lost, host, text: loss(&group) });
        }
        moments
    }

    /// `causes`: what makes it possible, or necessary, that the mesh becomes whole, oldest first.
    fn mesh_moments(&self, causes: &[Moment]) -> Vec<Moment> {
        let mut moments = Vec::new();
        let mut whole = None;
        let mut broken = self.begin;
        for span in &self.mesh {
            let (at, is_whole) = (span.from, span.is_whole());
            if is_whole && whole != Some(true) {
                let again = if whole.is_some() { " again" } else { "" };
                let cause = causes.iter().rev().find(|cause| (broken..at).contains(&cause.at));
                let since = cause.map_or_else(String::new, |Moment { at: since, text, .. }| {
                    format!(", {} after: {text}", units::span(at - *since))
                });
                let text = format!("the mesh of {} is whole{again}{since}", span.nodes);
                moments.push(Moment { at, kind: MomentKind::Whole, host: None, text });
                whole = Some(true);
            } else if !is_whole && whole == Some(true) {
                let text = "the mesh is incomplete".to_owned();
                moments.push(Moment { at, kind: MomentKind::Broken, host: None, text });
                whole = Some(false);
                broken = at;
            }
        }
        moments
    }
}

/// Who lost whom, and why.
fn loss(group: &[&Note]) -> String {
    let mut lost_by: BTreeMap<HostId, BTreeSet<HostId>> = BTreeMap::new();
    for note in group {
        if let (Some(host), Some(peer)) = (note.host, note.peer) {
            lost_by.entry(host).or_default().insert(peer);
        }
    }
    let mut losers_of: BTreeMap<&BTreeSet<HostId>, Vec<HostId>> = BTreeMap::new();
    for (&host, lost) in &lost_by {
        losers_of.entry(lost).or_default().push(host);
    }
    let reasons: BTreeSet<&str> = group.iter().filter_map(|note| Some(note.text.split_once(": ")?.1)).collect();
    let reasons = reasons.into_iter().collect::<Vec<_>>().join("; ");
    if losers_of.len() > NAMED {
        let lost: BTreeSet<HostId> = lost_by.values().flatten().copied().collect();
        return format!("{} nodes lost {} peers ({reasons})", lost_by.len(), lost.len());
    }
    let mut groups: Vec<(Vec<HostId>, &BTreeSet<HostId>)> =
        losers_of.into_iter().map(|(lost, losers)| (losers, lost)).collect();
    groups.sort();
    let one = |(losers, lost): &(Vec<HostId>, &BTreeSet<HostId>)| {
        format!("{} lost {}", list(losers), list(&lost.iter().copied().collect::<Vec<_>>()))
    };
    format!("{} ({reasons})", groups.iter().map(one).collect::<Vec<_>>().join("; "))
}
