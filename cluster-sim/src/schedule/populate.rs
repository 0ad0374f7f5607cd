//! The nodes of a schedule.

use cluster_core::{Config, ConfigError, Incarnation, Instant, Node, Start};

use super::{Schedule, ScheduleError, WorldError, check_places};
use crate::world::World;

impl World {
    /// The nodes of a schedule at time 0, before its first step. What fails in this world unwinds with a
    /// [`Violation`](crate::Violation), and prints nothing.
    ///
    /// # Errors
    ///
    /// If the schedule is an impossible one.
    pub fn of_schedule(schedule: &Schedule) -> Result<World, ScheduleError> {
        let config = schedule.node_config(None)?;
        let mut world = World::quiet(schedule.seed);
        world.populate(schedule, &config);
        Ok(world)
    }

    /// Adds the nodes of a schedule.
    pub(crate) fn populate(&mut self, schedule: &Schedule, config: &Config) {
        self.net_mut().set_buffers(schedule.profile.buffers());
        if config.is_secure() {
            self.net.expect_secrecy();
        }
        let hosts = self.add_many(schedule.nodes as usize, config);
        for &host in &hosts {
            self.host_mut(host).set_acknowledging(schedule.profile.acknowledge);
        }
        if schedule.profile.seeds == 0 {
            for &host in &hosts[1..] {
                // The join may fail later; it cannot be refused here.
                let _ = self.node(host).join(hosts[0]);
            }
        }
    }
}

impl Schedule {
    /// The config of every node: that of the profile, unless there is another.
    pub(crate) fn node_config(&self, other: Option<&Config>) -> Result<Config, ScheduleError> {
        self.check()?;
        let Some(other) = other else { return Ok(self.profile.config(self.nodes)) };
        let config = self.profile.with_seeds(other.clone(), self.nodes);
        let max_peers = max_peers(&config).map_err(WorldError::from)?;
        check_places(max_peers, self.others())?;
        Ok(config)
    }

    /// Whether the nodes have a place for one more hostile member.
    pub(crate) fn has_room(&self, other: Option<&Config>) -> bool {
        // With a config that contradicts itself there is nothing to have room in.
        let most = other.map_or(Ok(self.profile.max_peers), max_peers);
        most.is_ok_and(|most| most > self.others())
    }
}

/// How many peers a node with this config may have: only a node can tell.
fn max_peers(config: &Config) -> Result<usize, ConfigError> {
    let start = Start { seed: [0; 32], incarnation: Incarnation(0), listen: None };
    Ok(Node::new(config.clone(), start, Instant::ZERO)?.limits().max_peers)
}
