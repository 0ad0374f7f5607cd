//! Joins and seeds: what users have named, until a peer is up there.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::contact::{Contact, Origin};
use crate::action::Action;
use crate::address::Target;
use crate::event::Event;
use crate::id::{JoinId, NodeId, Run};
use crate::limits::{MAX_RECORDS, MAX_TARGETS};
use crate::node::context::Context;
use crate::node::timer::Timer;
use crate::reason::JoinError;
use crate::time::Instant;

/// A join tries again at least this often until its deadline.
const JOIN_RETRY: Duration = Duration::from_secs(1);

/// The most characters that are kept of what a resolver says.
const MAX_WORDS: usize = 256;

/// One `host:port` with its joins. Forgotten when its last join ends, unless it is a seed.
#[derive(Clone, Debug)]
struct Wanted {
    target: Target,
    contact: Contact,
    /// Dialled forever.
    seed: bool,
    /// Joins without an outcome, with their deadlines.
    joins: Vec<(JoinId, Instant)>,
    resolving: bool,
    /// The peer found there, which is not up yet.
    found: Option<NodeId>,
    last_error: Option<JoinError>,
}

/// All targets, by numbers that are never used again.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Targets {
    by_number: BTreeMap<u64, Wanted>,
    next: u64,
    next_join: u64,
}

impl Targets {
    /// Returns the number of targets.
    pub(in crate::node) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(in crate::node) fn numbers(&self) -> Vec<u64> {
        self.by_number.keys().copied().collect()
    }

    /// Returns whether there is no room for one more join.
    pub(in crate::node) fn is_full(&self) -> bool {
        let joins: usize = self.by_number.values().map(|wanted| wanted.joins.len()).sum();
        joins.max(self.len()) >= MAX_TARGETS
    }

    /// Returns whether there is room for a seed, or it is a target already.
    pub(in crate::node) fn has_room_for(&self, seed: &Target) -> bool {
        self.number(seed).is_some() || self.len() < MAX_TARGETS
    }

    /// Adds a join. Returns its id, and the number of its target.
    pub(in crate::node) fn join(&mut self, cx: &mut Context, target: Target) -> (JoinId, u64) {
        let join = JoinId(self.next_join);
        self.next_join += 1;
        let deadline = cx.now + cx.config.timing.join_timeout;
        let (number, wanted) = self.insert(target);
        wanted.joins.push((join, deadline));
        wanted.last_error = None;
        wanted.contact.shunned_until = Instant::ZERO;
        cx.timers.set_no_later(Timer::Join(number), deadline);
        (join, number)
    }

    /// Makes a target a seed, which is due at once if it is new.
    pub(in crate::node) fn seed(&mut self, cx: &mut Context, target: Target) {
        let (number, wanted) = self.insert(target);
        if !core::mem::replace(&mut wanted.seed, true) {
            cx.timers.set(Timer::Target(number), cx.now);
        }
    }

    /// Begins a try, unless the node may not dial before `muted`. Returns whether the addresses are known; the driver
    /// looks them up otherwise.
    #[must_use]
    pub(in crate::node) fn begin(&mut self, cx: &mut Context, number: u64, muted: Option<Instant>) -> bool {
        let Some(wanted) = self.by_number.get_mut(&number) else { return false };
        let pause = if wanted.joins.is_empty() { cx.config.timing.seed_interval } else { JOIN_RETRY };
        cx.timers.set(Timer::Target(number), muted.unwrap_or(cx.now + pause));
        if muted.is_some() || wanted.resolving {
            return false;
        }
        match wanted.target.literal() {
            Some(address) => wanted.contact.addresses.name(alloc::vec![address]),
            None => {
                wanted.resolving = true;
                cx.actions.push_back(Action::Resolve { target: wanted.target.clone() });
            }
        }
        !wanted.resolving
    }

    /// Notes what the driver has found out about a target. Returns its number if it can be dialled now.
    #[must_use]
    pub(in crate::node) fn resolved(
        &mut self,
        cx: &mut Context,
        target: &Target,
        outcome: Result<Vec<SocketAddr>, String>,
    ) -> Option<u64> {
        let number = self.number(target)?;
        let wanted = self.by_number.get_mut(&number).filter(|wanted| wanted.resolving)?;
        wanted.resolving = false;
        match outcome {
            Ok(addresses) => {
                let distinct: BTreeSet<SocketAddr> = addresses.into_iter().collect();
                wanted.contact.addresses.name(distinct.into_iter().take(MAX_RECORDS).collect());
                return Some(number);
            }
            Err(words) => {
                let words = words.chars().filter(|char| !char.is_control()).take(MAX_WORDS).collect();
                self.fail(cx, number, Some(JoinError::Unresolved(words)), false);
            }
        }
        None
    }

