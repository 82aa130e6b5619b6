//! A token bucket for each key by governor, on tokio.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{Quota, RateLimiter};
use tokio::{runtime, task, time};

async fn serve(requests: impl Iterator<Item = u64>) -> (u64, u64) {
    let quota = Quota::per_second(NonZeroU32::new(100).expect("it is not 0"));
    let limiter = Arc::new(RateLimiter::keyed(quota));
    let forgets = Arc::clone(&limiter);
    let forgetting = task::spawn(async move {
        let mut interval = time::interval(Duration::from_secs(1));
        loop {
            interval.tick().await;
            forgets.retain_recent();
            forgets.shrink_to_fit();
        }
    });
    let (mut granted, mut refused) = (0, 0);
    for (number, key) in requests.enumerate() {
        if number % 64 == 0 {
            task::yield_now().await;
        }
        match limiter.check_key(&key) {
            Ok(()) => granted += 1,
            Err(_) => refused += 1,
        }
    }
    forgetting.abort();
    (granted, refused)
}

fn run(requests: impl Iterator<Item = u64>) -> io::Result<(u64, u64)> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    Ok(runtime.block_on(serve(requests)))
}

// The measuring frame.

use std::process::ExitCode;

use slabloop_toolkit_costs::frame;

fn main() -> ExitCode {
    frame::measure(|work| run(work.keys()).map(|(granted, refused)| granted + refused))
}
