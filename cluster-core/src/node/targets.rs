//! Joins and seeds: what users name, from the name to the peer that answers there.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::Node;
use super::timer::Timer;
use crate::action::Action;
use crate::address::Target;
use crate::channel::ChannelError;
use crate::event::Event;
use crate::id::{JoinId, LinkId, NodeId, Run};
use crate::limits::{MAX_RECORDS, MAX_TARGETS};
use crate::link::Dial;
use crate::peer::Peer;
use crate::reason::{JoinError, Reason};
use crate::time::Instant;
use crate::wire::RejectCode;

/// A join tries again at least this often until its deadline.
const JOIN_RETRY: Duration = Duration::from_secs(1);

/// The most characters that are kept of what a resolver says.
const MAX_WORDS: usize = 256;

impl Node {
    /// Connects to the node at `target`, and through it to the whole mesh.
    ///
    /// Has one outcome: [`Event::Joined`] once the peer there is up, by whatever link, also if it was already and
    /// answers; or [`Event::JoinFailed`] at the latest after `join_timeout`. Undoes an earlier
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
        if self.dialling.targets.joins().max(self.dialling.targets.len()) >= MAX_TARGETS {
            return Err(JoinError::TooMany);
        }
        let join = self.dialling.next_join();
        let number = self.dialling.targets.number(&target).unwrap_or_else(|| self.dialling.targets.insert(target));
        let deadline = self.cx.now + self.cx.config.timing.join_timeout;
        if let Some(wanted) = self.dialling.targets.find_mut(number) {
            wanted.joins.push((join, deadline));
            wanted.last_error = None;
        }
        self.cx.timers.set_no_later(Timer::Join(number), deadline);
        self.try_target(number);
        Ok(join)
    }

    /// Adds a seed: a target that is dialled whenever no node is connected there, for ever. Adding one twice changes
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
        if self.dialling.targets.number(&target).is_none() && self.dialling.targets.len() >= MAX_TARGETS {
            return Err(JoinError::TooMany);
        }
        self.want_seed(target);
        Ok(())
    }

    pub(super) fn want_seed(&mut self, target: Target) {
        let number = self.dialling.targets.number(&target).unwrap_or_else(|| self.dialling.targets.insert(target));
        if let Some(wanted) = self.dialling.targets.find_mut(number).filter(|wanted| !wanted.seed) {
            wanted.seed = true;
            self.cx.timers.set(Timer::Target(number), self.cx.now);
        }
    }

    /// Looks up a target's addresses, then dials those where nobody is connected.
    pub(super) fn try_target(&mut self, number: u64) {
        if self.is_leaving() {
            return;
        }
        let muted = self.dialling.muted(self.cx.now);
        let Some(wanted) = self.dialling.targets.find_mut(number) else { return };
        let pause = if wanted.joins.is_empty() { self.cx.config.timing.seed_interval } else { JOIN_RETRY };
        self.cx.timers.set(Timer::Target(number), muted.unwrap_or(self.cx.now + pause));
        if muted.is_some() || wanted.resolving {
            return;
        }
        match wanted.target.literal() {
            Some(address) => {
                wanted.addresses = alloc::vec![address];
                self.dial_target(number);
            }
            None => {
                wanted.resolving = true;
                let target = wanted.target.clone();
                self.cx.actions.push_back(Action::Resolve { target });
            }
        }
    }

    /// The driver has looked up a target.
    pub(super) fn resolved(&mut self, target: &Target, outcome: Result<Vec<SocketAddr>, String>) {
        let Some(number) = self.dialling.targets.number(target) else { return };
        let Some(wanted) = self.dialling.targets.find_mut(number).filter(|wanted| wanted.resolving) else { return };
        wanted.resolving = false;
        if self.leaving.is_some() {
            return;
        }
        match outcome {
            Ok(addresses) => {
                let distinct: BTreeSet<SocketAddr> = addresses.into_iter().collect();
                wanted.addresses = distinct.into_iter().take(MAX_RECORDS).collect();
                self.dial_target(number);
            }
            Err(words) => {
                let words = words.chars().filter(|char| !char.is_control()).take(MAX_WORDS).collect();
                wanted.last_error = Some(JoinError::Unresolved(words));
                self.target_failed(number, false);
            }
        }
    }

    fn dial_target(&mut self, number: u64) {
        let Some(wanted) = self.dialling.targets.find_mut(number) else { return };
        let addresses = wanted.addresses.clone();
        let joined = !wanted.joins.is_empty();
        let mut own = 0;
        let mut under_way = false;
        for address in &addresses {
            if self.dialling.own.contains(address) {
                own += 1;
            } else if let Some(peer) = self.occupant(*address) {
                under_way = true;
                if joined {
                    // It may be up here alone, and its user may have disconnected us behind a link that is half-open.
                    self.probe_peer(peer);
                }
                self.found(number, peer);
            } else if !joined && self.is_shunned_at(*address) {
                under_way = true;
            } else if let Some(link) = self.dial_to(*address) {
                under_way = true;
                if let Some(dial) = self.pairs.link_mut(link).and_then(|link| link.dial.as_mut()) {
                    dial.targets.insert(number);
                }
            } else {
                under_way = true;
                self.dial(*address, Dial { targets: [number].into(), ..Dial::default() });
            }
        }
        if !under_way {
            if let Some(wanted) = self.dialling.targets.find_mut(number).filter(|_| own > 0) {
                wanted.last_error = Some(JoinError::SelfConnection);
            }
            self.target_failed(number, own > 0);
        }
    }

    /// Whether a user waits for this target.
    pub(super) fn has_joins(&self, number: u64) -> bool {
        self.dialling.targets.find(number).is_some_and(|wanted| !wanted.joins.is_empty())
    }

    /// The peer at an address of the target is known; its joins wait for it to be up, and for the answer if its link is
    /// under suspicion.
    fn found(&mut self, number: u64, peer: NodeId) {
        let Some(wanted) = self.dialling.targets.find_mut(number) else { return };
        wanted.found = Some(peer);
        let suspected = |live: &LinkId| self.pairs.link(*live).is_some_and(|link| link.is_probed());
        let up = |peer: &&Peer| peer.is_up() && !peer.live.as_ref().is_some_and(suspected);
        if let Some(peer) = self.pairs.peer(peer).filter(up) {
            let run = peer.run;
            self.target_up(number, run);
        }
    }

    /// The peer that occupies this address: connected, or about to be. What a peer merely says of itself does not count,
    /// or a liar could keep us from a seed.
    fn occupant(&self, address: SocketAddr) -> Option<NodeId> {
        let mut connected = self.pairs.peers().filter(|peer| peer.live.is_some() || peer.is_up());
        connected.find(|peer| peer.contact.addresses.is_verified(address)).map(|peer| peer.run.id)
    }

    /// Whether whoever answers at this address broke the protocol lately.
    fn is_shunned_at(&self, address: SocketAddr) -> bool {
        let mut shunned = self.pairs.peers().filter(|peer| peer.contact.shunned_until > self.cx.now);
        shunned.any(|peer| peer.contact.addresses.is_verified(address))
    }

    /// A dial for this target has ended before its link was up.
    pub(super) fn target_dial_ended(&mut self, number: u64, proven: Option<NodeId>, reason: &Reason) {
        let busy = self.pairs.links().any(|link| {
            let for_this = link.dial.as_ref().is_some_and(|dial| dial.targets.contains(&number));
            for_this && !link.is_closing() && !link.is_up()
        });
        let Some(wanted) = self.dialling.targets.find_mut(number) else { return };
        if *reason == Reason::Duplicate {
            // Another link connects the two already, or is about to.
            if let Some(peer) = proven {
                self.found(number, peer);
            }
            return;
        }
        wanted.last_error = Some(match reason {
            Reason::SelfConnection => JoinError::SelfConnection,
            reason => JoinError::Failed(reason.clone()),
        });
        if *reason == Reason::Rejected(RejectCode::Outranked) {
            // The winner is on its way, or is half-open and will not survive the probe.
            wanted.found = proven;
            self.cx
                .timers
                .set(Timer::Target(number), self.cx.now + self.cx.config.timing.probe_timeout.saturating_mul(3) / 2);
        } else if !busy {
            // Whether a peer has a clone or was restarted shows when its link was probed.
            let undecided = *reason == Reason::DuplicateIdentity && proven != Some(self.cx.run.id);
            self.target_failed(number, is_final(reason) && !undecided);
            if !self.has_joins(number)
                && self.dialling.targets.find(number).is_some()
                && let Some(until) = self.shunned_for(reason)
            {
                self.cx.timers.set(Timer::Target(number), until);
            }
        }
    }

    /// Nothing is under way for this target any more.
    fn target_failed(&mut self, number: u64, is_final: bool) {
        let Some(wanted) = self.dialling.targets.find_mut(number) else { return };
        if is_final {
            let error = wanted.last_error.clone().unwrap_or(JoinError::TimedOut);
            let joins = core::mem::take(&mut wanted.joins);
            self.fail_joins(number, joins.into_iter().map(|(join, _)| join).collect(), &error);
        }
        let Some(wanted) = self.dialling.targets.find_mut(number) else { return };
        let timing = &self.cx.config.timing;
        let longest = if wanted.joins.is_empty() { timing.seed_interval } else { JOIN_RETRY };
        let wait = wanted.backoff.next(timing.reconnect_base, timing.reconnect_max.min(longest), &mut self.cx.rng);
        self.cx.timers.set(Timer::Target(number), self.cx.now + wait);
    }

    /// Joins of this target may have had their time.
    pub(super) fn join_deadline(&mut self, number: u64) {
        let now = self.cx.now;
        let Some(wanted) = self.dialling.targets.find_mut(number) else { return };
        let error = wanted.last_error.clone().unwrap_or(JoinError::TimedOut);
        let due = wanted.joins.iter().filter(|(_, deadline)| *deadline <= now).map(|(join, _)| *join).collect();
        wanted.joins.retain(|(_, deadline)| *deadline > now);
        if let Some(next) = wanted.joins.iter().map(|(_, deadline)| *deadline).min() {
            self.cx.timers.set(Timer::Join(number), next);
        }
        self.fail_joins(number, due, &error);
    }

    /// The node leaves: no join can succeed any more.
    pub(super) fn drop_targets(&mut self) {
        for number in self.dialling.targets.numbers() {
            let Some(wanted) = self.dialling.targets.find_mut(number) else { continue };
            wanted.seed = false;
            let joins = core::mem::take(&mut wanted.joins);
            self.fail_joins(number, joins.into_iter().map(|(join, _)| join).collect(), &JoinError::Leaving);
        }
    }

    fn fail_joins(&mut self, number: u64, joins: Vec<JoinId>, error: &JoinError) {
        let Some(wanted) = self.dialling.targets.find(number) else { return };
        let target = wanted.target.clone();
        for join in joins {
            self.cx.event(Event::JoinFailed { join, target: target.clone(), error: error.clone() });
        }
        self.drop_target_if_done(number);
    }

    /// A peer is up: whoever waited for it has what it wanted.
    pub(super) fn targets_up(&mut self, run: Run) {
        for number in self.dialling.targets.numbers() {
            let Some(wanted) = self.dialling.targets.find(number) else { continue };
            let Some(peer) = self.pairs.peer(run.id) else { return };
            let there = wanted.addresses.iter().any(|address| peer.contact.addresses.is_verified(*address));
            let dialled = peer.live.and_then(|live| self.pairs.link(live));
            if wanted.found == Some(run.id) || there || dialled.is_some_and(|live| live.targets().contains(&number)) {
                self.target_up(number, run);
            }
        }
    }

    fn target_up(&mut self, number: u64, peer: Run) {
        let Some(wanted) = self.dialling.targets.find_mut(number) else { return };
        wanted.found = None;
        wanted.backoff.reset();
        wanted.last_error = None;
        let target = wanted.target.clone();
        for (join, _) in core::mem::take(&mut wanted.joins) {
            self.cx.event(Event::Joined { join, target: target.clone(), peer });
        }
        self.cx.timers.cancel(Timer::Join(number));
        self.drop_target_if_done(number);
    }

    fn drop_target_if_done(&mut self, number: u64) {
        let done = |wanted: &crate::target::Wanted| wanted.joins.is_empty() && !wanted.seed;
        if self.dialling.targets.find(number).is_some_and(done) {
            self.dialling.targets.remove(number);
            self.cx.timers.cancel(Timer::Target(number));
            self.cx.timers.cancel(Timer::Join(number));
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
