//! Load, stalls and clocks: scenarios S37 to S43, S45, S51 and S52, large messages, and broadcasts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cluster_core::wire::Profile;
use cluster_core::{
    Action, Advertised, Channel, Config, Disconnect, Event, Frame, Incarnation, Input, Instant, Limits, LinkId, Node,
    NodeId, PeerState, Reason, Received, SendErrorKind, Start,
};
use cluster_sim::{Crash, FrameKind, HostId, Latency, Script, Spec, World};

use crate::harness::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// How often anybody was told that anybody was down.
fn all_downs(world: &World, hosts: &[HostId]) -> usize {
    let down = |event: &Event| matches!(event, Event::PeerDown { .. });
    hosts.iter().map(|&host| world.count_events(host, down)).sum()
}

/// A mesh whose nodes have configs of their own; each has joined the first.
fn mesh_of(seed: u64, configs: &[Config]) -> (World, Vec<HostId>) {
    let mut world = World::new(seed);
    let hosts: Vec<HostId> = configs.iter().map(|config| world.add(config.clone())).collect();
    for &host in &hosts[1..] {
        world.node(host).join(hosts[0]).unwrap();
    }
    world.expect("a complete mesh", secs(20), World::is_complete);
    world.settle();
    (world, hosts)
}

#[test]
fn s37_a_node_that_stood_still_accuses_nobody() {
    // The others are patient, so that whoever goes down was accused by the one that slept.
    let patient = config().peer_timeout(secs(300));
    for seed in SEEDS {
        for pause in [secs(4), secs(6), secs(60), secs(290)] {
            let (mut world, hosts) = mesh_of(seed, &[config(), patient.clone(), patient.clone(), patient.clone()]);
            let count =
                |world: &World, host| world.count_events(host, |event| !matches!(event, Event::Delivered { .. }));
            let events: Vec<usize> = hosts.iter().map(|&host| count(&world, host)).collect();
            world.pause(hosts[0]);
            world.run_for(pause);
            world.send_numbered(hosts[1], hosts[0], 100).unwrap();
            world.resume(hosts[0]);
            world.run_for(secs(60));
            assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}, {pause:?}");
            let after: Vec<usize> = hosts.iter().map(|&host| count(&world, host)).collect();
            assert_eq!(after, events, "seed {seed}, {pause:?}");
            assert_eq!(world.numbered(hosts[0], hosts[1]), 1);
            assert!(pause < secs(6) || world.node(hosts[0]).stats().own_stalls > 0);
        }
    }
}

#[test]
fn s37_who_really_died_during_the_pause_is_noticed_soon_after_it() {
    let patient = config().peer_timeout(secs(300));
    for seed in SEEDS {
        let (mut world, hosts) = mesh_of(seed, &[config(), patient.clone(), patient.clone()]);
        world.pause(hosts[0]);
        world.run_for(secs(30));
        world.crash(hosts[2], Crash::Power);
        world.run_for(secs(30));
        world.resume(hosts[0]);
        world.expect("the dead one is noticed", secs(7), |world| world.downs(hosts[0], hosts[2]) == 1);
        assert_eq!(down_reasons(&world, hosts[0], hosts[2]), [Reason::Timeout]);
        assert_eq!(world.downs(hosts[0], hosts[1]), 0);
    }
}

#[test]
fn s37_peers_that_dropped_a_node_while_it_slept_get_it_back_and_drop_nobody_else() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 5);
        let (sleeper, others) = hosts.split_first().unwrap();
        world.pause(*sleeper);
        world.run_for(secs(60));
        for &other in others {
            assert_eq!(world.downs(other, *sleeper), 1, "seed {seed}");
        }
        world.resume(*sleeper);
        world.expect("the mesh is whole", secs(31), World::is_complete);
        world.run_for(secs(30));
        assert!(world.is_complete());
        for &a in others {
            assert_eq!((world.downs(a, *sleeper), world.downs(*sleeper, a)), (1, 1), "seed {seed}");
            for &b in others.iter().filter(|&&b| b != a) {
                assert_eq!(world.downs(a, b), 0, "seed {seed}: a cascade");
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
            world.clock_back(a, back);
            world.run_for(secs(3));
            let number = world.send_numbered(a, b, 1_000).unwrap();
            world.expect("it arrives", secs(1), |world| world.numbered(b, a) == number);
            let number = world.send_numbered(c, a, 1_000).unwrap();
            world.expect("it arrives", secs(1), |world| world.numbered(a, c) == number);
            world.run_for(secs(20));
            assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}, {back:?}");
            world.clock_forward(a, back);
            world.run_for(secs(5));
            assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}, {back:?} and forth");
        }
        world.clock_stop(b, true);
        for _ in 0..20 {
            world.run_for(secs(1));
            world.send_numbered(a, b, 500).unwrap();
            world.send_numbered(b, c, 500).unwrap();
        }
        world.clock_stop(b, false);
        world.run_for(secs(20));
        assert_eq!(world.numbered(c, b), 20);
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

