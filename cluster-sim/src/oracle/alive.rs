//! O18, O19 and O20: a link on which bytes move is not timed out, a node that bytes arrive at says something, and a narrow
//! way is not filled with more than it carries.
//!
//! * O18: no link ends as timed out while bytes arrive on it. A link that was silent for `peer_timeout` does; one under
//!   suspicion that was silent for `probe_timeout` does; and one whose peer sends nothing of a message that memory is
//!   reserved for.
//! * O19: on a link that is up, bytes of a stream are acknowledged within two [intervals](interval), and bytes of a frame
//!   that is not whole are followed by some frame, so that the other end has no reason to take this one for dead. Time in
//!   which the kernel takes no bytes does not count.
//! * O20: the bytes that were handed out on a link and had not arrived when it ended are at most as many as a narrow way
//!   carries in about two seconds. So bytes are sent again only for links that really end, and few of them.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_core::limits::{INITIAL_FLIGHT, PULSE_INTERVAL, SPEAK_INTERVAL};
use cluster_core::{Frame, Instant, LinkId, Stats, Timing};

use super::{Verdict, When};
use crate::net::{ConnId, Side, Sock};

/// A node's ticks may be late by this without its noticing, and its deadlines with them.
const SLACK: Duration = Duration::from_secs(2);

/// The traffic on the links of one run of a node.
#[derive(Debug, Default)]
pub(super) struct Alive {
    links: BTreeMap<LinkId, Line>,
    /// How long the links were silent that were timed out since the node was last looked at.
    timeouts: Vec<(LinkId, Duration)>,
    /// No link owes a word since before this.
    oldest: Option<Instant>,
    own_stalls: u64,
    probes_lost: u64,
    reservation_stalls: u64,
    /// The node's own time: a clock that was set back stands still until it is there again.
    now: Instant,
}

/// One link.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    up: bool,
    read: Instant,
    /// Since when bytes of an incomplete frame were read without a frame from this side.
    owes: Option<Instant>,
    /// Since when bytes of a stream wait for an acknowledgement.
    unacked: Option<Instant>,
    /// The kernel takes nothing.
    stuck: bool,
    /// When data was last sent, by the node's clock and the world's.
    used: (Instant, u64),
    carried: Carried,
}

/// What one end of a connection has sent and got of streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) sent: u64,
    pub(super) got: u64,
    way: Way,
}

/// How wide the way was when data was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Unused,
    /// At most this many bytes a second, and the longest delay.
    Narrow(u64, Duration),
    /// Once or always without a limit.
    Wide,
}

/// How wide a way is: bytes a second, and how long a segment takes at most.
pub(crate) type Width = Option<(u64, Duration)>;

/// How often a side says something that bytes arrive at.
fn interval(timing: &Timing) -> Duration {
    timing.heartbeat.min(SPEAK_INTERVAL)
}

impl Alive {
    /// Bytes of a link were read.
    pub(super) fn read(&mut self, link: LinkId, clock: Instant) {
        self.now = self.now.max(clock);
        // Not the later of the two: while a clock that was set back stands still, the node may have seen less of it.
        self.links.entry(link).or_default().read = clock;
    }

    /// The node hears that bytes of a link were read which make no whole frame.
    pub(super) fn part(&mut self, link: LinkId, clock: Instant) {
        self.read(link, clock);
        let line = self.links.entry(link).or_default();
        if line.up && !line.stuck && line.owes.is_none() {
            line.owes = Some(self.now);
            self.oldest.get_or_insert(self.now);
        }
    }

    /// A frame reaches the node.
    pub(super) fn got(&mut self, link: LinkId, frame: &Frame) {
        let line = self.links.entry(link).or_default();
        line.owes = None;
        match frame {
            Frame::Data(data) => {
                line.carried.got += data.bytes.len() as u64;
                if line.up && !line.stuck {
                    line.unacked.get_or_insert(self.now);
                    self.oldest.get_or_insert(self.now);
                }
            }
            Frame::Resume(_) => line.up = true,
            _ => {}
        }
    }

