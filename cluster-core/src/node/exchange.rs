//! Who else is there: digests, lists and announcements. All of it is hearsay: it may suggest a dial, never make a peer.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use super::dialling::COURTESY;
use super::timer::{LinkTimer, Timer};
use super::{Node, entry_size};
use crate::event::Event;
use crate::id::{LinkId, NodeId, Run};
use crate::limits::MAX_LIST;
use crate::mutant::mutant;
use crate::wire::{Announce, Digest, Entry, List, Profile};

/// A node that is connected already compares its view this long after a link comes up, and up to twice as long, so
/// that a mesh that forms all at once has settled by then.
const SETTLE: Duration = Duration::from_secs(1);

impl Node {
    /// A link is up: the two compare what they know of the mesh. Who knows nobody else asks at once.
    pub(super) fn schedule_digest(&mut self, id: LinkId, peer: NodeId) {
        let alone = !self.pairs.peers().any(|other| other.is_up() && other.run.id != peer);
        if alone {
            self.edit(id, |link| link.slots.digest = true);
        } else {
            let wait = SETTLE + self.cx.rng.up_to(SETTLE);
            self.cx.timers.set(Timer::Link(id, LinkTimer::Digest), self.cx.now + wait);
        }
    }

    pub(super) fn schedule_gossip(&mut self) {
        let interval = self.cx.config.timing.gossip_interval;
        let wait = interval / 2 + self.cx.rng.up_to(interval);
        self.cx.timers.set(Timer::Gossip, self.cx.now + wait);
    }

    /// Compares the view with that of one random peer, to repair what was missed.
    pub(super) fn gossip(&mut self) {
        self.dialling.forget(&mut self.cx);
        let links = self.up_links();
        if let Some(link) = links.get(self.cx.rng.below(links.len() as u64) as usize) {
            self.edit(*link, |link| link.slots.digest = true);
        }
        self.schedule_gossip();
    }

    /// The summary of the runs that count as current, for a peer: the two ends are left out.
    pub(super) fn digest_for(&self, peer: NodeId) -> Digest {
        let up = self.pairs.peers().filter(|other| other.is_up()).map(|other| other.run);
        let named = self.dialling.current(self.cx.now);
        let mut digest = Digest { buckets: [0; 16] };
        for run in up.chain(named).filter(|run| run.id != peer) {
            let bucket = &mut digest.buckets[bucket(run.id)];
            *bucket = bucket.wrapping_add(hash(run));
        }
        digest
    }

    /// A peer has sent its summary.
    pub(super) fn digest_received(&mut self, link: LinkId, from: Run, theirs: Digest) {
        let now = self.cx.now;
        if !self.pairs.link_mut(link).is_some_and(|link| link.control.compares(now)) {
            return;
        }
        let ours = self.digest_for(from.id);
        let mut differing: u16 = 0;
        for (i, (ours, theirs)) in ours.buckets.iter().zip(&theirs.buckets).enumerate() {
            differing |= u16::from(ours != theirs) << i;
        }
        let Some(peer) = self.pairs.peer_mut(from.id) else { return };
        if differing == 0 {
            return peer.rest.clear();
        }
        if !peer.rest.is_over(now) {
            return;
        }
        peer.rest.begin(now);
        let newcomer = theirs.buckets == [0; 16];
        let mut introduce = false;
        self.edit(link, |link| {
            let asked = link.slots.list.map_or(0, |(buckets, _)| buckets);
            link.slots.list = Some((asked | differing, true));
            introduce = newcomer && !core::mem::replace(&mut link.introduced, true);
        });
        if introduce {
            for other in self.up_links().into_iter().filter(|other| *other != link) {
                self.edit(other, |link| {
                    link.slots.announce.insert(from.id);
                });
            }
        }
    }

    /// What this node is connected to, of the given buckets, for a peer.
    pub(super) fn list_for(&mut self, peer: NodeId, buckets: u16, reply: bool) -> List {
        let entries = self.entries(|id| id != peer && buckets >> bucket(id) & 1 == 1);
        List { buckets, reply, entries }
    }

    pub(super) fn announcement(&mut self, joiners: &BTreeSet<NodeId>) -> Announce {
        Announce { entries: self.entries(|id| joiners.contains(&id)) }
    }

    fn entries(&mut self, wanted: impl Fn(NodeId) -> bool) -> Vec<Entry> {
        let up = self.pairs.peers().filter(|peer| peer.is_up() && wanted(peer.run.id));
        let entry = |run: Run| Entry { run, addresses: self.dialling.gossiped(run.id).to_vec() };
        let entries: Vec<Entry> = up.take(MAX_LIST).map(|peer| entry(peer.run)).collect();
        self.cx.stats.entries_sent += entries.len() as u64;
        self.cx.stats.entry_bytes_sent += entries.iter().map(|entry| entry_size(entry.addresses.len())).sum::<u64>();
        entries
    }

