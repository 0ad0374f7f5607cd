//! A peer that speaks the real protocol by a script: what it does by itself can be switched off one by one, and any
//! frame can be sent by hand.

mod stream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use cluster_core::limits::MAX_CHUNK;
use cluster_core::wire::{Accept, Claim, Data, Offer, PeerStream, Profile, Resume, StreamId};
use cluster_core::{
    Channel, ChannelError, Config, Credentials, Frame, Hello, Identity, Instant, Keyring, Name, Received, Role, Run,
    Suite,
};
use cluster_timeline::record::{Brief, Record};

use self::stream::{Inbound, encode};
use crate::io::Io;

use crate::rng::Rng;
use crate::socket::{Read, Sock, Wake};

/// What a puppet is and what it does by itself.
#[derive(Clone, Debug)]
pub struct Script {
    /// The secrets it has: the first is the one it dials with. `None`: it speaks without any protection.
    pub secrets: Option<Keyring>,
    /// The run it says it is. Default: an id drawn from the seed, and the wall clock. With a secret nobody can choose
    /// an id, and only the incarnation counts.
    pub run: Option<Run>,
    /// The cluster it says it belongs to.
    pub cluster: Name,
    /// The versions it says it speaks.
    pub versions: RangeInclusive<u8>,
    /// The features it offers.
    pub features: u32,
    /// What it says of itself. Default: no name, the address it listens at, 16 MiB, 256 KiB.
    pub profile: Option<Profile>,
    /// It claims a link that it dials from now on, with this generation. `None`: it stays silent after the handshake.
    pub claim: Option<u64>,
    /// It accepts claims.
    pub accept: bool,
    /// It resumes a link it was accepted on.
    pub resume: bool,
    /// It answers pings.
    pub pong: bool,
    /// It acknowledges what it receives, and grants more.
    pub ack: bool,
    /// It reads from its sockets.
    pub read: bool,
    /// It keeps its end of a connection that the other side has ended, of those opened from now on.
    pub hold: bool,
    /// Its claims say that a user of its own asked for the connection.
    pub rejoin: bool,
    /// The frames and messages that it receives are kept, for [`Host::heard`](crate::Host::heard) and
    /// [`Host::puppet_messages`](crate::Host::puppet_messages).
    pub keep: bool,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            secrets: None,
            run: None,
            cluster: default_cluster(),
            versions: 1..=Config::VERSION,
            features: 0,
            profile: None,
            claim: Some(1),
            accept: true,
            resume: true,
            pong: true,
            ack: true,
            read: true,
            hold: false,
            rejoin: false,
            keep: true,
        }
    }
}

/// Names one link of a puppet: 0 for its first one.
pub type PuppetLink = usize;

/// A frame that a puppet has received.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// When, in the world's time.
    pub at: Instant,
    /// On which link.
    pub link: PuppetLink,
    /// The frame.
    pub frame: Frame,
}

/// How a link of a puppet is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PuppetState {
    /// The handshake of the channel is under way.
    Opening,
    /// The channel stands: frames can be sent and received.
    Connected,
    /// Claim, Accept and Resume are done as well.
    Up,
    /// The connection ended, the other side ended its stream, or what came was not the protocol.
    Over,
}

/// The process.
#[derive(Debug)]
pub(crate) struct Puppet {
    script: Script,
    run: Run,
    /// Who it is, as far as it can prove that.
    identity: Identity,
    profile: Profile,
    rng: Rng,
    links: Vec<Strand>,
    /// Those that are not over, or were not a while ago.
    recent: Vec<PuppetLink>,
    by_sock: BTreeMap<Sock, PuppetLink>,
    heard: Vec<Heard>,
    messages: Vec<Bytes>,
}

#[derive(Debug)]
struct Strand {
    sock: Sock,
    role: Role,
    channel: Channel,
    peer: Option<Run>,
    state: PuppetState,
    claim: Option<u64>,
    hold: bool,
    error: Option<ChannelError>,
    stream: StreamId,
    sent: u64,
    inbound: Inbound,
}

impl Puppet {
    pub(crate) fn new(script: Script, run: Run, identity: Identity, profile: Profile, rng: Rng) -> Puppet {
        Puppet {
            script,
            run,
            identity,
            profile,
            rng,
            links: Vec::new(),
            recent: Vec::new(),
            by_sock: BTreeMap::new(),
            heard: Vec::new(),
            messages: Vec::new(),
        }
    }

