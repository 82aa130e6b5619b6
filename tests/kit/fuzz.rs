//! The fuzz targets of `fuzz/`, without a fuzzer: their corpus, and a bounded number of mutations of it. (That of the
//! example `http_server` is in `fuzz_http_server.rs`: its files and those of `http_proxy` have names in common.)

#![allow(dead_code, reason = "of the examples a part is used")]
#![allow(clippy::duplicate_mod, reason = "each example brings its `common`")]

#[path = "../../examples/chat.rs"]
#[allow(dead_code, reason = "its main and its command line")]
mod chat;
#[path = "../../fuzz/targets/cuts.rs"]
mod cuts;
#[path = "util/fuzzing.rs"]
mod fuzzing;
#[path = "../../examples/pipeline.rs"]
#[allow(dead_code, reason = "its main and its command line")]
mod pipeline;
#[path = "../sim/mod.rs"]
mod sim;
#[path = "../../fuzz/targets"]
mod targets {
    pub(crate) mod chat;
    pub(crate) mod framing;
    pub(crate) mod http_bodies;
    pub(crate) mod http_proxy_answers;
    pub(crate) mod http_proxy_requests;
    pub(crate) mod inspector_requests;
    pub(crate) mod pipeline;
    pub(crate) mod program;
    pub(crate) mod proxy_header;
    pub(crate) mod redis_answers;
    pub(crate) mod resolver_answers;
}

include!("../../fuzz/modules/http_proxy.rs");

use fuzzing::hunt;

#[test]
fn framing() {
    hunt("framing", 1500, targets::framing::target);
}

#[test]
fn program() {
    hunt("program", 40, targets::program::target);
}

#[test]
fn chat() {
    hunt("chat", 150, targets::chat::target);
}

#[test]
fn pipeline() {
    hunt("pipeline", 300, targets::pipeline::target);
}

#[test]
fn proxy_header() {
    hunt("proxy_header", 5000, targets::proxy_header::target);
}

#[test]
fn redis_answers() {
    hunt("redis_answers", 3000, targets::redis_answers::target);
}

#[test]
fn resolver_answers() {
    hunt("resolver_answers", 3000, targets::resolver_answers::target);
}

#[test]
fn inspector_requests() {
    hunt(
        "inspector_requests",
        1000,
        targets::inspector_requests::target,
    );
}

#[test]
fn http_bodies() {
    hunt("http_bodies", 2000, targets::http_bodies::target);
}

#[test]
fn http_proxy_requests() {
    hunt(
        "http_proxy_requests",
        2000,
        targets::http_proxy_requests::target,
    );
}

#[test]
fn http_proxy_answers() {
    hunt(
        "http_proxy_answers",
        2000,
        targets::http_proxy_answers::target,
    );
}
