//! Someone who can open connections, and say what he likes, and has no secret.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use cluster_core::{Channel, Config, Credentials, Hello, Identity, Incarnation, NodeId, Role, Run, Secret, Suite};
use cluster_timeline::record::HostId;

use super::Attack;
use crate::rng::Rng;
use crate::socket::{EndState, Read, Sock};
use crate::world::World;

/// Connections that are kept open at most; the oldest is closed for a new one.
const MAX_LINES: usize = 256;

/// The addresses that it uses.
const SOURCES: u8 = 16;

/// How many of its connections it looks after at a time.
const TENDED: usize = 16;

#[derive(Debug)]
pub(super) struct Outsider {
    attacks: Vec<Attack>,
    sources: Vec<HostId>,
    lines: VecDeque<Line>,
}

/// One of its connections.
#[derive(Debug)]
struct Line {
    sock: Sock,
    /// What it still wants to say.
    words: Bytes,
    /// A byte at a time.
    trickles: bool,
    end: End,
}

/// What it does when it has said everything.
#[derive(Clone, Copy, Debug)]
enum End {
    Wait,
    Finish,
    Close,
    Reset,
}

impl Outsider {
    pub(super) fn new(world: &mut World, number: u8, attacks: &[Attack]) -> Outsider {
        let sources = (1..=SOURCES).map(|last| world.net_mut().raw_host(&format!("10.66.{number}.{last}"))).collect();
        Outsider { attacks: attacks.to_vec(), sources, lines: VecDeque::new() }
    }

    pub(super) fn host(&self) -> HostId {
        self.sources[0]
    }

    pub(super) fn act(&mut self, world: &mut World, rng: &mut Rng) {
        for _ in 0..TENDED.min(self.lines.len()) {
            self.tend(world);
        }
        let targets: Vec<SocketAddr> = world.running().into_iter().map(|host| world.host(host).addr()).collect();
        if targets.is_empty() {
            return;
        }
        let attack = self.attacks[rng.below(self.attacks.len() as u64) as usize];
        let count = if attack == Attack::Flood { 1 + rng.below(24) } else { 1 };
        for _ in 0..count {
            let target = targets[rng.below(targets.len() as u64) as usize];
            let words = words(world, rng, attack);
            self.open(world, rng, target, words, attack == Attack::Trickle);
        }
        world.wake_all();
    }

    fn open(&mut self, world: &mut World, rng: &mut Rng, target: SocketAddr, words: Bytes, trickles: bool) {
        let source = self.sources[rng.below(self.sources.len() as u64) as usize];
        let Some(sock) = world.net.dial(&mut world.queue, source, target, true) else { return };
        let end = [End::Wait, End::Finish, End::Close, End::Reset][rng.below(4) as usize];
        self.lines.push_back(Line { sock, words, trickles, end });
        if self.lines.len() > MAX_LINES
            && let Some(oldest) = self.lines.pop_front()
        {
            world.net.close(&mut world.queue, oldest.sock);
        }
    }

    /// Says more on the connection that was looked after the longest time ago.
    fn tend(&mut self, world: &mut World) {
        let Some(mut line) = self.lines.pop_front() else { return };
        let (net, queue) = (&mut world.net, &mut world.queue);
        match net.state(line.sock) {
            EndState::Dialing => return self.lines.push_back(line),
            EndState::Open => {}
            EndState::Failed | EndState::Reset | EndState::Closed | EndState::Lost => return,
        }
        // What comes back is of no interest, but unread it would make a close a reset.
        while let Read::Bytes(_) = net.read(queue, line.sock, usize::MAX) {}
        let most = if line.trickles { 1 } else { line.words.len() };
        let taken = net.write(queue, line.sock, &line.words[..most.min(line.words.len())]);
        line.words = line.words.slice(taken..);
        if !line.words.is_empty() {
            return self.lines.push_back(line);
        }
        match line.end {
            End::Wait => self.lines.push_back(line),
            End::Finish => {
                net.shutdown(queue, line.sock);
                line.end = End::Wait;
                self.lines.push_back(line);
            }
            End::Close => net.close(queue, line.sock),
            End::Reset => net.reset(queue, line.sock),
        }
    }
}

/// What an attack says.
fn words(world: &World, rng: &mut Rng, attack: Attack) -> Bytes {
    match attack {
        Attack::Flood => Bytes::new(),
        Attack::Garbage => garbage(rng),
        Attack::Trickle => hello(world, rng),
        Attack::HalfHello => {
            let hello = hello(world, rng);
            hello.slice(..rng.below(hello.len() as u64 + 1) as usize)
        }
        Attack::HugeLength => {
            let hello = hello(world, rng);
            // A preamble has twelve bytes; what follows it has a length of two.
            let mut words = hello[..hello.len().min(12)].to_vec();
            words.extend([0xff, 0xff]);
            words.extend(garbage(rng));
            words.into()
        }
        Attack::Replay => world.net.overheard(rng.next_u64()).unwrap_or_else(|| hello(world, rng)),
    }
}

fn garbage(rng: &mut Rng) -> Bytes {
    match rng.below(4) {
        0 => Bytes::from_static(b"GET / HTTP/1.1\r\nHost: cluster\r\n\r\n"),
        1 => Bytes::from_static(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        2 => Bytes::from(vec![rng.below(256) as u8; 4_096]),
        _ => (0..rng.below(64)).flat_map(|_| rng.bytes::<16>()).collect(),
    }
}

/// How a handshake of the real protocol begins. Where nodes have a secret, this one is guessed.
fn hello(world: &World, rng: &mut Rng) -> Bytes {
    let hello = Hello {
        run: Run { id: NodeId::from_bytes(rng.bytes()), incarnation: Incarnation(rng.next_u64()) },
        cluster: "default".parse().unwrap_or_else(|_| unreachable!("the text is a name")),
        versions: 1..=Config::VERSION,
        features: rng.next_u64() as u32,
        nonce: rng.bytes(),
    };
    let mut channel = if world.has_secret() {
        let (identity, keyring) = (Identity::from_bytes(rng.bytes()), Secret::from_bytes(rng.bytes()).into());
        let credentials = Credentials { identity, keyring, suite: Suite::default(), entropy: rng.bytes() };
        Channel::secure(Role::Initiator, hello, credentials)
    } else {
        Channel::new(Role::Initiator, hello)
    };
    channel.output().pieces().flatten().copied().collect()
}
