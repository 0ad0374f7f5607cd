//! Hosts that mean harm, of every kind and of all kinds at once: whatever they do, the promises hold among the others,
//! nobody is cut off, and what was cut off for other reasons recovers, if three times as slowly.

use cluster_core::{Config, Event, Stats};
use cluster_sim::{Abuse, Attack, Crash, HostId, Restart, Tempo, World};

use crate::harness::*;

/// Fewer seeds than elsewhere: each test is many minutes of many attacks. The environment variable `SEEDS` says how
/// many, and `SEED` from which on.
fn seeds() -> std::ops::Range<u64> {
    let number = |name, default| std::env::var(name).map_or(default, |text: String| text.parse().unwrap());
    let first = number("SEED", 0);
    first..first + number("SEEDS", 3)
}

/// A mesh of three to five nodes.
fn mesh_of_some(seed: u64) -> (World, Vec<HostId>) {
    mesh(seed, 3 + (seed % 3) as usize)
}

/// How often these nodes told that one of them was up or down.
fn changes(world: &World, hosts: &[HostId]) -> usize {
    let pairs = hosts.iter().flat_map(|&a| hosts.iter().map(move |&b| (a, b))).filter(|(a, b)| a != b);
    pairs.map(|(a, b)| world.host(a).ups(b) + world.host(a).downs(b)).sum()
}

/// For a minute, each sends something to each other, and it arrives, though others do what they can.
#[track_caller]
fn live_on(world: &mut World, hosts: &[HostId]) {
    for _ in 0..12 {
        for &a in hosts {
            for &b in hosts.iter().filter(|&&b| b != a) {
                let number = world.node(a).send_numbered(b, 1_000).unwrap();
                world.expect("it arrives", secs(1), |world| world.host(b).numbered(a) == number);
            }
        }
        world.run_for(secs(5));
    }
    world.sweep();
}

/// A mesh lives on under attack, as if there were none.
#[track_caller]
fn stands(seed: u64, unleash: impl FnOnce(&mut World)) {
    let (mut world, hosts) = mesh_of_some(seed);
    let before = changes(&world, &hosts);
    unleash(&mut world);
    live_on(&mut world, &hosts);
    assert!(world.are_linked(&hosts), "seed {seed}");
    assert_eq!(changes(&world, &hosts), before, "seed {seed}: honest nodes lost each other");
}

#[test]
fn no_outsider_disturbs_a_mesh() {
    for seed in seeds() {
        for &attack in Attack::ALL {
            for tempo in [Tempo::Slow, Tempo::Fast] {
                stands(seed, |world| _ = world.add_outsider(&[attack], tempo));
            }
        }
    }
}

#[test]
fn no_insider_disturbs_a_mesh() {
    for seed in seeds() {
        for &abuse in Abuse::ALL {
            for tempo in [Tempo::Slow, Tempo::Fast] {
                stands(seed, |world| _ = world.add_insider(&[abuse], tempo));
            }
        }
    }
}

#[test]
fn all_of_them_at_once_do_not_disturb_a_mesh_either() {
    for seed in seeds() {
        stands(seed, |world| {
            world.add_outsider(Attack::ALL, Tempo::Fast);
            world.add_insider(Abuse::ALL, Tempo::Fast);
            world.add_insider(Abuse::ALL, Tempo::Slow);
        });
    }
}

/// L6: everything that recovers does so under attack, in three times the time.
#[track_caller]
fn recovers(seed: u64, unleash: impl FnOnce(&mut World)) {
    let mut world = World::new(seed);
    let config = Config::insecure_plaintext().seed("10.0.0.1:7000".parse().unwrap());
    let mut hosts = world.add_many(4, &config);
    world.expect("a complete mesh", secs(40), |world| world.are_linked(&hosts));
    unleash(&mut world);
    let bound = |world: &World, hosts: &[HostId]| world.bound(hosts) * 3;

    world.run_for(secs(20));
    world.net_mut().partition(&hosts[..2], &hosts[2..]);
    world.run_for(secs(40));
    world.net_mut().heal_all();
    let within = bound(&world, &hosts);
    world.expect("the halves are one again", within, |world| world.are_linked(&hosts));

    world.host_mut(hosts[3]).crash(Crash::Power);
    world.run_for(secs(10));
    world.host_mut(hosts[3]).restart(Restart::default());
    let within = bound(&world, &hosts);
    world.expect("the restarted node is back", within, |world| world.are_linked(&hosts));

    hosts.push(world.add(config));
    let within = bound(&world, &hosts);
    world.expect("a newcomer is taken in", within, |world| world.are_linked(&hosts));
    live_on(&mut world, &hosts);
}

