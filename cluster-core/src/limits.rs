//! The bounds that are the same for every node: those the wire format sets, and those nobody needs to change.
//!
//! Bounds that a user may choose are in [`Limits`](crate::Limits).

use core::time::Duration;

/// The longest record, without its two bytes of length.
pub const MAX_RECORD: usize = 65_535;

/// The most plaintext that one record carries: a record less the 16-byte tag of an encrypted one.
pub const MAX_PLAINTEXT: usize = MAX_RECORD - 16;

/// The longest head of a data frame: array head, type, offset and byte string head.
pub const MAX_DATA_HEAD: usize = 1 + 1 + 9 + 3;

/// The longest chunk of a stream in one data frame, in bytes.
pub const MAX_CHUNK: usize = MAX_PLAINTEXT - MAX_DATA_HEAD;

/// Bytes that a connection may send before it is authenticated.
pub const MAX_HANDSHAKE: usize = 2_048;

/// After so many records sealed with one key, in each direction by itself, both sides replace it.
pub const REKEY_AFTER: u64 = 1 << 20;

/// The most secrets that a node accepts besides the one it dials with.
pub const MAX_ACCEPTED_SECRETS: usize = 2;

/// The most ids in an allow-list.
pub const MAX_ALLOWED: usize = 4_096;

/// The longest frame of the kinds that have no collection in them, in bytes.
pub const MAX_SMALL_FRAME: usize = 4_096;

/// The longest frame that carries a profile, in bytes.
pub const MAX_PROFILE_FRAME: usize = 8_192;

/// The longest frame that carries a list of runs, in bytes.
pub const MAX_LIST_FRAME: usize = 60 * 1_024;

/// How deeply the items of a control frame may be nested.
pub const MAX_NESTING: usize = 8;

/// The most metadata a node can attach to itself, in bytes.
pub const MAX_METADATA: usize = 4_096;

/// The most addresses a node advertises, and the most that are kept of a peer.
pub const MAX_ADDRESSES: usize = 4;

/// The most runs in one list.
pub const MAX_LIST: usize = 512;

/// The most joins and seeds at a time.
pub const MAX_TARGETS: usize = 1_024;

/// The most [networks](crate::Config::follow) whose addresses are followed whatever kind they are.
pub const MAX_FOLLOWED: usize = 64;

/// The most address records of one name that are tried.
pub const MAX_RECORDS: usize = 64;

/// The most addresses remembered as the node's own, apart from those it advertises.
pub const MAX_ALIASES: usize = 64;

/// The most flushes of one peer that wait at a time.
pub const MAX_FLUSHES: usize = 1_024;

/// The most ends of streams that are remembered of peers which were forgotten.
pub const MAX_CLOSED_STREAMS: usize = 4_096;

/// The furthest a claim's generation may be ahead of the highest seen.
pub const MAX_GENERATION_STEP: u64 = 1 << 32;

/// The shortest heartbeat. Pings that come at half of this or less after each other are none that a heartbeat made.
pub const MIN_HEARTBEAT: Duration = Duration::from_millis(20);

/// The least that [`Limits::control_burst`](crate::Limits::control_burst) can be.
pub const MIN_CONTROL_BURST: u32 = 128;

/// The longest that [`Limits::control_interval`](crate::Limits::control_interval) can be.
pub const MAX_CONTROL_INTERVAL: Duration = Duration::from_millis(250);

/// Digests, lists, announcements and changed profiles that a node sends on one link at once, and after that one more
/// each [`GOSSIP_INTERVAL`]. What has to wait is sent together, as it then is.
pub const GOSSIP_BURST: u32 = 64;

/// See [`GOSSIP_BURST`].
pub const GOSSIP_INTERVAL: Duration = Duration::from_millis(500);

/// At most one notice per source in this time.
pub const NOTICE_INTERVAL: Duration = Duration::from_secs(10);

/// The most sources whose notices are counted apart; beyond, they share one budget. So there are at most ten notices a
/// second on average.
pub const MAX_NOTICE_SOURCES: usize = 99;

/// At most one [`Event::Delivered`](crate::Event::Delivered) per peer in this time.
pub const DELIVERED_INTERVAL: Duration = Duration::from_millis(100);

/// A side that bytes arrive at says something at least this often, or each `heartbeat` if that is shorter.
pub const SPEAK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of a stream that a link may have in flight before anything is known of its rate, at most.
pub const INITIAL_FLIGHT: u64 = 16 << 10;

/// Bytes of a stream that a link may have in flight however slow it is.
pub const MIN_FLIGHT: u64 = 1 << 10;

/// Bytes a second: a link that carries less may be taken for one that stands still, while it carries a long record.
pub const SLOWEST_LINK: u64 = 1_000;

/// A peer that sends nothing for so long of a message that memory is reserved for loses its link and the reservation.
pub const RESERVATION_STALL: Duration = Duration::from_secs(10);

/// Bytes a second: while others wait for memory, a message that it is reserved for must arrive at this rate, from
/// [`RESERVATION_STALL`] on. A slower peer loses its link and the reservation, and waits behind the others. While no
/// other peer waits, any rate will do.
pub const RESERVATION_RATE: u64 = 16 << 10;

/// Bytes a second: what takes the place of [`RESERVATION_RATE`] while only such peers wait as have lost a reservation for
/// the same message. Without it, several slow peers would interrupt each other forever.
pub const RESERVATION_LEAST_RATE: u64 = SLOWEST_LINK / 2;

/// A driver tells the node at most this often that [bytes moved](crate::Input::BytesRead) on a link without a frame.
pub const PULSE_INTERVAL: Duration = Duration::from_millis(5);

/// The longest an acknowledgement that nobody waits for is held back.
pub const ACK_DELAY: Duration = Duration::from_millis(20);
