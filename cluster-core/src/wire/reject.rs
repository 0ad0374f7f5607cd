//! Why a node refuses a claim.

use core::fmt;

use crate::id::Incarnation;

/// Why a claim on a link was refused by the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectCode {
    /// A link of higher rank connects the two already.
    Outranked,
    /// Another live node uses this id.
    DuplicateIdentity,
    /// A later run of this node was seen: the clock has gone back since. Carries the incarnation seen.
    Stale {
        /// The highest incarnation the refusing node has seen.
        known: Incarnation,
    },
    /// The refusing node's user disconnected us, or ours disconnected it.
    Removed,
    /// The refusing node is leaving.
    Leaving,
    /// The refusing node has as many peers as it may.
    Full,
    /// A code that this version does not know.
    Other(u8),
}

impl RejectCode {
    /// Whether trying again later can succeed without anybody's help.
    #[must_use]
    pub fn is_transient(self) -> bool {
        !matches!(self, RejectCode::Removed | RejectCode::Leaving)
    }
}

impl fmt::Display for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RejectCode::Stale { known } => write!(f, "Stale({known})"),
            other => fmt::Debug::fmt(other, f),
        }
    }
}
