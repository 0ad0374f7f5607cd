//! Joins and seeds: what users name, from the name to the peer that answers there.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Node;
use super::timer::Timer;
use crate::address::Target;
use crate::channel::ChannelError;
use crate::id::{JoinId, LinkId, NodeId, Run};
use crate::link::Dial;
use crate::peer::Peer;
use crate::reason::{JoinError, Reason};
use crate::time::Instant;
use crate::wire::RejectCode;

impl Node {
    /// Connects to the node at `target`, and through it to the whole mesh.
    ///
    /// Has one outcome: [`Event::Joined`](crate::Event::Joined) once the peer there is up, by whatever link, also if it was already and
    /// answers; or [`Event::JoinFailed`](crate::Event::JoinFailed) at the latest after `join_timeout`. Undoes an earlier
    /// [`disconnect`](Node::disconnect).
    ///
    /// # Errors
    ///
    /// [`JoinError::Leaving`], and [`JoinError::TooMany`] at [`MAX_TARGETS`](crate::limits::MAX_TARGETS); nothing has
    /// changed then.
    pub fn join(&mut self, now: Instant, target: Target) -> Result<JoinId, JoinError> {
        self.advance(now);
        if self.is_leaving() {
            return Err(JoinError::Leaving);
        }
        if self.dialling.targets().is_full() {
            return Err(JoinError::TooMany);
        }
        let (join, number) = self.dialling.targets_mut().join(&mut self.cx, target);
        self.try_target(number);
        Ok(join)
    }

    /// Adds a seed: a target that is dialled whenever no node is connected there, forever. Adding one twice changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`JoinError::Leaving`], and [`JoinError::TooMany`] at [`MAX_TARGETS`](crate::limits::MAX_TARGETS); nothing has
    /// changed then.
    pub fn add_seed(&mut self, now: Instant, target: Target) -> Result<(), JoinError> {
        self.advance(now);
        if self.is_leaving() {
            return Err(JoinError::Leaving);
        }
        if !self.dialling.targets().has_room_for(&target) {
            return Err(JoinError::TooMany);
        }
        self.dialling.targets_mut().seed(&mut self.cx, target);
        Ok(())
    }

    /// Looks up a target's addresses, then dials those where no peer is connected.
    pub(super) fn try_target(&mut self, number: u64) {
        if self.is_leaving() {
            return;
        }
        let muted = self.dialling.muted(self.cx.now);
        if self.dialling.targets_mut().begin(&mut self.cx, number, muted) {
            self.dial_target(number);
        }
    }

    /// The driver has looked up a target.
    pub(super) fn resolved(&mut self, target: &Target, outcome: Result<Vec<SocketAddr>, String>) {
        if self.is_leaving() {
            return;
        }
        if let Some(number) = self.dialling.targets_mut().resolved(&mut self.cx, target, outcome) {
            self.dial_target(number);
        }
    }

    fn dial_target(&mut self, number: u64) {
        let Some(contact) = self.dialling.targets().contact(number) else { return };
        let addresses: Vec<SocketAddr> = contact.addresses.dialable().collect();
        let joined = self.dialling.targets().has_joins(number);
        let mut own = 0;
        let mut under_way = false;
        let mut free = BTreeSet::new();
        for address in addresses {
            if self.dialling.is_own(address) {
                own += 1;
                continue;
            }
            under_way = true;
            if let Some(peer) = self.dialling.occupant(&self.pairs, address) {
                if joined {
                    // It may be up here alone, and its user may have disconnected us behind a link that is half-open.
                    self.probe_peer(peer);
                }
                self.found(number, peer);
            } else if !joined && self.dialling.is_shunned_at(self.cx.now, address) {
                // Another try comes with the pause between tries.
            } else if let Some(link) = self.pairs.dial_to(address) {
                if let Some(dial) = self.pairs.link_mut(link).and_then(|link| link.dial.as_mut()) {
                    dial.targets.insert(number);
                }
            } else {
                free.insert(address);
            }
        }
        while let Some(address) = self.dialling.next_of_target(&self.cx, number, &free) {
            free.remove(&address);
            self.dial(address, Dial { targets: [number].into(), ..Dial::default() });
            self.dialling.targets_mut().tried(number, address);
        }
        if !under_way {
            let error = (own > 0).then_some(JoinError::SelfConnection);
            self.dialling.targets_mut().fail(&mut self.cx, number, error, own > 0);
        }
    }

