//! Small errors of single operations. Local misuse: nothing in the node has changed.

use core::fmt;
use core::net::SocketAddr;

use crate::id::NodeId;
use crate::reason::Reason;

/// An inbound connection was not admitted: close it. The node has counted it and keeps no trace of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where it came from.
    pub from: SocketAddr,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a connection from {} is refused: {}", self.from, self.reason)
    }
}

impl core::error::Error for Refused {}

/// No peer has this id: it was never met, or it left or was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPeer(pub NodeId);

impl fmt::Display for UnknownPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no peer has the id {}", self.0)
    }
}

impl core::error::Error for UnknownPeer {}

/// A flush cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushError {
    /// No session with a peer of this id lives: nothing that was accepted for it waits for an outcome.
    UnknownPeer(NodeId),
    /// [`MAX_FLUSHES`](crate::limits::MAX_FLUSHES) flushes of this peer wait already.
    TooMany,
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlushError::UnknownPeer(id) => UnknownPeer(*id).fmt(f),
            FlushError::TooMany => write!(f, "{} flushes of this peer wait already", crate::limits::MAX_FLUSHES),
        }
    }
}

impl core::error::Error for FlushError {}
