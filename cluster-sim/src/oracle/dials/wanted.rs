//! What the user of a node wants to be connected to: joins under way, and seeds.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cluster_core::{JoinId, Target};

/// Targets, and where they are by the latest look-up.
#[derive(Debug, Default)]
pub(in crate::oracle) struct Wanted {
    targets: BTreeMap<Target, Want>,
    joins: BTreeMap<JoinId, Target>,
}

#[derive(Debug, Default)]
struct Want {
    seed: bool,
    joins: usize,
    addresses: Vec<SocketAddr>,
}

impl Wanted {
    pub(super) fn seed(&mut self, target: Target) {
        self.want(target).seed = true;
    }

    pub(super) fn join(&mut self, join: JoinId, target: Target) {
        self.want(target.clone()).joins += 1;
        self.joins.insert(join, target);
    }

    /// A join has had its outcome.
    pub(in crate::oracle) fn ended(&mut self, join: JoinId) {
        let Some(target) = self.joins.remove(&join) else { return };
        if let Some(want) = self.targets.get_mut(&target) {
            want.joins -= 1;
            if want.joins == 0 && !want.seed {
                self.targets.remove(&target);
            }
        }
    }

    /// A name was looked up.
    pub(in crate::oracle) fn resolved(&mut self, target: &Target, addresses: &[SocketAddr]) {
        if let Some(want) = self.targets.get_mut(target) {
            want.addresses = addresses.to_vec();
        }
    }

    /// Whether the user wants to be connected to whoever is at this address.
    pub(super) fn names(&self, address: SocketAddr) -> bool {
        self.targets.values().any(|want| want.addresses.contains(&address))
    }

    /// Where the seeds are.
    pub(in crate::oracle) fn seeds(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.targets.values().filter(|want| want.seed).flat_map(|want| want.addresses.iter().copied())
    }

    fn want(&mut self, target: Target) -> &mut Want {
        let addresses = target.literal().into_iter().collect();
        self.targets.entry(target).or_insert(Want { seed: false, joins: 0, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::join;
    use super::*;

    #[test]
    fn a_join_names_its_addresses_until_its_outcome_and_a_seed_for_ever() {
        let mut wanted = Wanted::default();
        let [a, b]: [SocketAddr; 2] = ["10.0.0.1:1", "10.0.0.2:1"].map(|text| text.parse().unwrap());
        let name: Target = "node.example:1".parse().unwrap();
        wanted.join(join(0), a.into());
        wanted.join(join(1), name.clone());
        wanted.resolved(&name, &[b]);
        assert!(wanted.names(a) && wanted.names(b));
        wanted.seed(a.into());
        wanted.ended(join(0));
        wanted.ended(join(1));
        assert!(wanted.names(a) && !wanted.names(b));
        assert_eq!(wanted.seeds().collect::<Vec<_>>(), [a]);
    }
}
