//! What an operator can read.

use cluster_core::{Event, NodeId, Notice, Run};

/// A line of log.
pub(crate) enum Log {
    Event(Event),
    /// Messages came to nothing, and no subscriber is there to hear of it.
    Unheard {
        peer: Run,
        not_delivered: usize,
        in_doubt: usize,
    },
    Notice(Notice),
}

impl Log {
    /// What the original printed in its debug mode. Never a payload.
    pub(crate) fn write(&self, node: NodeId) {
        match self {
            Log::Notice(Notice { source, reason, suppressed }) => {
                tracing::info!(?node, %source, %reason, suppressed, "a connection came to nothing");
            }
            Log::Unheard { peer, not_delivered, in_doubt } => {
                tracing::warn!(?node, ?peer, not_delivered, in_doubt, "messages came to nothing");
            }
            Log::Event(event @ (Event::Delivered { .. } | Event::Flushed { .. })) => {
                tracing::trace!(?node, ?event, "event");
            }
            Log::Event(event) => tracing::debug!(?node, ?event, "event"),
        }
    }
}
