//! What users do with their nodes.

use std::time::Duration;

use bytes::Bytes;
use cluster_core::limits::MAX_CHUNK;
use cluster_timeline::record::HostId;

use crate::numbered::SHORTEST;
use crate::schedule::words::{duration, grouped, pace, shorter};
use crate::schedule::{Drawer, Fault, Identity, MAX_LENGTH, Op, Pace, Profile, Setting};
use crate::world::World;

/// One time in so many all nodes send the largest message at once, and to the same one.
const ALL_TO_ONE: u64 = 16;

pub(super) fn apply(world: &mut World, op: &Op) -> Option<bool> {
    match *op {
        Op::Leave { host, timeout } if world.host(HostId(host)).can_act() => world.node(HostId(host)).leave(timeout),
        Op::Disconnect { host, peer } if world.host(HostId(host)).can_act() => {
            let peer = world.host(HostId(peer)).id();
            return Some(world.node(HostId(host)).disconnect(peer).is_ok());
        }
        Op::Join { host, to } if world.host(HostId(host)).can_act() => {
            return Some(world.node(HostId(host)).join(HostId(to)).is_ok());
        }
        Op::JoinThrough { host, to } if world.host(HostId(host)).can_act() => {
            let inner = world.host(HostId(to)).addr();
            let public = world.net_mut().forward(&public(to), inner);
            return Some(world.node(HostId(host)).join(public).is_ok());
        }
        Op::AddSeed { host, to } if world.host(HostId(host)).can_act() => {
            return Some(world.node(HostId(host)).add_seed(HostId(to)).is_ok());
        }
        Op::Forget { host } if world.host(HostId(host)).can_act() => world.node(HostId(host)).forget_lost(),
        Op::SetConfig { host, ref setting } if world.host(HostId(host)).can_act() => {
            let config = world.node(HostId(host)).config();
            let config = match setting {
                Setting::Metadata(length) => config.metadata(vec![0; *length as usize]),
                Setting::Pace(pace) => pace.of(config),
            };
            return Some(world.node(HostId(host)).set_config(config).is_ok());
        }
        Op::Send { from, to, length, count } if from != to && world.host(HostId(from)).can_act() => {
            return Some((0..count).take_while(|_| send_some(world, HostId(from), HostId(to), length)).count() > 0);
        }
        Op::Broadcast { from, length } if world.host(HostId(from)).can_act() => {
            return Some(world.node(HostId(from)).broadcast(zeroes(length)).is_ok());
        }
        Op::Flush { from, to } if world.host(HostId(from)).can_act() => {
            let to = world.host(HostId(to)).id();
            return Some(world.node(HostId(from)).flush(to).is_ok());
        }
        _ => return None,
    }
    Some(true)
}

pub(super) fn print(op: &Op) -> Option<String> {
    let call = match op {
        Op::Leave { host, timeout } => format!("world.node(n[{host}]).leave({});", duration(*timeout)),
        Op::Disconnect { host, peer } => {
            format!("let id = world.host(n[{peer}]).id();\n    let _ = world.node(n[{host}]).disconnect(id);")
        }
        Op::Join { host, to } => format!("let _ = world.node(n[{host}]).join(n[{to}]);"),
        Op::JoinThrough { host, to } => {
            let inner = format!("let inner = world.host(n[{to}]).addr();");
            let public = format!("let public = world.net_mut().forward(\"{}\", inner);", public(*to));
            format!("{inner}\n    {public}\n    let _ = world.node(n[{host}]).join(public);")
        }
        Op::AddSeed { host, to } => format!("let _ = world.node(n[{host}]).add_seed(n[{to}]);"),
        Op::Forget { host } => format!("world.node(n[{host}]).forget_lost();"),
        Op::SetConfig { host, setting } => {
            let change = match setting {
                Setting::Metadata(length) => format!("config.metadata(vec![0; {length}])"),
                Setting::Pace(of) => format!("{}.of(config)", pace(*of)),
            };
            format!(
                "let config = world.node(n[{host}]).config();\n    let _ = world.node(n[{host}]).set_config({change});"
            )
        }
        Op::Send { from, to, length, count } if *length < SHORTEST as u64 => {
            let id = format!("let id = world.host(n[{to}]).id();");
            let send = format!("let _ = world.node(n[{from}]).send(id, vec![0; {length}]);");
            format!("{id}\n    {}", repeated(*count, &send))
        }
        Op::Send { from, to, length, count } => {
            let length = grouped(u128::from(*length));
            repeated(*count, &format!("let _ = world.node(n[{from}]).send_numbered(n[{to}], {length});"))
        }
        Op::Broadcast { from, length } => {
            format!("let _ = world.node(n[{from}]).broadcast(vec![0; {}]);", grouped(u128::from(*length)))
        }
        Op::Flush { from, to } => {
            format!("let id = world.host(n[{to}]).id();\n    let _ = world.node(n[{from}]).flush(id);")
        }
        _ => return None,
    };
    Some(call)
}

