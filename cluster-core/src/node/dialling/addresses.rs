//! The addresses at which a node may be dialled, by what speaks for each.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::address::Advertised;
use crate::limits::MAX_ADDRESSES;

/// The addresses of one contact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Addresses {
    /// The address of the last dial that reached the node, perhaps through a tunnel. Dialled first, never gossiped.
    via: Option<SocketAddr>,
    /// The addresses that the peer advertises, completed with the IP it was seen at. Gossiped.
    advertised: Vec<SocketAddr>,
    /// The addresses that other peers name. Not gossiped.
    hearsay: Vec<SocketAddr>,
    /// Further addresses that lead to the node, as dials have shown.
    aliases: Vec<SocketAddr>,
    /// The addresses that the earlier run advertised, until the present run has advertised its own.
    former: Vec<SocketAddr>,
    /// The IP that the peer was seen at.
    seen: Option<IpAddr>,
    /// The place behind the address that was dialled last.
    cursor: usize,
}

/// The most aliases kept of one peer.
const MAX_PEER_ALIASES: usize = 8;

/// The most addresses from hearsay kept of one node. The oldest makes room, and every peer that names the node adds its
/// own, so that a liar who is first cannot hide it.
pub(in crate::node) const MAX_HEARSAY: usize = 2 * MAX_ADDRESSES;

impl Addresses {
    /// Replaces the advertised addresses by those of a profile, for a peer that was seen at `ip`.
    pub(in crate::node) fn advertise(&mut self, advertised: &[Advertised], ip: IpAddr) {
        self.seen = Some(ip);
        self.update(advertised);
        self.hearsay.clear();
        for address in core::mem::take(&mut self.former) {
            if !self.advertised.contains(&address) {
                self.moved_away(address);
            }
        }
    }

    /// Marks the advertised addresses as those of an earlier run. Addresses that dials have verified stay as good as
    /// before; the advertised ones count until the later run has advertised its own.
    pub(in crate::node) fn restarted(&mut self) {
        self.former.clone_from(&self.advertised);
    }

    /// Replaces the advertised addresses of a peer that was seen before.
    pub(in crate::node) fn update(&mut self, advertised: &[Advertised]) {
        let Some(ip) = self.seen else { return };
        self.advertised.clear();
        for address in advertised.iter().take(MAX_ADDRESSES).map(|address| address.seen_at(ip)) {
            // A bare port and an address may come to the same.
            if !self.advertised.contains(&address) {
                self.advertised.push(address);
            }
        }
    }

    /// Notes that a dial to `address` has reached the peer and that the link is its live one.
    pub(in crate::node) fn reached(&mut self, address: SocketAddr) {
        // The former way is dialled first: a dial that went elsewhere since shows that it leads nowhere.
        if let Some(failed) = self.via.filter(|via| self.cursor > 0 && *via != address) {
            self.aliases.retain(|alias| *alias != failed);
        }
        self.via = Some(address);
        self.cursor = 0;
        self.alias(address);
    }

    /// Notes that `address` leads to the node as well.
    pub(in crate::node) fn alias(&mut self, address: SocketAddr) {
        if self.aliases.contains(&address) {
            return;
        }
        if self.aliases.len() == MAX_PEER_ALIASES {
            self.aliases.remove(0);
        }
        self.aliases.push(address);
    }

    /// Notes that another node answers at `address`.
    pub(in crate::node) fn moved_away(&mut self, address: SocketAddr) {
        if self.via == Some(address) {
            self.via = None;
        }
        self.aliases.retain(|alias| *alias != address);
        self.hearsay.retain(|hearsay| *hearsay != address);
    }

    /// Adds addresses that a peer names. Returns whether they are worth a dial now: once the oldest has to make room they
    /// are not, or a liar could make this node dial all the time.
    pub(in crate::node) fn hear(&mut self, addresses: &[SocketAddr], most: usize) -> bool {
        let before = self.hearsay.len();
        for address in addresses {
            if self.dialable().any(|known| known == *address) {
                continue;
            }
            if self.hearsay.len() >= most {
                self.hearsay.remove(0);
            }
            self.hearsay.push(*address);
        }
        self.hearsay.len() > before
    }

