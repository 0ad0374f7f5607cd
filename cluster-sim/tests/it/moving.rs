//! Nodes that come back elsewhere, and what their old connections still carry: scenarios S17 to S19.

use std::net::SocketAddr;

use bytes::Bytes;
use cluster_core::wire::{Ack, Announce, Close, Digest, Entry, Profile, Update};
use cluster_core::{Event, Frame, Incarnation, Instant, NodeId, PeerInfo, PeerState, Run};
use cluster_sim::{Block, Crash, Fate, Greeting, PuppetState, Restart, Script, Spec, World};

use crate::harness::*;
use crate::identity::{DAY, SIZES, clones, failed_for, join_errors, one_of, peer, restarted};

/// A container that is rescheduled keeps its id and its name, and nothing else.
#[test]
fn s17_a_node_that_comes_back_elsewhere_is_looked_for_there_only() {
    for seed in 0..10 {
        for size in SIZES {
            let (mut world, hosts) = strangers(seed, size - 1);
            let named = config().name("worker-7".parse().unwrap()).metadata(&b"v1"[..]);
            let b = world.add(named.clone());
            let (others, old, before) = (hosts, world.host(b).run(), world.host(b).addr());
            // Some have dialled it, others were dialled by it.
            if seed % 2 == 0 {
                world.node(b).join(others[0]).unwrap();
            }
            for &host in &others {
                world.node(host).join(b).unwrap();
            }
            world.expect("a complete mesh", secs(20), World::is_complete);
            world.settle();
            world.host_mut(b).crash([Crash::Kill, Crash::Reset, Crash::Power][seed as usize % 3]);
            let pause = world.draw(8_000);
            world.run_for(ms(pause));
            world.host_mut(b).restart(Restart::default().ip("10.0.3.3").config(named));
            let (new, now_at) = (world.host(b).run(), world.host(b).addr());
            world.node(b).join(others[0]).unwrap();
            world.expect("the mesh is whole", secs(3), World::is_complete);
            let back = world.now();
            world.settle();
            for &host in &others {
                assert_eq!(word(&world, host, old.id), restarted(old, new), "seed {seed}, {size} nodes");
                let known: Vec<PeerInfo> = world.node(host).peers();
                assert_eq!(known.len(), size - 1, "seed {seed}: nobody is there twice");
                let info = peer(&world, host, new.id);
                assert_eq!((info.address, info.state), (Some(now_at), PeerState::Up), "seed {seed}, {size} nodes");
                assert_eq!(info.name.as_ref().map(|name| name.as_str()), Some("worker-7"), "seed {seed}");
                assert_eq!((clones(&world, host), join_errors(&world, host)), (vec![], vec![]), "seed {seed}");
            }
            // What they tell of it.
            let puppet = world.add_puppet("10.0.9.1", Script::default());
            for &host in &others {
                let address = world.host(host).addr();
                let link = world.puppet(puppet).dial(address);
                world.run_for(ms(50));
                world.puppet(puppet).send_on(link, Frame::Digest(Digest { buckets: [7; 16] }));
            }
            world.run_for(ms(50));
            let told = gossiped(&world, puppet, new.id);
            assert!(!told.is_empty() && told.iter().all(|address| *address == now_at), "seed {seed}: {told:?}");
            // Where they look for it, once the link has lasted.
            world.run_for(secs(10));
            for &host in &others {
                world.net_mut().block_dials(b, host, Block::Refuse);
                world.net_mut().reset_connections(b, host);
            }
            world.expect("the mesh is whole again", secs(3), |world| others.iter().all(|&host| world.linked(host, b)));
            assert!(world.net().dials_to(now_at, back) >= others.len(), "seed {seed}");
            assert_eq!(world.net().dials_to(before, back), 0, "seed {seed}, {size} nodes");
        }
    }
}

/// A way around is no address that the old run had, and may be the only way to the new one.
#[test]
fn s17_a_way_around_to_a_node_outlives_its_restart() {
    for seed in SEEDS {
        let (mut world, hosts) = strangers(seed, 2);
        let (a, b) = (hosts[0], hosts[1]);
        let inner = world.host(b).addr();
        let way = world.net_mut().forward("10.0.50.1:9000", inner);
        let target = world.host(b).addr();
        world.net_mut().set_fate(target, Some(Fate::Hang));
        world.node(a).join(way).unwrap();
        world.expect("linked", secs(1), |world| world.linked(a, b));
        world.host_mut(b).crash(Crash::Kill);
        world.run_for(ms(5));
        world.host_mut(b).restart(Restart::default());
        world.node(b).join(a).unwrap();
        world.expect("linked again", secs(1), |world| world.linked(a, b));
        assert_eq!(peer(&world, a, world.host(b).id()).address, Some(way), "seed {seed}");
        world.net_mut().block_dials(b, a, Block::Refuse);
        world.settle();
        world.net_mut().reset_connections(a, b);
        world.expect("linked by way of it", secs(8), |world| world.linked(a, b));
    }
}

