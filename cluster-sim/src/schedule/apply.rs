//! Carries out what the steps of a schedule say.

use bytes::Bytes;
use cluster_core::{Config, ConfigError, Incarnation, Instant, Node, Start};
use cluster_timeline::record::HostId;

use super::{Identity, Op, Schedule, ScheduleError, Setting, WorldError, check_places};
use crate::numbered::SHORTEST;
use crate::restart::Restart;
use crate::world::World;

/// How far the wall clock was set back when a node starts as [`Identity::Stale`], in microseconds.
const STALE: u64 = 10_000_000;

impl World {
    /// Does what a step of a schedule does. Says whether it made any sense: if not, nothing has happened.
    ///
    /// # Errors
    ///
    /// If it names a host that is not there, or is impossible for another reason.
    pub fn apply(&mut self, op: &Op) -> Result<bool, WorldError> {
        op.check(self.machines.len() as u32)?;
        Ok(self.do_network(op) || self.do_host(op) || self.do_user(op))
    }

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

    fn do_network(&mut self, op: &Op) -> bool {
        let hosts = |numbers: &[u32]| numbers.iter().map(|&number| HostId(number)).collect::<Vec<_>>();
        match *op {
            Op::Latency { latency } => self.net_mut().set_latency(latency),
            Op::LatencyFrom { from, to, latency } => self.net_mut().set_latency_from(HostId(from), HostId(to), latency),
            Op::Bandwidth { from, to, bytes_per_second } => {
                self.net_mut().set_bandwidth_from(HostId(from), HostId(to), bytes_per_second);
            }
            Op::Clog { from, to, open, shut } => self.net_mut().clog(HostId(from), HostId(to), open, shut),
            Op::Cut { a, b } => self.net_mut().cut(HostId(a), HostId(b)),
            Op::CutOneWay { from, to } => self.net_mut().cut_one_way(HostId(from), HostId(to)),
            Op::Partition { ref one, ref other } => self.net_mut().partition(&hosts(one), &hosts(other)),
            Op::Isolate { host } => self.net_mut().isolate(HostId(host)),
            Op::Heal { a, b } => self.net_mut().heal(HostId(a), HostId(b)),
            Op::HealAll => self.net_mut().heal_all(),
            Op::BlockDials { from, to, how } => self.net_mut().block_dials(HostId(from), HostId(to), how),
            Op::AllowDials { from, to } => self.net_mut().allow_dials(HostId(from), HostId(to)),
            Op::DialFate { host, fate } => {
                let address = self.host(HostId(host)).addr();
                self.net_mut().set_fate(address, fate);
            }
            Op::Reset { a, b } => return self.net_mut().reset_connections(HostId(a), HostId(b)) > 0,
            Op::ResetOneSide { at, peer } => return self.net_mut().reset_one_side(HostId(at), HostId(peer)) > 0,
            Op::HalfOpen { at, peer } => return self.net_mut().half_open(HostId(at), HostId(peer)) > 0,
            Op::Sever { a, b } => return self.net_mut().sever_connections(HostId(a), HostId(b)) > 0,
            Op::Outsider { attack, tempo } => {
                return self.may_add_hostile() && {
                    self.add_outsider(&[attack], tempo);
                    true
                };
            }
            Op::Insider { abuse, tempo } => {
                return self.may_add_hostile() && {
                    self.add_insider(&[abuse], tempo);
                    true
                };
            }
            _ => return false,
        }
        true
    }

    fn do_host(&mut self, op: &Op) -> bool {
        match *op {
            Op::Crash { host, how } if self.host(HostId(host)).is_running() => self.host_mut(HostId(host)).crash(how),
            Op::Restart { host, identity, moved } if !self.host(HostId(host)).is_running() => {
                let how = if moved { Restart::default().moved() } else { Restart::default() };
                let Incarnation(before) = self.host(HostId(host)).run().incarnation;
                let how = match identity {
                    Identity::Same => how,
                    Identity::Stale => how.incarnation(before.saturating_sub(STALE)),
                    Identity::New => how.new_id(),
                    Identity::Twin { of, run } => how.twin(self.host(HostId(of)).run(), run),
                };
                self.host_mut(HostId(host)).restart(how);
            }
            Op::Pause { host } if self.host(HostId(host)).can_act() => self.host_mut(HostId(host)).pause(),
            Op::Resume { host } if self.machines[host as usize].paused => self.host_mut(HostId(host)).resume(),
            Op::Renumber { host } => self.host_mut(HostId(host)).renumber(),
            Op::Late { host, up_to } => self.host_mut(HostId(host)).set_late(up_to),
            Op::Drift { host, ppm } => self.host_mut(HostId(host)).set_drift(ppm),
            Op::ClockForward { host, by } => self.host_mut(HostId(host)).clock_forward(by),
            Op::ClockBack { host, by } => self.host_mut(HostId(host)).clock_back(by),
            Op::ClockStop { host, stopped } => self.host_mut(HostId(host)).clock_stop(stopped),
            Op::Consuming { host, consuming } => self.host_mut(HostId(host)).set_consuming(consuming),
            Op::Consume { host, count } => self.host_mut(HostId(host)).consume(count),
            Op::ConsumeInBursts { host, count, every } => self.host_mut(HostId(host)).consume_in_bursts(count, every),
            Op::Reading { host, reading } => self.host_mut(HostId(host)).set_reading(reading),
            Op::Read { host, bytes } => self.host_mut(HostId(host)).read(bytes),
            Op::Exhaust { host, exhausted } => self.host_mut(HostId(host)).exhaust(exhausted),
            _ => return false,
        }
        true
    }

