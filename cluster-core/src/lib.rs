//! The protocol of **cluster** as a pure state machine: a [`Node`] knows an accurate set of peers, is directly connected
//! to each of them, and sends messages to one or to all. It has no clock, no socket, no thread and no randomness of its
//! own: a driver tells it what happens and does what it asks for. `cluster-tokio` is such a driver; this crate is for
//! those who bring their own event loop, and for simulators. It is `no_std` and contains no `unsafe`.
//!
//! # A complete driver
//!
//! Two nodes, and a driver that carries bytes between them through memory. A driver for sockets does the same, with
//! reads and writes where this one has buffers.
//!
//! ```
//! use cluster_core::{Action, Bytes, Channel, Config, Disconnect, Event, Incarnation, Input, Instant, LinkId, Node};
//! use cluster_core::{Received, Secret, Start};
//! use std::collections::BTreeMap;
//! use std::net::SocketAddr;
//! use std::time::Duration;
//!
//! struct Host {
//!     address: SocketAddr,
//!     node: Node,
//!     /// One channel per link, and the link at the other host that it is connected to.
//!     links: BTreeMap<LinkId, (Channel, LinkId)>,
//! }
//!
//! fn host(number: u8) -> Host {
//!     let address = SocketAddr::from(([127, 0, 0, number], 7000));
//!     // A real driver draws the seed from the operating system and takes the wall clock in microseconds.
//!     let start = Start { seed: [number; 32], incarnation: Incarnation(1), listen: Some(address) };
//!     let secret = Secret::from_bytes([7; 32]); // random in earnest, and the same for every node
//!     let node = Node::new(Config::new(secret), start, Instant::ZERO).unwrap();
//!     Host { address, node, links: BTreeMap::new() }
//! }
//!
//! let mut hosts = [host(1), host(2)];
//! let mut now = Instant::ZERO;
//! let target = hosts[1].address.into();
//! hosts[0].node.join(now, target).unwrap();
//!
//! let received = 'run: loop {
//!     for here in 0..2 {
//!         let there = 1 - here;
//!         // 1. Time: a tick is due now and then. This driver's clock runs in steps.
//!         now = now + Duration::from_millis(1);
//!         hosts[here].node.handle(now, Input::Tick);
//!
//!         // 2. Do what the node asks for, until it asks for nothing more.
//!         while let Some(action) = hosts[here].node.poll_action() {
//!             match action {
//!                 Action::Dial { link, .. } => {
//!                     let from = hosts[here].address;
//!                     let other = hosts[there].node.accept(now, from).unwrap();
//!                     let ours = hosts[here].node.channel(link).unwrap();
//!                     let theirs = hosts[there].node.channel(other).unwrap();
//!                     hosts[here].links.insert(link, (ours, other));
//!                     hosts[there].links.insert(other, (theirs, link));
//!                 }
//!                 Action::Send { link } => {
//!                     let Host { node, links, .. } = &mut hosts[here];
//!                     let (channel, _) = links.get_mut(&link).unwrap();
//!                     while let Some(frame) = node.poll_frame(link) {
//!                         channel.send(frame);
//!                     }
//!                 }
//!                 Action::Event(Event::PeerUp(peer)) => {
//!                     hosts[here].node.send(now, peer.run.id, Bytes::from("hello")).unwrap();
//!                 }
//!                 Action::Deliver => {
//!                     let message = hosts[here].node.poll_message(now).unwrap();
//!                     break 'run message;
//!                 }
//!                 Action::Close { link, .. } => {
//!                     hosts[here].links.remove(&link);
//!                     hosts[here].node.handle(now, Input::Disconnected { link, cause: Disconnect::Closed });
//!                 }
//!                 _ => {}
//!             }
//!         }
//!
//!         // 3. Carry bytes, and tell the node what its channels make of them.
//!         let links: Vec<LinkId> = hosts[here].links.keys().copied().collect();
//!         for link in links {
//!             let (channel, other) = hosts[here].links.get_mut(&link).unwrap();
//!             let (bytes, other) = (channel.output().pieces().collect::<Vec<_>>().concat(), *other);
//!             channel.output().advance(bytes.len());
//!             let Host { node, links, address } = &mut hosts[there];
//!             let (channel, _) = links.get_mut(&other).unwrap();
//!             channel.receive(Bytes::from(bytes));
//!             while let Some(received) = channel.poll().unwrap() {
//!                 node.handle(now, Input::received(other, *address, received));
//!             }
//!         }
//!     }
//! };
//! assert_eq!(received.payload, "hello");
//! ```
//!
//! A driver for sockets also says when bytes were read that make no whole frame ([`Input::BytesRead`]), and when a socket
//! took only a part of what was written ([`Input::BytesWritten`]): on a slow link that is how the node knows it alive.
//!
//! # Map
//!
//! * [`Node`]: the state machine; what it is born with is [`Config`] and [`Start`].
//! * [`Secret`], [`Keyring`]: what lets a node in. [`Identity`]: what makes it who it is.
//! * [`Input`]: what the driver tells it. [`Action`]: what it asks the driver for. [`Event`]: what the user is told.
//! * [`Channel`]: turns the bytes of one connection into frames and back; the driver runs one per link.
//!   [`Credentials`] are for those who make channels without a node.
//! * [`Message`], [`SendError`], [`Broadcast`]: what users send and receive.
//! * [`Reason`], [`JoinError`]: why things ended. [`Limits`] and [`limits`]: every bound. [`Timing`]: every
//!   interval. [`Stats`]: every counter. [`Usage`]: how full every table is.
//! * [`adapter`]: what adapters share, for those who write one.
//! * [`wire`]: the frames. The protocol itself is specified in PROTOCOL.md, at the top of the repository.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod action;
pub mod adapter;
mod address;
mod backoff;
mod bucket;
mod channel;
mod config;
mod control_budget;
mod credentials;
mod error;
mod event;
mod flight;
mod hex;
mod id;
mod identity;
mod input;
pub mod limits;
mod link;
mod message;
mod mutant;
mod node;
mod peer;
mod reason;
mod rng;
mod secret;
mod session;
mod stats;
mod time;
mod timers;
mod tombstone;
pub mod wire;

pub use bytes::Bytes;
pub use ipnet::{AddrParseError as ParseNetworkError, IpNet};

pub use action::{Action, CloseMode, Notice};
pub use address::{Advertised, ParseTargetError, Target};
pub use channel::{Channel, ChannelError, Hello, Output, Proven, Received};
pub use config::{Acknowledge, Config, ConfigError, Limits, Offline, Timing};
pub use credentials::{Credentials, Role};
pub use error::{FlushError, Refused, UnknownPeer};
pub use event::{Event, PeerInfo, PeerState, Undelivered};
pub use id::{FlushId, Incarnation, JoinId, LinkId, NodeId, ParseNodeIdError, Run};
pub use identity::Identity;
pub use input::{Disconnect, Input};
pub use message::{Broadcast, Message, Receipt, SendError, SendErrorKind};
#[cfg(any(test, cluster_mutants))]
#[doc(hidden)]
pub use mutant::Mutant;
pub use node::{Deferred, Node, Start};
pub use reason::{JoinError, ProtocolError, Reason};
pub use secret::{Keyring, ParseKeyError, Secret, SecretId};
pub use stats::{Memory, Stats, Usage};
pub use time::Instant;
pub use wire::{Frame, FrameError, Name, ParseNameError, RejectCode, Suite};
