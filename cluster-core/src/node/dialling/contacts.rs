//! The table of contacts: nodes with a record, and nodes that peers have named.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::contact::{Contact, FORGOTTEN, Hearsay, Origin};
use crate::id::{NodeId, Run};
use crate::mutant::mutant;
use crate::time::Instant;

/// A node has a contact while it has a record or while hearsay names it. The number of the latter is bounded, in total
/// and for each peer that introduces them.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Contacts {
    by_id: BTreeMap<NodeId, Contact>,
    introduced: BTreeMap<NodeId, usize>,
    /// The number of contacts that have a record.
    peers: usize,
}

/// What a name has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Heard {
    /// A node that no peer had named.
    New,
    /// A later run of a known node. Its backoff continues: a peer that makes up runs must not make this node dial faster.
    Later,
    /// A known run, or an earlier one.
    Known,
    /// There is no room for the node.
    NoRoom,
}

impl Contacts {
    pub(in crate::node) fn get(&self, id: NodeId) -> Option<&Contact> {
        self.by_id.get(&id)
    }

    pub(in crate::node) fn get_mut(&mut self, id: NodeId) -> Option<&mut Contact> {
        self.by_id.get_mut(&id)
    }

    pub(in crate::node) fn iter(&self) -> impl Iterator<Item = (NodeId, &Contact)> {
        self.by_id.iter().map(|(id, contact)| (*id, contact))
    }

    /// Notes that a node has a record from now on. Addresses from hearsay remain, and so does the schedule.
    pub(in crate::node) fn begin(&mut self, id: NodeId) {
        let is_new = !self.by_id.contains_key(&id);
        let contact = self.by_id.entry(id).or_insert_with(|| Contact::new(Origin::Peer));
        self.peers += usize::from(is_new || contact.origin != Origin::Peer);
        if contact.origin == Origin::Heard {
            // A liar that answers where others are said to be can have hearsay shunned, and not the peer that comes.
            contact.shunned_until = Instant::ZERO;
        }
        contact.origin = Origin::Peer;
    }

    /// Notes that a node has no record any longer. Returns whether hearsay keeps its contact.
    pub(in crate::node) fn end(&mut self, id: NodeId) -> bool {
        let Some(contact) = self.by_id.get_mut(&id) else { return false };
        debug_assert_eq!(contact.origin, Origin::Peer, "a record ends that never began");
        self.peers -= usize::from(contact.origin == Origin::Peer);
        if contact.hearsay.is_none() {
            self.by_id.remove(&id);
            return false;
        }
        contact.origin = Origin::Heard;
        contact.addresses.demote();
        true
    }

    /// Notes that a peer names a run as one that it is connected to.
    pub(in crate::node) fn hear(&mut self, run: Run, by: Run, now: Instant, cap: usize, quota: usize) -> Heard {
        if let Some(hearsay) = self.by_id.get_mut(&run.id).and_then(|contact| contact.hearsay.as_mut()) {
            if run.incarnation < hearsay.run.incarnation {
                return Heard::Known;
            }
            let later = run != hearsay.run;
            (hearsay.run, hearsay.named_by, hearsay.named_at) = (run, by, now);
            return if later { Heard::Later } else { Heard::Known };
        }
        let introduced = self.introduced.get(&by.id).copied().unwrap_or(0);
        if self.heard() >= cap || introduced >= quota && !mutant!(NoQuota) {
            return Heard::NoRoom;
        }
        self.introduced.insert(by.id, introduced + 1);
        let hearsay = Hearsay { run, introducer: by.id, named_by: by, named_at: now, reported: false };
        self.by_id.entry(run.id).or_insert_with(|| Contact::new(Origin::Heard)).hearsay = Some(hearsay);
        Heard::New
    }

    /// Forgets what peers have said of a node, and its contact if it has no record. Returns whether it has one.
    pub(in crate::node) fn drop_hearsay(&mut self, id: NodeId) -> bool {
        let Some(contact) = self.by_id.get_mut(&id) else { return false };
        if let Some(hearsay) = contact.hearsay.take() {
            let count = self.introduced.get_mut(&hearsay.introducer);
            debug_assert!(count.is_some(), "every hearsay is in the quota of its introducer");
            if let Some(count) = count {
                *count -= 1;
                if *count == 0 {
                    self.introduced.remove(&hearsay.introducer);
                }
            }
        }
        if contact.origin == Origin::Peer {
            return true;
        }
        self.by_id.remove(&id);
        false
    }