#[test]
fn s40_an_inbox_that_nobody_reads_keeps_every_peer_up_and_slows_only_its_senders() {
    for seed in 0..8 {
        let (mut world, hosts) = mesh(seed, 4);
        let [a, b, c, d] = hosts[..] else { unreachable!() };
        world.set_consuming(b, false);
        let mut sent = [0; 2];
        for (sender, count) in [a, c].into_iter().zip(&mut sent) {
            while let Ok(number) = world.send_numbered(sender, b, 64 * KIB) {
                *count = number;
                assert!(number <= 200, "the send window is 8 MiB");
            }
            assert!(*count >= 100, "seed {seed}: {count}");
        }
        let pings = world.wire(a).frames(FrameKind::Ping) + world.wire(b).frames(FrameKind::Ping);
        for _ in 0..60 {
            world.run_for(secs(1));
            // The others do not notice, the one that does not read can still send, and so can one with a new message.
            for (from, to) in [(a, c), (c, d), (d, a), (b, a), (b, d)] {
                let number = world.send_numbered(from, to, 10_000).unwrap();
                world.expect("it arrives", ms(100), |world| world.numbered(to, from) == number);
            }
        }
        assert_eq!(world.taken(b), 0);
        assert!(world.wire(a).frames(FrameKind::Ping) + world.wire(b).frames(FrameKind::Ping) >= pings);
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
        let full = world.send_numbered(a, b, 64 * KIB).unwrap_err();
        assert_eq!((full.kind, full.payload.len()), (SendErrorKind::Full, 64 * KIB), "the payload comes back");
        assert_eq!(world.writable(a), []);

        world.set_consuming(b, true);
        world.expect("all arrive", secs(5), |world| world.numbered(b, a) == sent[0] && world.numbered(b, c) == sent[1]);
        assert_eq!(world.writable(a).iter().map(|&(_, peer)| peer).collect::<Vec<_>>(), [world.id(b)]);
        assert!(world.send_numbered(a, b, 64 * KIB).is_ok());
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
    }
}

#[test]
fn s40_memory_is_flat_for_an_hour_in_which_nobody_reads() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 4);
        let [a, b, c, d] = hosts[..] else { unreachable!() };
        world.set_consuming(b, false);
        let mut sent = [0; 2];
        // With everything that they may send, and then as much as comes, whenever there is room.
        let fill = |world: &mut World, sent: &mut [u64; 2]| {
            for (from, count) in [a, c].into_iter().zip(sent) {
                while let Ok(number) = world.send_numbered(from, b, 64 * KIB) {
                    *count = number;
                }
            }
        };
        fill(&mut world, &mut sent);
        world.run_for(secs(60));
        let held = |world: &World| hosts.iter().map(|&host| world.core(host).memory()).collect::<Vec<_>>();
        let memory = held(&world);
        assert!(memory[1].received >= 2 * 256 << 10 && memory[1].received <= 2 * 8 << 20, "{memory:?}");
        for minute in 1..60 {
            fill(&mut world, &mut sent);
            for (from, to) in [(a, c), (c, d), (d, a), (b, a), (b, d)] {
                let number = world.send_numbered(from, to, 10_000).unwrap();
                world.expect("the others do not notice", ms(100), |world| world.numbered(to, from) == number);
            }
            world.run_for(secs(60));
            assert_eq!(held(&world), memory, "seed {seed}, minute {minute}");
            // At most three for each of its links, and a few of its own.
            assert!(hosts.iter().all(|&host| world.core(host).usage().timers <= 3 * 3 + 2), "seed {seed}");
        }
        assert_eq!((world.taken(b), all_downs(&world, &hosts)), (0, 0), "seed {seed}");
        world.set_consuming(b, true);
        world.expect("all arrive", secs(5), |world| world.numbered(b, a) == sent[0] && world.numbered(b, c) == sent[1]);
        world.run_for(secs(5));
        assert!(held(&world).iter().all(|memory| memory.received + memory.retained == 0), "{:?}", held(&world));
    }
}

/// A puppet that grants a great deal and reads nothing for now.
fn sluggard(world: &mut World, a: HostId) -> HostId {
    let profile = Profile {
        name: None,
        metadata: Bytes::new(),
        addresses: Vec::<Advertised>::new(),
        max_message: 64 << 20,
        // What a puppet grants from then on.
        window: 16 << 20,
    };
    let puppet = world.add_puppet("10.0.9.1", Script { profile: Some(profile), ..Script::default() });
    let address = world.addr(a);
    world.puppet(puppet).dial(address);
    world.expect("the puppet is up", secs(1), |world| world.sees(a, puppet));
    world.run_for(secs(3));
    world.puppet(puppet).script(|script| script.read = false);
    puppet
}

