//! What happened on the network: everything a driver tells the node.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::address::Target;
use crate::channel::{ChannelError, Proven, Received};
use crate::id::LinkId;
use crate::wire::Frame;

/// A fact about the network. Plain data: a run can be recorded and replayed.
///
/// Any order is accepted, and input that names a link the node no longer knows is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The channel of an inbound link has received a valid hello. The link is from now on one of those that silent
    /// connections cannot displace.
    Greeted {
        /// Which link.
        link: LinkId,
    },
    /// The channel of a link has finished its handshake.
    Connected {
        /// Which link.
        link: LinkId,
        /// What the other side proved.
        proven: Proven,
        /// The address of our own end of the connection, as the socket names it.
        local: SocketAddr,
    },
    /// A link is gone: its dial failed, its connection ended, or a [`Close`](crate::Action::Close) is carried out.
    /// The driver says so exactly once for each link that it was told to dial or that
    /// [`accept`](crate::Node::accept) admitted.
    Disconnected {
        /// Which link.
        link: LinkId,
        /// Why, as far as the driver knows.
        cause: Disconnect,
    },
    /// The channel of a link has produced a frame.
    Frame {
        /// Which link.
        link: LinkId,
        /// What arrived.
        frame: Frame,
    },
    /// Bytes were read from a link and no frame is whole yet, or none that is known: a sign of life all the same.
    ///
    /// A driver says so of a read that led to no other input for the link. Once each
    /// [`PULSE_INTERVAL`](crate::limits::PULSE_INTERVAL) is enough, which [`adapter::Pulse`](crate::adapter::Pulse) counts.
    BytesRead {
        /// Which link.
        link: LinkId,
    },
    /// The connection of a link took bytes of what was [handed out](crate::Node::poll_frame) before, and not yet all: it
    /// is slow, and does not stand still. To be said as often as [`BytesRead`](Input::BytesRead).
    BytesWritten {
        /// Which link.
        link: LinkId,
    },
    /// A look-up that [`Resolve`](crate::Action::Resolve) asked for has ended.
    Resolved {
        /// What was looked up.
        target: Target,
        /// Every address found, or the operating system's words for why there is none.
        outcome: Result<Vec<SocketAddr>, String>,
    },
    /// Time has passed. Due at [`next_tick`](crate::Node::next_tick); an early or repeated tick does no harm.
    Tick,
}

impl Input {
    /// What the channel of a link has returned, whose connection has the address `local` at our end.
    #[must_use]
    pub fn received(link: LinkId, local: SocketAddr, received: Received) -> Input {
        match received {
            Received::Greeted => Input::Greeted { link },
            Received::Connected(proven) => Input::Connected { link, proven, local },
            Received::Frame(frame) => Input::Frame { link, frame },
        }
    }
}

/// Why a link ended, as the driver saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnect {
    /// The dial was refused: nobody listens there.
    Refused,
    /// The dial failed for lack of a route, or the operating system gave up on it.
    Unreachable,
    /// The connection was reset, or failed in another way that loses data.
    Reset,
    /// The other side ended the stream.
    Ended,
    /// The bytes that arrived are not this protocol's.
    Channel(ChannelError),
    /// The node itself asked for it.
    Closed,
    /// The operating system would not open a socket (no descriptors or memory left).
    Exhausted,
}
