//! Ends that somebody wanted, and ends that nobody undoes: scenarios S21 to S27, and what is near to them.

use std::net::SocketAddr;
use std::time::Duration;

use cluster_core::wire::{Announce, Entry, List};
use cluster_core::{
    Config, Event, Frame, Incarnation, Instant, JoinError, Limits, Reason, RejectCode, Run, SendErrorKind,
};
use cluster_sim::{Block, Crash, FrameKind, HostId, PuppetState, Restart, Script, World};

use crate::harness::*;

/// The first second after a leave is for links to end.
const GOODBYE: Duration = Duration::from_secs(1);

/// For hours of virtual time: heartbeats are most of what happens in them.
pub(crate) fn calm() -> Config {
    config().heartbeat(secs(10)).peer_timeout(secs(30))
}

/// A mesh whose nodes have this config; each has joined the first.
pub(crate) fn mesh_with(seed: u64, count: usize, config: &Config) -> (World, Vec<HostId>) {
    let mut world = World::new(seed);
    let hosts = world.add_many(count, config);
    for &host in &hosts[1..] {
        world.node(host).join(hosts[0]).unwrap();
    }
    world.expect("a complete mesh", secs(20), World::is_complete);
    world.settle();
    (world, hosts)
}

pub(crate) fn without(hosts: &[HostId], host: HostId) -> Vec<HostId> {
    hosts.iter().copied().filter(|&other| other != host).collect()
}

/// When the node on `host` told that it has left, and how many messages it said were not taken.
fn left(world: &World, host: HostId) -> Option<(Instant, u64)> {
    world.host(host).events().iter().find_map(|logged| match logged.event {
        Event::Left { undelivered } => Some((logged.at, undelivered)),
        _ => None,
    })
}

fn has_left(world: &World, host: HostId) -> bool {
    left(world, host).is_some()
}

/// How many messages for the node on `peer` were reported to `host` as not delivered, and as in doubt.
pub(crate) fn undelivered(world: &World, host: HostId, peer: HostId) -> (u64, u64) {
    let id = world.host(peer).id();
    let counts = world.host(host).events().iter().map(|logged| match &logged.event {
        Event::Undelivered(lost) if lost.peer.id == id => (lost.not_delivered.len(), lost.in_doubt.len()),
        _ => (0, 0),
    });
    counts.fold((0, 0), |sum, (not, doubt)| (sum.0 + not as u64, sum.1 + doubt as u64))
}

/// The dials of `from` to `to` since `since`.
pub(crate) fn dials(world: &World, from: HostId, to: SocketAddr, since: Instant) -> Vec<Instant> {
    let these = world.net().dials().iter().filter(|dial| dial.from == from && dial.to == to && dial.at >= since);
    these.map(|dial| dial.at).collect()
}

/// What a member says that takes this run for connected.
pub(crate) fn hearsay(run: Run, address: SocketAddr) -> [Frame; 2] {
    let entries = vec![Entry { run, addresses: vec![address] }];
    [
        Frame::List(List { buckets: u16::MAX, reply: true, entries: entries.clone() }),
        Frame::Announce(Announce { entries }),
    ]
}

/// A member that is up at each of `hosts`, on the link of the same place.
pub(crate) fn member(world: &mut World, hosts: &[HostId]) -> HostId {
    let puppet = world.add_puppet("10.0.9.1", Script::default());
    for &host in hosts {
        let address = world.host(host).addr();
        world.puppet(puppet).dial(address);
    }
    let hosts = hosts.to_vec();
    world.expect("it is a member", secs(1), |world| hosts.iter().all(|&host| world.host(host).sees(puppet)));
    puppet
}

/// Has `puppet` say `frames` on every link that still stands.
pub(crate) fn say_to_all(world: &mut World, puppet: HostId, frames: &[Frame]) {
    for (link, state) in world.host(puppet).puppet_links().into_iter().enumerate() {
        for frame in frames.iter().filter(|_| state == PuppetState::Up) {
            world.puppet(puppet).send_on(link, frame.clone());
        }
    }
}

