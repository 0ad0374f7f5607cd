//! The bounds that a user may choose.

use core::time::Duration;

use crate::bucket::Rate;
use crate::session::MAX_HEAD;

/// The bounds of a node's memory and work. Whatever is refused, dropped or put off at one of them is counted in
/// [`Stats`](crate::Stats).
///
/// What other nodes send, and what is sent to them, takes at most [`max_memory`](Limits::max_memory) bytes:
///
/// ```text
///   recv_budget                                        received, and not yet taken
/// + max_peers × max(send_window, max_message + 9)      accepted, and not yet known to be delivered
/// ```
///
/// These are bytes of messages. Memory is allocated for up to twice as many of what is received: what is kept of a record
/// keeps the whole record, unless that is less than half of it. Without a secret records are parts of whatever the driver
/// reads at once, and it is up to eight times as many with the 256 KiB of the adapters.
///
/// A driver that [keeps undelivered messages](crate::Node::defer) until its user reads of them keeps at most
/// `max_peers × max(send_window, max_message + 9)` bytes more, and only while he does not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Peers connected, or lost and being dialled; a lost peer makes room for one that connects. Default 512, which is
    /// also the most.
    pub max_peers: usize,
    /// Inbound connections that have not yet sent a valid hello. Default 512, at least 1. At the bound one of them makes
    /// room for each that comes: an old one of the source (the IP; for IPv6 the /64) that has most places. No connection
    /// makes room before seven eighths of the places were claimed by later ones, so an honest dial succeeds if its hello
    /// arrives within `7/8 × max_pending × accept_interval`: 224 ms with the default limits. The last eighth is kept for
    /// exact IPs at which a peer was seen, so that strangers who crowd in do not keep lost peers out.
    ///
    /// Each takes a descriptor, and memory as SECURITY.md lists it. A process with the usual 1,024 descriptors has room
    /// for 480 others beside the default.
    pub max_pending: usize,
    /// Inbound connections that have not yet sent a valid hello, of one IP (of one /64 for IPv6). At the bound the oldest
    /// of them makes room. Default 512, so that [`max_pending`](Limits::max_pending) alone decides. A lower bound saves
    /// descriptors, and gives honest nodes less time to say hello beside a neighbour that floods from the same IP.
    pub max_pending_per_ip: usize,
    /// Inbound connections that have sent a valid hello and were granted nothing yet. Default 256, at least 1. At the
    /// bound one of them makes room by the same rule, and never for a silent connection. In secure mode only members
    /// get here, and recorded hellos of members; without a secret any stranger does.
    pub max_greeted: usize,
    /// Inbound connections that may come at once. Default 500, at least 1. Each is given back when the connection has
    /// authenticated itself, and one more every [`accept_interval`](Limits::accept_interval); so this bounds the work
    /// that strangers make, and not how fast members come. The last quarter is kept for exact IPs at which a peer was
    /// seen.
    ///
    /// A flood of more than that lets a new node in only as often as chance has it, while below it a connection that is
    /// let in has its time. So it is better too high than too low.
    pub accept_burst: u32,
    /// See [`accept_burst`](Limits::accept_burst). Default 0.5 ms, that is, 2,000 connections a second.
    pub accept_interval: Duration,
    /// The same for the connections of one IP (of one /64 for IPv6), while half of `accept_burst` or less is left: as
    /// long as there is enough for all, a neighbour that connects all the time takes nothing from an honest node at the
    /// same IP. An exact IP at which a peer was seen has a burst of its own. Default 5, at least 1.
    pub accept_burst_per_ip: u32,
    /// See [`accept_burst_per_ip`](Limits::accept_burst_per_ip). Default 100 ms, that is, ten connections a second,
    /// so that two hundred sources that flood without end leave honest nodes enough.
    pub accept_interval_per_ip: Duration,
    /// IPs (for IPv6, /64s) whose inbound connections are counted apart, because they have not all of their
    /// `accept_burst_per_ip` left. Default 1,024, which the default rates do not let it reach. Those beyond
    /// share one burst.
    pub max_accept_sources: usize,
    /// The longest message in bytes, sent or received. Default 16 MiB, at most 4 GiB.
    pub max_message: u64,
    /// Bytes accepted for one peer and not yet taken by it, or undelivered and not yet read by the user. Default 8 MiB.
    /// With nothing waiting, one message of any legal length is accepted.
    pub send_window: u64,
    /// The credit in bytes that each peer has for sure. Default 256 KiB, at least 1 KiB.
    pub initial_window: u64,
    /// The credit in bytes that the fastest peers grow to. Default 8 MiB.
    pub recv_window: u64,
    /// The credit in bytes of all peers together. Default 256 MiB. What `max_peers × initial_window` leaves of it goes
    /// in equal parts to the growth of windows and to messages longer than a window, each part at least one message.
    pub recv_budget: u64,
    /// Frames on one link that advance nothing, which may come at once: pings closer together than
    /// [`MIN_HEARTBEAT`](crate::limits::MIN_HEARTBEAT) makes them, pongs that nobody asked for, acknowledgements without
    /// news, digests, lists, announcements and profiles. Beyond, the link ends with
    /// [`ProtocolError::Flood`](crate::ProtocolError::Flood). Default 200, at least
    /// [`MIN_CONTROL_BURST`](crate::limits::MIN_CONTROL_BURST), twice what a node sends by itself. One more each
    /// [`control_interval`](Limits::control_interval).
    pub control_burst: u32,
    /// See [`control_burst`](Limits::control_burst). Default 100 ms, at most
    /// [`MAX_CONTROL_INTERVAL`](crate::limits::MAX_CONTROL_INTERVAL).
    pub control_interval: Duration,
    /// Runs remembered as departed, as many disconnected pairs, and as many lost runs whose place another peer took.
    /// Default 1,024; the oldest are forgotten first.
    pub max_tombstones: usize,
    /// Nodes known from hearsay only. Default 2,048.
    pub max_candidates: usize,
    /// Nodes known from hearsay of one peer only. Default 512.
    pub max_candidates_per_peer: usize,
    /// Dials under way to addresses known from hearsay only. Default 16.
    pub max_dials: usize,
    /// Of these, to one IP (to one /64 for IPv6), so that a liar cannot make the whole mesh press on one host. Loopback
    /// is exempt. Default 2, at least 1.
    pub max_dials_per_ip: usize,
    /// Dials to addresses known from hearsay only that may start at once. Default 32, at least 1. Each is given back
    /// when its dial ends at an authenticated member, and one more every [`dial_interval`](Limits::dial_interval).
    pub dial_burst: u32,
    /// See [`dial_burst`](Limits::dial_burst). Default 100 ms, not zero.
    pub dial_interval: Duration,
}

