//! What every adapter of [`cluster_core`] for an operating system needs, apart from how it waits.
//!
//! `cluster-tokio` and `cluster-std` are built on it. Their users find here what those crates re-export: [`keys`], and
//! a few constants. The rest is for adapters.
//!
//! * [`api`]: the names that every adapter re-exports.
//! * [`keys`]: secrets, identities, randomness.
//! * [`Shell`]: a node under its lock, and the loop around it. A [`Runtime`] tells the shell how its adapter waits.
//! * [`Io`], [`LinkStatus`]: one connection, and how it is written.
//! * [`Queue`]: the events that wait for one subscriber.
//! * [`Clock`], [`Pool`], [`AcceptErrors`], [`dial_failure`]: the operating system.
#![forbid(unsafe_code)]

pub mod api;
pub mod keys;

mod clock;
mod errors;
mod events;
mod link;
mod log;
mod pool;
mod pulled;
mod shell;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use clock::Clock;
pub use errors::{ACCEPT_PAUSE, AcceptErrors, dial_failure};
pub use events::Queue;
pub use link::{Io, LinkStatus, Written};
pub use pool::{Pool, READ_BUFFER, is_kept_whole};
pub use shell::{Caller, Effects, Handle, NewLink, Origin, Runtime, Shell, State, Unread};

/// How long `Node::leave` gives peers to take what was sent to them.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a node could not be made, with the address and the operating system's words.
pub type BindError = cluster_core::adapter::BindError<std::io::Error>;

/// Locks a mutex, even one that a panicking thread has held: the panic is reported there, and nothing here leaves its
/// data half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What [`pulled`] is made of. Its tests have another one, in which every order of steps is tried.
mod sync {
    pub(crate) use std::sync::atomic::AtomicU8;
}
