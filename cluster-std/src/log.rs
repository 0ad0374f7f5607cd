//! What an operator can read.

use cluster_core::{Event, NodeId, Notice, Run};

/// A line of log. Those about events come with the number of lines like it that were left out before it.
pub(crate) enum Log {
    Event(Event, u64),
    /// Messages came to nothing, and no subscriber is there to hear of it.
    Unheard {
        peer: Run,
        not_delivered: usize,
        in_doubt: usize,
        suppressed: u64,
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
            Log::Unheard { peer, not_delivered, in_doubt, suppressed } => {
                tracing::warn!(?node, ?peer, not_delivered, in_doubt, suppressed, "messages came to nothing");
            }
            Log::Event(event @ (Event::Delivered { .. } | Event::Flushed { .. }), suppressed) => {
                tracing::trace!(?node, ?event, suppressed, "event");
            }
            Log::Event(event, suppressed) => tracing::debug!(?node, ?event, suppressed, "event"),
        }
    }
}
