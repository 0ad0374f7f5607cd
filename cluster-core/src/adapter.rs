//! What adapters have in common besides the protocol: the queue of events of one subscriber, what can be joined, and
//! the errors of their verbs.

mod error;
mod events;

pub use error::{Closed, FlushError, IntoTarget, JoinError};
pub use events::{EVENT_QUEUE, EventQueue};