/// The tombstone wins over gossip that still lists the node, and nobody dials it.
#[test]
fn s21_a_left_node_is_never_dialled_though_gossip_still_lists_it() {
    for seed in SEEDS {
        let count = 2 + seed as usize % 4;
        let (mut world, hosts) = mesh(seed, count);
        let leaver = hosts[world.draw(count as u64) as usize];
        let rest = without(&hosts, leaver);
        let liar = member(&mut world, &hosts);
        let (run, address) = (world.host(leaver).run(), world.host(leaver).addr());
        let earlier = Run { incarnation: Incarnation(run.incarnation.0 - 1), ..run };
        let frames: Vec<Frame> = [run, earlier].into_iter().flat_map(|run| hearsay(run, address)).collect();
        let begin = world.now();
        world.node(leaver).leave(secs(5));
        // Some of it is heard before the goodbye is.
        for _ in 0..20 {
            say_to_all(&mut world, liar, &frames);
            world.run_for(Duration::from_micros(250));
        }
        world.expect("it has left", ms(100), |world| has_left(world, leaver));
        for _ in 0..120 {
            say_to_all(&mut world, liar, &frames);
            world.run_for(secs(1));
        }
        assert_eq!(left(&world, leaver).unwrap().1, 0, "seed {seed}");
        assert_eq!(world.net().dials_to(address, begin), 0, "seed {seed}");
        for &host in &rest {
            assert_eq!((world.host(host).ups(leaver), world.host(host).downs(leaver)), (1, 1), "seed {seed}: {host}");
            assert_eq!(down_reasons(&world, host, leaver), [Reason::Left], "seed {seed}: {host}");
            assert_eq!(world.host(host).core().peer(run.id), None, "seed {seed}: {host}");
            assert!(world.host(host).sees(liar), "seed {seed}: it is no offence to be late");
            assert!(rest.iter().all(|&other| other == host || world.linked(host, other)), "seed {seed}: {host}");
        }
    }
}

/// A joiner that is told of a node while that one leaves ends without it, and stops looking for it.
#[test]
fn s21_a_node_that_joins_while_another_leaves_ends_without_it() {
    let mut knew = 0;
    for seed in SEEDS {
        let (mut world, hosts) = mesh_with(seed, 3 + seed as usize % 2, &calm());
        let (leaver, run, address) = (hosts[1], world.host(hosts[1]).run(), world.host(hosts[1]).addr());
        let joiner = world.add(calm());
        let lag = Duration::from_micros(world.draw(12_000));
        let begin = world.now();
        world.node(joiner).join(hosts[0]).unwrap();
        world.run_for(lag);
        world.node(leaver).leave(secs(5));
        world.expect("it has left", ms(1_100), |world| has_left(world, leaver));
        world.expect("the others are a mesh", secs(5), World::is_complete);
        world.run_for(secs(3_600 + 60));
        let dialled = dials(&world, joiner, address, begin);
        knew += usize::from(!dialled.is_empty());
        // Who was up said goodbye to it; who was not leaves nothing but an address that others once named.
        let ups = world.host(joiner).ups(leaver);
        let bound = if ups == 1 { 1 } else { 400 };
        assert!(ups <= 1 && dialled.len() <= bound, "seed {seed}: {ups} ups, {} dials", dialled.len());
        assert_eq!(down_reasons(&world, joiner, leaver), vec![Reason::Left; ups], "seed {seed}");
        assert_eq!(world.host(joiner).core().peer(run.id), None, "seed {seed}");
        let others = without(&hosts, leaver);
        assert!(others.iter().all(|&other| dials(&world, other, address, begin).is_empty()), "seed {seed}");
        let quiet = world.now();
        world.run_for(secs(600));
        assert_eq!(world.net().dials().iter().filter(|dial| dial.at >= quiet).count(), 0, "seed {seed}");
    }
    assert!(knew >= 5, "only {knew} of the joiners heard of the leaver");
}

