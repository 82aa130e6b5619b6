#![no_main]
#![allow(dead_code, reason = "of what is included a part is used")]

#[path = "../targets/cuts.rs"]
mod cuts;
#[path = "../targets/framing.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::target(data));
