//! A client that sends and never reads: where do the bytes wait, and who stops whom?
//!
//! Chapter 8 of the book: `docs/book/08-backpressure.md`.
//!
//! ```text
//! cargo run --example book_08_slow_client -- --unbounded
//! cargo run --example book_08_slow_client -- --no-pause
//! cargo run --example book_08_slow_client
//! ```

mod shared;

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use shared::{Failure, Flags, PATIENCE, connect, run, say};
use slabloop::{Accepted, Cause, Context, Dispatcher, Reactor};

/// What keeps the server's memory in bounds.
#[derive(Clone, Copy, PartialEq)]
enum Bound {
    /// The marks and the cap, as slabloop has them by default.
    Marks,
    /// The cap alone: the client is read, however much is queued for it.
    Cap,
    Nothing,
}

struct Listener(Bound);

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let id = cx.add(accepted, Echo)?;
        let mut echo = cx.at(id).expect("it was just added");
        if self.0 != Bound::Marks {
            echo.feeds_nobody();
        }
        if self.0 == Bound::Nothing {
            echo.set_marks(32 << 10, 64 << 10, u32::MAX as usize)?;
        }
        Ok(())
    }
}

struct Echo;

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        if let Some(cause @ Cause::OverCap { .. }) = cx.end_cause() {
            say(format!("the server closes the connection: {cause}"));
        }
    }
}

const MIB: usize = 1 << 20;

/// How often in a row nothing must move, with a wait of a millisecond each time, before the client counts as stopped.
const STILL: usize = 50;

/// The byte at this place of what the client sends.
fn byte(at: usize) -> u8 {
    (at % 251).to_le_bytes()[0]
}

/// A client that offers more and more, and a server, in one thread.
struct Scene {
    reactor: Reactor,
    client: TcpStream,
    sent: usize,
    back: usize,
}

impl Scene {
    fn new(bound: Bound) -> io::Result<Scene> {
        let mut reactor = Reactor::new()?;
        let listener = reactor.listen("127.0.0.1:0", Listener(bound))?;
        let address = reactor.local_addr(listener).expect("it listens");
        let client = connect(address)?;
        client.set_nonblocking(true)?;
        Ok(Scene {
            reactor,
            client,
            sent: 0,
            back: 0,
        })
    }

    /// Sends until `goal` bytes have been sent in all, or nothing moves any more.
    fn send_up_to(&mut self, goal: usize) -> io::Result<()> {
        let text: Vec<u8> = (0..251 * 256).map(byte).collect();
        let mut still = 0;
        while still < STILL {
            let before = self.moved();
            let start = self.sent % 251;
            let length = (goal - self.sent).min(text.len() - start);
            match self.client.write(&text[start..start + length]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The server has closed the connection.
                Err(_) => return Ok(()),
            }
            self.reactor.turn(Duration::from_millis(1))?;
            still = if self.moved() == before { still + 1 } else { 0 };
        }
        Ok(())
    }

    /// Bytes that the client has sent, and that the server has received and sent.
    fn moved(&self) -> (usize, u64, u64) {
        let counters = self.reactor.counters();
        (self.sent, counters.bytes_in, counters.bytes_out)
    }

    /// Reads all that comes back.
    fn read_all(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let deadline = Instant::now() + PATIENCE;
        while self.back < self.sent {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "not all bytes came back in {PATIENCE:?}"
                )));
            }
            self.reactor.turn(Duration::from_millis(1))?;
            match self.client.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    let right = (0..count).all(|at| buffer[at] == byte(self.back + at));
                    if !right {
                        return Err(io::Error::other("other bytes came back than were sent"));
                    }
                    self.back += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn row(&self, offered: usize) -> io::Result<String> {
        let queued = self.reactor.gauges().queued_bytes;
        let kernel = self.sent - queued - self.back;
        let figures = [offered, self.sent, kernel, queued, memory()?];
        let cells = figures.map(|bytes| format!("{:>10.1}", bytes as f64 / MIB as f64));
        Ok(cells.concat())
    }

    /// Where the bytes are that were sent and have not come back.
    fn say_where_they_wait(&self) -> Result<(), Failure> {
        let (own, other) = (self.client.local_addr()?, self.client.peer_addr()?);
        let (unsent, unread) = kernel_queues(own, other)?;
        let (server_unsent, server_unread) = kernel_queues(other, own)?;
        let queued = self.reactor.gauges().queued_bytes;
        for (place, bytes) in [
            ("the client's send buffer", unsent),
            ("the server's receive buffer", server_unread),
            ("the server's outbox", queued),
            ("the server's send buffer", server_unsent),
            ("the client's receive buffer", unread),
        ] {
            say(format!("  {place:<28}{:>6} KiB", bytes >> 10));
        }
        Ok(())
    }
}

/// How much memory this program has from the system, in bytes.
fn memory() -> io::Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    Ok(kib.unwrap_or(0) << 10)
}

/// What the kernel holds for the socket of a connection on this machine: bytes that the other end has not got, and
/// bytes that have not been read.
fn kernel_queues(own: SocketAddr, other: SocketAddr) -> Result<(usize, usize), Failure> {
    let name = |address: SocketAddr| format!("0100007F:{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp")?;
    let queues = table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it = words.get(1..3)? == [name(own), name(other)];
        let (unsent, unread) = is_it.then(|| words.get(4)?.split_once(':')).flatten()?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some((number(unsent)?, number(unread)?))
    });
    queues.ok_or_else(|| Failure::Work(format!("/proc/net/tcp does not list {own}")))
}

fn demo(bound: Bound, rows: usize, step: usize) -> Result<(), Failure> {
    let mut scene = Scene::new(bound)?;
    say("in MiB:  the client      in the       in the    memory of");
    say("   offers      sent      kernel      outbox  the program");
    for offered in (1..=rows).map(|row| row * step) {
        scene.send_up_to(offered)?;
        if scene.reactor.counters().closed > 0 {
            return Ok(());
        }
        say(scene.row(offered)?);
    }
    if bound == Bound::Marks {
        say("nothing moves; where the bytes are:");
        scene.say_where_they_wait()?;
        scene.read_all()?;
        say("the client reads: all of it comes back, in order");
    }
    Ok(())
}

const HELP: &str = "\
An echo server, and a client that sends and does not read. It prints where the bytes are.

Usage: book_08_slow_client [OPTIONS]

  --no-pause       the server reads on, however much is queued; the hard cap holds
  --unbounded      nor is there a hard cap
  --rows N         how often the client offers more [12]
  --step KIB       how much more, in KiB [2048]
  -h, --help       this text

Examples:
  book_08_slow_client --unbounded
  book_08_slow_client --no-pause
";

fn number(flags: &mut Flags, name: &str, default: usize) -> Result<usize, Failure> {
    let what = "a number from 1 to 10000";
    let number = flags.value(name, what)?.unwrap_or(default);
    match number {
        1..=10_000 => Ok(number),
        _ => Err(Failure::Usage(format!("{name} wants {what}, not {number}"))),
    }
}

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let bound = match (flags.has("--no-pause"), flags.has("--unbounded")) {
            (_, true) => Bound::Nothing,
            (true, false) => Bound::Cap,
            (false, false) => Bound::Marks,
        };
        let rows = number(&mut flags, "--rows", 12)?;
        let step = number(&mut flags, "--step", 2048)? << 10;
        flags.end()?;
        demo(bound, rows, step)
    })
}
