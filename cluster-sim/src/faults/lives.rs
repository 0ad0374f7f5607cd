//! The lives of nodes and their hosts: they crash, start again, move, stand still, run out of descriptors.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cluster_core::Incarnation;
use cluster_timeline::record::HostId;

use crate::machine::{Bind, Process, parse};
use crate::queue::{Due, nanos};
use crate::restart::{Crash, Id, Later, Restart, Twin};
use crate::schedule::{Drawer, Fault, Identity, Op};
use crate::world::{HostMut, World};

/// How far the wall clock was set back when a node starts as [`Identity::Stale`], in microseconds.
const STALE: u64 = 10_000_000;

/// What a test does to the life of a node and its host.
impl HostMut<'_> {
    /// Ends the node on the host without any goodbye of its own.
    ///
    /// # Panics
    ///
    /// If nothing runs there.
    #[track_caller]
    pub fn crash(&mut self, how: Crash) {
        let host = self.host;
        self.world.condition(host, format!("crash {how:?}"));
        let machine = &mut self.world.machines[host.index()];
        assert!(!matches!(machine.process, Process::Absent), "nothing runs on {host}");
        machine.process = Process::Absent;
        machine.inbox.clear();
        machine.listen = None;
        machine.tick = None;
        self.world.oracle.ended(host);
        match how {
            Crash::Power => self.world.net.power_off(&mut self.world.queue, host),
            Crash::Kill => self.world.net.kill(&mut self.world.queue, host, false),
            Crash::Reset => self.world.net.kill(&mut self.world.queue, host, true),
        }
        self.world.wake_all();
    }

    /// Starts a node on a host whose node has crashed, has left, or was never started. A node that has left is
    /// replaced by the new one.
    ///
    /// # Panics
    ///
    /// If a node that has not left runs there, or the new address is taken.
    #[track_caller]
    pub fn restart(&mut self, how: Restart) {
        let host = self.host;
        assert!(!self.world.host(host).is_running(), "{host} runs already");
        self.world.condition(host, "restart".to_owned());
        self.world.net.power_on(&mut self.world.queue, host);
        if let Some(ip) = how.ip.or_else(|| how.moved.then(|| self.world.free_ip())) {
            assert!(self.world.net.owner(ip).is_none_or(|owner| owner == host), "{ip} is taken");
            self.world.net.readdress(host, ip);
        }
        let wall_clock = self.world.wall_clock();
        let machine = &mut self.world.machines[host.index()];
        if let Some(port) = how.port {
            machine.spec.port = Some(port);
        }
        if let Some(config) = how.config {
            machine.spec.config = config;
        }
        let before = machine.run;
        let first = machine.spec.incarnation.map_or(wall_clock, |number| number.0);
        let incarnation = match how.incarnation {
            Later::Higher => before.map_or(first, |run| wall_clock.max(run.incarnation.0 + 1)),
            Later::Same => before.map_or(first, |run| run.incarnation.0),
            Later::This(number) => number,
            Later::Above(number) => wall_clock.max(number.saturating_add(1)),
        };
        let id = match how.id {
            Id::Same => before.map(|run| run.id).or(machine.spec.id),
            Id::New => None,
            Id::This(id) => Some(id),
        };
        let config = machine.spec.config.clone();
        let config = self.world.with_id(config, id);
        self.world.start(host, config, incarnation);
    }

    /// Powers a host on without starting a node: its kernel resets what belongs to connections of before.
    #[track_caller]
    pub fn power_on(&mut self) {
        let host = self.host;
        self.world.condition(host, "power on".to_owned());
        self.world.net.power_on(&mut self.world.queue, host);
        self.world.wake_all();
    }

    /// The process on the host does not run: bytes queue up in the kernel, and deadlines pass.
    #[track_caller]
    pub fn pause(&mut self) {
        let host = self.host;
        self.world.condition(host, "pause".to_owned());
        self.world.set_paused(host, true);
    }

    /// The process on the host does not run for `span`, unless it is [resumed](Self::resume) earlier.
    #[track_caller]
    pub fn pause_for(&mut self, span: Duration) {
        let host = self.host;
        self.world.condition(host, "pause".to_owned());
        let number = self.world.set_paused(host, true);
        self.world.queue.push_after(nanos(span), Due::Resume { host, number });
    }

    /// The process on the host runs again.
    #[track_caller]
    pub fn resume(&mut self) {
        let host = self.host;
        self.world.condition(host, "resume".to_owned());
        self.world.set_paused(host, false);
        self.world.turn(host);
        self.world.wake_all();
    }

    /// No descriptor is left on the host: its dials fail, and its kernel keeps what connects to it waiting.
    #[track_caller]
    pub fn exhaust(&mut self, exhausted: bool) {
        let host = self.host;
        self.world.condition(host, format!("exhausted: {exhausted}"));
        self.world.net.exhaust(host, exhausted);
        self.world.wake_all();
    }

    /// The host gets another address, at once and without a restart, as by DHCP. Its node goes on listening only if it
    /// is bound to [no address in particular](crate::Spec::unspecified), and is told nothing. Connections that stand
    /// keep their addresses and go on, as over a tunnel; [`sever_connections`](crate::NetMut::sever_connections) ends
    /// that.
    ///
    /// # Panics
    ///
    /// If the text is no IP address, or the address is taken.
    #[track_caller]
    pub fn change_address(&mut self, ip: &str) {
        let host = self.host;
        let ip = parse(ip);
        assert!(self.world.net.owner(ip).is_none_or(|owner| owner == host), "{ip} is taken");
        self.world.readdress(host, ip);
    }

    /// The host gets the next address that is free, see [`change_address`](Self::change_address).
    #[track_caller]
    pub fn renumber(&mut self) {
        let host = self.host;
        let ip = self.world.free_ip();
        self.world.readdress(host, ip);
    }
}

