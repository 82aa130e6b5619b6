//! In the place of the rate limit, for a program that is built without what it needs: its flags are known and refused.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use lexopt::Parser;
use slabloop::{Context, Dispatcher, Id, Reactor};

use super::common::Failure;

/// There is none.
#[derive(Clone)]
pub(crate) struct RateLimit(Infallible);

#[derive(Clone, Copy, Debug)]
pub(crate) struct RateFlags;

impl RateFlags {
    pub(crate) fn new(_: &str, _: u32) -> RateFlags {
        RateFlags
    }

    #[allow(clippy::unused_self, reason = "as where there is one")]
    pub(crate) fn take(&mut self, flag: &str, _: &mut Parser) -> Result<bool, Failure> {
        match flag {
            "rate" | "burst" | "shared-limit" | "shared-name" | "shared-wait" | "shared-by" => {
                Err(Failure::Usage(format!(
                    "--{flag}: built without rate limits; use cargo run --features examples"
                )))
            }
            _ => Ok(false),
        }
    }

    #[allow(clippy::unused_self, reason = "as where there is one")]
    pub(crate) fn build(&self, _: &mut Reactor) -> Result<Option<RateLimit>, Failure> {
        Ok(None)
    }
}

/// Why one is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exhausted {
    pub(crate) retry_after: Duration,
}

impl RateLimit {
    pub(crate) fn take<H: Dispatcher>(
        &self,
        _: &mut Context<'_>,
        _: IpAddr,
        _: Id<H>,
        _: impl FnOnce(&mut H, &mut Context<'_>, Result<(), Exhausted>) -> io::Result<()> + 'static,
    ) -> Option<Result<(), Exhausted>> {
        match self.0 {}
    }
}