#[test]
fn s41_a_peer_that_stops_reading_is_bounded_in_bytes_and_cut_off_when_its_time_is_over() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 3);
        let [a, b, c] = hosts[..] else { unreachable!() };
        let puppet = sluggard(&mut world, a);
        let id = world.id(puppet);
        let begin = world.now();
        let mut accepted = 0;
        let refused = loop {
            match world.node(a).send(id, Bytes::from(vec![7; 100 * KIB])) {
                Ok(()) => accepted += 100 * KIB,
                Err(error) => break error,
            }
            assert!(accepted <= 8 * MIB, "the queue is not bounded");
        };
        assert_eq!((refused.kind, refused.payload.len()), (SendErrorKind::Full, 100 * KIB));
        assert!(accepted >= 7 * MIB);
        // It is alive, and says so; it only does not read.
        let mut token = 0;
        while world.sees(a, puppet) {
            assert!(world.now() - begin < secs(13), "seed {seed}: it is never cut off");
            token += 1;
            world.puppet(puppet).send(Frame::Ping { token });
            world.run_for(ms(500));
        }
        assert!(world.now() - begin >= secs(10), "seed {seed}: too soon, after {:?}", world.now() - begin);
        assert_eq!(down_reasons(&world, a, puppet), [Reason::WriteStalled]);
        assert_eq!(world.node(a).stats().write_stalls, 1);
        // The puppet does not come back in time.
        world.puppet(puppet).script(|script| script.accept = false);
        world.run_for(secs(301));
        let returned: usize = world
            .events(a)
            .iter()
            .map(|logged| match &logged.event {
                Event::Undelivered(undelivered) => undelivered.len(),
                _ => 0,
            })
            .sum();
        assert_eq!(returned, accepted / (100 * KIB), "every message has its outcome");
        assert_eq!(all_downs(&world, &[b, c]), 0);
        assert_eq!(world.downs(a, b) + world.downs(a, c), 0);
    }
}

#[test]
fn s41_control_frames_overtake_the_data_that_waits_for_a_slow_reader() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2);
        let a = hosts[0];
        let puppet = sluggard(&mut world, a);
        let id = world.id(puppet);
        for _ in 0..7 {
            world.node(a).send(id, Bytes::from(vec![7; MIB])).unwrap();
        }
        world.run_for(secs(1));
        world.puppet(puppet).send(Frame::Ping { token: 77 });
        world.run_for(secs(1));
        let before = world.heard(puppet).len();
        world.puppet(puppet).script(|script| script.read = true);
        world.expect("everything is read", secs(10), |world| world.puppet_messages(puppet).len() == 7);
        let mut read = [0, 0];
        let mut pong = 0;
        for heard in &world.heard(puppet)[before..] {
            match &heard.frame {
                Frame::Data(data) => read[pong] += data.bytes.len(),
                Frame::Pong { token: 77 } => pong = 1,
                _ => {}
            }
        }
        // At most what was pulled ahead, 1 MiB and a record, and what the two kernels held.
        assert!(pong == 1 && read[0] <= MIB + 640 * KIB && read[1] >= 5 * MIB, "seed {seed}: {read:?}");
        assert_eq!(world.downs(a, puppet), 0);
    }
}

#[test]
fn s41_a_node_that_reads_slowly_is_not_cut_off() {
    for seed in 0..8 {
        let (mut world, a, b) = pair(seed);
        let hosts = [a, b];
        world.set_reading(b, false);
        let mut sent = 0;
        while let Ok(number) = world.send_numbered(a, b, 64 * KIB) {
            sent = number;
        }
        for _ in 0..160 {
            world.read(b, 10_000);
            world.run_for(ms(250));
        }
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
        assert!(world.numbered(b, a) > 0 && world.numbered(b, a) < sent, "seed {seed}: slow, not stopped");
        world.set_reading(b, true);
        world.expect("all arrive", secs(5), |world| world.numbered(b, a) == sent);
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
    }
}

#[test]
fn s42_heartbeats_go_between_the_chunks_of_a_large_message() {
    let large = limits(|limits| {
        limits.max_message = 64 << 20;
        limits.recv_budget = 512 << 20;
    });
    for seed in 0..3 {
        let (mut world, hosts) = mesh_of(seed, &[config().limits(large.clone()), config().limits(large.clone())]);
        let (a, b) = (hosts[0], hosts[1]);
        // 256 KiB on their way, for 0.2 s there and back: about 1.3 MB/s.
        world.set_latency(Latency::Uniform { base: ms(100), jitter: ms(1) });
        let pings = world.wire(a).frames(FrameKind::Ping);
        let begin = world.now();
        world.send_numbered(a, b, 20 * MIB).unwrap();
        world.expect("it arrives", secs(60), |world| world.numbered(b, a) == 1);
        assert!(world.now() - begin > secs(8), "seed {seed}: so fast that it shows nothing");
        assert!(world.wire(a).frames(FrameKind::Ping) > pings + 3, "seed {seed}");
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
    }
}

