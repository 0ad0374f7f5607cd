//! With a secret: who does not have it, or alters what those say who do, never becomes a peer, is told nothing, and
//! changes nothing but counters. What goes over the wire shows nothing, and the secret can be changed under way.

use std::net::SocketAddr;

use bytes::Bytes;
use cluster_core::wire::Profile;
use cluster_core::{
    Channel, Config, Credentials, Event, Hello, Identity, Incarnation, Keyring, Name, NodeId, Role, Run, Secret, Stats,
    Suite,
};
use cluster_sim::{
    Abuse, Attack, Crash, Greeting, HostId, PuppetState, RawConn, RawState, Restart, Script, Tempo, World,
};

use crate::harness::*;

fn secret(byte: u8) -> Secret {
    Secret::from_bytes([byte; 32])
}

fn secure() -> Config {
    Config::new(secret(1))
}

/// What a node has counted that is about anything but strangers and time.
fn lasting(world: &World, host: HostId) -> (Stats, usize, usize) {
    let mut stats = world.host(host).core().stats();
    let zero = Stats::default();
    stats.accepts = zero.accepts;
    stats.failed_handshakes = zero.failed_handshakes;
    stats.notices_suppressed = zero.notices_suppressed;
    stats.per_ip_limit = zero.per_ip_limit;
    (stats.accept_limit, stats.accept_limit_per_ip) = (zero.accept_limit, zero.accept_limit_per_ip);
    stats.not_allowed = zero.not_allowed;
    (stats.frames_sent, stats.frames_received, stats.bytes_sent, stats.bytes_received) = (0, 0, 0, 0);
    let usage = world.host(host).core().usage();
    (stats, usage.peers + usage.candidates + usage.tombstones, world.host(host).events().len())
}

/// Strangers do something, and the node on `host` is none the wiser; of what it has written to them they say nothing.
#[track_caller]
fn changes_nothing(world: &mut World, host: HostId, act: impl FnOnce(&mut World)) {
    let before = lasting(world, host);
    act(world);
    assert_eq!(lasting(world, host), before);
}

/// The first flight of a side of a handshake, and the side.
fn say_hello(credentials: Credentials, cluster: &str) -> (Channel, Vec<u8>) {
    let run = Run { id: NodeId::from_bytes([0; 16]), incarnation: Incarnation(9) };
    let cluster = cluster.parse().unwrap();
    let hello = Hello { run, cluster, versions: 1..=1, features: 0, nonce: [9; 16] };
    let mut channel = Channel::secure(Role::Initiator, hello, credentials);
    let said = take(&mut channel);
    (channel, said)
}

fn take(channel: &mut Channel) -> Vec<u8> {
    let output = channel.output();
    let bytes: Vec<u8> = output.pieces().flatten().copied().collect();
    output.advance(bytes.len());
    bytes
}

fn credentials(byte: u8, secret: Secret) -> Credentials {
    let (keyring, suite) = (secret.into(), Suite::default());
    Credentials { identity: Identity::from_bytes([byte; 32]), keyring, suite, entropy: [byte; 32] }
}

/// Says something to a node and returns what it answers within some seconds.
fn say(world: &mut World, to: SocketAddr, words: &[u8]) -> (RawConn, Vec<u8>) {
    let conn = world.net_mut().raw_dial("10.66.0.1", to);
    world.run_for(secs(1));
    assert_eq!(world.raw(conn).write(words), words.len());
    world.run_for(secs(1));
    let answer = world.raw(conn).read();
    (conn, answer)
}

