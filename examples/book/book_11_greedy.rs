//! One client that sends without a pause, and a hundred that ask for little.
//!
//! Chapter 11 of the book: `docs/book/11-fairness-and-floods.md`.
//!
//! ```text
//! cargo run --example book_11_greedy -- --drain-all
//! cargo run --example book_11_greedy
//! ```

mod shared;

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroU64;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;

use shared::{Failure, QUIET, run, say};
use slabloop::{Context, Dispatcher, Reactor};

/// What the server takes from the firehose with one call of `recv`.
const PIECE: usize = 16 * 1024;
const PINGERS: usize = 100;
/// How often each pinger asks while the firehose is silent.
const QUIET_ROUNDS: usize = 100;
const BURSTS: usize = 10;
/// How many pieces a burst has: 16 MB.
const BURST: u64 = 1000;
/// In a burst there is a ping each time that so many pieces have been read.
const PING_EVERY: u64 = 50;

/// The clients' ends of all connections. The clients live in the server's thread, so that the same happens
/// each time; and their clock is not one of seconds: it counts the pieces that the server has read.
struct Clients {
    firehose: UnixStream,
    /// Pieces of this burst that are not sent yet.
    unsent: u64,
    /// Pieces that are sent and not read yet.
    unread: u64,
    pingers: Vec<UnixStream>,
    next: usize,
    /// Which pinger waits for an answer, and since when.
    waiting: Vec<(usize, u64)>,
    clock: u64,
    /// How long each answer took.
    waits: Vec<u64>,
    firehose_calls: u64,
}

impl Clients {
    /// The server has read a piece. The firehose sends the next one at once; now and then a client pings.
    fn piece_is_read(&mut self) -> io::Result<()> {
        self.clock += 1;
        self.unread -= 1;
        self.keep_flowing()?;
        if self.clock % PING_EVERY == 0 {
            self.ping()?;
        }
        Ok(())
    }

    /// There are two pieces for the server to read, until the burst is over.
    fn keep_flowing(&mut self) -> io::Result<()> {
        while self.unsent > 0 && self.unread < 2 {
            self.firehose.write_all(&[b'w'; PIECE])?;
            self.unsent -= 1;
            self.unread += 1;
        }
        Ok(())
    }

    fn ping(&mut self) -> io::Result<()> {
        self.pingers[self.next].write_all(b"?")?;
        self.waiting.push((self.next, self.clock));
        self.next = (self.next + 1) % PINGERS;
        Ok(())
    }

    /// Takes the answers that are there.
    fn hear(&mut self) -> io::Result<()> {
        for (pinger, since) in std::mem::take(&mut self.waiting) {
            match self.pingers[pinger].read(&mut [0]) {
                Ok(_) => self.waits.push(self.clock - since),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.waiting.push((pinger, since));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        self.unsent + self.unread == 0 && self.waiting.is_empty()
    }
}

/// The server's end of the firehose.
struct Sink {
    /// How many pieces it reads in one callback.
    budget: u64,
    clients: Rc<RefCell<Clients>>,
}

impl Dispatcher for Sink {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.clients.borrow_mut().firehose_calls += 1;
        let mut buffer = [0; PIECE];
        for _ in 0..self.budget {
            cx.recv(&mut buffer)?;
            self.clients.borrow_mut().piece_is_read()?;
        }
        Ok(())
    }
}

/// The server's end of a pinger.
struct Pong;

impl Dispatcher for Pong {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv(&mut [0; 16])?;
        cx.send(b"!")
    }
}

fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (client, server) = UnixStream::pair()?;
    client.set_nonblocking(true)?;
    Ok((client, server))
}

/// Turns of the loop until everything is read and answered.
fn settle(reactor: &mut Reactor, clients: &RefCell<Clients>) -> io::Result<()> {
    while !clients.borrow().is_quiet() {
        reactor.turn(QUIET)?;
        clients.borrow_mut().hear()?;
    }
    Ok(())
}

fn serve(budget: u64) -> Result<(), Failure> {
    let mut reactor = Reactor::new()?;
    let (firehose, sink) = pair()?;
    let clients = Rc::new(RefCell::new(Clients {
        firehose,
        unsent: 0,
        unread: 0,
        pingers: Vec::new(),
        next: 0,
        waiting: Vec::new(),
        clock: 0,
        waits: Vec::new(),
        firehose_calls: 0,
    }));
    let its_clients = Rc::clone(&clients);
    reactor.add(
        sink,
        Sink {
            budget,
            clients: its_clients,
        },
    )?;
    for _ in 0..PINGERS {
        let (pinger, pong) = pair()?;
        clients.borrow_mut().pingers.push(pinger);
        reactor.add(pong, Pong)?;
    }

    for round in 0..QUIET_ROUNDS {
        for _ in 0..PINGERS {
            clients.borrow_mut().ping()?;
        }
        settle(&mut reactor, &clients)?;
        if round % (QUIET_ROUNDS / BURSTS) == 0 {
            clients.borrow_mut().unsent = BURST;
            clients.borrow_mut().keep_flowing()?;
            settle(&mut reactor, &clients)?;
        }
    }
    report(&mut clients.borrow_mut());
    Ok(())
}

fn report(clients: &mut Clients) {
    let (pieces, calls) = (clients.clock, clients.firehose_calls);
    let waits = &mut clients.waits;
    waits.sort_unstable();
    let count = waits.len();
    let average = waits.iter().sum::<u64>() as f64 / count as f64;
    let within = |per_cent: usize| waits[(count * per_cent).div_ceil(100) - 1];
    say(format!("firehose: {pieces} pieces read in {calls} calls"));
    say(format!("pingers:  {count} pings answered"));
    say("pieces read between a ping and its answer:");
    say(format!("  average {average:7.2}"));
    say(format!("  half    {:4}", within(50)));
    say(format!("  98 %    {:4}", within(98)));
    say(format!("  99 %    {:4}", within(99)));
    say(format!("  worst   {:4}", within(100)));
}

const HELP: &str = "\
A server with one client that sends bursts of 16 MB and a hundred that ask for little. The clients are its
own; it ends by itself.

Usage: book_11_greedy [OPTIONS]

  --drain-all   the firehose's callback reads until nothing is left
  --budget N    it reads N pieces of 16 KiB at most [1]
  -h, --help    this text

Examples:
  book_11_greedy --drain-all
  book_11_greedy --budget 8
";

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let budget = flags.value::<NonZeroU64>("--budget", "a number of pieces above 0")?;
        let drain_all = flags.has("--drain-all");
        flags.end()?;
        if drain_all && budget.is_some() {
            let text = "--budget and --drain-all exclude each other";
            return Err(Failure::Usage(text.to_owned()));
        }
        serve(match (drain_all, budget) {
            (true, _) => u64::MAX,
            (false, budget) => budget.map_or(1, NonZeroU64::get),
        })
    })
}
