#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::filters::check(data));
