//! One connection as a state machine: bytes in and frames out, frames in and bytes out.

mod error;
mod handshake;
mod secure;

use alloc::boxed::Box;
use core::fmt;
use core::ops::RangeInclusive;

use bytes::Bytes;

use self::secure::Secure;
use crate::id::Run;
use crate::limits::MAX_HANDSHAKE;
use crate::secret::SecretId;
use crate::wire::cipher::{Cipher, Forged};
use crate::wire::codec;
use crate::wire::hello::{self, Answer, First, Nonce, Second, Third};
use crate::wire::noise;
pub use crate::wire::output::Output;
use crate::wire::preamble::{self, Preamble};
use crate::wire::record::Reader;
use crate::wire::{Frame, FrameError, Name};

pub use self::error::ChannelError;
use crate::credentials::Role;

/// One connection: the handshake, then frames, in both directions.
///
/// A driver has one for each socket and carries bytes between the two; it needs no lock that the node needs. What
/// [`poll`](Channel::poll) returns goes to the node, what the node has to send goes to [`send`](Channel::send).
///
/// ```text
///                 initiator                        responder
/// new             preamble, message 1  ──▶
///                                          Greeted
///                                     ◀──  preamble, message 2
/// Connected       message 3, frames    ──▶
///                                          Connected
///                                     ◀──  frames
/// ```
///
/// An idle channel holds about a kibibyte. One that is receiving holds what was passed to it and not yet polled, and
/// at most one incomplete record.
///
/// ```
/// use cluster_core::{Channel, Frame, Hello, Incarnation, NodeId, Received, Role, Run};
///
/// let hello = |byte: u8| Hello {
///     run: Run { id: NodeId::from_bytes([byte; 16]), incarnation: Incarnation(1) },
///     cluster: "example".parse().unwrap(),
///     versions: cluster_core::wire::VERSIONS,
///     features: 0,
///     nonce: [byte; 16], // random in earnest
/// };
/// let carry = |from: &mut Channel, to: &mut Channel| {
///     let output = from.output();
///     let bytes: Vec<u8> = output.pieces().flatten().copied().collect();
///     output.advance(bytes.len());
///     to.receive(bytes.into());
/// };
/// let mut alice = Channel::new(Role::Initiator, hello(1));
/// let mut bob = Channel::new(Role::Responder, hello(2));
///
/// carry(&mut alice, &mut bob);
/// assert_eq!(bob.poll()?, Some(Received::Greeted));
/// carry(&mut bob, &mut alice);
/// assert!(matches!(alice.poll()?, Some(Received::Connected(bob)) if bob.run == hello(2).run));
/// alice.send(Frame::Ping { token: 7 });
/// carry(&mut alice, &mut bob);
/// assert!(matches!(bob.poll()?, Some(Received::Connected(alice)) if alice.run == hello(1).run));
/// assert_eq!(bob.poll()?, Some(Received::Frame(Frame::Ping { token: 7 })));
/// # Ok::<(), cluster_core::ChannelError>(())
/// ```
pub struct Channel {
    role: Role,
    hello: Hello,
    /// Of a channel in secure mode, until its handshake is done.
    secure: Option<Box<Secure>>,
    state: State,
    cipher: Cipher,
    reader: Reader,
    /// What is left of the record whose frames are being returned, and the size of the buffer behind it.
    record: Bytes,
    backing: usize,
    /// Bytes of the handshake so far.
    spent: usize,
    output: Output,
}

#[derive(Clone, Debug)]
enum State {
    /// Both: the other side's preamble is due.
    Preamble,
    /// The responder: message 1 is due.
    First { version: u8, features: u32 },
    /// The initiator: message 2 is due.
    Second { version: u8, features: u32 },
    /// The responder: message 3 is due.
    Third { version: u8, features: u32 },
    /// The responder in secure mode: message 1 is due.
    SecureFirst,
    /// The initiator in secure mode: message 2 is due.
    SecureSecond { version: u8, features: u32 },
    /// The responder in secure mode: message 3 is due.
    SecureThird { version: u8, features: u32 },
    /// Both: frames.
    Open,
    /// For good.
    Failed(ChannelError),
}

/// What one side brings into the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who we are. In secure mode the id is that of the identity, whatever it says here.
    pub run: Run,
    /// The cluster we are of; the other side must name the same.
    pub cluster: Name,
    /// The protocol versions we speak: within [`VERSIONS`](crate::wire::VERSIONS).
    pub versions: RangeInclusive<u8>,
    /// The optional features we know, one bit each.
    pub features: u32,
    /// Random and never used before: the other side repeats it, which proves that it is not a recording. Of no use in
    /// secure mode.
    pub nonce: [u8; 16],
}

/// What the other side proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Who it is. In secure mode the id is proven, and that the run is one that its node says it is. In plain mode it
    /// only says so; what is proven is that it takes part in this very conversation.
    pub run: Run,
    /// The protocol version to speak: the highest that both know.
    pub version: u8,
    /// The features that both know.
    pub features: u32,
    /// Which of our secrets it has; `None` in plain mode.
    pub secret: Option<SecretId>,
}