#[test]
fn nodes_with_one_secret_form_a_mesh_and_repeat_themselves_for_the_same_seed() {
    for seed in SEEDS {
        let run = || {
            let (mut world, hosts) = mesh_of(seed, 5, &secure());
            for &from in &hosts {
                for &to in hosts.iter().filter(|&&to| to != from) {
                    let number = world.node(from).send_numbered(to, 100_000).unwrap();
                    world.expect("it arrives", secs(5), |world| world.host(to).numbered(from) == number);
                }
            }
            world.host_mut(hosts[4]).crash(Crash::Power);
            world.run_for(secs(10));
            world.host_mut(hosts[4]).restart(Restart::default());
            world.expect("it is back, as who it was", secs(40), |world| world.are_linked(&hosts));
            world.sweep();
            world.trace_hash()
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn a_node_with_another_secret_or_of_another_cluster_is_told_nothing() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh_of(seed, 2, &secure());
        for config in [Config::new(secret(2)), secure().cluster("other".parse().unwrap()), config()] {
            let stranger = world.add(config);
            changes_nothing(&mut world, hosts[0], |world| {
                world.node(stranger).join(hosts[0]).unwrap();
                world.run_for(secs(8));
            });
            let failed = |event: &Event| matches!(event, Event::JoinFailed { .. });
            assert_eq!(world.host(stranger).count_events(failed), 1);
            assert_eq!(world.host(stranger).core().peers().count(), 0);
            world.host_mut(stranger).crash(Crash::Kill);
        }
    }
}

#[test]
fn nothing_is_answered_to_a_hello_that_is_not_of_a_member() {
    let (mut world, hosts) = mesh_of(1, 2, &secure());
    let to = world.host(hosts[0]).addr();
    let (_, good) = say_hello(credentials(1, secret(1)), "default");
    let (_, another_secret) = say_hello(credentials(1, secret(2)), "default");
    let (_, another_cluster) = say_hello(credentials(1, secret(1)), "other");
    let flipped = (0..good.len()).map(|at| {
        let mut said = good.clone();
        said[at] ^= 1 << (at % 8);
        said
    });
    for said in flipped.chain([another_secret, another_cluster, good[..61].to_vec()]) {
        changes_nothing(&mut world, hosts[0], |world| {
            let (conn, answer) = say(world, to, &said);
            assert!(answer.is_empty());
            world.expect("it is closed", secs(6), |world| world.net().raw_state(conn) != RawState::Open);
        });
    }
}

#[test]
fn a_hello_that_is_replayed_gets_an_answer_and_nothing_else() {
    let (mut world, hosts) = mesh_of(1, 2, &secure());
    let to = world.host(hosts[0]).addr();
    // A member speaks, and somebody records it.
    let (mut member, hello) = say_hello(credentials(1, secret(1)), "default");
    let (conn, answer) = say(&mut world, to, &hello);
    member.receive(answer.clone().into());
    assert!(matches!(member.poll(), Ok(Some(_))));
    let third = take(&mut member);
    world.raw(conn).close();
    world.run_for(secs(10));
    for _ in 0..20 {
        changes_nothing(&mut world, hosts[0], |world| {
            let (conn, again) = say(world, to, &hello);
            assert!(again.len() == answer.len() && again != answer);
            assert_eq!(world.raw(conn).write(&third), third.len());
            world.run_for(secs(1));
            assert!(world.raw(conn).read().is_empty());
            assert_ne!(world.net().raw_state(conn), RawState::Open);
        });
    }
}

#[test]
fn a_hello_that_is_sent_back_is_recognised() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        let alice = world.add(secure());
        let mirror = world.net_mut().raw_listen("10.66.0.2:7000", Greeting::Wait);
        world.node(alice).join(mirror).unwrap();
        let accepted = |world: &mut World| {
            world.run_for(secs(1));
            world.net_mut().raw_accept(mirror).map(|(conn, _)| conn)
        };
        let conn = accepted(&mut world).unwrap();
        let hello = world.raw(conn).read();
        world.raw(conn).write(hello);
        world.run_for(secs(1));
        assert!(world.raw(conn).read().is_empty());
        world.run_for(secs(10));
        assert_eq!(world.host(alice).core().peers().count(), 0);
        assert_eq!(world.host(alice).count_events(|event| matches!(event, Event::PeerUp(_))), 0);
    }
}

