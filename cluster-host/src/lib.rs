//! What every adapter of [`cluster_core`] for an operating system needs, apart from how it waits.
#![forbid(unsafe_code)]

pub mod keys;
