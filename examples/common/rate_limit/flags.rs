//! The flags of a rate limit.

use std::net::SocketAddr;
use std::time::Duration;

use lexopt::{Parser, ValueExt};
use slabloop::Reactor;
use slabloop::kit::limits::Quota;

use super::common::{self, Failure, Limit};
use super::shared::{Settings, Shared};
use super::{RateLimit, limit_of, shared};

const DEFAULT_PORT: u16 = 6379;

#[derive(Clone, Debug)]
pub(crate) struct RateFlags {
    /// By which the processes of one program know each other.
    name: String,
    /// A second; 0 means no limit.
    rate: u32,
    /// That many, if it is not said.
    burst: Option<u32>,
    /// `HOST:PORT`.
    shared: Option<String>,
    wait: Duration,
    processes: u32,
}

impl RateFlags {
    /// With a program's name, and its rate if none is given.
    pub(crate) fn new(name: &str, rate: u32) -> RateFlags {
        RateFlags {
            name: name.to_owned(),
            rate,
            burst: None,
            shared: None,
            wait: Duration::from_millis(50),
            processes: 1,
        }
    }

    /// Takes one flag. False if it is none of these.
    pub(crate) fn take(&mut self, flag: &str, parser: &mut Parser) -> Result<bool, Failure> {
        let name = format!("--{flag}");
        match flag {
            "rate" => self.rate = common::value(&name, parser, "a whole number")?,
            "burst" => self.burst = Some(at_least_one(&name, parser)?),
            "shared-limit" => self.shared = Some(host_and_port(&parser.value()?.string()?)?),
            "shared-name" => self.name = parser.value()?.string()?,
            "shared-wait" => self.wait = common::seconds(&name, parser, Limit::AboveZero)?,
            "shared-by" => self.processes = at_least_one(&name, parser)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The limit, if there is one.
    pub(crate) fn build(&self, reactor: &mut Reactor) -> Result<Option<RateLimit>, Failure> {
        if self.rate == 0 {
            return match &self.shared {
                Some(_) => Err(Failure::Usage(
                    "--shared-limit: which limit? Give --rate, too".to_owned(),
                )),
                None => Ok(None),
            };
        }
        let burst = self.burst.unwrap_or(self.rate);
        let Some(server) = &self.shared else {
            let quota = Quota::per_second(self.rate).burst(burst);
            let limit = limit_of(quota, None);
            return limit.map(Some).map_err(Failure::io("--rate"));
        };
        let settings = Settings {
            server: server.clone(),
            addresses: addresses(server)?,
            name: self.name.clone(),
            rate: self.rate,
            burst,
            wait: self.wait,
        };
        // The part of one process: exactly so in the long run, and rounded up at once.
        let period = Duration::from_secs(self.processes.into());
        let quota = Quota::per(self.rate, period).burst(burst.div_ceil(self.processes));
        let shared = Shared::new(reactor, settings);
        let limit = shared.and_then(|shared| limit_of(quota, Some(shared)));
        let limit = limit.map_err(Failure::io("--shared-limit"))?;
        shared::start(&limit.0, reactor);
        Ok(Some(limit))
    }
}

fn at_least_one(name: &str, parser: &mut Parser) -> Result<u32, Failure> {
    let right = "a whole number of at least 1";
    match common::value(name, parser, right)? {
        0 => Err(Failure::Usage(format!("{name} 0: expected {right}"))),
        number => Ok(number),
    }
}

/// Of `redis://HOST:PORT`.
fn host_and_port(url: &str) -> Result<String, Failure> {
    let wrong = |why: &str| {
        Err(Failure::Usage(format!(
            "--shared-limit {url}: expected redis://HOST:PORT{why}"
        )))
    };
    if url.starts_with("rediss://") {
        return wrong("; this client does not speak TLS");
    }
    let Some(rest) = url.strip_prefix("redis://") else {
        return wrong("");
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return wrong(", without a database: it is number 0");
    }
    if rest.contains('@') {
        return wrong(", without a password: this client has none");
    }
    let is_bracketed = rest.starts_with('[');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !is_bracketed || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, port),
            Err(_) => return wrong(", with a port from 1 to 65535"),
        },
        _ => (rest, DEFAULT_PORT),
    };
    let is_address = !host.contains(':') || is_bracketed && host.ends_with(']');
    if host.is_empty() || port == 0 || !is_address {
        return wrong(", such as redis://192.0.2.7:6379 or redis://[2001:db8::7]:6379");
    }
    Ok(format!("{host}:{port}"))
}

fn addresses(server: &str) -> Result<Vec<SocketAddr>, Failure> {
    common::look_up("--shared-limit", server)
}
