//! What hostile bytes may do to a node, and what they may not: the bodies of the fuzz targets, as ordinary functions.
//! Each takes any bytes and panics if a promise of `cluster-core` is broken. The programs in `fuzz/` feed them with what
//! a fuzzer makes up; this crate's own tests replay what fuzzers found before, on any toolchain.
//!
//! ```
//! for target in cluster_abuse::TARGETS {
//!     (target.run)(b"GET / HTTP/1.1\r\n\r\n");
//! }
//! ```
//!
//! # Map
//!
//! | what may be hostile | | what is promised |
//! |---|---|---|
//! | the bytes of a stranger | [`preamble`] | judged as PROTOCOL.md says, and in secure mode never answered |
//! | somebody in the middle | [`handshake`] | nobody is connected by altered bytes |
//! | records, cut and altered | [`record`] | what was written, in its order, or an error |
//! | a frame | [`mod@frame`] | one meaning, within its limits |
//! | members | [`node`] | bounded tables, events in order, an outcome for every message |
//! | one peer, and the connection to it | [`session`] | the true outcome; nothing lost, nothing twice |
//!
//! What they are made of: [`tape`], bytes as a script; [`draw`], frames that are nearly right; [`channels`] and
//! [`driver`], which run the real thing and check what always holds. [`seeds`] makes the first inputs.

pub mod channels;
pub mod draw;
pub mod driver;
pub mod frame;
pub mod handshake;
pub mod node;
pub mod preamble;
pub mod record;
pub mod seeds;
pub mod session;
pub mod tape;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its program, and of its folder of inputs.
    pub name: &'static str,
    /// Takes any bytes, and panics if a promise is broken.
    pub run: fn(&[u8]),
    /// The longest input that makes sense.
    pub max_len: usize,
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "record", run: record::run, max_len: 4_096 },
    Target { name: "preamble", run: preamble::run, max_len: 2_200 },
    Target { name: "handshake", run: handshake::run, max_len: 512 },
    Target { name: "frame", run: frame::run, max_len: 16_384 },
    Target { name: "node", run: node::run, max_len: 2_048 },
    Target { name: "session", run: session::run, max_len: 1_024 },
];