#[test]
fn s42_a_message_of_64_mib_is_taken_whole() {
    let large = limits(|limits| {
        limits.max_message = 64 << 20;
        limits.recv_budget = 512 << 20;
    });
    let mut world = World::new(1);
    world.set_chunked(false);
    let hosts = [(); 2].map(|()| world.add(config().limits(large.clone())));
    world.node(hosts[1]).join(hosts[0]).unwrap();
    world.expect("they are linked", secs(1), World::is_complete);
    world.send_numbered(hosts[0], hosts[1], 64 * MIB).unwrap();
    world.expect("it arrives", secs(30), |world| world.numbered(hosts[1], hosts[0]) == 1);
    assert_eq!(all_downs(&world, &hosts), 0);
}

#[test]
fn s51_nodes_with_unequal_heartbeats_stay_together_and_each_pings_by_its_own_clock() {
    let slow = config().heartbeat(secs(30)).peer_timeout(secs(120));
    for seed in SEEDS {
        let (mut world, hosts) = mesh_of(seed, &[config(), slow.clone(), config().go(), config().local()]);
        let events: usize = hosts.iter().map(|&host| world.events(host).len()).sum();
        world.run_for(secs(600));
        assert!(world.is_complete(), "seed {seed}");
        assert_eq!(hosts.iter().map(|&host| world.events(host).len()).sum::<usize>(), events, "seed {seed}");
        // The local one pings three peers that are silent after 0.2 s each, and so keeps them from pinging it.
        let pings = hosts.iter().map(|&host| world.wire(host).frames(FrameKind::Ping)).collect::<Vec<_>>();
        assert!(pings[3] >= 3 * 600 && pings[0] >= 600 && pings[1] <= 100 && pings[2] <= 100, "seed {seed}: {pings:?}");

        // The quick one notices a death by its own timeout, not by the slow one's.
        world.crash(hosts[1], Crash::Power);
        world.expect("it is noticed", secs(7), |world| world.downs(hosts[0], hosts[1]) == 1);
        assert_eq!(world.downs(hosts[3], hosts[1]), 1);
        assert_eq!(world.downs(hosts[2], hosts[1]), 0, "a minute of silence is nothing to it");
    }
}

/// The length of messages at every edge there is between two nodes of default settings.
fn edges(window: usize) -> Vec<usize> {
    let mut lengths = vec![0, 1, 23, 24, 255, 256, 65_535, 65_536];
    for edge in [65_519 - 14, 65_519, window - 5, window, 2 * window, 2 * window - 5] {
        lengths.extend([edge - 1, edge, edge + 1]);
    }
    lengths
}

#[test]
fn messages_of_every_length_at_an_edge_arrive_whole_and_in_order() {
    for seed in 0..4 {
        let (mut world, a, b) = pair(seed);
        let mut lengths = edges(256 * KIB);
        lengths.extend([16 * MIB - 1, 16 * MIB, 0, 1]);
        let id = world.id(b);
        for (index, &length) in lengths.iter().enumerate() {
            let payload = Bytes::from(vec![index as u8; length]);
            // Half of them one by one, half of them as close together as the send window lets them be.
            if index % 2 == 0 {
                world.expect("those before are taken", secs(5), |world| world.messages(b).len() == index);
            }
            let mut tries = 0;
            while let Err(error) = world.node(a).send(id, payload.clone()) {
                tries += 1;
                assert!(error.kind == SendErrorKind::Full && tries < 1_000, "seed {seed}: {error}");
                world.run_for(ms(5));
            }
        }
        world.expect("the last one is taken", secs(5), |world| world.messages(b).len() == lengths.len());
        for (index, (taken, &length)) in world.messages(b).iter().zip(&lengths).enumerate() {
            assert_eq!((taken.payload.len(), taken.payload.iter().all(|&byte| byte == index as u8)), (length, true));
        }
        assert_eq!(all_downs(&world, &[a, b]), 0, "seed {seed}");
    }
}

