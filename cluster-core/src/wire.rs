//! The bytes on the wire: preamble, records, frames. PROTOCOL.md is the specification.
//!
//! ```text
//! channel.rs      who says what when: the handshake, then frames
//! ├ preamble.rs   the first twelve bytes of either side, frozen for all versions
//! ├ hello.rs      the three messages of the handshake in plain mode
//! ├ noise.rs      the same in secure mode
//! │ └ curve.rs    key pairs
//! ├ record.rs     bytes received -> records        output.rs   frames -> records to be written
//! │ └ cipher.rs   what protects a record
//! └ codec.rs      frame <-> CBOR array
//!   ├ field.rs    the elements of those arrays
//!   └ item.rs     CBOR heads, and the walk that checks an item before anything is built from it
//! ```

#[cfg(test)]
pub(crate) mod arbitrary;
pub(crate) mod cipher;
pub(crate) mod codec;
pub(crate) mod curve;
mod error;
mod field;
mod frame;
pub(crate) mod head;
pub(crate) mod hello;
mod item;
mod name;
pub(crate) mod noise;
pub(crate) mod output;
pub(crate) mod preamble;
pub(crate) mod record;
mod reject;
mod suite;

pub use error::FrameError;
pub use frame::{
    Accept, Ack, Announce, Claim, Close, Data, Digest, Entry, Frame, List, Offer, PeerStream, Profile, Reject, Resume,
    StreamId, Update,
};
pub use name::{Name, ParseNameError};
pub use preamble::VERSIONS;
pub use reject::RejectCode;
pub use suite::Suite;