impl Limits {
    /// The most bytes that the messages in the streams of a node take, by the formula [above](Limits). What it takes to
    /// manage them comes on top: a few KiB for each peer.
    #[must_use]
    pub fn max_memory(&self) -> u64 {
        let sent = self.send_window.max(self.max_message.saturating_add(MAX_HEAD as u64));
        self.recv_budget.saturating_add((self.max_peers as u64).saturating_mul(sent))
    }

    /// The most inbound links there are at a time: `max_peers + max_pending + 2 × max_greeted`.
    ///
    /// They are those of peers, those that wait to be granted something, and as many as may be greeted again that the
    /// node has closed and whose other side takes its time to let go: only a link that was greeted is closed so. When
    /// they leave no more than `max_greeted` places, each connection that comes in cuts off the one that has been closing
    /// for longest. So a member that holds on to connections on which everything was said keeps no other out.
    #[must_use]
    pub fn max_inbound(&self) -> usize {
        let greeted = self.max_greeted.saturating_mul(2);
        self.max_peers.saturating_add(self.max_pending).saturating_add(greeted)
    }

    /// How fast frames may come on a link that advance nothing.
    pub(crate) fn control(&self) -> Rate {
        Rate { burst: self.control_burst, interval: self.control_interval }
    }

    /// How fast dials may start that are only hearsay.
    pub(crate) fn hearsay(&self) -> Rate {
        Rate { burst: self.dial_burst, interval: self.dial_interval }
    }

    /// How fast connections may come in.
    pub(crate) fn accepts(&self) -> Rate {
        Rate { burst: self.accept_burst, interval: self.accept_interval }
    }

    /// How fast connections of one source may come in.
    pub(crate) fn accepts_per_ip(&self) -> Rate {
        Rate { burst: self.accept_burst_per_ip, interval: self.accept_interval_per_ip }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_peers: 512,
            max_pending: 512,
            max_pending_per_ip: 512,
            max_greeted: 256,
            accept_burst: 500,
            accept_interval: Duration::from_micros(500),
            accept_burst_per_ip: 5,
            accept_interval_per_ip: Duration::from_millis(100),
            max_accept_sources: 1_024,
            max_message: 16 << 20,
            send_window: 8 << 20,
            initial_window: 256 << 10,
            recv_window: 8 << 20,
            recv_budget: 256 << 20,
            control_burst: 200,
            control_interval: Duration::from_millis(100),
            max_tombstones: 1_024,
            max_candidates: 2_048,
            max_candidates_per_peer: 512,
            max_dials: 16,
            max_dials_per_ip: 2,
            dial_burst: 32,
            dial_interval: Duration::from_millis(100),
        }
    }
}