    /// The peer at an address of the target is known; its joins wait for it to be up, and for the answer if its link is
    /// under suspicion.
    fn found(&mut self, number: u64, peer: NodeId) {
        self.dialling.targets_mut().find(number, Some(peer));
        let suspected = |live: &LinkId| self.pairs.link(*live).is_some_and(|link| link.is_probed());
        let up = |peer: &&Peer| peer.is_up() && !peer.live().as_ref().is_some_and(suspected);
        if let Some(run) = self.pairs.peer(peer).filter(up).map(|peer| peer.run) {
            self.dialling.targets_mut().up(&mut self.cx, number, run);
        }
    }

    /// A dial for this target has ended before its link was up. The other side is not dialled before `shunned`.
    pub(super) fn target_dial_ended(
        &mut self,
        number: u64,
        proven: Option<NodeId>,
        reason: &Reason,
        shunned: Option<Instant>,
    ) {
        let busy = self.pairs.links().any(|link| {
            let for_this = link.dial.as_ref().is_some_and(|dial| dial.targets.contains(&number));
            for_this && !link.is_closing() && !link.is_up()
        });
        if self.dialling.targets().contact(number).is_none() {
            return;
        }
        if *reason == Reason::Duplicate {
            // Another link connects the two already, or is about to.
            if let Some(peer) = proven {
                self.found(number, peer);
            }
            return;
        }
        let targets = self.dialling.targets_mut();
        let error = match reason {
            Reason::SelfConnection => JoinError::SelfConnection,
            reason => JoinError::Failed(reason.clone()),
        };
        targets.blame(number, error);
        if *reason == Reason::Rejected(RejectCode::Outranked) {
            // The winner is on its way, or is half-open and will not survive the probe.
            targets.find(number, proven);
            let wait = self.cx.config.timing.probe_timeout.saturating_mul(3) / 2;
            self.cx.timers.set(Timer::Target(number), self.cx.now + wait);
        } else if !busy {
            // Whether a peer has a clone or was restarted shows when its link was probed.
            let undecided = *reason == Reason::DuplicateIdentity && proven != Some(self.cx.run.id);
            targets.fail(&mut self.cx, number, None, is_final(reason) && !undecided);
            if let Some(until) = shunned {
                targets.shun(&mut self.cx, number, until);
            }
        }
    }

    /// A peer is up: joins that wait for it succeed.
    pub(super) fn targets_up(&mut self, run: Run) {
        for number in self.dialling.targets().numbers() {
            let Some(peer) = self.pairs.peer(run.id) else { return };
            let Some(contact) = self.dialling.targets().contact(number) else { continue };
            let there = contact.addresses.dialable().any(|address| self.dialling.is_verified(run.id, address));
            let dialled = peer.live().and_then(|live| self.pairs.link(live));
            let found = self.dialling.targets().found(number) == Some(run.id);
            if found || there || dialled.is_some_and(|live| live.targets().contains(&number)) {
                self.dialling.targets_mut().up(&mut self.cx, number, run);
            }
        }
    }
}

/// Whether trying the same address again within seconds cannot help.
fn is_final(reason: &Reason) -> bool {
    match reason {
        Reason::SelfConnection | Reason::DuplicateIdentity | Reason::Forbidden | Reason::NotAllowed => true,
        Reason::Left | Reason::Removed => true,
        Reason::Rejected(code) => !code.is_transient(),
        Reason::Channel(error) => {
            matches!(error, ChannelError::Cluster | ChannelError::Version { .. } | ChannelError::Mode)
        }
        _ => false,
    }
}
