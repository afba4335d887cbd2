#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| felund_fuzz_targets::frames::run(data));