    /// A peer says who it is connected to.
    pub(super) fn list_received(&mut self, link: LinkId, from: Run, list: List) {
        let named: BTreeSet<Run> = list.entries.iter().map(|entry| entry.run).collect();
        self.hear_all(from, list.entries, Duration::ZERO);
        let now = self.cx.now;
        if !list.reply || !self.pairs.link_mut(link).is_some_and(|link| link.control.lists(now)) {
            return;
        }
        let news = self.pairs.peers().any(|peer| {
            let covered = list.buckets >> bucket(peer.run.id) & 1 == 1;
            peer.is_up() && peer.run != from && covered && !named.contains(&peer.run)
        });
        if news {
            self.edit(link, |link| {
                let (asked, reply) = link.slots.list.unwrap_or_default();
                link.slots.list = Some((asked | list.buckets, reply));
            });
        }
    }

    /// A peer says who has joined through it. Not relayed.
    pub(super) fn announced(&mut self, from: Run, announce: Announce) {
        let courtesy = COURTESY + self.cx.rng.up_to(COURTESY * 2);
        self.hear_all(from, announce.entries, courtesy);
    }

    fn hear_all(&mut self, by: Run, entries: Vec<Entry>, courtesy: Duration) {
        let mut learned = false;
        for entry in entries {
            learned |= self.hear(by, entry, courtesy);
        }
        if let Some(peer) = self.pairs.peer_mut(by.id).filter(|_| learned) {
            peer.rest.clear();
        }
    }

    /// Takes one piece of hearsay. Returns whether it was news.
    fn hear(&mut self, by: Run, entry: Entry, courtesy: Duration) -> bool {
        let Entry { run, addresses } = entry;
        let up = self.pairs.peer(run.id).is_some_and(|peer| peer.is_up());
        if run.id == self.cx.run.id || run.id == by.id || up || self.pairs.tombstones.covers(run) {
            return false;
        }
        let named = addresses.len();
        let addresses: Vec<_> =
            addresses.into_iter().filter(|address| self.dialling.may_follow(&self.cx, *address)).collect();
        self.cx.stats.addresses_refused += (named - addresses.len()) as u64;
        let is_news = self.dialling.hear(&mut self.cx, &self.pairs, by, run, &addresses, courtesy);
        if is_news && mutant!(BelieveHearsay) && self.pairs.peer(run.id).is_none() {
            self.new_peer(run);
            if let Some(peer) = self.pairs.peer_mut(run.id) {
                peer.come_up();
                let info = peer.info(None);
                self.cx.event(Event::PeerUp(info));
            }
        }
        is_news
    }

    /// A peer has changed what it says of itself.
    pub(super) fn updated(&mut self, run: Run, profile: &Profile) {
        let Some(peer) = self.pairs.peer_mut(run.id) else { return };
        // The limits of a link are those of its handshake.
        let profile = Profile { max_message: peer.profile.max_message, window: peer.profile.window, ..profile.clone() };
        if peer.profile == profile {
            return;
        }
        self.dialling.update(run.id, &profile.addresses);
        peer.profile = profile;
        if let Some(peer) = self.pairs.peer(run.id).filter(|peer| peer.is_up()) {
            self.cx.event(Event::PeerUpdated(self.info(peer)));
        }
    }
}

/// The bucket of a digest that a node falls into: the first hexadecimal digit of its id.
fn bucket(id: NodeId) -> usize {
    usize::from(id.as_bytes()[0] >> 4)
}

/// FNV-1a over the id and the incarnation in network order, then the finaliser of splitmix64, so that sums of hashes
/// differ where sets do. Nothing depends on it being hard to forge: a digest only decides whether lists are sent.
fn hash(run: Run) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in run.id.as_bytes().iter().chain(&run.incarnation.0.to_be_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Incarnation;

    #[test]
    fn the_hash_is_the_one_that_the_protocol_states() {
        let ascending = NodeId::from_bytes(core::array::from_fn(|i| i as u8));
        let repeated = NodeId::from_bytes([0xab; 16]);
        for (id, incarnation, expected, place) in
            [(ascending, 1, 0x249c_4e70_6131_8c4f, 0), (repeated, 1_700_000_000_000_000, 0x9db2_2bb6_a624_f5bc, 10)]
        {
            let run = Run { id, incarnation: Incarnation(incarnation) };
            assert_eq!((hash(run), bucket(id)), (expected, place));
        }
    }
}
