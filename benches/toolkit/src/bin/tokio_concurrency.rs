//! A limit on what is done at once by tokio's semaphore.

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio::{runtime, time};

async fn hold(limit: Rc<Semaphore>, left: Rc<Cell<u64>>) -> Result<u64, Box<dyn Error>> {
    let mut done = 0;
    while left.get() > 0 {
        left.set(left.get() - 1);
        let _permit = time::timeout(Duration::from_secs(5), limit.acquire()).await??;
        yield_now().await;
        done += 1;
    }
    Ok(done)
}

async fn work(count: u64, holders: usize, slots: usize) -> Result<u64, Box<dyn Error>> {
    let limit = Rc::new(Semaphore::new(slots));
    let left = Rc::new(Cell::new(count));
    let mut tasks = JoinSet::new();
    for _ in 0..holders {
        tasks.spawn_local(hold(Rc::clone(&limit), Rc::clone(&left)));
    }
    let mut done = 0;
    while let Some(outcome) = tasks.join_next().await {
        done += outcome??;
    }
    Ok(done)
}

fn run(count: u64, holders: usize, slots: usize) -> Result<u64, Box<dyn Error>> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    LocalSet::new().block_on(&runtime, work(count, holders, slots))
}

// The measuring frame.

use std::process::ExitCode;

use slabloop_toolkit_costs::frame;

fn main() -> ExitCode {
    frame::measure(|work| run(work.count, work.holders, work.shared))
}
