//! The handshake of a channel in secure mode. Whatever is wrong before the other side has proven that it has a secret,
//! the answer is the same: none.

use alloc::boxed::Box;

use super::secure::Secure;
use super::{Channel, Hello, Received, State};
use crate::channel::ChannelError;
use crate::credentials::{Credentials, Role};
use crate::wire::Suite;
use crate::wire::cipher::Cipher;
use crate::wire::noise::{Answer, Failed, Handshake};
use crate::wire::preamble::{self, Preamble};

impl From<Failed> for ChannelError {
    fn from(_: Failed) -> ChannelError {
        ChannelError::Forged
    }
}

impl Channel {
    /// A channel in secure mode, for a connection that was just made. The initiator has output at once.
    ///
    /// It says nothing to a side that does not have one of the secrets of the keyring, and nothing of what it says can
    /// be read by any third.
    #[must_use]
    pub fn secure(role: Role, hello: Hello, credentials: Credentials) -> Channel {
        let mut channel = Channel::unsaid(role, hello);
        let secret = (role == Role::Initiator).then(|| credentials.keyring.sending().id());
        channel.secure = Some(Box::new(Secure { credentials, handshake: None, theirs: None, secret }));
        channel
    }

    /// Makes the first message of the initiator on demand: it takes a multiplication on the curve, and the caller that
    /// creates the channel may have no time for that.
    pub(super) fn say_hello(&mut self) {
        let unsaid =
            self.role == Role::Initiator && self.secure.as_ref().is_some_and(|secure| secure.handshake.is_none());
        if unsaid && self.try_hello().is_err() {
            self.state = State::Failed(ChannelError::Handshake);
            self.secure = None;
        }
    }

    fn try_hello(&mut self) -> Result<(), Failed> {
        let suite = self.secure.as_ref().ok_or(Failed)?.credentials.suite;
        let ours = self.secure_preamble(suite);
        let mut handshake = self.handshake(suite, &ours)?;
        let first = handshake.write_first()?;
        self.secure.as_mut().ok_or(Failed)?.handshake = Some(Box::new(handshake));
        self.output.push(&ours.encode());
        self.output.push_record(&first);
        Ok(())
    }

    fn secure_preamble(&self, suite: Suite) -> Preamble {
        let (versions, features) = (self.hello.versions.clone(), self.hello.features);
        Preamble { versions, mode: preamble::NOISE, suite: suite.number(), features }
    }

    fn handshake(&self, suite: Suite, initiator: &Preamble) -> Result<Handshake, Failed> {
        let credentials = &self.secure.as_ref().ok_or(Failed)?.credentials;
        Handshake::new(self.role, credentials, suite, &self.hello.cluster, initiator)
    }

    pub(super) fn on_secure_preamble(&mut self, theirs: Preamble) -> Result<(), ChannelError> {
        let secure = self.secure.as_mut().ok_or(Failed)?;
        let suite = Suite::of(theirs.suite).filter(|_| theirs.mode == preamble::NOISE).ok_or(ChannelError::Mode)?;
        self.state = match self.role {
            // Before it is known who asks, there is no answer to whether we speak that version.
            Role::Responder => State::SecureFirst,
            Role::Initiator if suite != secure.credentials.suite => return Err(ChannelError::Mode),
            Role::Initiator => {
                let (version, features) = common(&self.hello, &theirs)?;
                State::SecureSecond { version, features }
            }
        };
        secure.theirs = Some(theirs);
        Ok(())
    }

    /// The next message, if it has the one length that is right.
    pub(super) fn secure_message(&mut self, length: usize) -> Result<Option<bytes::Bytes>, ChannelError> {
        match self.reader.length() {
            Some(declared) if declared != length => Err(match self.role {
                Role::Responder if matches!(self.state, State::SecureFirst) => ChannelError::Secret,
                _ => ChannelError::Forged,
            }),
            _ => self.message(),
        }
    }

    pub(super) fn on_secure_first(&mut self, body: &[u8]) -> Result<(), ChannelError> {
        let theirs = self.secure.as_mut().and_then(|secure| secure.theirs.take()).ok_or(Failed)?;
        let suite = Suite::of(theirs.suite).ok_or(ChannelError::Mode)?;
        let mut handshake = self.handshake(suite, &theirs)?;
        let ours = self.secure_preamble(suite);
        let secure = self.secure.as_mut().ok_or(Failed)?;
        let secret = handshake.read_first(&secure.credentials.keyring, body).map_err(|_| ChannelError::Secret)?;
        // From here on the other side has the secret, or repeats the hello of a node that has.
        let common = common(&self.hello, &theirs);
        let answer = common.as_ref().ok().map(|&(version, features)| Answer {
            preamble: ours.clone(),
            incarnation: self.hello.run.incarnation,
            version,
            features,
        });
        let second = answer.map(|answer| handshake.write_second(&answer)).transpose()?;
        secure.handshake = Some(Box::new(handshake));
        secure.secret = Some(secret);
        self.output.push(&ours.encode());
        let (version, features) = common?;
        second.iter().for_each(|second| self.output.push_record(second));
        self.state = State::SecureThird { version, features };
        Ok(())
    }

    pub(super) fn on_secure_second(
        &mut self,
        body: &[u8],
        version: u8,
        features: u32,
    ) -> Result<Received, ChannelError> {
        let incarnation = self.hello.run.incarnation;
        let secure = self.secure.as_mut().ok_or(Failed)?;
        let handshake = secure.handshake.as_mut().ok_or(Failed)?;
        let (id, answer) = handshake.read_second(body)?;
        if Some(&answer.preamble) != secure.theirs.as_ref() || (answer.version, answer.features) != (version, features)
        {
            return Err(ChannelError::Forged);
        }
        let third = handshake.write_third(incarnation)?;
        self.output.push_record(&third);
        self.secured(crate::id::Run { id, incarnation: answer.incarnation }, version, features)
    }

    pub(super) fn on_secure_third(
        &mut self,
        body: &[u8],
        version: u8,
        features: u32,
    ) -> Result<Received, ChannelError> {
        let handshake = self.secure.as_mut().and_then(|secure| secure.handshake.as_mut()).ok_or(Failed)?;
        let run = handshake.read_third(body)?;
        self.secured(run, version, features)
    }

    fn secured(&mut self, run: crate::id::Run, version: u8, features: u32) -> Result<Received, ChannelError> {
        let mut secure = self.secure.take().ok_or(Failed)?;
        let handshake = secure.handshake.take().ok_or(Failed)?;
        self.cipher = Cipher::noise(handshake.finish()?);
        Ok(self.connected(run, version, features, secure.secret))
    }
}

/// The version and the features to speak.
fn common(ours: &Hello, theirs: &Preamble) -> Result<(u8, u32), ChannelError> {
    let version = preamble::common_version(&ours.versions, &theirs.versions);
    let differ = || ChannelError::Version { ours: ours.versions.clone(), theirs: theirs.versions.clone() };
    Ok((version.ok_or_else(differ)?, ours.features & theirs.features))
}

#[cfg(test)]
mod tests;