/// Somebody sits between two nodes and flips one bit of what one of them says, at this place.
fn meddle(world: &mut World, alice: HostId, bob: HostId, middle: SocketAddr, forward: bool, at: usize) -> bool {
    world.node(alice).join(middle).unwrap();
    world.run_for(ms(700));
    let Some((left, _)) = world.net_mut().raw_accept(middle) else { return false };
    let to = world.host(bob).addr();
    let right = world.net_mut().raw_dial("10.66.0.3", to);
    world.run_for(ms(300));
    let mut passed = [0, 0];
    for _ in 0..10 {
        for (from, into, way) in [(left, right, 0), (right, left, 1)] {
            let mut words = world.raw(from).read();
            let place = at.wrapping_sub(passed[way]);
            if (way == 0) == forward
                && let Some(byte) = words.get_mut(place)
            {
                *byte ^= 1 << (at % 8);
            }
            passed[way] += words.len();
            world.raw(into).write(words);
        }
        world.run_for(ms(200));
    }
    let met = world.host(alice).ups(bob) + world.host(bob).ups(alice) > 0;
    world.raw(left).close();
    world.raw(right).close();
    // Until the join is given up, and its retries have nobody to talk to.
    world.run_for(secs(6));
    while let Some((conn, _)) = world.net_mut().raw_accept(middle) {
        world.raw(conn).close();
    }
    met
}

#[test]
fn a_bit_that_is_flipped_on_the_way_never_makes_peers() {
    // Messages 1 and 3 with the preamble, and message 2 with its own; what follows is sealed records.
    let lengths = [(true, 62 + 74), (false, 135)];
    for (forward, handshake) in lengths {
        let mut world = World::new(1);
        let hosts = world.add_many(2, &secure());
        let middle = world.net_mut().raw_listen("10.66.0.2:7000", Greeting::Wait);
        for at in 0..handshake + 40 {
            let before = lasting(&world, hosts[1]);
            assert!(!meddle(&mut world, hosts[0], hosts[1], middle, forward, at), "byte {at}, forward {forward}");
            let mut after = lasting(&world, hosts[1]);
            if at >= handshake {
                // Whoever is at the other end has proven to be a member: an altered record is counted as its breach.
                after.0.protocol_errors = before.0.protocol_errors;
            }
            if at >= handshake && !forward {
                // What it has said by then is unaltered, and where it can be dialled is remembered.
                after.1 = before.1;
            }
            assert_eq!(after, before, "byte {at}, forward {forward}");
        }
        // The one in the middle is harmless as long as it only carries.
        assert!(meddle(&mut world, hosts[0], hosts[1], middle, forward, usize::MAX));
    }
}

#[test]
fn s50_who_has_the_secret_cannot_be_somebody_else() {
    for seed in SEEDS {
        let name: Name = "alice".parse().unwrap();
        let (mut world, hosts) = mesh_of(seed, 3, &secure().name(name.clone()));
        let to = world.host(hosts[0]).addr();
        // Each of the mesh, the node that is dialled too, as it is and as a later run of it; and by its name.
        let victims = hosts.iter().flat_map(|&host| [(host, 0), (host, 1_000)]);
        for (number, (victim, later)) in victims.enumerate() {
            let profile = Profile {
                name: Some(name.clone()),
                metadata: Bytes::new(),
                addresses: Vec::new(),
                max_message: 1 << 20,
                window: 1 << 16,
            };
            let script = Script { secrets: Some(secret(1).into()), profile: Some(profile), ..Script::default() };
            let thief = world.add_puppet(&format!("10.0.9.{number}"), script);
            let Run { id, incarnation } = world.host(victim).run();
            world.puppet(thief).dial_as(to, Run { id, incarnation: Incarnation(incarnation.0 + later) });
            world.run_for(secs(5));
            // It is a member, but the one that its key makes it.
            assert!(hosts.iter().all(|&host| world.host(thief).run().id != world.host(host).id()));
            assert_eq!(world.host(hosts[0]).ups(thief), 1, "seed {seed}, thief {number}");
            assert!(world.are_linked(&hosts));
        }
        let pairs = || hosts.iter().flat_map(|&a| hosts.iter().map(move |&b| (a, b))).filter(|(a, b)| a != b);
        assert!(pairs().all(|(a, b)| (world.host(a).ups(b), world.host(a).downs(b)) == (1, 0)), "seed {seed}");
        for &host in &hosts {
            let stats = world.host(host).core().stats();
            assert_eq!((stats.duplicate_identities, stats.stale_incarnations, stats.self_connections), (0, 0, 0));
            assert_eq!(world.host(host).count_events(|event| matches!(event, Event::DuplicateIdentity { .. })), 0);
        }
    }
}