/// The leave is over as soon as the slowest peer has taken what was sent to it, and not before.
#[test]
fn s21_a_leave_waits_until_every_reachable_peer_has_taken_what_was_sent() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2 + seed as usize % 4);
        let (leaver, rest) = (hosts[0], without(&hosts, hosts[0]));
        let slow = rest[world.draw(rest.len() as u64) as usize];
        world.host_mut(slow).set_consuming(false);
        for &host in &rest {
            // More than a window, so that most of it waits for credit.
            for length in [64, 700_000, 100, 300_000] {
                world.node(leaver).send_numbered(host, length).unwrap();
            }
        }
        let begin = world.now();
        world.node(leaver).leave(secs(30));
        world.run_for(secs(3));
        assert!(!has_left(&world, leaver), "seed {seed}");
        for &host in &rest {
            assert!(world.linked(leaver, host), "seed {seed}: {host}");
            assert_eq!(world.host(host).numbered(leaver), if host == slow { 0 } else { 4 }, "seed {seed}: {host}");
        }
        world.host_mut(slow).set_consuming(true);
        world.expect("it has left", secs(1), |world| has_left(world, leaver));
        assert_eq!(left(&world, leaver).unwrap().1, 0, "seed {seed}: after {:?}", world.now() - begin);
        world.run_for(ms(50));
        for &host in &rest {
            assert_eq!(world.host(host).numbered(leaver), 4, "seed {seed}: {host}");
            assert_eq!(undelivered(&world, leaver, host), (0, 0), "seed {seed}: {host}");
            assert_eq!(down_reasons(&world, host, leaver), [Reason::Left], "seed {seed}: {host}");
        }
    }
}

/// The leave ends within its timeout, whoever is cut off, and says what did not get there.
#[test]
fn s21_a_leave_ends_in_time_when_a_peer_is_cut_off_and_counts_what_it_lost() {
    for seed in SEEDS {
        // The last one is longer than it takes to find the peer dead.
        for timeout in [Duration::ZERO, ms(10), secs(2), secs(60)] {
            let (mut world, hosts) = mesh(seed, 2 + seed as usize % 4);
            let (leaver, cut) = (hosts[0], hosts[1]);
            world.net_mut().cut(leaver, cut);
            for _ in 0..3 {
                world.node(leaver).send_numbered(cut, 300_000).unwrap();
            }
            let begin = world.now();
            world.node(leaver).leave(timeout);
            world.expect("it has left", secs(100), |world| has_left(world, leaver));
            let (at, lost) = left(&world, leaver).unwrap();
            let longest = timeout.min(secs(6)) + GOODBYE;
            assert!(at - begin <= longest, "seed {seed}: {:?} for {timeout:?}", at - begin);
            let (not, doubt) = undelivered(&world, leaver, cut);
            assert!(doubt >= 1, "seed {seed}: the first window was sent");
            assert_eq!((not + doubt, lost), (3, 3), "seed {seed}, {timeout:?}");
            world.run_for(secs(1));
            for &host in &hosts[2..] {
                assert_eq!(down_reasons(&world, host, leaver), [Reason::Left], "seed {seed}: {host}");
            }
            let gone = world.now();
            world.net_mut().heal_all();
            world.run_for(secs(60));
            let others = &hosts[2..];
            assert!(
                others.iter().all(|&host| dials(&world, host, world.host(leaver).addr(), gone).is_empty()),
                "seed {seed}"
            );
            assert_eq!((world.host(cut).ups(leaver), world.host(cut).downs(leaver)), (1, 1), "seed {seed}");
            assert!(world.is_mesh(&hosts[1..]), "seed {seed}");
        }
    }
}