impl World {
    #[track_caller]
    fn readdress(&mut self, host: HostId, ip: IpAddr) {
        self.condition(host, format!("moves to {ip}"));
        self.net.readdress(host, ip);
        let machine = &mut self.machines[host.index()];
        if let Some(before) = machine.listen.take() {
            let now = SocketAddr::new(ip, before.port());
            let stays = machine.spec.bind == Bind::Unspecified;
            machine.listen = stays.then_some(now);
            self.net.move_listener(&mut self.queue, before, stays.then_some(now));
        }
        self.wake_all();
    }

    fn set_paused(&mut self, host: HostId, paused: bool) -> u32 {
        let machine = &mut self.machines[host.index()];
        machine.paused = paused;
        machine.pauses = machine.pauses.wrapping_add(1);
        machine.pauses
    }
}

pub(super) fn apply(world: &mut World, op: &Op) -> Option<bool> {
    match *op {
        Op::Crash { host, how } if world.host(HostId(host)).is_running() => world.host_mut(HostId(host)).crash(how),
        Op::Restart { host, identity, moved } if !world.host(HostId(host)).is_running() => {
            let how = if moved { Restart::default().moved() } else { Restart::default() };
            let Incarnation(before) = world.host(HostId(host)).run().incarnation;
            let how = match identity {
                Identity::Same => how,
                Identity::Stale => how.incarnation(before.saturating_sub(STALE)),
                Identity::New => how.new_id(),
                Identity::Twin { of, run } => how.twin(world.host(HostId(of)).run(), run),
            };
            world.host_mut(HostId(host)).restart(how);
        }
        Op::Renumber { host } => world.host_mut(HostId(host)).renumber(),
        Op::Pause { host } if world.host(HostId(host)).can_act() => world.host_mut(HostId(host)).pause(),
        Op::Resume { host } if world.machines[host as usize].paused => world.host_mut(HostId(host)).resume(),
        Op::Exhaust { host, exhausted } => world.host_mut(HostId(host)).exhaust(exhausted),
        _ => return None,
    }
    Some(true)
}

