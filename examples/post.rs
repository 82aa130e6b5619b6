//! Threads that compute, and a loop that collects: closures posted to it by a `Handle`.
//!
//! Shows how a thread reaches a dispatcher: it has an id and a handle, posts a closure, and the closure runs on the
//! loop's thread with the dispatcher in hand, so nothing is locked. The queue of posts is short here; a thread that is
//! faster than the loop waits for a place. For a pool of threads with answers in order see `primes`.
//!
//! ```text
//! cargo run --release --example post
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. The page: `docs/how-to/threads.md`.

mod common;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use common::Failure;
use slabloop::{Context, Dispatcher, Handle, Id, Reactor};

/// How long a thread waits for a place in the queue before it takes the loop for stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each thread reports so many times.
const REPORTS: u64 = 10;

/// What the threads report to: a service, which is a dispatcher without a socket.
#[derive(Default)]
struct Sum {
    reports: u64,
    total: u64,
}

impl Sum {
    fn add(&mut self, part: u64) {
        self.reports += 1;
        self.total += part;
    }
}

impl Dispatcher for Sum {
    fn handle_close(&mut self, _: &mut Context<'_>) {
        common::say(&format!("reports={} total={}", self.reports, self.total));
    }
}

/// On a thread of its own.
fn compute(handle: &Handle, sum: Id<Sum>, numbers: std::ops::Range<u64>) {
    let step = (numbers.end - numbers.start) / REPORTS;
    for begin in numbers.step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let part: u64 = (begin..begin + step).sum();
        // On the loop's thread. The service may be gone by then: `with` says so by `None`.
        let report = move |reactor: &mut Reactor| {
            reactor.with(sum, |sum, _| sum.add(part));
        };
        if let Err(error) = handle.post_wait(report, PATIENCE) {
            log::error!("not reported: {error}");
            return;
        }
    }
    // The handle is dropped with this thread. When the last one is, `run` may return.
}

const HELP: &str = "\
Adds up numbers on threads, which post what they have to the loop.

Usage: post [OPTIONS]

  --threads N              how many threads, at most 100 [4]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  post --threads 2
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut threads = 4;
        common::flags(arguments, |flag, parser| {
            if flag == "--threads" {
                threads = common::number(flag, parser, 1)?;
            }
            Ok(flag == "--threads")
        })?;
        if threads > 100 {
            let text = format!("--threads {threads}: expected at most 100");
            return Err(Failure::Usage(text));
        }
        let reactor = Reactor::builder().post_capacity(4).build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        let sum = reactor.add_service(Sum::default());
        let sum = sum.map_err(Failure::io("cannot add a service"))?;
        for number in 0..threads as u64 {
            let handle = reactor.handle();
            let numbers = number * 1_000..(number + 1) * 1_000;
            thread::Builder::new()
                .spawn(move || compute(&handle, sum, numbers))
                .map_err(Failure::io("cannot start a thread"))?;
        }
        // Returns when no handle is left, for then nothing can be posted any more.
        reactor.run().map_err(Failure::io("the loop failed"))
    })
}
