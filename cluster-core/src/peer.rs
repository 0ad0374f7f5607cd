//! What a node knows first-hand of another: a run that it has itself shaken hands with.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;

use crate::address::Advertised;
use crate::backoff::Backoff;
use crate::event::{PeerInfo, PeerState};
use crate::id::{LinkId, Run};
use crate::limits::MAX_ADDRESSES;
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
    /// Our own dial, from its start if the run was known then, else from the moment it named the run.
    pub(crate) dialing: Option<LinkId>,
    pub(crate) standing: Standing,
    pub(crate) profile: Profile,
    pub(crate) rest: Rest,
    pub(crate) contact: Contact,
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

/// How a peer can be dialled, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact {
    pub(crate) addresses: Addresses,
    pub(crate) backoff: Backoff,
    /// Do not dial before this time: the peer broke the protocol.
    pub(crate) shunned_until: Instant,
    /// The node has already redialled at once after it told a stale run about this one; it does so only once.
    pub(crate) corrected: bool,
}

impl Peer {
    pub(crate) fn new(run: Run) -> Peer {
        Peer {
            run,
            generation: 0,
            live: None,
            dialing: None,
            standing: Standing::New,
            profile: Profile { name: None, metadata: Bytes::new(), addresses: Vec::new(), max_message: 0, window: 0 },
            rest: Rest::default(),
            contact: Contact::default(),
        }
    }

    /// Returns whether the user sees the peer as up.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.standing, Standing::Up | Standing::Limbo { .. })
    }

    pub(crate) fn is_in_limbo(&self) -> bool {
        matches!(self.standing, Standing::Limbo { .. })
    }

    /// Ends limbo: another link replaces the lost one, or will not.
    pub(crate) fn settle(&mut self) {
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

    pub(crate) fn info(&self) -> PeerInfo {
        PeerInfo {
            run: self.run,
            name: self.profile.name.clone(),
            metadata: self.profile.metadata.clone(),
            address: self.contact.addresses.preferred(),
            state: if self.is_up() { PeerState::Up } else { PeerState::Lost },
        }
    }
}

/// Where a peer can be dialled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The address that we dialled successfully last, perhaps through a tunnel. Preferred by us, never gossiped.
    via: Option<SocketAddr>,
    /// What the peer advertises, completed with the IP it was seen at. Gossiped.
    advertised: Vec<SocketAddr>,
    /// What others say of it; used when it is lost. Not gossiped.
    hearsay: Vec<SocketAddr>,
    /// Other addresses that turned out to lead to it.
    aliases: Vec<SocketAddr>,
    /// What its earlier run advertised, until this one has said where it is.
    former: Vec<SocketAddr>,
    /// The IP it was seen at.
    seen: Option<IpAddr>,
    /// Which one to dial next.
    cursor: usize,
}

/// The most aliases kept of one peer.
const MAX_PEER_ALIASES: usize = 8;

impl Addresses {
    /// The peer advertises these, and was seen at `ip`.
    pub(crate) fn advertise(&mut self, advertised: &[Advertised], ip: IpAddr) {
        self.seen = Some(ip);
        self.update(advertised);
        self.hearsay.clear();
        for address in core::mem::take(&mut self.former) {
            if !self.advertised.contains(&address) {
                self.moved_away(address);
            }
        }
    }

    /// These are of an earlier run. Ways around that were found are as good as before; where it said that it is counts
    /// until the later one says where that is.
    pub(crate) fn restarted(&mut self) {
        self.former.clone_from(&self.advertised);
    }

    /// The peer has changed what it advertises.
    pub(crate) fn update(&mut self, advertised: &[Advertised]) {
        let Some(ip) = self.seen else { return };
        self.advertised = advertised.iter().take(MAX_ADDRESSES).map(|address| address.seen_at(ip)).collect();
    }

    /// A dial to `address` reached the peer.
    pub(crate) fn reached(&mut self, address: SocketAddr) {
        // The way that used to work is tried first: if it did not this time, it says nothing of the peer any more.
        if let Some(failed) = self.via.filter(|via| self.cursor > 0 && *via != address) {
            self.aliases.retain(|alias| *alias != failed);
        }
        self.via = Some(address);
        self.cursor = 0;
        self.alias(address);
    }

    /// `address` leads to the peer as well.
    pub(crate) fn alias(&mut self, address: SocketAddr) {
        if self.aliases.contains(&address) {
            return;
        }
        if self.aliases.len() == MAX_PEER_ALIASES {
            self.aliases.remove(0);
        }
        self.aliases.push(address);
    }

