//! Why a node could not be made, with the address and the operating system's words.

use std::error::Error;
use std::{fmt, io};

use cluster_core::ConfigError;

/// A node could not be made; nothing of it is left.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be listened at.
    Listen {
        /// The address, as it was given.
        address: String,
        /// The operating system's words.
        error: io::Error,
    },
    /// Two settings contradict each other.
    Config(ConfigError),
    /// The operating system gave no randomness.
    Entropy(io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Listen { address, error } => write!(f, "cannot listen at {address}: {error}"),
            BindError::Config(error) => error.fmt(f),
            BindError::Entropy(error) => write!(f, "the operating system gives no randomness: {error}"),
        }
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BindError::Listen { error, .. } | BindError::Entropy(error) => Some(error),
            BindError::Config(error) => Some(error),
        }
    }
}