#[test]
fn a_mesh_recovers_though_outsiders_attack_it() {
    for seed in seeds() {
        recovers(seed, |world| _ = world.add_outsider(Attack::ALL, Tempo::Fast));
    }
}

#[test]
fn a_mesh_recovers_though_an_insider_abuses_it() {
    // Where nothing proves who is who, a pair that was cut off can be kept apart by whoever claims to be one of them.
    let abuses: Vec<Abuse> = Abuse::ALL.iter().copied().filter(|&abuse| abuse != Abuse::Impostor).collect();
    for seed in seeds() {
        recovers(seed, |world| _ = world.add_insider(&abuses, Tempo::Fast));
        recovers(seed, |world| {
            world.add_outsider(Attack::ALL, Tempo::Slow);
            world.add_insider(&abuses, Tempo::Slow);
        });
    }
}

/// What the nodes count and tell because somebody does this to them.
fn effect(world: &World, hosts: &[HostId], of: impl Fn(&World, HostId) -> u64) -> u64 {
    hosts.iter().map(|&host| of(world, host)).sum()
}

#[test]
fn every_attack_reaches_the_nodes() {
    for &attack in Attack::ALL {
        let (mut world, hosts) = mesh(1, 3);
        world.add_outsider(&[attack], Tempo::Fast);
        world.run_for(secs(20));
        let failed = effect(&world, &hosts, |world, host| world.host(host).core().stats().failed_handshakes);
        assert!(failed > 100, "{attack:?}: {failed} failed handshakes");
    }
}

#[test]
fn every_abuse_reaches_the_nodes() {
    for &abuse in Abuse::ALL {
        let (mut world, hosts) = mesh(1, 3);
        let insider = world.add_insider(&[abuse], Tempo::Fast);
        world.run_for(secs(60));
        let seen = |of: fn(&Stats) -> u64| effect(&world, &hosts, |world, host| of(&world.host(host).core().stats()));
        let (seen, least) = match abuse {
            Abuse::Gossip => (seen(|stats| stats.addresses_refused), 1_000),
            Abuse::Chatter => (seen(|stats| stats.frames_received), 10_000),
            Abuse::TinyMessages => (seen(|stats| stats.messages_received), 10_000),
            Abuse::Credit | Abuse::Misplaced => (seen(|stats| stats.protocol_errors), 100),
            Abuse::Deaf => (effect(&world, &hosts, |world, host| world.host(host).downs(insider) as u64), 1),
            Abuse::Fickle => (effect(&world, &hosts, |world, host| world.host(host).downs(insider) as u64), 3),
            Abuse::Linger => (seen(|stats| stats.links_outranked), 100),
            Abuse::Impostor => (effect(&world, &hosts, duplicates), 10),
        };
        assert!(seen >= least, "{abuse:?}: {seen}");
    }
}

fn duplicates(world: &World, host: HostId) -> u64 {
    world.host(host).count_events(|event| matches!(event, Event::DuplicateIdentity { .. })) as u64
}

#[test]
fn hostile_hosts_do_the_same_for_the_same_seed() {
    let run = |seed| {
        let (mut world, _) = mesh(seed, 3);
        world.add_outsider(Attack::ALL, Tempo::Fast);
        world.add_insider(Abuse::ALL, Tempo::Fast);
        world.run_for(secs(20));
        world.trace_hash()
    };
    for seed in 0..4 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(0), run(1));
}