/// What nobody can take any more is reported once, and what came before stays readable.
#[test]
fn s21_what_a_leave_cannot_deliver_is_reported_and_what_arrived_stays_readable() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2 + seed as usize % 3);
        let (leaver, slow) = (hosts[0], hosts[1]);
        world.host_mut(slow).set_consuming(false);
        for _ in 0..6 {
            world.node(leaver).send_numbered(slow, 100_000).unwrap();
        }
        world.run_for(ms(100));
        world.host_mut(slow).consume(1);
        let begin = world.now();
        world.node(leaver).leave(secs(1));
        world.expect("it has left", secs(2), |world| has_left(world, leaver));
        let (at, lost) = left(&world, leaver).unwrap();
        assert!(at - begin >= secs(1) && at - begin <= secs(1) + ms(100), "seed {seed}: {:?}", at - begin);
        let (not, doubt) = undelivered(&world, leaver, slow);
        assert_eq!((not + doubt, lost), (5, 5), "seed {seed}");
        let reports = |event: &Event| matches!(event, Event::Undelivered(_));
        assert_eq!(world.host(leaver).count_events(reports), 1, "seed {seed}");
        world.run_for(ms(100));
        let id = world.host(leaver).id();
        let gone = |event: &Event| matches!(event, Event::PeerGone { peer } if peer.id == id);
        assert_eq!(world.host(slow).count_events(gone), 1, "seed {seed}");
        // One was taken before the leave; the window held two or three in all.
        assert_eq!(world.host(slow).numbered(leaver), 1, "seed {seed}");
        world.host_mut(slow).set_consuming(true);
        let taken = world.host(slow).numbered(leaver);
        assert!(taken >= 2 && taken <= 1 + doubt, "seed {seed}: {taken} taken, {not} certainly not delivered");
    }
}

/// A node that has left is welcome again at once, as a later run.
#[test]
fn s22_a_node_that_left_comes_back_at_once_as_a_later_run() {
    for seed in SEEDS {
        let count = 2 + seed as usize % 4;
        let (mut world, hosts) = mesh(seed, count);
        let node = hosts[world.draw(count as u64) as usize];
        let rest = without(&hosts, node);
        let old = world.host(node).run();
        world.node(node).leave(secs(5));
        world.expect("it has left", ms(1_100), |world| has_left(world, node));
        let pause = if seed % 2 == 0 { Duration::ZERO } else { ms(world.draw(3_000)) };
        world.run_for(pause);
        world.host_mut(node).restart(Restart::default());
        let new = world.host(node).run();
        assert!(new.id == old.id && new.incarnation > old.incarnation, "seed {seed}");
        let through = rest[world.draw(rest.len() as u64) as usize];
        if seed % 3 == 0 {
            // Those who buried its last run must dial the new one themselves, by what they are told.
            for host in without(&rest, through) {
                world.net_mut().block_dials(node, host, Block::Refuse);
            }
        }
        world.node(node).join(through).unwrap();
        world.expect("it is back", secs(if seed % 3 == 0 { 5 } else { 2 }), World::is_complete);
        world.settle();
        assert!(world.is_complete(), "seed {seed}");
        for &host in &rest {
            let ups =
                |run| world.host(host).count_events(|event| matches!(event, Event::PeerUp(info) if info.run == run));
            assert_eq!((ups(old), ups(new)), (1, 1), "seed {seed}: {host}");
            assert_eq!(down_reasons(&world, host, node), [Reason::Left], "seed {seed}: {host}");
            world.node(host).send_numbered(node, 1_000).unwrap();
            world.node(node).send_numbered(host, 1_000).unwrap();
        }
        world.run_for(ms(100));
        assert!(rest.iter().all(|&host| world.host(host).numbered(node) == 1 && world.host(node).numbered(host) == 1));
    }
}

