//! What members can make each other keep and do, over long times: tables, floods, links that come and go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use cluster_core::adapter::{EVENT_QUEUE, EventQueue};
use cluster_core::wire::{Entry, List};
use cluster_core::{Event, Frame, Incarnation, Limits, NodeId, PeerState, ProtocolError, Reason, Run, Usage};
use cluster_sim::{Abuse, Dialled, HostId, PuppetState, Script, Tempo, World};

use crate::harness::*;

/// A member that does not exist, and four addresses at which it is not.
fn invention(number: u32) -> Entry {
    let mut id = [0xab; 16];
    id[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    let [_, high, middle, low] = number.to_be_bytes();
    let addresses = (0..4).map(|port| SocketAddr::from(([10, 66 + high, middle, low], 1_000 + port))).collect();
    Entry { run: Run { id: NodeId::from_bytes(id), incarnation: Incarnation(1) }, addresses }
}

#[test]
fn a_million_invented_addresses_fill_one_introducers_quota_and_keep_no_honest_node_out() {
    let (mut world, hosts) = mesh(1, 3);
    world.keep_lines(50);
    let liar = world.add_puppet("10.0.9.1", Script::default());
    let to = world.host(hosts[0]).addr();
    world.puppet(liar).dial(to);
    world.expect("it is up", secs(1), |world| world.host(hosts[0]).sees(liar));
    let (limits, begin) = (world.host(hosts[0]).core().limits().clone(), world.now());
    // 490 lists of 510 members at four addresses each, as fast as a link puts up with.
    for part in 0..490 {
        let entries = (0..510).map(|index| invention(part * 510 + index)).collect();
        world.puppet(liar).send_on(0, Frame::List(List { buckets: u16::MAX, reply: false, entries }));
        world.run_for(ms(100));
        assert!(world.host(hosts[0]).core().usage().candidates <= limits.max_candidates_per_peer);
    }
    assert!(world.host(hosts[0]).sees(liar), "all of it was heard");
    assert!(world.host(hosts[0]).core().stats().candidate_limit > 490 * 500 - 1_000);
    let newcomer = world.add(config());
    world.node(newcomer).join(hosts[0]).unwrap();
    world.expect("it is in", secs(10), |world| hosts.iter().all(|&host| world.linked(host, newcomer)));
    let dials: Vec<Dialled> =
        world.net().dials().iter().filter(|dial| dial.from == hosts[0] && dial.at >= begin).cloned().collect();
    let most = limits.dial_burst as usize + (world.now() - begin).as_secs() as usize * 10 + 10;
    assert!(dials.len() <= most, "{} dials", dials.len());
    for &host in &hosts[1..] {
        assert_eq!(world.host(host).core().usage().candidates, 0, "hearsay is not relayed");
    }
}

#[test]
fn a_host_that_a_liar_points_at_gets_two_dials_at_a_time_however_many_members_are_said_to_be_there() {
    for seed in 0..5 {
        let (mut world, hosts) = mesh(seed, 2);
        let liar = world.add_puppet("10.0.9.1", Script::default());
        for &host in &hosts {
            let to = world.host(host).addr();
            world.puppet(liar).dial(to);
        }
        world.expect("it is up", secs(1), |world| hosts.iter().all(|&host| world.host(host).sees(liar)));
        let begin = world.now();
        // Dials to the victim hang.
        let entries: Vec<Entry> = (0..400)
            .map(|number| {
                let place = SocketAddr::from(([10, 66, 0, 1], 1_000 + number as u16));
                Entry { addresses: vec![place], ..invention(number) }
            })
            .collect();
        for link in 0..2 {
            let list = List { buckets: u16::MAX, reply: false, entries: entries.clone() };
            world.puppet(liar).send_on(link, Frame::List(list));
        }
        world.run_for(secs(600));
        for &host in &hosts {
            let to_victim: Vec<&Dialled> =
                world.net().dials().iter().filter(|dial| dial.from == host && dial.at >= begin).collect();
            for dial in &to_victim {
                let with = to_victim.iter().filter(|other| other.at <= dial.at && dial.at - other.at < ms(4_990));
                assert!(with.count() <= 2, "seed {seed}: at {:?}", dial.at);
            }
            assert!((100..=2 * 121).contains(&to_victim.len()), "seed {seed}: {}", to_victim.len());
            assert!(world.host(host).core().stats().dial_limit_per_ip > 100);
        }
    }
}

#[test]
fn a_member_that_chatters_loses_its_link_and_is_left_alone_for_a_minute() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let puppet = world.add_puppet("10.0.9.1", Script::default());
        let to = world.host(hosts[0]).addr();
        let link = world.puppet(puppet).dial(to);
        world.expect("it is up", secs(1), |world| world.host(hosts[0]).sees(puppet));
        for token in 0..1_000 {
            world.puppet(puppet).send_on(link, Frame::Ping { token });
        }
        world.run_for(ms(100));
        assert_eq!(down_reasons(&world, hosts[0], puppet), [Reason::Protocol(ProtocolError::Flood)], "seed {seed}");
        assert_eq!(world.host(hosts[0]).core().stats().control_limit, 1);
        let (begin, home) = (world.now(), world.host(puppet).addr());
        world.run_for(secs(59));
        assert_eq!(world.net().dials_to(home, begin), 0, "seed {seed}");
        world.expect("it is tried again", secs(20), |world| world.host(hosts[0]).sees(puppet));
        assert!(world.are_linked(&hosts), "seed {seed}");
        assert!(hosts.iter().all(|&host| hosts.iter().all(|&other| world.host(host).downs(other) == 0)));
    }
}

