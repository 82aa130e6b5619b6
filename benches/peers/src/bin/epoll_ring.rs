//! The ring on raw epoll: the floor, with nothing between the program and the kernel.
//!
//! What a library adds to this is what it costs. See `slabloop_peers::ring` for the method.

use std::process::ExitCode;
use std::time::Instant;

use slabloop_peers::cli::{self, Result};
use slabloop_peers::ring::{self, Options, Sockets};
use slabloop_peers::sys::{self, Epoll, Interest};

fn main() -> ExitCode {
    cli::run(|| turn_ring(&Options::from_args()?))
}

fn turn_ring(options: &Options) -> Result<()> {
    let sockets = Sockets::new(options)?;
    let mut epoll = Epoll::new(1_024)?;
    for (index, reader) in sockets.readers.iter().enumerate() {
        epoll.add(reader, Interest::Read, index)?;
    }
    ring::kick(options, &sockets.writers)?;

    let mut seen = 0;
    let mut byte = [0];
    let start = Instant::now();
    while seen < options.events {
        for event in epoll.wait(None)? {
            let index = event.key();
            seen += sys::recv(&sockets.readers[index], &mut byte)? as u64;
            sys::send(&sockets.writers[ring::next(index, options.pairs)], &byte)?;
        }
    }
    ring::report(seen, start.elapsed());
    Ok(())
}