/// S10 and S17: another node is at the known address now, and the one that was there comes back elsewhere, or never.
#[test]
fn s17_an_address_that_another_id_has_taken_is_no_longer_the_old_holders() {
    for seed in 0..10 {
        for size in SIZES {
            let (mut world, hosts) = mesh(seed, size);
            let (b, others) = one_of(&mut world, &hosts);
            let (old, address) = (world.host(b).run(), world.host(b).addr());
            world.host_mut(b).crash(Crash::Kill);
            let pause = world.draw(3_000);
            world.run_for(ms(pause));
            world.host_mut(b).restart(Restart::default().new_id());
            let taker = world.host(b).run();
            world.expect("whoever dials the old one finds the new one", secs(40), World::is_complete);
            // Whoever was dialled by the new one needs to meet it there first.
            world.expect("nobody waits for the old one", secs(31), |world| {
                others.iter().all(|&host| world.host(host).core().peer(old.id).is_none())
            });
            let taken = world.now();
            world.settle();
            for &host in &others {
                let lived = [("up", old.incarnation.0), ("down", old.incarnation.0), ("gone", old.incarnation.0)];
                assert_eq!(word(&world, host, old.id), lived, "seed {seed}");
                assert_eq!(word(&world, host, taker.id), [("up", taker.incarnation.0)], "seed {seed}");
                assert_eq!(peer(&world, host, taker.id).address, Some(address), "seed {seed}");
            }
            world.run_for(secs(60));
            assert_eq!(world.net().dials_to(address, taken), 0, "seed {seed}: nobody looks for the old one there");
            let moved = world.add(Spec::new(config()).id(old.id).incarnation(old.incarnation.0 + DAY));
            world.node(moved).join(others[0]).unwrap();
            world.expect("both are up", secs(3), World::is_complete);
            world.settle();
            for &host in &others {
                assert_eq!(peer(&world, host, old.id).address, Some(world.host(moved).addr()), "seed {seed}");
                assert_eq!(peer(&world, host, taker.id).address, Some(address), "seed {seed}");
                assert_eq!((world.host(host).downs(b), world.host(host).ups(moved)), (0, 2), "seed {seed}");
            }
        }
    }
}

/// Frames that would change much if they were heard.
fn loud(run: Run) -> Vec<Frame> {
    let profile = Profile {
        name: Some("late".parse().unwrap()),
        metadata: Bytes::from_static(b"late"),
        addresses: Vec::new(),
        max_message: 1 << 20,
        window: 1 << 16,
    };
    let entry = Entry { run: Run { id: NodeId::from_bytes([9; 16]), ..run }, addresses: vec![at("10.0.8.8:80")] };
    vec![
        Frame::Update(Update { profile }),
        Frame::Ack(Ack { received: 1 << 40, consumed: 1 << 40, consumed_messages: 1, granted: 1 << 41 }),
        Frame::Announce(Announce { entries: vec![entry] }),
        Frame::Close(Close::Leaving),
    ]
}

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The same run has a better link, or a later run has come, and the old connection still delivers.
#[test]
fn s19_what_the_old_connection_still_carries_is_ignored() {
    for seed in SEEDS {
        for restart in [false, true] {
            let mut world = World::new(seed);
            let a = world.add(config());
            let address = world.host(a).addr();
            let old = world.add_puppet("10.0.9.1", Script { ack: false, ..Script::default() });
            world.puppet(old).dial(address);
            world.expect("it is up", ms(50), |world| world.host(a).sees(old));
            let run = world.host(old).run();
            world.node(a).send(run.id, &b"for the first link"[..]).unwrap();
            world.run_for(secs(5));
            // Long ways, so that much is under way when the connection is closed.
            world.net_mut().set_latency(ms(100));
            if restart {
                world.puppet(old).script(|script| script.pong = false);
            }
            let later = Run { incarnation: Incarnation(run.incarnation.0 + u64::from(restart)), ..run };
            let next = Script { run: Some(later), claim: Some(2), ..Script::default() };
            let new = world.add_puppet("10.0.9.2", next);
            world.puppet(new).dial(address);
            world.expect("the old link is given up", secs(2), |world| !world.host(a).closes().is_empty());
            assert_eq!(world.host(old).puppet_links(), [PuppetState::Up], "seed {seed}: it does not know yet");
            let events = world.host(a).events().len();
            let up = world.host(a).sees(new);
            for frame in loud(run) {
                world.puppet(old).say_on(0, b"late");
                world.puppet(old).send_on(0, frame);
                let pause = world.draw(20);
                world.run_for(ms(pause));
            }
            world.run_for(secs(2));
            assert_eq!(world.host(old).puppet_links(), [PuppetState::Over], "seed {seed}");
            let info = peer(&world, a, run.id);
            assert!(
                world.host(a).sees(new) && info.name.is_none() && info.metadata.is_empty(),
                "seed {seed}: {info:?}"
            );
            assert_eq!(world.host(a).messages(), [], "seed {seed}");
            let since: Vec<&Event> = world.host(a).events()[events..].iter().map(|logged| &logged.event).collect();
            match since[..] {
                // What was said on the first link was not acknowledged, and the second one begins new streams.
                [Event::Undelivered(_), Event::SessionReset { .. }] => assert!(up && !restart, "seed {seed}"),
                [Event::PeerUp(_)] => assert!(!up && restart, "seed {seed}"),
                _ => panic!("seed {seed}: {since:?}"),
            }
            assert_eq!(world.host(a).dials_since(Instant::ZERO), 0, "seed {seed}");
            // And the new link does what a link does.
            world.node(a).send(run.id, &b"for the second link"[..]).unwrap();
            world.puppet(new).say_on(0, b"new");
            world.run_for(secs(1));
            let heard: Vec<Bytes> = world.host(a).messages().iter().map(|taken| taken.payload.clone()).collect();
            assert_eq!(heard, [&b"new"[..]], "seed {seed}");
            assert!(
                world.host(new).puppet_messages().contains(&Bytes::from_static(b"for the second link")),
                "seed {seed}"
            );
        }
    }
}

