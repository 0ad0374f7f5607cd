//! Nodes that stand still and clocks that are wrong: scenarios S37 to S39.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cluster_core::{Disconnect, Event, Incarnation, Input, Instant, LinkId, Node, NodeId, Reason, Start};
use cluster_sim::{Crash, HostId, Spec, World};

use crate::harness::*;
use crate::load::{all_downs, mesh_of};

#[test]
fn s37_a_node_that_stood_still_accuses_nobody() {
    // The others are patient, so that whoever goes down was accused by the one that slept.
    let patient = config().peer_timeout(secs(300));
    for seed in SEEDS {
        for pause in [secs(4), secs(6), secs(60), secs(290)] {
            let (mut world, hosts) = mesh_of(seed, &[config(), patient.clone(), patient.clone(), patient.clone()]);
            let count =
                |world: &World, host| world.host(host).count_events(|event| !matches!(event, Event::Delivered { .. }));
            let events: Vec<usize> = hosts.iter().map(|&host| count(&world, host)).collect();
            world.host_mut(hosts[0]).pause();
            world.run_for(pause);
            world.node(hosts[1]).send_numbered(hosts[0], 100).unwrap();
            world.host_mut(hosts[0]).resume();
            world.run_for(secs(60));
            assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}, {pause:?}");
            let after: Vec<usize> = hosts.iter().map(|&host| count(&world, host)).collect();
            assert_eq!(after, events, "seed {seed}, {pause:?}");
            assert_eq!(world.host(hosts[0]).numbered(hosts[1]), 1);
            assert!(pause < secs(6) || world.node(hosts[0]).stats().own_stalls > 0);
        }
    }
}

#[test]
fn s37_who_really_died_during_the_pause_is_noticed_soon_after_it() {
    let patient = config().peer_timeout(secs(300));
    for seed in SEEDS {
        let (mut world, hosts) = mesh_of(seed, &[config(), patient.clone(), patient.clone()]);
        world.host_mut(hosts[0]).pause();
        world.run_for(secs(30));
        world.host_mut(hosts[2]).crash(Crash::Power);
        world.run_for(secs(30));
        world.host_mut(hosts[0]).resume();
        world.expect("the dead one is noticed", secs(7), |world| world.host(hosts[0]).downs(hosts[2]) == 1);
        assert_eq!(down_reasons(&world, hosts[0], hosts[2]), [Reason::Timeout]);
        assert_eq!(world.host(hosts[0]).downs(hosts[1]), 0);
    }
}

#[test]
fn s37_peers_that_dropped_a_node_while_it_slept_get_it_back_and_drop_nobody_else() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 5);
        let (sleeper, others) = hosts.split_first().unwrap();
        world.host_mut(*sleeper).pause();
        world.run_for(secs(60));
        for &other in others {
            assert_eq!(world.host(other).downs(*sleeper), 1, "seed {seed}");
        }
        world.host_mut(*sleeper).resume();
        world.expect("the mesh is whole", secs(31), World::is_complete);
        world.run_for(secs(30));
        assert!(world.is_complete());
        for &a in others {
            assert_eq!((world.host(a).downs(*sleeper), world.host(*sleeper).downs(a)), (1, 1), "seed {seed}");
            for &b in others.iter().filter(|&&b| b != a) {
                assert_eq!(world.host(a).downs(b), 0, "seed {seed}: a cascade");
            }
        }
    }
}

#[test]
fn s39_a_clock_that_goes_back_or_stands_still_does_no_harm() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let [a, b, c] = hosts[..] else { unreachable!() };
        for back in [Duration::from_nanos(1), ms(1), secs(1), secs(10), secs(86_400)] {
            world.host_mut(a).clock_back(back);
            world.run_for(secs(3));
            let number = world.node(a).send_numbered(b, 1_000).unwrap();
            world.expect("it arrives", secs(1), |world| world.host(b).numbered(a) == number);
            let number = world.node(c).send_numbered(a, 1_000).unwrap();
            world.expect("it arrives", secs(1), |world| world.host(a).numbered(c) == number);
            world.run_for(secs(20));
            assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}, {back:?}");
            world.host_mut(a).clock_forward(back);
            world.run_for(secs(5));
            assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}, {back:?} and forth");
        }
        world.host_mut(b).clock_stop(true);
        for _ in 0..20 {
            world.run_for(secs(1));
            world.node(a).send_numbered(b, 500).unwrap();
            world.node(b).send_numbered(c, 500).unwrap();
        }
        world.host_mut(b).clock_stop(false);
        world.run_for(secs(20));
        assert_eq!(world.host(c).numbered(b), 20);
        assert!(world.is_complete(), "seed {seed}");
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
    }
}

#[test]
fn s39_the_same_or_an_earlier_time_in_any_call_changes_nothing_but_what_was_asked() {
    let address = SocketAddr::from(([127, 0, 0, 1], 7_000));
    let start = Start { seed: [3; 32], incarnation: Incarnation(1), listen: Some(address) };
    let later = Instant::from_nanos(50_000_000_000);
    let mut node = Node::new(config(), start, later).unwrap();
    let link = node.accept(Instant::ZERO, SocketAddr::from(([127, 0, 0, 2], 9))).unwrap();
    for now in [Instant::ZERO, later, Instant::from_nanos(1), Instant::ZERO] {
        node.handle(now, Input::Tick);
        let _ = node.poll_message(now);
        node.handle(now, Input::Disconnected { link: LinkId::clone(&link), cause: Disconnect::Reset });
        assert!(node.send(now, NodeId::from_bytes([9; 16]), Bytes::new()).is_err());
        while node.poll_action().is_some() {}
        assert!(node.next_tick().is_some_and(|at| at > later));
    }
    let late = Instant::from_nanos(u64::MAX);
    for _ in 0..10 {
        node.handle(late, Input::Tick);
        while node.poll_action().is_some() {}
    }
}

/// A core has no wall clock. Its incarnation comes from one, and nothing else follows from what that shows.
#[test]
fn s38_nothing_depends_on_the_wall_clock() {
    const DAY: u64 = 86_400_000_000;
    const NOW: u64 = 1_700_000_000_000_000;
    let history = |seed: u64, clock: u64| {
        let mut world = World::new(seed);
        world.net_mut().set_chunked(false);
        let hosts: Vec<HostId> =
            [NOW, clock, NOW].map(|clock| world.add(Spec::new(config()).incarnation(clock))).into();
        for &host in &hosts[1..] {
            world.node(host).join(hosts[0]).unwrap();
        }
        world.run_for(secs(10));
        world.net_mut().cut(hosts[0], hosts[1]);
        world.run_for(secs(20));
        world.net_mut().heal_all();
        world.run_for(secs(60));
        world.host_mut(hosts[2]).crash(Crash::Kill);
        world.run_for(secs(20));
        assert!(world.linked(hosts[0], hosts[1]), "seed {seed}");
        let events = hosts.iter().flat_map(|&host| world.host(host).events()).map(|logged| {
            let kind = format!("{:?}", logged.event);
            (logged.at, kind.split('(').next().unwrap_or_default().split(' ').next().unwrap_or_default().to_owned())
        });
        let dials = world.net().dials().iter().map(|dial| (dial.at, format!("{} dials {}", dial.from, dial.to)));
        events.chain(dials).collect::<Vec<_>>()
    };
    for seed in SEEDS {
        let expected = history(seed, NOW);
        for clock in [NOW - DAY, NOW + DAY] {
            assert_eq!(history(seed, clock), expected, "seed {seed}");
        }
    }
}
