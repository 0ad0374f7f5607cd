//! What a test can see.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cluster_core::{Event, Instant, NodeId, PeerState, Run};
use cluster_timeline::record::HostId;

use super::World;
use crate::driver::Driver;
use crate::log::{Closed, Dialled, Ended, LinkView, Logged, Noticed, Taken, Wire};
use crate::socket::Side;

impl World {
    /// Every host, in the order in which they were added.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.machines.len() as u32).map(HostId)
    }

    /// The hosts on which a node runs that has not left, in the order in which they were added.
    #[must_use]
    pub fn running(&self) -> Vec<HostId> {
        let running = self
            .machines
            .iter()
            .filter(|machine| machine.process.driver().is_some_and(|driver| !driver.node.has_left()));
        running.map(|machine| machine.id).collect()
    }

    /// Whether a node runs on the host, paused or not, that has not left.
    #[must_use]
    #[track_caller]
    pub fn is_running(&self, host: HostId) -> bool {
        self.machine(host).process.driver().is_some_and(|driver| !driver.node.has_left())
    }

    /// Whether a node runs on the host that has not left and is not paused, so that its verbs can be called.
    #[must_use]
    #[track_caller]
    pub fn can_act(&self, host: HostId) -> bool {
        self.is_running(host) && !self.machine(host).paused
    }

    /// The latest run of a node, or puppet, on this host.
    ///
    /// # Panics
    ///
    /// If none has run yet.
    #[must_use]
    #[track_caller]
    pub fn run(&self, host: HostId) -> Run {
        self.machine(host).run.unwrap_or_else(|| panic!("no node has run on {host}"))
    }

    /// The id of the latest node on this host.
    ///
    /// # Panics
    ///
    /// If none has run yet.
    #[must_use]
    #[track_caller]
    pub fn id(&self, host: HostId) -> NodeId {
        self.run(host).id
    }

    /// The address at which the host's node listens, or would listen.
    #[must_use]
    #[track_caller]
    pub fn addr(&self, host: HostId) -> SocketAddr {
        let port = self.machine(host).spec.port.unwrap_or(7_000);
        SocketAddr::new(self.net.ip(host), port)
    }

    /// Every event that the nodes of this host have told, oldest first.
    #[must_use]
    #[track_caller]
    pub fn events(&self, host: HostId) -> &[Logged] {
        &self.machine(host).log.events
    }

    /// How many events of `host` satisfy `condition`.
    #[must_use]
    #[track_caller]
    pub fn count_events(&self, host: HostId, mut condition: impl FnMut(&Event) -> bool) -> usize {
        self.events(host).iter().filter(|logged| condition(&logged.event)).count()
    }

    /// How often `host` told that a run of the node on `peer` is up.
    #[must_use]
    #[track_caller]
    pub fn ups(&self, host: HostId, peer: HostId) -> usize {
        let id = self.id(peer);
        self.count_events(host, |event| matches!(event, Event::PeerUp(info) if info.run.id == id))
    }

    /// How often `host` told that a run of the node on `peer` is down.
    #[must_use]
    #[track_caller]
    pub fn downs(&self, host: HostId, peer: HostId) -> usize {
        let id = self.id(peer);
        self.count_events(host, |event| matches!(event, Event::PeerDown { peer, .. } if peer.id == id))
    }

    /// Every message that users of this host's nodes have taken, oldest first.
    #[must_use]
    #[track_caller]
    pub fn messages(&self, host: HostId) -> &[Taken] {
        &self.machine(host).log.messages
    }

    /// How many messages users of this host's nodes have taken.
    #[must_use]
    #[track_caller]
    pub fn taken(&self, host: HostId) -> u64 {
        self.machine(host).log.taken
    }

    /// How many [numbered](World::send_numbered) messages of the present run on `from` the present run on `host` has
    /// taken.
    #[must_use]
    #[track_caller]
    pub fn numbered(&self, host: HostId, from: HostId) -> u64 {
        self.assert_here(host);
        self.oracle.numbered(host, self.run(from))
    }

    /// Every notice of this host's nodes, oldest first.
    #[must_use]
    #[track_caller]
    pub fn notices(&self, host: HostId) -> &[Noticed] {
        &self.machine(host).log.notices
    }

    /// Every link that this host's nodes have asked to close, oldest first.
    #[must_use]
    #[track_caller]
    pub fn closes(&self, host: HostId) -> &[Closed] {
        &self.machine(host).log.closes
    }

    /// Every link of this host's nodes that has ended, oldest first.
    #[must_use]
    #[track_caller]
    pub fn ends(&self, host: HostId) -> &[Ended] {
        &self.machine(host).log.ends
    }

    /// When this host's nodes said that a peer has room again after a refused send, and which.
    #[must_use]
    #[track_caller]
    pub fn writable(&self, host: HostId) -> &[(Instant, NodeId)] {
        &self.machine(host).log.writable
    }

    /// How many inbound connections this host's nodes did not admit.
    #[must_use]
    #[track_caller]
    pub fn refused(&self, host: HostId) -> u64 {
        self.machine(host).log.refused
    }

    /// What this host's nodes have put on the wire, by kind of frame.
    #[must_use]
    #[track_caller]
    pub fn wire(&self, host: HostId) -> &Wire {
        &self.machine(host).log.wire
    }

    /// Every dial that a node has asked for, oldest first.
    #[must_use]
    pub fn dials(&self) -> &[Dialled] {
        &self.dials
    }

    /// How many dials went to `address` since `since`.
    #[must_use]
    pub fn dials_to(&self, address: SocketAddr, since: Instant) -> usize {
        self.dials.iter().filter(|dial| dial.to == address && dial.at >= since).count()
    }

    /// How many dials `host` has made since `since`.
    #[must_use]
    #[track_caller]
    pub fn dials_from(&self, host: HostId, since: Instant) -> usize {
        self.assert_here(host);
        self.dials.iter().filter(|dial| dial.from == host && dial.at >= since).count()
    }

    /// How many connections between two hosts have ever stood at the TCP level, whoever dialled.
    #[must_use]
    #[track_caller]
    pub fn opened(&self, a: HostId, b: HostId) -> u64 {
        self.assert_here(a);
        self.assert_here(b);
        self.net.opened.get(&(a.min(b), a.max(b))).copied().unwrap_or(0)
    }

    /// The links that the node on `host` has, those included that are still being closed, oldest first.
    #[must_use]
    #[track_caller]
    pub fn links(&self, host: HostId) -> Vec<LinkView> {
        let Some(driver) = self.machine(host).process.driver() else { return Vec::new() };
        let view = |(link, entry): (_, &crate::driver::Link)| LinkView {
            link,
            connection: entry.sock.conn.serial as usize,
            outbound: entry.sock.side == Side::Dialer,
            remote: self.net.end(entry.sock).remote,
            peer: entry.peer,
            granted: entry.granted,
            closing: entry.closing,
        };
        driver.links().map(view).collect()
    }

    /// Whether the node on `host` has the present run on `peer` up.
    #[must_use]
    #[track_caller]
    pub fn sees(&self, host: HostId, peer: HostId) -> bool {
        self.assert_here(host);
        let run = self.run(peer);
        let up = |info: &cluster_core::PeerInfo| info.run == run && info.state == PeerState::Up;
        self.is_running(host) && self.core(host).peer(run.id).as_ref().is_some_and(up)
    }

    /// Whether two nodes have each other up, over one link, which is the same at both ends, and have no other link
    /// with each other.
    #[must_use]
    #[track_caller]
    pub fn linked(&self, a: HostId, b: HostId) -> bool {
        let (run_a, run_b) = (self.run(a), self.run(b));
        let of = |host: HostId, peer: Run| -> Vec<usize> {
            let links = self.links(host);
            links.iter().filter(|link| link.peer == Some(peer)).map(|link| link.connection).collect()
        };
        let (here, there) = (of(a, run_b), of(b, run_a));
        self.sees(a, b) && self.sees(b, a) && here.len() == 1 && here == there
    }

    /// Whether these nodes form a complete mesh: each two of them are [linked](World::linked), and have no peer up
    /// besides. Costs little as long as a node has too few peers or links.
    #[must_use]
    #[track_caller]
    pub fn is_mesh(&self, hosts: &[HostId]) -> bool {
        let others = hosts.len().saturating_sub(1);
        for &host in hosts {
            self.assert_here(host);
        }
        let machine = |host: HostId| &self.machines[host.index()];
        let connected = |host| machine(host).process.driver().map_or(0, |driver: &Driver| driver.connected);
        if !hosts.iter().all(|&host| machine(host).log.up == others && connected(host) >= others)
            || !hosts.iter().all(|&host| self.is_running(host))
        {
            return false;
        }
        // Those with more links than that first: there it is most likely that something is amiss.
        let mut order: Vec<usize> = (0..hosts.len()).collect();
        order.sort_by_key(|&index| connected(hosts[index]) == others);
        let places: BTreeMap<Run, usize> =
            hosts.iter().enumerate().map(|(index, &host)| (self.run(host), index)).collect();
        let mut connections = vec![Vec::new(); hosts.len()];
        for index in order {
            let Some(found) = self.connections_with(hosts[index], &places) else { return false };
            connections[index] = found;
        }
        let agree = |a: usize, b: usize| {
            connections[a][b].is_some()
                && connections[a][b] == connections[b][a]
                && self.sees(hosts[a], hosts[b])
                && self.sees(hosts[b], hosts[a])
        };
        (0..hosts.len()).all(|a| (a + 1..hosts.len()).all(|b| agree(a, b)))
    }

    /// Whether all the nodes that run form a complete mesh.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_mesh(&self.running())
    }

    /// The connection that a host has with each of these runs; `None` if it has several with one of them.
    fn connections_with(&self, host: HostId, places: &BTreeMap<Run, usize>) -> Option<Vec<Option<usize>>> {
        let mut found = vec![None; places.len()];
        for link in self.links(host) {
            if let Some(&place) = link.peer.as_ref().and_then(|run| places.get(run))
                && found[place].replace(link.connection).is_some()
            {
                return None;
            }
        }
        Some(found)
    }
}
