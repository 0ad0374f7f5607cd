//! What a world says when something in it is wrong.

use std::fmt;

use cluster_core::Instant;
use cluster_timeline::record::HostId;

/// A promise that was broken in a world, or an expectation that did not come true.
///
/// A world made by [`World::new`](crate::World::new) panics with its text. A world that runs a
/// [`Schedule`](crate::Schedule) unwinds with the value itself, and nothing is printed: whoever runs schedules
/// gets it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The seed of the world.
    pub seed: u64,
    /// When, in the world's time.
    pub at: Instant,
    /// The host whose node broke the promise, if it was one of them.
    pub host: Option<HostId>,
    /// What is wrong.
    pub text: String,
    /// The last lines of the trace.
    pub tail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = self.host {
            write!(f, "{host}: ")?;
        }
        writeln!(f, "{}", self.text)?;
        write!(f, "seed {}, at {:?}", self.seed, self.at)?;
        if self.tail.is_empty() { Ok(()) } else { write!(f, "; the last lines of the trace:\n{}", self.tail) }
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_shows_who_what_when_and_the_trace() {
        let at = Instant::from_nanos(1_500_000_000);
        let host = Some(HostId(2));
        let violation = Violation { seed: 7, at, host, text: "no".to_owned(), tail: "last line".to_owned() };
        let shown = violation.to_string();
        for part in ["n2: no", "seed 7", &format!("{at:?}"), "last line"] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
