//! What a test can see.

use std::collections::BTreeMap;

use cluster_core::Run;
use cluster_timeline::record::HostId;

use super::World;
use crate::driver::Driver;

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

    /// Whether two nodes have each other up, over one link, which is the same at both ends, and have no other link
    /// with each other.
    #[must_use]
    #[track_caller]
    pub fn linked(&self, a: HostId, b: HostId) -> bool {
        let (run_a, run_b) = (self.host(a).run(), self.host(b).run());
        let of = |host: HostId, peer: Run| -> Vec<usize> {
            let links = self.host(host).links();
            links.iter().filter(|link| link.peer == Some(peer)).map(|link| link.connection).collect()
        };
        let (here, there) = (of(a, run_b), of(b, run_a));
        self.host(a).sees(b) && self.host(b).sees(a) && here.len() == 1 && here == there
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
            || !hosts.iter().all(|&host| self.host(host).is_running())
        {
            return false;
        }
        // Those with more links than that first: there it is most likely that something is amiss.
        let mut order: Vec<usize> = (0..hosts.len()).collect();
        order.sort_by_key(|&index| connected(hosts[index]) == others);
        let places: BTreeMap<Run, usize> =
            hosts.iter().enumerate().map(|(index, &host)| (self.host(host).run(), index)).collect();
        let mut connections = vec![Vec::new(); hosts.len()];
        for index in order {
            let Some(found) = self.connections_with(hosts[index], &places) else { return false };
            connections[index] = found;
        }
        let agree = |a: usize, b: usize| {
            connections[a][b].is_some()
                && connections[a][b] == connections[b][a]
                && self.host(hosts[a]).sees(hosts[b])
                && self.host(hosts[b]).sees(hosts[a])
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
        for link in self.host(host).links() {
            if let Some(&place) = link.peer.as_ref().and_then(|run| places.get(run))
                && found[place].replace(link.connection).is_some()
            {
                return None;
            }
        }
        Some(found)
    }
}
