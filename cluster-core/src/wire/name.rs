//! Labels that are safe to print wherever they come from.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// A label of a node or a cluster: 1 to 64 characters of `[A-Za-z0-9._-]`, so that remote text in a log can do no
/// harm.
///
/// ```
/// use cluster_core::Name;
///
/// let name: Name = "node-1.eu".parse()?;
/// assert_eq!(name.as_str(), "node-1.eu");
/// assert!("two words".parse::<Name>().is_err());
/// # Ok::<(), cluster_core::ParseNameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The most characters a name has.
    pub const MAX_LEN: usize = 64;

    /// The cluster that a node belongs to unless it is told another.
    pub(crate) fn default_cluster() -> Name {
        Name("default".into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Name, ParseNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > Name::MAX_LEN || !text.bytes().all(allowed) {
            return Err(ParseNameError);
        }
        Ok(Name(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text is not a name: it needs 1 to 64 characters of `[A-Za-z0-9._-]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseNameError;

impl fmt::Display for ParseNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name is 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'")
    }
}

impl core::error::Error for ParseNameError {}
