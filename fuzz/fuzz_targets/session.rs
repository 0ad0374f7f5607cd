//! A session with a hostile peer, or over a bad connection: see `cluster_abuse::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cluster_abuse::session::run(data));
