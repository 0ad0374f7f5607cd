//! Honest dials beside strangers that connect and say nothing: from everywhere, from the same IP, from the same /64.
//! An honest dial must succeed whatever the crowd looks like, as long as it stays within the limits of a node.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cluster_core::{Config, Limits, Secret};
use cluster_sim::{Block, HostId, Latency, RawConn, RawState, Spec, World};

use crate::harness::*;

fn secure() -> Config {
    Config::new(Secret::from_bytes([1; 32])).join_timeout(secs(10))
}

/// Strangers that connect at a steady rate, from each of these IPs in turn, to each of these nodes.
struct Crowd {
    every: Duration,
    ips: Vec<String>,
    to: Vec<SocketAddr>,
    count: usize,
    /// What each of them says once it is connected.
    words: Vec<u8>,
    unsaid: Vec<RawConn>,
}

impl Crowd {
    /// `tenths` connections in ten seconds.
    fn new(tenths: u32, ips: Vec<String>, to: &[SocketAddr]) -> Crowd {
        let every = Duration::from_secs(10) / tenths.max(1);
        Crowd { every, ips, to: to.to_vec(), count: 0, words: Vec::new(), unsaid: Vec::new() }
    }

    fn saying(self, words: Vec<u8>) -> Crowd {
        Crowd { words, ..self }
    }

    /// Lets time pass until the condition holds. Returns how long it took, if it was within `span`.
    fn until(&mut self, world: &mut World, span: Duration, met: impl Fn(&World) -> bool) -> Option<Duration> {
        let begin = world.now();
        while world.now() - begin < span {
            if met(world) {
                return Some(world.now() - begin);
            }
            if self.ips.is_empty() {
                world.run_for(ms(1));
                continue;
            }
            let ip = &self.ips[self.count % self.ips.len()];
            self.count += 1;
            for &to in &self.to {
                let conn = world.net_mut().raw_dial(ip, to);
                if !self.words.is_empty() {
                    self.unsaid.push(conn);
                }
            }
            let words = &self.words;
            self.unsaid.retain(|&conn| {
                let dialing = world.net().raw_state(conn) == RawState::Dialing;
                if world.net().raw_state(conn) == RawState::Open {
                    world.raw(conn).write(words);
                }
                dialing
            });
            world.run_for(self.every);
        }
        met(world).then_some(span)
    }

    fn run_for(&mut self, world: &mut World, span: Duration) {
        self.until(world, span, |_| false);
    }
}

/// So many IPv4 addresses that no node has.
fn ips(count: u32) -> Vec<String> {
    (0..count)
        .map(|number| format!("10.{}.{}.{}", 64 + number / 62_500, number / 250 % 250, number % 250 + 1))
        .collect()
}

/// The number of seeds of each cell: `CLUSTER_CROWDS`, or `default`.
fn seeds(default: u64) -> u64 {
    std::env::var("CLUSTER_CROWDS").map_or(default, |count| count.parse().expect("CLUSTER_CROWDS is a number"))
}

fn rtt(world: &mut World, a: HostId, b: HostId, rtt: Duration) {
    // A twentieth more and less.
    let latency = Latency::Uniform { base: rtt * 19 / 40, jitter: rtt / 20 };
    world.net_mut().set_latency_from(a, b, latency);
    world.net_mut().set_latency_from(b, a, latency);
}

/// How long a newcomer that far away takes to join one of two nodes, which a crowd presses on from these IPs.
fn join_beside(seed: u64, config: &Config, per_second: u32, ips: Vec<String>, far: Duration) -> Option<Duration> {
    let mut world = World::new(seed);
    world.set_checks(false);
    world.keep_lines(50);
    let hosts = world.add_many(2, config);
    world.node(hosts[1]).join(hosts[0]).unwrap();
    world.expect("a pair", secs(5), |world| world.are_linked(&hosts));
    let to = world.host(hosts[0]).addr();
    let mut crowd = Crowd::new(per_second * 10, ips, &[to]);
    let before = if per_second == 0 { 0 } else { 1_200 + world.draw(300) };
    crowd.run_for(&mut world, ms(before));
    let newcomer = world.add(config.clone());
    rtt(&mut world, newcomer, hosts[0], far);
    world.node(newcomer).join(to).unwrap();
    let took = crowd.until(&mut world, secs(10), |world| world.linked(newcomer, hosts[0]));
    assert!(world.linked(hosts[0], hosts[1]), "seed {seed}: the pair is as it was");
    took
}

