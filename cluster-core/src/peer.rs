//! What a node knows first-hand of another: a run that it has itself shaken hands with.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use crate::event::{PeerInfo, PeerState};
use crate::id::{LinkId, Run};
use crate::limits::MAX_GENERATION_STEP;
use crate::link::Rank;
use crate::mutant::mutant;
use crate::reason::Reason;
use crate::time::Instant;
use crate::wire::Profile;

/// A run and its links. Exists from the moment a handshake names the run until it leaves, is removed or is forgotten.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) run: Run,
    pub(crate) profile: Profile,
    pub(crate) rest: Rest,
    /// The highest generation seen of any claim between the two runs.
    generation: u64,
    /// The link that connects the two: accepted or up.
    live: Option<LinkId>,
    /// The highest rank that a live link has had.
    highest: Option<Rank>,
    /// Our own dial, from its start if the run was known then, else from the moment it named the run.
    dialing: Option<LinkId>,
    standing: Standing,
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
            profile: Profile { name: None, metadata: Bytes::new(), addresses: Vec::new(), max_message: 0, window: 0 },
            rest: Rest::default(),
            generation: 0,
            live: None,
            highest: None,
            dialing: None,
            standing: Standing::New,
        }
    }

    /// Returns the record of a later run of the same node, which keeps a dial that has not named a run. A lost node is still
    /// lost: if the link of the later run fails, the node must be dialled.
    pub(crate) fn succeed(self, run: Run, dialing: Option<LinkId>) -> Peer {
        let standing = if self.is_lost() { self.standing } else { Standing::New };
        Peer { profile: self.profile, dialing, standing, ..Peer::new(run) }
    }

    pub(crate) fn live(&self) -> Option<LinkId> {
        self.live
    }

    pub(crate) fn dialing(&self) -> Option<LinkId> {
        self.dialing
    }

    /// Returns whether no link leads to the peer and none is being dialled.
    pub(crate) fn is_idle(&self) -> bool {
        self.live.is_none() && self.dialing.is_none()
    }

    /// Returns why the live link of a peer in limbo was lost.
    pub(crate) fn limbo(&self) -> Option<&Reason> {
        match &self.standing {
            Standing::Limbo { lost } => Some(lost),
            Standing::New | Standing::Up | Standing::Lost { .. } => None,
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

    /// Returns whether a link of a higher rank was live. Then the streams may have moved over that link after the other side
    /// granted a claim of this rank, and the offer in the grant is out of date.
    pub(crate) fn outdates(&self, claim: Rank) -> bool {
        self.highest.is_some_and(|highest| highest > claim)
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

    /// Notes a dial that looks for the peer.
    pub(crate) fn dials(&mut self, link: LinkId) {
        self.dialing = Some(link);
    }

    /// Notes a dial that has found the peer and claims its link. Returns the generation of the claim.
    pub(crate) fn claims(&mut self, link: LinkId) -> u64 {
        self.dialing = Some(link);
        self.generation = self.generation.saturating_add(1);
        self.generation
    }

    /// Notes the generation of a claim by the peer. Returns `false` if no honest claim has it.
    #[must_use]
    pub(crate) fn is_claimed(&mut self, generation: u64) -> bool {
        let may_be = generation <= self.generation.saturating_add(MAX_GENERATION_STEP);
        if may_be {
            self.generation = self.generation.max(generation);
        }
        may_be
    }

    /// Forgets the dial to the peer, which is decided. Returns its link.
    pub(crate) fn end_dial(&mut self) -> Option<LinkId> {
        self.dialing.take()
    }

    /// Makes this link the live one, which ends limbo.
    pub(crate) fn adopt(&mut self, link: LinkId, rank: Option<Rank>) {
        debug_assert!(self.live.is_none() || mutant!(FenceAfterOffer), "the live link is fenced first: {self:?}");
        self.live = Some(link);
        self.highest = self.highest.max(rank);
        self.end_limbo();
    }

    /// Ends limbo: another link replaces the lost one, or the peer goes down for another reason.
    pub(crate) fn end_limbo(&mut self) {
        if let Standing::Limbo { .. } = self.standing {
            self.standing = Standing::Up;
        }
    }

    /// Removes the live link, which is lost or fenced, and returns it.
    pub(crate) fn end_live(&mut self) -> Option<LinkId> {
        self.live.take()
    }

    /// Marks the peer as up. Returns its standing before.
    pub(crate) fn come_up(&mut self) -> Standing {
        core::mem::replace(&mut self.standing, Standing::Up)
    }

    /// Puts a peer that lost its live link in limbo, because a claim of ours may replace the link unnoticed.
    pub(crate) fn hope(&mut self, lost: Reason) {
        debug_assert!(self.live.is_none() && self.is_up(), "limbo begins when the live link of a peer ends: {self:?}");
        self.standing = Standing::Limbo { lost };
    }

    /// Marks the peer as down.
    pub(crate) fn go_down(&mut self, now: Instant) {
        debug_assert!(self.is_up(), "a peer goes down that was not up: {self:?}");
        self.standing = Standing::Lost { since: now };
    }

    /// Returns whether the peer has a live link if it is up, and none while it is in limbo.
    pub(crate) fn is_consistent(&self) -> bool {
        match self.standing {
            Standing::Up => self.live.is_some(),
            Standing::Limbo { .. } => self.live.is_none(),
            Standing::New | Standing::Lost { .. } => true,
        }
    }

    /// Returns the generation and the rank, by which the search over every order of events tells states apart.
    #[cfg(test)]
    pub(crate) fn claims_seen(&self) -> (u64, Option<Rank>) {
        (self.generation, self.highest)
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
    use crate::id::{Incarnation, NodeId};

    fn run(incarnation: u64) -> Run {
        Run { id: NodeId::from_bytes([1; 16]), incarnation: Incarnation(incarnation) }
    }

    fn rank(generation: u64) -> Rank {
        Rank { generation, dialer: NodeId::from_bytes([1; 16]) }
    }

    #[test]
    fn claim_exceeds_all_seen_and_is_void_after_a_higher_live_link() {
        let mut peer = Peer::new(run(1));
        assert!(peer.is_claimed(7) && !peer.is_claimed(8 + MAX_GENERATION_STEP), "no honest claim is that far ahead");
        assert_eq!((peer.claims(LinkId(1)), peer.dialing()), (8, Some(LinkId(1))));
        assert!(!peer.outdates(rank(8)));
        peer.adopt(LinkId(2), Some(rank(9)));
        assert_eq!((peer.live(), peer.outdates(rank(8))), (Some(LinkId(2)), true));
        // A link of a lower rank comes after one that ended, and changes nothing about it.
        assert_eq!(peer.end_live(), Some(LinkId(2)));
        peer.adopt(LinkId(3), Some(rank(3)));
        assert!(peer.outdates(rank(8)) && !peer.outdates(rank(9)));
    }

    #[test]
    fn limbo_ends_with_a_link_or_with_the_peer() {
        let mut peer = Peer::new(run(1));
        peer.adopt(LinkId(1), Some(rank(1)));
        assert_eq!((peer.come_up(), peer.is_consistent()), (Standing::New, true));
        peer.end_live();
        assert!(!peer.is_consistent(), "it is in limbo, or down");
        peer.hope(Reason::Reset);
        assert_eq!((peer.limbo(), peer.is_up(), peer.is_consistent()), (Some(&Reason::Reset), true, true));
        peer.adopt(LinkId(2), Some(rank(2)));
        assert_eq!((peer.limbo(), peer.is_up()), (None, true));
        peer.end_live();
        peer.go_down(Instant::ZERO);
        assert_eq!((peer.is_up(), peer.lost_since()), (false, Some(Instant::ZERO)));
    }

    #[test]
    fn later_run_inherits_the_loss_and_none_of_the_claims() {
        let mut peer = Peer::new(run(1));
        peer.claims(LinkId(1));
        peer.adopt(LinkId(1), Some(rank(1)));
        peer.come_up();
        peer.end_live();
        peer.go_down(Instant::ZERO);
        let later = peer.succeed(run(2), Some(LinkId(4)));
        assert_eq!((later.run, later.is_lost(), later.live(), later.dialing()), (run(2), true, None, Some(LinkId(4))));
        assert_eq!(later.claims_seen(), (0, None));
    }

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
