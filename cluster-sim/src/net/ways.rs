//! The ways between hosts that differ from what is usual: their latency and bandwidth, cuts, clogs and blocked dials.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_timeline::record::HostId;
use serde::{Deserialize, Serialize};

use crate::rng::{Purpose, Small};
use crate::way::{Delay, Latency, Throttle, Transit};

/// How dials from one host to another are kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// They are never answered, as by most firewalls.
    Drop,
    /// They are refused.
    Refuse,
}

/// What is usual, and what is different where.
#[derive(Debug)]
pub(super) struct Ways {
    seed: u64,
    pub(super) delay: Delay,
    /// Bytes a second.
    pub(super) rate: Option<u64>,
    own: BTreeMap<(HostId, HostId), Way>,
}

/// The way from one host to another.
#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) delay: Option<Delay>,
    pub(super) rate: Option<u64>,
    pub(super) throttle: Throttle,
    pub(super) cut: bool,
    pub(super) block: Option<Block>,
    clog: Option<Box<Clog>>,
    /// Counts the clogs, so that a late turn of an earlier one is recognised.
    clogs: u32,
}

/// A way that carries nothing now and then.
#[derive(Debug)]
struct Clog {
    rng: Small,
    open: u64,
    shut: u64,
    is_shut: bool,
}

impl Ways {
    pub(super) fn new(seed: u64) -> Ways {
        Ways { seed, delay: Latency::default().into(), rate: None, own: BTreeMap::new() }
    }

    /// For what sets out from one host to another, as long as both have power.
    pub(super) fn transit(&mut self, from: HostId, to: HostId) -> Transit<'_> {
        let rate = self.rate;
        if self.own.is_empty() && rate.is_none() {
            return Transit::open(self.delay);
        }
        let way = match rate {
            Some(_) => Some(self.own.entry((from, to)).or_default()),
            None => self.own.get_mut(&(from, to)),
        };
        let Some(way) = way else { return Transit::open(self.delay) };
        let delay = way.delay.unwrap_or(self.delay);
        match way.rate.or(rate) {
            _ if way.is_shut() => Transit::cut(),
            Some(rate) => Transit::narrow(delay, &mut way.throttle, rate),
            None => Transit::open(delay),
        }
    }

    /// Nanoseconds that what is no segment takes.
    pub(super) fn latency(&self, from: HostId, to: HostId) -> u64 {
        self.own.get(&(from, to)).and_then(|way| way.delay).unwrap_or(self.delay).base()
    }

    /// How many bytes a second get through, if there is an end to it, and how long a segment takes at most.
    pub(super) fn width(&self, from: HostId, to: HostId) -> Option<(u64, Duration)> {
        let way = self.own.get(&(from, to));
        let rate = way.and_then(|way| way.rate).or(self.rate)?;
        let delay = |from, to| self.own.get(&(from, to)).and_then(|way| way.delay).unwrap_or(self.delay).longest();
        Some((rate, Duration::from_nanos(delay(from, to).saturating_add(delay(to, from)))))
    }

    pub(super) fn is_narrow(&self, from: HostId, to: HostId) -> bool {
        self.rate.is_some() || self.own.get(&(from, to)).is_some_and(|way| way.rate.is_some())
    }

    pub(super) fn is_shut(&self, from: HostId, to: HostId) -> bool {
        self.own.get(&(from, to)).is_some_and(Way::is_shut)
    }

    pub(super) fn block(&self, from: HostId, to: HostId) -> Option<Block> {
        self.own.get(&(from, to)).and_then(|way| way.block)
    }

    /// The ways that are cut, or clogged at the moment.
    pub(super) fn cuts(&self) -> impl Iterator<Item = (HostId, HostId)> {
        self.own.iter().filter(|(_, way)| way.is_shut()).map(|(&pair, _)| pair)
    }

    /// The ways on which dials are kept out.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (HostId, HostId, Block)> {
        self.own.iter().filter_map(|(&(from, to), way)| Some((from, to, way.block?)))
    }

    pub(super) fn way(&mut self, from: HostId, to: HostId) -> &mut Way {
        self.own.entry((from, to)).or_default()
    }

    /// The ways that are cut or clogged.
    pub(super) fn hindered(&self) -> Vec<(HostId, HostId)> {
        self.own.iter().filter(|(_, way)| way.cut || way.clog.is_some()).map(|(&pair, _)| pair).collect()
    }

    /// From now on the way is clogged for up to `shut` nanoseconds and open for up to `open`, in turns. Names the clog.
    pub(super) fn clog(&mut self, from: HostId, to: HostId, open: u64, shut: u64) -> u32 {
        let number = self.own.get(&(from, to)).map_or(1, |way| way.clogs.wrapping_add(1));
        let rng = Small::new(self.seed, Purpose::Clog, from.0, to.0);
        let way = self.way(from, to);
        way.clogs = number;
        way.clog = Some(Box::new(Clog { rng, open, shut, is_shut: false }));
        number
    }

    pub(super) fn unclog(&mut self, from: HostId, to: HostId) {
        if let Some(way) = self.own.get_mut(&(from, to)) {
            way.clog = None;
        }
    }

    /// Opens or shuts a clogged way. Returns after how many nanoseconds it turns again, if it is this clog still.
    pub(super) fn turn(&mut self, from: HostId, to: HostId, number: u32) -> Option<u64> {
        let way = self.own.get_mut(&(from, to)).filter(|way| way.clogs == number)?;
        let clog = way.clog.as_mut()?;
        clog.is_shut = !clog.is_shut;
        Some(1 + clog.rng.below(if clog.is_shut { clog.shut } else { clog.open }))
    }
}

impl Way {
    fn is_shut(&self) -> bool {
        self.cut || self.clog.as_ref().is_some_and(|clog| clog.is_shut)
    }
}