    /// `address` does not lead to the peer: it answers as somebody else.
    pub(crate) fn moved_away(&mut self, address: SocketAddr) {
        if self.via == Some(address) {
            self.via = None;
        }
        self.aliases.retain(|alias| *alias != address);
        self.hearsay.retain(|hearsay| *hearsay != address);
    }

    /// Somebody who is connected to the peer says that it is there. Returns whether that is worth a dial now: when the
    /// oldest has to make room it is not, or a liar could make us dial all the time.
    pub(crate) fn hear(&mut self, addresses: &[SocketAddr]) -> bool {
        let before = self.hearsay.len();
        for address in addresses {
            if self.dialable().any(|known| known == *address) {
                continue;
            }
            if self.hearsay.len() == MAX_ADDRESSES {
                self.hearsay.remove(0);
            }
            self.hearsay.push(*address);
        }
        self.hearsay.len() > before
    }

    /// Every address worth dialling: the way that worked first.
    pub(crate) fn dialable(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let advertised = self.advertised.iter().chain(&self.hearsay).copied();
        self.via.into_iter().chain(advertised.filter(|address| Some(*address) != self.via))
    }

    /// The next address to dial, going round through those that `allowed` lets pass.
    pub(crate) fn next(&mut self, mut allowed: impl FnMut(SocketAddr) -> bool) -> Option<SocketAddr> {
        let candidates: Vec<SocketAddr> = self.dialable().filter(|address| allowed(*address)).collect();
        let address = *candidates.get(self.cursor % candidates.len().max(1))?;
        self.cursor = self.cursor.wrapping_add(1);
        Some(address)
    }

    pub(crate) fn preferred(&self) -> Option<SocketAddr> {
        self.dialable().next()
    }

    /// What may be told to others.
    pub(crate) fn gossiped(&self) -> &[SocketAddr] {
        &self.advertised
    }

    /// Whether a dial there once reached the peer, so that it is no hearsay.
    pub(crate) fn is_verified(&self, address: SocketAddr) -> bool {
        self.via == Some(address) || self.aliases.contains(&address)
    }

    /// The IPs at which the peer was seen, by its own or by our dial; a claim by others does not count.
    pub(crate) fn seen(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let reached = self.via.iter().chain(&self.aliases).map(SocketAddr::ip);
        reached.chain(self.seen)
    }

    pub(crate) fn advertises(&self, address: SocketAddr) -> bool {
        self.advertised.contains(&address)
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

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_way_that_worked_is_dialled_first_and_never_gossiped() {
        let mut addresses = Addresses::default();
        addresses.advertise(&[Advertised::Socket(at("10.0.0.2:1"))], at("10.0.0.9:5").ip());
        addresses.reached(at("127.0.0.1:7"));
        assert_eq!(addresses.preferred(), Some(at("127.0.0.1:7")));
        assert_eq!(addresses.gossiped(), [at("10.0.0.2:1")]);
        let mut round = || addresses.next(|_| true);
        assert_eq!(
            [round(), round(), round()],
            [Some(at("127.0.0.1:7")), Some(at("10.0.0.2:1")), Some(at("127.0.0.1:7"))]
        );
        addresses.moved_away(at("127.0.0.1:7"));
        assert_eq!(addresses.preferred(), Some(at("10.0.0.2:1")));
    }

    #[test]
    fn a_later_run_is_not_where_only_the_earlier_one_said_that_it_is() {
        let (first, second, way) = (at("10.0.0.2:1"), at("10.0.0.3:1"), at("127.0.0.1:7"));
        for reached in [first, way] {
            let mut addresses = Addresses::default();
            addresses.advertise(&[Advertised::Socket(first)], first.ip());
            addresses.alias(first);
            addresses.reached(reached);
            addresses.restarted();
            addresses.advertise(&[Advertised::Socket(second)], second.ip());
            let kept = [way, second].into_iter().filter(|address| *address == second || *address == reached);
            assert!(addresses.dialable().eq(kept), "{addresses:?}");
            assert_eq!((addresses.is_verified(first), addresses.is_verified(way)), (false, reached == way));
            addresses.restarted();
            addresses.advertise(&[Advertised::Socket(second)], second.ip());
            assert_eq!(addresses.is_verified(way), reached == way);
        }
    }

    #[test]
    fn a_bare_port_is_completed_with_the_ip_the_peer_was_seen_at() {
        let mut addresses = Addresses::default();
        addresses.advertise(&[Advertised::Port(7)], at("10.0.0.9:5").ip());
        assert_eq!(addresses.gossiped(), [at("10.0.0.9:7")]);
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
