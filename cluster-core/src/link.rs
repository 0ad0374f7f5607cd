//! One connection, from dial or accept to its end.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::action::CloseMode;
use crate::bucket::Rate;
use crate::channel::Proven;
use crate::control_budget::ControlBudget;
use crate::flight::Flight;
use crate::id::{LinkId, NodeId, Run};
use crate::time::Instant;
use crate::wire::{Ack, Claim, Close, Frame};

/// ```text
///             dial                                   accept
///              │                                        │
///           Opening ──────── channel stands ──────── Opening
///              │ send Claim                             │
///           Claiming                              Authenticated
///              │                                        │ Claim
///              │                            ┌───────────┴── Held (another run is probed)
///              │                            │ send Accept
///              │ Accept, send Resume     Accepted
///              │                            │ Resume
///              └────────────► Up ◄──────────┘
///                              │
///            any state ──► Closing ──► gone (reported by the driver)
/// ```
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LinkState {
    /// The connection or its channel is being set up.
    Opening,
    /// Inbound: the other side is known, its claim is awaited.
    Authenticated,
    /// Outbound: the claim is sent, the answer is awaited.
    Claiming { generation: u64 },
    /// Inbound: the claim of another run waits while the one that is live is probed.
    Held { claim: Box<Claim> },
    /// Inbound: the claim was granted, the other side's resume is awaited.
    Accepted { generation: u64 },
    /// The one link of its pair of runs.
    Up { generation: u64 },
    /// The driver was told to close it, first at `since`.
    Closing { mode: CloseMode, since: Instant },
}

/// Why a link was dialled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dial {
    /// The node expected there, if it is dialled for being known.
    pub(crate) expected: Option<NodeId>,
    /// The targets whose address this is.
    pub(crate) targets: BTreeSet<u64>,
    /// The address is known from hearsay only, so the dial counts against the budget.
    pub(crate) hearsay: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// `None` for an inbound link.
    pub(crate) dial: Option<Dial>,
    /// Where it was dialled, or where it comes from.
    pub(crate) remote: SocketAddr,
    pub(crate) state: LinkState,
    pub(crate) proven: Option<Proven>,
    pub(crate) opened: Instant,
    /// When a byte last arrived.
    pub(crate) heard: Instant,
    /// When a frame was last handed out.
    pub(crate) spoke: Instant,
    /// Since when bytes of an incomplete frame arrive without a frame from this side.
    pub(crate) owed: Option<Instant>,
    /// Since when bytes of the peer's stream wait for an acknowledgement.
    pub(crate) unacked: Option<Instant>,
    /// When bytes that may belong to a chunk last arrived, or memory was last reserved for one.
    pub(crate) fed: Instant,
    /// The credit for a new stream that our profile stated on this link.
    pub(crate) window: u64,
    /// Since when output waits and nothing was pulled.
    pub(crate) waiting_since: Option<Instant>,
    /// `Action::Send` was emitted and `poll_frame` has not yet returned `None`.
    pub(crate) armed: bool,
    pub(crate) ping: Option<Ping>,
    /// The peer joined through us, and the others were told.
    pub(crate) introduced: bool,
    pub(crate) control: ControlBudget,
    /// How much of our stream is on its way, once the link is up: a stranger's link needs no room for it.
    pub(crate) flight: Option<Box<Flight>>,
    pub(crate) slots: Slots,
}

/// The one ping that may be unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ping {
    pub(crate) token: u64,
    /// When it was sent; `None` while it is too early for another one.
    pub(crate) sent: Option<Instant>,
    /// The link is under suspicion and closes if the answer is late.
    pub(crate) probe: bool,
}

