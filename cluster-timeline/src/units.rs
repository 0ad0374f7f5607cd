//! Times and spans for people.

use std::time::Duration;

use cluster_core::Instant;

/// A time since the world began.
pub(crate) fn time(at: Instant) -> String {
    span(at - Instant::ZERO)
}

/// A span in the unit that suits it: `3.21 s`, `45 ms`, `1.5 µs`. What is below a thousandth of it is left out.
pub(crate) fn span(span: Duration) -> String {
    let nanos = span.as_nanos();
    if nanos == 0 {
        return "0 s".to_owned();
    }
    let (unit, name) = match nanos {
        0..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let thousandths = nanos * 1_000 / unit;
    let (whole, part) = (thousandths / 1_000, format!("{:03}", thousandths % 1_000));
    match part.trim_end_matches('0') {
        "" => format!("{whole} {name}"),
        part => format!("{whole}.{part} {name}"),
    }
}

/// The least of 1, 2 and 5 times a power of ten that is at least this, and at least 1.
pub(crate) fn tick(least: u64) -> u64 {
    let power = 10_u64.pow(least.max(1).ilog10());
    [1, 2, 5, 10].map(|count| power.saturating_mul(count)).into_iter().find(|&tick| tick >= least).unwrap_or(u64::MAX)
}

/// A time in seconds, as exact as multiples of a [`tick`] ask for.
pub(crate) fn short_time(at: Instant, tick: u64) -> String {
    let decimals = 9_u32.saturating_sub(tick.max(1).ilog10()) as usize;
    format!("{:.decimals$} s", at.as_nanos() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_shown_in_the_unit_that_suits_them() {
        for (nanos, text) in
            [(0, "0 s"), (999, "999 ns"), (1_500, "1.5 µs"), (45_000_000, "45 ms"), (3_210_999_999, "3.21 s")]
        {
            assert_eq!(span(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn ticks_are_round_and_shown_as_exactly_as_they_are() {
        assert_eq!([1, 3, 1_200, 5_000_000_000].map(tick), [1, 5, 2_000, 5_000_000_000]);
        let at = Instant::from_nanos(1_250_000_000);
        assert_eq!(short_time(at, 50_000_000), "1.25 s");
        assert_eq!(short_time(Instant::from_nanos(20_000_000_000), 10_000_000_000), "20 s");
    }
}
