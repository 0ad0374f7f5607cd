//! A node among members that do anything at all: whatever they do, its tables are bounded, its events are in order, it
//! dials nobody that it should not, and what it accepted has an outcome.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use cluster_core::wire::{Accept, Ack, Claim, Offer, PeerStream, Resume, StreamId};
use cluster_core::{
    Acknowledge, Config, Disconnect, Frame, Incarnation, Input, Keyring, LinkId, NodeId, Offline, Receipt, Run, Secret,
    SecretId, Target,
};

use crate::draw::{Near, address, draw, profile, who};
use crate::driver::{Driver, at, id, small};
use crate::tape::Tape;

/// The most steps of one script.
const MAX_STEPS: usize = 256;

/// The members there are, by their host; some more ids can be made up.
const HOSTS: u8 = 8;

/// The node itself.
const OWN: u8 = 100;

/// One byte for the config, then what happens.
///
/// # Panics
///
/// If a promise is broken.
pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let mut town = Town::new(tape.byte());
    for _ in 0..MAX_STEPS {
        if !town.step(&mut tape) {
            break;
        }
    }
    town.driver.leave();
}

struct Town {
    driver: Driver,
    secure: bool,
    told: BTreeMap<LinkId, Told>,
    /// The highest generation that a host has claimed.
    generations: BTreeMap<NodeId, u64>,
    receipts: Vec<Receipt>,
}

/// What was said on a link.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Where the next data of an honest peer begins.
    next: u64,
}

impl Town {
    fn new(shape: u8) -> Town {
        let secure = shape & 16 == 16;
        let config = if secure { Config::new(keyring(2)) } else { Config::insecure_plaintext() };
        let mut config = config.limits(small());
        if shape & 1 == 1 {
            config = config.acknowledge(Acknowledge::Manual);
        }
        if shape & 2 == 2 {
            config = config.offline(Offline::Refuse);
        }
        if shape & 4 == 4 {
            config = config.seed(at(1).into()).seed("seed.example:7000".parse().expect("a target"));
        }
        if shape & 8 == 8 {
            config = config.session_ttl(Duration::ZERO);
        }
        let driver = Driver::new(OWN, 1_000, config);
        Town { driver, secure, told: BTreeMap::new(), generations: BTreeMap::new(), receipts: Vec::new() }
    }

    /// One thing happens; `false` at the end of the script.
    fn step(&mut self, tape: &mut Tape<'_>) -> bool {
        let Some(kind) = tape.try_byte() else { return false };
        match kind % 24 {
            0 => drop(self.driver.accept(nearby(tape.byte()))),
            1 => self.connects(tape),
            2 | 3 => self.member(tape),
            4..=7 => self.speaks(tape),
            8 => self.answers(tape),
            9 => self.ends(tape),
            10 | 11 => self.driver.pass(span(tape.byte())),
            12 => self.driver.close(),
            13 | 14 => {
                let (to, length) = (self.somebody(tape), usize::from(tape.short()) % 3_000);
                self.driver.send(to, vec![7; length].into());
            }
            15 => {
                if let Some(message) = self.driver.take() {
                    self.receipts.push(message.receipt);
                }
            }
            16 => {
                let receipt = self.receipts.get(tape.choice(self.receipts.len())).copied();
                self.driver.user(|node, now| receipt.into_iter().for_each(|receipt| node.acknowledge(now, receipt)));
            }
            17 => self.driver.join(address(tape)),
            18 => {
                let peer = self.somebody(tape);
                self.driver.user(|node, now| _ = node.disconnect(now, peer));
            }
            19 => self.resolves(tape),
            20 => self.user(tape),
            // The process stands still, for up to two days.
            21 => self.driver.stall(span(tape.byte()) * 360),
            22 => self.driver.handle(Input::Tick),
            _ => self.driver.broadcast(vec![9; 40].into()),
        }
        true
    }

    fn link(&self, tape: &mut Tape<'_>) -> Option<LinkId> {
        let at = tape.choice(self.driver.links.len());
        self.driver.links.keys().nth(at).copied()
    }

    fn somebody(&self, tape: &mut Tape<'_>) -> NodeId {
        id(tape.byte() % HOSTS)
    }

    fn near(&self, link: LinkId) -> Near {
        let line = self.driver.links.get(&link);
        let run = line.and_then(|line| line.run);
        let generation =
            run.and_then(|run| self.generations.get(&run.id)).map_or(1, |highest| highest.saturating_add(1));
        let mut near = Near { generation, incarnation: 1_000, ..Near::default() };
        near.offset = self.told.get(&link).map_or(0, |told| told.next);
        for frame in line.iter().flat_map(|line| &line.written) {
            match frame {
                Frame::Data(data) => near.ack.received = data.offset + data.bytes.len() as u64,
                Frame::Accept(Accept { offer, .. }) | Frame::Resume(Resume { offer }) => {
                    let ack = Ack { granted: 4_096, ..near.ack };
                    near.offer.peer = PeerStream::Live { id: offer.stream, ack };
                    if let PeerStream::Live { id, ack } = offer.peer {
                        (near.offer.stream, near.offer.next) = (id, ack.received);
                    }
                }
                _ => {}
            }
        }
        near.ack.granted = 4_096;
        near
    }

    /// Somebody proves who he is.
    fn connects(&mut self, tape: &mut Tape<'_>) {
        let (Some(link), Some(run)) = (self.link(tape), who(tape, 1)) else { return };
        // Some are the node itself, or its clones.
        let run = if run.id == id(0xff) { Run { id: self.driver.node.run().id, ..run } } else { run };
        let secret = self.secret(tape);
        self.driver.connect(link, run, secret);
    }