/// Messages that a cut has held on the old connection come with it, or with the new one, and never twice.
#[test]
fn s19_a_burst_from_the_old_connection_meets_the_new_one_and_every_message_comes_once() {
    let mut held_back = 0;
    for seed in SEEDS {
        let mut world = World::new(seed);
        let a = world.add(config());
        let b = world.add(config().heartbeat(ms(300)).peer_timeout(secs(1)));
        world.node(a).join(b).unwrap();
        world.expect("linked", secs(1), |world| world.linked(a, b));
        world.settle();
        world.net_mut().cut(a, b);
        let mut sent = [0, 0];
        for _ in 0..30 {
            for (count, (from, to)) in sent.iter_mut().zip([(a, b), (b, a)]) {
                if world.host(from).sees(to) {
                    world.node(from).send_numbered(to, 1_000).unwrap();
                    *count += 1;
                }
            }
            world.run_for(ms(50));
        }
        assert!(world.host(b).downs(a) == 1 && world.host(a).sees(b), "seed {seed}: only b has given up");
        world.net_mut().heal(a, b);
        world.expect("linked again", secs(4), |world| world.linked(a, b));
        world.settle();
        let failed = |world: &World, host, peer| {
            let (not_delivered, in_doubt) = failed_for(world, host, peer);
            (not_delivered.len() + in_doubt.len()) as u64
        };
        // The receivers check that nothing comes twice, or late.
        for (count, (from, to)) in sent.into_iter().zip([(a, b), (b, a)]) {
            let (taken, failed) = (world.host(to).numbered(from), failed(&world, from, world.host(to).run()));
            assert_eq!((taken, failed), (count, 0), "seed {seed}");
            held_back += count;
        }
        for (from, to) in [(a, b), (b, a)] {
            let before = world.host(to).numbered(from);
            world.node(from).send_numbered(to, 1_000).unwrap();
            world.run_for(ms(50));
            assert_eq!(world.host(to).numbered(from), before + 1, "seed {seed}");
        }
    }
    assert!(held_back > 100, "{held_back}");
}

/// Everyone restarts elsewhere; only the ids and the name of a seed are what they were.
#[test]
fn s18_a_mesh_that_moves_as_a_whole_forms_again_through_its_seed_whatever_is_at_the_old_addresses() {
    for seed in SEEDS {
        for squatted in [false, true] {
            let mut world = World::new(seed);
            world.net_mut().set_name("seed.example", &["10.0.0.1"]);
            let hosts = world.add_many(5, &config().seed("seed.example:7000".parse().unwrap()));
            world.expect("a complete mesh", secs(70), World::is_complete);
            let ids: Vec<NodeId> = hosts.iter().map(|&host| world.host(host).id()).collect();
            // One after the other, so that those who are left still look for the others where they were.
            for (index, &host) in hosts.iter().enumerate() {
                world.host_mut(host).crash(if index % 2 == 0 { Crash::Power } else { Crash::Kill });
                world.run_for(secs(3));
                world.host_mut(host).restart(Restart::default().ip(&format!("10.0.4.{}", index + 1)));
                if squatted {
                    // Strangers who accept everything and say nothing.
                    world.net_mut().raw_listen(&format!("10.0.0.{}:7000", index + 1), Greeting::Wait);
                }
            }
            world.net_mut().set_name("seed.example", &["10.0.4.1"]);
            let within = world.bound(&hosts);
            world.expect("the mesh is whole", within, World::is_complete);
            assert_eq!(hosts.iter().map(|&host| world.host(host).id()).collect::<Vec<_>>(), ids, "seed {seed}");
            world.stay_quiet(&hosts, secs(300));
        }
    }
}
