//! How much a peer may send: windows that grow where they are used, within a budget of the whole node.
//!
//! # Why it is like this
//!
//! * A message that is longer than its window needs room for all of it before it can be taken. If two peers each had half
//!   of what they need, neither would ever finish. So the remainder is reserved whole or not at all
//!   (`cluster-sim/tests/it/messages.rs`: fifty peers send 4 MiB each where 16 MiB are reserved).
//! * The node gives reservations strictly in the order of the requests. Small ones would otherwise pass a large one
//!   permanently.
//! * Windows and remainders have a pool each. Windows that grew and idle would otherwise starve every long message.
//! * A peer that is too slow loses its reservation while others wait, or a member that sends a byte every six seconds
//!   would stop all others (`cluster-core/src/node/tests/reservations.rs`). The limits are those of
//!   [`Budget::wants_back`]: a peer that was too slow itself waits patiently, or two slow ones would interrupt each
//!   other forever.
//! * A window grows only when a whole one was consumed within two round trips: then it was the window that the sender
//!   waited for. It shrinks when the link ends, because nothing else says that a peer has become slow.
//!
//! PROTOCOL.md has the rules for the other side under "Acknowledgement and credit" and "Long messages".

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::head::MAX_HEAD;
use crate::id::NodeId;
use crate::limits::{ACK_DELAY, RESERVATION_LEAST_RATE, RESERVATION_RATE, RESERVATION_STALL};
use crate::mutant::mutant;
use crate::time::Instant;
use crate::wire::Ack;

/// What the node may still grant beyond the initial window of each peer.
///
/// Two pools of equal size, so that windows which grew and idle never starve a large message.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    growth: u64,
    remainders: u64,
    waiting: VecDeque<Wish>,
    /// Since when some wish has waited.
    contested: Option<Instant>,
    /// Since when some wish has waited that is not patient.
    hurried: Option<Instant>,
    /// How many wishes have had to wait so far.
    waits: u64,
    /// The sizes of the two pools: what has been taken from a pool and what is left in it always come to this.
    capacity: [u64; 2],
}

/// Who waits.
#[derive(Clone, Copy, Debug)]
struct Wish {
    reservation: Reservation,
    patient: bool,
}

/// The remainder of a message, reserved or asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// Whose message.
    pub(crate) peer: NodeId,
    /// How many bytes of it lie beyond the peer's window.
    pub(crate) bytes: u64,
}

impl Budget {
    /// Divides what `recv_budget` leaves beyond the initial windows.
    pub(crate) fn new(recv_budget: u64, max_peers: u64, initial_window: u64, max_message: u64) -> Budget {
        let pool = recv_budget.saturating_sub(max_peers.saturating_mul(initial_window)) / 2;
        // One legal message must always find room once it is its turn, or the queue would stand for ever.
        let remainders = pool.max(max_message.saturating_add(MAX_HEAD as u64));
        Budget {
            growth: pool,
            remainders,
            waiting: VecDeque::new(),
            contested: None,
            hurried: None,
            waits: 0,
            capacity: [pool, remainders],
        }
    }

