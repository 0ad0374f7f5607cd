//! A cluster in which every node is connected to every other one, on tokio and TCP. A node joins any member and finds
//! the rest by itself. It sends messages to one peer or to all: each arrives once and in order, also over lost
//! connections, or its sender is told that it did not, or that nobody knows. It is told who comes and who goes, and
//! connects again to whom it lost.
//!
//! ```
//! use cluster_tokio::{Config, Node, keys};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new(keys::generate_secret()?); // every node needs the same secret
//! let alice = Node::bind("localhost:0", config.clone()).await?;
//! let bob = Node::bind("localhost:0", config).await?;
//!
//! let peer = alice.join(bob.local_addr()).await?;
//! assert_eq!(peer, bob.id());
//! alice.broadcast("Hello, world!")?;
//!
//! let message = bob.recv().await?;
//! assert_eq!(message.from.id, alice.id());
//! assert_eq!(message.payload, "Hello, world!");
//!
//! alice.leave().await;
//! bob.leave().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! - [`Node`]: the handle. Its first methods are all that most programs need; *Operating a node* has the others.
//! - [`keys`]: the secret that lets nodes in, and the key that makes a node who it is.
//! - [`Config`]: the settings, with the presets [`lan`](Config::lan), [`wan`](Config::wan) and
//!   [`local`](Config::local).
//! - [`Events`]: the [`Event`]s of a node, to be awaited. [`PeerInfo`] describes a peer, [`Reason`] why one is gone.
//! - [`SendError`], [`Broadcast`]: what became of a message.
//! - [`BindError`], [`JoinError`], [`Closed`]: what can fail.
//! - [`cluster_core`]: the protocol itself, for those who have an event loop of their own. Every decision is made
//!   there; this crate has the sockets.
//!
//! # What a peer costs
//!
//! A connected peer at rest costs a descriptor and a task: about 11 KiB of memory, and with the default timing 0.005 % of one
//! core, so 0.5 % for 100 peers. That was measured by `cargo run --release -p cluster-tokio --example idle`, with 1,640 ends
//! of links in one process on Linux. `--example crowd -- 90` forms a mesh of 90 nodes in one process.
//!
//! A full mesh has N × (N − 1) / 2 connections. That is fine for some 300 nodes; beyond, a SWIM library serves better.
//!
//! `examples/hello.rs` is the program above; `examples/node` is a node for a terminal.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

/// Its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// So are those of the page on security.
#[cfg(doctest)]
#[doc = include_str!("../../SECURITY.md")]
struct Security;

mod events;
mod link;
mod listener;
mod node;
mod tasks;

pub use cluster_core;
pub use cluster_host::api::*;
pub use events::Events;
pub use node::Node;
