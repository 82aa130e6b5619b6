//! A server that sends a page which does not fit into the kernel's buffer, and what it asks the kernel for
//! meanwhile and afterwards.
//!
//! Chapter 7 of the book: `docs/book/07-writing.md`.
//!
//! ```text
//! cargo run --example book_07_big_writer
//! cargo run --example book_07_big_writer -- --rest keep --always-writable
//! cargo run --example book_07_big_writer -- --rest keep --always-writable --poller edge
//! ```

mod shared;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::event::{Timespec, epoll};
use shared::{Failure, QUIET, connect, cpu_time, listen_quietly, run, say};
use socket2::SockRef;

/// Bytes.
const PAGE: usize = 1_000_000;

#[derive(Clone, Copy)]
struct Options {
    /// Events are edge-triggered.
    edge: bool,
    /// What the kernel did not take is kept.
    keeps_the_rest: bool,
    /// The kernel is asked for writable all the time.
    always_writable: bool,
}

/// What a run has cost.
#[derive(Default)]
struct Calls {
    waits: usize,
    writes: usize,
    interests: usize,
}

struct Server {
    stream: TcpStream,
    epoll: OwnedFd,
    options: Options,
    /// Bytes that the kernel has not taken.
    outbox: Vec<u8>,
    asks_for_writable: bool,
    calls: Calls,
}

impl Server {
    fn new(stream: TcpStream, options: Options) -> io::Result<Server> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = interest(options.edge, options.always_writable);
        epoll::add(&epoll, &stream, epoll::EventData::new_u64(0), flags)?;
        Ok(Server {
            stream,
            epoll,
            options,
            outbox: Vec::new(),
            asks_for_writable: options.always_writable,
            calls: Calls::default(),
        })
    }

    /// One write, of all that waits.
    fn flush(&mut self) -> io::Result<()> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let before = self.outbox.len();
        self.calls.writes += 1;
        match self.stream.write(&self.outbox) {
            Ok(count) => drop(self.outbox.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.calls.writes == 1 {
            let taken = before - self.outbox.len();
            say(format!(
                "  write: {taken} bytes taken, {} left",
                self.outbox.len()
            ));
        }
        if !self.options.keeps_the_rest {
            // As `let _ = stream.write(page)` does.
            self.outbox.clear();
        }
        self.ask_for_writable(!self.outbox.is_empty())
    }

    /// Tells the kernel only if it does not know.
    fn ask_for_writable(&mut self, wanted: bool) -> io::Result<()> {
        if self.options.always_writable || wanted == self.asks_for_writable {
            return Ok(());
        }
        self.asks_for_writable = wanted;
        self.calls.interests += 1;
        let flags = interest(self.options.edge, wanted);
        epoll::modify(
            &self.epoll,
            &self.stream,
            epoll::EventData::new_u64(0),
            flags,
        )?;
        let now = if wanted { "on" } else { "off" };
        say(format!("    interest in writable: {now}"));
        Ok(())
    }

    /// Waits for an event, and writes if there is room. False if none came in time.
    fn turn(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut events = Vec::with_capacity(1);
        self.calls.waits += 1;
        epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref())?;
        let Some(event) = events.first() else {
            return Ok(false);
        };
        let flags = event.flags;
        if flags.contains(EventFlags::OUT) {
            self.flush()?;
        }
        Ok(true)
    }
}

fn interest(edge: bool, in_writable: bool) -> EventFlags {
    let mut flags = EventFlags::IN | EventFlags::RDHUP;
    flags.set(EventFlags::OUT, in_writable);
    flags.set(EventFlags::ET, edge);
    flags
}

/// A client that begins to read when it may. At the end of the page, or of the stream, it says how much it
/// has received. It gives its stream back, for a client that closes is an event for the server.
fn client(
    mut stream: TcpStream,
    begin: Receiver<()>,
) -> JoinHandle<io::Result<(usize, TcpStream)>> {
    thread::spawn(move || {
        let _ = begin.recv();
        let (mut buffer, mut received) = (vec![0; 64 * 1024], 0);
        while received < PAGE {
            match stream.read(&mut buffer)? {
                0 => break,
                count => received += count,
            }
        }
        Ok((received, stream))
    })
}

