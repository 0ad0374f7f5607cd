//! What a node of [`cluster_core`] must do, written a second time to check it. The simulator, the suite for adapters and
//! the fuzz targets follow nodes with these.
//!
//! # Independence
//!
//! Only plain data comes from the core: events, ids, and the fields of frames. Nothing here calls the code that it checks;
//! the rules are written anew from the documentation of [`Event`](cluster_core::Event) and from PROTOCOL.md, so a mistake
//! in the core cannot hide in a check. Nothing here panics on what a remote says.
//!
//! # Map
//!
//! | what is checked | with |
//! |---|---|
//! | the order of the events of one node | [`Grammar`] |
//! | the head of a message in a stream | [`Head`] |
//! | where the messages of a stream end | [`Boundaries`] |
//! | the stream that a node sends: offsets, credit, how it continues over the next link | [`Outgoing`], [`Resumption`] |
//! | the stream that a node receives: what arrived, what was taken, acknowledgements, grants | [`Incoming`], [`Taken`] |
//!
//! # Example
//!
//! ```
//! use cluster_check::Grammar;
//! use cluster_core::{Event, Incarnation, NodeId, Run};
//!
//! let peer = Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(1) };
//! let wrong = Grammar::new().next(&Event::PeerGone { peer }).unwrap_err();
//! assert!(wrong.contains("before any PeerUp"));
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod boundaries;
mod grammar;
mod head;
mod incoming;
mod outgoing;

pub use boundaries::Boundaries;
pub use grammar::Grammar;
pub use head::{BadHead, Head};
pub use incoming::{Incoming, Taken};
pub use outgoing::{Outgoing, Resumption, successor};
