//! The ring on slabloop with both directions through the reactor: `recv` here, `send` on the
//! successor.
//!
//! Not quite what the other peers do: the writing ends are registered too, and a send waits in an
//! outbox until the turn's flush. It shows what the convenience costs, beside `slabloop_ring`, which writes with a plain call.

use std::cell::Cell;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use slabloop::{Context, Dispatcher, Id, Reactor};
use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::ring::{self, Options, Sockets};

/// The writing end of a pair, which has nothing to do by itself.
struct Writer;
impl Dispatcher for Writer {}

struct Pair {
    successor: Id<Writer>,
    seen: Rc<Cell<u64>>,
    wanted: u64,
}

impl Dispatcher for Pair {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut token = [0; 64];
        let n = cx.recv(&mut token)?;
        if let Some(mut successor) = cx.at(self.successor) {
            successor.send(&token[..n])?;
        }
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
    let Sockets { readers, writers } = Sockets::new(options)?;
    ring::kick(options, &writers)?;
    let mut reactor = Reactor::new()?;
    let mut ids = Vec::new();
    for writer in writers {
        ids.push(reactor.add(writer, Writer).doing("adding a writer")?);
    }
    let seen = Rc::new(Cell::new(0));
    for (index, reader) in readers.into_iter().enumerate() {
        let successor = ids[ring::next(index, options.pairs)];
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
