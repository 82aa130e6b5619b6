// The example `http_server`, whose files name each other from the root on: this is included there.
#[path = "../../examples/http_server/access_log.rs"]
mod access_log;
#[path = "../../examples/http_server/admitting.rs"]
mod admitting;
#[path = "../../examples/http_server/answering.rs"]
mod answering;
#[path = "../../examples/http_server/cache.rs"]
mod cache;
#[path = "../../examples/common/mod.rs"]
mod common;
#[path = "../../examples/http_server/conditions.rs"]
mod conditions;
#[path = "../../examples/http_server/config.rs"]
mod config;
#[path = "../../examples/http_server/connection.rs"]
mod connection;
#[path = "../../examples/http_server/entry.rs"]
mod entry;
#[path = "../../examples/http_server/files.rs"]
mod files;
#[path = "../../examples/common/http/mod.rs"]
mod http;
#[path = "../../examples/http_server/input.rs"]
mod input;
#[path = "../../examples/http_server/open.rs"]
mod open;
#[path = "../../examples/common/rate_limit/mod.rs"]
mod rate_limit;
#[path = "../../examples/http_server/receiving.rs"]
mod receiving;
#[path = "../../examples/http_server/routes.rs"]
mod routes;
#[path = "../../examples/http_server/site.rs"]
mod site;
#[path = "../../examples/http_server/target.rs"]
mod target;

use http::{answer, body, date, deadlines, head};
