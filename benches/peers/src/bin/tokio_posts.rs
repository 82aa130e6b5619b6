//! Posts to tokio's current-thread runtime: boxed closures through an unbounded channel, which one
//! task runs. See `slabloop_peers::posts`.
//!
//! Spawning a task for each from the other thread is the alternative, and costs more.

use std::process::ExitCode;
use std::thread;

use slabloop_peers::cli::{self, Result};
use slabloop_peers::posts::{self, Watch};
use tokio::runtime;
use tokio::sync::mpsc;

type Job = Box<dyn FnOnce() + Send>;

fn main() -> ExitCode {
    cli::run(|| {
        let count = posts::count_from_args()?;
        runtime::Builder::new_current_thread()
            .build()?
            .block_on(time_posts(count))
    })
}

async fn time_posts(count: usize) -> Result<()> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<Job>();
    let watch = Watch::start()?;
    let poster = thread::spawn(move || {
        let refused = (0..count).find(|&number| {
            let job = Box::new(move || posts::run(number));
            sender.send(job).is_err()
        });
        assert!(refused.is_none(), "the receiver lives as long as the loop");
    });
    while let Some(job) = receiver.recv().await {
        job();
    }
    watch.report(count)?;
    drop(poster.join());
    Ok(())
}
