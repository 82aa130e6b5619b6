//! Limits, their defaults and their flags.

use std::time::Duration;

use lexopt::Parser;

use crate::common::{self, Failure, Limit};
use crate::http::framing::most_headers;

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of a request's head.
    pub(crate) head: usize,
    /// Bytes of the target in it.
    pub(crate) target: usize,
    /// Header fields in it.
    pub(crate) headers: usize,
    pub(crate) header_time: Duration,
    /// Without a byte of a body that is to come.
    pub(crate) body_time: Duration,
    /// For one address.
    pub(crate) connect_time: Duration,
    /// For the lookup, and then for a connection that is free.
    pub(crate) wait_time: Duration,
    /// Without a byte of an answer.
    pub(crate) answer_time: Duration,
    /// Without a byte in either direction of a tunnel.
    pub(crate) tunnel_time: Duration,
    /// Without the other side taking a byte.
    pub(crate) send_time: Duration,
    /// Between two requests of a client.
    pub(crate) idle_time: Duration,
    /// Between two requests to a server.
    pub(crate) upstream_idle_time: Duration,
    /// Connections of one client.
    pub(crate) per_peer: u32,
    /// Requests a second of all clients; 0 means any number.
    pub(crate) rate_all: u32,
    /// Connections to servers.
    pub(crate) upstreams: usize,
    pub(crate) per_upstream: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head: 16 * 1024,
            target: 8 * 1024,
            headers: 64,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(60),
            connect_time: Duration::from_secs(5),
            wait_time: Duration::from_secs(15),
            answer_time: Duration::from_secs(60),
            tunnel_time: Duration::from_secs(300),
            send_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(60),
            upstream_idle_time: Duration::from_secs(30),
            per_peer: 100,
            rate_all: 10_000,
            upstreams: 1024,
            per_upstream: 64,
        }
    }
}

impl Limits {
    /// Takes one flag. False if it is none of these.
    pub(crate) fn take(&mut self, flag: &str, parser: &mut Parser) -> Result<bool, Failure> {
        let name = format!("--{flag}");
        let whole = "a whole number";
        let time = |parser: &mut Parser| common::seconds(&name, parser, Limit::AboveZero);
        match flag {
            "max-head" => self.head = common::number(&name, parser, 64)?,
            "max-target" => self.target = common::number(&name, parser, 1)?,
            "max-headers" => self.headers = most_headers(&name, parser)?,
            "max-per-peer" => self.per_peer = common::value(&name, parser, whole)?,
            "rate-all" => self.rate_all = common::value(&name, parser, whole)?,
            "max-upstreams" => self.upstreams = common::number(&name, parser, 1)?,
            "max-per-upstream" => self.per_upstream = common::number(&name, parser, 1)?,
            "header-timeout" => self.header_time = time(parser)?,
            "body-timeout" => self.body_time = time(parser)?,
            "connect-timeout" => self.connect_time = time(parser)?,
            "wait-timeout" => self.wait_time = time(parser)?,
            "answer-timeout" => self.answer_time = time(parser)?,
            "tunnel-timeout" => self.tunnel_time = time(parser)?,
            "send-timeout" => self.send_time = time(parser)?,
            "upstream-idle-timeout" => self.upstream_idle_time = time(parser)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
