//! The names that a user of a node needs, whichever adapter it is from: an adapter re-exports all of them.

#[doc(no_inline)]
pub use cluster_core::adapter::{Closed, EVENT_QUEUE, FlushError, IntoTarget, JoinError};
#[doc(no_inline)]
pub use cluster_core::{
    Acknowledge, Broadcast, Config, ConfigError, Event, Identity, Incarnation, JoinError as JoinFailure, Keyring,
    Limits, Message, Name, NodeId, Offline, ParseKeyError, ParseNameError, ParseNodeIdError, ParseTargetError,
    PeerInfo, PeerState, Reason, Receipt, Run, Secret, SendError, SendErrorKind, Stats, Suite, Target, Undelivered,
    UnknownPeer,
};

pub use crate::errors::ACCEPT_PAUSE;
pub use crate::{BindError, LEAVE_TIMEOUT, keys};
