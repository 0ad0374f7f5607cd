//! A member that means harm: a puppet with a will of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use cluster_core::limits::{MAX_ADDRESSES, MAX_LIST};
use cluster_core::wire::{
    Accept, Ack, Announce, Claim, Close, Data, Digest, Entry, List, Offer, PeerStream, Profile, Reject, Resume,
    StreamId, Update,
};
use cluster_core::{Advertised, Frame, Incarnation, NodeId, RejectCode, Run};
use cluster_timeline::record::HostId;

use super::Abuse;
use crate::puppet::{PuppetLink, PuppetState, Script};
use crate::rng::Rng;
use crate::world::World;

/// Frames in one flood.
const FLOOD: u64 = 64;

/// Connections that one who does not let go of them has at a time.
const HELD: usize = 32;

#[derive(Debug)]
pub(super) struct Insider {
    host: HostId,
    abuses: Vec<Abuse>,
    /// The latest link that it has dialled to each node.
    links: BTreeMap<HostId, PuppetLink>,
    /// Turns for which it goes on to neither answer nor read.
    deaf: u64,
    /// Links that it was not to have, and holds on to.
    held: Vec<PuppetLink>,
}

impl Insider {
    pub(super) fn new(world: &mut World, number: u8, abuses: &[Abuse]) -> Insider {
        let secrets = world.machines.iter().find_map(|machine| machine.spec.config.secrets().cloned());
        let script = Script { secrets, keep: false, ..Script::default() };
        let host = world.add_puppet(&format!("10.77.0.{}", number + 1), script);
        Insider { host, abuses: abuses.to_vec(), links: BTreeMap::new(), deaf: 0, held: Vec::new() }
    }

    pub(super) fn host(&self) -> HostId {
        self.host
    }

    pub(super) fn act(&mut self, world: &mut World, rng: &mut Rng) {
        self.keep_up(world, rng);
        if self.deaf > 0 {
            self.deaf -= 1;
            if self.deaf == 0 {
                self.listen(world, true);
            }
        }
        let abuse = self.abuses[rng.below(self.abuses.len() as u64) as usize];
        let states = world.open_puppet_links(self.host).into_iter();
        let open = |(link, state): &(PuppetLink, PuppetState)| {
            matches!(state, PuppetState::Connected | PuppetState::Up) && !self.held.contains(link)
        };
        let open: Vec<PuppetLink> = states.filter(open).map(|(link, _)| link).collect();
        let link = (!open.is_empty()).then(|| open[rng.below(open.len() as u64) as usize]);
        match (abuse, link) {
            (Abuse::Deaf, _) if self.deaf == 0 && rng.below(50) == 0 => {
                self.deaf = 1 + rng.below(600);
                self.listen(world, false);
            }
            (Abuse::Impostor, _) => self.pose(world, rng),
            (Abuse::Gossip, Some(link)) => self.say(world, link, lie(world, rng)),
            (Abuse::Chatter, Some(link)) => {
                for _ in 0..rng.below(FLOOD) {
                    self.say(world, link, chatter(rng));
                }
            }
            (Abuse::TinyMessages, Some(link)) => {
                for _ in 0..rng.below(FLOOD) {
                    let payload = vec![0; rng.below(3) as usize];
                    world.puppet(self.host).say_on(link, &payload);
                }
            }
            (Abuse::Credit, Some(link)) => self.say(world, link, overdraft(rng)),
            (Abuse::Misplaced, Some(link)) => self.say(world, link, handshake(rng)),
            (Abuse::Fickle, Some(link)) => self.waver(world, rng, link),
            (Abuse::Linger, _) => self.linger(world, rng),
            _ => {}
        }
    }

    /// Connects to every node that it is not connected to, now and then.
    fn keep_up(&mut self, world: &mut World, rng: &mut Rng) {
        let open = world.open_puppet_links(self.host);
        for target in world.running() {
            let lost = self.links.get(&target).is_none_or(|&link| !open.iter().any(|(other, _)| *other == link));
            if lost && rng.below(4) == 0 {
                let address = world.host(target).addr();
                let link = world.puppet(self.host).dial(address);
                self.links.insert(target, link);
            }
        }
    }

