//! What a side of a connection has to begin with.

use core::fmt;

use crate::identity::Identity;
use crate::secret::Keyring;
use crate::wire::Suite;

/// Which side of a connection a channel is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that dialled, and speaks first.
    Initiator,
    /// The side that was dialled.
    Responder,
}

/// What one side brings into a secure handshake, besides its [`Hello`](crate::Hello).
#[derive(Clone)]
pub struct Credentials {
    /// Who we are.
    pub identity: Identity,
    /// What proves that we belong to the cluster, and what others may prove it with.
    pub keyring: Keyring,
    /// The cipher that we ask for when we dial. As the side that is dialled we take the other side's.
    pub suite: Suite,
    /// Random and never used before: the key of this one handshake is made from it.
    pub entropy: [u8; 32],
}

/// Shows nothing that is to stay with its owner.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credentials { identity, suite, .. } = self;
        f.debug_struct("Credentials").field("identity", identity).field("suite", suite).finish_non_exhaustive()
    }
}
