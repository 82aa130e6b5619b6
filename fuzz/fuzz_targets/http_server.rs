#![no_main]
#![allow(dead_code, reason = "of what is included a part is used")]

include!("../modules/http_server.rs");
#[path = "../targets/cuts.rs"]
mod cuts;
#[path = "../targets/http_server.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::target(data));
