//! The decision what to do about a contact that is due: one pure function for lost peers, hearsay and targets.

use core::net::SocketAddr;

use super::contact::Contact;
use super::queue::Turn;
use crate::time::Instant;

/// What the decision depends on besides the contact.
pub(in crate::node) struct View<'a> {
    pub(in crate::node) now: Instant,
    /// The node may not dial before this time.
    pub(in crate::node) muted_until: Option<Instant>,
    /// When a contact is looked at again that cannot be dialled for reasons of its own.
    pub(in crate::node) later: Instant,
    pub(in crate::node) pairing: Pairing,
    /// The contact has waited in the queue, and this has come of it.
    pub(in crate::node) turn: Option<Turn>,
    /// A dial on hearsay may start now.
    pub(in crate::node) has_token: bool,
    /// Hearsay may lead this node to the address.
    pub(in crate::node) may_follow: &'a dyn Fn(SocketAddr) -> bool,
    /// The address is not this node's own and is not being dialled already.
    pub(in crate::node) is_free: &'a dyn Fn(SocketAddr) -> bool,
    /// One more dial on hearsay may go to the host of the address.
    pub(in crate::node) has_room: &'a dyn Fn(SocketAddr) -> bool,
}

/// How this node stands with the node to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Pairing {
    /// It has no record.
    Unknown,
    /// It has no record, and must not get one: a user has disconnected it, its run is over, or it is not allowed.
    Barred,
    /// It has no record, and the table of peers is full.
    NoPlace,
    /// It is lost, and no link to it is being set up.
    Lost,
    /// It is lost, and a link to it is being set up. The end of that makes the contact due.
    Returning,
    /// It is up, or a link to it is being set up for the first time.
    Linked,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Step {
    /// Nothing. Another event will make the contact due.
    Rest,
    /// Look again at this time.
    Until(Instant),
    /// Look again after the next backoff.
    BackOff,
    /// Dial, and perhaps wait for a turn at another address meanwhile.
    Dial { address: SocketAddr, hearsay: bool, wait: Option<Turn> },
    /// Wait for a turn.
    Wait(Turn),
}

