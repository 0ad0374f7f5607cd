//! The example `poll_loop`: it has the command line of the adapters, and passes their tests of it.

#[path = "../../cluster-cli/tests/node.rs"]
mod cli;

/// The example that `cli` runs.
const NODE: &str = "poll_loop";

mod world {
    use std::time::Duration;

    /// How long anything may take that should take no time.
    pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
}