pub(super) fn simpler(op: &Op) -> Option<Vec<Op>> {
    let simpler = match *op {
        Op::Leave { host, timeout } => shorter(timeout).map(|timeout| Op::Leave { host, timeout }).collect(),
        Op::SetConfig { host, setting: Setting::Metadata(2..) } => {
            vec![Op::SetConfig { host, setting: Setting::Metadata(1) }]
        }
        Op::Send { from, to, length, count } => {
            let sends = [(length, 1), (64, count), (1_000, count), (length / 2, count), (length, count / 2)];
            let fewer = sends.into_iter().filter(|&(l, c)| (l, c) != (length, count) && l <= length && c > 0);
            fewer.map(|(length, count)| Op::Send { from, to, length, count }).collect()
        }
        Op::Broadcast { from, length } => {
            [0, length / 2].into_iter().filter(|&l| l < length).map(|length| Op::Broadcast { from, length }).collect()
        }
        _ => return None,
    };
    Some(simpler)
}

pub(super) fn draw(drawer: &mut Drawer, kind: Fault, at: u64, host: u32) -> bool {
    match kind {
        Fault::Leave => {
            let timeout = Duration::from_millis(drawer.rng.scaled(1, 5_000));
            let restart = Op::Restart { host, identity: Identity::Same, moved: false };
            drawer.spell(at, 60_000, Op::Leave { host, timeout }, restart);
        }
        Fault::Disconnect => {
            drawer.pairs(at, |host, peer| (Op::Disconnect { host, peer }, Op::Join { host, to: peer }));
        }
        Fault::Join => {
            let to = drawer.host();
            let op = drawer.rng.pick(&[Op::Join { host, to }, Op::JoinThrough { host, to }, Op::AddSeed { host, to }]);
            drawer.push(at, op);
        }
        Fault::Config => config(drawer, at, host),
        Fault::Forget => drawer.push(at, Op::Forget { host }),
        _ => return false,
    }
    true
}

fn config(drawer: &mut Drawer, at: u64, host: u32) {
    let setting = match drawer.rng.below(3) {
        0 => Setting::Pace(drawer.rng.pick(&[Pace::Lan, Pace::Wan, Pace::Local])),
        _ => Setting::Metadata(drawer.rng.pick(&[0, 1, 100, 4_096])),
    };
    drawer.push(at, Op::SetConfig { host, setting });
}

fn repeated(count: u32, line: &str) -> String {
    if count == 1 { line.to_owned() } else { format!("for _ in 0..{count} {{\n        {line}\n    }}") }
}

fn send_some(world: &mut World, from: HostId, to: HostId, length: u64) -> bool {
    if length < SHORTEST as u64 {
        let to = world.host(to).id();
        return world.node(from).send(to, zeroes(length)).is_ok();
    }
    world.node(from).send_numbered(to, length as usize).is_ok()
}

/// The address of the port-forward to a host.
fn public(to: u32) -> String {
    format!("10.0.{}.{}:7000", 200 + to / 250, to % 250 + 1)
}

fn zeroes(length: u64) -> Bytes {
    Bytes::from(vec![0; length as usize])
}

/// Messages, of a size that is likely to be special, as far as a step may send one of it.
pub(super) fn message(drawer: &mut Drawer, profile: &Profile, at: u64) {
    let chunk = MAX_CHUNK as u64;
    let cap = profile.max_message.min(MAX_LENGTH);
    let special = [
        0,
        1,
        64,
        1_000,
        chunk - 1,
        chunk,
        chunk + 1,
        profile.initial_window - 4,
        profile.initial_window,
        profile.initial_window + 1,
        cap,
        cap + 1,
    ];
    if drawer.rng.below(ALL_TO_ONE) == 0 {
        let to = drawer.host();
        for from in (0..drawer.nodes).filter(|from| *from != to) {
            drawer.push(at, Op::Send { from, to, length: cap, count: 1 });
        }
        return;
    }
    let length = drawer.rng.pick(&special).min(MAX_LENGTH);
    let from = drawer.host();
    if drawer.rng.below(4) == 0 {
        return drawer.push(at, Op::Broadcast { from, length });
    }
    let most = (200_000 / (length + 1)).clamp(2, 50);
    let count = 1 + drawer.rng.below(most) as u32;
    if let Some((from, to)) = drawer.pair() {
        drawer.push(at, Op::Send { from, to, length, count });
    }
}
