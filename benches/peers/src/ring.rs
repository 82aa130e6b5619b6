//! The ring: socket pairs in a circle, and a few tokens of one byte that run round it.
//!
//! The method is that of libevent's own benchmark: a callback reads one byte from its pair and
//! writes one to the next pair, so an event costs one read, one write and whatever the loop adds.
//! Since nothing else happens, this is where a loop's own cost can be counted to the instruction,
//! and by the number of pairs one sees whether that cost follows the sockets that are active or all
//! that are registered.
//!
//! *Why tokens stay apart.* A loop that is told of edges only must not leave a byte behind, or it
//! is never told again. Tokens start at least two pairs apart ([`Options`] insists), and epoll
//! hands out ready sockets first come, first served: a token can't overtake or reach the one ahead
//! before that has moved on. So a socket never holds more than one byte, and reading one byte
//! empties it.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::cli::{self, Doing, Result};

const FLAGS: &str = "--pairs N, --tokens T and --events M";

/// How large a ring, and how long a run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Socket pairs in the ring.
    pub pairs: usize,
    /// Bytes that travel at the same time.
    pub tokens: usize,
    /// Events to wait for; a run ends with the turn that reaches them.
    pub events: u64,
}

impl Options {
    /// Takes the options from the command line.
    ///
    /// # Errors
    ///
    /// Unknown flags, unusable values, and more tokens than half the pairs.
    pub fn from_args() -> Result<Self> {
        let mut options = Options {
            pairs: 1_000,
            tokens: 100,
            events: 100_000,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(flag) = cli::next_flag(&mut parser)? {
            let expected = "a whole number";
            match flag.as_str() {
                "pairs" => options.pairs = cli::value(&mut parser, &flag, expected)?,
                "tokens" => options.tokens = cli::value(&mut parser, &flag, expected)?,
                "events" => options.events = cli::value(&mut parser, &flag, expected)?,
                _ => return Err(cli::unknown(&flag, FLAGS)),
            }
        }
        if options.pairs < 2 {
            return Err(cli::wrong("pairs", options.pairs, "a number of at least 2"));
        }
        if options.tokens == 0 || options.tokens > options.pairs / 2 {
            let expected = format!("between 1 and {}, half of --pairs", options.pairs / 2);
            return Err(cli::wrong("tokens", options.tokens, &expected));
        }
        if options.events == 0 {
            return Err(cli::wrong("events", 0, "a number of at least 1"));
        }
        Ok(options)
    }
}

/// The two ends of every pair: what is written to `writers[i]` is read from `readers[i]`.
#[derive(Debug)]
pub struct Sockets {
    /// The ends to register and read.
    pub readers: Vec<UnixStream>,
    /// The ends to write to.
    pub writers: Vec<UnixStream>,
}

impl Sockets {
    /// Makes the pairs, all non-blocking.
    ///
    /// # Errors
    ///
    /// Most likely for want of descriptors, with the number of the pair.
    pub fn new(options: &Options) -> Result<Self> {
        let mut sockets = Sockets {
            readers: Vec::new(),
            writers: Vec::new(),
        };
        for number in 0..options.pairs {
            let (reader, writer) =
                UnixStream::pair().doing(format!("socket pair {number} of {}", options.pairs))?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            sockets.readers.push(reader);
            sockets.writers.push(writer);
        }
        Ok(sockets)
    }
}

/// Sets the tokens off, evenly spread. To be called once every reader is registered.
///
/// # Errors
///
/// The first write that fails.
pub fn kick<W>(options: &Options, writers: &[W]) -> Result<()>
where
    for<'a> &'a W: Write,
{
    for token in 0..options.tokens {
        let mut writer = &writers[token * options.pairs / options.tokens];
        writer.write_all(b"t").doing("sending a token off")?;
    }
    Ok(())
}

/// The reader after number `index`.
#[must_use]
pub fn next(index: usize, pairs: usize) -> usize {
    // A branch that is nearly always taken the same way; a division would show in the count.
    if index + 1 == pairs { 0 } else { index + 1 }
}

/// Prints the one line that the runner reads.
pub fn report(events: u64, elapsed: Duration) {
    let ns_per_event = elapsed.as_nanos() as f64 / events as f64;
    println!("events={events} ns_per_event={ns_per_event:.1}");
}
