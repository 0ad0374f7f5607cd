//! Why a link or a peer went away, and why a join failed.

use alloc::string::String;
use core::fmt;

use crate::channel::ChannelError;
use crate::wire::RejectCode;

/// Why a link was closed or a peer went down.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The peer left gracefully. It is not dialled again; a later run of it is welcome.
    Left,
    /// The peer's user disconnected us. It is not dialled again until the user of either side joins.
    Removed,
    /// Our user disconnected the peer.
    LocalDisconnect,
    /// Our node is leaving.
    LocalLeave,
    /// Nothing was heard from the peer for `peer_timeout`, or it did not answer a probe.
    Timeout,
    /// The connection was reset or ended without a goodbye.
    Reset,
    /// A later run of the same node has taken its place.
    Restarted,
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// Output waited for `write_stall` and the connection took none of it, or carried none of what it had taken.
    WriteStalled,
    /// The other side refused us.
    Rejected(RejectCode),
    /// A link of higher rank connects the same two nodes.
    Outranked,
    /// A dial reached a run that is connected already.
    Duplicate,
    /// A dial reached ourselves.
    SelfConnection,
    /// Another live node uses the same id.
    DuplicateIdentity,
    /// The handshake was not finished in time.
    HandshakeTimeout,
    /// The bytes received are not this protocol's, or of another version, mode, secret or cluster.
    Channel(ChannelError),
    /// The other side ended the connection before it had proven to be a member. That is how one ends it that has another
    /// secret, is of another cluster, or has no place for another connection at the moment; and of course one that is
    /// something else.
    NoAnswer,
    /// The dial was refused: nobody listens there.
    Refused,
    /// The dial found no way there, or no answer.
    Unreachable,
    /// A connection that was not yet granted anything had to make room for another.
    Evicted,
    /// Too many connections come from one IP each second: `accept_burst_per_ip`.
    TooManyFromIp,
    /// More connections come in each second than `accept_burst` allows.
    TooManyInbound,
    /// As many peers are connected as `max_peers` allows.
    Full,
    /// The peer at this address is one that this node must not connect to: it left, or was disconnected.
    Forbidden,
    /// The other node is not on the list of those that are allowed.
    NotAllowed,
    /// The link was made with a secret that is not accepted any more.
    SecretRetired,
    /// The operating system has no descriptor or memory left for another connection.
    Exhausted,
    /// The peer closed the link for a reason that this version does not know.
    Other(u8),
}

impl Reason {
    /// Whether the node will by itself try to connect again.
    ///
    /// ```
    /// use cluster_core::Reason;
    ///
    /// assert!(Reason::Timeout.is_transient());
    /// assert!(!Reason::Left.is_transient());
    /// ```
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Reason::Left
            | Reason::Removed
            | Reason::LocalDisconnect
            | Reason::LocalLeave
            | Reason::Restarted
            | Reason::Outranked
            | Reason::Duplicate
            | Reason::SelfConnection
            | Reason::NotAllowed
            | Reason::Forbidden => false,
            Reason::Rejected(code) => code.is_transient(),
            Reason::Timeout
            | Reason::Reset
            | Reason::Protocol(_)
            | Reason::WriteStalled
            | Reason::DuplicateIdentity
            | Reason::HandshakeTimeout
            | Reason::Channel(_)
            | Reason::NoAnswer
            | Reason::Refused
            | Reason::Unreachable
            | Reason::Evicted
            | Reason::TooManyFromIp
            | Reason::TooManyInbound
            | Reason::Full
            | Reason::SecretRetired
            | Reason::Exhausted
            | Reason::Other(_) => true,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Reason::Protocol(error) => return write!(f, "Protocol({error})"),
            Reason::Rejected(code) => return write!(f, "Rejected({code})"),
            Reason::Channel(error) => return write!(f, "Channel({error})"),
            Reason::Other(code) => return write!(f, "Other({code})"),
            Reason::Left => "Left",
            Reason::Removed => "Removed",
            Reason::LocalDisconnect => "LocalDisconnect",
            Reason::LocalLeave => "LocalLeave",
            Reason::Timeout => "Timeout",
            Reason::Reset => "Reset",
            Reason::Restarted => "Restarted",
            Reason::WriteStalled => "WriteStalled",
            Reason::Outranked => "Outranked",
            Reason::Duplicate => "Duplicate",
            Reason::SelfConnection => "SelfConnection",
            Reason::DuplicateIdentity => "DuplicateIdentity",
            Reason::HandshakeTimeout => "HandshakeTimeout",
            Reason::NoAnswer => "NoAnswer",
            Reason::Refused => "Refused",
            Reason::Unreachable => "Unreachable",
            Reason::Evicted => "Evicted",
            Reason::TooManyFromIp => "TooManyFromIp",
            Reason::TooManyInbound => "TooManyInbound",
            Reason::Full => "Full",
            Reason::Forbidden => "Forbidden",
            Reason::NotAllowed => "NotAllowed",
            Reason::SecretRetired => "SecretRetired",
            Reason::Exhausted => "Exhausted",
        };
        f.write_str(text)
    }
}

/// Which rule of the protocol a peer broke. Its link is closed; it is tried again after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame came that its sender may not send now, such as data before the link was resumed.
    UnexpectedFrame,
    /// Data whose offset is not the next one expected.
    WrongOffset,
    /// Data beyond the credit that was granted.
    CreditExceeded,
    /// An acknowledgement of what was never sent, below an earlier one, or not at the end of a message.
    BadAck,
    /// A message head that is no CBOR byte string in its shortest form.
    BadMessageHead,
    /// A message longer than `max_message`.
    MessageTooLarge,
    /// A claim whose generation is further ahead than any honest history allows.
    BadGeneration,
    /// An offer to resume that contradicts what was sent.
    BadOffer,
    /// Pings, acknowledgements or other frames that advance nothing, faster than any honest peer needs.
    Flood,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl core::error::Error for ProtocolError {}

/// Why a join came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// The name could not be resolved; the operating system's words.
    Unresolved(String),
    /// Every address of the target is our own.
    SelfConnection,
    /// No address answered as a member within `join_timeout`; the last failure.
    Failed(Reason),
    /// `join_timeout` passed without any failure to name.
    TimedOut,
    /// The node began to leave.
    Leaving,
    /// As many joins are under way as [`MAX_TARGETS`](crate::limits::MAX_TARGETS) allows.
    TooMany,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Unresolved(words) => write!(f, "the name cannot be resolved: {words}"),
            JoinError::SelfConnection => f.write_str("the address is this node's own"),
            JoinError::Failed(Reason::NoAnswer) => {
                f.write_str("no member answered there: is it another secret or cluster, or too busy?")
            }
            JoinError::Failed(reason) => write!(f, "no member answered there: {reason}"),
            JoinError::TimedOut => f.write_str("no member answered there in time"),
            JoinError::Leaving => f.write_str("this node is leaving"),
            JoinError::TooMany => f.write_str("too many joins are under way"),
        }
    }
}

impl core::error::Error for JoinError {}