    /// Returns the runs that peers have named recently enough to count as current.
    pub(in crate::node) fn current(&self, now: Instant) -> impl Iterator<Item = Run> + '_ {
        let hearsay = self.by_id.values().filter_map(|contact| contact.hearsay);
        hearsay.filter(move |hearsay| hearsay.is_current(now)).map(|hearsay| hearsay.run)
    }

    /// Returns the nodes that peers name, without those that `kept` selects.
    pub(in crate::node) fn named(&self, is_kept: impl Fn(&Hearsay) -> bool) -> Vec<NodeId> {
        let named = self.by_id.iter().filter_map(|(id, contact)| Some((*id, contact.hearsay.as_ref()?)));
        named.filter(|(_, hearsay)| !is_kept(hearsay)).map(|(id, _)| id).collect()
    }

    /// Returns the nodes that no peer has named for long.
    pub(in crate::node) fn forgotten(&self, now: Instant) -> Vec<NodeId> {
        self.named(|hearsay| now - hearsay.named_at <= FORGOTTEN)
    }

    /// Returns the number of contacts that have a record.
    pub(in crate::node) fn peers(&self) -> usize {
        self.peers
    }

    /// Returns the number of nodes that peers have named.
    pub(in crate::node) fn heard(&self) -> usize {
        self.introduced.values().sum()
    }

    /// Returns the number of nodes that the peer has introduced that has introduced most.
    pub(in crate::node) fn most_introduced(&self) -> usize {
        self.introduced.values().copied().max().unwrap_or(0)
    }

    /// Returns the node whose contact has this verified address, among those that `is_wanted` selects.
    pub(in crate::node) fn verified_at(
        &self,
        address: SocketAddr,
        is_wanted: impl Fn(NodeId, &Contact) -> bool,
    ) -> Option<NodeId> {
        let mut there = self.iter().filter(|(_, contact)| contact.addresses.is_verified(address));
        there.find(|(id, contact)| is_wanted(*id, contact)).map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::id::Incarnation;
    use crate::node::dialling::contact::CURRENT;

    fn run(id: u8, incarnation: u64) -> Run {
        Run { id: NodeId::from_bytes([id; 16]), incarnation: Incarnation(incarnation) }
    }

    fn hear(contacts: &mut Contacts, id: u8, incarnation: u64, by: u8) -> Heard {
        contacts.hear(run(id, incarnation), run(by, 1), Instant::ZERO, 3, 2)
    }

    #[test]
    fn introducer_cannot_fill_the_table() {
        let mut contacts = Contacts::default();
        assert_eq!([hear(&mut contacts, 1, 1, 9), hear(&mut contacts, 2, 1, 9)], [Heard::New, Heard::New]);
        assert_eq!(hear(&mut contacts, 3, 1, 9), Heard::NoRoom);
        assert_eq!(hear(&mut contacts, 3, 1, 8), Heard::New);
        assert_eq!(hear(&mut contacts, 4, 1, 7), Heard::NoRoom, "the table is full");
        contacts.drop_hearsay(run(1, 1).id);
        assert_eq!(hear(&mut contacts, 4, 1, 9), Heard::New, "the place is given back");
    }

    #[test]
    fn later_run_is_news_and_an_earlier_one_changes_nothing() {
        let mut contacts = Contacts::default();
        hear(&mut contacts, 1, 5, 9);
        assert_eq!(hear(&mut contacts, 1, 5, 8), Heard::Known);
        assert_eq!(hear(&mut contacts, 1, 4, 8), Heard::Known);
        assert_eq!(hear(&mut contacts, 1, 6, 8), Heard::Later);
        assert_eq!(contacts.get(run(1, 0).id).unwrap().hearsay.unwrap().run, run(1, 6));
    }

    #[test]
    fn hearsay_is_current_for_a_minute_and_kept_for_an_hour() {
        let mut contacts = Contacts::default();
        hear(&mut contacts, 1, 1, 9);
        assert_eq!(contacts.current(Instant::ZERO + CURRENT).count(), 1);
        assert_eq!(contacts.current(Instant::ZERO + CURRENT + Duration::from_nanos(1)).count(), 0);
        assert!(contacts.forgotten(Instant::ZERO + FORGOTTEN).is_empty());
        assert_eq!(contacts.forgotten(Instant::ZERO + FORGOTTEN + Duration::from_nanos(1)).len(), 1);
    }

    #[test]
    fn contact_lasts_as_long_as_record_or_hearsay() {
        let mut contacts = Contacts::default();
        let id = run(1, 1).id;
        contacts.begin(id);
        assert!(!contacts.end(id) && contacts.get(id).is_none());
        contacts.begin(id);
        hear(&mut contacts, 1, 1, 9);
        assert!(contacts.end(id) && contacts.get(id).unwrap().origin == Origin::Heard);
        contacts.get_mut(id).unwrap().shunned_until = Instant::from_nanos(9);
        contacts.begin(id);
        assert_eq!(contacts.get(id).unwrap().shunned_until, Instant::ZERO);
        assert!(contacts.drop_hearsay(id) && contacts.heard() == 0);
        hear(&mut contacts, 1, 1, 9);
        assert!(contacts.end(id) && !contacts.drop_hearsay(id) && contacts.get(id).is_none());
    }
}
