#![no_main]
#![allow(dead_code, reason = "of what is included a part is used")]

#[path = "../targets/program.rs"]
mod fuzzed;
#[path = "../../tests/sim/mod.rs"]
mod sim;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::target(data));
