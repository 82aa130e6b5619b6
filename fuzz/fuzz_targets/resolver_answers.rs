#![no_main]
#![allow(dead_code, reason = "of what is included a part is used")]

#[path = "../targets/resolver_answers.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::target(data));
