//! The scenarios of `scenarios.md`, each a test named after the behaviour.
//!
//! [`harness`] has what several of them need; the other modules are one per topic.

mod formation;
mod harness;
mod world;
