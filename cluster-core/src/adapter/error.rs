//! The errors of an adapter's verbs: few, small, and with the address and the operating system's words in them.

use alloc::string::String;
use core::error::Error;
use core::fmt;
use core::net::SocketAddr;

use crate::address::{ParseTargetError, Target};
use crate::config::ConfigError;
use crate::error::FlushError as FlushRefused;
use crate::reason::JoinError as JoinFailure;

/// A node could not be made; nothing of it is left. `E` is the operating system's error: `std::io::Error`.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError<E> {
    /// The address cannot be listened at.
    Listen {
        /// The address, as it was given.
        address: String,
        /// The operating system's words.
        error: E,
    },
    /// Two settings contradict each other.
    Config(ConfigError),
    /// The operating system gave no randomness.
    Entropy(E),
    /// The operating system would not give what the node runs on: a thread, or a poller.
    Exhausted(E),
}

impl<E: fmt::Display> fmt::Display for BindError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Listen { address, error } => write!(f, "cannot listen at {address}: {error}"),
            BindError::Config(error) => error.fmt(f),
            BindError::Entropy(error) => write!(f, "the operating system gives no randomness: {error}"),
            BindError::Exhausted(error) => write!(f, "the operating system has nothing left to run a node on: {error}"),
        }
    }
}

impl<E: Error + 'static> Error for BindError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BindError::Listen { error, .. } | BindError::Entropy(error) | BindError::Exhausted(error) => Some(error),
            BindError::Config(error) => Some(error),
        }
    }
}

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

impl FlushError {
    /// What the end of a flush says, given how many of its messages were undelivered; `None` if the node ended before.
    ///
    /// # Errors
    ///
    /// Unless everything is delivered.
    pub fn check(undelivered: Option<u64>) -> Result<(), FlushError> {
        match undelivered {
            Some(0) => Ok(()),
            Some(messages) => Err(FlushError::Undelivered { messages }),
            None => Err(FlushError::Closed),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn malformed_address_is_in_the_error() {
        for address in ["localhost", "no port"] {
            let error = address.into_target().unwrap_err();
            assert!(matches!(error, JoinError::Address { .. }));
            assert!(error.to_string().contains(address), "{error}");
        }
        assert_eq!("localhost:7000".into_target().unwrap().as_str(), "localhost:7000");
    }
}
