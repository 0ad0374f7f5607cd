//! Somebody in the middle of a handshake: see `cluster_abuse::handshake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cluster_abuse::handshake::run(data));
