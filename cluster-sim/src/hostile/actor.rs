//! When hostile hosts act, and how they are added to a world.

use cluster_timeline::record::HostId;

use super::insider::Insider;
use super::outsider::Outsider;
use super::{Abuse, Attack, Tempo};
use crate::queue::nanos;
use crate::rng::{Purpose, Rng};
use crate::world::{Actor, World};

impl World {
    /// Adds someone who can reach every node and belongs to no cluster, and attacks in these ways from now on. It uses
    /// sixteen addresses, of which the first is returned.
    ///
    /// # Panics
    ///
    /// If there are no attacks, or there are 250 hostile hosts already.
    pub fn add_outsider(&mut self, attacks: &[Attack], tempo: Tempo) -> HostId {
        assert!(!attacks.is_empty(), "an outsider needs an attack");
        let number = self.next_hostile();
        let outsider = Outsider::new(self, number, attacks);
        let host = outsider.host();
        self.net.tape();
        self.unleash_hostile(host, tempo, Who::Outsider(outsider));
        host
    }

    /// Adds a member of the cluster that connects to every node and misbehaves in these ways from now on. It is a
    /// [puppet](World::add_puppet), and can be told to do other things as well.
    ///
    /// # Panics
    ///
    /// If there are no abuses, or there are 250 hostile hosts already.
    pub fn add_insider(&mut self, abuses: &[Abuse], tempo: Tempo) -> HostId {
        assert!(!abuses.is_empty(), "an insider needs an abuse");
        let number = self.next_hostile();
        let insider = Insider::new(self, number, abuses);
        let host = insider.host();
        self.unleash_hostile(host, tempo, Who::Insider(insider));
        host
    }

    /// Whether any node here has a secret.
    pub(crate) fn has_secret(&self) -> bool {
        self.machines.iter().any(|machine| machine.spec.config.is_secure())
    }

    fn next_hostile(&self) -> u8 {
        let number = u8::try_from(self.actors.len()).ok().filter(|&number| number < 250);
        number.unwrap_or_else(|| panic!("there are 250 hostile hosts already"))
    }

    fn unleash_hostile(&mut self, host: HostId, tempo: Tempo, who: Who) {
        let rng = Rng::new(self.seed, Purpose::Hostile, host.0, 0);
        self.unleash(Box::new(Hostile { tempo, rng, who }));
    }
}

/// A host that means harm.
#[derive(Debug)]
struct Hostile {
    tempo: Tempo,
    rng: Rng,
    who: Who,
}

#[derive(Debug)]
enum Who {
    Outsider(Outsider),
    Insider(Insider),
}

impl Actor for Hostile {
    fn act(&mut self, world: &mut World) -> u64 {
        match &mut self.who {
            Who::Outsider(outsider) => outsider.act(world, &mut self.rng),
            Who::Insider(insider) => insider.act(world, &mut self.rng),
        }
        self.rng.below(2 * nanos(self.tempo.interval()))
    }
}
