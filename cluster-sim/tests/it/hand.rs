//! What tests of strangers share: one side of a real handshake on a connection that a test reads and writes by hand.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use cluster_core::limits::NOTICE_INTERVAL;
use cluster_core::wire::{Accept, Claim, Offer, PeerStream, Profile, Resume, StreamId};
use cluster_core::{Advertised, Channel, Event, Frame, Hello, Incarnation, NodeId, Reason, Received, Role, Run};
use cluster_sim::{HostId, RawConn, RawState, World};

use crate::harness::*;

pub(crate) const PREAMBLE: &[u8] = b"\xf5clu\x01\x01\0\0\0\0\0\0";

/// The events of every host, to see that nobody was told anything.
pub(crate) fn told(world: &World, hosts: &[HostId]) -> Vec<usize> {
    hosts.iter().map(|&host| world.host(host).events().len()).collect()
}

/// How many links a node has that do not connect it with a peer.
pub(crate) fn strays(world: &World, host: HostId) -> usize {
    world.host(host).links().iter().filter(|link| !link.granted).count()
}

/// At most one notice per source and interval.
#[track_caller]
pub(crate) fn notices_are_rare(world: &World, host: HostId) {
    let mut last: BTreeMap<IpAddr, _> = BTreeMap::new();
    for noticed in world.host(host).notices() {
        if let Some(before) = last.insert(noticed.notice.source, noticed.at) {
            let span: Duration = noticed.at - before;
            assert!(span >= NOTICE_INTERVAL, "two notices of {} within {span:?}", noticed.notice.source);
        }
    }
}

pub(crate) fn is_over(world: &World, conn: RawConn) -> bool {
    matches!(world.net().raw_state(conn), RawState::Ended | RawState::Reset)
}

pub(crate) fn run(number: u8) -> Run {
    Run { id: NodeId::from_bytes([number; 16]), incarnation: Incarnation(u64::from(number)) }
}

pub(crate) fn profile(addresses: Vec<Advertised>) -> Profile {
    Profile { name: None, metadata: Bytes::new(), addresses, max_message: 16 << 20, window: 256 << 10 }
}

pub(crate) fn offer() -> Offer {
    Offer { stream: StreamId(u64::MAX / 3), next: 0, peer: PeerStream::None }
}

/// One side of a real handshake on a raw connection, which can stop at any byte and say anything afterwards.
pub(crate) struct Hand {
    pub(crate) conn: RawConn,
    pub(crate) role: Role,
    pub(crate) channel: Channel,
    /// Bytes it may still write.
    pub(crate) left: usize,
    pub(crate) wrote: Vec<u8>,
    pub(crate) heard: Vec<Frame>,
}

impl Hand {
    pub(crate) fn new(world: &mut World, conn: RawConn, role: Role, run: Run) -> Hand {
        let hello = Hello {
            run,
            cluster: "default".parse().unwrap(),
            versions: 1..=1,
            features: 0,
            nonce: [(); 16].map(|()| world.draw(256) as u8),
        };
        let channel = Channel::new(role, hello);
        Hand { conn, role, channel, left: usize::MAX, wrote: Vec::new(), heard: Vec::new() }
    }

    pub(crate) fn dial(world: &mut World, ip: &str, to: SocketAddr, run: Run) -> Hand {
        let conn = world.net_mut().raw_dial(ip, to);
        Hand::new(world, conn, Role::Initiator, run)
    }

    /// Dials and does everything until it is a member.
    pub(crate) fn member(world: &mut World, ip: &str, host: HostId, run: Run) -> Hand {
        let address = world.host(host).addr();
        let mut hand = Hand::dial(world, ip, address, run);
        hand.shake(world);
        world.run_for(ms(10));
        let up = world.host(host).core().peer(run.id).is_some();
        assert!(up, "the handshake is complete");
        hand
    }

    /// Twenty milliseconds of a handshake.
    pub(crate) fn shake(&mut self, world: &mut World) {
        for _ in 0..40 {
            self.step(world);
            world.run_for(Duration::from_micros(500));
        }
    }

    pub(crate) fn step(&mut self, world: &mut World) {
        if world.net().raw_state(self.conn) == RawState::Dialing {
            return;
        }
        let bytes = world.raw(self.conn).read();
        self.channel.receive(Bytes::from(bytes));
        while let Ok(Some(received)) = self.channel.poll() {
            match received {
                Received::Greeted => {}
                Received::Connected(_) => {
                    if self.role == Role::Initiator {
                        let profile = profile(Vec::new());
                        self.channel.send(Frame::Claim(Claim { generation: 1, rejoin: false, profile }));
                    }
                }
                Received::Frame(frame) => {
                    match &frame {
                        Frame::Claim(_) => {
                            let profile = profile(Vec::new());
                            self.channel.send(Frame::Accept(Accept { profile, offer: offer() }));
                        }
                        Frame::Accept(_) => self.channel.send(Frame::Resume(Resume { offer: offer() })),
                        _ => {}
                    }
                    self.heard.push(frame);
                }
            }
        }
        let bytes = self.channel.output().pieces().collect::<Vec<_>>().concat();
        self.channel.output().advance(bytes.len());
        self.write(world, &bytes);
    }

    pub(crate) fn write(&mut self, world: &mut World, bytes: &[u8]) {
        let count = bytes.len().min(self.left);
        self.left -= count;
        self.wrote.extend_from_slice(&bytes[..count]);
        world.raw(self.conn).write(&bytes[..count]);
    }

    /// One record with these bytes in it.
    pub(crate) fn record(&mut self, world: &mut World, body: &[u8]) {
        let length = u16::try_from(body.len()).unwrap();
        self.write(world, &[&length.to_be_bytes(), body].concat());
    }
}

pub(crate) fn sources(world: &World, host: HostId) -> BTreeMap<IpAddr, usize> {
    let mut sources = BTreeMap::new();
    for noticed in world.host(host).notices() {
        *sources.entry(noticed.notice.source).or_default() += 1;
    }
    sources
}

pub(crate) fn down_reason(logged: &cluster_sim::Logged) -> Option<Reason> {
    match &logged.event {
        Event::PeerDown { reason, .. } => Some(reason.clone()),
        _ => None,
    }
}
