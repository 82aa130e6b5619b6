#![no_main]
#![allow(dead_code, reason = "of what is included a part is used")]

#[path = "../targets/cuts.rs"]
mod cuts;
#[path = "../targets/pipeline.rs"]
mod fuzzed;
#[path = "../../examples/pipeline.rs"]
#[allow(dead_code, reason = "its main and its command line")]
mod pipeline;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::target(data));