#[test]
fn who_is_not_on_the_list_is_not_let_in_and_who_is_taken_off_it_is_gone() {
    let keys: Vec<Identity> = (1..=3).map(|byte| Identity::from_bytes([byte; 32])).collect();
    let ids: Vec<NodeId> = keys.iter().map(Identity::id).collect();
    for seed in SEEDS {
        let mut world = World::new(seed);
        let listed = || secure().allow(ids.clone()).name("member".parse().unwrap());
        let hosts: Vec<HostId> = keys.iter().map(|key| world.add(listed().identity(key.clone()))).collect();
        for &host in &hosts[1..] {
            world.node(host).join(hosts[0]).unwrap();
        }
        world.expect("a complete mesh", secs(20), |world| world.are_linked(&hosts));
        world.settle();
        let script = Script { secrets: Some(secret(1).into()), ..Script::default() };
        let thief = world.add_puppet("10.0.9.9", script);
        let (to, victim) = (world.host(hosts[0]).addr(), world.host(hosts[1]).run());
        changes_nothing(&mut world, hosts[0], |world| {
            world.puppet(thief).dial_as(to, victim);
            world.run_for(secs(5));
            assert_eq!(world.host(thief).puppet_links(), [PuppetState::Over]);
            assert!(world.host(thief).heard().is_empty());
        });

        for &host in &hosts[..2] {
            let config = world.host(host).core().config().clone().allow(ids[..2].to_vec());
            world.node(host).set_config(config).unwrap();
        }
        world.run_for(secs(60));
        assert!(world.is_mesh(&hosts[..2]));
        assert_eq!(
            world.host(hosts[2]).core().peers().filter(|peer| peer.state == cluster_core::PeerState::Up).count(),
            0
        );
    }
}

#[test]
fn nothing_that_is_sent_can_be_read_on_the_wire() {
    let canary = |number: u8| -> Vec<u8> { (0..32).map(|at| at * 7 + number).collect() };
    for (config, seen) in [(secure(), false), (config(), true)] {
        let mut world = World::new(1);
        world.net_mut().tap_wire();
        let hosts = world.add_many(3, &config.name("a-name-in-clear".parse().unwrap()).metadata(canary(0)));
        for &host in &hosts[1..] {
            world.node(host).join(hosts[0]).unwrap();
        }
        world.expect("a complete mesh", secs(20), |world| world.are_linked(&hosts));
        for (number, size) in (1..).zip([1, 100, 1_000, 10_000]) {
            let to = world.host(hosts[1]).id();
            world.node(hosts[0]).send(to, canary(number).repeat(size)).unwrap();
            world.run_for(secs(2));
        }
        assert_eq!(world.host(hosts[1]).messages().len(), 4);
        let found =
            |what: &[u8]| world.net().tapped().any(|bytes| bytes.windows(what.len()).any(|window| window == what));
        for number in 0..=4 {
            assert_eq!(found(&canary(number)), seen, "canary {number}");
        }
        assert_eq!((found(b"a-name-in-clear"), found(b"default")), (seen, seen));
        assert_eq!(found(world.host(hosts[1]).id().as_bytes()), seen);
    }
}

