//! Jobs for tokio's `spawn_blocking`, awaited by tasks of a current-thread runtime. See `slabloop_peers::jobs`.
//!
//! ```text
//! cargo run --profile bench-peers -p slabloop-peers --bin tokio_jobs
//! ```

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;

use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::jobs::{self, Settings};
use slabloop_peers::posts::Watch;
use tokio::runtime;
use tokio::task::{LocalSet, spawn_blocking, spawn_local};

fn main() -> ExitCode {
    cli::run(|| {
        let settings = Settings::from_args()?;
        let runtime = runtime::Builder::new_current_thread()
            .max_blocking_threads(settings.threads)
            .build()?;
        LocalSet::new().block_on(&runtime, time_jobs(&settings))
    })
}

async fn time_jobs(settings: &Settings) -> Result<()> {
    let left = Rc::new(Cell::new(settings.jobs));
    let sum = Rc::new(Cell::new(0));
    let watch = Watch::start()?;
    let mut chains = Vec::new();
    for _ in 0..settings.chains {
        let (left, sum) = (Rc::clone(&left), Rc::clone(&sum));
        chains.push(spawn_local(async move {
            while left.get() > 0 {
                left.set(left.get() - 1);
                let answer = spawn_blocking(|| jobs::work(0)).await;
                sum.set(sum.get() + answer.expect("it does not panic"));
            }
        }));
    }
    for chain in chains {
        chain.await.doing("waiting for a chain")?;
    }
    settings.report(&watch, sum.get())
}
