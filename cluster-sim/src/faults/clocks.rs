//! Clocks that are wrong, and processes that are woken late.

use std::time::Duration;

use cluster_timeline::record::HostId;

use crate::machine::Late;
use crate::queue::nanos;
use crate::rng::{Purpose, Rng};
use crate::schedule::words::{duration, shorter};
use crate::schedule::{Drawer, Fault, Op, Schedule};
use crate::world::{HostMut, World};

/// What a test does to clocks.
impl HostMut<'_> {
    /// The process on the host is woken for its deadlines late, each time by anything up to `up_to`; zero: in time.
    /// What the network has for it wakes it in time, and then it also sees what is due.
    #[track_caller]
    pub fn set_late(&mut self, up_to: Duration) {
        let host = self.host;
        self.world.condition(host, format!("late by up to {up_to:?}"));
        let rng = Rng::new(self.world.seed, Purpose::Late, host.0, self.world.machines[host.index()].life);
        let machine = &mut self.world.machines[host.index()];
        machine.late = (!up_to.is_zero()).then(|| Late { up_to: nanos(up_to), rng });
        machine.tick = None;
        self.world.turn(host);
        self.world.wake_all();
    }

    /// The monotonic clock of the host is too fast by so many millionths, or too slow if there are fewer than none.
    ///
    /// # Panics
    ///
    /// If it would run at less than half or more than one and a half times the right speed.
    #[track_caller]
    pub fn set_drift(&mut self, ppm: i32) {
        let host = self.host;
        assert!(ppm.unsigned_abs() <= 500_000, "{ppm} millionths are more than a clock may drift");
        self.world.condition(host, format!("drift {ppm} ppm"));
        let now = self.world.queue.now();
        let machine = &mut self.world.machines[host.index()];
        machine.clock.drift(now, ppm);
        machine.tick = None;
        self.world.turn(host);
        self.world.wake_all();
    }

    /// The monotonic clock of the host jumps forward.
    ///
    /// # Panics
    ///
    /// If it jumps by more than [`Schedule::MAX_DURATION`], and by more than it was set back.
    #[track_caller]
    pub fn clock_forward(&mut self, by: Duration) {
        let host = self.host;
        let most = Schedule::MAX_DURATION.max(self.world.machines[host.index()].clock.behind());
        assert!(by <= most, "a clock jumps forward by {most:?} at the most, and not by {by:?}");
        self.world.fault(host, format!("clock forward {by:?}"));
        self.world.machines[host.index()].clock.jump(true, by);
        self.world.turn(host);
        self.world.wake_all();
    }

    /// The monotonic clock of the host jumps back, which none should. A node counts on from the latest time it has
    /// seen, and its deadlines are not reached before the clock is there again.
    #[track_caller]
    pub fn clock_back(&mut self, by: Duration) {
        let host = self.host;
        self.world.fault(host, format!("clock back {by:?}"));
        let machine = &mut self.world.machines[host.index()];
        machine.clock.jump(false, by);
        machine.tick = None;
        self.world.turn(host);
        self.world.wake_all();
    }

    /// The monotonic clock of the host shows the same time again and again, or goes on from where it would be.
    #[track_caller]
    pub fn clock_stop(&mut self, stop: bool) {
        let host = self.host;
        self.world.condition(host, format!("clock stopped: {stop}"));
        let now = self.world.queue.now();
        let machine = &mut self.world.machines[host.index()];
        machine.clock.stop(now, stop);
        machine.tick = None;
        self.world.turn(host);
        self.world.wake_all();
    }
}

pub(super) fn apply(world: &mut World, op: &Op) -> Option<bool> {
    match *op {
        Op::Late { host, up_to } => world.host_mut(HostId(host)).set_late(up_to),
        Op::Drift { host, ppm } => world.host_mut(HostId(host)).set_drift(ppm),
        Op::ClockForward { host, by } => world.host_mut(HostId(host)).clock_forward(by),
        Op::ClockBack { host, by } => world.host_mut(HostId(host)).clock_back(by),
        Op::ClockStop { host, stopped } => world.host_mut(HostId(host)).clock_stop(stopped),
        _ => return None,
    }
    Some(true)
}

pub(super) fn print(op: &Op) -> Option<String> {
    let call = match op {
        Op::Late { host, up_to } => format!("world.host_mut(n[{host}]).set_late({});", duration(*up_to)),
        Op::Drift { host, ppm } => format!("world.host_mut(n[{host}]).set_drift({ppm});"),
        Op::ClockForward { host, by } => format!("world.host_mut(n[{host}]).clock_forward({});", duration(*by)),
        Op::ClockBack { host, by } => format!("world.host_mut(n[{host}]).clock_back({});", duration(*by)),
        Op::ClockStop { host, stopped } => format!("world.host_mut(n[{host}]).clock_stop({stopped});"),
        _ => return None,
    };
    Some(call)
}

pub(super) fn simpler(op: &Op) -> Option<Vec<Op>> {
    let simpler = match *op {
        Op::ClockForward { host, by } => shorter(by).map(|by| Op::ClockForward { host, by }).collect(),
        Op::ClockBack { host, by } => shorter(by).map(|by| Op::ClockBack { host, by }).collect(),
        _ => return None,
    };
    Some(simpler)
}

pub(super) fn draw(drawer: &mut Drawer, kind: Fault, at: u64, host: u32) -> bool {
    match kind {
        Fault::Late => late(drawer, at, host),
        Fault::ClockJump => clock_jump(drawer, at, host),
        Fault::ClockStop => {
            let stop = |stopped| Op::ClockStop { host, stopped };
            drawer.spell(at, 60_000, stop(true), stop(false));
        }
        Fault::Drift => {
            let most = drawer.rng.pick(&[100, 10_000, 200_000]);
            let ppm = drawer.rng.below(2 * most + 1) as i32 - most as i32;
            drawer.spell(at, 60_000, Op::Drift { host, ppm }, Op::Drift { host, ppm: 0 });
        }
        _ => return false,
    }
    true
}

fn late(drawer: &mut Drawer, at: u64, host: u32) {
    if drawer.rng.below(2) == 0 {
        let up_to = Duration::from_millis(drawer.rng.scaled(1, 3_000));
        return drawer.spell(at, 60_000, Op::Late { host, up_to }, Op::Late { host, up_to: Duration::ZERO });
    }
    let mut at = at;
    for _ in 0..2 + drawer.rng.below(6) {
        let (late, well) = (drawer.rng.scaled(10, 1_500), drawer.rng.scaled(1, 500));
        drawer.push(at, Op::Pause { host });
        drawer.push(at + late, Op::Resume { host });
        at += late + well;
    }
}

/// A clock that was set back by long does not reach any deadline for as long: that is a pause. So jumps back are
/// short.
fn clock_jump(drawer: &mut Drawer, at: u64, host: u32) {
    let op = if drawer.rng.below(2) == 0 {
        Op::ClockForward { host, by: Duration::from_millis(drawer.rng.scaled(1, 24 * 3_600_000)) }
    } else {
        Op::ClockBack { host, by: Duration::from_millis(drawer.rng.scaled(1, 3_000)) }
    };
    drawer.push(at, op);
}
