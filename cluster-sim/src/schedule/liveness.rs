//! What must come true after every schedule: a random core of the hosts is healed, every other fault stays for ever, and
//! the core becomes a mesh again within a stated time.

use std::time::Duration;

use cluster_core::Event;

use super::profile::address;
use super::{Op, Pace, Schedule, Setting};
use crate::faults::{Crash, Restart};
use crate::host::HostId;
use crate::log::Logged;
use crate::rng::{Purpose, Rng};
use crate::way::Latency;
use crate::world::World;

/// A mesh that has formed may for this long still dial what it was about to try: seeds, and addresses of nodes that
/// others have just lost.
const SETTLE: Duration = Duration::from_secs(120);

/// How often users who want a peer back ask for it.
const RETRY: Duration = Duration::from_secs(10);

/// The hosts that heal after this schedule: at least two, if there are two, and one of them a seed, if there are seeds.
pub(crate) fn core(schedule: &Schedule) -> Vec<HostId> {
    let mut rng = Rng::new(schedule.seed, Purpose::Core, 0, 0);
    let mut hosts: Vec<u32> = (0..schedule.nodes).collect();
    rng.shuffle(&mut hosts);
    hosts.truncate(2 + rng.below(u64::from(schedule.nodes).saturating_sub(1)) as usize);
    let seeds = schedule.profile.seeds;
    if seeds > 0 && hosts.iter().all(|&host| host >= seeds) {
        hosts[0] = rng.below(u64::from(seeds)) as u32;
    }
    hosts.sort_unstable();
    hosts.into_iter().map(HostId).collect()
}

/// Heals the core and waits until it is a mesh, and stays one.
pub(crate) fn heal_and_converge(world: &mut World, schedule: &Schedule) {
    let core = core(schedule);
    for (index, &a) in core.iter().enumerate() {
        for &b in &core[index + 1..] {
            heal_pair(world, a, b);
        }
        heal_host(world, schedule, a);
    }
    let longest = schedule.steps.iter().filter_map(|step| match step.op {
        Op::Leave { timeout, .. } => Some(timeout),
        _ => None,
    });
    let leaving = longest.max().unwrap_or_default() + Duration::from_secs(30);
    world.expect("who is leaving has left", leaving, |world| !core.iter().any(|&host| is_leaving(world, host)));
    for &host in &core {
        if !world.is_running(host) {
            world.restart(host, Restart::default());
        }
    }
    // The wall clock of a node may be behind. Unless it can help itself it says so, and its user sets the clock right.
    for _ in 0..=core.len() {
        converge(world, schedule, &core);
        match core.iter().find(|&&host| is_contested(world, host)) {
            Some(&host) => {
                world.crash(host, Crash::Kill);
                world.restart(host, Restart::default());
            }
            None => break,
        }
    }
    if !schedule.quiet.is_zero() {
        stay(world, &core, schedule.quiet);
    }
}

/// Waits until the core is a mesh, or one of its nodes says that it cannot become a part of it.
fn converge(world: &mut World, schedule: &Schedule, core: &[HostId]) {
    let bound = bound(schedule, core.len());
    let end = world.now() + bound;
    while world.now() < end {
        want_back(world, schedule, core);
        let linked = |world: &World| not_linked(world, core).is_none();
        let contested = |world: &World| core.iter().any(|&host| is_contested(world, host));
        if world.run_until(RETRY.min(end - world.now()), |world| linked(world) || contested(world)) {
            return;
        }
    }
    if let Some((a, b)) = not_linked(world, core) {
        world.fail(&format!("{a} and {b} are not linked {bound:?} after everything healed"));
    }
}

/// Whether the node has told that its id is in use, or was by a later run, while others have not linked with it.
fn is_contested(world: &World, host: HostId) -> bool {
    let run = world.run(host);
    let told = |logged: &Logged| {
        logged.run == run && matches!(logged.event, Event::DuplicateIdentity { newcomer } if newcomer == run)
    };
    world.is_running(host) && world.events(host).iter().rev().any(told)
}

/// L1: detection, back-off, two handshakes, and the rate of dials, twice over.
fn bound(schedule: &Schedule, core: usize) -> Duration {
    let is_slow = |op: &Op| matches!(op, Op::SetConfig { setting: Setting::Pace(Pace::Wan), .. });
    let slow = schedule.profile.pace == Pace::Wan || schedule.steps.iter().any(|step| is_slow(&step.op));
    let (detect, backoff, handshakes) = if slow { (15, 60, 20) } else { (5, 30, 10) };
    Duration::from_secs(2 * (detect + backoff + handshakes + core as u64 / 10))
}

fn heal_pair(world: &mut World, a: HostId, b: HostId) {
    world.heal(a, b);
    for (from, to) in [(a, b), (b, a)] {
        world.allow_dials(from, to);
        world.set_latency_from(from, to, Latency::default());
    }
}

fn heal_host(world: &mut World, schedule: &Schedule, host: HostId) {
    world.set_fate(world.addr(host), None);
    world.set_fate(address(host.0), None);
    let lost = schedule.steps.iter().filter_map(|step| match step.op {
        Op::ClockBack { host: of, by } if of == host.0 => Some(by),
        _ => None,
    });
    let lost = lost.sum();
    world.clock_stop(host, false);
    world.clock_forward(host, lost);
    world.resume(host);
    world.set_consuming(host, true);
    world.set_reading(host, true);
    world.exhaust(host, false);
}

/// Pairs that a user took apart come together again only if a user wants it, again and again, for a join may fail; and who has moved away from the only
/// address that others know is found only by those who are told.
fn want_back(world: &mut World, schedule: &Schedule, core: &[HostId]) {
    for step in &schedule.steps {
        if let Op::Disconnect { host, peer } = step.op
            && core.contains(&HostId(host))
            && core.contains(&HostId(peer))
            && !world.linked(HostId(host), HostId(peer))
        {
            // It can only be refused by a node that leaves, or has too many joins; neither is so.
            let _ = world.node(HostId(host)).join(HostId(peer));
        }
    }
    let known = |host: &HostId| host.0 < schedule.profile.seeds && world.addr(*host) == address(host.0);
    if !core.iter().any(known) {
        for &host in core[1..].iter().filter(|&&host| !world.linked(host, core[0])).collect::<Vec<_>>() {
            let _ = world.node(host).join(core[0]);
        }
    }
}

fn stay(world: &mut World, core: &[HostId], span: Duration) {
    let opened = |world: &World| -> u64 {
        core.iter().flat_map(|&a| core.iter().map(move |&b| (a, b))).map(|(a, b)| world.opened(a, b)).sum()
    };
    world.run_for(SETTLE);
    let before = opened(world);
    world.run_for(span);
    if let Some((a, b)) = not_linked(world, core) {
        world.fail(&format!("{a} and {b} were linked, and are not any more, with nothing in their way"));
    }
    // Who is still broken may go on telling stories of nodes that are gone, which are then looked for.
    if core.len() == world.hosts().count() && opened(world) != before {
        world.fail("a mesh that has nothing to do opened a connection");
    }
}

fn is_leaving(world: &World, host: HostId) -> bool {
    world.is_running(host) && world.core(host).is_leaving()
}

/// The first two hosts that are not linked.
fn not_linked(world: &World, hosts: &[HostId]) -> Option<(HostId, HostId)> {
    let pairs = hosts.iter().enumerate().flat_map(|(index, &a)| hosts[index + 1..].iter().map(move |&b| (a, b)));
    let mut pairs = pairs.filter(|&(a, b)| !(world.is_running(a) && world.is_running(b) && world.linked(a, b)));
    pairs.next()
}
