//! What happens when a deadline passes, and how new settings move those that are set.

use super::Node;
use super::timer::{LinkTimer, Timer};

impl Node {
    /// Fires every timer that is due. One that is set meanwhile for now or the past is due at the next tick, so that one
    /// tick is bounded by the number of deadlines there are.
    pub(super) fn fire_due(&mut self) {
        let mut left = self.cx.timers.len();
        while let Some(timer) = self.cx.timers.pop_due(self.cx.now) {
            self.fire(timer);
            left = left.saturating_sub(1);
            if left == 0 {
                break;
            }
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Link(link, LinkTimer::Handshake) => self.handshake_deadline(link),
            Timer::Link(link, LinkTimer::Liveness) => self.check_liveness(link),
            Timer::Link(link, LinkTimer::Probe) => self.probe_deadline(link),
            Timer::Link(link, LinkTimer::Stall) => self.check_stall(link),
            Timer::Link(link, LinkTimer::Stable) => self.link_is_stable(link),
            Timer::Link(link, LinkTimer::Ack) => self.ack_deadline(link),
            Timer::Link(link, LinkTimer::Digest) => self.edit(link, |link| link.slots.digest = true),
            Timer::Link(link, LinkTimer::Pace) => self.arm(link),
            Timer::Contact(id) => self.contact_due(id, None),
            Timer::Forget(peer) => self.forget(peer),
            Timer::Session(peer) => self.session_deadline(peer),
            Timer::Reservation(peer) => self.reservation_deadline(peer),
            Timer::Delivered(peer) => self.mail.tell_delivered(&mut self.cx, peer),
            Timer::Target(target) => self.try_target(target),
            Timer::Join(target) => self.dialling.targets_mut().expire_joins(&mut self.cx, target),
            Timer::Token => self.dial_waiting(),
            Timer::Gossip => self.gossip(),
            Timer::Tombstones => {
                self.pairs.tombstones.expire(self.cx.now);
                self.schedule_tombstones();
            }
            Timer::Leave => self.leave_deadline(),
        }
    }

    pub(super) fn schedule_tombstones(&mut self) {
        match self.pairs.tombstones.next_expiry() {
            Some(at) => self.cx.timers.set(Timer::Tombstones, at),
            None => self.cx.timers.cancel(Timer::Tombstones),
        }
    }
}
