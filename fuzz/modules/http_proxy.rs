// What the example `http_proxy` reads and writes heads with; its files name each other from the root on.
#[path = "../../examples/common/mod.rs"]
mod common;
#[path = "../../examples/http_proxy/config.rs"]
mod config;
#[path = "../../examples/http_proxy/hops.rs"]
mod hops;
#[path = "../../examples/common/http/mod.rs"]
mod http;
#[path = "../../examples/http_proxy/policy.rs"]
mod policy;
#[path = "../../examples/http_proxy/refusal.rs"]
mod refusal;
#[path = "../../examples/http_proxy/reply.rs"]
mod reply;
#[path = "../../examples/http_proxy/request.rs"]
mod request;
#[path = "../../examples/http_proxy/target.rs"]
mod target;
