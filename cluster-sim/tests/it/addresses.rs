//! Where nodes are and who answers there: scenarios S08 to S11, and a peer that appears from a new address.

use std::net::SocketAddr;

use cluster_core::wire::{Digest, Entry, List, Profile};
use cluster_core::{
    Advertised, ChannelError, Config, Disconnect, Event, Frame, Incarnation, Instant, JoinError, NodeId, Reason, Run,
};
use cluster_sim::{Block, Crash, HostId, Restart, Script, Spec, World};

use crate::harness::*;

fn failed(world: &World, host: HostId) -> Vec<JoinError> {
    let error = |event: &Event| match event {
        Event::JoinFailed { error, .. } => Some(error.clone()),
        _ => None,
    };
    world.host(host).events().iter().filter_map(|logged| error(&logged.event)).collect()
}

fn joined(world: &World, host: HostId) -> Vec<Run> {
    let peer = |event: &Event| match event {
        Event::Joined { peer, .. } => Some(*peer),
        _ => None,
    };
    world.host(host).events().iter().filter_map(|logged| peer(&logged.event)).collect()
}

/// A link between two hosts is lost, and dials from one of them are kept out, so that the other must dial.
fn lose(world: &mut World, dialler: HostId, other: HostId) {
    world.settle();
    world.net_mut().block_dials(other, dialler, Block::Refuse);
    assert_eq!(world.net_mut().reset_connections(dialler, other), 2);
}

#[test]
fn s08_a_node_does_not_dial_the_address_it_listens_at_or_advertises() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let advertised = "10.0.50.1:9000".parse().unwrap();
        let a = world.add(config().advertise(advertised).seed(advertised.into()));
        let own = world.host(a).addr();
        world.net_mut().set_name("me.example", &["10.0.0.1"]);
        world.node(a).add_seed("me.example:7000").unwrap();
        world.node(a).add_seed(own).unwrap();
        world.node(a).join(own).unwrap();
        world.node(a).join("me.example:7000").unwrap();
        world.run_for(secs(300));
        assert_eq!(world.net().dials().len(), 0, "seed {seed}");
        assert_eq!(failed(&world, a), [JoinError::SelfConnection, JoinError::SelfConnection], "seed {seed}");
        assert_eq!(world.host(a).events().len(), 2, "seed {seed}: {:?}", world.host(a).events());
    }
}

#[test]
fn s08_a_self_dial_through_a_public_address_is_closed_and_not_repeated() {
    for seed in SEEDS {
        // Bound to one address, or to all of them so that its own are not known to it.
        for (unknown, spec) in [(0, Spec::new(config())), (1, Spec::new(config()).unspecified())] {
            let mut world = World::new(seed);
            let (a, b) = (world.add(spec), world.add(config()));
            world.host_mut(a).masquerade(Some("10.0.50.9"));
            let inner = world.host(a).addr();
            let public = world.net_mut().forward("10.0.50.1:9000", inner);
            world.node(a).add_seed(public).unwrap();
            world.run_for(ms(20));
            assert!(world.host(a).closes().iter().any(|closed| closed.reason == Reason::SelfConnection), "seed {seed}");
            assert_eq!((world.net().dials().len(), world.host(a).links().len()), (1, 0), "seed {seed}");
            assert!(world.host(a).events().is_empty(), "seed {seed}: {:?}", world.host(a).events());
            world.node(a).join(public).unwrap();
            world.node(a).join(a).unwrap();
            world.run_for(secs(300));
            assert_eq!(world.net().dials().len(), 1 + unknown, "seed {seed}: once for each that it did not know");
            assert_eq!(failed(&world, a), [JoinError::SelfConnection, JoinError::SelfConnection], "seed {seed}");
            assert!(world.node(a).peers().is_empty());
            // For others it is an address like any other.
            world.node(b).join(public).unwrap();
            world.expect("linked", secs(1), |world| world.linked(a, b));
        }
    }
}

#[test]
fn s08_two_joins_of_one_alias_at_once_end_alike_and_leave_nothing() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let a = world.add(config());
        let inner = world.host(a).addr();
        let aliases = ["10.0.50.1:9000", "10.0.50.2:9000"].map(|public| world.net_mut().forward(public, inner));
        for alias in aliases.into_iter().cycle().take(6) {
            world.node(a).join(alias).unwrap();
        }
        world.run_for(secs(10));
        assert_eq!(failed(&world, a), vec![JoinError::SelfConnection; 6], "seed {seed}");
        assert_eq!((world.net().dials().len(), world.host(a).links().len()), (2, 0), "seed {seed}");
        assert_eq!(world.node(a).stats().self_connections, 2, "seed {seed}");
    }
}

