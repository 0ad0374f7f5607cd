//! Spans in JSON: a whole number of nanoseconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// Writes the nanoseconds; more than fit into 64 bits are cut off, which is 584 years.
pub(crate) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_nanos)
}
