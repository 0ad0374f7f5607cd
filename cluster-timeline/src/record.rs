//! The records that a simulated world writes: what happened, when and where.

use std::fmt;
use std::net::SocketAddr;

use cluster_core::wire::{Ack, Close};
use cluster_core::{CloseMode, Disconnect, Event, Frame, LinkId, NodeId, Notice, Reason, RejectCode, Run, Target};

/// Names a host of a simulated world: a machine with an address that runs one node at a time.
///
/// It is of the world that gave it: another one panics that has no host of this number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

impl HostId {
    /// The number of the host, in the order in which hosts were added.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One end of a simulated connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// The number of the connection, the same at both ends.
    pub connection: usize,
    /// Whether this is the end that dialled.
    pub outbound: bool,
}

/// What happened at one time.
///
/// Its `Debug` text is part of the hash of a run: a change to it changes every hash.
#[derive(Clone, Debug)]
pub enum Record {
    /// The test did something to the world, once.
    Fault(String),
    /// The test had something hold from now on.
    Condition(String),
    /// The user called a node.
    Verb(String),
    /// The user sent a message of this many bytes to one peer.
    Send(NodeId, usize),
    /// The user sent a message of this many bytes to every peer.
    Broadcast(usize),
    /// A node started, at this address.
    Started(Run, SocketAddr),
    /// A node dialled.
    Dial(LinkId, SocketAddr),
    /// A node admitted a connection.
    Admitted(LinkId, SocketAddr),
    /// A node refused a connection.
    Refused(SocketAddr, Reason),
    /// The handshake of a link is over.
    Connected(LinkId, Run),
    /// A node was notified that a link ended.
    Disconnected(LinkId, Disconnect),
    /// A node handed out a frame.
    Sent(LinkId, Brief),
    /// A node was given a frame.
    Got(LinkId, Brief),
    /// A node asked to close a link.
    Close(LinkId, CloseMode, Reason),
    /// A node reported an event to its user.
    Event(Event),
    /// A node gave a line worth a log.
    Notice(Notice),
    /// The user took a message of this many bytes.
    Message(Run, usize),
    /// A node asked for the addresses of a target.
    Resolve(Target),
    /// A look-up ended.
    Resolved(Target, Result<Vec<SocketAddr>, String>),
    /// A puppet did something.
    Puppet(String),
    /// An application wrote a line.
    App(String),
}

/// A frame without what is long in it.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of the frame")]
pub enum Brief {
    /// A piece of a stream.
    Data { offset: u64, length: usize },
    /// A frame that lists runs.
    Runs { kind: FrameKind, runs: usize },
    /// A heartbeat.
    Token { kind: FrameKind, token: u64 },
    /// An acknowledgement.
    Ack(Ack),
    /// A claim.
    Claim { generation: u64 },
    /// A rejection.
    Reject(RejectCode),
    /// A goodbye.
    Close(Close),
    /// Any other frame.
    Other(FrameKind),
}

impl Brief {
    /// The brief of a frame.
    #[must_use]
    pub fn of(frame: &Frame) -> Brief {
        let kind = FrameKind::of(frame);
        match frame {
            Frame::Data(data) => Brief::Data { offset: data.offset, length: data.bytes.len() },
            Frame::List(list) => Brief::Runs { kind, runs: list.entries.len() },
            Frame::Announce(announce) => Brief::Runs { kind, runs: announce.entries.len() },
            Frame::Ping { token } | Frame::Pong { token } => Brief::Token { kind, token: *token },
            Frame::Ack(ack) => Brief::Ack(*ack),
            Frame::Claim(claim) => Brief::Claim { generation: claim.generation },
            Frame::Reject(reject) => Brief::Reject(reject.code),
            Frame::Close(close) => Brief::Close(*close),
            Frame::Accept(_) | Frame::Resume(_) | Frame::Digest(_) | Frame::Update(_) => Brief::Other(kind),
        }
    }

    /// The kind of the frame.
    #[must_use]
    pub fn kind(&self) -> FrameKind {
        match self {
            Brief::Data { .. } => FrameKind::Data,
            Brief::Runs { kind, .. } | Brief::Token { kind, .. } | Brief::Other(kind) => *kind,
            Brief::Ack(_) => FrameKind::Ack,
            Brief::Claim { .. } => FrameKind::Claim,
            Brief::Reject(_) => FrameKind::Reject,
            Brief::Close(_) => FrameKind::Close,
        }
    }
}

impl fmt::Debug for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Brief::Data { offset, length } => write!(f, "Data {{ offset: {offset}, {length} bytes }}"),
            Brief::Runs { kind, runs } => write!(f, "{kind:?} {{ {runs} runs }}"),
            Brief::Token { kind, token } => write!(f, "{kind:?} {{ token: {token} }}"),
            Brief::Ack(ack) => ack.fmt(f),
            Brief::Claim { generation } => write!(f, "Claim {{ generation: {generation} }}"),
            Brief::Reject(code) => write!(f, "Reject({code})"),
            Brief::Close(close) => write!(f, "Close({close:?})"),
            Brief::Other(kind) => kind.fmt(f),
        }
    }
}

/// The kinds of frame, for counting what is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is the frame of the same name, documented there")]
pub enum FrameKind {
    Data,
    Ping,
    Pong,
    Ack,
    Claim,
    Accept,
    Reject,
    Resume,
    Close,
    Digest,
    List,
    Announce,
    Update,
}

impl FrameKind {
    /// Every kind, in the order of their numbers on the wire.
    pub const ALL: [FrameKind; FrameKind::COUNT] = [
        FrameKind::Data,
        FrameKind::Ping,
        FrameKind::Pong,
        FrameKind::Ack,
        FrameKind::Claim,
        FrameKind::Accept,
        FrameKind::Reject,
        FrameKind::Resume,
        FrameKind::Close,
        FrameKind::Digest,
        FrameKind::List,
        FrameKind::Announce,
        FrameKind::Update,
    ];

    /// How many kinds there are.
    pub const COUNT: usize = 13;

    /// The name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FrameKind::Data => "data",
            FrameKind::Ping => "ping",
            FrameKind::Pong => "pong",
            FrameKind::Ack => "ack",
            FrameKind::Claim => "claim",
            FrameKind::Accept => "accept",
            FrameKind::Reject => "reject",
            FrameKind::Resume => "resume",
            FrameKind::Close => "close",
            FrameKind::Digest => "digest",
            FrameKind::List => "list",
            FrameKind::Announce => "announce",
            FrameKind::Update => "update",
        }
    }

    /// The kind of a frame.
    #[must_use]
    pub fn of(frame: &Frame) -> FrameKind {
        match frame {
            Frame::Data(_) => FrameKind::Data,
            Frame::Ping { .. } => FrameKind::Ping,
            Frame::Pong { .. } => FrameKind::Pong,
            Frame::Ack(_) => FrameKind::Ack,
            Frame::Claim(_) => FrameKind::Claim,
            Frame::Accept(_) => FrameKind::Accept,
            Frame::Reject(_) => FrameKind::Reject,
            Frame::Resume(_) => FrameKind::Resume,
            Frame::Close(_) => FrameKind::Close,
            Frame::Digest(_) => FrameKind::Digest,
            Frame::List(_) => FrameKind::List,
            Frame::Announce(_) => FrameKind::Announce,
            Frame::Update(_) => FrameKind::Update,
        }
    }
}