#[test]
fn a_message_beyond_the_cap_of_either_side_is_refused_with_both_numbers_and_no_harm() {
    let small = config().limits(limits(|limits| limits.max_message = 1_000));
    for seed in SEEDS {
        let (mut world, hosts) = mesh_of(seed, &[config(), config(), small.clone()]);
        let [a, b, c] = hosts[..] else { unreachable!() };
        for (from, to, length, cap) in [(a, b, 16 * MIB + 1, 16 * MIB), (a, c, 1_001, 1_000), (c, a, 1_001, 1_000)] {
            let id = world.id(to);
            let error = world.node(from).send(id, Bytes::from(vec![0; length])).unwrap_err();
            assert_eq!(error.kind, SendErrorKind::TooLarge { length: length as u64, cap: cap as u64 });
            assert_eq!(error.payload.len(), length, "the payload comes back");
            let text = error.to_string();
            assert!(text.contains(&length.to_string()) && text.contains(&cap.to_string()), "{text}");
        }
        let id = world.id(c);
        world.node(a).send(id, Bytes::from(vec![0; 1_000])).unwrap();
        world.expect("at the cap it arrives", secs(1), |world| world.messages(c).len() == 1);
        assert_eq!(all_downs(&world, &hosts), 0);
    }
}

#[test]
fn many_large_messages_at_once_all_arrive_at_a_receiver_with_a_small_budget() {
    let receiver = limits(|limits| {
        limits.max_peers = 16;
        limits.initial_window = 4 << 10;
        limits.recv_window = 64 << 10;
        limits.max_message = 1 << 20;
        limits.recv_budget = 16 * (4 << 10) + 2 * ((1 << 20) + 9);
    });
    for seed in 0..6 {
        let mut configs = vec![config().limits(receiver.clone())];
        configs.resize(10, config());
        let (mut world, hosts) = mesh_of(seed, &configs);
        let (to, senders) = hosts.split_first().unwrap();
        for round in 1..=3 {
            for &from in senders {
                let length = MIB - world.draw(200_000) as usize * usize::from(round > 1);
                world.send_numbered(from, *to, length).unwrap();
            }
        }
        let done = |world: &World| senders.iter().all(|&from| world.numbered(*to, from) == 3);
        world.expect("all arrive", secs(60), done);
        assert!(world.node(*to).stats().recv_budget_limit > 0, "seed {seed}");
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
    }
}

#[test]
fn fifty_peers_that_send_four_mebibytes_at_once_finish_where_sixteen_are_reserved() {
    let receiver = limits(|limits| {
        limits.max_peers = 64;
        (limits.initial_window, limits.recv_window) = (16 << 10, 16 << 10);
        limits.max_message = 4 << 20;
        limits.recv_budget = 64 * (16 << 10) + 2 * (16 << 20);
    });
    for seed in 0..2 {
        let mut configs = vec![config().limits(receiver.clone())];
        configs.resize(51, config());
        let (mut world, hosts) = mesh_of(seed, &configs);
        let (to, senders) = hosts.split_first().unwrap();
        for &from in senders {
            world.send_numbered(from, *to, 4 * MIB).unwrap();
        }
        world.run_for(ms(5));
        assert!(world.node(*to).stats().recv_budget_limit >= 46, "seed {seed}: at most four at a time");
        let done = |world: &World| senders.iter().all(|&from| world.numbered(*to, from) == 1);
        world.expect("all finish", secs(60), done);
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
        assert_eq!(world.core(*to).memory().received, 0, "seed {seed}");
    }
}

#[test]
fn a_slow_consumer_slows_only_its_own_pair() {
    for seed in 0..6 {
        let (mut world, hosts) = mesh(seed, 4);
        let [a, slow, c, d] = hosts[..] else { unreachable!() };
        world.set_consuming(slow, false);
        let mut accepted = 0;
        for round in 0..200 {
            if world.send_numbered(a, slow, 100 * KIB).is_ok() {
                accepted += 1;
            }
            let sent = [world.send_numbered(a, c, 100 * KIB), world.send_numbered(a, d, 100 * KIB)];
            let [Ok(to_c), Ok(to_d)] = sent else { panic!("seed {seed}: {sent:?}") };
            let arrived = |world: &World| world.numbered(c, a) == to_c && world.numbered(d, a) == to_d;
            world.expect("the quick ones are served", ms(100), arrived);
            if round % 10 == 0 {
                world.consume(slow, 1);
            }
        }
        assert!(accepted < 110, "seed {seed}: {accepted}");
        assert_eq!(all_downs(&world, &hosts), 0);
        world.set_consuming(slow, true);
        world.expect("all that was accepted arrives", secs(5), |world| world.numbered(slow, a) == accepted);
    }
}

