//! Pairs of channels, and bytes between them.

use cluster_core::{
    Bytes, Channel, ChannelError, Credentials, Frame, Hello, Identity, Incarnation, NodeId, Proven, Received, Role,
    Run, Secret, Suite,
};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::OnceLock;

/// How the two sides of a connection protect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Plain,
    /// With the secret of this number and this cipher.
    Secure(u8, Suite),
}

impl Mode {
    /// One of the three ways that two sides with the same secret have.
    #[must_use]
    pub fn of(byte: u8) -> Mode {
        match byte % 3 {
            0 => Mode::Plain,
            1 => Mode::Secure(1, Suite::ChaChaPoly),
            _ => Mode::Secure(1, Suite::AesGcm),
        }
    }

    /// Whether the connection is protected.
    #[must_use]
    pub fn is_secure(self) -> bool {
        self != Mode::Plain
    }
}

/// Who the two sides say they are.
#[must_use]
pub fn run(role: Role) -> Run {
    let byte = if role == Role::Initiator { 1 } else { 2 };
    Run { id: NodeId::from_bytes([byte; 16]), incarnation: Incarnation(u64::from(byte)) }
}

/// One side of a connection. What it draws is made from `salt`.
///
/// A script that a sealed record is part of must not know the keys of that record: make the salt from the whole script,
/// or a fuzzer that looks at what is compared learns records by heart, and replays them where the keys are the same.
#[must_use]
pub fn side(role: Role, mode: Mode, salt: u64) -> Channel {
    let run = run(role);
    let nonce = *run.id.as_bytes();
    let cluster = "default".parse().expect("a name");
    let hello = Hello { run, cluster, versions: 1..=1, features: 0, nonce };
    match mode {
        Mode::Plain => Channel::new(role, hello),
        Mode::Secure(secret, suite) => {
            let keyring = Secret::from_bytes([secret; 32]).into();
            let mut entropy = [nonce[0]; 32];
            entropy[..8].copy_from_slice(&salt.to_be_bytes());
            Channel::secure(role, hello, Credentials { identity: identity(role), keyring, suite, entropy })
        }
    }
}

/// Made once: it costs an operation on the curve.
fn identity(role: Role) -> Identity {
    static IDENTITIES: OnceLock<[Identity; 2]> = OnceLock::new();
    let [initiator, responder] = IDENTITIES.get_or_init(|| [3, 4].map(|byte| Identity::from_bytes([byte; 32])));
    if role == Role::Initiator { initiator.clone() } else { responder.clone() }
}

/// The salt of a script.
#[must_use]
pub fn salt(script: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(script);
    hasher.finish()
}

/// Two sides that are connected: the initiator and the responder.
#[must_use]
pub fn connected(mode: Mode, salt: u64) -> (Channel, Channel) {
    let (mut initiator, mut responder) = (side(Role::Initiator, mode, salt), side(Role::Responder, mode, salt));
    for _ in 0..2 {
        responder.receive(take(&mut initiator).into());
        let _ = responder.poll();
        initiator.receive(take(&mut responder).into());
        let _ = initiator.poll();
    }
    (initiator, responder)
}

/// Takes what a channel has to write.
pub fn take(channel: &mut Channel) -> Vec<u8> {
    let output = channel.output();
    let bytes: Vec<u8> = output.pieces().flatten().copied().collect();
    output.advance(bytes.len());
    bytes
}

/// What one side makes of bytes: everything that it received, and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// In the order in which it came.
    pub received: Vec<Received>,
    /// Why no more comes, if so.
    pub error: Option<ChannelError>,
    /// What it wrote.
    pub written: Vec<u8>,
}

impl Outcome {
    /// Feeds a channel in pieces of `cut` bytes, or in one if `cut` is 0.
    ///
    /// # Panics
    ///
    /// If the channel breaks a rule that holds for all bytes: an error is for good and says nothing that could harm a
    /// terminal, and no frame that it received has bytes of another meaning.
    #[must_use]
    pub fn of(channel: &mut Channel, bytes: &[u8], cut: usize) -> Outcome {
        let mut outcome = Outcome { received: Vec::new(), error: None, written: Vec::new() };
        let cut = if cut == 0 { bytes.len().max(1) } else { cut };
        for piece in bytes.chunks(cut) {
            channel.receive(Bytes::copy_from_slice(piece));
            outcome.poll(channel);
        }
        outcome
    }

    /// Takes what there is to take.
    ///
    /// # Panics
    ///
    /// As [`of`](Outcome::of).
    pub fn poll(&mut self, channel: &mut Channel) {
        loop {
            match channel.poll() {
                Ok(Some(received)) => self.received.push(received),
                Ok(None) => {
                    assert_eq!(self.error, None, "an error is for good");
                    break;
                }
                Err(error) => {
                    is_printable(&error.to_string());
                    let before = self.error.get_or_insert_with(|| error.clone());
                    assert_eq!(*before, error, "an error is for good");
                    break;
                }
            }
        }
        self.written.extend(take(channel));
    }

    /// The frames among what was received.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.received.iter().filter_map(|received| match received {
            Received::Frame(frame) => Some(frame),
            Received::Greeted | Received::Connected(_) => None,
        })
    }

    /// What the other side has proven, if the handshake came to its end. Nothing but a greeting comes before that.
    #[must_use]
    pub fn proven(&self) -> Option<&Proven> {
        let greeted = usize::from(matches!(self.received.first(), Some(Received::Greeted)));
        match self.received.get(greeted) {
            Some(Received::Connected(proven)) => Some(proven),
            _ => None,
        }
    }

    /// Whether the handshake came to its end.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.proven().is_some()
    }
}

/// Text that goes to a log must not be able to write another line, or to move a cursor.
///
/// # Panics
///
/// If it could.
pub fn is_printable(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?} has a control character");
}