    fn say(&self, world: &mut World, link: PuppetLink, frame: Frame) {
        world.puppet(self.host).send_on(link, frame);
    }

    fn listen(&self, world: &mut World, listens: bool) {
        world.puppet(self.host).script(|script| (script.pong, script.read, script.ack) = (listens, listens, listens));
    }

    /// Introduces itself as another run of a node of this world.
    fn pose(&self, world: &mut World, rng: &mut Rng) {
        let nodes = world.running();
        let pick = |rng: &mut Rng| nodes.get(rng.below(nodes.len() as u64) as usize).copied();
        let (Some(whom), Some(to)) = (pick(rng), pick(rng)) else { return };
        let Run { id, incarnation: Incarnation(number) } = world.host(whom).run();
        let other = [number.wrapping_add(1), number - 1, 0, u64::MAX, number + (1 << 40)][rng.below(5) as usize];
        let address = world.host(to).addr();
        world.puppet(self.host).dial_as(address, Run { id, incarnation: Incarnation(other) });
    }

    /// Dials a node again and again for nothing, and lets go of no connection that the node has ended.
    fn linger(&mut self, world: &mut World, rng: &mut Rng) {
        let nodes = world.running();
        let Some(&whom) = nodes.get(rng.below(nodes.len().max(1) as u64) as usize) else { return };
        let address = world.host(whom).addr();
        let open = world.open_puppet_links(self.host);
        self.held.retain(|held| open.iter().any(|(link, _)| link == held));
        let room = HELD.saturating_sub(self.held.len());
        let mut claim = None;
        world.puppet(self.host).script(|script| {
            claim = script.claim.replace(0);
            script.hold = true;
        });
        for _ in 0..room.min(rng.below(8) as usize) {
            let link = world.puppet(self.host).dial(address);
            self.held.push(link);
        }
        world.puppet(self.host).script(|script| (script.claim, script.hold) = (claim, false));
    }

    /// Leaves, or comes back, or changes its mind about whom it accepts.
    fn waver(&self, world: &mut World, rng: &mut Rng, link: PuppetLink) {
        match rng.below(6) {
            0 => {
                self.say(world, link, Frame::Close(Close::Leaving));
                // Whoever has left may come back only as a later run.
                world.puppet(self.host).age();
            }
            1 => {
                self.say(world, link, Frame::Close(Close::Removed));
                world.puppet(self.host).script(|script| script.rejoin = true);
            }
            2 => self.say(world, link, Frame::Close(Close::Other(rng.below(256) as u8))),
            3 => {
                let accept = rng.below(2) == 0;
                world.puppet(self.host).script(|script| script.accept = accept);
                self.say(world, link, Frame::Reject(Reject { code: code(rng) }));
            }
            4 => {
                let generation = [0, 1, 2, 1 << 31, 1 << 32, u64::MAX][rng.below(6) as usize];
                world.puppet(self.host).script(|script| script.claim = Some(generation));
            }
            _ => world.puppet(self.host).reset(link),
        }
    }
}

/// Something about the mesh that is not true.
fn lie(world: &World, rng: &mut Rng) -> Frame {
    let nodes: Vec<Run> = world.running().into_iter().map(|host| world.host(host).run()).collect();
    let homes: Vec<SocketAddr> = world.running().into_iter().map(|host| world.host(host).addr()).collect();
    let count = [0, 1, 8, MAX_LIST as u64][rng.below(4) as usize];
    let entries: Vec<Entry> = (0..count)
        .map(|_| {
            let run = match nodes.get(rng.below(2 * nodes.len() as u64 + 1) as usize) {
                Some(run) => {
                    let number = run.incarnation.0;
                    let other = [number, number + 1, number - 1, 0, u64::MAX][rng.below(5) as usize];
                    Run { incarnation: Incarnation(other), ..*run }
                }
                None => Run { id: NodeId::from_bytes(rng.bytes()), incarnation: Incarnation(rng.next_u64()) },
            };
            Entry { run, addresses: (0..rng.below(MAX_ADDRESSES as u64 + 1)).map(|_| place(rng, &homes)).collect() }
        })
        .collect();
    match rng.below(3) {
        0 => Frame::Announce(Announce { entries }),
        1 => Frame::List(List { buckets: rng.next_u64() as u16, reply: rng.below(2) == 0, entries }),
        _ => Frame::List(List { buckets: u16::MAX, reply: true, entries }),
    }
}

