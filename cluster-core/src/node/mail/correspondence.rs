//! The messages from and to one run, over however many links and sessions.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::id::{FlushId, LinkId, NodeId, Run};
use crate::session::{Due, Past, ReceiveStream, Session};
use crate::time::Instant;

/// What is kept of one run. Exists as long as the run has a record.
#[derive(Clone, Debug)]
pub(in crate::node) struct Correspondence {
    pub(super) run: Run,
    /// The user was told that this run is up, and not yet that it is gone.
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
    /// The time of the session is over, and a link that may bring the run back was given time to do so.
    pub(super) last_try: bool,
    pub(super) delivered: Delivered,
    pub(super) flushes: VecDeque<Flush>,
    /// The run has sent bytes of its stream since it was lost last, or since memory was reserved for its message, or has
    /// had no time to.
    pub(super) feeding: bool,
    /// What the last session left behind, for the next one.
    pub(super) past: Past,
    /// A send was refused as full; the user wants to know when there is room.
    pub(super) wants_room: bool,
    /// The acknowledgement timer of the link runs.
    pub(super) ack_scheduled: bool,
}

/// How many messages were delivered over all sessions of a run, and how far the user knows.
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
    /// How many messages the session had accepted.
    pub(super) mark: u64,
    /// How many of them were reported as undelivered meanwhile.
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

    /// The id if the user waits for room; the caller tells that there is some, or will be none.
    pub(super) fn take_wish(&mut self) -> Option<NodeId> {
        core::mem::take(&mut self.wants_room).then_some(self.run.id)
    }

    /// Bytes of the present stream that wait to be taken.
    pub(super) fn buffered(&self) -> u64 {
        match (&self.session, &self.past) {
            (Some(session), _) => session.receive().map_or(0, ReceiveStream::buffered),
            (None, Past::Open(leftover)) => leftover.stream.buffered(),
            (None, _) => 0,
        }
    }

    /// Bytes accepted for the run that are not known to be delivered.
    pub(super) fn retained(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.send.retained())
    }

    /// How soon the run needs to hear of its stream, and on which link; `Soon` is said once.
    pub(super) fn ack_due(&mut self) -> Option<(LinkId, Due)> {
        let due = self.session.as_ref()?.due();
        let link = self.link?;
        let known = due == Due::Soon && core::mem::replace(&mut self.ack_scheduled, true);
        (due != Due::Never && !known).then_some((link, due))
    }
}
