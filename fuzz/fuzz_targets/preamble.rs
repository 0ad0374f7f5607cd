//! The first bytes of a stranger: see `cluster_abuse::preamble`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cluster_abuse::preamble::run(data));
