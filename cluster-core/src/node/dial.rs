//! Opening links to contacts that are due.

use core::net::SocketAddr;

use super::Node;
use super::dialling::{Pairing, Turn};
use crate::action::Action;
use crate::id::{LinkId, NodeId};
use crate::link::Dial;
use crate::mutant::mutant;

impl Node {
    /// Opens a link.
    pub(super) fn dial(&mut self, address: SocketAddr, dial: Dial) -> LinkId {
        self.cx.stats.dials += 1;
        let hearsay = dial.hearsay;
        let link = self.new_link(Some(dial), address);
        if hearsay {
            self.dialling.count(link, address);
        }
        self.cx.actions.push_back(Action::Dial { link, address });
        link
    }

    /// A lost peer or a node from hearsay is due, or its turn has come.
    pub(super) fn contact_due(&mut self, id: NodeId, turn: Option<Turn>) {
        if self.is_leaving() {
            return;
        }
        let pairing = self.pairing(id);
        let Some((address, hearsay)) = self.dialling.step(&mut self.cx, &self.pairs, id, pairing, turn) else { return };
        let link = self.dial(address, Dial { expected: Some(id), hearsay, ..Dial::default() });
        self.dialling.dials(id, link, address);
        if let Some(peer) = self.pairs.peer_mut(id) {
            peer.dials(link);
        }
    }

    /// There may be a turn for contacts that wait. Each turn starts a dial, or its contact waits for it no longer, so this
    /// ends.
    pub(super) fn dial_waiting(&mut self) {
        if self.is_leaving() {
            return;
        }
        while let Some((id, turn)) = self.dialling.next_turn(&mut self.cx, &self.pairs) {
            self.contact_due(id, Some(turn));
        }
    }

    fn pairing(&self, id: NodeId) -> Pairing {
        if let Some(peer) = self.pairs.peer(id) {
            let mut is_idle = peer.is_lost() && peer.is_idle();
            is_idle &= !(mutant!(GiveUpOnLost) && self.dialling.has_failed(id));
            return match (peer.is_lost(), is_idle) {
                (true, true) => Pairing::Lost,
                (true, false) => Pairing::Returning,
                (false, _) => Pairing::Linked,
            };
        }
        let is_over = self.dialling.named(id).is_some_and(|run| self.pairs.tombstones.covers(run));
        if is_over || self.pairs.tombstones.is_removed(id) || !self.cx.config.allows(id) {
            Pairing::Barred
        } else if !self.has_room(id) {
            Pairing::NoPlace
        } else {
            Pairing::Unknown
        }
    }
}
