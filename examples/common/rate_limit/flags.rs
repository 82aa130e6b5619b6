//! The flags of a rate limit.

use std::ffi::OsString;
use std::time::Duration;

use lexopt::{Parser, ValueExt};
use slabloop::Reactor;
use slabloop::kit::limits::Quota;

use super::common::{self, Failure, Limit};
use super::shared::{Settings, Shared};
use super::{RateLimit, limit_of, redis, shared};

#[derive(Clone, Debug)]
pub(crate) struct RateFlags {
    /// By which the processes of one program know each other.
    name: String,
    /// A second; 0 means no limit.
    rate: u32,
    /// That many, if it is not said.
    burst: Option<u32>,
    shared: Option<redis::Server>,
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
            "shared-limit" => self.shared = Some(redis(parser.value()?)?),
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
            addresses: common::look_up("--shared-limit", &server.name)?,
            server: server.clone(),
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

fn redis(url: OsString) -> Result<redis::Server, Failure> {
    redis::Server::of(url).map_err(|why| Failure::Usage(format!("--shared-limit: {why}")))
}
