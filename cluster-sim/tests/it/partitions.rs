//! Partitions, links that come and go, and nodes that see only part of the mesh: scenarios S28 to S30 and S32 to S36.

use std::time::Duration;

use cluster_core::wire::{Announce, Digest, Entry, List};
use cluster_core::{Event, Frame, Incarnation, Run};
use cluster_sim::{Block, Crash, HostId, Restart, Script, Spec, World};

use crate::forgetting::dials_become_rare;
use crate::harness::*;
use crate::leaving::dials;

fn is_link_event(event: &Event) -> bool {
    matches!(event, Event::PeerUp(_) | Event::PeerDown { .. })
}

/// Every connection between the two breaks, and for two seconds none can be made; then for two seconds one can.
fn flap(world: &mut World, a: HostId, b: HostId) {
    world.net_mut().block_dials(a, b, Block::Refuse);
    world.net_mut().block_dials(b, a, Block::Refuse);
    world.net_mut().reset_connections(a, b);
    world.run_for(secs(2));
    world.net_mut().allow_dials(a, b);
    world.net_mut().allow_dials(b, a);
    world.run_for(secs(2));
}

#[test]
fn s35_a_flapping_link_is_tried_ever_more_slowly_and_disturbs_nobody_else() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 4);
        let [a, b, c, d] = hosts[..] else { unreachable!() };
        let begin = world.now();
        let others = [world.host(c).events().len(), world.host(d).events().len()];
        let before = world.host(a).count_events(is_link_event);
        let mut ups = Vec::new();
        for _ in 0..30 {
            let up = world.host(a).ups(b);
            flap(&mut world, a, b);
            ups.push(world.host(a).ups(b) - up);
        }
        // With a backoff that starts over at each success, every one of the 30 times would see a link.
        let total: usize = ups.iter().sum();
        assert!(total <= 18, "seed {seed}: {total} links in 30 outages");
        let late: usize = ups[15..].iter().sum();
        assert!(late <= 8, "seed {seed}: {late} links in the last 15 outages");
        let dials = world.host(a).dials_since(begin) + world.host(b).dials_since(begin);
        assert!(dials <= 80, "seed {seed}: {dials} dials in two minutes");
        let events = world.host(a).count_events(is_link_event) - before;
        assert!(events <= 2 * 18 + 2, "seed {seed}: {events} events");
        assert_eq!(
            [world.host(c).events().len(), world.host(d).events().len()],
            others,
            "seed {seed}: the others notice"
        );
        assert!(world.linked(c, d) && [a, b].iter().all(|&x| world.linked(x, c) && world.linked(x, d)));

        world.expect("the link is back", secs(61), |world| world.linked(a, b));
        world.expect("the mesh is whole", secs(1), World::is_complete);
    }
}

/// Each connection stands for half a second, and none is refused: without the back-off there would be one every second.
#[test]
fn s35_link_that_never_lasts_is_dialled_ever_more_rarely() {
    for seed in SEEDS {
        let (mut world, a, b) = pair(seed);
        let begin = world.now();
        for _ in 0..2 * 1_200 {
            world.run_for(ms(500));
            if world.linked(a, b) {
                world.net_mut().reset_connections(a, b);
            }
        }
        let longest = world.host(a).core().timing().reconnect_max;
        for (from, to) in [(a, b), (b, a)] {
            dials_become_rare(&dials(&world, from, world.host(to).addr(), begin), longest);
        }
        let tries = world.host(a).dials_since(begin) + world.host(b).dials_since(begin);
        assert!((20..=400).contains(&tries), "seed {seed}: {tries} dials in twenty minutes");
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
        world.net_mut().reset_connections(a, b);
        world.expect("the first retry is a quick one", ms(300), |world| world.linked(a, b));
    }
}

#[test]
fn s36_a_node_that_hears_nobody_takes_down_only_its_own_links() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 5);
        let (deaf, others) = hosts.split_last().unwrap();
        for &other in others {
            world.net_mut().cut_one_way(other, *deaf);
        }
        world.run_for(secs(90));
        for &a in others {
            assert!(world.host(*deaf).downs(a) >= 1 && world.host(a).downs(*deaf) >= 1, "seed {seed}: {a}");
            for &b in others.iter().filter(|&&b| b != a) {
                assert_eq!((world.host(a).ups(b), world.host(a).downs(b)), (1, 0), "seed {seed}: {a} and {b}");
                assert!(world.linked(a, b));
            }
        }
        world.net_mut().heal_all();
        world.expect("the mesh is whole again", secs(70), World::is_complete);
    }
}

