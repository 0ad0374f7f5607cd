//! What the driver must do: everything the node asks for.

use core::net::{IpAddr, SocketAddr};

use crate::address::Target;
use crate::event::Event;
use crate::id::{LinkId, NodeId};
use crate::reason::Reason;

/// A request to the driver, taken from [`Node::poll_action`](crate::Node::poll_action). Plain data.
///
/// Actions form one queue and are carried out in its order: the order between kinds matters.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Look up every address record of `target` and answer with [`Input::Resolved`](crate::Input::Resolved).
    Resolve {
        /// What to look up.
        target: Target,
    },
    /// Open a connection to `address`, run the link's [`Channel`](crate::Node::channel) on it, and answer with
    /// [`Input::Connected`](crate::Input::Connected) or [`Input::Disconnected`](crate::Input::Disconnected).
    /// The node keeps the deadline: it closes the link when the dial takes too long.
    Dial {
        /// The name of the new link.
        link: LinkId,
        /// Where to.
        address: SocketAddr,
    },
    /// The link has something to send: call [`Node::poll_frame`](crate::Node::poll_frame) as its socket takes more,
    /// until it returns `None`. Not repeated before that.
    Send {
        /// Which link.
        link: LinkId,
    },
    /// End the link, then report [`Input::Disconnected`](crate::Input::Disconnected). Nothing that arrives on the
    /// link after this is handed to the node.
    Close {
        /// Which link.
        link: LinkId,
        /// What becomes of output that waits.
        mode: CloseMode,
        /// Why, for logs.
        reason: Reason,
    },
    /// The inbox became non-empty: call [`Node::poll_message`](crate::Node::poll_message) until it returns `None`.
    /// Not repeated before that.
    Deliver,
    /// A send to this peer was refused as `Full`, and now there is room, or the peer is gone, or this node is leaving:
    /// try again. Not repeated before the next refusal.
    Writable {
        /// Which peer.
        peer: NodeId,
    },
    /// Tell the user.
    Event(Event),
    /// Worth a line in a log. The node limits how often each source is worth one.
    Notice(Notice),
}

/// What becomes of a link's waiting output when it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// Pull and write what is left, end our direction of the stream, and report the link gone when the other side
    /// has ended its own. The node aborts the link if that takes too long.
    Flush,
    /// Drop it, and reset the connection.
    Abort,
}

/// Something an operator may want to read: a connection that came to nothing, with its source.
///
/// At most one per source and [`NOTICE_INTERVAL`](crate::limits::NOTICE_INTERVAL); those kept back are counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The IP it came from, or that was dialled.
    pub source: IpAddr,
    /// What happened.
    pub reason: Reason,
    /// How many notices of this source were kept back since the last one.
    pub suppressed: u64,
}
