//! How many bytes of a stream may be on their way over one link, so that a ping behind them is not late.
//!
//! # Why the core bounds this itself
//!
//! A socket takes megabytes that the path carries much later: the kernel's send buffer grows to 4 MiB and more, and
//! routers have buffers of their own. A ping that is written behind them takes as long as they do. At 1 Mbit/s, 1 MiB
//! takes 8 s, and a peer that waits 5 s for the answer declares a live link dead; so do both ends, again and again, and
//! each time the same bytes are sent once more. No option of a socket bounds the whole of it on every system, and none
//! bounds what routers hold. What bounds all of it is to hand out no more than the path carries in half a heartbeat.
//!
//! # How the rate is found
//!
//! Frames of a link arrive in order, so the answer to a ping says that everything handed out before it has arrived, and
//! how long that took. The shortest time ever seen, `base`, is the path's own delay. The rest is the time that the bytes
//! ahead of the ping spent in queues, which divides them into a rate. TCP congestion controls that bound the delay (Vegas,
//! LEDBAT, BBR) reckon in the same way.
//!
//! A ping goes out only when data waits for room, or is about to: on a fast link the first answer raises the limit beyond
//! every credit, and later data needs no ping.

use core::time::Duration;

use crate::limits::{INITIAL_FLIGHT, MAX_CHUNK, MIN_FLIGHT, SLOWEST_LINK, SPEAK_INTERVAL};
use crate::mutant::mutant;
use crate::time::Instant;

/// After this long without data a link starts over with [`INITIAL_FLIGHT`]: what was measured may no longer be true.
const STALE: Duration = Duration::from_secs(10);

/// The shortest chunk that is handed out while more waits: a shorter one would spend more than a tenth on its frame.
const MIN_CHUNK: u64 = MIN_FLIGHT / 2;

/// How much of a stream fits into one packet of 1,500 bytes, with the heads of its frame, record and packet, and a ping.
const PACKET: usize = 1_380;

/// From this length on it does not matter how full the last packet is.
const MANY_PACKETS: usize = 16 << 10;

/// Eighths of a heartbeat that the first half of what is in flight may wait in queues, so that all of it waits for three
/// quarters of one.
const QUEUEING_EIGHTHS: u32 = 3;

/// Quarters of what a link was seen to carry that it may try at once. It must be more than twice as much, or a link whose
/// first samples were slow would never be seen to be fast; at three times as much, one that is slow behind a deep buffer
/// would be filled beyond a heartbeat. Both by trial, over the links of `tests/it/slow_links.rs` of the simulator.
const TRIAL_QUARTERS: u64 = 11;

/// About what the last step of a handshake takes on the wire, to read a first rate off the time it took.
const HANDSHAKE: u64 = 1_024;

/// The bytes of a stream that were handed out on a link and are not known to have arrived, and how many these may be.
/// Offsets are those of the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    limit: u64,
    /// Every byte below has arrived: the peer has acknowledged it, or answered a ping that was handed out after it.
    arrived: u64,
    /// When that was learned, or when the first byte after it was handed out if nothing was under way.
    since: Instant,
    /// As it was when the last chunk was handed out.
    last: Chunk,
    /// The shortest round trip seen.
    base: Duration,
    sample: Option<Sample>,
    mark: Option<Mark>,
    cut: Option<Cut>,
    /// Since when data waits for room and nothing more is known to have arrived.
    held: Option<Instant>,
    /// The longest chunk that may be under way.
    longest: u64,
}

/// When a chunk was handed out, and what had arrived then. What arrives from there on until an answer that was sent behind
/// the chunk says how much the link carries; an interval that begins later would count what had arrived before.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    at: Instant,
    arrived: u64,
    since: Instant,
}

/// The ping under way: what was handed out before it.
#[derive(Clone, Copy, Debug)]
struct Sample {
    token: u64,
    at: Instant,
    offset: u64,
    /// How many bytes before it were not known to have arrived.
    ahead: u64,
    last: Chunk,
}

