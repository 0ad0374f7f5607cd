//! Why channels fail.

use core::fmt;
use core::ops::RangeInclusive;

use crate::wire::FrameError;

/// The reason for the failure of a channel. The driver must write the remaining output and then close the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelError {
    /// The other side speaks another protocol.
    NotThisProtocol,
    /// One side encrypts and the other does not, or each does in another way.
    Mode,
    /// The other side is of another cluster. In secure mode that cannot be told from another secret.
    Cluster,
    /// Secure mode: the other side has none of our secrets, or its hello means another cluster.
    Secret,
    /// Secure mode: what arrived is not what the other side has written, or not in that place.
    Forged,
    /// There is no version that both sides speak.
    Version {
        /// The versions we speak.
        ours: RangeInclusive<u8>,
        /// The versions they speak.
        theirs: RangeInclusive<u8>,
    },
    /// The other side repeats a conversation that was recorded, or what we say ourselves.
    Replay,
    /// The handshake is longer than [`MAX_HANDSHAKE`](crate::limits::MAX_HANDSHAKE) bytes.
    HandshakeTooLong,
    /// A message of the handshake is malformed, or contradicts an earlier one.
    Handshake,
    /// A frame is not one that may be taken.
    Frame(FrameError),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChannelError::NotThisProtocol => "the other side speaks another protocol",
            ChannelError::Mode => "the two sides do not encrypt in the same way",
            ChannelError::Cluster => "the other side is of another cluster",
            ChannelError::Secret => "the other side has another secret, or is of another cluster",
            ChannelError::Forged => "what arrived is not what the other side has written",
            ChannelError::Version { ours, theirs } => {
                let (from, to) = (ours.start(), ours.end());
                let (their_from, their_to) = (theirs.start(), theirs.end());
                return write!(f, "no common version: ours are {from} to {to}, theirs {their_from} to {their_to}");
            }
            ChannelError::Replay => "the other side repeats recorded messages",
            ChannelError::HandshakeTooLong => "the handshake is too long",
            ChannelError::Handshake => "malformed handshake",
            ChannelError::Frame(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for ChannelError {}
