//! Load and slow readers: scenarios S40 to S43, S45, S51 and S52.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cluster_core::wire::Profile;
use cluster_core::{
    Action, Advertised, Channel, Config, Disconnect, Event, Frame, Incarnation, Input, Instant, Limits, LinkId, Node,
    NodeId, PeerState, Reason, SendErrorKind, Start,
};
use cluster_sim::{Crash, FrameKind, HostId, Latency, Script, World};

use crate::harness::*;

pub(crate) const KIB: usize = 1 << 10;

pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// How often anybody was told that anybody was down.
pub(crate) fn all_downs(world: &World, hosts: &[HostId]) -> usize {
    let down = |event: &Event| matches!(event, Event::PeerDown { .. });
    hosts.iter().map(|&host| world.host(host).count_events(down)).sum()
}

/// A mesh whose nodes have configs of their own; each has joined the first.
pub(crate) fn mesh_of(seed: u64, configs: &[Config]) -> (World, Vec<HostId>) {
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
fn s40_an_inbox_that_nobody_reads_keeps_every_peer_up_and_slows_only_its_senders() {
    for seed in 0..8 {
        let (mut world, hosts) = mesh(seed, 4);
        let [a, b, c, d] = hosts[..] else { unreachable!() };
        world.host_mut(b).set_consuming(false);
        let mut sent = [0; 2];
        for (sender, count) in [a, c].into_iter().zip(&mut sent) {
            while let Ok(number) = world.node(sender).send_numbered(b, 64 * KIB) {
                *count = number;
                assert!(number <= 200, "the send window is 8 MiB");
            }
            assert!(*count >= 100, "seed {seed}: {count}");
        }
        let pings = world.host(a).wire().frames(FrameKind::Ping) + world.host(b).wire().frames(FrameKind::Ping);
        for _ in 0..60 {
            world.run_for(secs(1));
            // The others do not notice, the one that does not read can still send, and so can one with a new message.
            for (from, to) in [(a, c), (c, d), (d, a), (b, a), (b, d)] {
                let number = world.node(from).send_numbered(to, 10_000).unwrap();
                world.expect("it arrives", ms(100), |world| world.host(to).numbered(from) == number);
            }
        }
        assert_eq!(world.host(b).taken(), 0);
        assert!(world.host(a).wire().frames(FrameKind::Ping) + world.host(b).wire().frames(FrameKind::Ping) >= pings);
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
        let full = world.node(a).send_numbered(b, 64 * KIB).unwrap_err();
        assert_eq!((full.kind, full.payload.len()), (SendErrorKind::Full, 64 * KIB), "the payload comes back");
        assert_eq!(world.host(a).writable(), []);

        world.host_mut(b).set_consuming(true);
        world.expect("all arrive", secs(5), |world| {
            world.host(b).numbered(a) == sent[0] && world.host(b).numbered(c) == sent[1]
        });
        assert_eq!(world.host(a).writable().iter().map(|&(_, peer)| peer).collect::<Vec<_>>(), [world.host(b).id()]);
        assert!(world.node(a).send_numbered(b, 64 * KIB).is_ok());
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
    }
}

#[test]
fn s40_memory_is_flat_for_an_hour_in_which_nobody_reads() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 4);
        let [a, b, c, d] = hosts[..] else { unreachable!() };
        world.host_mut(b).set_consuming(false);
        let mut sent = [0; 2];
        // With everything that they may send, and then as much as comes, whenever there is room.
        let fill = |world: &mut World, sent: &mut [u64; 2]| {
            for (from, count) in [a, c].into_iter().zip(sent) {
                while let Ok(number) = world.node(from).send_numbered(b, 64 * KIB) {
                    *count = number;
                }
            }
        };
        fill(&mut world, &mut sent);
        world.run_for(secs(60));
        let held = |world: &World| hosts.iter().map(|&host| world.host(host).core().memory()).collect::<Vec<_>>();
        let memory = held(&world);
        assert!((2 * 256 * KIB as u64..=2 * 8 * MIB as u64).contains(&memory[1].received), "{memory:?}");
        for minute in 1..60 {
            fill(&mut world, &mut sent);
            for (from, to) in [(a, c), (c, d), (d, a), (b, a), (b, d)] {
                let number = world.node(from).send_numbered(to, 10_000).unwrap();
                world.expect("the others do not notice", ms(100), |world| world.host(to).numbered(from) == number);
            }
            world.run_for(secs(60));
            assert_eq!(held(&world), memory, "seed {seed}, minute {minute}");
            // At most three for each of its links, and a few of its own.
            assert!(hosts.iter().all(|&host| world.host(host).core().usage().timers <= 3 * 3 + 2), "seed {seed}");
        }
        assert_eq!((world.host(b).taken(), all_downs(&world, &hosts)), (0, 0), "seed {seed}");
        world.host_mut(b).set_consuming(true);
        world.expect("all arrive", secs(5), |world| {
            world.host(b).numbered(a) == sent[0] && world.host(b).numbered(c) == sent[1]
        });
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
    let address = world.host(a).addr();
    world.puppet(puppet).dial(address);
    world.expect("the puppet is up", secs(1), |world| world.host(a).sees(puppet));
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
        let id = world.host(puppet).id();
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
        while world.host(a).sees(puppet) {
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
            .host(a)
            .events()
            .iter()
            .map(|logged| match &logged.event {
                Event::Undelivered(undelivered) => undelivered.len(),
                _ => 0,
            })
            .sum();
        assert_eq!(returned, accepted / (100 * KIB), "every message has its outcome");
        assert_eq!(all_downs(&world, &[b, c]), 0);
        assert_eq!(world.host(a).downs(b) + world.host(a).downs(c), 0);
    }
}

