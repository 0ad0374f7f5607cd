//! Hosts that mean harm: outsiders, who never finish a handshake, and insiders, who are members and lie. Each acts by
//! itself, at random, while the world runs, from a random stream of its own.

mod insider;
mod outsider;

use std::time::Duration;

use cluster_timeline::record::HostId;

use serde::{Deserialize, Serialize};

use self::insider::Insider;
use self::outsider::Outsider;
use crate::queue::Due;
use crate::rng::{Purpose, Rng};
use crate::world::{World, nanos};

/// What an outsider does to the nodes of a world, over and over again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attack {
    /// Sends bytes that are nobody's protocol, or another one's.
    Garbage,
    /// Opens many connections at once from many addresses, and says nothing.
    Flood,
    /// Sends the first words of a real handshake a byte at a time.
    Trickle,
    /// Sends a part of them, and then ends or resets the connection, or waits.
    HalfHello,
    /// Announces more than it has any right to.
    HugeLength,
    /// Says again what nodes of this world have said to each other.
    Replay,
}

impl Attack {
    /// Every attack.
    pub const ALL: &[Attack] =
        &[Attack::Garbage, Attack::Flood, Attack::Trickle, Attack::HalfHello, Attack::HugeLength, Attack::Replay];
}

/// What an insider does to the nodes it is connected to, over and over again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Abuse {
    /// Names members that do not exist, others at addresses where they are not, and later or earlier runs of them.
    Gossip,
    /// Sends pings, pongs, digests and changed profiles as fast as it can.
    Chatter,
    /// Sends floods of empty and tiny messages.
    TinyMessages,
    /// Sends more than it was granted, at the wrong offset, or no message at all, and acknowledges what was never sent.
    Credit,
    /// Sends frames that have no place where they come.
    Misplaced,
    /// Says goodbye and comes back, refuses who dials it for any reason there is, and claims with odd generations.
    Fickle,
    /// Neither answers nor reads for a while.
    Deaf,
    /// Opens connections that nobody needs, and lets go of none on which everything is said.
    Linger,
    /// Claims to be another run of a node of this world.
    ///
    /// Where nothing proves who is who, whoever is there first wins. So this harms a pair that is not connected, and
    /// none that is.
    Impostor,
}

impl Abuse {
    /// Every abuse.
    pub const ALL: &[Abuse] = &[
        Abuse::Gossip,
        Abuse::Chatter,
        Abuse::TinyMessages,
        Abuse::Credit,
        Abuse::Misplaced,
        Abuse::Fickle,
        Abuse::Deaf,
        Abuse::Linger,
        Abuse::Impostor,
    ];
}

/// How often a hostile host acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tempo {
    /// About once a second.
    Slow,
    /// About fifty times a second.
    Fast,
}

impl Tempo {
    /// On average this long passes between two acts.
    fn interval(self) -> Duration {
        match self {
            Tempo::Slow => Duration::from_secs(1),
            Tempo::Fast => Duration::from_millis(20),
        }
    }
}

/// Every hostile host of a world.
#[derive(Debug, Default)]
pub(crate) struct Hostiles(Vec<Hostile>);

impl Hostiles {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Debug)]
struct Hostile {
    tempo: Tempo,
    rng: Rng,
    /// `None` while it acts.
    who: Option<Who>,
}

#[derive(Debug)]
enum Who {
    Outsider(Outsider),
    Insider(Insider),
}

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
        self.unleash(host, tempo, Who::Outsider(outsider));
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
        self.unleash(host, tempo, Who::Insider(insider));
        host
    }

    /// It is a hostile host's turn.
    pub(crate) fn turn_hostile(&mut self, index: usize) {
        let Some(hostile) = self.hostiles.0.get_mut(index) else { return };
        let Some(mut who) = hostile.who.take() else { return };
        let mut rng = hostile.rng.clone();
        match &mut who {
            Who::Outsider(outsider) => outsider.act(self, &mut rng),
            Who::Insider(insider) => insider.act(self, &mut rng),
        }
        let wait = rng.below(2 * nanos(self.hostiles.0[index].tempo.interval()));
        let hostile = &mut self.hostiles.0[index];
        hostile.rng = rng;
        hostile.who = Some(who);
        self.queue.push_after(wait, Due::Hostile { index });
    }

    /// Whether any node here has a secret.
    pub(crate) fn has_secret(&self) -> bool {
        self.machines.iter().any(|machine| machine.spec.config.is_secure())
    }

    fn next_hostile(&self) -> u8 {
        let number = u8::try_from(self.hostiles.0.len()).ok().filter(|&number| number < 250);
        number.unwrap_or_else(|| panic!("there are 250 hostile hosts already"))
    }

    fn unleash(&mut self, host: HostId, tempo: Tempo, who: Who) {
        let index = self.hostiles.0.len();
        let rng = Rng::new(self.seed, Purpose::Hostile, host.0, 0);
        self.hostiles.0.push(Hostile { tempo, rng, who: Some(who) });
        self.queue.push_after(0, Due::Hostile { index });
    }
}
