//! Who is who: nodes, their runs, and the links between them.

use core::fmt;
use core::str::FromStr;

use crate::hex::{self, Hex};

/// Identifies a node: 16 bytes, shown as 32 hexadecimal digits.
///
/// With a secret it is a hash of the node's key, see [`Identity`](crate::Identity), and nobody else can have it. In plain
/// mode it is drawn at random when the node starts, unless [`Config::node_id`](crate::Config::node_id) sets it, and
/// proves nothing. Two live nodes must never share one; if they do, the one that was there first wins and both are told.
///
/// ```
/// use cluster_core::NodeId;
///
/// let id: NodeId = "000102030405060708090a0b0c0d0e0f".parse()?;
/// assert_eq!(id.as_bytes()[15], 0x0f);
/// assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0e0f");
/// # Ok::<(), cluster_core::ParseNodeIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// An id made of these 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> NodeId {
        NodeId(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

/// The first eight digits, enough to tell nodes apart in a log.
impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0[..4]), f)
    }
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<NodeId, ParseNodeIdError> {
        hex::decode(text).map(NodeId).ok_or(ParseNodeIdError)
    }
}

/// A text is not a node id: it needs exactly 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseNodeIdError;

impl fmt::Display for ParseNodeIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node id is 32 hexadecimal digits")
    }
}

impl core::error::Error for ParseNodeIdError {}

/// Tells successive runs of one node apart; a later run has the greater number.
///
/// The driver gives it at start, usually the wall clock in microseconds. It is compared, never interpreted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One run of one node: the unit that is up or down, and that a session belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// Which node.
    pub id: NodeId,
    /// Which of its runs.
    pub incarnation: Incarnation,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.id, self.incarnation)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.id, self.incarnation)
    }
}

/// Names one connection at one node. Allocated by the core, never reused, so late input for a dead link is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(crate) u64);

impl LinkId {
    /// The number behind the id, for logs and traces.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

/// Names one call of [`Node::join`](crate::Node::join), so that its outcome can be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinId(pub(crate) u64);

impl JoinId {
    /// The number behind the id, for logs and traces.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Names one call of [`Node::flush`](crate::Node::flush), so that its end can be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushId(pub(crate) u64);

impl FlushId {
    /// The number behind the id, for logs and traces.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn text_that_is_not_an_id_is_refused() {
        for text in ["", "00", "0g0102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0f0", "é"] {
            assert_eq!(text.parse::<NodeId>(), Err(ParseNodeIdError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_id_survives_its_text_form(bytes: [u8; 16]) {
            let id = NodeId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
