//! Connections and dials: kept out, misled, broken.

use std::net::SocketAddr;
use std::time::Duration;

use cluster_timeline::record::{HostId, Record};

use crate::net::{Block, Fate};
use crate::schedule::{Drawer, Fault, Op};
use crate::way::Latency;
use crate::world::{NetMut, World};

/// What a test does to connections and dials.
impl NetMut<'_> {
    /// Keeps dials, but nothing else, of `from` out of `to`.
    #[track_caller]
    pub fn block_dials(&mut self, from: HostId, to: HostId, how: Block) {
        self.world.assert_here(to);
        self.world.condition(from, format!("dials to {to}: {how:?}"));
        self.world.net.set_block(from, to, Some(how));
    }

    /// Undoes [`block_dials`](Self::block_dials).
    #[track_caller]
    pub fn allow_dials(&mut self, from: HostId, to: HostId) {
        self.world.assert_here(to);
        self.world.condition(from, format!("dials to {to} allowed"));
        self.world.net.set_block(from, to, None);
    }

    /// What becomes of every dial to `address`, whoever is there; `None`: what normally would.
    pub fn set_fate(&mut self, address: SocketAddr, fate: Option<Fate>) {
        let to = self.world.net.owner(address.ip());
        self.world.trace.add(self.world.queue.now(), to, Record::Fault(format!("dials to {address}: {fate:?}")));
        self.world.net.set_fate(address, fate);
    }

    /// Resets every connection between two hosts; both ends notice at once. Returns how many ends were told.
    #[track_caller]
    pub fn reset_connections(&mut self, a: HostId, b: HostId) -> usize {
        self.world.assert_here(b);
        self.world.fault(a, format!("reset all with {b}"));
        let count = self.world.net.reset_between(a, b);
        self.world.wake_all();
        count
    }

    /// Resets the end that `at` has of its oldest connection with `peer`. The peer gets what was on its way, and then a
    /// reset. Returns how many ends were notified: one, or none if there is no connection.
    #[track_caller]
    pub fn abort_oldest(&mut self, at: HostId, peer: HostId) -> usize {
        self.world.assert_here(peer);
        self.world.fault(at, format!("abort the oldest with {peer}"));
        let count = self.world.net.abort_at(&mut self.world.queue, at, peer);
        self.world.wake_all();
        count
    }

    /// Resets the ends that `at` has of connections with `peer`, of which `peer` learns nothing until it sends: then
    /// the kernel of `at` answers with a reset. Returns how many ends were told.
    #[track_caller]
    pub fn reset_one_side(&mut self, at: HostId, peer: HostId) -> usize {
        self.world.assert_here(peer);
        self.world.fault(at, format!("reset towards {peer}, which is not told"));
        let count = self.world.net.reset_at(at, peer);
        self.world.wake_all();
        count
    }

    /// Resets the ends that `at` has of connections with `peer`, which are half-open from then on: `peer` never learns
    /// of it, whatever it sends. New connections are as any other. Returns how many ends were told.
    #[track_caller]
    pub fn half_open(&mut self, at: HostId, peer: HostId) -> usize {
        self.world.assert_here(peer);
        self.world.fault(at, format!("half-open towards {peer}"));
        self.world.net.sever(&mut self.world.queue, at, peer);
        let count = self.world.net.reset_at(at, peer);
        self.world.wake_all();
        count
    }

    /// The connections that stand between two hosts carry nothing any more, ever, and neither end is told: something in
    /// between has forgotten them. New connections are as any other. Returns how many there are.
    #[track_caller]
    pub fn sever_connections(&mut self, a: HostId, b: HostId) -> usize {
        self.world.assert_here(b);
        self.world.fault(a, format!("connections with {b} severed"));
        self.world.net.sever(&mut self.world.queue, a, b)
    }
}

pub(super) fn apply(world: &mut World, op: &Op) -> Option<bool> {
    match *op {
        Op::BlockDials { from, to, how } => world.net_mut().block_dials(HostId(from), HostId(to), how),
        Op::AllowDials { from, to } => world.net_mut().allow_dials(HostId(from), HostId(to)),
        Op::DialFate { host, fate } => {
            let address = world.host(HostId(host)).addr();
            world.net_mut().set_fate(address, fate);
        }
        Op::Reset { a, b } => return Some(world.net_mut().reset_connections(HostId(a), HostId(b)) > 0),
        Op::Abort { at, peer } => return Some(world.net_mut().abort_oldest(HostId(at), HostId(peer)) > 0),
        Op::ResetOneSide { at, peer } => return Some(world.net_mut().reset_one_side(HostId(at), HostId(peer)) > 0),
        Op::HalfOpen { at, peer } => return Some(world.net_mut().half_open(HostId(at), HostId(peer)) > 0),
        Op::Sever { a, b } => return Some(world.net_mut().sever_connections(HostId(a), HostId(b)) > 0),
        _ => return None,
    }
    Some(true)
}