#[test]
fn a_member_that_holds_on_to_connections_that_were_closed_keeps_nobody_out() {
    for seed in SEEDS {
        let mut limits = Limits::default();
        (limits.max_peers, limits.max_pending, limits.max_greeted) = (8, 8, 8);
        let (mut world, hosts) = mesh_of(seed, 3, &config().limits(limits));
        let member = world.add_puppet("10.0.9.1", Script { hold: true, ..Script::default() });
        let to = world.host(hosts[0]).addr();
        world.puppet(member).dial(to);
        world.expect("it is up", secs(1), |world| world.host(hosts[0]).sees(member));
        world.puppet(member).script(|script| script.claim = Some(0));
        let stats = world.host(hosts[0]).core().stats().clone();
        for _ in 0..200 {
            world.puppet(member).dial(to);
            world.run_for(ms(10));
        }
        let newcomer = world.add(config());
        world.node(newcomer).join(hosts[0]).unwrap();
        for _ in 0..50 {
            world.puppet(member).dial(to);
            world.run_for(ms(10));
        }
        assert!(world.linked(hosts[0], newcomer), "seed {seed}");
        let now = world.host(hosts[0]).core().stats();
        assert!(now.inbound_limit > stats.inbound_limit + 100, "seed {seed}");
        assert_eq!(now.pending_limit, stats.pending_limit, "seed {seed}");
        assert!(
            world.are_linked(&hosts) && hosts.iter().all(|&host| world.host(hosts[0]).downs(host) == 0),
            "seed {seed}"
        );
    }
}

#[test]
fn nodes_whose_settings_change_all_the_time_never_take_each_other_for_a_flood() {
    for seed in 0..5 {
        let quick = config().local().heartbeat(ms(20)).peer_timeout(secs(1)).gossip_interval(ms(100));
        let (mut world, hosts) = mesh_of(seed, 6, &quick);
        let mut latest = BTreeMap::new();
        for round in 0..3_000_u32 {
            let host = hosts[round as usize % hosts.len()];
            let config = world.host(host).core().config().clone().metadata(round.to_be_bytes().to_vec());
            world.node(host).set_config(config).unwrap();
            latest.insert(host, round.to_be_bytes());
            let wait = world.draw(20_000);
            world.run_for(Duration::from_micros(wait));
        }
        world.run_for(secs(5));
        assert!(world.are_linked(&hosts), "seed {seed}");
        for &host in &hosts {
            assert_eq!(world.host(host).core().stats().protocol_errors, 0, "seed {seed}");
            for &other in hosts.iter().filter(|&&other| other != host) {
                let seen = world.host(host).core().peer(world.host(other).id()).unwrap().metadata;
                assert_eq!(seen[..], latest[&other], "seed {seed}: the latest is known");
            }
        }
    }
}