#[test]
fn a_broadcast_says_who_gets_it_and_who_does_not_and_why() {
    let small = config().limits(limits(|limits| limits.max_message = 1_000));
    for seed in SEEDS {
        let (mut world, hosts) = mesh_of(seed, &[config(), config(), config(), small.clone(), config()]);
        let [a, quick, stuck, tiny, gone] = hosts[..] else { unreachable!() };
        world.crash(gone, Crash::Kill);
        world.expect("it is noticed", secs(1), |world| world.downs(a, gone) == 1);
        world.set_consuming(stuck, false);
        for length in [64 * KIB, KIB, 64] {
            while world.send_numbered(a, stuck, length).is_ok() {}
        }
        world.run_for(secs(1));
        let ids = [quick, stuck, tiny].map(|host| world.id(host));

        let report = world.node(a).broadcast(vec![1; 1_001]).unwrap();
        assert!(!report.is_complete());
        // Who is lost may be back in time.
        let queued: BTreeSet<NodeId> = report.queued.into_iter().collect();
        assert_eq!(queued, [ids[0], world.id(gone)].into(), "seed {seed}");
        let refused: BTreeMap<NodeId, SendErrorKind> = report.refused.into_iter().collect();
        let expected = [(ids[1], SendErrorKind::Full), (ids[2], SendErrorKind::TooLarge { length: 1_001, cap: 1_000 })];
        assert_eq!(refused, expected.into(), "seed {seed}");
        let error = world.node(a).broadcast(vec![1; 16 * MIB + 1]).unwrap_err();
        let cap = 16 << 20;
        assert_eq!(error.kind, SendErrorKind::TooLarge { length: cap + 1, cap });
        world.expect("who is queued gets it", secs(1), |world| world.messages(quick).len() == 1);
        assert_eq!(world.messages(tiny).len(), 0);
        assert_eq!(all_downs(&world, &[quick, stuck, tiny]), 3, "only the one that died");
    }
}

/// A node and its links, driven through memory by a loop that calls back into the node for every event.
struct Host {
    address: SocketAddr,
    node: Node,
    links: BTreeMap<LinkId, (Channel, usize, LinkId)>,
    taken: Vec<Bytes>,
    events: Vec<Event>,
    awake: bool,
}

struct Bench {
    hosts: Vec<Host>,
    now: Instant,
}

impl Bench {
    fn new(count: u8) -> Bench {
        let host = |number: u8| {
            let address = SocketAddr::from(([127, 0, 0, number], 7_000));
            let start = Start { seed: [number; 32], incarnation: Incarnation(1), listen: Some(address) };
            let node = Node::new(Config::insecure_plaintext(), start, Instant::ZERO).unwrap();
            Host { address, node, links: BTreeMap::new(), taken: Vec::new(), events: Vec::new(), awake: true }
        };
        Bench { hosts: (1..=count).map(host).collect(), now: Instant::ZERO }
    }

    /// One millisecond. `callback` is called for each event while later actions still wait in the queue.
    fn step(&mut self, callback: &mut impl FnMut(&mut Node, Instant, &Event)) {
        self.now = self.now + ms(1);
        for here in 0..self.hosts.len() {
            self.hosts[here].node.handle(self.now, Input::Tick);
            while self.hosts[here].awake
                && let Some(action) = self.hosts[here].node.poll_action()
            {
                self.act(here, action, callback);
            }
            self.carry(here);
        }
    }

    fn act(&mut self, here: usize, action: Action, callback: &mut impl FnMut(&mut Node, Instant, &Event)) {
        let now = self.now;
        match action {
            Action::Dial { link, address } => {
                let Some(there) = self.hosts.iter().position(|host| host.address == address) else {
                    let cause = Disconnect::Refused;
                    return self.hosts[here].node.handle(now, Input::Disconnected { link, cause });
                };
                let from = self.hosts[here].address;
                let other = self.hosts[there].node.accept(now, from).unwrap();
                let ours = self.hosts[here].node.channel(link).unwrap();
                let theirs = self.hosts[there].node.channel(other).unwrap();
                self.hosts[here].links.insert(link, (ours, there, other));
                self.hosts[there].links.insert(other, (theirs, here, link));
            }
            Action::Send { link } => {
                let Host { node, links, .. } = &mut self.hosts[here];
                if let Some((channel, ..)) = links.get_mut(&link) {
                    while let Some(frame) = node.poll_frame(link) {
                        channel.send(frame);
                    }
                }
            }
            Action::Close { link, .. } => {
                self.carry(here);
                if let Some((_, there, other)) = self.hosts[here].links.remove(&link) {
                    if self.hosts[there].links.remove(&other).is_some() {
                        let cause = Disconnect::Ended;
                        self.hosts[there].node.handle(now, Input::Disconnected { link: other, cause });
                    }
                    self.hosts[here].node.handle(now, Input::Disconnected { link, cause: Disconnect::Closed });
                }
            }
            Action::Deliver => {
                let Host { node, taken, .. } = &mut self.hosts[here];
                while let Some(message) = node.poll_message(now) {
                    taken.push(message.payload);
                }
            }
            Action::Event(event) => {
                callback(&mut self.hosts[here].node, now, &event);
                self.hosts[here].events.push(event);
            }
            _ => {}
        }
    }