    pub(crate) fn run(&self) -> Run {
        self.run
    }

    pub(crate) fn heard(&self) -> &[Heard] {
        &self.heard
    }

    pub(crate) fn messages(&self) -> &[Bytes] {
        &self.messages
    }

    /// The state of every link, in the order in which they were made.
    pub(crate) fn states(&self) -> Vec<PuppetState> {
        self.links.iter().map(|strand| strand.state).collect()
    }

    pub(crate) fn error(&self, link: PuppetLink) -> Option<ChannelError> {
        self.links[link].error.clone()
    }

    /// The latest link.
    pub(crate) fn latest(&self) -> Option<PuppetLink> {
        self.links.len().checked_sub(1)
    }

    pub(crate) fn dial(&mut self, io: &mut Io<'_>, to: SocketAddr, run: Run) -> PuppetLink {
        let Some(sock) = io.net.dial(io.queue, io.host, to, false) else { panic!("no descriptors left") };
        self.open(sock, Role::Initiator, run)
    }

    pub(crate) fn age(&mut self, io: &mut Io<'_>) {
        self.run.incarnation.0 += 1;
        io.trace(Record::Puppet(format!("is {:?} from now on", self.run)));
    }

    pub(crate) fn say(&mut self, io: &mut Io<'_>, link: PuppetLink, payload: &[u8]) {
        let mut stream = BytesMut::from(&encode(payload)[..]);
        while !stream.is_empty() {
            let bytes = stream.split_to(stream.len().min(MAX_CHUNK)).freeze();
            let offset = self.links[link].sent;
            self.links[link].sent += bytes.len() as u64;
            self.send(io, link, Frame::Data(Data { offset, bytes }));
        }
    }

    pub(crate) fn shutdown(&self, io: &mut Io<'_>, link: PuppetLink) {
        io.shutdown(self.links[link].sock);
    }

    pub(crate) fn close(&mut self, io: &mut Io<'_>, link: PuppetLink) {
        io.close(self.links[link].sock);
        self.links[link].state = PuppetState::Over;
    }

    pub(crate) fn reset(&mut self, io: &mut Io<'_>, link: PuppetLink) {
        io.reset(self.links[link].sock);
        self.links[link].state = PuppetState::Over;
    }

    pub(crate) fn change(&mut self, io: &mut Io<'_>, change: impl FnOnce(&mut Script)) {
        change(&mut self.script);
        for link in self.alive().map(|(link, _)| link).collect::<Vec<_>>() {
            self.readable(io, link);
        }
    }

    pub(crate) fn wake(&mut self, io: &mut Io<'_>, wake: Wake) {
        match wake {
            Wake::Incoming(listener) => {
                while let Some((sock, _)) = io.accept(listener) {
                    let link = self.open(sock, Role::Responder, self.run);
                    self.pump(io, link);
                }
            }
            Wake::Dialled(sock, Ok(())) | Wake::Writable(sock) => {
                if let Some(&link) = self.by_sock.get(&sock) {
                    self.pump(io, link);
                }
            }
            Wake::Dialled(sock, Err(_)) => {
                if let Some(&link) = self.by_sock.get(&sock) {
                    self.links[link].state = PuppetState::Over;
                    io.close(sock);
                }
            }
            Wake::Readable(sock) => {
                if let Some(&link) = self.by_sock.get(&sock) {
                    self.readable(io, link);
                }
            }
        }
    }

    fn open(&mut self, sock: Sock, role: Role, run: Run) -> PuppetLink {
        let hello = Hello {
            run,
            cluster: self.script.cluster.clone(),
            versions: self.script.versions.clone(),
            features: self.script.features,
            nonce: self.rng.bytes(),
        };
        let channel = match self.script.secrets.clone() {
            None => Channel::new(role, hello),
            Some(keyring) => {
                let (identity, suite, entropy) = (self.identity.clone(), Suite::default(), self.rng.bytes());
                Channel::secure(role, hello, Credentials { identity, keyring, suite, entropy })
            }
        };
        let link = self.links.len();
        self.recent = self.alive().map(|(link, _)| link).chain([link]).collect();
        self.links.push(Strand {
            sock,
            role,
            channel,
            peer: None,
            state: PuppetState::Opening,
            claim: self.script.claim,
            hold: self.script.hold,
            error: None,
            stream: StreamId(self.rng.next_u64()),
            sent: 0,
            inbound: Inbound::default(),
        });
        self.by_sock.insert(sock, link);
        link
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = (PuppetLink, PuppetState)> + '_ {
        let states = self.recent.iter().filter_map(|&link| Some((link, self.links.get(link)?.state)));
        states.filter(|(_, state)| *state != PuppetState::Over)
    }