/// Nor does a clock that was set back, or an incarnation that is used again, make it wait.
#[test]
fn s22_a_node_that_left_comes_back_though_its_clock_went_back() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2 + seed as usize % 3);
        let node = hosts[1];
        let old = world.host(node).run();
        world.run_for(secs(10));
        world.node(node).leave(secs(5));
        world.expect("it has left", ms(1_100), |world| has_left(world, node));
        let back = world.draw(3) * 1_000_000;
        world.host_mut(node).restart(Restart::default().incarnation(old.incarnation.0 - back));
        world.node(node).join(hosts[0]).unwrap();
        world.expect("it is back", secs(2), World::is_complete);
        assert!(world.host(node).run().incarnation > old.incarnation, "seed {seed}");
        let up = |event: &Event| matches!(event, Event::PeerUp(info) if info.run == old);
        assert!(without(&hosts, node).iter().all(|&host| world.host(host).count_events(up) == 1), "seed {seed}");
    }
}

/// A node that is leaving opens nothing new, whatever names, lists and timers say, and answers `Leaving`.
#[test]
fn s24_a_leaving_node_opens_nothing_new_and_says_that_it_leaves() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 4 + seed as usize % 2);
        let (leaver, slow, dead, lost) = (hosts[0], hosts[1], hosts[2], hosts[3]);
        let (stranger, other) = (world.add(config()), world.add(config()));
        let liar = member(&mut world, &[leaver]);
        let target = world.host(stranger).addr();
        world.net_mut().set_name("stranger.example", &[&target.ip().to_string()]);
        world.host_mut(dead).crash(Crash::Kill);
        world.expect("the loss is noticed", ms(100), |world| world.host(leaver).downs(dead) == 1);
        world.host_mut(slow).set_consuming(false);
        world.node(leaver).send_numbered(slow, 100).unwrap();
        // The name is being looked up, and the dial to the other one is under way, when the leave begins.
        world.node(leaver).join("stranger.example:7000").unwrap();
        world.node(leaver).join(other).unwrap();
        world.node(leaver).add_seed("stranger.example:7000").unwrap();
        let begin = world.now();
        world.node(leaver).leave(secs(60));
        let before = world.net().dials().len();
        let failed = |event: &Event| matches!(event, Event::JoinFailed { error: JoinError::Leaving, .. });
        assert_eq!(world.host(leaver).count_events(failed), 2, "seed {seed}");
        for frame in hearsay(world.host(stranger).run(), world.host(stranger).addr()) {
            world.puppet(liar).send(frame);
        }
        world.host_mut(dead).restart(Restart::default());
        // One that has just lost the leaver looks for it, is told, and looks no more.
        world.net_mut().reset_connections(leaver, lost);
        world.run_for(secs(10));
        assert_eq!(down_reasons(&world, lost, leaver), [Reason::Reset], "seed {seed}");
        assert_eq!(world.host(lost).core().peer(world.host(leaver).id()), None, "seed {seed}");
        assert_eq!(dials(&world, lost, world.host(leaver).addr(), begin).len(), 1, "seed {seed}");

        let mut node = world.node(leaver);
        assert_eq!(node.join(stranger), Err(JoinError::Leaving), "seed {seed}");
        assert_eq!(node.add_seed(stranger), Err(JoinError::Leaving), "seed {seed}");
        let to = node.peers()[0].run.id;
        assert_eq!(node.send(to, "late").unwrap_err().kind, SendErrorKind::Leaving, "seed {seed}");
        assert_eq!(node.broadcast("late").unwrap_err().kind, SendErrorKind::Leaving, "seed {seed}");

        world.node(stranger).join(leaver).unwrap();
        world.run_for(secs(10));
        let told = JoinError::Failed(Reason::Rejected(RejectCode::Leaving));
        let refused = |event: &Event| matches!(event, Event::JoinFailed { error, .. } if *error == told);
        assert_eq!(world.host(stranger).count_events(refused), 1, "seed {seed}: {:?}", world.host(stranger).events());
        assert_eq!(dials(&world, stranger, world.host(leaver).addr(), begin).len(), 1, "seed {seed}: it was told");
        assert_eq!(world.host(stranger).ups(leaver) + world.host(leaver).ups(stranger), 0, "seed {seed}");
        let (again, address) = (world.add_puppet("10.0.9.2", Script::default()), world.host(leaver).addr());
        world.puppet(again).dial(address);
        world.run_for(ms(50));
        let is_told = |frame: &Frame| matches!(frame, Frame::Reject(reject) if reject.code == RejectCode::Leaving);
        assert!(world.host(again).heard().iter().any(|heard| is_told(&heard.frame)), "seed {seed}");

        assert!(!has_left(&world, leaver) && world.linked(leaver, slow), "seed {seed}");
        world.host_mut(slow).set_consuming(true);
        world.expect("it has left", secs(1), |world| has_left(world, leaver));
        let opened: Vec<_> = world.net().dials()[before..].iter().filter(|dial| dial.from == leaver).collect();
        assert!(opened.is_empty(), "seed {seed}: {opened:?}");
        assert_eq!(
            (world.host(leaver).ups(stranger), world.host(leaver).ups(other), world.host(leaver).ups(dead)),
            (0, 0, 1)
        );
        assert_eq!(world.host(dead).ups(leaver), 1, "seed {seed}: only before it died");
    }
}

