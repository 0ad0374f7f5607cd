//! A cluster in which every node is connected to every other one, on threads and blocking sockets, without an async
//! runtime. A node joins any member and finds the rest by itself. It sends messages to one peer or to all: each arrives
//! once and in order, also over lost connections, or its sender is told that it did not, or that nobody knows. It is
//! told who comes and who goes, and connects again to whom it lost.
//!
//! ```
//! use cluster_std::{Config, Node, keys};
//!
//! let config = Config::new(keys::generate_secret()?); // every node needs the same secret
//! let alice = Node::bind("localhost:0", config.clone())?;
//! let bob = Node::bind("localhost:0", config)?;
//!
//! let peer = alice.join(bob.local_addr())?;
//! assert_eq!(peer, bob.id());
//! alice.broadcast("Hello, world!")?;
//!
//! let message = bob.recv()?;
//! assert_eq!(message.from.id, alice.id());
//! assert_eq!(message.payload, "Hello, world!");
//!
//! alice.leave();
//! bob.leave();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to look
//!
//! - [`Node`]: the handle. Its first methods are all that most programs need; *Operating a node* has the others, among
//!   them each waiting method with a timeout.
//! - [`keys`]: the secret that lets nodes in, and the key that makes a node who it is.
//! - [`Config`]: the settings, with the presets [`lan`](Config::lan), [`wan`](Config::wan) and
//!   [`local`](Config::local).
//! - [`Events`]: an iterator over [`Event`]s. [`PeerInfo`] describes a peer, and [`Reason`] why one is gone.
//! - [`SendError`], [`Broadcast`]: what became of a message.
//! - [`BindError`], [`JoinError`], [`FlushError`], [`Closed`]: what can fail.
//! - [`cluster_core`]: the protocol itself, for those who have an event loop of their own. Every decision is made
//!   there; this crate has the sockets. `cluster-tokio` has the same `Node` for tokio.
//!
//! `examples/hello.rs` is the program above; `examples/node.rs` is a node for a terminal:
//! `cargo run -p cluster-std --example node-std -- --help`.
//!
//! # Threads, and what a peer costs
//!
//! A node has one thread that accepts connections and one that waits for the next deadline. Each connection has one
//! thread, blocked in its read. While more is to be written than the socket takes at once, and for a second after that,
//! it has a second one that writes; all other writes are done by whoever has something to send, without blocking. (On
//! systems other than Unix a write cannot be kept from blocking, and the second thread does them all.) While names are
//! being looked up there is one more thread for all of them, one name at a time.
//!
//! A connected peer at rest costs a descriptor and a thread: about 43 KiB of memory and 17 KiB of the kernel's, [`STACK`] of
//! address space, and with the default timing 0.006 % of one core, so 0.6 % for 100 peers. That was measured by
//! `cargo run --release -p cluster-std --example idle-std`, with 1,640 ends of links in one process on Linux. The thread
//! reads into 4 KiB of its stack; only one that receives much has a buffer of 256 KiB, given back after 0.1 s of silence.
//! Dialling costs a thread per dial.
//!
//! A full mesh has N × (N − 1) / 2 connections. That is fine for some 300 nodes; beyond, a SWIM library serves better.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod buffers;
mod events;
mod link;
mod listener;
mod node;
mod resolver;
mod threads;
mod turn;
mod writer;

pub use cluster_core;
pub use cluster_host::api::*;
pub use events::Events;
pub use node::{Messages, Node};
pub use threads::STACK;

/// What [`turn`] is made of. Its tests have another one, in which every order of steps is tried.
mod sync {
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread::JoinHandle;
}