/// An address: nobody's, a node's, or one that is none of anybody's business.
fn place(rng: &mut Rng, homes: &[SocketAddr]) -> SocketAddr {
    let port = rng.below(1 << 16) as u16;
    let low = rng.below(256) as u8;
    match rng.below(8) {
        0 if !homes.is_empty() => homes[rng.below(homes.len() as u64) as usize],
        1 => ([127, 0, 0, 1], port).into(),
        2 => ([169, 254, 169, 254], 80).into(),
        3 => ([8, 8, 8, low], port).into(),
        4 => ([224, 0, 0, low], port).into(),
        _ => ([10, 99, rng.below(256) as u8, low], port).into(),
    }
}

/// What costs the receiver more than the sender, if it is not careful.
fn chatter(rng: &mut Rng) -> Frame {
    match rng.below(4) {
        0 => Frame::Ping { token: rng.next_u64() },
        1 => Frame::Pong { token: rng.below(100) },
        2 => Frame::Digest(Digest { buckets: [rng.below(3); 16] }),
        _ => Frame::Update(Update { profile: profile(rng) }),
    }
}

/// Data and acknowledgements that no honest peer sends.
fn overdraft(rng: &mut Rng) -> Frame {
    let number = |rng: &mut Rng| match rng.below(4) {
        0 => rng.below(100),
        1 => rng.below(1 << 20),
        2 => u64::MAX - rng.below(2),
        _ => 0,
    };
    if rng.below(2) == 0 {
        let bytes = Bytes::from(vec![rng.below(256) as u8; 1 + rng.below(1 << 15) as usize]);
        return Frame::Data(Data { offset: number(rng), bytes });
    }
    Frame::Ack(ack(rng, number))
}

fn ack(rng: &mut Rng, number: impl Fn(&mut Rng) -> u64) -> Ack {
    Ack { received: number(rng), consumed: number(rng), consumed_messages: number(rng), granted: number(rng) }
}

/// A step of the handshake.
fn handshake(rng: &mut Rng) -> Frame {
    let generation = rng.below(10);
    match rng.below(4) {
        0 => Frame::Claim(Claim { generation, rejoin: rng.below(2) == 0, profile: profile(rng) }),
        1 => Frame::Accept(Accept { profile: profile(rng), offer: offer(rng) }),
        2 => Frame::Reject(Reject { code: code(rng) }),
        _ => Frame::Resume(Resume { offer: offer(rng) }),
    }
}

fn offer(rng: &mut Rng) -> Offer {
    let id = StreamId(rng.next_u64());
    let peer = match rng.below(3) {
        0 => PeerStream::None,
        1 => PeerStream::Live { id, ack: ack(rng, |rng| rng.below(1_000)) },
        _ => PeerStream::Closed { id, consumed: rng.below(1_000) },
    };
    Offer { stream: StreamId(rng.next_u64()), next: rng.below(3), peer }
}

fn profile(rng: &mut Rng) -> Profile {
    Profile {
        name: None,
        metadata: Bytes::from(vec![7; rng.below(1_000) as usize]),
        addresses: (0..rng.below(3)).map(|_| Advertised::Socket(place(rng, &[]))).collect(),
        max_message: rng.below(1 << 24),
        window: rng.below(1 << 20),
    }
}

fn code(rng: &mut Rng) -> RejectCode {
    match rng.below(7) {
        0 => RejectCode::Outranked,
        1 => RejectCode::DuplicateIdentity,
        2 => RejectCode::Stale { known: Incarnation(rng.next_u64()) },
        3 => RejectCode::Removed,
        4 => RejectCode::Leaving,
        5 => RejectCode::Full,
        _ => RejectCode::Other(rng.below(256) as u8),
    }
}