/// What a member can say of others that is not true: that they are gone, and that they are later, or earlier, runs
/// at other addresses.
fn accusations(world: &World, hosts: &[HostId]) -> Vec<Frame> {
    let nowhere = "10.66.0.1:66".parse().unwrap();
    let as_if = |change: fn(u64) -> u64| -> Vec<Entry> {
        let entry = |&host: &HostId| {
            let Run { id, incarnation } = world.host(host).run();
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
                let address = world.host(host).addr();
                world.puppet(liar).dial(address)
            })
            .collect();
        world.expect("it is a member", secs(1), |world| hosts.iter().all(|&host| world.host(host).sees(liar)));
        let begin = world.now();
        let accusations = accusations(&world, &hosts);
        for frame in accusations.iter().cycle().take(3 * accusations.len()) {
            for &link in &links {
                world.puppet(liar).send_on(link, frame.clone());
            }
            world.run_for(secs(1));
        }
        for &a in &hosts {
            assert!(world.host(a).sees(liar), "seed {seed}");
            for &b in hosts.iter().filter(|&&b| b != a) {
                assert_eq!((world.host(a).ups(b), world.host(a).downs(b)), (1, 0), "seed {seed}: {a} and {b}");
                assert!(world.linked(a, b));
            }
        }
        assert_eq!(
            world.net().dials().iter().filter(|dial| dial.at >= begin).count(),
            0,
            "seed {seed}: nobody is missing"
        );

        // Nor do the lies matter when one of those lied about really goes and comes.
        world.host_mut(hosts[1]).crash(Crash::Kill);
        for &link in &links {
            if link != links[1] {
                for frame in accusations.clone() {
                    world.puppet(liar).send_on(link, frame);
                }
            }
        }
        world.run_for(secs(3));
        world.host_mut(hosts[1]).restart(Restart::default());
        let linked = |world: &World| hosts.iter().all(|&a| a == hosts[1] || world.linked(a, hosts[1]));
        world.expect("the restarted node is back", secs(31), linked);
    }
}

/// How long a mesh may take to be whole again once nothing is in the way: a retry is due within `reconnect_max`, and a
/// dial that was under way may first have to time out.
const WHOLE: Duration = Duration::from_secs(36);

/// How often anybody told anything about these two.
fn told(world: &World, a: HostId, b: HostId) -> [usize; 2] {
    [world.host(a).ups(b) + world.host(a).downs(b), world.host(b).ups(a) + world.host(b).downs(a)]
}

/// A clean split, for a second or an hour.
#[test]
fn s28_a_mesh_that_was_split_is_whole_again_by_itself_however_long_it_lasted() {
    for seed in 0..6 {
        for span in [1, 4, 7, 60, 900, 3_600] {
            let (mut world, hosts) = mesh(seed, 5);
            let (one, other) = hosts.split_at(2);
            world.net_mut().partition(one, other);
            world.run_for(secs(span));
            for half in [one, other] {
                assert!(world.are_linked(half), "seed {seed}, {span} s: each half stays together");
            }
            world.net_mut().heal_all();
            world.expect("the mesh is whole", WHOLE, World::is_complete);
            world.settle();
            let lost = usize::from(span > 6);
            for &a in one {
                for &b in other {
                    assert_eq!([world.host(a).downs(b), world.host(b).downs(a)], [lost; 2], "seed {seed}, {span} s");
                }
                assert!(one.iter().filter(|&&b| b != a).all(|&b| told(&world, a, b) == [1, 1]), "seed {seed}");
            }
        }
    }
}

/// Whoever loses everyone goes on trying everyone.
#[test]
fn s29_a_node_that_was_cut_off_from_everyone_comes_back_to_everyone() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let seeds = config().seed("10.0.0.1:7000".parse().unwrap());
        let hosts = world.add_many(5, &seeds);
        world.expect("a complete mesh", secs(40), World::is_complete);
        world.settle();
        let alone = hosts[(seed % 5) as usize];
        let others: Vec<HostId> = hosts.iter().copied().filter(|&host| host != alone).collect();
        world.net_mut().isolate(alone);
        world.run_for(secs(300));
        let late = world.now();
        world.run_for(secs(120));
        assert!(others.iter().all(|&other| world.host(alone).downs(other) == 1 && world.host(other).downs(alone) == 1));
        for &other in &others {
            let tried = world.net().dials_to(world.host(other).addr(), late);
            assert!((1..=30).contains(&tried), "seed {seed}: {tried} dials in two minutes");
        }
        world.net_mut().heal_all();
        world.expect("the mesh is whole", WHOLE, World::is_complete);
        assert!(others.iter().all(|&a| others.iter().all(|&b| a == b || told(&world, a, b) == [1, 1])));
    }
}