    /// Which of the two secrets somebody has; perhaps it is no longer one of the node's.
    fn secret(&self, tape: &mut Tape<'_>) -> Option<SecretId> {
        self.secure.then(|| secret(tape.byte() & 1).id())
    }

    /// A member dials the node and does all that is due, honestly up to the last step.
    fn member(&mut self, tape: &mut Tape<'_>) {
        let host = tape.byte() % HOSTS;
        let run = Run { id: id(host), incarnation: Incarnation(tape.number(1)) };
        let Some(link) = self.driver.accept(at(host)) else { return };
        let secret = self.secret(tape);
        self.driver.connect(link, run, secret);
        let highest = self.generations.entry(run.id).or_default();
        let generation = tape.number(highest.saturating_add(1));
        *highest = generation.max(*highest);
        self.says(link, Frame::Claim(Claim { generation, rejoin: tape.byte() & 1 == 1, profile: profile(tape) }));
        let near = self.near(link);
        let offer = match tape.byte() {
            0..=127 => Offer { stream: StreamId(9), next: 0, peer: PeerStream::None },
            128..=191 => near.offer,
            _ => crate::draw::offer(tape, &near),
        };
        self.says(link, Frame::Resume(Resume { offer }));
    }

    /// The node's dial is answered.
    fn answers(&mut self, tape: &mut Tape<'_>) {
        let dials: Vec<LinkId> = self
            .driver
            .links
            .iter()
            .filter(|(_, line)| line.dialled.is_some() && line.run.is_none())
            .map(|(link, _)| *link)
            .collect();
        let (Some(&link), Some(run)) = (dials.get(tape.choice(dials.len())), who(tape, 1)) else { return };
        match tape.byte() % 4 {
            0 => self.driver.end(link, Disconnect::Refused),
            1 => self.driver.end(link, Disconnect::Unreachable),
            _ => {
                let secret = self.secret(tape);
                self.driver.connect(link, run, secret);
                let near = self.near(link);
                let accept = Accept { profile: profile(tape), offer: crate::draw::offer(tape, &near) };
                self.says(link, Frame::Accept(accept));
            }
        }
    }

    fn speaks(&mut self, tape: &mut Tape<'_>) {
        let Some(link) = self.link(tape) else { return };
        if let Some(frame) = draw(tape, &self.near(link)) {
            self.says(link, frame);
        }
    }

    fn says(&mut self, link: LinkId, frame: Frame) {
        // Nothing can be on the wire that does not fit there.
        let Ok(frame) = Frame::decode(frame.encode().into()) else { return };
        let told = self.told.entry(link).or_default();
        match &frame {
            Frame::Data(data) if data.offset == told.next => told.next += data.bytes.len() as u64,
            Frame::Accept(Accept { offer, .. }) | Frame::Resume(Resume { offer }) => told.next = offer.next,
            _ => {}
        }
        self.driver.frame(link, frame);
    }

    fn ends(&mut self, tape: &mut Tape<'_>) {
        let Some(link) = self.link(tape) else { return };
        let cause = match tape.byte() % 4 {
            0 => Disconnect::Reset,
            1 => Disconnect::Ended,
            2 => Disconnect::Exhausted,
            _ => Disconnect::Closed,
        };
        self.driver.end(link, cause);
    }

    fn resolves(&mut self, tape: &mut Tape<'_>) {
        let Some(target) = self.driver.unresolved.pop() else {
            let name: Target = "node.example:7000".parse().expect("a target");
            return self.driver.user(|node, now| drop(node.join(now, name)));
        };
        let outcome = match tape.byte() % 80 {
            0 => Err("no such host".to_owned()),
            count => Ok((0..count).map(|_| at(tape.byte() % HOSTS)).collect()),
        };
        self.driver.handle(Input::Resolved { target, outcome });
    }

    fn user(&mut self, tape: &mut Tape<'_>) {
        let peer = self.somebody(tape);
        match tape.byte() % 8 {
            0 => self.driver.user(|node, now| node.leave(now, span(200))),
            1 | 2 => self.driver.user(|node, now| _ = node.flush(now, peer)),
            3 => self.driver.user(|node, now| drop(node.add_seed(now, at(2).into()))),
            4 if self.secure => {
                let ring = keyring(tape.byte());
                self.driver.user(|node, now| drop(node.set_config(now, node.config().clone().keyring(ring))));
            }
            5 if self.secure => {
                let allowed = tape.byte();
                self.driver.user(|node, now| {
                    let config = node.config().clone();
                    let hosts = (0..HOSTS).filter(|host| allowed >> host & 1 == 1).map(id);
                    let config = if allowed == 0 { config.allow_all() } else { config.allow(hosts) };
                    drop(node.set_config(now, config));
                });
            }
            _ => {
                let metadata = vec![tape.byte(); 3];
                self.driver.user(|node, now| drop(node.set_config(now, node.config().clone().metadata(metadata))));
            }
        }
    }
}

fn secret(number: u8) -> Secret {
    Secret::from_bytes([number; 32])
}

/// One secret or both, of which one is sent with.
fn keyring(which: u8) -> Keyring {
    let ring = Keyring::new(secret(which & 1));
    if which & 2 == 2 { ring.accept(secret(!which & 1)) } else { ring }
}

/// From nothing to eight minutes.
fn span(byte: u8) -> Duration {
    match byte {
        0..=99 => Duration::from_millis(u64::from(byte)),
        100..=199 => Duration::from_millis(u64::from(byte - 99) * 100),
        _ => Duration::from_secs(u64::from(byte - 199) * 9),
    }
}

/// Connections come from the network that the node is in.
fn nearby(host: u8) -> SocketAddr {
    match host {
        0..=239 => at(host % 16),
        _ => ([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)], 7000).into(),
    }
}