/// A chunk under way whose acknowledgement is awaited: shows without a ping that a link became slow.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    /// What had arrived then.
    from: u64,
    offset: u64,
}

/// The sample for which the limit was lowered. If much less in flight takes just as long, the delay is the path's own.
#[derive(Clone, Copy, Debug)]
struct Cut {
    ahead: u64,
    took: Duration,
}

/// How long the first half of what is in flight may wait in queues.
pub(crate) fn queueing(heartbeat: Duration) -> Duration {
    heartbeat.min(SPEAK_INTERVAL) * QUEUEING_EIGHTHS / 8
}

impl Flight {
    /// For a link that has just come up after a round trip of `base`, with `sent` bytes of the stream behind it.
    pub(crate) fn new(now: Instant, sent: u64, base: Duration, queueing: Duration) -> Flight {
        let limit = initial(base, queueing);
        let last = Chunk { at: now, arrived: sent, since: now };
        Flight {
            limit,
            arrived: sent,
            since: now,
            last,
            base,
            sample: None,
            mark: None,
            cut: None,
            held: None,
            longest: 0,
        }
    }

    /// How long a chunk should be: four of them fill the limit.
    pub(crate) fn chunk(&self) -> usize {
        if mutant!(BoundlessFlight) {
            return MAX_CHUNK;
        }
        let quarter = (self.limit / 4).clamp(MIN_CHUNK, MAX_CHUNK as u64) as usize;
        // A record that is a little longer than a packet takes two.
        if quarter < MANY_PACKETS { quarter / PACKET.min(quarter) * PACKET.min(quarter) } else { quarter }
    }

    /// How many bytes may be handed out now, if the stream was handed out up to `sent`. Nothing while the rest of the
    /// room is shorter than half a chunk.
    pub(crate) fn room(&self, sent: u64) -> usize {
        if mutant!(BoundlessFlight) {
            return usize::MAX;
        }
        let room = self.limit.saturating_sub(self.ahead(sent));
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if room < self.chunk() / 2 { 0 } else { room }
    }

    /// Whether so much is under way that a ping should measure how long it takes.
    pub(crate) fn wants_sample(&self, sent: u64) -> bool {
        self.sample.is_none() && self.ahead(sent) >= self.limit / 2 && !mutant!(BoundlessFlight)
    }

    /// Whether bytes are under way.
    pub(crate) fn is_busy(&self, sent: u64) -> bool {
        self.ahead(sent) > 0
    }

    /// Data waits for room.
    pub(crate) fn hold(&mut self, now: Instant) {
        self.held.get_or_insert(now);
    }

