//! The three messages of the handshake in secure mode: `Noise_XXpsk0_25519_*_SHA256`, each the body of one record.
//!
//! ```text
//! initiator                                            responder
//! psk, e            padding-free hello           ──▶   the secret is checked, without the curve
//!                                               ◀──    e, ee, s, es   preamble, incarnation, version, features
//! s, se             incarnation                  ──▶
//! ```

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use snow::params::{CipherChoice, DHChoice, HashChoice};
#[cfg(not(feature = "ring"))]
use snow::resolvers::DefaultResolver as Ciphers;
#[cfg(feature = "ring")]
use snow::resolvers::RingResolver as Ciphers;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState, TransportState};
use zeroize::Zeroizing;

use super::curve::KeyPair;
use super::name::Name;
use super::preamble::Preamble;
use super::suite::Suite;
use crate::credentials::{Credentials, Role};
use crate::id::{Incarnation, NodeId, Run};
use crate::identity::node_id;
use crate::secret::{Keyring, Secret, SecretId};

const KEY: usize = 32;
const TAG: usize = 16;

/// The length of message 1.
pub(crate) const FIRST: usize = KEY + TAG;

/// The length of message 2.
pub(crate) const SECOND: usize = KEY + KEY + TAG + Answer::SIZE + TAG;

/// The length of message 3.
pub(crate) const THIRD: usize = KEY + TAG + 8 + TAG;

/// What the responder says of itself in message 2, besides its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its preamble once more, here where nobody can have altered it.
    pub(crate) preamble: Preamble,
    pub(crate) incarnation: Incarnation,
    pub(crate) version: u8,
    pub(crate) features: u32,
}

