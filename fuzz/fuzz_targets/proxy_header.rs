#![no_main]
#![allow(dead_code, reason = "of what is included a part is used")]

include!("../modules/http_proxy.rs");
#[path = "../targets/proxy_header.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::target(data));