    fn carry(&mut self, here: usize) {
        let links: Vec<LinkId> = self.hosts[here].links.keys().copied().collect();
        for link in links {
            let Some((channel, there, other)) = self.hosts[here].links.get_mut(&link) else { continue };
            let (there, other) = (*there, *other);
            let bytes = channel.output().pieces().collect::<Vec<_>>().concat();
            channel.output().advance(bytes.len());
            let local = self.hosts[there].address;
            let Host { node, links, .. } = &mut self.hosts[there];
            let Some((channel, ..)) = links.get_mut(&other) else { continue };
            channel.receive(Bytes::from(bytes));
            while let Some(received) = channel.poll().unwrap() {
                let input = match received {
                    Received::Connected(proven) => Input::Connected { link: other, proven, local },
                    Received::Frame(frame) => Input::Frame { link: other, frame },
                };
                node.handle(self.now, input);
            }
        }
    }

    fn run(&mut self, steps: usize, mut callback: impl FnMut(&mut Node, Instant, &Event)) {
        for _ in 0..steps {
            self.step(&mut callback);
        }
    }
}

fn up_ids(node: &Node) -> Vec<NodeId> {
    node.peers().filter(|peer| peer.state == PeerState::Up).map(|peer| peer.run.id).collect()
}

#[test]
fn s52_whoever_handles_an_event_may_call_the_node_back() {
    let mut bench = Bench::new(4);
    let seed = bench.hosts[0].address;
    for host in &mut bench.hosts[1..] {
        host.node.join(Instant::ZERO, seed.into()).unwrap();
    }
    let mut refused = 0;
    bench.run(4_000, |node, now, event| match event {
        Event::PeerUp(peer) => {
            // The node already knows what it tells, and takes any call there is.
            assert!(up_ids(node).contains(&peer.run.id));
            node.send(now, peer.run.id, Bytes::from("hello")).unwrap();
            assert!(node.broadcast(now, Bytes::from("all")).unwrap().queued.contains(&peer.run.id));
            node.join(now, peer.address.unwrap().into()).unwrap();
            let config = node.config().clone().metadata(vec![up_ids(node).len() as u8]);
            node.set_config(now, config).unwrap();
            node.add_seed(now, seed.into()).unwrap();
            node.handle(now, Input::Tick);
            let _ = (node.stats(), node.next_tick(), node.poll_message(now));
        }
        Event::JoinFailed { .. } => refused += 1,
        _ => {}
    });
    assert_eq!(refused, 0);
    for host in &bench.hosts {
        assert_eq!(up_ids(&host.node).len(), 3);
        let hellos = host.taken.iter().filter(|payload| **payload == "hello").count();
        assert!(hellos <= 3 && host.taken.iter().filter(|payload| **payload == "all").count() >= 3);
        let joined = |event: &&Event| matches!(event, Event::Joined { .. });
        assert!(host.events.iter().filter(joined).count() >= 3, "a join in a handler has its outcome");
    }

    // Handlers that undo what they are told.
    let victim = bench.hosts[3].node.run().id;
    bench.hosts[0].node.disconnect(bench.now, victim).unwrap();
    bench.run(2_000, |node, now, event| {
        if let Event::PeerDown { peer, .. } = event {
            assert!(!up_ids(node).contains(&peer.id));
            assert!(node.send(now, peer.id, Bytes::from("too late")).is_err());
            let _ = node.disconnect(now, peer.id);
            node.leave(now, secs(1));
            node.leave(now, Duration::ZERO);
        }
    });
    let left = |host: &&Host| host.node.has_left();
    assert!(bench.hosts.iter().filter(left).count() >= 2);
}

#[test]
fn s52_events_that_wait_for_a_slow_reader_come_in_order_and_end_at_the_truth() {
    let mut bench = Bench::new(3);
    let seed = bench.hosts[0].address;
    for host in &mut bench.hosts[1..] {
        host.node.join(Instant::ZERO, seed.into()).unwrap();
    }
    bench.run(4_000, |_, _, _| {});
    assert!(bench.hosts.iter().all(|host| up_ids(&host.node).len() == 2));
    // Nobody takes what the first node wants for a while; the second one leaves meanwhile.
    bench.hosts[0].awake = false;
    let before = bench.hosts[0].events.len();
    let leaver = bench.hosts[1].node.run();
    let now = bench.now;
    bench.hosts[1].node.leave(now, secs(1));
    bench.run(3_000, |_, _, _| {});
    assert!(!up_ids(&bench.hosts[0].node).contains(&leaver.id), "the snapshot is true at once");
    bench.hosts[0].awake = true;
    bench.run(10, |_, _, _| {});
    let late = &bench.hosts[0].events[before..];
    let down = late.iter().position(|event| matches!(event, Event::PeerDown { peer, .. } if *peer == leaver));
    let gone = late.iter().position(|event| matches!(event, Event::PeerGone { peer } if *peer == leaver));
    assert!(down.is_some() && down < gone, "{late:?}");
}

