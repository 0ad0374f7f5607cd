//! What users asked to be connected to: joins and seeds.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::address::Target;
use crate::backoff::Backoff;
use crate::id::{JoinId, NodeId};
use crate::reason::JoinError;
use crate::time::Instant;

/// One `host:port` and who waits for it. Forgotten when its last join ends, unless it is a seed.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) target: Target,
    /// Dialled for ever.
    pub(crate) seed: bool,
    /// Joins that have had no outcome yet, with their deadlines.
    pub(crate) joins: Vec<(JoinId, Instant)>,
    pub(crate) resolving: bool,
    pub(crate) addresses: Vec<SocketAddr>,
    /// The peer found there, which is not up yet.
    pub(crate) found: Option<NodeId>,
    pub(crate) backoff: Backoff,
    pub(crate) last_error: Option<JoinError>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Targets {
    by_number: BTreeMap<u64, Wanted>,
    next: u64,
}

impl Targets {
    pub(crate) fn number(&self, target: &Target) -> Option<u64> {
        self.by_number.iter().find(|(_, wanted)| wanted.target == *target).map(|(number, _)| *number)
    }

    pub(crate) fn insert(&mut self, target: Target) -> u64 {
        let number = self.next;
        self.next += 1;
        let wanted = Wanted {
            target,
            seed: false,
            joins: Vec::new(),
            resolving: false,
            addresses: Vec::new(),
            found: None,
            backoff: Backoff::default(),
            last_error: None,
        };
        self.by_number.insert(number, wanted);
        number
    }

    pub(crate) fn find(&self, number: u64) -> Option<&Wanted> {
        self.by_number.get(&number)
    }

    pub(crate) fn find_mut(&mut self, number: u64) -> Option<&mut Wanted> {
        self.by_number.get_mut(&number)
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Wanted> {
        self.by_number.remove(&number)
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.by_number.keys().copied().collect()
    }

    /// Joins without an outcome, of all targets.
    pub(crate) fn joins(&self) -> usize {
        self.by_number.values().map(|wanted| wanted.joins.len()).sum()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_number.len()
    }
}
