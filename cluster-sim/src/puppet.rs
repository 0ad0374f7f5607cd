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
    Advertised, Channel, ChannelError, Config, Credentials, Frame, Hello, Identity, Incarnation, Instant, Keyring,
    Name, NodeId, Received, Role, Run, Suite,
};
use cluster_timeline::record::{Brief, HostId, Record};

use self::stream::{Inbound, encode};
use crate::io::Io;
use crate::machine::{Process, Spec};
use crate::net::{Read, Sock, Wake};
use crate::rng::{Purpose, Rng};
use crate::world::World;

/// What a puppet is and what it does by itself.
#[derive(Clone, Debug)]
pub struct Script {
    /// The secrets it has: the first is the one it dials with. `None`: it speaks without any protection.
    pub secrets: Option<Keyring>,
    /// The run it says it is. Default: an id drawn from the seed, and the wall clock. With a secret nobody can choose an
    /// id, and only the incarnation counts.
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
    /// The frames and messages that it receives are kept, for [`World::heard`] and [`World::puppet_messages`].
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

/// A puppet, to do something with.
#[derive(Debug)]
pub struct PuppetMut<'w> {
    world: &'w mut World,
    host: HostId,
}

impl World {
    /// Adds a host at `ip` on which a puppet listens at port 7000.
    ///
    /// # Panics
    ///
    /// If the text is no IP address, or the address is taken.
    pub fn add_puppet(&mut self, ip: &str, script: Script) -> HostId {
        let spec = Spec::new(Config::insecure_plaintext()).ip(ip).port(7_000).stopped();
        let host = self.add_machine(spec, Process::None);
        let address = self.addr(host);
        self.net.listen(host, address, None);
        let mut rng = Rng::new(self.seed, Purpose::Puppet, host.0, 0);
        let drawn = Run { id: NodeId::from_bytes(rng.bytes()), incarnation: Incarnation(self.wall_clock()) };
        let identity = Identity::from_bytes(Rng::new(self.seed, Purpose::Identity, host.0, 0).bytes());
        let mut run = script.run.unwrap_or(drawn);
        if script.secrets.is_some() {
            run.id = identity.id();
        }
        let profile = script.profile.clone().unwrap_or_else(|| Profile {
            name: None,
            metadata: Bytes::new(),
            addresses: vec![Advertised::Socket(address)],
            max_message: 16 << 20,
            window: 256 << 10,
        });
        let machine = &mut self.machines[host.index()];
        machine.life = 1;
        machine.run = Some(run);
        machine.listen = Some(address);
        machine.process = Process::Puppet(Box::new(Puppet {
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
        }));
        self.trace.name(run.id, host);
        host
    }

    /// The puppet on `host`, to do something with.
    ///
    /// # Panics
    ///
    /// If it is no host of this world. Its methods panic if there is no puppet on it.
    #[track_caller]
    pub fn puppet(&mut self, host: HostId) -> PuppetMut<'_> {
        self.assert_here(host);
        PuppetMut { world: self, host }
    }

    /// Every frame that a puppet has received, oldest first.
    ///
    /// # Panics
    ///
    /// If there is no puppet on `host`.
    #[must_use]
    #[track_caller]
    pub fn heard(&self, host: HostId) -> &[Heard] {
        &self.puppet_ref(host).heard
    }

    /// Every whole message that a puppet has received, oldest first; empty unless its script acknowledges.
    ///
    /// # Panics
    ///
    /// If there is no puppet on `host`.
    #[must_use]
    #[track_caller]
    pub fn puppet_messages(&self, host: HostId) -> &[Bytes] {
        &self.puppet_ref(host).messages
    }

    /// How the links of a puppet are doing, in the order in which they were opened.
    ///
    /// # Panics
    ///
    /// If there is no puppet on `host`.
    #[must_use]
    #[track_caller]
    pub fn puppet_links(&self, host: HostId) -> Vec<PuppetState> {
        self.puppet_ref(host).links.iter().map(|strand| strand.state).collect()
    }

    /// What a puppet's channel made of what came on a link, if that was not the protocol.
    ///
    /// # Panics
    ///
    /// If there is no puppet on `host`, or no such link.
    #[must_use]
    #[track_caller]
    pub fn puppet_error(&self, host: HostId, link: PuppetLink) -> Option<ChannelError> {
        self.puppet_ref(host).links[link].error.clone()
    }

    /// The links of a puppet that are not over, in the order in which they began.
    pub(crate) fn open_puppet_links(&self, host: HostId) -> Vec<(PuppetLink, PuppetState)> {
        self.puppet_ref(host).alive().collect()
    }

    #[track_caller]
    fn puppet_ref(&self, host: HostId) -> &Puppet {
        match &self.machine(host).process {
            Process::Puppet(puppet) => puppet,
            Process::None | Process::Node(_) => panic!("there is no puppet on {host}"),
        }
    }
}