/// What one says does not get to the other.
#[test]
fn s30_a_cut_in_one_direction_is_noticed_by_both_at_about_the_same_time() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let [a, b, c] = hosts[..] else { unreachable!() };
        world.net_mut().cut_one_way(a, b);
        world.expect("either notices", secs(7), |world| world.host(a).downs(b) + world.host(b).downs(a) > 0);
        world.expect("so does the other", ms(10), |world| world.host(a).downs(b) == 1 && world.host(b).downs(a) == 1);
        world.run_for(secs(120));
        assert_eq!((told(&world, a, b), told(&world, a, c), told(&world, b, c)), ([2, 2], [1, 1], [1, 1]));
        world.net_mut().heal_all();
        world.expect("the mesh is whole", WHOLE, World::is_complete);
    }
}

/// The nodes that `host` says it cannot reach, each with the peer that named it.
fn unseen(world: &World, host: HostId) -> Vec<(Run, Run)> {
    let gap = |event: &Event| match event {
        Event::PartialPartition { peer, unseen } => Some((*unseen, *peer)),
        _ => None,
    };
    world.host(host).events().iter().filter_map(|logged| gap(&logged.event)).collect()
}

/// Two that cannot reach each other, and a third that both can.
#[test]
fn s32_two_that_only_a_third_can_reach_say_so_once_and_nobody_flaps() {
    for seed in SEEDS {
        for how in [Block::Drop, Block::Refuse] {
            let (mut world, hosts) = strangers(seed, 3);
            let [a, b, c] = hosts[..] else { unreachable!() };
            world.net_mut().block_dials(a, b, how);
            world.net_mut().block_dials(b, a, how);
            world.node(a).join(c).unwrap();
            world.node(b).join(c).unwrap();
            world.run_for(secs(300));
            assert_eq!(unseen(&world, a), [(world.host(b).run(), world.host(c).run())], "seed {seed}");
            assert_eq!(unseen(&world, b), [(world.host(a).run(), world.host(c).run())], "seed {seed}");
            assert_eq!((told(&world, a, b), told(&world, a, c), told(&world, b, c)), ([0, 0], [1, 1], [1, 1]));
            assert!(unseen(&world, c).is_empty());
            world.net_mut().allow_dials(a, b);
            world.expect("the mesh is whole", WHOLE, World::is_complete);
        }
    }
}

/// Two halves that do not see each other, and one node that sees both.
#[test]
fn s33_nobody_is_given_up_because_others_do_not_see_it() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 5);
        let [a, b, c, d, middle] = hosts[..] else { unreachable!() };
        world.net_mut().partition(&[a, b], &[c, d]);
        world.run_for(secs(600));
        for (one, other) in [([a, b], [c, d]), ([c, d], [a, b])] {
            assert!(world.are_linked(&[one[0], one[1], middle]), "seed {seed}");
            for host in one {
                assert_eq!(told(&world, host, middle), [1, 1], "seed {seed}: nobody lets go of the middle");
                let gaps: Vec<Run> = unseen(&world, host).into_iter().map(|(unseen, _)| unseen).collect();
                assert!(other.iter().all(|&gone| gaps.contains(&world.host(gone).run())), "seed {seed}: {gaps:?}");
            }
            assert_eq!(told(&world, one[0], one[1]), [1, 1], "seed {seed}");
        }
        world.net_mut().heal_all();
        world.expect("the mesh is whole", WHOLE, World::is_complete);
    }
}

/// Two meshes of one name that never knew of each other.
#[test]
fn s34_two_halves_that_started_apart_become_one_when_they_can() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let seeds = ["10.0.0.1:7000", "10.0.0.3:7000"].map(|text| text.parse().unwrap());
        let config = seeds.into_iter().fold(config(), |config, seed| config.seed(seed));
        let hosts: Vec<HostId> = (0..5).map(|_| world.add(Spec::new(config.clone()).stopped())).collect();
        let (one, other) = hosts.split_at(2);
        world.net_mut().partition(one, other);
        for &host in &hosts {
            world.host_mut(host).restart(Restart::default());
        }
        world.run_for(secs(60 + seed * 30));
        assert!(world.are_linked(one) && world.are_linked(other), "seed {seed}: two meshes");
        world.net_mut().heal_all();
        world.expect("they are one", WHOLE + secs(5), World::is_complete);
    }
}