    pub(in crate::node) fn contact(&self, number: u64) -> Option<&Contact> {
        self.by_number.get(&number).map(|wanted| &wanted.contact)
    }

    /// Notes that an address of a target is being dialled.
    pub(in crate::node) fn tried(&mut self, number: u64, address: SocketAddr) {
        if let Some(wanted) = self.by_number.get_mut(&number) {
            wanted.contact.addresses.tried(address);
        }
    }

    /// Returns whether a user waits for this target.
    pub(in crate::node) fn has_joins(&self, number: u64) -> bool {
        self.by_number.get(&number).is_some_and(|wanted| !wanted.joins.is_empty())
    }

    /// Returns the peer at an address of the target that is about to be up.
    pub(in crate::node) fn found(&self, number: u64) -> Option<NodeId> {
        self.by_number.get(&number)?.found
    }

    /// Notes which peer is at an address of the target.
    pub(in crate::node) fn find(&mut self, number: u64, peer: Option<NodeId>) {
        if let Some(wanted) = self.by_number.get_mut(&number) {
            wanted.found = peer;
        }
    }

    /// Notes why a dial for the target has failed; the others continue.
    pub(in crate::node) fn blame(&mut self, number: u64, error: JoinError) {
        if let Some(wanted) = self.by_number.get_mut(&number) {
            wanted.last_error = Some(error);
        }
    }

    /// Ends a try: no dial for the target is under way. A final error ends its joins, too.
    pub(in crate::node) fn fail(&mut self, cx: &mut Context, number: u64, error: Option<JoinError>, is_final: bool) {
        let Some(wanted) = self.by_number.get_mut(&number) else { return };
        wanted.last_error = error.or(wanted.last_error.take());
        if is_final {
            let error = wanted.last_error.clone().unwrap_or(JoinError::TimedOut);
            let joins = core::mem::take(&mut wanted.joins);
            self.fail_joins(cx, number, joins.into_iter().map(|(join, _)| join).collect(), &error);
        }
        let Some(wanted) = self.by_number.get_mut(&number) else { return };
        let timing = &cx.config.timing;
        let longest = if wanted.joins.is_empty() { timing.seed_interval } else { JOIN_RETRY };
        let longest = timing.reconnect_max.min(longest);
        let wait = wanted.contact.backoff.next(timing.reconnect_base, longest, &mut cx.rng);
        cx.timers.set(Timer::Target(number), cx.now + wait);
    }

    /// Does not dial a target before `until`, unless a user waits for it.
    pub(in crate::node) fn shun(&mut self, cx: &mut Context, number: u64, until: Instant) {
        if let Some(wanted) = self.by_number.get_mut(&number).filter(|wanted| wanted.joins.is_empty()) {
            wanted.contact.shunned_until = until;
            cx.timers.set(Timer::Target(number), until);
        }
    }

    /// Fails the joins of a target whose time is over.
    pub(in crate::node) fn expire_joins(&mut self, cx: &mut Context, number: u64) {
        let now = cx.now;
        let Some(wanted) = self.by_number.get_mut(&number) else { return };
        let error = wanted.last_error.clone().unwrap_or(JoinError::TimedOut);
        let due = wanted.joins.iter().filter(|(_, deadline)| *deadline <= now).map(|(join, _)| *join).collect();
        wanted.joins.retain(|(_, deadline)| *deadline > now);
        if let Some(next) = wanted.joins.iter().map(|(_, deadline)| *deadline).min() {
            cx.timers.set(Timer::Join(number), next);
        }
        self.fail_joins(cx, number, due, &error);
    }

    /// Drops all targets: the node leaves.
    pub(in crate::node) fn drop_all(&mut self, cx: &mut Context) {
        for number in self.numbers() {
            let Some(wanted) = self.by_number.get_mut(&number) else { continue };
            wanted.seed = false;
            let joins = core::mem::take(&mut wanted.joins);
            self.fail_joins(cx, number, joins.into_iter().map(|(join, _)| join).collect(), &JoinError::Leaving);
        }
    }

    /// Ends the joins of a target with success: the peer at one of its addresses is up.
    pub(in crate::node) fn up(&mut self, cx: &mut Context, number: u64, peer: Run) {
        let Some(wanted) = self.by_number.get_mut(&number) else { return };
        wanted.found = None;
        wanted.contact.backoff.reset();
        wanted.last_error = None;
        for (join, _) in core::mem::take(&mut wanted.joins) {
            cx.event(Event::Joined { join, target: wanted.target.clone(), peer });
        }
        cx.timers.cancel(Timer::Join(number));
        self.drop_if_done(cx, number);
    }