#[test]
fn s09_a_way_around_is_the_own_secret_of_who_uses_it() {
    for seed in SEEDS {
        let (mut world, hosts) = strangers(seed, 3);
        let (a, b, c) = (hosts[0], hosts[1], hosts[2]);
        let puppet = world.add_puppet("10.0.9.1", Script::default());
        let inner = world.host(b).addr();
        let way = world.net_mut().forward("10.0.50.1:9000", inner);
        world.node(a).join(way).unwrap();
        world.expect("linked", secs(1), |world| world.linked(a, b));
        assert_eq!((world.host(a).ups(b), joined(&world, a)), (1, vec![world.host(b).run()]), "seed {seed}");
        assert_eq!(world.host(a).core().peer(world.host(b).id()).unwrap().address, Some(way), "seed {seed}");
        world.node(c).join(a).unwrap();
        let address = world.host(a).addr();
        world.puppet(puppet).dial(address);
        world.expect("all are linked", secs(5), |world| world.linked(b, c) && world.linked(a, c));
        world.settle();
        world.puppet(puppet).send_on(0, Frame::Digest(Digest { buckets: [7; 16] }));
        world.run_for(ms(20));
        let told = gossiped(&world, puppet, world.host(b).id());
        assert!(
            !told.is_empty() && told.iter().all(|address| *address == world.host(b).addr()),
            "seed {seed}: {told:?}"
        );
        assert!(world.net().dials().iter().all(|dial| dial.from == a || dial.to != way), "seed {seed}");
        lose(&mut world, a, b);
        let lost = world.now();
        world.expect("linked again", secs(2), |world| world.linked(a, b));
        let ways: Vec<SocketAddr> =
            world.net().dials().iter().filter(|dial| dial.at >= lost).map(|dial| dial.to).collect();
        assert!(ways.contains(&way) && !ways.contains(&world.host(b).addr()), "seed {seed}: {ways:?}");
    }
}

#[test]
fn s09_a_way_around_that_fails_is_given_up_once_the_direct_one_works() {
    for seed in SEEDS {
        let (mut world, hosts) = strangers(seed, 3);
        let (a, b, c) = (hosts[0], hosts[1], hosts[2]);
        let inner = world.host(b).addr();
        let way = world.net_mut().forward("10.0.50.1:9000", inner);
        let fate = [cluster_sim::Fate::Refuse, cluster_sim::Fate::Hang][(seed % 2) as usize];
        world.node(a).join(way).unwrap();
        world.expect("linked", secs(1), |world| world.linked(a, b));
        world.net_mut().set_fate(way, Some(fate));
        lose(&mut world, a, b);
        world.expect("linked again", secs(15), |world| world.linked(a, b));
        assert!(world.net().dials_to(way, Instant::ZERO) >= 2, "seed {seed}: it was tried first");
        assert_eq!(
            world.host(a).core().peer(world.host(b).id()).unwrap().address,
            Some(world.host(b).addr()),
            "seed {seed}"
        );
        world.settle();
        let before = world.now();
        lose(&mut world, a, b);
        world.expect("linked again", secs(5), |world| world.linked(a, b));
        assert_eq!(world.net().dials_to(way, before), 0, "seed {seed}");
        // Now it leads to another node, and says nothing of b any more.
        world.net_mut().set_fate(way, None);
        world.net_mut().unforward(way);
        let inner = world.host(c).addr();
        world.net_mut().forward("10.0.50.1:9000", inner);
        world.node(a).join(way).unwrap();
        world.expect("c is found there", secs(2), |world| world.linked(a, c));
        assert_eq!(joined(&world, a).last(), Some(&world.host(c).run()), "seed {seed}");
        assert!(world.linked(a, b));
    }
}

#[test]
fn s10_an_address_that_another_cluster_has_taken_connects_nobody() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let (a, b, p) = (hosts[0], hosts[1], hosts[2]);
        let gone = world.host(p).run();
        world.host_mut(p).crash(Crash::Kill);
        world.run_for(ms(5));
        let other = config().cluster("other".parse().unwrap());
        world.host_mut(p).restart(Restart::default().new_id().config(other));
        let taken = world.now();
        let told = world.host(a).events().len();
        world.run_for(secs(300));
        assert_eq!((world.host(a).sees(p), world.host(b).sees(p)), (false, false), "seed {seed}");
        let is_of_another = |ended: &cluster_sim::Ended| ended.cause == Disconnect::Channel(ChannelError::Cluster);
        assert!(world.host(a).ends().iter().any(is_of_another), "seed {seed}: {:?}", world.host(a).ends());
        let news = world.host(a).events()[told..].iter().map(|logged| &logged.event).collect::<Vec<_>>();
        assert!(!news.iter().any(|event| matches!(event, Event::PeerUp(_))), "seed {seed}: {news:?}");
        let new = world.host(p).run();
        let down_there = |event: &Event| matches!(event, Event::PeerUp(_) | Event::PeerDown { .. });
        let of_new = world.host(p).events().iter().filter(|logged| logged.run == new);
        assert!(!of_new.clone().any(|logged| down_there(&logged.event)), "seed {seed}");
        let address = world.host(p).addr();
        assert!(
            world.net().dials_to(address, taken) < 80,
            "seed {seed}: {} dials",
            world.net().dials_to(address, taken)
        );
        assert!(world.linked(a, b));
        // The one that was there returns: at another address, and comes by itself.
        world.host_mut(p).crash(Crash::Kill);
        let back = Restart::default().id(gone.id).config(config()).ip("10.0.3.3");
        world.host_mut(p).restart(back);
        world.node(p).join(a).unwrap();
        world.expect("the mesh is whole", secs(5), World::is_complete);
    }
}

