//! What can be wrong with the bytes of a frame.

use core::fmt;

/// Bytes are not a frame that this version takes. PROTOCOL.md, "Frames", has the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A record without any frame, or a data frame without any data.
    Empty,
    /// The bytes end early, are not CBOR in the form that PROTOCOL.md allows, or do not fit the type of the frame.
    Malformed,
    /// Bytes follow the frame. Only [`Frame::decode`](super::Frame::decode) says so: in a record the next frame follows.
    Trailing,
    /// The frame is longer than its type may be.
    TooLong {
        /// The type number of the frame.
        kind: u64,
        /// The most bytes that a frame of this type has; of a data frame, the most bytes of its chunk.
        cap: usize,
    },
    /// Items are nested more deeply than [`MAX_NESTING`](crate::limits::MAX_NESTING).
    TooDeep,
    /// A type number that this version does not know. In a record, those from 64 on are skipped instead.
    UnknownType(u64),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Empty => f.write_str("a record without a frame, or data without a byte"),
            FrameError::Malformed => f.write_str("malformed frame"),
            FrameError::Trailing => f.write_str("bytes follow the frame"),
            FrameError::TooLong { kind, cap } => write!(f, "a frame of type {kind} is longer than {cap} bytes"),
            FrameError::TooDeep => f.write_str("a frame is nested too deeply"),
            FrameError::UnknownType(kind) => write!(f, "unknown frame type {kind}"),
        }
    }
}

impl core::error::Error for FrameError {}