    fn fail_joins(&mut self, cx: &mut Context, number: u64, joins: Vec<JoinId>, error: &JoinError) {
        let Some(wanted) = self.by_number.get(&number) else { return };
        for join in joins {
            cx.event(Event::JoinFailed { join, target: wanted.target.clone(), error: error.clone() });
        }
        self.drop_if_done(cx, number);
    }

    fn drop_if_done(&mut self, cx: &mut Context, number: u64) {
        if self.by_number.get(&number).is_some_and(|wanted| wanted.joins.is_empty() && !wanted.seed) {
            self.by_number.remove(&number);
            cx.timers.cancel(Timer::Target(number));
            cx.timers.cancel(Timer::Join(number));
        }
    }

    fn number(&self, target: &Target) -> Option<u64> {
        self.by_number.iter().find(|(_, wanted)| wanted.target == *target).map(|(number, _)| *number)
    }

    fn insert(&mut self, target: Target) -> (u64, &mut Wanted) {
        let number = self.number(&target).unwrap_or(self.next);
        self.next = self.next.max(number + 1);
        let wanted = self.by_number.entry(number).or_insert_with(|| Wanted {
            target,
            contact: Contact::new(Origin::Target),
            seed: false,
            joins: Vec::new(),
            resolving: false,
            found: None,
            last_error: None,
        });
        (number, wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::id::Incarnation;
    use crate::rng::{Purpose, Rng, Seed};

    fn context() -> Context {
        let run = Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(1) };
        let rng = Rng::new(&Seed::new([1; 32]), Purpose::Jitter);
        Context::new(Config::insecure_plaintext(), run, rng, Instant::ZERO)
    }

    fn events(cx: &mut Context) -> Vec<Event> {
        let events = cx.actions.drain(..).filter_map(|action| match action {
            Action::Event(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    #[test]
    fn joins_of_one_target_share_its_dials_and_end_together() {
        let (mut cx, mut targets) = (context(), Targets::default());
        let target: Target = "10.0.0.1:7".parse().unwrap();
        let (first, number) = targets.join(&mut cx, target.clone());
        let (second, same) = targets.join(&mut cx, target);
        assert!(first != second && number == same && targets.begin(&mut cx, number, None));
        assert!(targets.contact(number).unwrap().addresses.dialable().eq(["10.0.0.1:7".parse().unwrap()]));
        targets.fail(&mut cx, number, Some(JoinError::SelfConnection), false);
        assert!(events(&mut cx).is_empty() && targets.has_joins(number), "a join outlasts an error that is not final");
        targets.fail(&mut cx, number, None, true);
        let ended = events(&mut cx);
        let failed = |event: &Event| matches!(event, Event::JoinFailed { error: JoinError::SelfConnection, .. });
        assert!(ended.len() == 2 && ended.iter().all(failed), "{ended:?}");
        assert_eq!((targets.len(), cx.timers.len()), (0, 0));
    }

    #[test]
    fn seed_stays_and_a_join_clears_its_penalty() {
        let (mut cx, mut targets) = (context(), Targets::default());
        let target: Target = "10.0.0.1:7".parse().unwrap();
        targets.seed(&mut cx, target.clone());
        let number = targets.numbers()[0];
        let until = Instant::ZERO + JOIN_RETRY;
        targets.shun(&mut cx, number, until);
        assert_eq!(targets.contact(number).unwrap().shunned_until, until);
        targets.join(&mut cx, target);
        targets.shun(&mut cx, number, until);
        assert_eq!(targets.contact(number).unwrap().shunned_until, Instant::ZERO, "a user waits for it");
        let peer = cx.run;
        targets.up(&mut cx, number, peer);
        assert!(matches!(&events(&mut cx)[..], [Event::Joined { .. }]) && targets.len() == 1);
    }

    #[test]
    fn name_is_looked_up_once_at_a_time() {
        let (mut cx, mut targets) = (context(), Targets::default());
        let target: Target = "host:7".parse().unwrap();
        let (_, number) = targets.join(&mut cx, target.clone());
        assert!(!targets.begin(&mut cx, number, None) && !targets.begin(&mut cx, number, None));
        let resolves = cx.actions.iter().filter(|action| matches!(action, Action::Resolve { .. })).count();
        assert_eq!(resolves, 1);
        assert_eq!(targets.resolved(&mut cx, &target, Err("no\nsuch host".into())), None);
        let address = "10.0.0.1:7".parse().unwrap();
        assert_eq!(targets.resolved(&mut cx, &target, Ok(Vec::from([address]))), None, "an answer to no question");
        assert!(!targets.begin(&mut cx, number, None));
        assert_eq!(targets.resolved(&mut cx, &target, Ok(Vec::from([address; 2]))), Some(number));
        assert!(targets.contact(number).unwrap().addresses.dialable().eq([address]));
    }
}
