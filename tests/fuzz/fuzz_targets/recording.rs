//! libFuzzer's way into the target.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tlskeytop_fuzz::recording::run(bytes));
