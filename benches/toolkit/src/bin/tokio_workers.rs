//! Jobs on other threads by tokio's `spawn_blocking`.

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;

use tokio::runtime;
use tokio::task::{JoinSet, LocalSet, spawn_blocking};

async fn chain(left: Rc<Cell<u64>>) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    while left.get() > 0 {
        left.set(left.get() - 1);
        sum += spawn_blocking(|| increment(0)).await?;
    }
    Ok(sum)
}

fn increment(number: u64) -> u64 {
    std::hint::black_box(number) + 1
}

async fn work(count: u64, chains: usize) -> Result<u64, Box<dyn Error>> {
    let left = Rc::new(Cell::new(count));
    let mut tasks = JoinSet::new();
    for _ in 0..chains {
        tasks.spawn_local(chain(Rc::clone(&left)));
    }
    let mut sum = 0;
    while let Some(outcome) = tasks.join_next().await {
        sum += outcome??;
    }
    Ok(sum)
}

fn run(count: u64, chains: usize, threads: usize) -> Result<u64, Box<dyn Error>> {
    let runtime = runtime::Builder::new_current_thread()
        .max_blocking_threads(threads)
        .build()?;
    LocalSet::new().block_on(&runtime, work(count, chains))
}

// The measuring frame.

use std::process::ExitCode;

use slabloop_toolkit_costs::frame;

fn main() -> ExitCode {
    frame::measure(|work| run(work.count, work.holders, work.shared))
}