#[test]
fn s10_an_address_that_another_member_has_taken_leads_to_that_member() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let (a, b, p) = (hosts[0], hosts[1], hosts[2]);
        let gone = world.host(p).run();
        world.host_mut(p).crash(Crash::Kill);
        world.run_for(ms(5));
        world.host_mut(p).restart(Restart::default().new_id());
        world.expect("the new one is up", secs(40), World::is_complete);
        world.settle();
        for host in [a, b] {
            assert_eq!(world.host(host).core().peer(gone.id), None, "seed {seed}: nobody waits for the old one");
            let old = |event: &Event| matches!(event, Event::PeerUp(info) if info.run.id == gone.id);
            assert_eq!(world.host(host).count_events(old), 1, "seed {seed}");
        }
        let settled = world.now();
        world.run_for(secs(300));
        let dials: usize = hosts.iter().map(|&host| world.host(host).dials_since(settled)).sum();
        assert_eq!(dials, 0, "seed {seed}: {:?}", &world.net().dials()[world.net().dials().len() - dials..]);
    }
}

#[test]
fn s10_a_way_around_that_leads_elsewhere_now_is_no_way_to_the_peer_any_more() {
    for seed in SEEDS {
        let (mut world, hosts) = strangers(seed, 3);
        let (a, p, q) = (hosts[0], hosts[1], hosts[2]);
        let inner = world.host(p).addr();
        let way = world.net_mut().forward("10.0.50.1:9000", inner);
        world.node(a).join(way).unwrap();
        world.expect("linked", secs(1), |world| world.linked(a, p));
        let inner = world.host(q).addr();
        world.net_mut().forward("10.0.50.1:9000", inner);
        lose(&mut world, a, p);
        world.expect("both are up, each as itself", secs(10), |world| world.linked(a, p) && world.linked(a, q));
        assert_eq!(world.host(a).core().peer(world.host(q).id()).unwrap().address, Some(way), "seed {seed}");
        world.settle();
        let before = world.now();
        lose(&mut world, a, p);
        world.expect("linked again", secs(5), |world| world.linked(a, p));
        assert_eq!(world.net().dials_to(way, before), 0, "seed {seed}");
    }
}

#[test]
fn s11_each_address_of_a_lying_list_is_looked_at_for_itself() {
    for seed in SEEDS {
        let (mut world, hosts) = strangers(seed, 3);
        let (a, c, d) = (hosts[0], hosts[1], hosts[2]);
        let nobody: SocketAddr = "10.0.8.8:80".parse().unwrap();
        let puppet = world.add_puppet("10.0.9.1", Script::default());
        let address = world.host(a).addr();
        world.puppet(puppet).dial(address);
        world.expect("the puppet is up", ms(50), |world| world.host(a).sees(puppet));
        let invented = Run { id: NodeId::from_bytes([9; 16]), incarnation: Incarnation(5) };
        let entry = |run, addresses: &[SocketAddr]| Entry { run, addresses: addresses.to_vec() };
        let (at_c, at_d) = (world.host(c).addr(), world.host(d).addr());
        // A node that there is not, at the places of two that there are; and one of these, where nobody is.
        let entries = vec![entry(invented, &[at_c, at_d, nobody]), entry(world.host(c).run(), &[nobody])];
        world.puppet(puppet).send(Frame::List(List { buckets: u16::MAX, reply: false, entries }));
        world.expect("those who answered are peers", secs(60), |world| world.linked(a, c) && world.linked(a, d));
        world.run_for(secs(120));
        let mut up: Vec<NodeId> = world.node(a).peers().iter().map(|info| info.run.id).collect();
        let mut real = [c, d, puppet].map(|host| world.host(host).id());
        up.sort();
        real.sort();
        assert_eq!(up, real, "seed {seed}: nobody is a peer for being named");
        assert!(
            world.net().opened(a, c) <= 20 && world.net().opened(a, d) <= 20,
            "seed {seed}: {}",
            world.net().opened(a, c)
        );
        assert_eq!(
            (world.host(a).downs(c), world.host(a).downs(d), world.host(a).downs(puppet)),
            (0, 0, 0),
            "seed {seed}"
        );
        let dials = world.host(a).dials_since(Instant::ZERO);
        assert!(dials < 60, "seed {seed}: {dials} dials in two minutes for two entries");
    }
}