pub(super) fn print(op: &Op) -> Option<String> {
    let call = match op {
        Op::BlockDials { from, to, how } => format!("world.net_mut().block_dials(n[{from}], n[{to}], Block::{how:?});"),
        Op::AllowDials { from, to } => format!("world.net_mut().allow_dials(n[{from}], n[{to}]);"),
        Op::DialFate { host, fate } => {
            let fate = fate.map_or_else(|| "None".to_owned(), |fate| format!("Some(Fate::{fate:?})"));
            format!("let address = world.host(n[{host}]).addr();\n    world.net_mut().set_fate(address, {fate});")
        }
        Op::Reset { a, b } => format!("world.net_mut().reset_connections(n[{a}], n[{b}]);"),
        Op::Abort { at, peer } => format!("world.net_mut().abort_oldest(n[{at}], n[{peer}]);"),
        Op::ResetOneSide { at, peer } => format!("world.net_mut().reset_one_side(n[{at}], n[{peer}]);"),
        Op::HalfOpen { at, peer } => format!("world.net_mut().half_open(n[{at}], n[{peer}]);"),
        Op::Sever { a, b } => format!("world.net_mut().sever_connections(n[{a}], n[{b}]);"),
        _ => return None,
    };
    Some(call)
}

pub(super) fn simpler(op: &Op) -> Option<Vec<Op>> {
    let simpler = match *op {
        Op::Abort { at, peer } | Op::ResetOneSide { at, peer } => vec![Op::Reset { a: at, b: peer }],
        Op::HalfOpen { at, peer } => vec![Op::ResetOneSide { at, peer }],
        _ => return None,
    };
    Some(simpler)
}

pub(super) fn draw(drawer: &mut Drawer, kind: Fault, at: u64, host: u32) -> bool {
    match kind {
        Fault::Firewall => {
            let how = drawer.rng.pick(&[Block::Drop, Block::Refuse]);
            drawer.pairs(at, |from, to| (Op::BlockDials { from, to, how }, Op::AllowDials { from, to }));
        }
        Fault::DialFate => {
            let no_way = [Fate::Refuse, Fate::Hang, Fate::Unreachable];
            let stranger = [Fate::Stall, Fate::Close, Fate::Reset];
            let fates = drawer.rng.pick(&[no_way, stranger]);
            let fate = Some(drawer.rng.pick(&fates));
            drawer.spell(at, 60_000, Op::DialFate { host, fate }, Op::DialFate { host, fate: None });
        }
        Fault::Reset => {
            if let Some((a, b)) = drawer.pair() {
                let op = reset(drawer, a, b);
                drawer.push(at, op);
            }
        }
        Fault::Flap => {
            if let Some((a, b)) = drawer.pair() {
                let mut at = at;
                if drawer.rng.below(2) == 0 {
                    far(drawer, at, a, b);
                }
                for _ in 0..10 + drawer.rng.below(70) {
                    let op = reset(drawer, a, b);
                    drawer.push(at, op);
                    at += drawer.rng.scaled(20, 1_000);
                }
            }
        }
        Fault::OneSided => {
            if let Some((a, b)) = drawer.pair() {
                let one = Op::ResetOneSide { at: a, peer: b };
                let op = drawer.rng.pick(&[one.clone(), one, Op::HalfOpen { at: a, peer: b }, Op::Sever { a, b }]);
                drawer.push(at, op);
            }
        }
        _ => return false,
    }
    true
}

/// Makes the way between two hosts long, so that more happens while something is under way.
fn far(drawer: &mut Drawer, at: u64, a: u32, b: u32) {
    let latency = Latency::Constant(Duration::from_millis(drawer.rng.scaled(10, 300)));
    for (from, to) in [(a, b), (b, a)] {
        let op = |latency| Op::LatencyFrom { from, to, latency };
        drawer.spell(at, 60_000, op(latency), op(Latency::default()));
    }
}

/// Ends all connections between two hosts at both ends at once, or the oldest at one end first.
fn reset(drawer: &mut Drawer, a: u32, b: u32) -> Op {
    let [first, second] = [(a, b), (b, a)].map(|(at, peer)| Op::Abort { at, peer });
    drawer.rng.pick(&[Op::Reset { a, b }, first, second])
}
