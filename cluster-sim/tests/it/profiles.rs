//! What a node says of itself, and settings, when they change: scenario S20, and a part of S51.

use bytes::Bytes;
use cluster_core::{Config, Event, NodeId, PeerInfo};
use cluster_sim::{Block, FrameKind, HostId, Logged, World};

use crate::harness::*;
use crate::identity::{SIZES, one_of, peer};
use crate::moving::at;

/// Every `PeerUpdated` that `host` was told of this node.
fn updates(world: &World, host: HostId, id: NodeId) -> Vec<PeerInfo> {
    let info = |event: &Event| match event {
        Event::PeerUpdated(info) if info.run.id == id => Some(info.clone()),
        _ => None,
    };
    world.host(host).events().iter().filter_map(|logged| info(&logged.event)).collect()
}

/// Who and where a node is can change while it runs.
#[test]
fn s20_a_changed_name_or_metadata_or_address_reaches_every_peer_once() {
    for seed in 0..10 {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, others) = one_of(&mut world, &hosts);
            let id = world.host(b).id();
            let inner = world.host(b).addr();
            let moved = world.net_mut().forward("10.0.50.1:9000", inner);
            let own = |world: &World| world.host(b).core().config().clone();
            let steps: [fn(Config) -> Config; 4] = [
                |config| config.name("renamed".parse().unwrap()),
                |config| config.metadata(&b"v2"[..]),
                |config| config.advertise(at("10.0.50.1:9000")),
                |config| config.heartbeat(ms(900)),
            ];
            for (number, step) in (1..).zip(steps) {
                let config = step(own(&world));
                world.node(b).set_config(config.clone()).unwrap();
                world.run_for(ms(20));
                for &host in &others {
                    let updates = updates(&world, host, id);
                    // The last one is no business of others.
                    assert_eq!(updates.len(), number.min(3), "seed {seed}: {updates:?}");
                    let info = peer(&world, host, id);
                    assert_eq!(updates.last(), Some(&info), "seed {seed}");
                    let name = (number >= 1).then_some("renamed");
                    assert_eq!(info.name.as_ref().map(|name| name.as_str()), name, "seed {seed}");
                    assert_eq!(info.metadata, if number >= 2 { &b"v2"[..] } else { &b""[..] }, "seed {seed}");
                }
                // Saying the same again is no news.
                world.node(b).set_config(config).unwrap();
                world.run_for(ms(20));
            }
            assert!(others.iter().all(|&host| updates(&world, host, id).len() == 3), "seed {seed}");
            assert!(world.is_mesh(&hosts), "seed {seed}: no link was touched");
            assert!(
                others.iter().all(|&host| (world.host(host).ups(b), world.host(host).downs(b)) == (1, 0)),
                "seed {seed}"
            );
            // A newcomer is told where it is now.
            let late = world.add(config());
            world.net_mut().block_dials(b, late, Block::Refuse);
            world.node(late).join(others[0]).unwrap();
            world.expect("the newcomer finds all", secs(5), World::is_complete);
            assert!(world.net().dials().iter().any(|dial| dial.from == late && dial.to == moved), "seed {seed}");
            let info = peer(&world, late, id);
            assert_eq!((info.metadata, updates(&world, late, id).len()), (Bytes::from_static(b"v2"), 0), "seed {seed}");
        }
    }
}

/// A peer in the middle of the handshake was told the old values by it.
#[test]
fn s20_a_profile_that_changes_during_a_handshake_reaches_that_peer_too() {
    let mut updated = 0;
    for seed in 0..60 {
        let (mut world, hosts) = mesh(seed, 2);
        let c = world.add(config());
        world.net_mut().set_latency(ms(20));
        // Either end changes, whoever dials, at some point of the three round trips.
        let (from, to) = if seed % 2 == 0 { (c, hosts[0]) } else { (hosts[0], c) };
        world.node(from).join(to).unwrap();
        let lag = world.draw(160);
        world.run_for(ms(lag));
        let changes = if seed % 4 < 2 { hosts[0] } else { c };
        let renamed = world.host(changes).core().config().clone().name("renamed".parse().unwrap());
        world.node(changes).set_config(renamed).unwrap();
        let changed = world.now();
        world.expect("a complete mesh", secs(5), World::is_complete);
        world.run_for(ms(100));
        let id = world.host(changes).id();
        for host in [hosts[0], hosts[1], c].into_iter().filter(|&host| host != changes) {
            let name = peer(&world, host, id).name;
            assert_eq!(name.as_ref().map(|name| name.as_str()), Some("renamed"), "seed {seed}: {host}");
            let told = updates(&world, host, id).len();
            assert!(told <= 1, "seed {seed}: {told}");
            let since = |event: &Logged| event.at >= changed;
            let up = |event: &Event| matches!(event, Event::PeerUp(info) if info.run.id == id);
            let came_up = world.host(host).events().iter().any(|logged| since(logged) && up(&logged.event));
            updated += usize::from(told == 1 && came_up);
        }
    }
    assert!(updated >= 15, "{updated} links came up with what was no longer true");
}

/// How many pings `host` sends in `span`.
fn pings(world: &mut World, host: HostId, span: u64) -> u64 {
    let before = world.host(host).wire().frames(FrameKind::Ping);
    world.run_for(secs(span));
    world.host(host).wire().frames(FrameKind::Ping) - before
}

/// Intervals hold for the links there are, for one that is being set up, and for those to come.
#[test]
fn s51_a_changed_heartbeat_and_timeout_hold_for_every_link_from_now_on() {
    for seed in SEEDS {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, others) = one_of(&mut world, &hosts);
            // The others leave it to b.
            for &host in &others {
                let lazy = world.host(host).core().config().clone().heartbeat(secs(20)).peer_timeout(secs(60));
                world.node(host).set_config(lazy).unwrap();
            }
            let late = world.add(config().heartbeat(secs(20)).peer_timeout(secs(60)));
            world.net_mut().set_latency(ms(20));
            world.node(late).join(b).unwrap();
            let lag = world.draw(160);
            world.run_for(ms(lag));
            let links = size as u64;
            let quick =
                world.host(b).core().config().clone().heartbeat(ms(100)).peer_timeout(ms(500)).probe_timeout(ms(300));
            world.node(b).set_config(quick).unwrap();
            world.expect("a complete mesh", secs(10), World::is_complete);
            world.settle();
            let count = pings(&mut world, b, 10);
            // After 75 to 100 ms of silence, and 40 ms there and back.
            assert!((60 * links..=90 * links).contains(&count), "seed {seed}: {count} at {links} links");
            let count = pings(&mut world, others[0], 10);
            assert!(count <= links, "seed {seed}: {count}; of b it hears enough, and the others are as lazy");
            world.net_mut().cut(b, late);
            world.net_mut().cut(b, others[0]);
            let cut = world.now();
            world.expect("it notices", secs(1), |world| {
                world.host(b).downs(late) == 1 && world.host(b).downs(others[0]) == 1
            });
            assert!(world.now() - cut >= ms(350), "seed {seed}: {:?}", world.now() - cut);
        }
    }
}