#[test]
fn s11_who_advertises_the_address_of_another_does_not_become_it() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let (a, c) = (world.add(config()), world.add(config()));
        let at_c = world.host(c).addr();
        let profile = Profile {
            name: None,
            metadata: Vec::new().into(),
            addresses: vec![Advertised::Socket(at_c)],
            max_message: 16 << 20,
            window: 256 << 10,
        };
        let puppet = world.add_puppet("10.0.9.1", Script { profile: Some(profile), ..Script::default() });
        let address = world.host(a).addr();
        world.puppet(puppet).dial(address);
        world.expect("the puppet is up", ms(50), |world| world.host(a).sees(puppet));
        let join_late = seed % 2 == 0;
        if join_late {
            world.run_for(secs(1));
        }
        world.node(a).join(c).unwrap();
        world.expect("c is found", secs(1), |world| world.linked(a, c));
        assert_eq!(joined(&world, a), [world.host(c).run()], "seed {seed}: who was asked for");
        assert!(world.host(a).sees(puppet), "seed {seed}");
        // It goes, and a looks for it where it said that it is.
        world.puppet(puppet).reset(0);
        world.run_for(secs(120));
        assert!(world.linked(a, c), "seed {seed}");
        assert_eq!(
            (world.host(a).downs(c), world.host(a).ups(puppet), world.host(a).downs(puppet)),
            (0, 1, 1),
            "seed {seed}"
        );
        assert!(
            world.net().dials_to(at_c, Instant::ZERO) < 25,
            "seed {seed}: {}",
            world.net().dials_to(at_c, Instant::ZERO)
        );
    }
}

#[test]
fn a_peer_that_appears_from_a_new_address_is_told_to_others_by_that_address() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let a = world.add(config());
        let at_a = world.host(a).addr();
        let b = world.add(Spec::new(config().seed(at_a.into())).unspecified());
        world.expect("linked", secs(1), |world| world.linked(a, b));
        world.settle();
        world.host_mut(b).masquerade(Some("10.0.60.1"));
        let inner = world.host(b).addr();
        let moved = world.net_mut().forward("10.0.60.1:7000", inner);
        world.net_mut().block_dials(a, b, Block::Refuse);
        world.net_mut().reset_connections(a, b);
        world.expect("linked again", secs(40), |world| world.linked(a, b));
        world.settle();
        assert_eq!(world.host(a).core().peer(world.host(b).id()).unwrap().address, Some(moved), "seed {seed}");
        world.net_mut().block_dials(b, a, Block::Refuse);
        let c = world.add(config().seed(at_a.into()));
        world.net_mut().block_dials(b, c, Block::Refuse);
        world.expect("c finds it there", secs(10), |world| world.linked(c, b));
        assert_eq!(world.net().dials_to("10.0.0.2:7000".parse().unwrap(), world.now()), 0);
        assert!(world.net().dials_to(moved, Instant::ZERO) >= 1, "seed {seed}");
    }
}

#[test]
fn a_run_that_appears_from_a_new_address_while_its_old_link_is_half_open_takes_its_place() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let a = world.add(config());
        let impatient: Config = config().heartbeat(ms(300)).peer_timeout(secs(1));
        let b = world.add(Spec::new(impatient).unspecified());
        world.node(b).join(a).unwrap();
        world.expect("linked", secs(1), |world| world.linked(a, b));
        world.settle();
        let old = world.host(a).links()[0].connection;
        world.net_mut().cut(a, b);
        world.expect("b has given up", secs(3), |world| world.host(b).downs(a) == 1);
        world.host_mut(b).masquerade(Some("10.0.60.1"));
        world.net_mut().block_dials(a, b, Block::Refuse);
        world.net_mut().heal(a, b);
        assert!(world.host(a).sees(b), "seed {seed}: a has noticed nothing");
        world.expect("linked again", secs(3), |world| world.linked(a, b));
        world.settle();
        let links = world.host(a).links();
        assert!(world.linked(a, b) && links.len() == 1 && links[0].connection != old, "seed {seed}");
        assert_eq!(links[0].remote.ip(), "10.0.60.1".parse::<std::net::IpAddr>().unwrap(), "seed {seed}");
    }
}
