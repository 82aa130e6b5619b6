//! A reader that takes four bytes for each event: right with one kind of event, stuck with the other.
//!
//! Chapter 4 of the book: `docs/book/04-edge-and-level.md`.
//!
//! ```text
//! cargo run --example book_04_stall
//! cargo run --example book_04_stall -- --trigger edge
//! cargo run --example book_04_stall -- --trigger edge --listen 127.0.0.1:7000     and nc 127.0.0.1 7000
//! ```

mod shared;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::event::{Timespec, epoll};
use shared::{Failure, QUIET, connect, listen, listen_quietly, run, say};

/// When a reader stops.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    /// After one read.
    Once,
    /// When the kernel has nothing more: `WouldBlock`.
    WouldBlock,
    /// When a read did not fill the buffer.
    ShortRead,
}

struct Reader {
    stream: TcpStream,
    until: Until,
    reads: usize,
    finished: bool,
}

impl Reader {
    fn new(stream: TcpStream, until: Until) -> Reader {
        Reader {
            stream,
            until,
            reads: 0,
            finished: false,
        }
    }

    /// Called for each event. The buffer is tiny, so that four bytes fill it.
    fn handle_read(&mut self) -> io::Result<()> {
        loop {
            let mut buffer = [0; 4];
            self.reads += 1;
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    say("    end of the stream");
                    self.finished = true;
                    return Ok(());
                }
                Ok(count) => {
                    let text = String::from_utf8_lossy(&buffer[..count]);
                    say(format!("    read {text:?}"));
                    let short = count < buffer.len() && self.until == Until::ShortRead;
                    if short || self.until == Until::Once {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// An epoll that watches one socket.
struct Watch(OwnedFd);

impl Watch {
    fn new(stream: &TcpStream, edge: bool) -> io::Result<Watch> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut flags = EventFlags::IN | EventFlags::RDHUP;
        flags.set(EventFlags::ET, edge);
        epoll::add(&epoll, stream, epoll::EventData::new_u64(0), flags)?;
        Ok(Watch(epoll))
    }

    /// Whether an event came in time.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut events = Vec::with_capacity(1);
        epoll::wait(&self.0, spare_capacity(&mut events), timeout.as_ref())?;
        Ok(!events.is_empty())
    }
}

/// Events and reads until nothing comes any more.
fn follow(watch: &Watch, reader: &mut Reader) -> io::Result<()> {
    while !reader.finished {
        if !watch.wait(Some(QUIET))? {
            say("  no event");
            return Ok(());
        }
        say("  event");
        reader.handle_read()?;
    }
    Ok(())
}

fn demo(edge: bool, until: Until, closing: bool) -> Result<(), Failure> {
    let listener = listen_quietly()?;
    let mut client = connect(listener.local_addr()?)?;
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    let watch = Watch::new(&stream, edge)?;
    let mut reader = Reader::new(stream, until);

    for text in ["twelve bytes", "!"] {
        say(format!("client sends {text:?}"));
        client.write_all(text.as_bytes())?;
        follow(&watch, &mut reader)?;
    }
    if closing {
        say("client sends \"bye\" and closes");
        client.write_all(b"bye")?;
        client.shutdown(Shutdown::Both)?;
        follow(&watch, &mut reader)?;
        if !reader.finished {
            say("the server has not seen the end, and never will");
        }
    }
    let mut left = vec![0; 64];
    let left = reader.stream.peek(&mut left).unwrap_or(0);
    say(format!(
        "{} calls of read; {left} bytes still unread",
        reader.reads
    ));
    Ok(())
}

/// One client after the other, typed by hand.
fn serve(listener: &TcpListener, edge: bool, until: Until) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        let watch = Watch::new(&stream, edge)?;
        let mut reader = Reader::new(stream, until);
        while !reader.finished && watch.wait(None)? {
            say("  event");
            if let Err(error) = reader.handle_read() {
                say(format!("  {error}"));
                break;
            }
        }
    }
}

const HELP: &str = "\
A reader that takes four bytes for each event.

Usage: book_04_stall [OPTIONS]

  --trigger level|edge          which kind of event epoll reports [level]
  --until once|would-block|short-read
                                when the reader stops reading [once]
  --close                       the client of its own says goodbye at the end
  --listen HOST:PORT            serves you, one client at a time, in place of a client of its own
  -h, --help                    this text

Examples:
  book_04_stall --trigger edge
  book_04_stall --trigger edge --until would-block --close
";

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let edge = flags.one_of("--trigger", &["level", "edge"])? == "edge";
        let until = match flags.one_of("--until", &["once", "would-block", "short-read"])? {
            "once" => Until::Once,
            "would-block" => Until::WouldBlock,
            _ => Until::ShortRead,
        };
        let closing = flags.has("--close");
        let address = flags.value::<SocketAddr>("--listen", "an address such as 127.0.0.1:0")?;
        flags.end()?;
        match address {
            None => demo(edge, until, closing),
            Some(address) => Ok(serve(&listen(address)?, edge, until)?),
        }
    })
}
