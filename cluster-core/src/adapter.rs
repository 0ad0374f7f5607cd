//! What adapters have in common besides the protocol, for those who write one: who waits for what, what subscribers are
//! still to be told, what can be joined, and the errors of their verbs. None of it has a lock or a socket; it is kept
//! under the lock of the node.
//!
//! * [`Waiting`]: the callers that wait for the end of a join or a flush.
//! * [`EventQueue`]: what one subscriber is still to be told. [`Subscribers`]: all of them, and the [`Unread`] that they
//!   share.
//! * [`Pulse`]: how often the node hears that bytes moved on a link.
//! * [`LogBudget`]: how many lines of a log events are worth.
//! * [`IntoTarget`]: what can be joined. [`BindError`], [`JoinError`], [`FlushError`], [`Closed`]: what can fail.

mod error;
mod events;
mod log_budget;
mod pulse;
mod subscribers;
mod waiting;

pub use error::{BindError, Closed, FlushError, IntoTarget, JoinError};
pub use events::{EVENT_QUEUE, EventQueue};
pub use log_budget::{LOG_BURST, LOG_INTERVAL, LogBudget, LogClass};
pub use pulse::Pulse;
pub use subscribers::{Reader, Subscriber, Subscribers, Unread};
pub use waiting::{Settled, Waiting};
