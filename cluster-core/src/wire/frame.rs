//! The frames: what two nodes say to each other once their channel stands.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::name::Name;
use crate::address::Advertised;
use crate::id::Run;
use crate::wire::RejectCode;

/// One frame. On the wire a CBOR array whose first element is the type number.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// 0: a chunk of the session's byte stream.
    Data(Data),
    /// 1: answer me.
    Ping {
        /// Repeated by the answer.
        token: u64,
    },
    /// 2: the answer to a ping.
    Pong {
        /// Of the ping.
        token: u64,
    },
    /// 3: how far the stream was received and taken, and how far it may go.
    Ack(Ack),
    /// 4: the dialling side asks that this link connect the two.
    Claim(Claim),
    /// 5: the accepting side agrees.
    Accept(Accept),
    /// 6: the accepting side refuses.
    Reject(Reject),
    /// 7: the dialling side has made the link its own; data may flow.
    Resume(Resume),
    /// 8: a goodbye; nothing follows it.
    Close(Close),
    /// 9: a summary of the runs that the sender counts as current.
    Digest(Digest),
    /// 10: runs that the sender is connected to.
    List(List),
    /// 11: one run that has just joined through the sender.
    Announce(Announce),
    /// 12: the sender's profile has changed.
    Update(Update),
}

/// A chunk of the sender's stream.
#[derive(Clone, PartialEq)]
pub struct Data {
    /// Where in the stream the chunk begins.
    pub offset: u64,
    /// The chunk: 1 to [`MAX_CHUNK`](crate::limits::MAX_CHUNK) bytes.
    pub bytes: Bytes,
}

/// Shows the size of the chunk, never its content.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data {{ offset: {}, {} bytes }}", self.offset, self.bytes.len())
    }
}

/// Acknowledgement and credit, all absolute offsets of the stream it is about, never differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Every byte below this has arrived.
    pub received: u64,
    /// Every message that ends at or below this was taken by the application; always the end of a message.
    pub consumed: u64,
    /// How many messages that is, since the stream began.
    pub consumed_messages: u64,
    /// The sender may send every byte below this.
    pub granted: u64,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its label.
    pub name: Option<Name>,
    /// What its user attached: at most [`MAX_METADATA`](crate::limits::MAX_METADATA) bytes.
    pub metadata: Bytes,
    /// Where it can be dialled: at most [`MAX_ADDRESSES`](crate::limits::MAX_ADDRESSES).
    pub addresses: Vec<Advertised>,
    /// The longest message it takes, in bytes.
    pub max_message: u64,
    /// The credit that a new stream towards it starts with, in bytes.
    pub window: u64,
}

/// Shows the size of the metadata, never its content.
impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("name", &self.name)
            .field("metadata", &format_args!("{} bytes", self.metadata.len()))
            .field("addresses", &self.addresses)
            .field("max_message", &self.max_message)
            .field("window", &self.window)
            .finish()
    }
}

/// The first frame of the dialling side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// One more than the highest generation the sender has seen of this pair of runs.
    pub generation: u64,
    /// Whether a user asked for this connection, which undoes an earlier disconnect.
    pub rejoin: bool,
    /// The sender.
    pub profile: Profile,
}

/// The answer to a claim that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The sender.
    pub profile: Profile,
    /// Where the streams stand, read after every older link was fenced.
    pub offer: Offer,
}

/// The answer to a claim that was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why not.
    pub code: RejectCode,
}

/// The last step of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Where the streams stand, read after every older link was fenced.
    pub offer: Offer,
}

/// Names one stream. Drawn at random by its sender for a pair of runs, and anew whenever the stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Where one side's streams stand when a link begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The stream that the sender of the offer sends on.
    pub stream: StreamId,
    /// The offset of the first byte the sender would send if the other side has lost nothing.
    pub next: u64,
    /// What the sender of the offer knows of the other side's stream.
    pub peer: PeerStream,
}

/// What the receiver of a stream knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerStream {
    /// Nothing: send from the beginning of a new stream.
    None,
    /// The stream can go on.
    Live {
        /// Which stream.
        id: StreamId,
        /// Where it stands.
        ack: Ack,
    },
    /// The stream is over, and this much of it was taken.
    Closed {
        /// Which stream.
        id: StreamId,
        /// Every message that ends at or below this was taken.
        consumed: u64,
    },
}

/// A goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The sender's node is leaving the cluster.
    Leaving,
    /// The sender's user disconnected the receiver.
    Removed,
    /// A code that this version does not know.
    Other(u8),
}

/// A summary of runs: bucket `i` is the sum of the hashes of the runs whose id starts with the hexadecimal digit `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The sixteen sums.
    pub buckets: [u64; 16],
}

/// Runs that the sender is connected to, of some buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Bit `i` says that the list covers bucket `i` completely.
    pub buckets: u16,
    /// Whether the sender asks for the same of the receiver.
    pub reply: bool,
    /// The runs: at most [`MAX_LIST`](crate::limits::MAX_LIST).
    pub entries: Vec<Entry>,
}

/// A run, and where its node can be dialled, as the sender learned it from the run itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which run.
    pub run: Run,
    /// Its addresses, each complete: at most [`MAX_ADDRESSES`](crate::limits::MAX_ADDRESSES).
    pub addresses: Vec<core::net::SocketAddr>,
}

/// A run that has just joined through the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The runs that joined: usually one.
    pub entries: Vec<Entry>,
}

/// The sender's new profile. Its `max_message` and `window` repeat those of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The sender.
    pub profile: Profile,
}
