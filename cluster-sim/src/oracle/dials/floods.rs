//! Dials that nobody there asked for and nobody there answers.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use cluster_core::Instant;

use crate::oracle::{Verdict, network};

/// The most failed dials to one host within a [`SPAN`]: more than the budget for hearsay allows, and far more than the
/// peers that were lost there are dialled with any back-off. A node that dials again at once exceeds it in seconds.
const MOST: usize = 1_000;

const SPAN: Duration = Duration::from_secs(60);

/// The failed dials to each host that the user of the node did not name.
#[derive(Debug, Default)]
pub(super) struct Floods(BTreeMap<IpAddr, VecDeque<Instant>>);

impl Floods {
    /// A dial has found nobody.
    pub(super) fn failed(&mut self, ip: IpAddr, now: Instant) {
        self.0.entry(network(ip)).or_default().push_back(now);
    }

    /// The node dials once more.
    pub(super) fn dial(&mut self, ip: IpAddr, now: Instant) -> Verdict {
        let Some(failed) = self.0.get_mut(&network(ip)) else { return Ok(()) };
        while failed.pop_front_if(|at| now - *at > SPAN).is_some() {}
        if failed.len() <= MOST {
            return Ok(());
        }
        Err(format!("{} dials to {ip} within {SPAN:?} have found nobody", failed.len()))
    }
}