#[test]
fn whoever_attacks_from_outside_and_whoever_abuses_from_inside_disturbs_nobody() {
    for seed in 0..3 {
        let (mut world, hosts) = mesh_of(seed, 4, &secure());
        world.add_outsider(Attack::ALL, Tempo::Fast);
        world.add_insider(Abuse::ALL, Tempo::Fast);
        for _ in 0..12 {
            for &from in &hosts {
                for &to in hosts.iter().filter(|&&to| to != from) {
                    let number = world.node(from).send_numbered(to, 1_000).unwrap();
                    world.expect("it arrives", secs(1), |world| world.host(to).numbered(from) == number);
                }
            }
            world.run_for(secs(5));
        }
        let pairs = || hosts.iter().flat_map(|&a| hosts.iter().map(move |&b| (a, b))).filter(|(a, b)| a != b);
        assert!(pairs().all(|(a, b)| (world.host(a).ups(b), world.host(a).downs(b)) == (1, 0)), "seed {seed}");
        assert!(hosts.iter().all(|&host| world.host(host).core().stats().failed_handshakes > 100));
        world.sweep();
    }
}

#[test]
fn an_impostor_cannot_keep_a_pair_apart_that_was_cut_off() {
    for seed in 0..5 {
        let (mut world, hosts) = mesh_of(seed, 4, &secure());
        world.add_insider(&[Abuse::Impostor], Tempo::Fast);
        world.run_for(secs(20));
        world.net_mut().partition(&hosts[..2], &hosts[2..]);
        world.run_for(secs(40));
        world.net_mut().heal_all();
        world.expect("the halves are one again", world.bound(&hosts) * 3, |world| world.are_linked(&hosts));
    }
}

/// The three steps of changing the secret, for each node in its own time.
fn steps() -> [Keyring; 3] {
    let (old, new) = (secret(1), secret(2));
    [Keyring::new(old.clone()).accept(new.clone()), Keyring::new(new.clone()).accept(old), Keyring::new(new)]
}

#[test]
fn changing_the_secret_under_traffic_and_partitions_loses_and_doubles_nothing() {
    for seed in SEEDS {
        let (mut world, hosts) = mesh_of(seed, 5, &secure());
        let mut sent = Vec::new();
        for keyring in steps() {
            let cut = world.draw(5) as usize;
            for (turn, &host) in hosts.iter().enumerate() {
                let config = world.host(host).core().config().clone().keyring(keyring.clone());
                world.node(host).set_config(config).unwrap();
                if turn == 1 {
                    world.net_mut().partition(&hosts[..cut], &hosts[cut..]);
                }
                for &from in &hosts {
                    for &to in hosts.iter().filter(|&&to| to != from) {
                        sent.push((from, to, world.node(from).send_numbered(to, 5_000).unwrap()));
                    }
                }
                let wait = world.draw(4_000);
                world.run_for(ms(wait));
            }
            world.net_mut().heal_all();
            world.run_for(secs(1));
        }
        world.expect("one mesh again", secs(90), |world| world.are_linked(&hosts));
        // Whoever has the old secret alone is a stranger by now.
        world.expect("all of it has arrived", secs(60), |world| {
            sent.iter().all(|&(from, to, number)| world.host(to).numbered(from) >= number)
        });
        world.sweep();
        for &host in &hosts {
            let lost = |event: &Event| matches!(event, Event::Undelivered(_) | Event::SessionReset { .. });
            assert_eq!(world.host(host).count_events(lost), 0, "seed {seed}");
        }
        let late = world.add(secure());
        world.node(late).join(hosts[0]).unwrap();
        world.run_for(secs(8));
        assert_eq!(world.host(late).core().peers().count(), 0, "seed {seed}");
    }
}

#[test]
fn a_node_that_was_away_while_the_secret_was_changed_comes_back_as_long_as_one_is_common() {
    let (mut world, hosts) = mesh_of(3, 3, &secure());
    let [_, second, third] = steps();
    world.net_mut().isolate(hosts[2]);
    for keyring in [&second, &third] {
        for &host in &hosts[..2] {
            let config = world.host(host).core().config().clone().keyring(keyring.clone());
            world.node(host).set_config(config).unwrap();
        }
        world.run_for(secs(20));
    }
    world.net_mut().heal_all();
    world.run_for(secs(60));
    assert!(!world.are_linked(&hosts) && world.is_mesh(&hosts[..2]));
    let config = world.host(hosts[2]).core().config().clone().keyring(third);
    world.node(hosts[2]).set_config(config).unwrap();
    world.expect("it is back", secs(60), |world| world.are_linked(&hosts));
}
