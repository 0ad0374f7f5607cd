//! The errors of an adapter's verbs: few, small, and with the address and the operating system's words in them.

use alloc::string::String;
use core::error::Error;
use core::fmt;
use core::net::SocketAddr;

use crate::address::{ParseTargetError, Target};
use crate::error::FlushError as FlushRefused;
use crate::reason::JoinError as JoinFailure;

/// A join came to nothing, or could not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// What was given is not `host:port`.
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        error: ParseTargetError,
    },
    /// No member was reached there.
    Failed {
        /// What was to be joined.
        target: Target,
        /// Why not.
        error: JoinFailure,
    },
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Address { address, error } => write!(f, "cannot join {address:?}: {error}"),
            JoinError::Failed { target, error } => write!(f, "cannot join {target}: {error}"),
        }
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            JoinError::Address { error, .. } => Some(error),
            JoinError::Failed { error, .. } => Some(error),
        }
    }
}

/// A flush did not end with everything delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushError {
    /// It could not begin.
    Refused(FlushRefused),
    /// So many of the messages accepted before it are reported by
    /// [`Event::Undelivered`](crate::Event::Undelivered); the others are delivered.
    Undelivered {
        /// How many.
        messages: u64,
    },
    /// The node has left, or its last handle was dropped, before everything had its outcome.
    Closed,
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlushError::Refused(error) => error.fmt(f),
            FlushError::Undelivered { messages } => {
                write!(f, "{messages} messages were not delivered, or are in doubt")
            }
            FlushError::Closed => f.write_str("the node has left"),
        }
    }
}

impl Error for FlushError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            FlushError::Refused(error) => Some(error),
            FlushError::Undelivered { .. } | FlushError::Closed => None,
        }
    }
}

/// The node has left, and every message that it had received was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the node has left, and no message is waiting")
    }
}

impl Error for Closed {}

/// What can be joined: a [`Target`], a socket address, or a text `host:port`.
///
/// A text with a host name is resolved afresh before each try.
pub trait IntoTarget {
    /// The target that is meant.
    ///
    /// # Errors
    ///
    /// [`JoinError::Address`] if it is not `host:port`.
    fn into_target(self) -> Result<Target, JoinError>;
}

impl IntoTarget for Target {
    fn into_target(self) -> Result<Target, JoinError> {
        Ok(self)
    }
}

impl IntoTarget for &Target {
    fn into_target(self) -> Result<Target, JoinError> {
        Ok(self.clone())
    }
}

impl IntoTarget for SocketAddr {
    fn into_target(self) -> Result<Target, JoinError> {
        Ok(self.into())
    }
}

impl IntoTarget for &str {
    fn into_target(self) -> Result<Target, JoinError> {
        self.parse().map_err(|error| JoinError::Address { address: self.into(), error })
    }
}

impl IntoTarget for &String {
    fn into_target(self) -> Result<Target, JoinError> {
        self.as_str().into_target()
    }
}

impl IntoTarget for String {
    fn into_target(self) -> Result<Target, JoinError> {
        self.as_str().into_target()
    }
}
