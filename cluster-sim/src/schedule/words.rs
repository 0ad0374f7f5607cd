//! How numbers and spans are written in Rust.

use std::time::Duration;

use super::profile::Pace;

pub(crate) fn duration(span: Duration) -> String {
    let nanos = span.as_nanos();
    let (unit, count) = match nanos {
        0 => return "Duration::ZERO".to_owned(),
        _ if nanos.is_multiple_of(1_000_000_000) => ("secs", nanos / 1_000_000_000),
        _ if nanos.is_multiple_of(1_000_000) => ("millis", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1_000) => ("micros", nanos / 1_000),
        _ => ("nanos", nanos),
    };
    format!("Duration::from_{unit}({})", grouped(count))
}

/// A number as `rustfmt` and people like it.
pub(crate) fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or("")).collect();
    groups.join("_")
}

pub(crate) fn pace(pace: Pace) -> String {
    format!("Pace::{pace:?}")
}

/// Shorter spans to try instead of one, the shortest first.
pub(crate) fn shorter(span: Duration) -> impl Iterator<Item = Duration> {
    let candidates = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(span.as_secs()), span / 2];
    candidates.into_iter().filter(move |&shorter| shorter < span)
}
