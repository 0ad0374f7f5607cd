//! The lines of log that an operator can read.

use cluster_core::{Event, NodeId, Notice, Undelivered};

/// A line of log. Those about events have the number of lines of their class that were left out before.
pub(crate) enum Log {
    Event(Event, u64),
    /// Messages were not delivered, and there is no subscriber to learn of it.
    Unheard(Undelivered, u64),
    Notice(Notice),
}

impl Log {
    /// Writes the line. No line has a payload.
    pub(crate) fn write(&self, node: NodeId) {
        match self {
            Log::Notice(Notice { source, reason, suppressed }) => {
                tracing::info!(?node, %source, %reason, suppressed, "a connection came to nothing");
            }
            Log::Event(Event::PeerUp(peer), suppressed) => {
                tracing::debug!(?node, peer = ?peer.run, name = peer.name.as_ref().map(|name| name.as_str()),
                    address = ?peer.address, suppressed, "peer up");
            }
            Log::Event(Event::PeerDown { peer, reason, .. }, suppressed) => {
                tracing::debug!(?node, ?peer, %reason, transient = reason.is_transient(), suppressed, "peer down");
            }
            Log::Event(Event::JoinFailed { target, error, .. }, suppressed) => {
                tracing::debug!(?node, %target, %error, suppressed, "join failed");
            }
            Log::Unheard(lost, suppressed) => {
                let (not_delivered, in_doubt) = (lost.not_delivered.len(), lost.in_doubt.len());
                tracing::warn!(?node, peer = ?lost.peer, not_delivered, in_doubt, suppressed, "messages came to nothing");
            }
            Log::Event(event @ (Event::Delivered { .. } | Event::Flushed { .. }), suppressed) => {
                tracing::trace!(?node, ?event, suppressed, "event");
            }
            Log::Event(event, suppressed) => tracing::debug!(?node, ?event, suppressed, "event"),
        }
    }
}
