//! How much the two ends of a link say besides what moves their streams.

use core::time::Duration;

use crate::bucket::{Rate, TokenBucket};
use crate::limits::{GOSSIP_BURST, GOSSIP_INTERVAL, MIN_HEARTBEAT};
use crate::time::Instant;

/// No view of the mesh is compared, and no list given, more often than this on one link: both cost work that grows with
/// the mesh.
const COMPARISON_INTERVAL: Duration = Duration::from_secs(1);

const GOSSIP: Rate = Rate { burst: GOSSIP_BURST, interval: GOSSIP_INTERVAL };

/// What the other side may still say for nothing, and what this one lets itself say: less, so that no honest node comes
/// near the bound of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ControlBudget {
    theirs: TokenBucket,
    ours: TokenBucket,
    ping_heard: Option<Instant>,
    ping_sent: Option<Instant>,
    compared: Option<Instant>,
    listed: Option<Instant>,
}

impl ControlBudget {
    pub(crate) fn new(control: Rate, now: Instant) -> ControlBudget {
        ControlBudget {
            theirs: TokenBucket::full(control, now),
            ours: TokenBucket::full(GOSSIP, now),
            ping_heard: None,
            ping_sent: None,
            compared: None,
            listed: None,
        }
    }

    /// The other side has said something that advances nothing. Whether that is within its budget.
    pub(crate) fn tolerates(&mut self, now: Instant, control: Rate) -> bool {
        self.theirs.take(now, control)
    }

    /// The other side has sent a ping. Whether it came sooner after the one before than any heartbeat makes it.
    pub(crate) fn hears_ping(&mut self, now: Instant) -> bool {
        let before = self.ping_heard.replace(now);
        before.is_some_and(|before| now - before < MIN_HEARTBEAT / 2)
    }

    /// From when on the next ping may go out.
    pub(crate) fn next_ping(&self, now: Instant) -> Instant {
        self.ping_sent.map_or(now, |sent| now.max(sent + MIN_HEARTBEAT))
    }

    pub(crate) fn sends_ping(&mut self, now: Instant) {
        self.ping_sent = Some(now);
    }

    /// Whether a frame of gossip may go out now.
    pub(crate) fn may_gossip(&mut self, now: Instant) -> bool {
        self.ours.tokens(now, GOSSIP) > 0
    }

    pub(crate) fn gossips(&mut self, now: Instant) {
        self.ours.take(now, GOSSIP);
    }

    /// When the next frame of gossip may go out.
    pub(crate) fn next_gossip(&self) -> Instant {
        self.ours.next(GOSSIP)
    }

    /// Whether a digest of the other side is looked at now.
    pub(crate) fn compares(&mut self, now: Instant) -> bool {
        is_due(&mut self.compared, now)
    }

    /// Whether a list that the other side asks for is given now.
    pub(crate) fn lists(&mut self, now: Instant) -> bool {
        is_due(&mut self.listed, now)
    }
}

fn is_due(last: &mut Option<Instant>, now: Instant) -> bool {
    let due = last.is_none_or(|last| now - last >= COMPARISON_INTERVAL);
    if due {
        *last = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn control() -> Rate {
        Limits::default().control()
    }

    #[test]
    fn what_one_side_lets_itself_say_is_well_below_what_the_other_puts_up_with() {
        let (mut talk, mut tokens) = (ControlBudget::new(control(), at(0)), u32::MAX);
        for millis in 0..600_000 {
            // Gossip as fast as it may, and a superseded ping and its pong each second.
            let mut idle = if millis % 1_000 == 0 { 2 } else { 0 };
            while talk.may_gossip(at(millis)) {
                talk.gossips(at(millis));
                idle += 1;
            }
            for _ in 0..idle {
                assert!(talk.tolerates(at(millis), control()));
            }
            tokens = tokens.min(talk.theirs.tokens(at(millis), control()));
        }
        assert!(tokens > 100, "{tokens}");
    }

    #[test]
    fn pings_as_fast_as_a_node_sends_them_are_no_chatter_and_faster_ones_are() {
        let mut talk = ControlBudget::new(control(), at(0));
        let mut now = at(0);
        for _ in 0..1_000 {
            now = talk.next_ping(now);
            talk.sends_ping(now);
            assert!(!talk.hears_ping(now));
        }
        assert!(talk.hears_ping(now + MIN_HEARTBEAT / 2 - Duration::from_nanos(1)));
    }

    #[test]
    fn views_are_compared_once_a_second() {
        let mut talk = ControlBudget::new(control(), at(0));
        let count = (0..10_000).filter(|millis| talk.compares(at(*millis))).count();
        assert_eq!(count, 10);
        assert!(talk.lists(at(0)) && !talk.lists(at(999)) && talk.lists(at(1_000)));
    }
}
