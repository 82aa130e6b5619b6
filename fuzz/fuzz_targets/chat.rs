#![no_main]
#![allow(dead_code, reason = "of what is included a part is used")]

#[path = "../../examples/chat.rs"]
#[allow(dead_code, reason = "its main and its command line")]
mod chat;
#[path = "../targets/cuts.rs"]
mod cuts;
#[path = "../targets/chat.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::target(data));
