//! Bugs on purpose: a check is worth the bugs it finds.
//!
//! Only builds for testing can contain one: the crate's own unit tests, and builds with `--cfg cluster_mutants`.

/// A bug that can be switched on in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Ranks links by the dialer's id alone, and trusts the one it has: the folklore rule "the greater id wins".
    GreaterIdWins,
    /// Gives up the own dial once an inbound claim of the same run was granted.
    CancelDialOnAccept,
    /// Refuses inbound claims of a run that is being dialled.
    RefuseWhileDialing,
    /// Does not probe the live link when a newcomer is refused.
    NoProbe,
}