pub(super) fn print(op: &Op) -> Option<String> {
    let call = match op {
        Op::Crash { host, how } => format!("world.host_mut(n[{host}]).crash(Crash::{how:?});"),
        Op::Restart { host, identity, moved } => restart(*host, *identity, *moved),
        Op::Renumber { host } => format!("world.host_mut(n[{host}]).renumber();"),
        Op::Pause { host } => format!("world.host_mut(n[{host}]).pause();"),
        Op::Resume { host } => format!("world.host_mut(n[{host}]).resume();"),
        Op::Exhaust { host, exhausted } => format!("world.host_mut(n[{host}]).exhaust({exhausted});"),
        _ => return None,
    };
    Some(call)
}

pub(super) fn simpler(op: &Op) -> Option<Vec<Op>> {
    let simpler = match *op {
        Op::Crash { host, how } if how != Crash::Kill => vec![Op::Crash { host, how: Crash::Kill }],
        Op::Restart { host, identity, moved } => {
            let simpler = [(Identity::Same, false), (identity, false), (Identity::Same, moved)];
            let simpler = simpler.into_iter().filter(|&other| other != (identity, moved));
            simpler.map(|(identity, moved)| Op::Restart { host, identity, moved }).collect()
        }
        _ => return None,
    };
    Some(simpler)
}

pub(super) fn draw(drawer: &mut Drawer, kind: Fault, at: u64, host: u32) -> bool {
    match kind {
        Fault::Crash => crash(drawer, at, host, Identity::Same, false),
        Fault::NewIdentity => crash(drawer, at, host, Identity::New, false),
        Fault::Stale => crash(drawer, at, host, Identity::Stale, false),
        Fault::Clone => {
            if let Some((host, of)) = drawer.pair() {
                // The very same run at two places cannot be told from one that dials again, and nothing is promised.
                let run = Twin::LaterRun;
                let moved = drawer.rng.below(2) == 0;
                crash(drawer, at, host, Identity::Twin { of, run }, moved);
                let end = at + drawer.rng.scaled(1_000, 60_000);
                crash(drawer, end, host, Identity::New, false);
            }
        }
        Fault::Move => {
            let identity = drawer.rng.pick(&[Identity::Same, Identity::New]);
            let live = drawer.rng.below(2) == 0;
            if live {
                drawer.push(at, Op::Renumber { host });
            }
            let at = if live { at + drawer.rng.scaled(10, 30_000) } else { at };
            crash(drawer, at, host, identity, !live);
        }
        Fault::Pause => drawer.spell(at, 1_800_000, Op::Pause { host }, Op::Resume { host }),
        Fault::Exhaust => {
            let exhaust = |exhausted| Op::Exhaust { host, exhausted };
            drawer.spell(at, 60_000, exhaust(true), exhaust(false));
        }
        _ => return false,
    }
    true
}

fn crash(drawer: &mut Drawer, at: u64, host: u32, identity: Identity, moved: bool) {
    let how = drawer.rng.pick(&[Crash::Power, Crash::Kill, Crash::Reset]);
    drawer.spell(at, 30_000, Op::Crash { host, how }, Op::Restart { host, identity, moved });
}

/// A call with what it needs from the world: a handle to a host leaves no room for another.
fn restart(host: u32, identity: Identity, moved: bool) -> String {
    let moved = if moved { ".moved()" } else { "" };
    let run = |of: u32| format!("let run = world.host(n[{of}]).run();\n    ");
    let (before, how) = match identity {
        Identity::Same => (String::new(), String::new()),
        Identity::New => (String::new(), ".new_id()".to_owned()),
        Identity::Twin { of, run: twin } => (run(of), format!(".twin(run, Twin::{twin:?})")),
        Identity::Stale => (run(host), ".incarnation(run.incarnation.0 - 10_000_000)".to_owned()),
    };
    format!("{before}world.host_mut(n[{host}]).restart(Restart::default(){moved}{how});")
}
