//! The recording of a world, for people.

use std::collections::BTreeSet;

use cluster_core::Run;
use cluster_timeline::{FaultKind, HostState, Recorder, Snapshot, StandingLink, Timeline};

use super::World;
use crate::machine::{Machine, Process};
use crate::net::Block;

impl World {
    /// Records from now on what a [`Timeline`] shows; what went before is not in it, except for how things stand now.
    /// Nothing else in the run changes. Off by default, since it takes memory and time.
    pub fn record(&mut self) {
        if self.trace.recording().is_none() {
            let recorder = self.recorder();
            self.trace.set_recorder(recorder);
        }
    }

    /// What happened since [`record`](World::record) was called.
    ///
    /// ```
    /// use cluster_core::Config;
    /// use cluster_sim::World;
    /// use std::time::Duration;
    ///
    /// let mut world = World::new(42);
    /// world.record();
    /// let hosts = world.add_many(3, &Config::insecure_plaintext());
    /// for &host in &hosts[1..] {
    ///     world.node(host).join(hosts[0])?;
    /// }
    /// world.run_for(Duration::from_secs(1));
    ///
    /// let timeline = world.timeline();
    /// assert!(timeline.mesh.last().is_some_and(|span| span.is_whole()));
    /// println!("{}", timeline.to_text(100));
    /// let path = std::env::temp_dir().join("cluster-sim-timeline.html");
    /// timeline.write_html(&path)?;
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If it was not called.
    #[must_use]
    #[track_caller]
    pub fn timeline(&mut self) -> Timeline {
        self.observe();
        let addresses: Vec<_> = self.hosts().map(|host| self.host(host).addr()).collect();
        match self.trace.recorder() {
            Some(recorder) => recorder.timeline(self.seed, self.trace_hash(), self.now(), &addresses),
            None => panic!("this world does not record: call `record` first"),
        }
    }

    /// Notes which faults are in force and what the hosts do, if something may have changed since the last time.
    pub(crate) fn observe(&mut self) {
        if self.trace.recorder().is_some_and(|recorder| recorder.is_stale(self.machines.len())) {
            let (now, snapshot) = (self.now(), self.snapshot());
            if let Some(recorder) = self.trace.recording() {
                recorder.observe(now, &snapshot);
            }
        }
    }

    /// A recorder that knows how things stand at present.
    fn recorder(&self) -> Recorder {
        let mut recorder = Recorder::new(self.now());
        for machine in &self.machines {
            if let Some(run) = machine.run {
                recorder.run(machine.id, run);
            }
        }
        for machine in &self.machines {
            let Some(driver) = machine.process.driver() else { continue };
            for info in driver.node.peers() {
                recorder.peer(machine.id, info.run, info.state);
            }
            for (link, entry) in driver.links() {
                let standing = StandingLink {
                    end: entry.sock.into(),
                    remote: self.net.end(entry.sock).remote,
                    peer: entry.peer,
                    granted: entry.granted,
                };
                recorder.link(machine.id, link, &standing);
            }
        }
        recorder
    }

    /// How things stand at present.
    fn snapshot(&self) -> Snapshot {
        let mut faults = BTreeSet::new();
        for machine in &self.machines {
            let alone = [
                (FaultKind::Exhausted, self.net.is_exhausted(machine.id)),
                (FaultKind::NotConsuming, machine.appetite.is_some()),
                (FaultKind::NotReading, machine.reading.is_some()),
                (FaultKind::ClockStopped, machine.clock.is_stopped()),
            ];
            faults.extend(alone.iter().filter(|(_, holds)| *holds).map(|&(kind, _)| (kind, machine.id, None)));
        }
        faults.extend(self.net.cuts().map(|(from, to)| (FaultKind::Cut, from, Some(to))));
        faults.extend(self.net.blocks().map(|(from, to, block)| match block {
            Block::Drop => (FaultKind::DialsDropped, from, Some(to)),
            Block::Refuse => (FaultKind::DialsRefused, from, Some(to)),
        }));
        Snapshot { hosts: self.machines.iter().map(host).collect(), faults }
    }
}

fn host(machine: &Machine) -> (HostState, Option<Run>) {
    let state = match &machine.process {
        Process::Absent if machine.life == 0 => HostState::Idle,
        Process::Absent => HostState::Crashed,
        Process::Puppet(_) => HostState::Puppet,
        Process::Node(driver) if driver.node.has_left() => HostState::Left,
        Process::Node(_) if machine.paused => HostState::Paused,
        Process::Node(_) => HostState::Running,
    };
    (state, machine.run.filter(|_| state.is_up() || state == HostState::Puppet))
}
