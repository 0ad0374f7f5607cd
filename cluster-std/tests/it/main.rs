//! The adapter on real sockets, all of them on loopback: what is peculiar to threads. What every adapter must do is in
//! `cluster-conformance/src/scenarios`.
//!
//! Nothing here sleeps for luck: tests wait for an event or a condition, and fail when [`world::DEADLINE`] is over.
//! Only where something must *not* happen do they wait for a stated time.

#[path = "../../../cluster-cli/tests/node.rs"]
mod cli;
mod dependencies;
mod hostile;
mod lifecycle;
mod membership;
mod messages;
mod secure;
mod sessions;
mod world;

/// The example that `cli` runs.
const NODE: &str = "node-std";
