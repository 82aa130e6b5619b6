//! The ring on calloop: a `Generic` source per pair, level-triggered as its documentation starts
//! out.
//!
//! What all callbacks need goes through the data that `dispatch` hands on, which is how calloop
//! does without shared ownership. See `slabloop_peers::ring` for the method.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Instant;

use calloop::generic::Generic;
use calloop::{EventLoop, Interest, Mode, PostAction};
use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::ring::{self, Options, Sockets};

struct Ring {
    writers: Vec<UnixStream>,
    seen: u64,
}

fn main() -> ExitCode {
    cli::run(|| turn_ring(&Options::from_args()?))
}

fn turn_ring(options: &Options) -> Result<()> {
    let Sockets { readers, writers } = Sockets::new(options)?;
    let mut event_loop = EventLoop::<Ring>::try_new().doing("making the event loop")?;
    for (index, reader) in readers.into_iter().enumerate() {
        let next = ring::next(index, options.pairs);
        let source = Generic::new(reader, Interest::READ, Mode::Level);
        let callback =
            move |_, reader: &mut calloop::generic::NoIoDrop<UnixStream>, ring: &mut Ring| {
                let mut byte = [0];
                ring.seen += (&**reader).read(&mut byte)? as u64;
                let _ = (&ring.writers[next]).write(&byte)?;
                Ok(PostAction::Continue)
            };
        event_loop
            .handle()
            .insert_source(source, callback)
            .doing("adding a source")?;
    }
    ring::kick(options, &writers)?;

    let mut ring = Ring { writers, seen: 0 };
    let start = Instant::now();
    while ring.seen < options.events {
        event_loop.dispatch(None, &mut ring).doing("dispatching")?;
    }
    ring::report(ring.seen, start.elapsed());
    Ok(())
}
