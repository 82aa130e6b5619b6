//! Jobs for slabloop's `kit::workers`. See `slabloop_peers::jobs`.
//!
//! ```text
//! cargo run --profile bench-peers -p slabloop-peers --bin slabloop_jobs
//! ```

use std::io;
use std::process::ExitCode;

use slabloop::kit::workers::Workers;
use slabloop::{Context, Dispatcher, Reactor};
use slabloop_peers::cli::{self, Result};
use slabloop_peers::jobs::{self, Settings};
use slabloop_peers::posts::Watch;

/// Spawns the next job of a chain when one has come back.
struct Chains {
    workers: Workers,
    left: u64,
    sum: u64,
}

impl Dispatcher for Chains {}

impl Chains {
    fn next(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        let work = || jobs::work(0);
        self.workers
            .spawn(cx, cx.id(), work, |chains: &mut Chains, cx, answer| {
                chains.sum += answer?;
                chains.next(cx)
            })?;
        Ok(())
    }
}

fn main() -> ExitCode {
    cli::run(|| time_jobs(&Settings::from_args()?))
}

fn time_jobs(settings: &Settings) -> Result<()> {
    let mut reactor = Reactor::new()?;
    let workers = Workers::builder().threads(settings.threads);
    let workers = workers
        .queue(usize::try_from(settings.chains).unwrap_or(usize::MAX))
        .build(&mut reactor)?;
    let chains = reactor.add_service(Chains {
        workers,
        left: settings.jobs,
        sum: 0,
    })?;
    let watch = Watch::start()?;
    for _ in 0..settings.chains {
        let spawned = reactor.with(chains, |chains, cx| chains.next(cx));
        spawned.expect("it is there")?;
    }
    reactor.run()?;
    let sum = reactor.with(chains, |chains, _| chains.sum);
    settings.report(&watch, sum.expect("it is there"))
}
