//! Messages, and what can be wrong with sending one.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::id::{NodeId, Run};
use crate::session::Place;

/// A message from a peer.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Who sent it, as proven by the link it came over; a sender cannot name another.
    pub from: Run,
    /// What it sent.
    pub payload: Bytes,
    /// For [`Node::acknowledge`](crate::Node::acknowledge), where acknowledging is manual.
    pub receipt: Receipt,
}

/// Says which message was taken, and of whom.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub(crate) from: Run,
    pub(crate) place: Place,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt {{ from: {:?}, .. }}", self.from)
    }
}

/// Shows the size of the payload, never its content.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message {{ from: {:?}, payload: {} bytes }}", self.from, self.payload.len())
    }
}

/// A message was not accepted; the node's state is unchanged and the payload comes back.
#[derive(Clone, PartialEq, Eq)]
pub struct SendError {
    /// The payload, untouched.
    pub payload: Bytes,
    /// Why.
    pub kind: SendErrorKind,
}

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// As much is waiting for this peer as `send_window` allows. Room comes as the peer takes messages.
    Full,
    /// The peer is not connected, and no session with it lives, or messages to lost peers are refused.
    NotConnected,
    /// The message is longer than this node or the peer accepts.
    TooLarge {
        /// Its length in bytes.
        length: u64,
        /// The most that both sides accept.
        cap: u64,
    },
    /// The node is leaving.
    Leaving,
}

impl fmt::Display for SendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendErrorKind::Full => f.write_str("as much is waiting for the peer as the send window allows"),
            SendErrorKind::NotConnected => f.write_str("the peer is not connected"),
            SendErrorKind::TooLarge { length, cap } => {
                write!(f, "the message has {length} bytes, and at most {cap} are accepted")
            }
            SendErrorKind::Leaving => f.write_str("the node is leaving"),
        }
    }
}

/// Shows the size of the payload, never its content.
impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendError {{ kind: {:?}, payload: {} bytes }}", self.kind, self.payload.len())
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl core::error::Error for SendError {}

/// What became of a broadcast: for each peer whose session lives, whether the message is queued for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// The peers it is queued for.
    pub queued: Vec<NodeId>,
    /// The peers it is not queued for, each with the reason.
    pub refused: Vec<(NodeId, SendErrorKind)>,
}

impl Broadcast {
    /// Whether no peer refused it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.refused.is_empty()
    }
}