impl Answer {
    const SIZE: usize = Preamble::SIZE + 8 + 1 + 4;

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.preamble.encode().to_vec();
        bytes.extend_from_slice(&self.incarnation.0.to_be_bytes());
        bytes.push(self.version);
        bytes.extend_from_slice(&self.features.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; Answer::SIZE]) -> Option<Answer> {
        let (preamble, rest) = bytes.split_first_chunk()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (&version, rest) = rest.split_first()?;
        Some(Answer {
            preamble: Preamble::decode(preamble),
            incarnation: Incarnation(u64::from_be_bytes(*incarnation)),
            version,
            features: u32::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

/// One side of a handshake. Its methods are called in the order of the messages; after one of them has failed, only
/// [`read_first`](Handshake::read_first) was without effect.
pub(crate) struct Handshake(HandshakeState);

/// Why a handshake comes to nothing. Which of many reasons it is must not make a difference to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

impl From<Error> for Failed {
    fn from(_: Error) -> Failed {
        Failed
    }
}

impl Handshake {
    /// A side of a handshake that speaks of this cluster and began with this preamble.
    pub(crate) fn new(
        role: Role,
        credentials: &Credentials,
        suite: Suite,
        cluster: &Name,
        initiator: &Preamble,
    ) -> Result<Handshake, Failed> {
        let Credentials { identity, keyring, entropy, .. } = credentials;
        let name = format!("Noise_XXpsk0_25519_{}_SHA256", suite.name());
        let resolver = Resolver { public: *identity.public(), entropy: Zeroizing::new(*entropy) };
        let prologue = prologue(cluster, initiator);
        let builder = Builder::with_resolver(name.parse()?, Box::new(resolver))
            .prologue(&prologue)?
            .psk(0, keyring.sending().as_bytes())?
            .local_private_key(identity.private())?;
        Ok(Handshake(match role {
            Role::Initiator => builder.build_initiator()?,
            Role::Responder => builder.build_responder()?,
        }))
    }

    pub(crate) fn write_first(&mut self) -> Result<Vec<u8>, Failed> {
        self.write(&[], FIRST)
    }

    /// Says which secret the initiator has, if it is one of ours. Costs no multiplication on the curve.
    pub(crate) fn read_first(&mut self, keyring: &Keyring, body: &[u8]) -> Result<SecretId, Failed> {
        let fits = |secret: &&Secret| {
            self.0.set_psk(0, secret.as_bytes()).is_ok() && self.0.read_message(body, &mut []) == Ok(0)
        };
        if body.len() != FIRST {
            return Err(Failed);
        }
        keyring.secrets().find(fits).map(Secret::id).ok_or(Failed)
    }

    pub(crate) fn write_second(&mut self, answer: &Answer) -> Result<Vec<u8>, Failed> {
        self.write(&answer.encode(), SECOND)
    }

    pub(crate) fn read_second(&mut self, body: &[u8]) -> Result<(NodeId, Answer), Failed> {
        let answer = Answer::decode(&self.read(body, SECOND)?).ok_or(Failed)?;
        Ok((self.remote()?, answer))
    }

    pub(crate) fn write_third(&mut self, incarnation: Incarnation) -> Result<Vec<u8>, Failed> {
        self.write(&incarnation.0.to_be_bytes(), THIRD)
    }

    pub(crate) fn read_third(&mut self, body: &[u8]) -> Result<Run, Failed> {
        let incarnation = Incarnation(u64::from_be_bytes(self.read(body, THIRD)?));
        Ok(Run { id: self.remote()?, incarnation })
    }

    /// The keys for what follows.
    pub(crate) fn finish(self) -> Result<TransportState, Failed> {
        Ok(self.0.into_transport_mode()?)
    }

    fn write(&mut self, payload: &[u8], length: usize) -> Result<Vec<u8>, Failed> {
        let mut body = vec![0; length];
        let written = self.0.write_message(payload, &mut body)?;
        if written == length { Ok(body) } else { Err(Failed) }
    }

    fn read<const N: usize>(&mut self, body: &[u8], length: usize) -> Result<[u8; N], Failed> {
        let mut payload = [0; N];
        if body.len() != length || self.0.read_message(body, &mut payload)? != N {
            return Err(Failed);
        }
        Ok(payload)
    }

    fn remote(&self) -> Result<NodeId, Failed> {
        let public = self.0.get_remote_static().and_then(|key| key.try_into().ok());
        public.map(node_id).ok_or(Failed)
    }
}

/// What both sides must agree on before they have said anything.
fn prologue(cluster: &Name, initiator: &Preamble) -> Vec<u8> {
    let name = cluster.as_str().as_bytes();
    let mut prologue = b"cluster-wire".to_vec();
    // A name is at most 64 bytes.
    prologue.push(name.len() as u8);
    prologue.extend_from_slice(name);
    prologue.extend_from_slice(&initiator.encode());
    prologue
}

/// The parts of a handshake: ciphers and hash of `snow`, but our own curve and randomness.
struct Resolver {
    public: [u8; 32],
    entropy: Zeroizing<[u8; 32]>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.entropy.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| KeyPair::boxed(self.public))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Ciphers.resolve_cipher(choice)
    }
}

/// Randomness for the one thing that a side draws in a handshake: its ephemeral key. Wiped when it is taken, and when it
/// is never used.
struct Once(Option<Zeroizing<[u8; 32]>>);

impl Random for Once {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let entropy = self.0.take().filter(|entropy| entropy.len() == bytes.len()).ok_or(Error::Rng)?;
        bytes.copy_from_slice(&*entropy);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::wire::curve;

    fn credentials(byte: u8, keyring: impl Into<Keyring>) -> Credentials {
        Credentials {
            identity: Identity::from_bytes([byte; 32]),
            keyring: keyring.into(),
            suite: Suite::ChaChaPoly,
            entropy: [byte ^ 0xff; 32],
        }
    }

    fn preamble() -> Preamble {
        Preamble { versions: 1..=1, mode: 1, suite: 0, features: 0 }
    }

    fn side(role: Role, credentials: &Credentials) -> Handshake {
        Handshake::new(role, credentials, credentials.suite, &"prod".parse().unwrap(), &preamble()).unwrap()
    }

    fn secret(byte: u8) -> Secret {
        Secret::from_bytes([byte; 32])
    }

    #[test]
    fn each_accepted_secret_is_tried_on_one_state_and_the_handshake_goes_on() {
        for (sending, accepted) in [(1, true), (2, true), (3, true), (4, false)] {
            let ours = credentials(1, secret(sending));
            let theirs = credentials(2, Keyring::new(secret(1)).accept(secret(2)).accept(secret(3)));
            let (mut alice, mut bob) = (side(Role::Initiator, &ours), side(Role::Responder, &theirs));
            let found = bob.read_first(&theirs.keyring, &alice.write_first().unwrap());
            assert_eq!(found, if accepted { Ok(secret(sending).id()) } else { Err(Failed) });
            if !accepted {
                continue;
            }
            let answer = Answer { preamble: preamble(), incarnation: Incarnation(9), version: 1, features: 0 };
            let (id, answered) = alice.read_second(&bob.write_second(&answer).unwrap()).unwrap();
            assert_eq!((id, answered), (theirs.identity.id(), answer));
            let run = bob.read_third(&alice.write_third(Incarnation(8)).unwrap()).unwrap();
            assert_eq!(run, Run { id: ours.identity.id(), incarnation: Incarnation(8) });
            assert!(alice.finish().is_ok() && bob.finish().is_ok());
        }
    }

    #[test]
    fn a_secret_that_fits_is_found_after_garbage_too() {
        let ours = credentials(1, secret(2));
        let theirs = credentials(2, Keyring::new(secret(1)).accept(secret(2)));
        let (mut alice, mut bob) = (side(Role::Initiator, &ours), side(Role::Responder, &theirs));
        assert_eq!(bob.read_first(&theirs.keyring, &[7; FIRST]), Err(Failed));
        assert!(bob.read_first(&theirs.keyring, &alice.write_first().unwrap()).is_ok());
    }

    #[test]
    fn strangers_cost_no_multiplication_on_the_curve() {
        let theirs = credentials(2, Keyring::new(secret(1)).accept(secret(2)).accept(secret(3)));
        let mut rng = crate::rng::Rng::new(&crate::rng::Seed::new([5; 32]), crate::rng::Purpose::Jitter);
        let before = curve::operations();
        for _ in 0..100_000 {
            let hello: [u8; FIRST] = rng.bytes();
            assert_eq!(side(Role::Responder, &theirs).read_first(&theirs.keyring, &hello), Err(Failed));
        }
        assert_eq!(curve::operations(), before);
    }

    #[test]
    fn a_whole_handshake_costs_each_side_four_multiplications() {
        let (ours, theirs) = (credentials(1, secret(1)), credentials(2, secret(1)));
        let before = curve::operations();
        let (mut alice, mut bob) = (side(Role::Initiator, &ours), side(Role::Responder, &theirs));
        bob.read_first(&theirs.keyring, &alice.write_first().unwrap()).unwrap();
        let answer = Answer { preamble: preamble(), incarnation: Incarnation(9), version: 1, features: 0 };
        alice.read_second(&bob.write_second(&answer).unwrap()).unwrap();
        bob.read_third(&alice.write_third(Incarnation(8)).unwrap()).unwrap();
        assert_eq!(curve::operations() - before, 8);
    }

    #[test]
    fn one_ephemeral_key_is_all_that_the_entropy_makes() {
        let mut once = Once(Some(Zeroizing::new([7; 32])));
        let mut bytes = [0; 32];
        assert_eq!((once.try_fill_bytes(&mut bytes), bytes), (Ok(()), [7; 32]));
        assert_eq!(once.try_fill_bytes(&mut bytes), Err(Error::Rng));
        // What is not drawn, because the handshake ends before that, is wiped with the handshake.
        assert!(core::mem::needs_drop::<Once>() && core::mem::needs_drop::<Resolver>());
    }
}