    /// Turns all addresses into hearsay: the record of the peer is gone.
    pub(in crate::node) fn demote(&mut self) {
        let known: Vec<SocketAddr> = self.dialable().collect();
        *self = Addresses::default();
        self.hear(&known, MAX_HEARSAY);
    }

    /// Replaces all addresses by those that the user has named, or a resolver.
    pub(in crate::node) fn name(&mut self, named: Vec<SocketAddr>) {
        *self = Addresses { advertised: named, ..Addresses::default() };
    }

    /// Returns every address worth dialling, the way that worked last first.
    pub(in crate::node) fn dialable(&self) -> impl Iterator<Item = SocketAddr> + Clone + '_ {
        let named = self.advertised.iter().chain(&self.hearsay).copied();
        self.via.into_iter().chain(named.filter(|address| Some(*address) != self.via))
    }

    /// Returns the next address to dial among those that `is_usable` lets pass.
    pub(in crate::node) fn next(&self, is_usable: impl Fn(SocketAddr) -> bool) -> Option<SocketAddr> {
        let count = self.dialable().count();
        let mut round = self.dialable().cycle().skip(self.cursor % count.max(1)).take(count);
        round.find(|address| is_usable(*address))
    }

    /// Notes that `address` is being dialled: the one behind it is next.
    pub(in crate::node) fn tried(&mut self, address: SocketAddr) {
        let count = self.dialable().count();
        let from = self.cursor % count.max(1);
        let round = self.dialable().cycle().skip(from).take(count);
        // From the cursor on, not from the start: an address that is there twice must not hide those behind it.
        let place = round.enumerate().find(|(_, known)| *known == address).map(|(step, _)| (from + step) % count);
        self.cursor = place.map_or(self.cursor, |place| place + 1);
    }

    /// Returns the address that users see.
    pub(in crate::node) fn preferred(&self) -> Option<SocketAddr> {
        self.dialable().next()
    }

    /// Returns the addresses that other peers may be told.
    pub(in crate::node) fn gossiped(&self) -> &[SocketAddr] {
        &self.advertised
    }

    /// Returns whether a dial to `address` once reached the peer, so that it is no hearsay.
    pub(in crate::node) fn is_verified(&self, address: SocketAddr) -> bool {
        self.via == Some(address) || self.aliases.contains(&address)
    }

    /// Returns the IPs at which the peer was seen, by its own or by our dial; a claim by others does not count.
    pub(in crate::node) fn seen(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let reached = self.via.iter().chain(&self.aliases).map(SocketAddr::ip);
        reached.chain(self.seen)
    }

    pub(in crate::node) fn advertises(&self, address: SocketAddr) -> bool {
        self.advertised.contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Dials the next address, if one is usable.
    fn dial(addresses: &mut Addresses, is_usable: impl Fn(SocketAddr) -> bool) -> Option<SocketAddr> {
        let address = addresses.next(is_usable)?;
        addresses.tried(address);
        Some(address)
    }

    #[test]
    fn working_address_is_dialled_first_and_never_gossiped() {
        let mut addresses = Addresses::default();
        addresses.advertise(&[Advertised::Socket(at("10.0.0.2:1"))], at("10.0.0.9:5").ip());
        addresses.reached(at("127.0.0.1:7"));
        assert_eq!(addresses.preferred(), Some(at("127.0.0.1:7")));
        assert_eq!(addresses.gossiped(), [at("10.0.0.2:1")]);
        let mut round = || dial(&mut addresses, |_| true);
        assert_eq!(
            [round(), round(), round()],
            [Some(at("127.0.0.1:7")), Some(at("10.0.0.2:1")), Some(at("127.0.0.1:7"))]
        );
        addresses.moved_away(at("127.0.0.1:7"));
        assert_eq!(addresses.preferred(), Some(at("10.0.0.2:1")));
    }

    #[test]
    fn later_run_is_not_where_only_the_earlier_run_said() {
        let (first, second, way) = (at("10.0.0.2:1"), at("10.0.0.3:1"), at("127.0.0.1:7"));
        for reached in [first, way] {
            let mut addresses = Addresses::default();
            addresses.advertise(&[Advertised::Socket(first)], first.ip());
            addresses.alias(first);
            addresses.reached(reached);
            addresses.restarted();
            addresses.advertise(&[Advertised::Socket(second)], second.ip());
            let kept = [way, second].into_iter().filter(|address| *address == second || *address == reached);
            assert!(addresses.dialable().eq(kept), "{addresses:?}");
            assert_eq!((addresses.is_verified(first), addresses.is_verified(way)), (false, reached == way));
            addresses.restarted();
            addresses.advertise(&[Advertised::Socket(second)], second.ip());
            assert_eq!(addresses.is_verified(way), reached == way);
        }
    }

    #[test]
    fn bare_port_is_completed_with_the_ip_of_the_peer() {
        let mut addresses = Addresses::default();
        addresses.advertise(&[Advertised::Port(7)], at("10.0.0.9:5").ip());
        assert_eq!(addresses.gossiped(), [at("10.0.0.9:7")]);
    }

    #[test]
    fn every_address_from_hearsay_gets_its_turn() {
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let mut addresses = Addresses::default();
        let mut hear = |ports: &[u16]| {
            let heard: Vec<_> = ports.iter().map(|port| at(*port)).collect();
            addresses.hear(&heard, MAX_HEARSAY)
        };
        assert!(hear(&[1, 2]) && hear(&[3, 4]) && !hear(&[4]));
        let round: Vec<_> = (0..5).map(|_| dial(&mut addresses, |address| address != at(2)).unwrap()).collect();
        assert_eq!(round, [1, 3, 4, 1, 3].map(at));
        (1..=4).for_each(|port| addresses.moved_away(at(port)));
        assert_eq!(addresses.preferred(), None);
        let many: Vec<_> = (10..60).map(at).collect();
        assert!(addresses.hear(&many, MAX_HEARSAY) && !addresses.hear(&[at(99)], MAX_HEARSAY), "the oldest makes room");
        assert_eq!(addresses.dialable().count(), MAX_HEARSAY);
        assert_eq!(addresses.next(|_| false), None);
    }

    #[test]
    fn address_that_is_advertised_twice_hides_no_other() {
        let same = [Advertised::Port(7), Advertised::Socket(at("10.0.0.2:7")), Advertised::Socket(at("10.0.0.3:7"))];
        let mut addresses = Addresses::default();
        addresses.advertise(&same, at("10.0.0.2:5").ip());
        addresses.reached(at("127.0.0.1:7"));
        // Hearsay came first, and then the peer advertised the same.
        addresses.hear(&[at("10.0.0.4:7")], MAX_HEARSAY);
        addresses.update(&[same[0], same[1], same[2], Advertised::Socket(at("10.0.0.4:7"))]);
        addresses.hear(&[at("10.0.0.5:7")], MAX_HEARSAY);
        let dialled: Vec<_> = (0..6).map(|_| dial(&mut addresses, |_| true).unwrap()).collect();
        for address in addresses.dialable() {
            assert!(dialled.contains(&address), "{address}: {dialled:?}");
        }
    }

    #[test]
    fn demoted_addresses_are_verified_no_longer() {
        let mut addresses = Addresses::default();
        addresses.advertise(&[Advertised::Socket(at("10.0.0.2:1"))], at("10.0.0.9:5").ip());
        addresses.reached(at("127.0.0.1:7"));
        addresses.demote();
        assert!(addresses.dialable().eq([at("127.0.0.1:7"), at("10.0.0.2:1")]));
        assert!(!addresses.is_verified(at("127.0.0.1:7")) && addresses.seen().count() == 0);
    }
}
