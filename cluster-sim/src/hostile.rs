//! Hosts that mean harm: outsiders, who never finish a handshake, and insiders, who are members and lie. Each acts by
//! itself, at random, while the world runs, from a random stream of its own.

mod actor;
mod insider;
mod outsider;

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    pub(crate) fn interval(self) -> Duration {
        match self {
            Tempo::Slow => Duration::from_secs(1),
            Tempo::Fast => Duration::from_millis(20),
        }
    }
}
