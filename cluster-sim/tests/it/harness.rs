//! What scenarios share: worlds that are set up in the usual ways, and conditions that are expected again and again.

use std::net::SocketAddr;
use std::time::Duration;

use cluster_core::{Config, Event, Frame, NodeId, Reason};
use cluster_sim::{HostId, World};

/// The seeds that a scenario runs with: enough that a rule that only mostly holds is caught.
pub(crate) const SEEDS: std::ops::Range<u64> = 0..20;

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn config() -> Config {
    Config::insecure_plaintext()
}

/// Sends a long message over each of these links, so that their senders know how fast they are and have as much in flight
/// as credit allows from then on.
pub(crate) fn warm(world: &mut World, from: &[HostId], to: HostId) {
    for &host in from {
        let number = world.node(host).send_numbered(to, 200_000).unwrap();
        world.expect("it arrives", secs(2), |world| world.host(to).numbered(host) == number);
    }
}

/// A world with `count` nodes that know nothing of each other.
pub(crate) fn strangers(seed: u64, count: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(seed);
    let hosts = world.add_many(count, &config());
    (world, hosts)
}

/// A world with a complete mesh of `count` nodes: each has joined the first, and nothing is going on any more.
pub(crate) fn mesh(seed: u64, count: usize) -> (World, Vec<HostId>) {
    let (mut world, hosts) = strangers(seed, count);
    for &host in &hosts[1..] {
        world.node(host).join(hosts[0]).unwrap();
    }
    world.expect("a complete mesh", secs(20), World::is_complete);
    world.settle();
    (world, hosts)
}

/// A complete mesh of nodes with this config.
pub(crate) fn mesh_of(seed: u64, count: usize, config: &Config) -> (World, Vec<HostId>) {
    let mut world = World::new(seed);
    let hosts = world.add_many(count, config);
    for &host in &hosts[1..] {
        world.node(host).join(hosts[0]).unwrap();
    }
    world.expect("a complete mesh", secs(20), |world| world.are_linked(&hosts));
    world.settle();
    (world, hosts)
}

/// Two nodes that are connected.
pub(crate) fn pair(seed: u64) -> (World, HostId, HostId) {
    let (world, hosts) = mesh(seed, 2);
    (world, hosts[0], hosts[1])
}

/// The reasons for which `host` told that the node on `peer` went down, oldest first.
pub(crate) fn down_reasons(world: &World, host: HostId, peer: HostId) -> Vec<Reason> {
    let id = world.host(peer).id();
    let reason = |event: &Event| match event {
        Event::PeerDown { peer, reason, .. } if peer.id == id => Some(reason.clone()),
        _ => None,
    };
    world.host(host).events().iter().filter_map(|logged| reason(&logged.event)).collect()
}

/// The events that `host` has told of the node with this id: what happened, and to which run.
pub(crate) fn word(world: &World, host: HostId, id: NodeId) -> Vec<(&'static str, u64)> {
    let entry = |event: &Event| match event {
        Event::PeerUp(info) if info.run.id == id => Some(("up", info.run.incarnation.0)),
        Event::PeerDown { peer, .. } if peer.id == id => Some(("down", peer.incarnation.0)),
        Event::PeerGone { peer } if peer.id == id => Some(("gone", peer.incarnation.0)),
        _ => None,
    };
    world.host(host).events().iter().filter_map(|logged| entry(&logged.event)).collect()
}

/// Every address that others have told `puppet` of the node with this id.
pub(crate) fn gossiped(world: &World, puppet: HostId, id: NodeId) -> Vec<SocketAddr> {
    let of = |frame: &Frame| match frame {
        Frame::List(list) => list.entries.clone(),
        Frame::Announce(announce) => announce.entries.clone(),
        _ => Vec::new(),
    };
    let entries = world.host(puppet).heard().iter().flat_map(|heard| of(&heard.frame));
    entries.filter(|entry| entry.run.id == id).flat_map(|entry| entry.addresses).collect()
}