/// Every cell of the table in SECURITY.md. `CLUSTER_CROWDS=100` runs as many seeds of each, and prints the table.
#[test]
fn honest_dials_succeed_beside_every_flood_within_limits() {
    let count = seeds(1);
    for (words, per_second, sources) in
        [("none", 0, 0), ("at 500/s, 64 IPs", 500, 64), ("at 2,000/s, 200 IPs", 2_000, 200)]
    {
        let mut row = format!("| {words} |");
        for far in [10, 50, 100, 200] {
            let joins = (0..count).map(|seed| join_beside(seed, &secure(), per_second, ips(sources), ms(far)));
            let mut took: Vec<Duration> = joins.flatten().collect();
            took.sort();
            let slowest = took.last().copied().unwrap_or_default();
            row += &format!(" {} of {count}, {} ms |", took.len(), slowest.as_millis());
            assert!(took.len() as u64 * 100 >= count * 99, "RTT {far} ms beside {words}: {} of {count}", took.len());
        }
        println!("{row}");
    }
}

#[test]
fn honest_dials_succeed_beside_any_number_of_sources() {
    // From one that fills all places by itself to more than there are places: of these, each has one connection.
    for (seed, sources) in (0..seeds(1)).flat_map(|seed| [1, 8, 64, 511, 513, 2_000, 20_000].map(|count| (seed, count)))
    {
        let took = join_beside(seed, &secure(), 1_990, ips(sources), ms(200));
        assert!(took.is_some_and(|took| took < secs(3)), "seed {seed}: {took:?} beside {sources} sources");
    }
}

/// Beyond the limits an honest node has what few sources may not take: beside 150 at twice and at ten times the limit.
#[test]
fn honest_dials_succeed_beyond_the_limits_where_sources_are_few() {
    for (seed, per_second) in (0..seeds(1)).flat_map(|seed| [4_000, 20_000].map(|rate| (seed, rate))) {
        let took = join_beside(seed, &secure(), per_second, ips(150), ms(100));
        assert!(took.is_some_and(|took| took < secs(3)), "seed {seed}: {took:?} beside {per_second} a second");
    }
}

/// The rates of a neighbour, in tenths: 1.7 a second keep eight connections open, each for its five seconds.
const NEIGHBOURS: [u32; 5] = [17, 250, 1_000, 5_000, 19_900];

#[test]
fn neighbour_at_the_same_ip_keeps_no_newcomer_out() {
    for (seed, tenths) in (0..seeds(2)).flat_map(|seed| NEIGHBOURS.map(|tenths| (seed, tenths))) {
        for far in [10, 200] {
            let mut world = World::new(seed);
            world.keep_lines(50);
            let hosts = world.add_many(2, &secure());
            let to = world.host(hosts[0]).addr();
            let mut crowd = Crowd::new(tenths, vec!["10.0.9.1".into()], &[to]);
            crowd.run_for(&mut world, secs(5));
            world.host_mut(hosts[1]).masquerade(Some("10.0.9.1"));
            rtt(&mut world, hosts[1], hosts[0], ms(far));
            world.node(hosts[1]).join(to).unwrap();
            let took = crowd.until(&mut world, secs(10), |world| world.linked(hosts[0], hosts[1]));
            assert!(took.is_some_and(|took| took < secs(2)), "seed {seed}, {tenths} in 10 s, {far} ms: {took:?}");
        }
    }
}

#[test]
fn neighbour_in_the_same_64_keeps_no_newcomer_out() {
    for (seed, tenths) in (0..seeds(2)).flat_map(|seed| NEIGHBOURS.map(|tenths| (seed, tenths))) {
        let mut world = World::new(seed);
        world.keep_lines(50);
        let host = world.add(Spec::new(secure()).ip("2001:db8:1::1"));
        let to = world.host(host).addr();
        let neighbours = (2..252).map(|number| format!("2001:db8:2::{number:x}")).collect();
        let mut crowd = Crowd::new(tenths, neighbours, &[to]);
        crowd.run_for(&mut world, secs(5));
        let newcomer = world.add(Spec::new(secure()).ip("2001:db8:2::1"));
        rtt(&mut world, newcomer, host, ms(100));
        world.node(newcomer).join(to).unwrap();
        let took = crowd.until(&mut world, secs(10), |world| world.linked(newcomer, host));
        assert!(took.is_some_and(|took| took < secs(2)), "seed {seed}, {tenths} in 10 s: {took:?}");
    }
}

