//! Records: see `cluster_abuse::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cluster_abuse::record::run(data));