impl PuppetMut<'_> {
    /// Dials an address. The answer is the name of the link.
    pub fn dial(&mut self, to: SocketAddr) -> PuppetLink {
        let run = self.world.puppet_ref(self.host).run;
        self.dial_as(to, run)
    }

    /// Dials an address, and says there that it is this run. The answer is the name of the link.
    pub fn dial_as(&mut self, to: SocketAddr, run: Run) -> PuppetLink {
        self.act(|puppet, io| {
            let Some(sock) = io.net.dial(io.queue, io.host, to, false) else { panic!("no descriptors left") };
            puppet.open(sock, Role::Initiator, run)
        })
    }

    /// Is the next run of itself from now on, on links that are opened later.
    pub fn age(&mut self) {
        self.act(|puppet, io| {
            puppet.run.incarnation.0 += 1;
            io.trace(Record::Puppet(format!("is {:?} from now on", puppet.run)));
        });
    }

    /// Sends a frame on the latest link.
    pub fn send(&mut self, frame: Frame) {
        let last = self.world.puppet_ref(self.host).links.len().checked_sub(1);
        let Some(link) = last else { panic!("the puppet on {} has no link", self.host) };
        self.send_on(link, frame);
    }

    /// Sends a frame on a link, which must be connected.
    pub fn send_on(&mut self, link: PuppetLink, frame: Frame) {
        self.act(|puppet, io| puppet.send(io, link, frame));
    }

    /// Sends a message as a member would: the next bytes of the link's stream, without regard to credit.
    pub fn say_on(&mut self, link: PuppetLink, payload: &[u8]) {
        self.act(|puppet, io| {
            let mut stream = BytesMut::from(&encode(payload)[..]);
            while !stream.is_empty() {
                let bytes = stream.split_to(stream.len().min(MAX_CHUNK)).freeze();
                let offset = puppet.links[link].sent;
                puppet.links[link].sent += bytes.len() as u64;
                puppet.send(io, link, Frame::Data(Data { offset, bytes }));
            }
        });
    }

    /// Ends this direction of a link.
    pub fn shutdown(&mut self, link: PuppetLink) {
        self.act(|puppet, io| io.shutdown(puppet.links[link].sock));
    }

    /// Closes a link without a goodbye.
    pub fn close(&mut self, link: PuppetLink) {
        self.act(|puppet, io| {
            io.close(puppet.links[link].sock);
            puppet.links[link].state = PuppetState::Over;
        });
    }

    /// Resets a link.
    pub fn reset(&mut self, link: PuppetLink) {
        self.act(|puppet, io| {
            io.reset(puppet.links[link].sock);
            puppet.links[link].state = PuppetState::Over;
        });
    }

    /// Changes what the puppet does by itself. What it is stays as it was.
    pub fn script(&mut self, change: impl FnOnce(&mut Script)) {
        self.act(|puppet, io| {
            change(&mut puppet.script);
            for link in puppet.alive().map(|(link, _)| link).collect::<Vec<_>>() {
                puppet.readable(io, link);
            }
        });
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Puppet, &mut Io<'_>) -> T) -> T {
        let host = self.host;
        let result = self.world.with_process(host, |process, io, _| match process {
            Process::Puppet(puppet) => act(puppet, io),
            Process::None | Process::Node(_) => panic!("there is no puppet on {host}"),
        });
        self.world.wake_all();
        result
    }
}

impl Puppet {
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

    fn alive(&self) -> impl Iterator<Item = (PuppetLink, PuppetState)> + '_ {
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

    fn send(&mut self, io: &mut Io<'_>, link: PuppetLink, frame: Frame) {
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
