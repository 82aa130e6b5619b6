//! The ring on tokio's current-thread runtime: a task per pair.
//!
//! `AsyncFd` and not tokio's `UnixStream`: after a full read the latter keeps believing that there
//! is more and finds out by a further `recv`. Here one byte is all there can be (see
//! `slabloop_peers::ring`), and only `AsyncFd` lets a program say so. That is in tokio's favour by
//! one system call an event.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::ring::{self, Options, Sockets};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime;
use tokio::sync::Notify;

struct Shared {
    writers: Vec<UnixStream>,
    seen: AtomicU64,
    wanted: u64,
    done: Notify,
}

fn main() -> ExitCode {
    cli::run(|| {
        let options = Options::from_args()?;
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(turn_ring(options))
    })
}

async fn turn_ring(options: Options) -> Result<()> {
    let Sockets { readers, writers } = Sockets::new(&options)?;
    let shared = Arc::new(Shared {
        writers,
        seen: AtomicU64::new(0),
        wanted: options.events,
        done: Notify::new(),
    });
    for (index, reader) in readers.into_iter().enumerate() {
        #[expect(
            deprecated,
            reason = "the successor is an unsafe function; a std stream keeps its promise"
        )]
        let reader =
            AsyncFd::with_interest(reader, Interest::READABLE).doing("registering a pair")?;
        tokio::spawn(pass_on(
            reader,
            ring::next(index, options.pairs),
            Arc::clone(&shared),
        ));
    }
    // Tasks that have not run by then find their token when they do; they run in the order of
    // spawning, and giving way this often is enough for all of them (tokio comes back after 61).
    for _ in 0..=options.pairs / 61 {
        tokio::task::yield_now().await;
    }
    ring::kick(&options, &shared.writers)?;

    let start = Instant::now();
    shared.done.notified().await;
    ring::report(shared.seen.load(Ordering::Relaxed), start.elapsed());
    Ok(())
}

async fn pass_on(
    reader: AsyncFd<UnixStream>,
    next: usize,
    shared: Arc<Shared>,
) -> std::io::Result<()> {
    let mut byte = [0];
    loop {
        let mut ready = reader.readable().await?;
        let n = reader.get_ref().read(&mut byte)? as u64;
        ready.clear_ready();
        let _ = (&shared.writers[next]).write(&byte)?;
        // One thread: a load and a store, not a locked addition.
        let seen = shared.seen.load(Ordering::Relaxed) + n;
        shared.seen.store(seen, Ordering::Relaxed);
        if seen == shared.wanted {
            shared.done.notify_one();
        }
    }
}
