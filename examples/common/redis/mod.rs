//! A client of Redis, for the examples that stand on one: any number of requests from any dispatchers, each answered
//! exactly once, over a few connections that pipeline; `examples/redis_client` is its command line. And a subscription, on a
//! connection of its own.

#![allow(dead_code, unused_imports, reason = "each example uses a part")]

mod client;
mod connection;
mod request;
mod resp;
mod server;
mod settings;
mod shared;
mod subscription;

pub(crate) use client::{Client, Connections, Gauges};
pub(crate) use connection::Connection;
pub(crate) use request::Outcome;
pub(crate) use resp::{Input, Refusal, Reply, Version, encode};
pub(crate) use server::{Login, Server};
pub(crate) use settings::Settings;
pub(crate) use subscription::{Heard, subscribe};