    /// This process stood still: its peers are not to blame.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.held = self.held.map(|_| now);
    }

    /// Returns when data that waits makes this a stalled link: nothing has arrived for `write_stall`, nor for as long as the
    /// longest chunk under way takes at [`SLOWEST_LINK`].
    pub(crate) fn stalls_at(&self, write_stall: Duration) -> Option<Instant> {
        let longest = Duration::from_nanos(self.longest.saturating_mul(1_000_000_000) / SLOWEST_LINK);
        Some(self.held? + write_stall.max(longest))
    }

    /// The stream was handed out up to `sent`, which was `before` before.
    pub(crate) fn sent(&mut self, now: Instant, before: u64, sent: u64, queueing: Duration) {
        if !self.is_busy(before) {
            self.since = now;
            if now - self.last.at >= STALE {
                self.limit = self.limit.min(initial(self.base, queueing));
            }
        }
        debug_assert!(self.arrived <= before && before <= sent, "a stream goes back on one link: {self:?}");
        let length = sent.saturating_sub(before);
        self.longest = if self.is_busy(before) { self.longest.max(length) } else { length };
        self.held = None;
        self.last = Chunk { at: now, arrived: self.arrived, since: self.since };
        if self.mark.is_none() {
            self.mark = Some(Mark { at: now, from: self.arrived, offset: sent });
        }
    }

    /// A ping was handed out behind `sent`, and replaces the one before unless it is the same once more: the answer to
    /// the first copy says nothing of what was handed out before the second.
    pub(crate) fn pinged(&mut self, now: Instant, token: u64, sent: u64) {
        if self.sample.is_none_or(|sample| sample.token != token) {
            self.sample = Some(Sample { token, at: now, offset: sent, ahead: self.ahead(sent), last: self.last });
        }
    }

    /// A ping is answered.
    pub(crate) fn ponged(&mut self, now: Instant, token: u64, queueing: Duration) {
        let Some(Sample { at, offset, ahead, last, .. }) = self.sample.take_if(|sample| sample.token == token) else {
            return;
        };
        self.arrive(now, offset);
        self.mark = self.mark.filter(|mark| mark.offset > offset);
        let took = now - at;
        self.base = self.base.min(took);
        if let Some(cut) = self.cut.filter(|cut| ahead <= cut.ahead / 2) {
            self.cut = None;
            if took >= cut.took * 3 / 4 {
                // Far less in flight takes about as long, so these bytes do not wait for each other.
                self.base = took;
            }
        }
        let queued = took - self.base;
        let carried = |span| per(offset.saturating_sub(last.arrived), span, now - last.since);
        if queued > queueing {
            if ahead >= MIN_FLIGHT {
                self.cut.get_or_insert(Cut { ahead, took });
                self.lower(carried(queueing.saturating_add(2 * self.base)));
            }
        } else {
            // The queue was as long as it gets if the chunk before the ping was still under way.
            let full = ahead >= self.limit / 2 && at - last.at <= self.base;
            let more = match () {
                () if !full => 0,
                () if queued <= queueing / 4 => self.limit.saturating_mul(4),
                () if queued <= queueing / 2 => self.limit.saturating_mul(2),
                () if queued <= queueing * 3 / 4 => self.limit + self.limit / 4,
                () => 0,
            };
            // Where all samples had waited in a queue, that looks like the delay of the path, and the queue seems short:
            // a little more than what the link has been seen to carry shows whether it carries more.
            let most = carried(queueing.saturating_add(self.base)) * TRIAL_QUARTERS / 4;
            self.limit = self.limit.max(more.min(most)).max(carried(queueing));
        }
        debug_assert!(self.limit >= MIN_FLIGHT, "{self:?}");
    }

    /// The peer acknowledges every byte below `offset`.
    ///
    /// It may do so as late as twice [`SPEAK_INTERVAL`] after they arrived. Bytes that took even longer were on the way.
    pub(crate) fn acknowledged(&mut self, now: Instant, offset: u64, queueing: Duration) {
        self.arrive(now, offset);
        let Some(mark) = self.mark else { return };
        let (age, passed) = (now - mark.at, offset.saturating_sub(mark.from));
        let late = self.base.saturating_add(queueing).saturating_add(2 * SPEAK_INTERVAL);
        if age > late && passed >= MIN_FLIGHT {
            self.lower(per(passed, queueing, age));
            self.mark = None;
        } else if offset >= mark.offset {
            self.mark = None;
        }
    }

    fn arrive(&mut self, now: Instant, offset: u64) {
        if offset > self.arrived {
            (self.arrived, self.since) = (offset, now);
            self.held = self.held.map(|_| now);
        }
    }

    fn ahead(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.arrived)
    }

    fn lower(&mut self, limit: u64) {
        self.limit = self.limit.min(limit.max(MIN_FLIGHT));
    }
}

/// What a link may have in flight before anything was measured: if all of the time that the handshake took was spent on
/// its bytes, as many as pass in the time that data may wait.
fn initial(base: Duration, queueing: Duration) -> u64 {
    per(HANDSHAKE, queueing, base).clamp(MIN_FLIGHT, INITIAL_FLIGHT)
}

