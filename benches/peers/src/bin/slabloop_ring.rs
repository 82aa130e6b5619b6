//! The ring on slabloop: a dispatcher per pair, which reads through the reactor and writes to its
//! successor with a plain call, as all other peers do.
//!
//! The reading side must be the reactor's, because its cache of readiness has to see every read.
//! Room for more bytes than one where one arrives, as in any real program: a short read tells the
//! reactor that the socket is empty, a full one would make it look again. `slabloop_outbox_ring` is the
//! same ring with writing through the reactor as well.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use slabloop::{Context, Dispatcher, Reactor};
use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::ring::{self, Options, Sockets};

struct Pair {
    successor: UnixStream,
    seen: Rc<Cell<u64>>,
    wanted: u64,
}

impl Dispatcher for Pair {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut token = [0; 64];
        let n = cx.recv(&mut token)?;
        let _ = self.successor.write(&token[..n])?;
        self.seen.set(self.seen.get() + n as u64);
        if self.seen.get() >= self.wanted {
            cx.stop();
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    cli::run(|| turn_ring(&Options::from_args()?))
}

fn turn_ring(options: &Options) -> Result<()> {
    let Sockets {
        readers,
        mut writers,
    } = Sockets::new(options)?;
    // Before the writers move into the dispatchers; a socket that is readable when it is registered
    // is reported like any other.
    ring::kick(options, &writers)?;
    // Pair 0 writes to number 1, and so on round to the last, which writes to number 0.
    writers.rotate_left(1);

    let mut reactor = Reactor::new()?;
    let seen = Rc::new(Cell::new(0));
    for (reader, successor) in readers.into_iter().zip(writers) {
        let pair = Pair {
            successor,
            seen: Rc::clone(&seen),
            wanted: options.events,
        };
        reactor.add(reader, pair).doing("adding a pair")?;
    }
    let start = Instant::now();
    reactor.run()?;
    ring::report(seen.get(), start.elapsed());
    Ok(())
}