    /// Takes `bytes` for a window, all or nothing.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let rest = self.growth.checked_sub(bytes);
        self.growth = rest.unwrap_or(self.growth);
        rest.is_some()
    }

    /// Gives back what a window took.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        self.growth = self.growth.saturating_add(bytes);
        debug_assert!(self.growth <= self.capacity[0], "a window gives back more than it took: {self:?}");
    }

    /// Reserves the whole remainder of `peer`'s front message, or queues the wish behind those that came before.
    /// A peer has one place in the queue; asking again changes nothing. Who is `patient` was too slow itself, and hurries
    /// nobody who is not slower.
    pub(crate) fn reserve(&mut self, now: Instant, peer: NodeId, bytes: u64, patient: bool) -> bool {
        if self.waiting.is_empty() && bytes <= self.remainders {
            self.remainders -= bytes;
            return true;
        }
        if mutant!(GrantEverything) {
            return true;
        }
        if self.waiting.iter().all(|wish| wish.reservation.peer != peer) {
            self.waiting.push_back(Wish { reservation: Reservation { peer, bytes }, patient });
            self.contested.get_or_insert(now);
            if !patient {
                self.hurried.get_or_insert(now);
            }
            self.waits += 1;
        }
        false
    }

    /// Whether a message of which so much has arrived comes in too slowly for those who wait. Its memory is reserved, and
    /// could be filled, since `since`.
    pub(crate) fn wants_back(&self, now: Instant, since: Instant, arrived: u64) -> bool {
        let demands = [(self.hurried, RESERVATION_RATE), (self.contested, RESERVATION_LEAST_RATE)];
        demands.into_iter().any(|(waited, rate)| {
            let passed = waited.map_or(Duration::ZERO, |waited| now - waited.max(since));
            let late = passed.saturating_sub(RESERVATION_STALL);
            u128::from(arrived) < late.as_millis() * u128::from(rate) / 1_000
        })
    }

    pub(crate) fn waits(&self) -> u64 {
        self.waits
    }

    /// Gives back a reservation, and says who now has theirs.
    #[must_use]
    pub(crate) fn release(&mut self, bytes: u64) -> Vec<Reservation> {
        self.remainders = self.remainders.saturating_add(bytes);
        let is_sound = self.remainders <= self.capacity[1] || mutant!(GrantEverything);
        debug_assert!(is_sound, "a message gives back more than was reserved: {self:?}");
        self.serve()
    }

    /// Forgets the wish of `peer`, and says who now has theirs.
    #[must_use]
    pub(crate) fn cancel(&mut self, peer: NodeId) -> Vec<Reservation> {
        self.waiting.retain(|wish| wish.reservation.peer != peer);
        self.serve()
    }

    /// Strictly in order: letting small wishes pass would starve a large one.
    fn serve(&mut self) -> Vec<Reservation> {
        let mut served = Vec::new();
        while let Some(Wish { reservation, .. }) = self.waiting.front()
            && let Some(rest) = self.remainders.checked_sub(reservation.bytes)
        {
            self.remainders = rest;
            served.extend(self.waiting.pop_front().map(|wish| wish.reservation));
        }
        self.contested = self.contested.filter(|_| !self.waiting.is_empty());
        self.hurried = self.hurried.filter(|_| self.waiting.iter().any(|wish| !wish.patient));
        debug_assert!(
            self.hurried.is_none() || self.contested.is_some(),
            "a wish hurries that does not wait: {self:?}"
        );
        served
    }
}

/// How far beyond what was consumed one peer may send, apart from a reserved remainder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    initial: u64,
    max: u64,
    size: u64,
    /// Where and when the window that is being measured began.
    mark: u64,
    since: Instant,
}

impl Window {
    pub(crate) fn new(initial: u64, max: u64) -> Window {
        // A smaller window could not take in a whole head, hence never learn what the front message needs.
        let initial = initial.max(MAX_HEAD as u64);
        Window { initial, max: max.max(initial), size: initial, mark: 0, since: Instant::ZERO }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Starts measuring afresh, as a link does.
    pub(crate) fn restart(&mut self, now: Instant, consumed: u64) {
        self.mark = consumed;
        self.since = now;
    }

    /// Doubles the window if a whole one was consumed within two round trips: then the sender had to wait for credit.
    /// Says whether it grew.
    #[inline]
    pub(crate) fn consumed(&mut self, now: Instant, consumed: u64, rtt: Duration, budget: &mut Budget) -> bool {
        if consumed.saturating_sub(self.mark) < self.size {
            return false;
        }
        let swift = now - self.since <= rtt.saturating_add(ACK_DELAY).saturating_mul(2);
        self.restart(now, consumed);
        let more = self.size.min(self.max.saturating_sub(self.size));
        let grows = swift && more > 0 && budget.grow(more);
        if grows {
            self.size += more;
        }
        debug_assert!(self.initial <= self.size, "{self:?}");
        grows
    }

    /// Gives back what the window has grown by, except what `buffered` bytes still occupy.
    pub(crate) fn shrink(&mut self, buffered: u64, budget: &mut Budget) {
        let size = buffered.clamp(self.initial, self.size);
        budget.shrink(self.size - size);
        self.size = size;
    }

    /// Returns to the initial size; what the window had grown by is now the caller's to give back.
    pub(crate) fn take_growth(&mut self) -> u64 {
        core::mem::replace(&mut self.size, self.initial) - self.initial
    }

    /// Adds what the caller took from the budget.
    pub(crate) fn add_growth(&mut self, bytes: u64) {
        self.size = self.size.saturating_add(bytes);
    }
}

/// When an acknowledgement is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// There is nothing that the sender needs to know.
    Never,
    /// With whatever else goes out, and within [`ACK_DELAY`].
    Soon,
    /// At once.
    Now,
}