/// How many bytes pass in `span` at `bytes` in `took`.
fn per(bytes: u64, span: Duration, took: Duration) -> u64 {
    let passed = u128::from(bytes).saturating_mul(span.as_nanos()) / took.as_nanos().max(1);
    // Far above every credit, and far below what could overflow a sum of offsets.
    passed.min(1 << 40) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;

    const HEARTBEAT: Duration = Duration::from_secs(1);

    /// A path that carries `rate` bytes a second, in order, after `delay` each way. Answers come back unhindered.
    struct Path {
        rate: u64,
        delay: Duration,
        free: Instant,
        /// Chunks and pings on their way, and when they arrive.
        way: VecDeque<(Instant, Item)>,
        /// Answers on their way, and when they arrive.
        back: VecDeque<(Instant, Item)>,
        now: Instant,
        sent: u64,
        token: u64,
        flight: Flight,
        /// The longest that a ping took in the last run.
        slowest: Duration,
        pinged: Option<Instant>,
    }

    #[derive(Clone, Copy)]
    enum Item {
        Chunk(u64),
        Ping(u64),
    }

    impl Path {
        fn new(rate: u64, delay: Duration) -> Path {
            let took = 2 * delay + Duration::from_nanos(300_000_000_000 / rate);
            let flight = Flight::new(Instant::ZERO, 0, took, queueing(HEARTBEAT));
            Path {
                rate,
                delay,
                free: Instant::ZERO,
                way: VecDeque::new(),
                back: VecDeque::new(),
                now: Instant::ZERO,
                sent: 0,
                token: 0,
                flight,
                slowest: Duration::ZERO,
                pinged: None,
            }
        }

        fn launch(&mut self, bytes: u64, item: Item) {
            let span = Duration::from_nanos(bytes * 1_000_000_000 / self.rate);
            self.free = self.free.max(self.now) + span;
            self.way.push_back((self.free + self.delay, item));
        }

        fn ping(&mut self) {
            if self.pinged.is_none() {
                self.token += 1;
                self.flight.pinged(self.now, self.token, self.sent);
                self.launch(30, Item::Ping(self.token));
                self.pinged = Some(self.now);
            }
        }

        /// Sends as much as there is room for during `span`. Returns how many bytes have arrived meanwhile.
        fn run(&mut self, span: Duration) -> u64 {
            let (end, mut arrived) = (self.now + span, 0);
            self.slowest = Duration::ZERO;
            while self.now < end {
                loop {
                    let room = self.flight.room(self.sent);
                    if room == 0 {
                        break self.ping();
                    }
                    let chunk = room.min(self.flight.chunk()) as u64;
                    self.launch(chunk, Item::Chunk(chunk));
                    let before = self.sent;
                    self.sent += chunk;
                    self.flight.sent(self.now, before, self.sent, queueing(HEARTBEAT));
                    if self.flight.wants_sample(self.sent) {
                        self.ping();
                    }
                }
                let next = [self.way.front(), self.back.front()].into_iter().flatten().map(|(at, _)| *at).min();
                self.now = next.unwrap().max(self.now);
                while let Some((_, item)) = self.way.pop_front_if(|(at, _)| *at <= self.now) {
                    match item {
                        Item::Chunk(bytes) => arrived += bytes,
                        Item::Ping(_) => self.back.push_back((self.now + self.delay, item)),
                    }
                }
                while let Some((_, item)) = self.back.pop_front_if(|(at, _)| *at <= self.now) {
                    if let (Item::Ping(token), Some(at)) = (item, self.pinged.take()) {
                        self.flight.ponged(self.now, token, queueing(HEARTBEAT));
                        self.slowest = self.slowest.max(self.now - at);
                    }
                }
            }
            arrived
        }
    }

    #[test]
    fn ping_waits_one_heartbeat_at_most_at_any_rate() {
        for rate in [1_000, 4_000, 13_000, 125_000, 1_000_000, 10_000_000] {
            for delay in [1, 50, 300] {
                let delay = Duration::from_millis(delay);
                if rate > 1_000_000 && delay > HEARTBEAT / 10 {
                    // The credit is shorter than what this path holds.
                    continue;
                }
                let mut path = Path::new(rate, delay);
                path.run(Duration::from_secs(20));
                let arrived = path.run(Duration::from_secs(60));
                let slowest = path.slowest.saturating_sub(2 * delay);
                // A link that carries less than MIN_FLIGHT in that time waits for as long as these take. The time that the
                // bytes of the handshake took looks like a delay of the path.
                let bytes = MIN_FLIGHT + 300;
                let least = Duration::from_millis(100) + Duration::from_nanos(bytes * 1_000_000_000 / rate);
                assert!(slowest <= HEARTBEAT.max(least), "{rate} B/s, {delay:?}: {slowest:?}");
                // On a long way few bytes are behind the ping while its answer comes back.
                let share = if delay > HEARTBEAT / 10 { 70 } else { 85 };
                assert!(arrived >= rate * 60 * share / 100, "{rate} B/s, {delay:?}: {arrived} in a minute");
            }
        }
    }

    #[test]
    fn first_bytes_of_a_slow_link_are_few() {
        let path = Path::new(1_000, Duration::from_millis(1));
        assert!(path.flight.room(0) <= 2_048, "{}", path.flight.room(0));
        assert_eq!(Path::new(10_000_000, Duration::from_millis(1)).flight.room(0), INITIAL_FLIGHT as usize);
    }

    #[test]
    fn first_answer_opens_a_fast_link() {
        let mut path = Path::new(1_000_000_000, Duration::from_micros(50));
        path.run(Duration::from_millis(1));
        assert!(path.flight.room(path.sent) > 8 << 20 || path.sent > 8 << 20, "{}", path.sent);
    }

    #[test]
    fn link_that_becomes_slow_is_found_by_its_answers() {
        let mut path = Path::new(10_000_000, Duration::from_millis(1));
        path.run(Duration::from_secs(5));
        path.rate = 10_000;
        path.run(Duration::from_secs(600));
        path.run(Duration::from_secs(10));
        assert!(path.slowest <= HEARTBEAT, "{:?}", path.slowest);
    }

    #[test]
    fn link_that_becomes_slow_is_found_by_acknowledgements() {
        let mut flight = Flight::new(Instant::ZERO, 0, Duration::from_millis(1), queueing(HEARTBEAT));
        flight.limit = 8 << 20;
        flight.sent(Instant::ZERO, 0, 1 << 20, queueing(HEARTBEAT));
        for second in 1..=4_u64 {
            flight.acknowledged(Instant::ZERO + HEARTBEAT * second as u32, second * 10_000, queueing(HEARTBEAT));
        }
        assert!(flight.limit <= 10_000, "{}", flight.limit);
    }

    #[test]
    fn longer_path_is_not_taken_for_a_queue() {
        let mut path = Path::new(10_000_000, Duration::from_millis(1));
        path.run(Duration::from_secs(5));
        path.delay = Duration::from_secs(1);
        path.run(Duration::from_secs(60));
        let arrived = path.run(Duration::from_secs(60));
        assert!(arrived >= 10_000_000 * 60 / 2, "{arrived}");
    }

    #[test]
    fn idle_link_starts_over() {
        let mut path = Path::new(10_000_000, Duration::from_millis(1));
        path.run(Duration::from_secs(5));
        let now = path.now + STALE;
        path.flight.arrive(now, path.sent);
        path.flight.sent(now, path.sent, path.sent + 1, queueing(HEARTBEAT));
        assert!(path.flight.limit <= INITIAL_FLIGHT);
    }

    #[test]
    fn repeated_ping_measures_from_its_first_copy() {
        let mut flight = Flight::new(Instant::ZERO, 0, Duration::from_secs(1), queueing(HEARTBEAT));
        let at = |millis| Instant::ZERO + Duration::from_millis(millis);
        flight.pinged(at(0), 7, 100);
        flight.pinged(at(900), 7, 200);
        flight.ponged(at(950), 7, queueing(HEARTBEAT));
        assert_eq!((flight.base, flight.arrived), (Duration::from_millis(950), 100));
    }
}
