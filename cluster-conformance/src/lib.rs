//! What every adapter of [`cluster_core`] must do, as scenarios that run on yours. The public behaviour of a node is
//! written down here once, as plays with a few nodes and what must come of them; an adapter takes part by an [`Arm`], which
//! makes nodes and offers their verbs in a blocking form. There is also a [`Proxy`] that treats connections badly, meshes
//! of several adapters, and replays of schedules of faults.
//!
//! # Example
//!
//! An arm can begin empty: the suite says what is missing. This one makes no node yet.
//!
//! ```
//! use cluster_conformance::cluster_core::Config;
//! use cluster_conformance::{Arm, BindFailure, Scenario, TestNode};
//!
//! struct MyArm;
//!
//! impl Arm for MyArm {
//!     fn name(&self) -> String {
//!         "my adapter".into()
//!     }
//!
//!     fn bind(&self, address: &str, config: Config) -> Result<Box<dyn TestNode>, BindFailure> {
//!         // Here a node is made, and wrapped in a type of yours that is a `TestNode`.
//!         Err(BindFailure::Other(format!("nobody listens at {address} yet, whatever the config: {config:?}")))
//!     }
//! }
//!
//! // With `conformance!(|| MyArm);` in a test file each scenario is a test. By hand:
//! let scenario = Scenario::named("a_join_makes_two_peers_that_both_say_so").unwrap();
//! let failure = scenario.play(|| MyArm).unwrap_err();
//! assert!(failure.to_string().contains("nobody listens at 127.0.0.1:0 yet"));
//! ```
//!
//! # Writing an arm
//!
//! 1. A type for nodes that is a [`TestNode`]: it holds the adapter's handle, and its events from the very beginning.
//!    [`same_verbs!`] writes the verbs that wait for nothing, and [`core_verbs!`] does where the core is embedded. Those
//!    that wait are begun and return a [`Pending`]: an asynchronous adapter spawns a task that sends the outcome over a
//!    channel ([`Pending::received`]), a blocking one a thread ([`Pending::on_thread`]), and a loop of your own turns
//!    while it is waited for ([`Pending::new`]).
//! 2. A type that is an [`Arm`]: it holds the runtime, if there is one, and makes such nodes. Dropped, it ends them.
//! 3. [`conformance!`]`(MyArm::new);` in a file of tests.
//!
//! The arms of this project are in the `tests` of this crate: `tokio.rs` for tasks, `threads.rs` for threads,
//! `async_std.rs` and `poll_loop.rs` for two nodes that embed the core by themselves, `sim.rs` for a world with a network
//! and a time of its own.
//!
//! # What is asked of it
//!
//! Each [`Scenario`] says what it is [about](Scenario::about): bind, bad input, join, by way of, exchange, limits,
//! disconnect, send, broadcast, order, large messages, back-pressure, flush, acknowledgement, leave, crash, restart,
//! session, secret, wire. In all of them the events of every node must follow the [`Grammar`], and no message may come of a
//! node that was not up. Scenarios wait for what is to happen, at most 12 s, and never for luck; where something must *not*
//! happen they wait for a third of a second. One takes at most [`LIMIT`], nearly all of them less than a second.
//!
//! # Map
//!
//! | to do | with |
//! |---|---|
//! | run the suite | [`conformance!`], [`run`]; [`SCENARIOS`], [`Scenario::play`] → [`Failure`] |
//! | offer an adapter | [`Arm`], [`TestNode`], [`same_verbs!`], [`core_verbs!`], [`Pending`], [`BindFailure`], [`Nothing`], [`Flushed`] |
//! | treat connections badly | [`Proxy`], [`Faults`], [`Pieces`], [`End`]; [`Way`] |
//! | try adapters together | [`mixed`] |
//! | play a schedule of faults with real nodes | [`replay`], [`Plan`], [`Act`] → [`Replayed`] or [`Broken`] |
//! | follow the events of a node | [`Grammar`] |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod arm;
mod mixed;
mod proxy;
mod replay;
mod run;
mod scenarios;
mod stage;
mod verbs;

pub use arm::{Arm, BindFailure, Flushed, Nothing, Pending, TestNode, Way};
pub use cluster_check::Grammar;
pub use cluster_core;
pub use mixed::mixed;
pub use proxy::{CONNECT_TIMEOUT, End, Faults, MAX_CONNECTIONS, Pieces, Proxy};
pub use replay::{Act, Broken, MAX_PLAN_NODES, Plan, RECOVERY, Replayed, replay};
pub use run::{Failure, LIMIT, Scenario, run};
pub use scenarios::SCENARIOS;