/// What arrived on a channel.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// The responder: the other side has sent a valid hello. In secure mode it has one of our secrets, or repeats a hello
    /// of a side that has; in plain mode it names our cluster. Comes once, before [`Connected`](Received::Connected).
    Greeted,
    /// The handshake is done. Comes once, before every frame; from now on frames may be sent.
    Connected(Proven),
    /// A frame.
    Frame(Frame),
}

impl From<Forged> for ChannelError {
    fn from(Forged: Forged) -> ChannelError {
        ChannelError::Forged
    }
}

impl From<FrameError> for ChannelError {
    fn from(error: FrameError) -> ChannelError {
        ChannelError::Frame(error)
    }
}

impl Channel {
    /// A channel in plain mode, for a connection that was just made. The initiator has output at once.
    #[must_use]
    pub fn new(role: Role, hello: Hello) -> Channel {
        let mut channel = Channel::unsaid(role, hello);
        if role == Role::Initiator {
            let first = First { nonce: channel.hello.nonce, cluster: channel.hello.cluster.clone() };
            channel.send_preamble();
            channel.output.push_record(&first.encode());
        }
        channel
    }

    /// A channel that has nothing to write yet.
    fn unsaid(role: Role, hello: Hello) -> Channel {
        Channel {
            role,
            hello,
            secure: None,
            state: State::Preamble,
            cipher: Cipher::Plain,
            reader: Reader::default(),
            record: Bytes::new(),
            backing: 0,
            spent: 0,
            output: Output::default(),
        }
    }

    /// Takes bytes from the socket, however they are cut. Cheap: they are parsed by [`poll`](Channel::poll), which is
    /// to be called until it returns `None` before the socket is read again.
    ///
    /// A chunk of data that is at least an eighth of `bytes` is returned as a slice of it.
    pub fn receive(&mut self, bytes: Bytes) {
        if !matches!(self.state, State::Failed(_)) {
            self.reader.push(bytes);
        }
    }

    /// The next thing that arrived, or `None` until more is received.
    ///
    /// # Errors
    ///
    /// Of no use any more, see [`ChannelError`]; every later call returns the same error. There may be output left,
    /// which tells the other side why.
    pub fn poll(&mut self) -> Result<Option<Received>, ChannelError> {
        let result = self.advance();
        if let Err(error) = &result
            && !matches!(self.state, State::Failed(_))
        {
            self.output.close(&mut self.cipher);
            self.state = State::Failed(error.clone());
            self.secure = None;
            self.reader = Reader::default();
            self.record = Bytes::new();
        }
        result
    }

    /// Queues a frame for writing. Before [`Received::Connected`] and after an error it is dropped.
    ///
    /// Frames are written in the order in which they are queued. Of a frame that breaks the limits of its type,
    /// nothing is written.
    pub fn send(&mut self, frame: Frame) {
        debug_assert!(matches!(self.state, State::Open | State::Failed(_)), "frames come after the handshake");
        if matches!(self.state, State::Open) {
            self.output.send(frame, &mut self.cipher);
        }
    }

    /// What is to be written to the socket.
    pub fn output(&mut self) -> &mut Output {
        self.say_hello();
        // Only now, so that frames queued one after the other share a record.
        self.output.close(&mut self.cipher);
        &mut self.output
    }

    /// The next thing that arrived, whatever the state.
    fn advance(&mut self) -> Result<Option<Received>, ChannelError> {
        loop {
            match self.state.clone() {
                State::Preamble => {
                    let preamble = self.reader.preamble().map_err(|_| ChannelError::NotThisProtocol)?;
                    let Some(theirs) = preamble else { return Ok(None) };
                    self.spent += Preamble::SIZE;
                    if self.secure.is_some() { self.on_secure_preamble(theirs) } else { self.on_preamble(&theirs) }?;
                }
                State::First { version, features } => {
                    let Some(body) = self.message()? else { return Ok(None) };
                    self.on_first(&body, version, features)?;
                    return Ok(Some(Received::Greeted));
                }
                State::Second { version, features } => {
                    let Some(body) = self.message()? else { return Ok(None) };
                    return self.on_second(&body, version, features).map(Some);
                }
                State::Third { version, features } => {
                    let Some(body) = self.message()? else { return Ok(None) };
                    return self.on_third(&body, version, features).map(Some);
                }
                State::SecureFirst => {
                    let Some(body) = self.secure_message(noise::FIRST)? else { return Ok(None) };
                    self.on_secure_first(&body)?;
                    return Ok(Some(Received::Greeted));
                }
                State::SecureSecond { version, features } => {
                    let Some(body) = self.secure_message(noise::SECOND)? else { return Ok(None) };
                    return self.on_secure_second(&body, version, features).map(Some);
                }
                State::SecureThird { version, features } => {
                    let Some(body) = self.secure_message(noise::THIRD)? else { return Ok(None) };
                    return self.on_secure_third(&body, version, features).map(Some);
                }
                State::Open => return self.next_frame(),
                State::Failed(error) => return Err(error),
            }
        }
    }