/// A leave that crosses a handshake, at every moment of it, ends it for both, and the other side knows why.
#[test]
fn s24_a_node_that_leaves_during_a_handshake_is_not_taken_for_lost() {
    let (mut told, mut up) = (0, 0);
    for seed in 0..120 {
        let mut world = World::new(seed);
        let (a, b) = (world.add(config()), world.add(config()));
        let (leaver, other) = if seed % 2 == 0 { (a, b) } else { (b, a) };
        world.node(a).join(b).unwrap();
        world.run_for(Duration::from_micros(seed * 90));
        let begin = world.now();
        // Only whom the leaver knows it can tell.
        let knew = world.host(leaver).links().iter().any(|link| link.peer.is_some());
        world.node(leaver).leave(secs(5));
        world.expect("it has left", ms(1_100), |world| has_left(world, leaver));
        world.run_for(secs(6));
        let quiet = world.now();
        world.run_for(secs(120));
        let ups = world.host(other).ups(leaver);
        assert_eq!(down_reasons(&world, other, leaver), vec![Reason::Left; ups], "seed {seed}");
        assert_eq!(world.host(other).core().peer(world.host(leaver).id()), None, "seed {seed}");
        assert_eq!(world.net().dials_to(world.host(leaver).addr(), quiet), 0, "seed {seed}");
        assert!(world.host(other).links().is_empty(), "seed {seed}");
        if knew {
            assert_eq!(world.net().dials_to(world.host(leaver).addr(), begin), 0, "seed {seed}: it was told");
            told += 1;
        }
        up += ups;
    }
    assert!(told >= 20 && up >= 5, "{told} were told, {up} were up");
}

/// Who is met at any step of the handshake is told that the node leaves, by the frame that fits the step.
#[test]
fn s24_whoever_is_in_the_middle_of_a_handshake_with_a_leaving_node_is_told_so() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let a = world.add(config());
        let address = world.host(a).addr();
        // One that has yet to claim, one that has yet to resume, and one that has yet to accept.
        let silent = world.add_puppet("10.0.9.1", Script { claim: None, ..Script::default() });
        let granted = world.add_puppet("10.0.9.2", Script { resume: false, ..Script::default() });
        let asked = world.add_puppet("10.0.9.3", Script { accept: false, ..Script::default() });
        world.puppet(silent).dial(address);
        world.puppet(granted).dial(address);
        world.node(a).join(asked).unwrap();
        world.run_for(ms(50));
        world.node(a).leave(secs(5));
        world.expect("it has left", ms(1_100), |world| has_left(world, a));
        world.run_for(ms(50));
        let last = |puppet| world.host(puppet).heard().last().map(|heard| heard.frame.clone());
        let rejected = matches!(last(silent), Some(Frame::Reject(reject)) if reject.code == RejectCode::Leaving);
        assert!(rejected, "seed {seed}: {:?}", world.host(silent).heard());
        for puppet in [granted, asked] {
            let closed = matches!(last(puppet), Some(Frame::Close(cluster_core::wire::Close::Leaving)));
            assert!(closed, "seed {seed}: {:?}", world.host(puppet).heard());
        }
        let told = |event: &Event| matches!(event, Event::PeerUp(_) | Event::PeerDown { .. });
        assert_eq!(world.host(a).count_events(told), 0, "seed {seed}");
    }
}

