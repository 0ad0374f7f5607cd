//! What the users of nodes do.

use bytes::Bytes;
use cluster_core::{Acknowledge, FlushId, JoinId, Message, Node, Reason, Receipt, Run, Target};
use cluster_timeline::record::HostId;

use super::{Oracle, When, memory};

impl Oracle {
    pub(crate) fn joined(&mut self, host: HostId, join: JoinId, target: Target, when: When) {
        self.check(host, |watch| {
            watch.dials.joined(join, target);
            watch.joined = when.world;
            watch.events.join_called(join)
        });
    }

    pub(crate) fn seeded(&mut self, host: HostId, seed: Target) {
        self.check(host, |watch| {
            watch.dials.seeded(seed);
            Ok(())
        });
    }

    /// The node's user has changed its settings.
    pub(crate) fn configured(&mut self, host: HostId, node: &Node) {
        self.check(host, |watch| {
            watch.held.touch_all();
            watch.limits = node.limits().clone();
            watch.credit.configured(&watch.limits);
            watch.timing = node.timing().clone();
            watch.events.configured(memory(&watch.timing));
            watch.dials.configured(watch.listen.into_iter().chain(node.addresses()).collect(), node.config().seeds());
            Ok(())
        });
    }

    /// The node's user has disconnected a peer.
    pub(crate) fn disconnected_by_user(&mut self, host: HostId, peer: Run, when: When) {
        self.check(host, |watch| {
            let (timing, cap) = (&watch.timing, watch.limits.max_tombstones);
            watch.departed.down(peer, &Reason::LocalDisconnect, when.clock, when.world, timing, cap);
            watch.parted(peer);
            Ok(())
        });
    }

    /// The node has accepted a message.
    pub(crate) fn accepted(&mut self, host: HostId, to: Run, payload: Bytes) {
        let Some(Some(watch)) = self.watches.get_mut(host.index()) else { return };
        watch.held.touch(to.id);
        let from = watch.runs.now();
        if !self.are_nodes(from, to) {
            return;
        }
        let flow = self.flows.entry((from, to)).or_default();
        let verdict =
            self.watches[host.index()].as_deref().map_or(Ok(()), |watch| flow.accepted(payload, &watch.limits));
        self.judge(host, verdict, |text| format!("towards {to:?}: {text}"));
    }

    /// The node's user waits for the outcomes of what it has sent to a peer.
    pub(crate) fn flush_called(&mut self, host: HostId, flush: FlushId, to: Run) {
        let Some(from) = self.watch(host).map(|watch| watch.runs.now()) else { return };
        let verdict = self.flow(from, to).map_or(Ok(()), |flow| flow.flush(flush));
        self.advanced.push((from, to));
        self.judge(host, verdict, |text| format!("towards {to:?}: {text}"));
    }

    /// The node's user acknowledges a message that it has taken.
    pub(crate) fn acknowledged(&mut self, host: HostId, receipt: Receipt) {
        let Some(Some(watch)) = self.watches.get_mut(host.index()) else { return };
        watch.held.touch_all();
        let (born, own) = (watch.runs.born(), watch.runs.now());
        let Some((from, places)) = watch.credit.acknowledged(receipt) else { return };
        for place in places {
            if let Some(flow) = self.flow(from, if place.earlier { born } else { own }) {
                flow.consumed(place.message.stream, place.message.index);
            }
        }
    }

    /// The node's user has taken a message.
    pub(crate) fn message(&mut self, host: HostId, message: &Message) {
        if !self.on {
            if let Some(numbers) = self.counts.get_mut(host.index()) {
                numbers.count(message);
            }
            return;
        }
        let Some(own) = self.watch(host).map(|watch| watch.runs.now()) else { return };
        let mut place = None;
        self.check(host, |watch| {
            watch.held.touch(message.from.id);
            watch.untouched.other();
            watch.events.message(message.from)?;
            watch.numbers.message(watch.runs.born(), own, message.from, &message.payload)?;
            let taken = watch.credit.taken(message.from, message.payload.len() as u64)?;
            match watch.acknowledge {
                Acknowledge::Manual => watch.credit.waits(message.from, taken, message.receipt),
                _ => watch.credit.consumed(message.from, taken),
            }
            let to = if taken.earlier { watch.runs.born() } else { own };
            place = Some((to, taken, watch.acknowledge != Acknowledge::Manual));
            Ok(())
        });
        let Some((to, place, delivered)) = place else { return };
        if let Some(flow) = self.flow(message.from, to) {
            if delivered {
                flow.consumed(place.message.stream, place.message.index);
            }
            let verdict = flow.taken(place.message.stream, place.message.index, &message.payload);
            self.judge(host, verdict, |text| format!("from {:?}: {text}", message.from));
        }
    }
}
