//! Counters: what a node has done, and how often it reached each of its bounds; and how full its tables are.

/// Declares the counters once, so that none can be left out where all of them are told.
macro_rules! counters {
    ($($(#[$about:meta])* pub $name:ident: u64,)*) => {
        /// What a node counts, since it was made. All counters only rise.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$about])* pub $name: u64,)*
        }

        impl Stats {
            /// Every counter with its name, in the order of the fields. A later version may have more of them.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Messages accepted by `send` and `broadcast`, once per receiver.
    pub messages_sent: u64,
    /// Messages taken by the application.
    pub messages_received: u64,
    /// Messages that their receivers have taken, or acknowledged where that is up to them.
    pub messages_delivered: u64,
    /// Messages reported as not delivered or in doubt.
    pub messages_undelivered: u64,
    /// Bytes of stream handed out for sending.
    pub bytes_sent: u64,
    /// Bytes of stream received.
    pub bytes_received: u64,
    /// Frames handed out for sending, of every kind.
    pub frames_sent: u64,
    /// Frames received on links that the node still knew.
    pub frames_received: u64,
    /// Dials started.
    pub dials: u64,
    /// Inbound connections admitted.
    pub accepts: u64,
    /// Links that became the one link of a pair.
    pub links_up: u64,
    /// Links closed because another link of the pair outranks them, or as duplicates.
    pub links_outranked: u64,
    /// Pings sent to a link under suspicion.
    pub probes: u64,
    /// Links closed because they did not answer such a ping.
    pub probes_lost: u64,
    /// Lost peers forgotten because another node answers at their address.
    pub takeovers: u64,
    /// Peers that went down for lack of any sign of life.
    pub timeouts: u64,
    /// Times data waited because as much was in flight on its link as the link carries in half a heartbeat.
    pub flight_limit: u64,
    /// Links closed because a peer sent nothing of a message that memory is reserved for, or sent it too slowly while
    /// others waited for memory.
    pub reservation_stalls: u64,
    /// Links closed because the connection took no output for `write_stall`.
    pub write_stalls: u64,
    /// Times the node noticed that it had itself been stalled, and gave its peers a grace.
    pub own_stalls: u64,
    /// Links closed because an authenticated other side broke the protocol: with a frame that must not come, or with
    /// bytes that are no frame or none that it has sealed.
    pub protocol_errors: u64,
    /// Of these, those on which more frames came that advance nothing than `control_burst` allows.
    pub control_limit: u64,
    /// Connections that ended before they were authenticated.
    pub failed_handshakes: u64,
    /// Links ended because the other node is not on the list of those that are allowed.
    pub not_allowed: u64,
    /// Times another live process was found to have this node's id, or the word of another node was that one has.
    pub duplicate_identities: u64,
    /// Times another node knew a later run of this node, whose clock had gone back.
    pub stale_incarnations: u64,
    /// Dials that reached this node itself.
    pub self_connections: u64,
    /// Inbound connections without a valid hello that made room for others at `max_pending`.
    pub pending_limit: u64,
    /// Inbound connections with a valid hello that made room for others at `max_greeted`.
    pub greeted_limit: u64,
    /// Inbound connections that were refused, or cut off while the other side was taking its time to end them, because
    /// too many were there: see [`Limits::max_inbound`](crate::Limits::max_inbound).
    pub inbound_limit: u64,
    /// Inbound connections without a valid hello that made room for others of their IP at `max_pending_per_ip`.
    pub per_ip_limit: u64,
    /// Inbound connections refused because too many come each second: `accept_burst`.
    pub accept_limit: u64,
    /// Inbound connections refused because too many come from one IP each second, while many come in all:
    /// `accept_burst_per_ip`.
    pub accept_limit_per_ip: u64,
    /// Inbound connections that had to share a burst with those of other IPs at `max_accept_sources`.
    pub accept_source_limit: u64,
    /// Peers refused at `max_peers`.
    pub peer_limit: u64,
    /// Messages refused with `Full` at `send_window`, also because too much that was undelivered was not read yet.
    pub send_window_limit: u64,
    /// Messages refused with `TooLarge` at `max_message`.
    pub message_limit: u64,
    /// Times the node had to wait for room in `recv_budget` to take a long message.
    pub recv_budget_limit: u64,
    /// Runs from hearsay dropped at `max_candidates` or `max_candidates_per_peer`.
    pub candidate_limit: u64,
    /// Addresses from hearsay not followed, because their kind is none that this node has to do with.
    pub addresses_refused: u64,
    /// Times a dial on hearsay waited for `max_dials`, for the dial budget, or behind others that do.
    pub dial_limit: u64,
    /// Times a dial on hearsay waited for `max_dials_per_ip`.
    pub dial_limit_per_ip: u64,
    /// Tombstones dropped at `max_tombstones`.
    pub tombstone_limit: u64,
    /// Ends of streams dropped at [`MAX_CLOSED_STREAMS`](crate::limits::MAX_CLOSED_STREAMS).
    pub closed_stream_limit: u64,
    /// Sessions that went on over a new link.
    pub sessions_resumed: u64,
    /// Messages of which a part had arrived over one link and the rest is to come over the next.
    pub messages_resumed: u64,
    /// Sessions of which nothing was left but the end of a stream, when the peer came back and learned it.
    pub closed_streams_used: u64,
    /// Sessions that ended because the peer was lost for their time to live.
    pub sessions_expired: u64,
    /// Sessions that ended: with their run, with the time to live, or because the other side knew nothing of them.
    pub sessions_lost: u64,
    /// Notices kept back at one per source and interval.
    pub notices_suppressed: u64,
    /// Entries of lists and announcements sent.
    pub entries_sent: u64,
    /// Bytes that those entries take on the wire, about.
    pub entry_bytes_sent: u64,
}

/// How many bytes the messages in the streams of a node take at present: together never more than
/// [`Limits::max_memory`](crate::Limits::max_memory).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Received, and not yet taken: at most `recv_budget`.
    pub received: u64,
    /// Accepted, and not yet known to be delivered: of each peer at most `send_window`, or one message.
    pub retained: u64,
    /// Undelivered, and [not yet read](crate::Node::defer): takes part in the window of its peer.
    pub unread: u64,
}

/// How many entries each table of a node has at present. Bytes are in [`Memory`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Actions that wait to be polled. None is left once the driver has polled them all.
    pub actions: usize,
    /// Deadlines: at most 8 for each link, 5 for each peer, 1 for each candidate, 2 for each target, and 4.
    pub timers: usize,
    /// Links, those included that the driver was told to close and has not yet reported gone.
    pub links: usize,
    /// Inbound links without a valid hello: at most `max_pending`.
    pub silent_links: usize,
    /// Inbound links with a valid hello that were granted nothing yet: at most `max_greeted`.
    pub greeted_links: usize,
    /// Peers connected, or lost and being dialled, or about to be connected: at most `max_peers`.
    pub peers: usize,
    /// Nodes known from hearsay only: at most `max_candidates`.
    pub candidates: usize,
    /// Of these, the most that one peer has introduced: at most `max_candidates_per_peer`.
    pub introduced: usize,
    /// Nodes that wait for their turn to be dialled on hearsay, those included that were forgotten meanwhile: at most
    /// `max_peers` + `max_candidates`.
    pub waiting_dials: usize,
    /// Joins under way and seeds, by target: at most [`MAX_TARGETS`](crate::limits::MAX_TARGETS).
    pub targets: usize,
    /// Runs remembered as departed, disconnected pairs, and lost runs whose place was given away: at most
    /// `max_tombstones` of each.
    pub tombstones: usize,
    /// Addresses known to be the node's own: at most [`MAX_ALIASES`](crate::limits::MAX_ALIASES) and those it
    /// advertises and listens at.
    pub own_addresses: usize,
    /// Sources whose notices are counted: at most [`MAX_NOTICE_SOURCES`](crate::limits::MAX_NOTICE_SOURCES) + 1.
    pub notice_sources: usize,
    /// Sources whose inbound connections are counted apart: at most `max_accept_sources` + 1.
    pub accept_sources: usize,
    /// Nodes that are gone and whose messages wait to be taken: at most `max_peers`.
    pub left_behind: usize,
    /// Ends of streams that are remembered of nodes that are gone: at most
    /// [`MAX_CLOSED_STREAMS`](crate::limits::MAX_CLOSED_STREAMS).
    pub closed_streams: usize,
    /// Nodes whose undelivered messages were [not yet read](crate::Node::defer): at most twice `max_peers`.
    pub unread: usize,
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec::Vec;

    use super::Stats;

    #[test]
    fn every_counter_is_told_with_its_name_and_its_count() {
        let stats = Stats { messages_sent: 1, not_allowed: 2, entry_bytes_sent: 3, ..Stats::default() };
        let told: Vec<_> = stats.counters().map(|(name, count)| format!("{name}: {count}")).collect();
        assert_eq!(format!("Stats {{ {} }}", told.join(", ")), format!("{stats:?}"));
    }
}
