//! What a request may take, with its flags.

use std::time::Duration;

use lexopt::Parser;

use super::framing::most_headers;
use crate::common::{self, Failure, Limit};

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of a request's head.
    pub(crate) head: usize,
    /// Bytes of the target in it.
    pub(crate) target: usize,
    /// Header fields in it.
    pub(crate) headers: usize,
    /// Bytes of a body.
    pub(crate) body: u64,
    /// Requests of one connection; 0 means any number.
    pub(crate) requests: u64,
    pub(crate) header_time: Duration,
    pub(crate) body_time: Duration,
    pub(crate) request_time: Duration,
    pub(crate) send_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head: 16 * 1024,
            target: 8 * 1024,
            headers: 64,
            body: 64 * 1024 * 1024,
            requests: 1000,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(300),
            request_time: Duration::from_secs(600),
            send_time: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Takes one flag. False if it is none of these.
    pub(crate) fn take(&mut self, flag: &str, parser: &mut Parser) -> Result<bool, Failure> {
        let name = format!("--{flag}");
        let whole = "a whole number";
        match flag {
            "max-head" => self.head = common::number(&name, parser, 64)?,
            "max-target" => self.target = common::number(&name, parser, 1)?,
            "max-headers" => self.headers = most_headers(&name, parser)?,
            "max-body" => self.body = common::value(&name, parser, whole)?,
            "max-requests" => self.requests = common::value(&name, parser, whole)?,
            "header-timeout" => self.header_time = time(&name, parser)?,
            "body-timeout" => self.body_time = time(&name, parser)?,
            "request-timeout" => self.request_time = time(&name, parser)?,
            "send-timeout" => self.send_time = time(&name, parser)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn time(name: &str, parser: &mut Parser) -> Result<Duration, Failure> {
    common::seconds(name, parser, Limit::AboveZero)
}
