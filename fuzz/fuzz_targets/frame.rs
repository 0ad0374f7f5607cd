//! One frame: see `cluster_abuse::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cluster_abuse::frame::run(data));
