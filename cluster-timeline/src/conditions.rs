//! How things stand: what each host does and which faults are in force, as they are seen between two steps, and the
//! spans that follow from what changed.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{Instant, Run};

use crate::newest::Newest;
use crate::record::HostId;
use crate::timeline::{FaultKind, FaultSpan, HostState, MAX_SPANS, StateSpan};

/// How things stand at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What each host does, and as which run, by [index](HostId::index).
    pub hosts: Vec<(HostState, Option<Run>)>,
    /// The faults in force: the kind, the host, and for a way between two hosts the host that it leads to.
    pub faults: BTreeSet<(FaultKind, HostId, Option<HostId>)>,
}

/// The spans so far.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    hosts: Vec<StateSpan>,
    faults: BTreeMap<(FaultKind, HostId, Option<HostId>), Instant>,
    past_states: Newest<StateSpan>,
    past_faults: Newest<FaultSpan>,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            hosts: Vec::new(),
            faults: BTreeMap::new(),
            past_states: Newest::new(MAX_SPANS),
            past_faults: Newest::new(MAX_SPANS),
        }
    }
}

impl Conditions {
    pub(crate) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Things stand like this now.
    pub(crate) fn observe(&mut self, at: Instant, snapshot: &Snapshot) {
        for (index, &(state, run)) in snapshot.hosts.iter().enumerate() {
            let span = StateSpan { host: HostId(index as u32), state, run, from: at, until: None };
            match self.hosts.get_mut(index) {
                None => self.hosts.push(span),
                Some(present) if (present.state, present.run) == (state, run) => {}
                Some(present) => {
                    let past = std::mem::replace(present, span);
                    if past.from < at {
                        self.past_states.push(StateSpan { until: Some(at), ..past });
                    }
                }
            }
        }
        let past = &mut self.past_faults;
        self.faults.retain(|&(kind, host, to), &mut from| {
            let holds = snapshot.faults.contains(&(kind, host, to));
            if !holds {
                past.push(FaultSpan { kind, host, to, from, until: Some(at) });
            }
            holds
        });
        for &fault in &snapshot.faults {
            self.faults.entry(fault).or_insert(at);
        }
    }

    pub(crate) fn states(&self) -> Vec<StateSpan> {
        let mut spans: Vec<StateSpan> = self.past_states.iter().chain(&self.hosts).copied().collect();
        spans.sort_by_key(|span| (span.from, span.host));
        spans
    }

    pub(crate) fn faults(&self) -> Vec<FaultSpan> {
        let open = |(&(kind, host, to), &from): (&_, &Instant)| FaultSpan { kind, host, to, from, until: None };
        let mut spans: Vec<FaultSpan> = self.past_faults.iter().copied().collect();
        spans.extend(self.faults.iter().map(open));
        spans.sort_by_key(|span| (span.from, span.kind, span.host, span.to));
        spans
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.past_states.dropped() + self.past_faults.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Instant {
        Instant::from_nanos(second * 1_000_000_000)
    }

    #[test]
    fn a_span_lasts_from_when_something_is_first_seen_to_when_it_is_gone() {
        let cut = (FaultKind::Cut, HostId(0), Some(HostId(1)));
        let snapshot =
            |state, faults: &[_]| Snapshot { hosts: vec![(state, None)], faults: faults.iter().copied().collect() };
        let mut conditions = Conditions::default();
        conditions.observe(at(1), &snapshot(HostState::Running, &[]));
        conditions.observe(at(2), &snapshot(HostState::Running, &[cut]));
        conditions.observe(at(3), &snapshot(HostState::Crashed, &[cut]));
        conditions.observe(at(4), &snapshot(HostState::Crashed, &[]));
        let states: Vec<_> = conditions.states().iter().map(|span| (span.state, span.from, span.until)).collect();
        assert_eq!(states, [(HostState::Running, at(1), Some(at(3))), (HostState::Crashed, at(3), None)]);
        let faults: Vec<_> = conditions.faults().iter().map(|span| (span.kind, span.from, span.until)).collect();
        assert_eq!(faults, [(FaultKind::Cut, at(2), Some(at(4)))]);
    }
}
