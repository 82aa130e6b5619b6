//! Timers on tokio's current-thread runtime: a `Sleep` for each, in a box as a client would keep it.
//!
//! A `Sleep` is armed when it is first polled and cancelled when it is dropped. For firing each
//! gets a task, which is what tokio has to call back: waking and polling it is in the count, making
//! it is not. See `slabloop_peers::timers`.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use slabloop_peers::cli::{self, Result};
use slabloop_peers::timers::{Laps, Options};
use tokio::runtime;
use tokio::sync::Notify;
use tokio::time::{self, Sleep};

#[derive(Default)]
struct Shared {
    fired: AtomicUsize,
    done: Notify,
}

fn main() -> ExitCode {
    cli::run(|| {
        let options = Options::from_args()?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        runtime.block_on(time_timers(options))
    })
}

async fn time_timers(options: Options) -> Result<()> {
    let delays = options.delays();
    let mut armed: Vec<Pin<Box<Sleep>>> = Vec::with_capacity(options.timers);
    let mut laps = Laps::start()?;
    for delay in &delays {
        let mut sleep = Box::pin(time::sleep(*delay));
        // Nobody is to be woken: it will be cancelled.
        let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        armed.push(sleep);
    }
    laps.end("arm", options.timers)?;
    armed.drain(..options.cancel);
    laps.end("cancel", options.cancel)?;
    drop(armed);

    let shared = Arc::new(Shared::default());
    // Tasks come to arm their timers one by one, and those armed first must not fire meanwhile.
    let soon = time::Instant::now() + options.spread;
    for delay in delays {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            time::sleep_until(soon + delay).await;
            let fired = shared.fired.load(Ordering::Relaxed) + 1;
            shared.fired.store(fired, Ordering::Relaxed);
            if fired == options.timers {
                shared.done.notify_one();
            }
        });
    }
    // tokio comes back to this task after 61 others.
    for _ in 0..=options.timers / 61 {
        tokio::task::yield_now().await;
    }
    let early = shared.fired.load(Ordering::Relaxed);
    options.wait_until_due();
    options.wait_until_due();
    laps.restart()?;
    shared.done.notified().await;
    laps.end("fire", (options.timers - early).max(1))?;
    laps.report();
    Ok(())
}