#[test]
fn a_thousand_connections_that_are_cut_without_a_word_leave_nothing_behind() {
    let (mut world, hosts) = mesh(3, 3);
    world.keep_lines(50);
    let (a, b, c) = (hosts[0], hosts[1], hosts[2]);
    world.run_for(secs(60));
    let before = usages(&world, &hosts);
    let to = world.host(b).id();
    for round in 0..1_000 {
        // In the middle of a message, of a handshake, or of nothing.
        match round % 3 {
            0 => _ = world.node(a).send(to, vec![7; 100_000]),
            1 => _ = world.net_mut().reset_connections(a, b),
            _ => {}
        }
        let wait = world.draw(3_000);
        world.run_for(Duration::from_micros(wait));
        world.net_mut().sever_connections(a, b);
        let wait = world.draw(7_000);
        world.run_for(ms(wait));
    }
    world.expect("all are linked", secs(60), |world| world.are_linked(&hosts));
    world.settle();
    world.run_for(secs(60));
    assert_eq!(usages(&world, &hosts), before, "links, timers, peers and tables are as they were");
    for &host in &hosts {
        let memory = world.host(host).core().memory();
        assert_eq!((memory.received, memory.retained, memory.unread), (0, 0, 0), "{host}");
    }
    assert_eq!(world.host(a).downs(c) + world.host(b).downs(c), 0);
}

/// How full the tables of these nodes are, apart from those that remember where strangers came from. They are at rest.
fn usages(world: &World, hosts: &[HostId]) -> Vec<Usage> {
    let usage = |&host: &HostId| {
        let mut usage = world.host(host).core().usage();
        // Of each link the heartbeat and the last output have deadlines, and of the node its gossip.
        assert!(usage.timers <= 2 * usage.links + 1, "{host}: {usage:?}");
        (usage.notice_sources, usage.accept_sources, usage.timers) = (0, 0, 0);
        usage
    };
    hosts.iter().map(usage).collect()
}

#[test]
fn a_thousand_flaps_while_the_application_sleeps_cost_a_bounded_queue_that_ends_at_the_truth() {
    let (mut world, a, b) = pair(1);
    world.keep_lines(50);
    world.host_mut(a).set_consuming(false);
    let begin = world.host(a).events().len();
    let mut sent = 0;
    for _ in 0..1_000 {
        sent += u64::from(world.node(b).send_numbered(a, 1_000).is_ok());
        world.net_mut().reset_connections(a, b);
        world.expect("it is back", secs(60), |world| world.linked(a, b));
        let memory = world.host(a).core().memory();
        assert!(memory.received <= world.host(a).core().limits().initial_window);
    }
    // What a subscriber finds that read nothing meanwhile.
    let mut queue = EventQueue::<()>::default();
    let events: Vec<Event> = world.host(a).events()[begin..].iter().map(|logged| logged.event.clone()).collect();
    assert!(events.len() >= 2_000, "each flap is told: {}", events.len());
    events.iter().for_each(|event| drop(queue.push(event.clone(), None)));
    let Some((Event::Lagged { missed }, _)) = queue.pop() else { panic!("it has missed some") };
    let kept: Vec<Event> = std::iter::from_fn(|| queue.pop()).map(|(event, _)| event).collect();
    assert_eq!((missed as usize + kept.len(), kept.len()), (events.len(), EVENT_QUEUE));
    assert_eq!(kept, events[events.len() - EVENT_QUEUE..]);
    let last = kept.iter().rev().find(|event| matches!(event, Event::PeerUp(_) | Event::PeerDown { .. }));
    assert!(matches!(last, Some(Event::PeerUp(_))), "{last:?}");
    let peer = world.host(a).core().peer(world.host(b).id());
    assert_eq!(peer.map(|peer| peer.state), Some(PeerState::Up));
    world.host_mut(a).set_consuming(true);
    world.expect("every message is there", secs(60), |world| world.host(a).numbered(b) == sent);
}

#[test]
fn an_insider_that_floods_costs_its_own_link_and_no_others() {
    for seed in 0..3 {
        let (mut world, hosts) = mesh(seed, 4);
        let insider = world.add_insider(&[Abuse::Chatter], Tempo::Fast);
        world.run_for(secs(120));
        let floods: u64 = hosts.iter().map(|&host| world.host(host).core().stats().control_limit).sum();
        assert!(floods >= 4, "seed {seed}: {floods}");
        assert!(world.are_linked(&hosts), "seed {seed}");
        assert!(hosts.iter().all(|&host| hosts.iter().all(|&other| world.host(host).downs(other) == 0)), "seed {seed}");
        assert!(world.host(insider).puppet_links().contains(&PuppetState::Over));
    }
}