#[test]
fn s41_control_frames_overtake_the_data_that_waits_for_a_slow_reader() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh(seed, 2);
        let a = hosts[0];
        let puppet = sluggard(&mut world, a);
        let id = world.host(puppet).id();
        for _ in 0..7 {
            world.node(a).send(id, Bytes::from(vec![7; MIB])).unwrap();
        }
        world.run_for(secs(1));
        world.puppet(puppet).send(Frame::Ping { token: 77 });
        world.run_for(secs(1));
        let before = world.host(puppet).heard().len();
        world.puppet(puppet).script(|script| script.read = true);
        world.expect("everything is read", secs(10), |world| world.host(puppet).puppet_messages().len() == 7);
        let mut read = [0, 0];
        let mut pong = 0;
        for heard in &world.host(puppet).heard()[before..] {
            match &heard.frame {
                Frame::Data(data) => read[pong] += data.bytes.len(),
                Frame::Pong { token: 77 } => pong = 1,
                _ => {}
            }
        }
        // At most what was pulled ahead, 1 MiB and a record, and what the two kernels held.
        assert!(pong == 1 && read[0] <= MIB + 640 * KIB && read[1] >= 5 * MIB, "seed {seed}: {read:?}");
        assert_eq!(world.host(a).downs(puppet), 0);
    }
}