fn play(options: Options) -> Result<(), Failure> {
    let listener = listen_quietly()?;
    let (go, begin) = mpsc::channel();
    let client = client(connect(listener.local_addr()?)?, begin);
    let (accepted, _) = listener.accept()?;
    accepted.set_nonblocking(true)?;
    // As if the network were slow: little of the page fits.
    SockRef::from(&accepted).set_send_buffer_size(16 * 1024)?;
    let mut server = Server::new(accepted, options)?;

    say(format!(
        "a page of {PAGE} bytes, and a client that does not read yet"
    ));
    server.outbox.resize(PAGE, b'.');
    server.flush()?;
    say("  the client reads");
    let _ = go.send(());
    while !server.outbox.is_empty() {
        server.turn(None)?;
    }
    if !options.keeps_the_rest {
        // The server believes that all is sent.
        server.stream.shutdown(Shutdown::Write)?;
    }
    let (received, _open) = client.join().expect("no panic in the client")?;
    if received < PAGE {
        say(format!(
            "  the client has {received} bytes, and the end of the stream"
        ));
        return Ok(());
    }
    say(format!("  the client has {received} bytes, all of it"));
    let Calls {
        waits,
        writes,
        interests,
    } = server.calls;
    say(format!(
        "  {writes} of write, {waits} of epoll_wait, {interests} of epoll_ctl"
    ));
    sit_idle(&mut server)
}

/// The page is out, nothing is to be done, and no client sends anything.
fn sit_idle(server: &mut Server) -> Result<(), Failure> {
    // An event may be left that the last bytes have brought about.
    server.turn(Some(Duration::ZERO))?;
    server.calls = Calls::default();
    let (begun, worked) = (Instant::now(), cpu_time());
    let mut has_slept = false;
    while begun.elapsed() < QUIET {
        has_slept |= !server.turn(Some(QUIET))?;
    }
    let worked = (cpu_time() - worked).as_millis();
    let waits = server.calls.waits;
    say(format!("then {QUIET:?} without anything to do"));
    say(format!("  {waits} of epoll_wait, {worked} ms of CPU time"));
    say(if has_slept {
        "  it sleeps"
    } else {
        "  it spins"
    });
    Ok(())
}

/// A hundred small sends, counted and measured, each of them written at once and all of them together.
fn small_sends() -> Result<(), Failure> {
    const SENDS: usize = 100;
    const LINE: &[u8] = b"a line of 20 bytes.\n";
    let listener = listen_quietly()?;
    let mut client = connect(listener.local_addr()?)?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut received = vec![0; SENDS * LINE.len()];
    let (mut at_once, mut together) = (Duration::MAX, Duration::MAX);
    for _ in 0..200 {
        let begun = Instant::now();
        for _ in 0..SENDS {
            stream.write_all(LINE)?;
        }
        at_once = at_once.min(begun.elapsed());
        client.read_exact(&mut received)?;

        let begun = Instant::now();
        let mut outbox = Vec::new();
        for _ in 0..SENDS {
            outbox.extend_from_slice(LINE);
        }
        stream.write_all(&outbox)?;
        together = together.min(begun.elapsed());
        client.read_exact(&mut received)?;
    }
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    say(format!(
        "{SENDS} sends, {SENDS} calls of write: {:6.1} us",
        us(at_once)
    ));
    say(format!(
        "{SENDS} sends,   1 call of write:  {:6.1} us",
        us(together)
    ));
    Ok(())
}

const HELP: &str = "\
Sends a page that does not fit into the kernel's buffer. Brings its own client and ends.

Usage: book_07_big_writer [OPTIONS]

  --rest drop|keep      what becomes of bytes that the kernel did not take [drop]
  --always-writable     asks for writable all the time, and not only while something waits
  --poller level|edge   which kind of event epoll reports [level]
  --measure             what 100 small sends cost, each written at once and all together, and ends
  -h, --help            this text

Examples:
  book_07_big_writer --rest keep
  book_07_big_writer --rest keep --always-writable --poller edge
";

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let options = Options {
            edge: flags.one_of("--poller", &["level", "edge"])? == "edge",
            keeps_the_rest: flags.one_of("--rest", &["drop", "keep"])? == "keep",
            always_writable: flags.has("--always-writable"),
        };
        let measures = flags.has("--measure");
        flags.end()?;
        match measures {
            true => small_sends(),
            false => play(options),
        }
    })
}