/// A core has no wall clock. Its incarnation comes from one, and nothing else follows from what that shows.
#[test]
fn s38_nothing_depends_on_the_wall_clock() {
    const DAY: u64 = 86_400_000_000;
    const NOW: u64 = 1_700_000_000_000_000;
    let history = |seed: u64, clock: u64| {
        let mut world = World::new(seed);
        world.set_chunked(false);
        let hosts: Vec<HostId> =
            [NOW, clock, NOW].map(|clock| world.add(Spec::new(config()).incarnation(clock))).into();
        for &host in &hosts[1..] {
            world.node(host).join(hosts[0]).unwrap();
        }
        world.run_for(secs(10));
        world.cut(hosts[0], hosts[1]);
        world.run_for(secs(20));
        world.heal_all();
        world.run_for(secs(60));
        world.crash(hosts[2], Crash::Kill);
        world.run_for(secs(20));
        assert!(world.linked(hosts[0], hosts[1]), "seed {seed}");
        let events = hosts.iter().flat_map(|&host| world.events(host)).map(|logged| {
            let kind = format!("{:?}", logged.event);
            (logged.at, kind.split('(').next().unwrap_or_default().split(' ').next().unwrap_or_default().to_owned())
        });
        let dials = world.dials().iter().map(|dial| (dial.at, format!("{} dials {}", dial.from, dial.to)));
        events.chain(dials).collect::<Vec<_>>()
    };
    for seed in SEEDS {
        let expected = history(seed, NOW);
        for clock in [NOW - DAY, NOW + DAY] {
            assert_eq!(history(seed, clock), expected, "seed {seed}");
        }
    }
}

/// Everyone has lost one node, and it returns.
#[test]
fn s43_those_who_have_all_lost_one_node_do_not_come_back_to_it_all_at_once() {
    for seed in 0..4 {
        let mut world = World::new(seed);
        // Heartbeats are most of what happens here, and are of no interest.
        let calm = config().heartbeat(secs(10)).peer_timeout(secs(30));
        let hosts = world.add_many(40, &calm.seed("10.0.0.1:7000".parse().unwrap()));
        world.converge(&hosts);
        world.settle();
        let (lost, others) = hosts.split_last().unwrap();
        world.isolate(*lost);
        world.run_for(secs(180));
        assert!(others.iter().all(|&other| world.downs(other, *lost) == 1));
        world.heal_all();
        let begin = world.now();
        let address = world.addr(*lost);
        world.converge(&hosts);
        let mut seconds = BTreeMap::<u64, usize>::new();
        for dial in world.dials().iter().filter(|dial| dial.at >= begin && dial.to == address) {
            *seconds.entry((dial.at - begin).as_secs()).or_default() += 1;
        }
        let most = seconds.values().copied().max().unwrap_or(0);
        assert!(most <= 12, "seed {seed}: {most} of 39 within a second: {seconds:?}");
        for &other in others {
            assert!(world.dials_to(address, begin) <= 80 && world.linked(other, *lost));
        }
    }
}

/// The heartbeats of very many peers, all connected at the same moment.
#[test]
fn s45_heartbeats_of_many_peers_do_not_come_in_one_burst() {
    const PEERS: usize = 400;
    let mut world = World::new(45);
    world.keep_lines(50);
    let a = world.add(config());
    let address = world.addr(a);
    for number in 0..PEERS {
        let script = Script { keep: false, ..Script::default() };
        let ip = format!("10.8.{}.{}", number / 250, number % 250 + 1);
        let puppet = world.add_puppet(&ip, script);
        world.puppet(puppet).dial(address);
        if number % 40 == 39 {
            // Not more than strangers may have pending at a time.
            world.run_for(ms(10));
        }
    }
    world.expect("all are members", secs(1), |world| world.core(a).peers().count() == PEERS);
    world.run_for(secs(30));
    let mut bursts = Vec::new();
    let mut before = world.wire(a).frames(FrameKind::Ping);
    for _ in 0..100 {
        world.run_for(ms(50));
        let now = world.wire(a).frames(FrameKind::Ping);
        bursts.push(now - before);
        before = now;
    }
    let total: u64 = bursts.iter().sum();
    assert!((5 * PEERS as u64..=7 * PEERS as u64).contains(&total), "{total} pings in five seconds");
    let most = bursts.iter().copied().max().unwrap_or(0);
    assert!(most <= PEERS as u64 / 8, "{most} pings within 50 ms: {bursts:?}");
}
