//! New settings for a node that runs.

use alloc::vec::Vec;

use super::Node;
use super::timer::{LinkTimer, Timer};
use crate::config::{Config, ConfigError};
use crate::id::{LinkId, NodeId};
use crate::link::{Link, LinkState};
use crate::peer::Peer;
use crate::time::Instant;

impl Node {
    /// Changes the settings of a running node. Intervals and timeouts apply from their next use, limits to what comes
    /// next; seeds that are new are added. The node tells its peers of a changed name, metadata or list of
    /// addresses. A link ends that was made with a secret which is no longer in the keyring, and its session continues over
    /// a new one; a peer that is no longer allowed is gone.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if two settings contradict each other, or if the cluster, the id or identity, whether there is a
    /// secret, the versions, `max_message`, `recv_budget`, `initial_window` or `max_peers` differ. Nothing has changed
    /// then.
    pub fn set_config(&mut self, now: Instant, config: Config) -> Result<(), ConfigError> {
        config.check()?;
        let (old, new) = (&self.cx.config.limits, &config.limits);
        for (field, same) in [
            ("cluster", self.cx.config.cluster_name() == config.cluster_name()),
            ("node_id", self.cx.config.node_id == config.node_id),
            ("identity", self.cx.config.identity == config.identity),
            ("whether there is a secret", self.cx.config.is_secure() == config.is_secure()),
            ("versions", self.cx.config.versions == config.versions),
            ("max_message", old.max_message == new.max_message),
            ("recv_budget", old.recv_budget == new.recv_budget),
            ("initial_window", old.initial_window == new.initial_window),
            ("max_peers", old.max_peers == new.max_peers),
            ("acknowledge", self.cx.config.acknowledge == config.acknowledge),
        ] {
            if !same {
                return Err(ConfigError::fixed(field));
            }
        }
        self.advance(now);
        let before = self.me.profile(&self.cx.config);
        let moved = self.cx.config.advertise != config.advertise;
        self.cx.config = config;
        self.distrust_links();
        if self.is_leaving() {
            return Ok(());
        }
        if moved {
            self.dialling.set_own(self.me.own_addresses(&self.cx.config));
        }
        for seed in self.cx.config.seeds.clone() {
            self.dialling.targets_mut().seed(&mut self.cx, seed);
        }
        if self.me.profile(&self.cx.config) != before {
            self.tell_profile();
        }
        self.retime();
        Ok(())
    }

    /// Tells every peer what this node says of itself now. On a link that is being set up it has said something else
    /// already, so there it follows once the link is up.
    fn tell_profile(&mut self) {
        let told = |link: &&Link| {
            matches!(link.state, LinkState::Claiming { .. } | LinkState::Accepted { .. } | LinkState::Up { .. })
        };
        let told: Vec<LinkId> = self.pairs.links().filter(told).map(|link| link.id).collect();
        for link in told {
            self.edit(link, |link| link.slots.update = true);
        }
    }

    /// New settings may call for earlier deadlines than those already set.
    pub(super) fn retime(&mut self) {
        let timing = self.cx.config.timing.clone();
        let asked = self.cx.now - timing.heartbeat;
        for link in self.pairs.links_mut().filter(|link| link.is_up()) {
            // A silence that was right by the old settings is no reason to end the link by the new ones.
            link.heard = link.heard.max(asked);
            self.cx.timers.set_no_later(Timer::Link(link.id, LinkTimer::Liveness), self.cx.now + timing.heartbeat);
        }
        self.cx.timers.set_no_later(Timer::Gossip, self.cx.now + timing.gossip_interval);
        let of = |peer: &Peer| peer.lost_since().map(|since| (peer.run.id, since));
        let lost: Vec<(NodeId, Instant)> = self.pairs.peers().filter_map(of).collect();
        for (id, since) in lost {
            self.cx.timers.set_no_later(Timer::Contact(id), self.cx.now + timing.reconnect_max);
            self.mail.retime_session(&mut self.cx, id, since + timing.session_ttl);
            match timing.forget_after {
                // Not in the past: a deadline that was missed would say that this process stood still.
                Some(span) => self.cx.timers.set(Timer::Forget(id), self.cx.now.max(since + span)),
                None => self.cx.timers.cancel(Timer::Forget(id)),
            }
        }
        for number in self.dialling.targets().numbers() {
            self.cx.timers.set_no_later(Timer::Target(number), self.cx.now + timing.seed_interval);
        }
        self.dialling.retime(&mut self.cx);
    }
}