/// Decides what to do about a contact that is due, or whose turn has come.
///
/// An address that is only hearsay may have to wait, because a dial there takes a token and a place at its host. An
/// address where the peer is known to have been need not. When a turn comes, only hearsay has waited for it: verified
/// addresses keep to the backoff, or a peer that hearsay surrounds would be dialled faster than others.
pub(in crate::node) fn next_step(contact: &Contact, view: &View<'_>) -> Step {
    if let Some(until) = view.muted_until {
        return Step::Until(until);
    }
    match view.pairing {
        Pairing::Returning => return Step::Rest,
        Pairing::Linked if contact.hearsay.is_none() => return Step::Rest,
        Pairing::Linked | Pairing::Barred => return Step::Until(view.later),
        Pairing::NoPlace => return Step::BackOff,
        Pairing::Unknown | Pairing::Lost => {}
    }
    if contact.dialing.is_some() {
        return Step::Rest;
    }
    if contact.shunned_until > view.now {
        return Step::Until(contact.shunned_until);
    }
    let is_usable = |address| {
        let follows = !contact.is_hearsay(address) || (view.may_follow)(address);
        let has_turn = view.turn.is_none_or(|turn| contact.is_hearsay(address) && turn.is_for(address));
        follows && has_turn && (view.is_free)(address)
    };
    let has_room = |address| !contact.is_hearsay(address) || (view.has_room)(address);
    let next = contact.addresses.next(is_usable);
    let crowded = next.filter(|address| !has_room(*address)).map(Turn::at);
    let next = if crowded.is_some() { contact.addresses.next(|to| is_usable(to) && has_room(to)) } else { next };
    match next {
        Some(address) if contact.is_hearsay(address) && !view.has_token => {
            let verified = contact.addresses.next(|to| is_usable(to) && !contact.is_hearsay(to));
            verified.map_or(Step::Wait(Turn::Token), |address| Step::Dial {
                address,
                hearsay: false,
                wait: Some(Turn::Token),
            })
        }
        Some(address) => Step::Dial { address, hearsay: contact.is_hearsay(address), wait: crowded },
        None => crowded.map_or(Step::BackOff, Step::Wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, LinkId, NodeId, Run};
    use crate::node::dialling::contact::{Hearsay, Origin};

    const NOW: Instant = Instant::from_nanos(50);
    const LATER: Instant = Instant::from_nanos(90);
    const SOON: Instant = Instant::from_nanos(60);

    fn at(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 1))
    }

    /// A contact that was reached at the first address, if there is one, and that peers say is at the others.
    fn contact(origin: Origin, verified: Option<u8>, hearsay: &[u8]) -> Contact {
        let mut contact = Contact::new(origin);
        if let Some(verified) = verified {
            contact.addresses.reached(at(verified));
        }
        let heard: alloc::vec::Vec<_> = hearsay.iter().map(|host| at(*host)).collect();
        contact.hear(&heard);
        let run = Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(1) };
        let hearsay = Hearsay { run, introducer: run.id, named_by: run, named_at: NOW, reported: false };
        contact.hearsay = (origin == Origin::Heard).then_some(hearsay);
        contact
    }

    /// The surroundings of a case: own or busy addresses, hosts that are full, addresses that hearsay may not lead to.
    #[derive(Default)]
    struct Case {
        muted: Option<Instant>,
        turn: Option<Turn>,
        no_token: bool,
        taken: &'static [u8],
        full: &'static [u8],
        foreign: &'static [u8],
    }

    fn step(contact: &Contact, pairing: Pairing, case: &Case) -> Step {
        let among = |hosts: &[u8], address: SocketAddr| hosts.iter().any(|host| at(*host) == address);
        let view = View {
            now: NOW,
            muted_until: case.muted,
            later: LATER,
            pairing,
            turn: case.turn,
            has_token: !case.no_token,
            may_follow: &|address| !among(case.foreign, address),
            is_free: &|address| !among(case.taken, address),
            has_room: &|address| !among(case.full, address),
        };
        next_step(contact, &view)
    }

    fn dial(host: u8, hearsay: bool, wait: Option<Turn>) -> Step {
        Step::Dial { address: at(host), hearsay, wait }
    }

    #[test]
    fn contact_that_may_not_be_dialled_rests_or_waits() {
        let (lost, heard) = (contact(Origin::Peer, Some(1), &[2]), contact(Origin::Heard, None, &[2]));
        let target = contact(Origin::Target, Some(1), &[]);
        let muted = Case { muted: Some(SOON), ..Case::default() };
        for contact in [&lost, &heard, &target] {
            assert_eq!(step(contact, Pairing::Unknown, &muted), Step::Until(SOON));
        }
        let free = Case::default();
        assert_eq!(step(&lost, Pairing::Linked, &free), Step::Rest);
        assert_eq!(step(&heard, Pairing::Linked, &free), Step::Until(LATER), "its record may end");
        let named = Contact { hearsay: heard.hearsay, ..lost.clone() };
        assert_eq!(step(&named, Pairing::Returning, &free), Step::Rest, "hearsay delays no retry");
        assert_eq!(step(&heard, Pairing::Barred, &free), Step::Until(LATER));
        assert_eq!(step(&heard, Pairing::NoPlace, &free), Step::BackOff);
        for contact in [lost, heard, target] {
            let dialled = Contact { dialing: Some(LinkId(1)), ..contact.clone() };
            assert_eq!(step(&dialled, Pairing::Lost, &free), Step::Rest);
            let shunned = Contact { shunned_until: SOON, ..contact.clone() };
            assert_eq!(step(&shunned, Pairing::Lost, &free), Step::Until(SOON));
            let over = Contact { shunned_until: NOW, ..contact };
            assert!(matches!(step(&over, Pairing::Lost, &free), Step::Dial { .. }));
        }
    }

    #[test]
    fn next_step_is_that_of_the_table() {
        let (token, room) = (Turn::Token, Turn::at(at(2)));
        let free = Case::default;
        let no_token = || Case { no_token: true, ..free() };
        // A lost peer that was at 1, a node from hearsay: what surrounds them, and what to do.
        let lost: &[(&[u8], Case, Step)] = &[
            (&[], free(), dial(1, false, None)),
            (&[2], free(), dial(1, false, None)),
            (&[2], Case { taken: &[1], ..free() }, dial(2, true, None)),
            (&[2], Case { taken: &[1], no_token: true, ..free() }, Step::Wait(token)),
            (&[2], Case { taken: &[1], full: &[2], ..free() }, Step::Wait(room)),
            (&[2], Case { taken: &[1], foreign: &[2], ..free() }, Step::BackOff),
            (&[2], Case { taken: &[1, 2], ..free() }, Step::BackOff),
            (&[2], Case { turn: Some(token), ..free() }, dial(2, true, None)),
            (&[2], Case { turn: Some(room), ..free() }, dial(2, true, None)),
            (&[3], Case { turn: Some(room), ..free() }, Step::BackOff),
            (&[], Case { turn: Some(token), ..free() }, Step::BackOff),
            (&[2], Case { turn: Some(token), full: &[2], ..free() }, Step::Wait(room)),
            (&[2, 3], Case { turn: Some(token), full: &[2], ..free() }, dial(3, true, Some(room))),
        ];
        for (number, (hearsay, case, expected)) in lost.iter().enumerate() {
            assert_eq!(step(&contact(Origin::Peer, Some(1), hearsay), Pairing::Lost, case), *expected, "{number}");
        }
        let heard: &[(&[u8], Case, Step)] = &[
            (&[], free(), Step::BackOff),
            (&[2], free(), dial(2, true, None)),
            (&[2], no_token(), Step::Wait(token)),
            (&[2], Case { full: &[2], ..free() }, Step::Wait(room)),
            (&[2, 3], Case { full: &[2], ..free() }, dial(3, true, Some(room))),
            (&[2, 3], Case { full: &[2], no_token: true, ..free() }, Step::Wait(token)),
            (&[2], Case { foreign: &[2], ..free() }, Step::BackOff),
        ];
        for (number, (hearsay, case, expected)) in heard.iter().enumerate() {
            assert_eq!(step(&contact(Origin::Heard, None, hearsay), Pairing::Unknown, case), *expected, "{number}");
        }
    }

    #[test]
    fn verified_address_is_dialled_while_hearsay_waits() {
        let mut lost = contact(Origin::Peer, Some(1), &[2]);
        lost.addresses.tried(at(1));
        let case = Case { no_token: true, ..Case::default() };
        assert_eq!(step(&lost, Pairing::Lost, &case), dial(1, false, Some(Turn::Token)));
        let case = Case { full: &[2], ..Case::default() };
        assert_eq!(step(&lost, Pairing::Lost, &case), dial(1, false, Some(Turn::at(at(2)))));
    }

    #[test]
    fn target_is_dialled_without_a_token() {
        let mut target = Contact::new(Origin::Target);
        target.addresses.name([1, 2].map(at).into());
        let none = Case { no_token: true, full: &[1, 2], foreign: &[1, 2], ..Case::default() };
        assert_eq!(step(&target, Pairing::Unknown, &none), dial(1, false, None));
        let one = Case { taken: &[1], ..none };
        assert_eq!(step(&target, Pairing::Unknown, &one), dial(2, false, None));
        let both = Case { taken: &[1, 2], ..one };
        assert_eq!(step(&target, Pairing::Unknown, &both), Step::BackOff);
    }
}
