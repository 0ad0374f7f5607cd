//! The messages from and to one run, over however many links and sessions.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::id::{FlushId, LinkId, NodeId, Run};
use crate::session::{Due, Past, ReceiveStream, Session};
use crate::time::Instant;

/// The mail of one run. It exists as long as the run has a record.
#[derive(Clone, Debug)]
pub(in crate::node) struct Correspondence {
    pub(super) run: Run,
    /// The node has reported this run as up, and not yet as gone.
    pub(super) open: bool,
    /// The run is lost, and its session waits for its return.
    pub(super) suspended: bool,
    /// The link that connects the two, once it is accepted.
    pub(super) link: Option<LinkId>,
    /// The longest message that the run takes.
    pub(super) max_message: u64,
    /// The credit that the run gives a new stream.
    pub(super) credit: u64,
    /// The round trip as last measured.
    pub(super) rtt: Duration,
    pub(super) session: Option<Session>,
    /// The session has expired, and a link that may bring the run back has a last deadline.
    pub(super) last_try: bool,
    pub(super) delivered: Delivered,
    pub(super) flushes: VecDeque<Flush>,
    /// The run has sent bytes of its stream since it was lost last, or since memory was reserved for its message, or has
    /// had no time to.
    pub(super) feeding: bool,
    /// Remains of the last session, for the next one.
    pub(super) past: Past,
    /// A send was refused as full; the user wants to know when there is room.
    pub(super) wants_room: bool,
    /// The acknowledgement timer of the link runs.
    pub(super) ack_scheduled: bool,
}

/// The number of messages delivered over all sessions of a run, and of those the user knows about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) messages: u64,
    pub(super) told: u64,
    pub(super) told_at: Option<Instant>,
}

/// A flush that waits for the outcomes of all messages accepted before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flush {
    pub(super) id: FlushId,
    /// The number of messages that the session had accepted.
    pub(super) mark: u64,
    /// The number of them that the node has reported as undelivered since.
    pub(super) undelivered: u64,
}

impl Correspondence {
    pub(super) fn new(run: Run) -> Correspondence {
        Correspondence {
            run,
            open: false,
            suspended: false,
            link: None,
            max_message: 0,
            credit: 0,
            rtt: Duration::ZERO,
            session: None,
            last_try: false,
            delivered: Delivered::default(),
            flushes: VecDeque::new(),
            feeding: true,
            past: Past::Unknown,
            wants_room: false,
            ack_scheduled: false,
        }
    }

    /// Returns the id if a sender is blocked; the caller wakes it.
    pub(super) fn take_wish(&mut self) -> Option<NodeId> {
        core::mem::take(&mut self.wants_room).then_some(self.run.id)
    }

    /// Returns the bytes of the present stream that wait for the user.
    pub(super) fn buffered(&self) -> u64 {
        match (&self.session, &self.past) {
            (Some(session), _) => session.receive().map_or(0, ReceiveStream::buffered),
            (None, Past::Open(leftover)) => leftover.stream.buffered(),
            (None, _) => 0,
        }
    }

    /// Returns the bytes accepted for the run and not known to be delivered.
    pub(super) fn retained(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.send.retained())
    }

    /// Returns how soon the run needs an acknowledgement, and on which link; returns `Soon` once.
    pub(super) fn ack_due(&mut self) -> Option<(LinkId, Due)> {
        let due = self.session.as_ref()?.due();
        let link = self.link?;
        let known = due == Due::Soon && core::mem::replace(&mut self.ack_scheduled, true);
        (due != Due::Never && !known).then_some((link, due))
    }
}
