//! Links that come and go, and nodes that see only part of the mesh: scenarios S35 and S36.

use cluster_core::wire::{Announce, Digest, Entry, List};
use cluster_core::{Event, Frame, Incarnation, Run};
use cluster_sim::{Block, Crash, HostId, Restart, Script, World};

use crate::harness::*;

fn is_link_event(event: &Event) -> bool {
    matches!(event, Event::PeerUp(_) | Event::PeerDown { .. })
}

/// Every connection between the two breaks, and for two seconds none can be made; then for two seconds one can.
fn flap(world: &mut World, a: HostId, b: HostId) {
    world.block_dials(a, b, Block::Refuse);
    world.block_dials(b, a, Block::Refuse);
    world.reset_connections(a, b);
    world.run_for(secs(2));
    world.allow_dials(a, b);
    world.allow_dials(b, a);
    world.run_for(secs(2));
}

#[test]
fn s35_a_flapping_link_is_tried_ever_more_slowly_and_disturbs_nobody_else() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 4);
        let [a, b, c, d] = hosts[..] else { unreachable!() };
        let begin = world.now();
        let others = [world.events(c).len(), world.events(d).len()];
        let before = world.count_events(a, is_link_event);
        let mut ups = Vec::new();
        for _ in 0..30 {
            let up = world.ups(a, b);
            flap(&mut world, a, b);
            ups.push(world.ups(a, b) - up);
        }
        // With a backoff that starts over at each success, every one of the 30 times would see a link.
        let total: usize = ups.iter().sum();
        assert!(total <= 18, "seed {seed}: {total} links in 30 outages");
        let late: usize = ups[15..].iter().sum();
        assert!(late <= 8, "seed {seed}: {late} links in the last 15 outages");
        let dials = world.dials_from(a, begin) + world.dials_from(b, begin);
        assert!(dials <= 80, "seed {seed}: {dials} dials in two minutes");
        let events = world.count_events(a, is_link_event) - before;
        assert!(events <= 2 * 18 + 2, "seed {seed}: {events} events");
        assert_eq!([world.events(c).len(), world.events(d).len()], others, "seed {seed}: the others notice");
        assert!(world.linked(c, d) && [a, b].iter().all(|&x| world.linked(x, c) && world.linked(x, d)));

        world.expect("the link is back", secs(61), |world| world.linked(a, b));
        world.expect("the mesh is whole", secs(1), World::is_complete);
    }
}

#[test]
fn s35_only_a_link_that_lasted_makes_the_next_loss_a_first_one() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        for _ in 0..12 {
            flap(&mut world, a, b);
        }
        world.expect("the link is back", secs(61), |world| world.linked(a, b));
        world.run_for(secs(11));
        assert!(world.linked(a, b), "seed {seed}");
        world.reset_connections(a, b);
        world.expect("the first retry is a quick one", ms(300), |world| world.linked(a, b));
    }
}

#[test]
fn s36_a_node_that_hears_nobody_takes_down_only_its_own_links() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 5);
        let (deaf, others) = hosts.split_last().unwrap();
        for &other in others {
            world.cut_one_way(other, *deaf);
        }
        world.run_for(secs(90));
        for &a in others {
            assert!(world.downs(*deaf, a) >= 1 && world.downs(a, *deaf) >= 1, "seed {seed}: {a}");
            for &b in others.iter().filter(|&&b| b != a) {
                assert_eq!((world.ups(a, b), world.downs(a, b)), (1, 0), "seed {seed}: {a} and {b}");
                assert!(world.linked(a, b));
            }
        }
        world.heal_all();
        world.expect("the mesh is whole again", secs(70), World::is_complete);
    }
}

/// What a member can say of others that is not true: that they are gone, and that they are later, or earlier, runs
/// at other addresses.
fn accusations(world: &World, hosts: &[HostId]) -> Vec<Frame> {
    let nowhere = "10.66.0.1:66".parse().unwrap();
    let as_if = |change: fn(u64) -> u64| -> Vec<Entry> {
        let entry = |&host: &HostId| {
            let Run { id, incarnation } = world.run(host);
            Entry { run: Run { id, incarnation: Incarnation(change(incarnation.0)) }, addresses: vec![nowhere] }
        };
        hosts.iter().map(entry).collect()
    };
    let list = |entries| Frame::List(List { buckets: u16::MAX, reply: true, entries });
    vec![
        Frame::Digest(Digest { buckets: [7; 16] }),
        list(Vec::new()),
        list(as_if(|number| number + 1)),
        list(as_if(|_| u64::MAX)),
        list(as_if(|_| 0)),
        list(as_if(|number| number)),
        Frame::Announce(Announce { entries: as_if(|number| number + 1) }),
        Frame::Digest(Digest { buckets: [0; 16] }),
    ]
}

#[test]
fn s36_what_a_member_says_of_others_takes_no_link_down_and_keeps_none_from_coming_back() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 4);
        let liar = world.add_puppet("10.0.9.1", Script::default());
        let links: Vec<usize> = hosts
            .iter()
            .map(|&host| {
                let address = world.addr(host);
                world.puppet(liar).dial(address)
            })
            .collect();
        world.expect("it is a member", secs(1), |world| hosts.iter().all(|&host| world.sees(host, liar)));
        let begin = world.now();
        let accusations = accusations(&world, &hosts);
        for frame in accusations.iter().cycle().take(3 * accusations.len()) {
            for &link in &links {
                world.puppet(liar).send_on(link, frame.clone());
            }
            world.run_for(secs(1));
        }
        for &a in &hosts {
            assert!(world.sees(a, liar), "seed {seed}");
            for &b in hosts.iter().filter(|&&b| b != a) {
                assert_eq!((world.ups(a, b), world.downs(a, b)), (1, 0), "seed {seed}: {a} and {b}");
                assert!(world.linked(a, b));
            }
        }
        assert_eq!(world.dials().iter().filter(|dial| dial.at >= begin).count(), 0, "seed {seed}: nobody is missing");

        // Nor do the lies matter when one of those lied about really goes and comes.
        world.crash(hosts[1], Crash::Kill);
        for &link in &links {
            if link != links[1] {
                for frame in accusations.clone() {
                    world.puppet(liar).send_on(link, frame);
                }
            }
        }
        world.run_for(secs(3));
        world.restart(hosts[1], Restart::default());
        let linked = |world: &World| hosts.iter().all(|&a| a == hosts[1] || world.linked(a, hosts[1]));
        world.expect("the restarted node is back", secs(31), linked);
    }
}
