//! The scenarios of `scenarios.md`, each a test named after the behaviour.
//!
//! [`harness`] has what several of them need; the other modules are one per topic.

mod abuse;
mod addresses;
mod formation;
mod half_open;
mod harness;
mod hostile;
mod hosts;
mod identity;
mod leaving;
mod limits;
mod liveness;
mod load;
mod network;
mod partitions;
mod printed;
mod schedules;
mod secure;
mod sessions;
mod timeline;
mod world;
