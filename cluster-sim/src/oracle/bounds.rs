//! O9: every table, queue and timer count of a node is within its bound at every step.

use cluster_core::limits::{
    MAX_ADDRESSES, MAX_ALIASES, MAX_CLOSED_STREAMS, MAX_NOTICE_SOURCES, MAX_RECORDS, MAX_TARGETS,
};
use cluster_core::{Limits, Usage};

use super::Verdict;

/// Deadlines that belong to no link, peer, candidate or target.
const OWN_TIMERS: usize = 4;

/// What the simulator itself has counted at a node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) links: usize,
    pub(super) inbound: usize,
    pub(super) silent: usize,
    /// Of these, the most that come from one IP.
    pub(super) silent_of_one: usize,
    pub(super) greeted: usize,
    pub(super) joins: usize,
}

/// Whether a node holds no more than its limits allow, and has as many links as its driver.
pub(super) fn within(usage: &Usage, counted: Counted, limits: &Limits) -> Verdict {
    let Limits {
        max_peers,
        max_pending,
        max_pending_per_ip,
        max_greeted,
        max_accept_sources,
        max_candidates,
        max_candidates_per_peer,
        max_tombstones,
        max_dials,
        ..
    } = *limits;
    let timers = 8 * usage.links + 5 * usage.peers + usage.candidates + 2 * usage.targets + OWN_TIMERS;
    // Each peer may have a link and a dial; and each user's target as many dials as its name has records.
    let outbound = 2 * max_peers + max_dials + MAX_RECORDS * usage.targets;
    for (what, count, most) in [
        ("actions after the last", usage.actions, 0),
        ("timers", usage.timers, timers),
        ("links", usage.links, limits.max_inbound() + outbound),
        ("inbound links", counted.inbound, limits.max_inbound()),
        ("links without a hello", counted.silent, max_pending),
        // Some as a stranger, and some since a peer was seen there.
        ("links without a hello of one IP", counted.silent_of_one, 2 * max_pending_per_ip),
        ("links with a hello", counted.greeted, max_greeted),
        ("peers", usage.peers, max_peers),
        ("candidates", usage.candidates, max_candidates),
        ("candidates of one introducer", usage.introduced, max_candidates_per_peer),
        ("dials that wait", usage.waiting_dials, max_candidates + max_peers),
        ("targets", usage.targets, MAX_TARGETS),
        ("joins", counted.joins, MAX_TARGETS),
        ("tombstones", usage.tombstones, 3 * max_tombstones),
        ("own addresses", usage.own_addresses, MAX_ALIASES + MAX_ADDRESSES + 1),
        ("sources of notices", usage.notice_sources, MAX_NOTICE_SOURCES + 1),
        ("sources of connections", usage.accept_sources, max_accept_sources + 1),
        ("nodes that left messages behind", usage.left_behind, max_peers),
        ("ends of streams", usage.closed_streams, MAX_CLOSED_STREAMS),
    ] {
        if count > most {
            return Err(format!("{count} {what}, and {most} are allowed: {usage:?}"));
        }
    }
    let classes = (usage.silent_links, usage.greeted_links);
    if classes != (counted.silent, counted.greeted) {
        return Err(format!("{classes:?} of its links are silent and greeted, and its driver has {counted:?}"));
    }
    if usage.links != counted.links {
        return Err(format!("it knows {} links, and its driver {}", usage.links, counted.links));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_more_than_allowed_is_found_in_every_table() {
        let limits = Limits::default();
        let mut full = Usage::default();
        full.peers = limits.max_peers;
        full.candidates = limits.max_candidates;
        full.introduced = limits.max_candidates_per_peer;
        full.waiting_dials = limits.max_candidates + limits.max_peers;
        full.targets = MAX_TARGETS;
        full.tombstones = 3 * limits.max_tombstones;
        full.own_addresses = MAX_ALIASES + MAX_ADDRESSES + 1;
        full.notice_sources = MAX_NOTICE_SOURCES + 1;
        full.accept_sources = limits.max_accept_sources + 1;
        full.left_behind = limits.max_peers;
        full.closed_streams = MAX_CLOSED_STREAMS;
        full.links = 10;
        (full.silent_links, full.greeted_links) = (limits.max_pending, limits.max_greeted);
        full.timers = 8 * 10 + 5 * limits.max_peers + limits.max_candidates + 2 * MAX_TARGETS + OWN_TIMERS;
        let counted = Counted {
            links: 10,
            inbound: 10,
            silent: limits.max_pending,
            silent_of_one: 2 * limits.max_pending_per_ip,
            greeted: limits.max_greeted,
            joins: MAX_TARGETS,
        };
        within(&full, counted, &limits).unwrap();
        let more: [fn(&mut Usage, &mut Counted); 18] = [
            |usage, _| usage.actions += 1,
            |usage, _| usage.timers += 1,
            |usage, _| usage.links += 1,
            |usage, _| usage.peers += 1,
            |usage, _| usage.candidates += 1,
            |usage, _| usage.introduced += 1,
            |usage, _| usage.waiting_dials += 1,
            |usage, _| usage.targets += 1,
            |usage, _| usage.tombstones += 1,
            |usage, _| usage.own_addresses += 1,
            |usage, _| usage.notice_sources += 1,
            |usage, _| usage.accept_sources += 1,
            |usage, _| usage.left_behind += 1,
            |usage, _| usage.closed_streams += 1,
            |_, counted| counted.silent += 1,
            |_, counted| counted.silent_of_one += 1,
            |_, counted| counted.greeted += 1,
            |_, counted| counted.joins += 1,
        ];
        for (index, more) in more.iter().enumerate() {
            let (mut usage, mut counted) = (full.clone(), counted);
            more(&mut usage, &mut counted);
            assert!(within(&usage, counted, &limits).is_err(), "case {index}");
        }
    }
}
