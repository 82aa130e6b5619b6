//! Jobs on other threads by `kit::workers`.

use std::io;

use slabloop::kit::workers::{WorkerPanic, Workers};
use slabloop::{Context, Dispatcher, Reactor};

struct Chains {
    workers: Workers,
    left: u64,
    sum: u64,
    failure: Option<io::Error>,
}

impl Chains {
    fn next(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        let spawned = self
            .workers
            .spawn(cx, cx.id(), || increment(0), Chains::done);
        spawned.map(drop).map_err(io::Error::from)
    }

    fn done(&mut self, cx: &mut Context<'_>, answer: Result<u64, WorkerPanic>) -> io::Result<()> {
        self.sum += answer?;
        self.next(cx)
    }
}

impl Dispatcher for Chains {
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.failure = Some(error);
        cx.stop();
    }
}

fn increment(number: u64) -> u64 {
    std::hint::black_box(number) + 1
}

fn run(count: u64, chains: usize, threads: usize) -> io::Result<u64> {
    let mut reactor = Reactor::new()?;
    let workers = Workers::builder().threads(threads).queue(chains);
    let all = Chains {
        workers: workers.build(&mut reactor)?,
        left: count,
        sum: 0,
        failure: None,
    };
    let all = reactor.add_service(all)?;
    for _ in 0..chains {
        let _ = reactor.call(all, Chains::next);
    }
    reactor.run()?;
    let end = reactor.with(all, |all, _| (all.failure.take(), all.sum));
    match end {
        Some((None, sum)) => Ok(sum),
        Some((Some(failure), _)) => Err(failure),
        None => Err(io::Error::other("the chains have ended")),
    }
}

// The measuring frame.

use std::process::ExitCode;

use slabloop_toolkit_costs::frame;

fn main() -> ExitCode {
    frame::measure(|work| run(work.count, work.holders, work.shared))
}
