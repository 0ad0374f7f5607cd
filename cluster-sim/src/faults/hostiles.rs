//! Hosts that mean harm.

use crate::hostile::{Abuse, Attack, Tempo};
use crate::schedule::{Drawer, Fault, Op, USUAL};
use crate::world::World;

/// One hostile host in so many acts fast.
const FAST_ONES: u64 = 10;

pub(super) fn apply(world: &mut World, op: &Op) -> Option<bool> {
    match *op {
        Op::Outsider { .. } | Op::Insider { .. } if world.actors.len() >= Op::MAX_HOSTILE => return Some(false),
        Op::Outsider { attack, tempo } => _ = world.add_outsider(&[attack], tempo),
        Op::Insider { abuse, tempo } => _ = world.add_insider(&[abuse], tempo),
        _ => return None,
    }
    Some(true)
}

pub(super) fn print(op: &Op) -> Option<String> {
    let call = match op {
        Op::Outsider { attack, tempo } => {
            format!("world.add_outsider(&[Attack::{attack:?}], Tempo::{tempo:?});")
        }
        Op::Insider { abuse, tempo } => format!("world.add_insider(&[Abuse::{abuse:?}], Tempo::{tempo:?});"),
        _ => return None,
    };
    Some(call)
}

pub(super) fn simpler(op: &Op) -> Option<Vec<Op>> {
    let simpler = match *op {
        Op::Outsider { attack, tempo: Tempo::Fast } => vec![Op::Outsider { attack, tempo: Tempo::Slow }],
        Op::Insider { abuse, tempo: Tempo::Fast } => vec![Op::Insider { abuse, tempo: Tempo::Slow }],
        _ => return None,
    };
    Some(simpler)
}

pub(super) fn draw(drawer: &mut Drawer, kind: Fault, at: u64, _: u32) -> bool {
    match kind {
        Fault::Outsider => {
            let attack = drawer.rng.pick(Attack::ALL);
            let tempo = tempo(drawer);
            drawer.push_once(at, Op::Outsider { attack, tempo });
        }
        Fault::Insider => {
            let may = |&abuse: &Abuse| drawer.secure || abuse != Abuse::Impostor;
            let abuses: Vec<Abuse> = Abuse::ALL.iter().copied().filter(may).collect();
            let abuse = drawer.rng.pick(&abuses);
            let tempo = tempo(drawer);
            drawer.push_once(at, Op::Insider { abuse, tempo });
        }
        _ => return false,
    }
    true
}

/// What acts fast until the end takes long to simulate, and longest where each connection costs cryptography. So it
/// does in no schedule that is long.
fn tempo(drawer: &mut Drawer) -> Tempo {
    let fast = drawer.rng.below(FAST_ONES) == 0;
    let most = if drawer.secure { USUAL / 6 } else { USUAL };
    if fast && drawer.duration <= most { Tempo::Fast } else { Tempo::Slow }
}
