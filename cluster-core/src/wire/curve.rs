//! The curve, X25519: the only costly part of a handshake, so it is counted in tests.

use alloc::boxed::Box;

use curve25519_dalek::montgomery::MontgomeryPoint;
use snow::Error;
use snow::types::{Dh, Random};
use zeroize::Zeroize as _;

/// The public key that belongs to a private one.
pub(crate) fn public(private: &[u8; 32]) -> [u8; 32] {
    count();
    MontgomeryPoint::mul_base_clamped(*private).to_bytes()
}

fn shared(private: &[u8; 32], public: [u8; 32]) -> [u8; 32] {
    count();
    MontgomeryPoint(public).mul_clamped(*private).to_bytes()
}

/// A key pair in a handshake.
///
/// That of `snow` multiplies whenever it is given a private key, which for the static key is once per connection,
/// before the other side has said anything. This one is told the public key as well.
pub(crate) struct KeyPair {
    private: [u8; 32],
    public: [u8; 32],
    /// The public key of the only private key that it is ever given.
    known: [u8; 32],
}

impl KeyPair {
    /// Has no key yet. If it is given one, `known` is the public key of that.
    pub(crate) fn boxed(known: [u8; 32]) -> Box<dyn Dh> {
        Box::new(KeyPair { private: [0; 32], public: [0; 32], known })
    }
}

impl Dh for KeyPair {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, private: &[u8]) {
        if let Some(private) = private.first_chunk() {
            self.private = *private;
            self.public = self.known;
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        rng.try_fill_bytes(&mut self.private)?;
        self.public = public(&self.private);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.private
    }

    /// Refuses the few public keys with which every private key has the same result: nobody honest has one.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = public.first_chunk().ok_or(Error::Dh)?;
        let mut result = shared(&self.private, *public);
        if result == [0; 32] {
            return Err(Error::Dh);
        }
        out.first_chunk_mut().ok_or(Error::Dh).map(|out| *out = result)?;
        result.zeroize();
        Ok(())
    }
}

impl Drop for KeyPair {
    fn drop(&mut self) {
        self.private.zeroize();
    }
}

#[cfg(not(test))]
fn count() {}

#[cfg(test)]
std::thread_local! {
    static COUNT: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}

#[cfg(test)]
fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

/// How many multiplications this thread has done.
#[cfg(test)]
pub(crate) fn operations() -> u64 {
    COUNT.with(core::cell::Cell::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748, section 6.1.
    #[test]
    fn the_curve_is_that_of_rfc_7748() {
        let key = |text| crate::hex::decode::<32>(text).unwrap();
        let alice = key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = key("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(public(&alice), key("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
        assert_eq!(shared(&alice, bob), key("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"));
    }

    #[test]
    fn a_public_key_with_which_every_result_is_the_same_is_refused() {
        let pair = KeyPair { private: [7; 32], public: [0; 32], known: [0; 32] };
        let mut out = [0; 56];
        assert_eq!(pair.dh(&[0; 32], &mut out), Err(Error::Dh));
        assert_eq!(pair.dh(&public(&[8; 32]), &mut out), Ok(()));
    }

    #[test]
    fn a_key_that_is_known_costs_nothing() {
        let private = [3; 32];
        let mut pair = KeyPair { private: [0; 32], public: [0; 32], known: public(&private) };
        let before = operations();
        pair.set(&private);
        assert_eq!(operations(), before);
        assert_eq!(pair.pubkey(), public(&private));
    }
}