/// When `ack` is due, if `told` is what the sender knows and the front message ends at `front_end`.
///
/// That bytes arrived is no reason: the sender keeps them until they are consumed.
#[inline]
pub(crate) fn due(told: &Ack, ack: &Ack, window: u64, front_end: u64) -> Due {
    let consumed = ack.consumed.saturating_sub(told.consumed);
    let granted = ack.granted.saturating_sub(told.granted);
    let quarter = (window / 4).max(1);
    // The sender stands inside a message for want of credit that it now has.
    let unblocks = front_end > told.granted && front_end <= ack.granted;
    if consumed >= quarter || granted >= quarter || unblocks {
        Due::Now
    } else if consumed > 0 || granted > 0 {
        Due::Soon
    } else {
        Due::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALICE: NodeId = NodeId::from_bytes([1; 16]);
    const BOB: NodeId = NodeId::from_bytes([2; 16]);
    const CAROL: NodeId = NodeId::from_bytes([3; 16]);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn remainders_are_reserved_whole_and_in_the_order_of_asking() {
        let mut budget = Budget::new(100 + 2 * 50, 10, 10, 20);
        assert!(budget.reserve(at(0), ALICE, 30, false));
        assert!(!budget.reserve(at(0), BOB, 40, false), "only 20 are left");
        assert!(!budget.reserve(at(0), CAROL, 10, false), "it would fit, but Bob asked first");
        assert!(!budget.reserve(at(0), CAROL, 10, false), "asking twice gives no second place");
        assert_eq!(budget.waits(), 2);
        assert_eq!(budget.release(30), [Reservation { peer: BOB, bytes: 40 }, Reservation { peer: CAROL, bytes: 10 }]);
        assert_eq!(budget.release(40), []);
    }

    #[test]
    fn who_gives_up_waiting_lets_the_next_one_in() {
        let mut budget = Budget::new(100 + 2 * 50, 10, 10, 20);
        assert!(budget.reserve(at(0), ALICE, 30, false));
        assert!(!budget.reserve(at(0), BOB, 40, false));
        assert!(!budget.reserve(at(0), CAROL, 21, false));
        assert_eq!(budget.cancel(BOB), []);
        assert!(!budget.reserve(at(0), BOB, 10, false));
        assert_eq!(budget.cancel(CAROL), [Reservation { peer: BOB, bytes: 10 }]);
    }

    #[test]
    fn memory_is_wanted_back_from_who_is_slow_while_others_wait() {
        let mut budget = Budget::new(200, 0, 0, 20);
        assert!(budget.reserve(at(0), ALICE, 100, false));
        assert!(!budget.wants_back(at(1_000_000), at(0), 0), "nobody waits");
        assert!(!budget.reserve(at(50_000), BOB, 100, true));
        let second = RESERVATION_LEAST_RATE;
        assert!(!budget.wants_back(at(60_000), at(0), 0));
        assert!(!budget.wants_back(at(61_000), at(0), second));
        assert!(budget.wants_back(at(61_000), at(0), second - 1));
        assert!(!budget.wants_back(at(61_000), at(52_000), 0), "it has had its memory for 9 s");
        assert!(!budget.reserve(at(55_000), CAROL, 100, false));
        let second = RESERVATION_RATE;
        assert!(!budget.wants_back(at(66_000), at(0), second));
        assert!(budget.wants_back(at(66_000), at(0), second - 1));
        assert_eq!(budget.cancel(CAROL), []);
        assert!(!budget.wants_back(at(66_000), at(0), second - 1));
        assert_eq!(budget.cancel(BOB), []);
        assert!(!budget.wants_back(at(1_000_000), at(0), 0));
    }

    #[test]
    fn one_legal_message_always_finds_room() {
        let mut budget = Budget::new(0, u64::MAX, u64::MAX, 1_000);
        assert!(budget.reserve(at(0), ALICE, 1_003, false));
        assert!(!budget.grow(1));
    }

    #[test]
    fn a_window_doubles_when_it_is_consumed_within_two_round_trips_and_only_then() {
        let mut budget = Budget::new(1_000, 0, 0, 0);
        let mut window = Window::new(100, 350);
        let rtt = Duration::from_millis(30);
        assert!(!window.consumed(at(1), 99, rtt, &mut budget), "not a whole window");
        assert!(window.consumed(at(100), 100, rtt, &mut budget), "(30 + 20) · 2 ms are just over");
        assert_eq!(window.size(), 200);
        assert!(!window.consumed(at(201), 300, rtt, &mut budget), "too slow");
        assert!(window.consumed(at(202), 500, rtt, &mut budget));
        assert_eq!(window.size(), 350, "no more than the maximum");
        assert!(!window.consumed(at(203), 10_000, rtt, &mut budget));
    }

    #[test]
    fn a_window_grows_only_while_the_budget_has_room_and_gives_it_back() {
        let mut budget = Budget::new(300, 0, 0, 0);
        let (mut ours, mut theirs) = (Window::new(100, 1_000), Window::new(100, 1_000));
        assert!(ours.consumed(at(0), 100, Duration::ZERO, &mut budget));
        assert!(!theirs.consumed(at(0), 100, Duration::ZERO, &mut budget), "50 are left");
        ours.shrink(130, &mut budget);
        assert_eq!(ours.size(), 130, "130 bytes are still buffered");
        assert!(theirs.consumed(at(0), 200, Duration::ZERO, &mut budget));
        ours.shrink(0, &mut budget);
        theirs.shrink(0, &mut budget);
        assert_eq!((ours.size(), theirs.size()), (100, 100));
        assert!(budget.grow(150) && !budget.grow(1));
    }

    #[test]
    fn an_acknowledgement_is_due_at_a_quarter_window_and_when_it_unblocks_the_sender() {
        let told = Ack { received: 100, consumed: 100, consumed_messages: 1, granted: 500 };
        let case = |consumed, granted, front_end| {
            due(&told, &Ack { received: 500, consumed, consumed_messages: 1, granted }, 400, front_end)
        };
        assert_eq!(case(100, 500, 0), Due::Never, "bytes that arrived are no reason");
        assert_eq!(case(101, 501, 0), Due::Soon);
        assert_eq!(case(199, 599, 0), Due::Soon);
        assert_eq!(case(200, 500, 0), Due::Now);
        assert_eq!(case(100, 600, 0), Due::Now);
        assert_eq!(case(100, 510, 511), Due::Soon);
        assert_eq!(case(100, 511, 511), Due::Now);
        assert_eq!(case(100, 511, 500), Due::Soon, "the sender needed no more for it");
    }

    proptest! {
        #[test]
        fn reservations_never_exceed_the_pool_and_nobody_waits_who_could_be_served(
            steps in prop::collection::vec((0_u8..4, 1_u64..60, prop::bool::weighted(0.3)), 0..80),
        ) {
            let mut budget = Budget::new(200, 0, 0, 60);
            let mut held = [0_u64; 4];
            let mut wish = [0_u64; 4];
            for (peer, bytes, cancels) in steps {
                let (id, index) = (NodeId::from_bytes([peer; 16]), usize::from(peer));
                let served = if cancels {
                    wish[index] = 0;
                    budget.cancel(id)
                } else if held[index] > 0 {
                    budget.release(core::mem::take(&mut held[index]))
                } else {
                    if wish[index] == 0 {
                        wish[index] = bytes;
                    }
                    if budget.reserve(at(0), id, bytes, false) { alloc::vec![Reservation { peer: id, bytes }] } else { Vec::new() }
                };
                for Reservation { peer, bytes } in served {
                    let index = usize::from(peer.as_bytes()[0]);
                    prop_assert_eq!(core::mem::take(&mut wish[index]), bytes);
                    held[index] += bytes;
                }
                let total: u64 = held.iter().sum();
                prop_assert!(total <= 100);
                prop_assert_eq!(budget.remainders, 100 - total);
                let first = budget.waiting.front().map(|wish| wish.reservation.bytes);
                prop_assert!(first.is_none_or(|bytes| bytes > budget.remainders));
            }
        }
    }
}
