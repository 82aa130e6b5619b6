//! The fuzz target of the example `http_server`, without a fuzzer. (The others are in `fuzz.rs`.)

#![allow(dead_code, reason = "of the example a part is used")]

#[path = "../../fuzz/targets/cuts.rs"]
mod cuts;
#[path = "util/fuzzing.rs"]
mod fuzzing;
#[path = "../../fuzz/targets/http_server.rs"]
mod http_server;

include!("../../fuzz/modules/http_server.rs");

#[test]
fn http_server() {
    fuzzing::hunt("http_server", 300, http_server::target);
}
