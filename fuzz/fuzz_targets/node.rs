//! A node among hostile members: see `cluster_abuse::node`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cluster_abuse::node::run(data));