/// A dial, a redial or a gossiped dial that crosses the leave comes to nothing, and soon to rest.
#[test]
fn s24_a_leave_that_crosses_a_dial_leaves_no_link_and_no_peer() {
    for seed in 0..60 {
        let (mut world, hosts) = mesh(seed, 3);
        let [a, b, c] = hosts[..] else { unreachable!() };
        // Both dial at once after a loss, and the leave comes at any moment of that.
        world.net_mut().reset_connections(a, b);
        let lag = Duration::from_micros(world.draw(300_000));
        world.run_for(lag);
        let knew = world.host(b).sees(a);
        world.node(a).leave(secs(5));
        world.expect("it has left", ms(1_100), |world| has_left(world, a));
        world.run_for(ms(20));
        let (begin, run) = (world.now(), world.host(a).run());
        assert_eq!(down_reasons(&world, c, a), [Reason::Left], "seed {seed}");
        world.run_for(secs(300));
        assert_eq!(dials(&world, c, world.host(a).addr(), begin).len(), 0, "seed {seed}");
        assert!(
            !world.host(b).sees(a) && world.host(b).links().iter().all(|link| link.peer != Some(run)),
            "seed {seed}"
        );
        assert!(world.linked(b, c), "seed {seed}");
        if knew {
            assert_eq!(down_reasons(&world, b, a).last(), Some(&Reason::Left), "seed {seed}");
            assert_eq!(world.host(b).core().peer(run.id), None, "seed {seed}");
            assert_eq!(dials(&world, b, world.host(a).addr(), begin).len(), 0, "seed {seed}");
        } else {
            assert!(dials(&world, b, world.host(a).addr(), begin).len() < 80, "seed {seed}");
        }
    }
}

/// What is sent to a node that leaves is delivered or reported, exactly, whenever the two cross.
#[test]
fn a_leave_that_crosses_sends_loses_nothing_silently() {
    let (mut some, mut none) = (0, 0);
    for seed in 0..60 {
        let (mut world, hosts) = mesh(seed, 2 + seed as usize % 2);
        let (leaver, sender) = (hosts[0], hosts[1]);
        world.host_mut(leaver).set_consuming(seed % 3 != 0);
        let at = world.draw(30);
        let mut accepted = 0;
        for step in 0..40 {
            if step == at {
                world.node(leaver).leave(secs(5));
            }
            let length = 64 << (step % 12);
            accepted += u64::from(world.node(sender).send_numbered(leaver, length).is_ok());
            world.run_for(Duration::from_micros(300));
        }
        world.expect("it has left", ms(1_100), |world| has_left(world, leaver));
        world.expect("the sender knows", ms(50), |world| world.host(sender).downs(leaver) == 1);
        let (not, doubt) = undelivered(&world, sender, leaver);
        let before = world.host(leaver).numbered(sender);
        if seed % 3 != 0 {
            // All that was taken was taken before the goodbye, which says so.
            assert_eq!(before + not + doubt, accepted, "seed {seed}: {not} not delivered, {doubt} in doubt");
        } else {
            assert_eq!((before, not + doubt), (0, accepted), "seed {seed}");
            world.host_mut(leaver).restart(Restart::default());
        }
        some += usize::from(not + doubt > 0);
        none += usize::from(not + doubt == 0);
    }
    assert!(some >= 5, "the two never crossed: {some}, {none}");
}