    fn readable(&mut self, io: &mut Io<'_>, link: PuppetLink) {
        while self.script.read && self.links[link].state != PuppetState::Over {
            let strand = &mut self.links[link];
            match io.read(strand.sock) {
                Read::Bytes(bytes) => strand.channel.receive(bytes),
                Read::Blocked => break,
                Read::Ended if strand.hold => break,
                Read::Ended | Read::Reset => {
                    strand.state = PuppetState::Over;
                    io.close(strand.sock);
                    break;
                }
            }
            self.frames(io, link);
        }
        self.pump(io, link);
    }

    fn frames(&mut self, io: &mut Io<'_>, link: PuppetLink) {
        loop {
            match self.links[link].channel.poll() {
                Ok(Some(Received::Greeted)) => {}
                Ok(Some(Received::Connected(proven))) => self.connected(io, link, proven.run),
                Ok(Some(Received::Frame(frame))) => {
                    io.trace(Record::Puppet(format!("got {:?}", Brief::of(&frame))));
                    let at = Instant::from_nanos(io.queue.now());
                    if self.script.keep {
                        self.heard.push(Heard { at, link, frame: frame.clone() });
                    }
                    self.answer(io, link, frame);
                }
                Ok(None) => break,
                Err(error) => {
                    let strand = &mut self.links[link];
                    strand.error = Some(error);
                    strand.state = PuppetState::Over;
                    io.close(strand.sock);
                    break;
                }
            }
        }
    }

    fn connected(&mut self, io: &mut Io<'_>, link: PuppetLink, peer: Run) {
        let strand = &mut self.links[link];
        strand.peer = Some(peer);
        strand.state = PuppetState::Connected;
        if let (Role::Initiator, Some(generation)) = (strand.role, strand.claim) {
            let (rejoin, profile) = (self.script.rejoin, self.profile.clone());
            self.send(io, link, Frame::Claim(Claim { generation, rejoin, profile }));
        }
    }

    fn answer(&mut self, io: &mut Io<'_>, link: PuppetLink, frame: Frame) {
        let strand = &mut self.links[link];
        let offer = Offer { stream: strand.stream, next: strand.sent, peer: PeerStream::None };
        match frame {
            Frame::Claim(_) if self.script.accept => {
                let profile = self.profile.clone();
                self.send(io, link, Frame::Accept(Accept { profile, offer }));
            }
            Frame::Accept(_) if self.script.resume => {
                strand.state = PuppetState::Up;
                self.send(io, link, Frame::Resume(Resume { offer }));
            }
            Frame::Resume(_) => strand.state = PuppetState::Up,
            Frame::Ping { token } if self.script.pong => self.send(io, link, Frame::Pong { token }),
            Frame::Data(data) if self.script.ack => {
                strand.inbound.take(&data, &mut self.messages);
                if !self.script.keep {
                    self.messages.clear();
                }
                let ack = strand.inbound.ack;
                self.send(io, link, Frame::Ack(ack));
            }
            _ => {}
        }
    }

    pub(crate) fn send(&mut self, io: &mut Io<'_>, link: PuppetLink, frame: Frame) {
        io.trace(Record::Puppet(format!("sends {:?}", Brief::of(&frame))));
        self.links[link].channel.send(frame);
        self.pump(io, link);
    }

    fn pump(&mut self, io: &mut Io<'_>, link: PuppetLink) {
        let strand = &mut self.links[link];
        if strand.state == PuppetState::Over {
            return;
        }
        let output = strand.channel.output();
        let mut written = 0;
        for piece in output.pieces() {
            let taken = io.write(strand.sock, piece);
            written += taken;
            if taken < piece.len() {
                break;
            }
        }
        output.advance(written);
    }
}

fn default_cluster() -> Name {
    "default".parse().unwrap_or_else(|_| unreachable!("the text is a name"))
}