    fn next_frame(&mut self) -> Result<Option<Received>, ChannelError> {
        loop {
            while !self.record.is_empty() {
                if let Some(frame) = codec::next(&mut self.record, self.backing)? {
                    return Ok(Some(Received::Frame(frame)));
                }
            }
            // Not to keep its buffer alive while the channel is idle.
            self.record = Bytes::new();
            let Some(body) = self.reader.body() else { return Ok(None) };
            let body = self.cipher.open(body)?;
            self.record = body.bytes;
            self.backing = body.backing;
            if self.record.is_empty() {
                return Err(FrameError::Empty.into());
            }
        }
    }

    /// The next message of the handshake, refused by its length before it is waited for.
    fn message(&mut self) -> Result<Option<Bytes>, ChannelError> {
        let Some(length) = self.reader.length() else { return Ok(None) };
        let spent = self.spent + 2 + length;
        if spent > MAX_HANDSHAKE {
            return Err(ChannelError::HandshakeTooLong);
        }
        let Some(body) = self.reader.body() else { return Ok(None) };
        self.spent = spent;
        Ok(Some(body.bytes))
    }

    fn send_preamble(&mut self) {
        let (versions, features) = (self.hello.versions.clone(), self.hello.features);
        self.output.push(&Preamble { versions, mode: preamble::PLAIN, suite: 0, features }.encode());
    }

    fn on_preamble(&mut self, theirs: &Preamble) -> Result<(), ChannelError> {
        if self.role == Role::Responder {
            // Before it is judged, so that the initiator can judge as well.
            self.send_preamble();
        }
        if theirs.mode != preamble::PLAIN || theirs.suite != 0 {
            return Err(ChannelError::Mode);
        }
        let (ours, theirs, features) = (&self.hello.versions, &theirs.versions, self.hello.features & theirs.features);
        let version = preamble::common_version(ours, theirs)
            .ok_or_else(|| ChannelError::Version { ours: ours.clone(), theirs: theirs.clone() })?;
        self.state = match self.role {
            Role::Initiator => State::Second { version, features },
            Role::Responder => State::First { version, features },
        };
        Ok(())
    }

    fn on_first(&mut self, body: &[u8], version: u8, features: u32) -> Result<(), ChannelError> {
        let first = First::decode(body).ok_or(ChannelError::Handshake)?;
        let nonce = self.hello.nonce;
        if first.nonce == nonce {
            return Err(ChannelError::Replay);
        }
        let same = first.cluster == self.hello.cluster;
        let answer = Answer { nonce, echo: first.nonce, run: self.hello.run, version, features };
        let second = Second { cluster: self.hello.cluster.clone(), answer: same.then_some(answer) };
        self.output.push_record(&second.encode());
        if !same {
            return Err(ChannelError::Cluster);
        }
        self.state = State::Third { version, features };
        Ok(())
    }

    fn on_second(&mut self, body: &[u8], version: u8, features: u32) -> Result<Received, ChannelError> {
        if hello::is_first(body) {
            return Err(ChannelError::Replay);
        }
        let second = Second::decode(body).ok_or(ChannelError::Handshake)?;
        if second.cluster != self.hello.cluster {
            return Err(ChannelError::Cluster);
        }
        let answer = second.answer.ok_or(ChannelError::Handshake)?;
        let nonce: Nonce = self.hello.nonce;
        if answer.echo != nonce || answer.nonce == nonce {
            return Err(ChannelError::Replay);
        }
        if (answer.version, answer.features) != (version, features) {
            return Err(ChannelError::Handshake);
        }
        let third = Third { echo: answer.nonce, run: self.hello.run };
        self.output.push_record(&third.encode());
        Ok(self.connected(answer.run, version, features, None))
    }

    fn on_third(&mut self, body: &[u8], version: u8, features: u32) -> Result<Received, ChannelError> {
        let third = Third::decode(body).ok_or(ChannelError::Handshake)?;
        if third.echo != self.hello.nonce {
            return Err(ChannelError::Replay);
        }
        Ok(self.connected(third.run, version, features, None))
    }

    fn connected(&mut self, run: Run, version: u8, features: u32, secret: Option<SecretId>) -> Received {
        self.state = State::Open;
        Received::Connected(Proven { run, version, features, secret })
    }
}

/// Shows where the channel stands and how much it holds, never a payload or a nonce.
impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("role", &self.role)
            .field("state", &self.state)
            .field("received", &(self.record.len() + self.reader.buffered()))
            .field("output", &self.output)
            .finish()
    }
}

#[cfg(test)]
mod tests;