/// A message that was taken is not in doubt only because its receiver left, or disconnected the sender, right after.
#[test]
fn what_was_taken_before_a_goodbye_is_acknowledged_by_it() {
    for seed in SEEDS {
        for leaves in [true, false] {
            let (mut world, a, b) = pair(seed);
            world.node(a).send_numbered(b, 100).unwrap();
            world.expect("it is taken", ms(20), |world| world.host(b).numbered(a) == 1);
            let id = world.host(a).id();
            if leaves {
                world.node(b).leave(secs(1));
            } else {
                world.node(b).disconnect(id).unwrap();
            }
            world.expect("a knows", ms(50), |world| world.host(a).downs(b) == 1);
            assert_eq!(undelivered(&world, a, b), (0, 0), "seed {seed}, leaves: {leaves}");
        }
    }
}

/// All of a mesh can leave at once, with messages under way, and nobody is kept waiting.
#[test]
fn a_whole_mesh_that_leaves_at_once_is_soon_gone() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2 + seed as usize % 4);
        for (index, &host) in hosts.iter().enumerate() {
            for &other in hosts.iter().filter(|&&other| other != host) {
                for _ in 0..3 {
                    world.node(host).send_numbered(other, 1_000 << (2 * index)).unwrap();
                }
            }
        }
        let begin = world.now();
        for &host in &hosts {
            let lag = Duration::from_micros(world.draw(if seed % 2 == 0 { 1 } else { 3_000 }));
            world.run_for(lag);
            world.node(host).leave(secs(30));
        }
        world.expect("all have left", secs(2), |world| hosts.iter().all(|&host| has_left(world, host)));
        assert_eq!(world.net().dials().iter().filter(|dial| dial.at >= begin).count(), 0, "seed {seed}");
        for &host in &hosts {
            let told: u64 = without(&hosts, host)
                .iter()
                .map(|&other| {
                    let (not, doubt) = undelivered(&world, host, other);
                    assert!(world.host(other).numbered(host) + not + doubt >= 3, "seed {seed}: {host} to {other}");
                    not + doubt
                })
                .sum();
            assert_eq!(left(&world, host).unwrap().1, told, "seed {seed}: {host}");
        }
    }
}

/// Whoever waits for room to send is told at once when the own node begins to leave, and when the peer leaves.
#[test]
fn a_sender_that_waits_for_room_is_woken_by_a_leave() {
    for seed in SEEDS {
        for own in [true, false] {
            let mut limits = Limits::default();
            limits.send_window = 64 << 10;
            let (mut world, hosts) = mesh_with(seed, 2, &config().limits(limits));
            let (a, b) = (hosts[0], hosts[1]);
            world.host_mut(b).set_consuming(false);
            world.node(a).send_numbered(b, 60_000).unwrap();
            assert_eq!(world.node(a).send_numbered(b, 60_000).unwrap_err().kind, SendErrorKind::Full, "seed {seed}");
            world.run_for(secs(1));
            assert!(world.host(a).writable().is_empty(), "seed {seed}");
            let (begin, id) = (world.now(), world.host(b).id());
            if own {
                world.node(a).leave(secs(30));
                assert_eq!(world.host(a).writable(), [(begin, id)], "seed {seed}");
                let refused = world.node(a).send(id, vec![0; 60_000]).unwrap_err();
                assert_eq!(refused.kind, SendErrorKind::Leaving, "seed {seed}");
                world.host_mut(b).set_consuming(true);
            } else {
                world.node(b).leave(secs(30));
                world.expect("it is told", ms(50), |world| !world.host(a).writable().is_empty());
                let refused = world.node(a).send(id, vec![0; 60_000]).unwrap_err();
                assert_eq!(refused.kind, SendErrorKind::NotConnected, "seed {seed}");
            }
            world.run_for(secs(5));
            assert_eq!(world.host(a).writable().len(), 1, "seed {seed}: once for each refusal");
            assert!(has_left(&world, if own { a } else { b }), "seed {seed}");
            assert_eq!(
                world.host(a).wire().frames(FrameKind::Close) + world.host(b).wire().frames(FrameKind::Close),
                1
            );
        }
    }
}