    /// The verbs of a node. Whether it has accepted what was asked of it is no matter here.
    fn do_user(&mut self, op: &Op) -> bool {
        match *op {
            Op::Leave { host, timeout } if self.host(HostId(host)).can_act() => self.node(HostId(host)).leave(timeout),
            Op::Disconnect { host, peer } if self.host(HostId(host)).can_act() => {
                let peer = self.host(HostId(peer)).id();
                return self.node(HostId(host)).disconnect(peer).is_ok();
            }
            Op::Join { host, to } if self.host(HostId(host)).can_act() => {
                return self.node(HostId(host)).join(HostId(to)).is_ok();
            }
            Op::JoinThrough { host, to } if self.host(HostId(host)).can_act() => {
                let inner = self.host(HostId(to)).addr();
                let public = self.net_mut().forward(&public(to), inner);
                return self.node(HostId(host)).join(public).is_ok();
            }
            Op::AddSeed { host, to } if self.host(HostId(host)).can_act() => {
                return self.node(HostId(host)).add_seed(HostId(to)).is_ok();
            }
            Op::Forget { host } if self.host(HostId(host)).can_act() => self.node(HostId(host)).forget_lost(),
            Op::SetConfig { host, ref setting } if self.host(HostId(host)).can_act() => {
                let config = self.node(HostId(host)).config();
                let config = match setting {
                    Setting::Metadata(length) => config.metadata(vec![0; *length as usize]),
                    Setting::Pace(pace) => pace.of(config),
                };
                return self.node(HostId(host)).set_config(config).is_ok();
            }
            Op::Send { from, to, length, count } if from != to && self.host(HostId(from)).can_act() => {
                return (0..count).take_while(|_| self.send_some(HostId(from), HostId(to), length)).count() > 0;
            }
            Op::Broadcast { from, length } if self.host(HostId(from)).can_act() => {
                return self.node(HostId(from)).broadcast(zeroes(length)).is_ok();
            }
            Op::Flush { from, to } if self.host(HostId(from)).can_act() => {
                let to = self.host(HostId(to)).id();
                return self.node(HostId(from)).flush(to).is_ok();
            }
            _ => return false,
        }
        true
    }

    fn may_add_hostile(&self) -> bool {
        self.actors.len() < Op::MAX_HOSTILE
    }

    fn send_some(&mut self, from: HostId, to: HostId, length: u64) -> bool {
        if length < SHORTEST as u64 {
            let to = self.host(to).id();
            return self.node(from).send(to, zeroes(length)).is_ok();
        }
        self.node(from).send_numbered(to, length as usize).is_ok()
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

/// The address of the port-forward to a host.
pub(super) fn public(to: u32) -> String {
    format!("10.0.{}.{}:7000", 200 + to / 250, to % 250 + 1)
}

fn zeroes(length: u64) -> Bytes {
    Bytes::from(vec![0; length as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Crash;
    use std::time::Duration;

    fn world() -> World {
        let mut world = World::of_schedule(&Schedule::new(3, 3, Duration::ZERO)).unwrap();
        world.expect("a mesh", Duration::from_secs(5), World::is_complete);
        world
    }

    #[test]
    fn what_makes_no_sense_does_nothing() {
        let mut world = world();
        let hash = world.trace_hash();
        for op in [
            Op::Restart { host: 0, identity: Identity::Same, moved: false },
            Op::Resume { host: 0 },
            Op::Send { from: 1, to: 1, length: 100, count: 1 },
        ] {
            assert_eq!(world.apply(&op), Ok(false), "{op:?}");
        }
        assert_eq!(world.trace_hash(), hash);
        assert_eq!(world.apply(&Op::Crash { host: 0, how: Crash::Kill }), Ok(true));
        let hash = world.trace_hash();
        for op in [
            Op::Crash { host: 0, how: Crash::Kill },
            Op::Pause { host: 0 },
            Op::Leave { host: 0, timeout: Duration::ZERO },
            Op::Send { from: 0, to: 1, length: 100, count: 1 },
        ] {
            assert_eq!(world.apply(&op), Ok(false), "{op:?}");
        }
        assert_eq!(world.trace_hash(), hash);
    }

    #[test]
    fn an_unknown_host_is_an_error() {
        let error = WorldError::UnknownNode { node: 3, nodes: 3 };
        assert_eq!(world().apply(&Op::Partition { one: vec![0], other: vec![3] }), Err(error));
    }

    #[test]
    fn a_node_can_move_and_be_stale() {
        let mut world = world();
        let (before, address) = (world.host(HostId(2)).run(), world.host(HostId(2)).addr());
        for identity in [Identity::Stale, Identity::New] {
            assert_eq!(world.apply(&Op::Crash { host: 2, how: Crash::Reset }), Ok(true));
            assert_eq!(world.apply(&Op::Restart { host: 2, identity, moved: true }), Ok(true));
            world.expect("a mesh", Duration::from_secs(60), World::is_complete);
            assert_eq!(world.host(HostId(2)).id() == before.id, identity == Identity::Stale);
            assert_ne!(world.host(HostId(2)).addr(), address);
        }
    }
}