#[test]
fn s41_a_node_that_reads_slowly_is_not_cut_off() {
    for seed in 0..8 {
        let (mut world, a, b) = pair(seed);
        let hosts = [a, b];
        world.host_mut(b).set_reading(false);
        let mut sent = 0;
        while let Ok(number) = world.node(a).send_numbered(b, 64 * KIB) {
            sent = number;
        }
        for _ in 0..160 {
            world.host_mut(b).read(10_000);
            world.run_for(ms(250));
        }
        assert_eq!(all_downs(&world, &hosts), 0, "seed {seed}");
        assert!(world.host(b).numbered(a) > 0 && world.host(b).numbered(a) < sent, "seed {seed}: slow, not stopped");
        world.host_mut(b).set_reading(true);
        world.expect("all arrive", secs(5), |world| world.host(b).numbered(a) == sent);
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
        world.net_mut().set_latency(Latency::Uniform { base: ms(100), jitter: ms(1) });
        let pings = world.host(a).wire().frames(FrameKind::Ping);
        let begin = world.now();
        world.node(a).send_numbered(b, 20 * MIB).unwrap();
        world.expect("it arrives", secs(60), |world| world.host(b).numbered(a) == 1);
        assert!(world.now() - begin > secs(8), "seed {seed}: so fast that it shows nothing");
        assert!(world.host(a).wire().frames(FrameKind::Ping) > pings + 3, "seed {seed}");
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
    world.net_mut().set_chunked(false);
    let hosts = [(); 2].map(|()| world.add(config().limits(large.clone())));
    world.node(hosts[1]).join(hosts[0]).unwrap();
    world.expect("they are linked", secs(1), World::is_complete);
    world.node(hosts[0]).send_numbered(hosts[1], 64 * MIB).unwrap();
    world.expect("it arrives", secs(30), |world| world.host(hosts[1]).numbered(hosts[0]) == 1);
    assert_eq!(all_downs(&world, &hosts), 0);
}

#[test]
fn s51_nodes_with_unequal_heartbeats_stay_together_and_each_pings_by_its_own_clock() {
    let slow = config().heartbeat(secs(30)).peer_timeout(secs(120));
    for seed in SEEDS {
        let (mut world, hosts) = mesh_of(seed, &[config(), slow.clone(), config().go(), config().local()]);
        let events: usize = hosts.iter().map(|&host| world.host(host).events().len()).sum();
        world.run_for(secs(600));
        assert!(world.is_complete(), "seed {seed}");
        assert_eq!(hosts.iter().map(|&host| world.host(host).events().len()).sum::<usize>(), events, "seed {seed}");
        // The local one pings three peers that are silent after 0.2 s each, and so keeps them from pinging it.
        let pings = hosts.iter().map(|&host| world.host(host).wire().frames(FrameKind::Ping)).collect::<Vec<_>>();
        assert!(pings[3] >= 3 * 600 && pings[0] >= 600 && pings[1] <= 100 && pings[2] <= 100, "seed {seed}: {pings:?}");

        // The quick one notices a death by its own timeout, not by the slow one's.
        world.host_mut(hosts[1]).crash(Crash::Power);
        world.expect("it is noticed", secs(7), |world| world.host(hosts[0]).downs(hosts[1]) == 1);
        assert_eq!(world.host(hosts[3]).downs(hosts[1]), 1);
        assert_eq!(world.host(hosts[2]).downs(hosts[1]), 0, "a minute of silence is nothing to it");
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
                node.handle(self.now, Input::received(other, local, received));
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
        world.net_mut().isolate(*lost);
        world.run_for(secs(180));
        assert!(others.iter().all(|&other| world.host(other).downs(*lost) == 1));
        world.net_mut().heal_all();
        let begin = world.now();
        let address = world.host(*lost).addr();
        world.converge(&hosts);
        let mut seconds = BTreeMap::<u64, usize>::new();
        for dial in world.net().dials().iter().filter(|dial| dial.at >= begin && dial.to == address) {
            *seconds.entry((dial.at - begin).as_secs()).or_default() += 1;
        }
        let most = seconds.values().copied().max().unwrap_or(0);
        assert!(most <= 12, "seed {seed}: {most} of 39 within a second: {seconds:?}");
        for &other in others {
            assert!(world.net().dials_to(address, begin) <= 80 && world.linked(other, *lost));
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
    let address = world.host(a).addr();
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
    world.expect("all are members", secs(1), |world| world.host(a).core().peers().count() == PEERS);
    world.run_for(secs(30));
    let mut bursts = Vec::new();
    let mut before = world.host(a).wire().frames(FrameKind::Ping);
    for _ in 0..100 {
        world.run_for(ms(50));
        let now = world.host(a).wire().frames(FrameKind::Ping);
        bursts.push(now - before);
        before = now;
    }
    let total: u64 = bursts.iter().sum();
    assert!((5 * PEERS as u64..=7 * PEERS as u64).contains(&total), "{total} pings in five seconds");
    let most = bursts.iter().copied().max().unwrap_or(0);
    assert!(most <= PEERS as u64 / 8, "{most} pings within 50 ms: {bursts:?}");
}