    /// The node has handed out a frame.
    pub(super) fn sent(&mut self, link: LinkId, frame: &Frame, width: Width, when: When) {
        self.now = self.now.max(when.clock);
        let line = self.links.entry(link).or_default();
        line.owes = None;
        match frame {
            Frame::Data(data) => {
                line.carried.sent += data.bytes.len() as u64;
                // A node whose clock stands still, or lags behind, cannot know how slow a link is.
                let (clock, world) = std::mem::replace(&mut line.used, (self.now, when.world));
                let passed = Duration::from_nanos(when.world - world);
                let width = width.filter(|_| world == 0 || self.now - clock >= passed / 2);
                line.carried.way = match (line.carried.way, width) {
                    (Way::Wide, _) | (_, None) => Way::Wide,
                    (Way::Unused, Some((rate, delay))) => Way::Narrow(rate, delay),
                    (Way::Narrow(most, longest), Some((rate, delay))) => {
                        Way::Narrow(most.max(rate), longest.max(delay))
                    }
                };
            }
            Frame::Resume(_) => line.up = true,
            Frame::Ack(_) => line.unacked = None,
            _ => {}
        }
    }

    /// The kernel takes no bytes of a link, or does again.
    pub(super) fn stuck(&mut self, link: LinkId, stuck: bool) {
        let line = self.links.entry(link).or_default();
        line.stuck = stuck;
        (line.owes, line.unacked) = (None, None);
    }

    /// The node ends a link that is up because it took its peer for dead.
    pub(super) fn timed_out(&mut self, link: LinkId, clock: Instant) {
        self.now = self.now.max(clock);
        if let Some(line) = self.links.get(&link).filter(|line| line.up) {
            self.timeouts.push((link, self.now - line.read));
        }
    }

    /// The node has closed a link: it owes nothing more.
    pub(super) fn closed(&mut self, link: LinkId) {
        if let Some(line) = self.links.get_mut(&link) {
            (line.up, line.owes, line.unacked) = (false, None, None);
        }
    }

    /// A link is over. Returns what it carried.
    pub(super) fn gone(&mut self, link: LinkId) -> Option<Carried> {
        self.links.remove(&link).map(|line| line.carried)
    }

    /// The node has nothing more to say for now.
    pub(super) fn drained(&mut self, clock: Instant, stats: &Stats, timing: &Timing) -> Verdict {
        self.now = self.now.max(clock);
        if std::mem::replace(&mut self.own_stalls, stats.own_stalls) != stats.own_stalls {
            // The deadlines of the node start over, and those here with them.
            for line in self.links.values_mut() {
                line.owes = line.owes.map(|_| self.now);
                line.unacked = line.unacked.map(|_| self.now);
            }
        }
        let probes = stats.probes_lost - std::mem::replace(&mut self.probes_lost, stats.probes_lost);
        let stalls =
            stats.reservation_stalls - std::mem::replace(&mut self.reservation_stalls, stats.reservation_stalls);
        let timeouts = std::mem::take(&mut self.timeouts);
        let early = |after: Duration| timeouts.iter().filter(move |(_, silence)| *silence + PULSE_INTERVAL < after);
        for (after, excused) in [(timing.peer_timeout, probes + stalls), (timing.probe_timeout, stalls)] {
            if early(after).count() as u64 > excused
                && let Some((link, silence)) = early(after).next()
            {
                return Err(format!("{link} was timed out {silence:?} after bytes had arrived on it"));
            }
        }
        self.silent(timing)
    }

    /// Whether each link on which bytes were read has said something in time.
    fn silent(&mut self, timing: &Timing) -> Verdict {
        let patience = 2 * interval(timing) + SLACK;
        if self.oldest.is_none_or(|oldest| self.now - oldest <= patience) {
            return Ok(());
        }
        let since = |line: &Line| line.owes.into_iter().chain(line.unacked).min();
        self.oldest = self.links.values().filter_map(since).min();
        match self.links.iter().find(|(_, line)| since(line).is_some_and(|since| self.now - since > patience)) {
            Some((link, _)) => Err(format!("bytes arrive on {link}, and nothing was said on it for {patience:?}")),
            None => Ok(()),
        }
    }
}

/// The bytes that connections carried, from the end of one side to the end of the other.
#[derive(Debug, Default)]
pub(super) struct Wasted {
    ended: BTreeMap<ConnId, (Side, Carried)>,
}

