//! The ring on bare mio: the floor of slabloop, which is built on it.
//!
//! See `slabloop_peers::ring` for the method, and for why one byte may be read where mio asks to
//! read until there is no more.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Instant;

use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};
use slabloop_peers::cli::{self, Result};
use slabloop_peers::ring::{self, Options, Sockets};

fn main() -> ExitCode {
    cli::run(|| turn_ring(&Options::from_args()?))
}

fn turn_ring(options: &Options) -> Result<()> {
    let sockets = Sockets::new(options)?;
    let mut readers: Vec<_> = sockets
        .readers
        .into_iter()
        .map(UnixStream::from_std)
        .collect();
    let writers = sockets.writers;

    let mut poll = Poll::new()?;
    for (index, reader) in readers.iter_mut().enumerate() {
        poll.registry()
            .register(reader, Token(index), Interest::READABLE)?;
    }
    ring::kick(options, &writers)?;

    let mut events = Events::with_capacity(1_024);
    let mut seen = 0;
    let mut byte = [0];
    let start = Instant::now();
    while seen < options.events {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Token(index) = event.token();
            seen += readers[index].read(&mut byte)? as u64;
            let _ = (&writers[ring::next(index, options.pairs)]).write(&byte)?;
        }
    }
    ring::report(seen, start.elapsed());
    Ok(())
}
