//! What a node knows first-hand of another: a run that it has itself shaken hands with.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use crate::event::{PeerInfo, PeerState};
use crate::id::{LinkId, Run};
use crate::link::Rank;
use crate::reason::Reason;
use crate::time::Instant;
use crate::wire::Profile;

/// A run and its links. Exists from the moment a handshake names the run until it leaves, is removed or is forgotten.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) run: Run,
    /// The highest generation seen of any claim between the two runs.
    pub(crate) generation: u64,
    /// The link that connects the two: accepted or up.
    pub(crate) live: Option<LinkId>,
    /// The highest rank that a live link has had.
    pub(crate) highest: Option<Rank>,
    /// Our own dial, from its start if the run was known then, else from the moment it named the run.
    pub(crate) dialing: Option<LinkId>,
    pub(crate) standing: Standing,
    pub(crate) profile: Profile,
    pub(crate) rest: Rest,
}

/// The state of a peer in the eyes of the user.
///
/// ```text
///   New ──► Up ◄──► Limbo
///           ▲ │       │
///           │ ▼       │
///          Lost ◄─────┘
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A handshake has named the run; the user does not know it.
    New,
    /// It is up. Its live link may change meanwhile.
    Up,
    /// It is up, but the live link is lost. A claim of ours is under way and may replace the link unnoticed.
    Limbo {
        /// Why the link was lost.
        lost: Reason,
    },
    /// It was up, or an earlier run of it was.
    Lost {
        /// When it went down.
        since: Instant,
    },
}

impl Peer {
    pub(crate) fn new(run: Run) -> Peer {
        Peer {
            run,
            generation: 0,
            live: None,
            highest: None,
            dialing: None,
            standing: Standing::New,
            profile: Profile { name: None, metadata: Bytes::new(), addresses: Vec::new(), max_message: 0, window: 0 },
            rest: Rest::default(),
        }
    }

    /// Returns whether the user sees the peer as up.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.standing, Standing::Up | Standing::Limbo { .. })
    }

    /// Returns whether a link is the live one of the peer or may become so.
    pub(crate) fn is_at(&self, link: LinkId) -> bool {
        self.live == Some(link) || self.dialing == Some(link)
    }

    /// Returns whether a link of a higher rank was live. Then the other side may have gone on over that link since it
    /// granted a claim of this rank, and what the grant says of the streams is no longer true.
    pub(crate) fn outdates(&self, claim: Rank) -> bool {
        self.highest.is_some_and(|highest| highest > claim)
    }

    pub(crate) fn is_in_limbo(&self) -> bool {
        matches!(self.standing, Standing::Limbo { .. })
    }

    /// Ends limbo: another link replaces the lost one, or will not.
    pub(crate) fn end_limbo(&mut self) {
        if self.is_in_limbo() {
            self.standing = Standing::Up;
        }
    }

    /// Returns when the peer was lost, if it is lost.
    pub(crate) fn lost_since(&self) -> Option<Instant> {
        match self.standing {
            Standing::Lost { since } => Some(since),
            Standing::New | Standing::Up | Standing::Limbo { .. } => None,
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost_since().is_some()
    }

    /// Whether the user knows this peer: it is up, or was and is being dialled.
    pub(crate) fn is_known(&self) -> bool {
        self.is_up() || self.is_lost()
    }

    /// Returns what users see of the peer, which is dialled at `address` first.
    pub(crate) fn info(&self, address: Option<SocketAddr>) -> PeerInfo {
        PeerInfo {
            run: self.run,
            name: self.profile.name.clone(),
            metadata: self.profile.metadata.clone(),
            address,
            state: if self.is_up() { PeerState::Up } else { PeerState::Lost },
        }
    }
}

/// A difference between two views that taught nothing rests before it is looked at again, longer each time, so that
/// two nodes which differ for good do not chatter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    until: Instant,
    span: Duration,
}

impl Rest {
    pub(crate) const FIRST: Duration = Duration::from_secs(30);
    pub(crate) const LONGEST: Duration = Duration::from_secs(600);

    pub(crate) fn is_over(self, now: Instant) -> bool {
        now >= self.until
    }

    /// A difference was answered; until it teaches something, the next one waits.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.span = if self.span.is_zero() { Rest::FIRST } else { (self.span * 2).min(Rest::LONGEST) };
        self.until = now + self.span;
    }

    /// Something was learned, or the views are equal.
    pub(crate) fn clear(&mut self) {
        *self = Rest::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_doubles_up_to_ten_minutes_until_something_is_learned() {
        let mut rest = Rest::default();
        assert!(rest.is_over(Instant::ZERO));
        let mut spans = Vec::new();
        for _ in 0..7 {
            rest.begin(Instant::ZERO);
            spans.push((rest.until - Instant::ZERO).as_secs());
        }
        assert_eq!(spans, [30, 60, 120, 240, 480, 600, 600]);
        rest.clear();
        assert!(rest.is_over(Instant::ZERO));
    }
}