impl Wasted {
    /// One end of a connection is over.
    pub(super) fn gone(&mut self, sock: Sock, carried: Carried) -> Verdict {
        match self.ended.remove(&sock.conn) {
            Some((side, other)) if side != sock.side => {
                within(carried, other)?;
                within(other, carried)
            }
            _ => {
                self.ended.insert(sock.conn, (sock.side, carried));
                Ok(())
            }
        }
    }

    /// One end of a connection is over, and the bytes it got are unknown.
    pub(super) fn forget(&mut self, sock: Sock) {
        self.ended.remove(&sock.conn);
    }
}

/// Whether the bytes that did not arrive are few.
fn within(sender: Carried, receiver: Carried) -> Verdict {
    let Way::Narrow(rate, delay) = sender.way else { return Ok(()) };
    let lost = sender.sent.saturating_sub(receiver.got);
    let span = Duration::from_secs(2) + 6 * delay;
    let most = 2 * INITIAL_FLIGHT + (u128::from(rate) * span.as_millis() / 1_000) as u64;
    if lost <= most {
        return Ok(());
    }
    Err(format!("{lost} bytes were sent on a way of {rate} bytes a second and did not arrive: {most} are allowed"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{link, node, sock};
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn when(second: u64) -> When {
        When { clock: at(second), world: at(second).as_nanos() }
    }

    fn up() -> Alive {
        let mut alive = Alive::default();
        alive.got(link(1), &resume());
        alive.part(link(1), at(10));
        alive
    }

    fn resume() -> Frame {
        use cluster_core::wire::{Offer, PeerStream, Resume, StreamId};
        Frame::Resume(Resume { offer: Offer { stream: StreamId(1), next: 0, peer: PeerStream::None } })
    }

    fn drained(alive: &mut Alive, second: u64, change: impl FnOnce(&mut Stats)) -> Verdict {
        let (node, mut stats) = (node(), Stats::default());
        change(&mut stats);
        alive.drained(at(second), &stats, node.timing())
    }

    #[test]
    fn link_with_bytes_is_not_timed_out() {
        for (second, right) in [(14, false), (15, true)] {
            let mut alive = up();
            alive.sent(link(1), &Frame::Ping { token: 1 }, None, when(10));
            alive.timed_out(link(1), at(second));
            assert_eq!(drained(&mut alive, second, |_| ()).is_ok(), right);
        }
    }

    #[test]
    fn lost_probe_excuses_a_shorter_silence() {
        for (second, right) in [(10, false), (11, true)] {
            let mut alive = up();
            alive.sent(link(1), &Frame::Ping { token: 1 }, None, when(10));
            alive.timed_out(link(1), at(second));
            assert_eq!(drained(&mut alive, second, |stats| stats.probes_lost = 1).is_ok(), right);
        }
    }

    #[test]
    fn receiver_that_says_nothing_is_found() {
        let mut alive = up();
        drained(&mut alive, 14, |_| ()).unwrap();
        drained(&mut alive, 15, |_| ()).unwrap_err();
        let mut alive = up();
        alive.sent(link(1), &Frame::Ping { token: 1 }, None, when(10));
        drained(&mut alive, 60, |_| ()).unwrap();
        let mut alive = up();
        alive.stuck(link(1), true);
        drained(&mut alive, 60, |_| ()).unwrap();
    }

    #[test]
    fn more_than_a_narrow_way_carries_is_found() {
        let data = |bytes| Frame::Data(cluster_core::wire::Data { offset: 0, bytes: vec![0; bytes].into() });
        let ended = |narrow: bool, bytes| {
            let (mut alive, mut wasted) = (Alive::default(), Wasted::default());
            alive.sent(link(1), &data(bytes), narrow.then_some((1_000, Duration::ZERO)), when(10));
            let sent = alive.gone(link(1)).unwrap();
            wasted.gone(sock(1), sent).unwrap();
            wasted.gone(sock(1).peer(), Carried::default())
        };
        ended(true, 34_000).unwrap();
        ended(true, 36_000).unwrap_err();
        ended(false, 36_000).unwrap();
    }
}