/// A neighbour at the IP of the newcomer, and a flood from everywhere that makes it the heaviest source of all.
#[test]
fn neighbour_within_a_wide_flood_keeps_no_newcomer_out() {
    for seed in 0..seeds(2) {
        let mut world = World::new(seed);
        world.set_checks(false);
        world.keep_lines(50);
        let hosts = world.add_many(2, &secure());
        let to = world.host(hosts[0]).addr();
        world.host_mut(hosts[1]).masquerade(Some("10.0.9.1"));
        rtt(&mut world, hosts[1], hosts[0], ms(200));
        let wide = ips(2_000).into_iter().enumerate();
        let mixed = wide.flat_map(|(number, ip)| (number % 20 == 0).then(|| "10.0.9.1".into()).into_iter().chain([ip]));
        let mut crowd = Crowd::new(19_900, mixed.collect(), &[to]);
        crowd.run_for(&mut world, ms(1_500));
        world.node(hosts[1]).join(to).unwrap();
        let took = crowd.until(&mut world, secs(10), |world| world.linked(hosts[0], hosts[1]));
        assert!(took.is_some_and(|took| took < secs(3)), "seed {seed}: {took:?}");
    }
}

/// Two members lose their link while neighbours of both press on the other: `nat` is what the second is seen as.
fn reconnect_beside(seed: u64, tenths: u32, nat: Option<&str>) {
    let mut world = World::new(seed);
    world.keep_lines(50);
    let hosts = world.add_many(2, &secure());
    let (one, other) = (hosts[0], hosts[1]);
    world.host_mut(other).masquerade(nat);
    if nat.is_some() {
        world.net_mut().block_dials(one, other, Block::Drop);
    }
    rtt(&mut world, one, other, ms(50));
    world.node(other).join(one).unwrap();
    world.expect("a pair", secs(5), |world| world.are_linked(&hosts));
    let (at_one, at_other) = (world.host(one).addr(), world.host(other).addr());
    let mut upon_one = Crowd::new(tenths, vec![nat.map_or_else(|| at_other.ip().to_string(), String::from)], &[at_one]);
    upon_one.run_for(&mut world, secs(5));
    let mut both = Crowd::new(tenths, vec!["10.0.9.7".into(), "10.0.9.8".into()], &[at_one, at_other]);
    both.ips.extend([at_one.ip().to_string(), at_other.ip().to_string()]);
    if let Some(nat) = nat {
        both.ips = vec![nat.into()];
    }
    both.run_for(&mut world, secs(5));
    world.net_mut().reset_connections(one, other);
    let took = both.until(&mut world, secs(10), |world| world.linked(one, other));
    assert!(took.is_some(), "seed {seed}: {tenths} in 10 s, {nat:?}");
}

#[test]
fn members_pressed_at_both_ends_reconnect() {
    for (seed, tenths) in (0..seeds(2)).flat_map(|seed| NEIGHBOURS.map(|tenths| (seed, tenths))) {
        reconnect_beside(seed, tenths, None);
    }
}

#[test]
fn member_behind_nat_reconnects_beside_its_neighbour() {
    for (seed, tenths) in (0..seeds(2)).flat_map(|seed| NEIGHBOURS.map(|tenths| (seed, tenths))) {
        reconnect_beside(seed, tenths, Some("10.0.9.1"));
    }
}

/// What a member says first, as a listener in its way records it.
fn recorded(world: &mut World, config: &Config) -> Vec<u8> {
    let at = world.net_mut().raw_listen("10.0.9.9:7000", cluster_sim::Greeting::Wait);
    let member = world.add(config.clone());
    world.node(member).join(at).unwrap();
    world.run_for(ms(20));
    let (conn, _) = world.net_mut().raw_accept(at).unwrap();
    let words = Bytes::from(world.raw(conn).read());
    world.host_mut(member).crash(cluster_sim::Crash::Kill);
    words.to_vec()
}

#[test]
fn repeated_hellos_keep_no_newcomer_out() {
    // Few sources displace themselves, and many need more than the safe places.
    for (sources, per_second, far) in [(100, 1_000, 200), (5_000, 1_000, 100)] {
        for config in [secure(), Config::insecure_plaintext().join_timeout(secs(10))] {
            let mut world = World::new(1);
            world.set_checks(false);
            world.keep_lines(50);
            let hosts = world.add_many(2, &config);
            let to = world.host(hosts[0]).addr();
            let words = recorded(&mut world, &config);
            let mut crowd = Crowd::new(per_second * 10, ips(sources), &[to]).saying(words);
            crowd.run_for(&mut world, ms(1_500));
            assert_eq!(world.host(hosts[0]).core().usage().greeted_links, Limits::default().max_greeted);
            rtt(&mut world, hosts[1], hosts[0], ms(far));
            world.node(hosts[1]).join(to).unwrap();
            let took = crowd.until(&mut world, secs(10), |world| world.linked(hosts[0], hosts[1]));
            assert!(took.is_some(), "{sources} sources, secure: {}", config.is_secure());
        }
    }
}