/// Control output: one slot per kind, the latest wins, read at the moment of sending. So no queue of control frames
/// can grow, whatever the other side does or fails to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    /// The next step of the handshake; each side has at most one at a time.
    pub(crate) handshake: Option<Frame>,
    pub(crate) pong: Option<u64>,
    pub(crate) ping: Option<u64>,
    pub(crate) ack: bool,
    /// An acknowledgement must say how much has arrived, although the peer needs it only as a sign of life.
    pub(crate) progress: bool,
    pub(crate) update: bool,
    pub(crate) digest: bool,
    /// Buckets to list, and of those whether the same is asked in return.
    pub(crate) list: Option<(u16, bool)>,
    /// Joiners to tell of: at most as many as there are peers.
    pub(crate) announce: BTreeSet<NodeId>,
    /// How far the peer's messages were taken, of a link that ends with a goodbye.
    pub(crate) last_ack: Option<Ack>,
    /// The goodbye; nothing follows it.
    pub(crate) close: Option<Close>,
}

impl Slots {
    /// Whether nothing waits but gossip, perhaps, which has its time.
    pub(crate) fn is_empty(&self) -> bool {
        self.handshake.is_none()
            && self.pong.is_none()
            && self.ping.is_none()
            && !self.ack
            && !self.progress
            && self.close.is_none()
    }

    pub(crate) fn has_gossip(&self) -> bool {
        self.update || self.digest || self.list.is_some() || !self.announce.is_empty()
    }
}

/// The order of the links of one pair of runs. The greatest survives, at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) generation: u64,
    pub(crate) dialer: NodeId,
}

impl Link {
    pub(crate) fn new(id: LinkId, dial: Option<Dial>, remote: SocketAddr, control: Rate, now: Instant) -> Link {
        Link {
            id,
            dial,
            remote,
            state: LinkState::Opening,
            proven: None,
            opened: now,
            heard: now,
            spoke: now,
            owed: None,
            unacked: None,
            fed: now,
            window: 0,
            waiting_since: None,
            armed: false,
            ping: None,
            introduced: false,
            control: ControlBudget::new(control, now),
            flight: None,
            slots: Slots::default(),
        }
    }

    pub(crate) fn is_inbound(&self) -> bool {
        self.dial.is_none()
    }

    /// The run at the other end, once the channel stands.
    pub(crate) fn run(&self) -> Option<Run> {
        self.proven.map(|proven| proven.run)
    }

    /// An inbound connection that has not been granted anything yet.
    pub(crate) fn is_pending(&self) -> bool {
        self.is_inbound()
            && matches!(self.state, LinkState::Opening | LinkState::Authenticated | LinkState::Held { .. })
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, LinkState::Up { .. })
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, LinkState::Closing { .. })
    }

    /// Since when it waits for the other side to take its last words and let go; `None` if it does not.
    pub(crate) fn lingers_since(&self) -> Option<Instant> {
        match self.state {
            LinkState::Closing { mode: CloseMode::Flush, since } => Some(since),
            _ => None,
        }
    }

    /// Whether frames of this link still reach the state machine.
    pub(crate) fn is_heard(&self) -> bool {
        self.proven.is_some() && !self.is_closing()
    }

    /// The rank of a link that was claimed, as both ends see it.
    pub(crate) fn rank(&self, own: NodeId) -> Option<Rank> {
        let (LinkState::Claiming { generation } | LinkState::Accepted { generation } | LinkState::Up { generation }) =
            self.state
        else {
            return None;
        };
        let dialer = if self.is_inbound() { self.proven?.run.id } else { own };
        Some(Rank { generation, dialer })
    }

    pub(crate) fn is_probed(&self) -> bool {
        self.ping.is_some_and(|ping| ping.probe)
    }

    pub(crate) fn targets(&self) -> Vec<u64> {
        self.dial.iter().flat_map(|dial| dial.targets.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_generation_outranks_and_the_greater_dialer_breaks_the_tie() {
        let (low, high) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        let rank = |generation, dialer| Rank { generation, dialer };
        assert!(rank(2, low) > rank(1, high));
        assert!(rank(1, high) > rank(1, low));
    }
}
