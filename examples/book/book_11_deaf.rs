//! A server runs out of descriptors, and its listener goes deaf.
//!
//! Chapter 11 of the book: `docs/book/11-fairness-and-floods.md`.
//!
//! ```text
//! cargo run --example book_11_deaf
//! cargo run --example book_11_deaf -- --when-out retry
//! cargo run --example book_11_deaf -- --when-out reserve
//! ```

mod shared;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shared::{run, say};
use socket2::{Domain, SockAddr, Socket, Type};

const LISTENER: Token = Token(usize::MAX);

/// How often the server tries again while it has no descriptors; three such waits are long enough to see
/// that nothing comes.
const RETRY: Duration = Duration::from_millis(100);

/// What the server does when `accept` finds no descriptor.
#[derive(Clone, Copy, PartialEq)]
enum WhenOut {
    /// It waits for the next event.
    Forget,
    /// It tries again at once.
    Insist,
    /// It tries again when a connection closes, and after a while.
    Retry,
    /// It gives up a descriptor that it keeps in reserve, and closes the connection that it gets for it.
    Reserve,
}

struct Server {
    poll: Poll,
    listener: UnixListener,
    /// By the numbers of the clients.
    connections: Vec<Option<UnixStream>>,
    when_out: WhenOut,
    reserve: Option<File>,
    /// A client may be waiting for a descriptor.
    is_out: bool,
}

impl Server {
    fn new(path: &Path, when_out: WhenOut) -> io::Result<Server> {
        let poll = Poll::new()?;
        let mut listener = UnixListener::bind(path)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let reserve = match when_out {
            WhenOut::Reserve => Some(File::open("/dev/null")?),
            _ => None,
        };
        Ok(Server {
            poll,
            listener,
            connections: (0..10).map(|_| None).collect(),
            when_out,
            reserve,
            is_out: false,
        })
    }

    /// Events and callbacks until nothing comes any more.
    fn follow(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        let mut silent = 0;
        while silent < 3 {
            self.poll.poll(&mut events, Some(RETRY))?;
            if events.is_empty() {
                silent += 1;
                self.retry(None)?;
            }
            for event in &events {
                match event.token() {
                    LISTENER => {
                        say("  event for the listener");
                        self.accept_all(false)?;
                    }
                    Token(number) => self.close(number)?,
                }
            }
        }
        say("  no event");
        Ok(())
    }

    /// As the drain rule demands: until there is an error.
    fn accept_all(&mut self, quietly: bool) -> io::Result<()> {
        self.is_out = false;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.welcome(stream)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    self.is_out = true;
                    if !quietly {
                        say(format!("    accept: {error}"));
                    }
                    if !self.go_on()? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// No descriptors are left. Whether to go on accepting.
    fn go_on(&mut self) -> io::Result<bool> {
        match self.when_out {
            WhenOut::Forget | WhenOut::Retry => Ok(false),
            WhenOut::Insist => {
                let fails = (0..1000).filter(|_| self.listener.accept().is_err());
                say(format!(
                    "    accept, {} times more: the same",
                    fails.count()
                ));
                Ok(false)
            }
            WhenOut::Reserve => {
                self.reserve = None;
                let accepted = match self.listener.accept() {
                    Ok((mut stream, _)) => Some(number_of(&mut stream)?),
                    Err(_) => None,
                };
                self.reserve = Some(File::open("/dev/null")?);
                match accepted {
                    Some(number) => say(format!("    client {number} is accepted, and closed")),
                    None => say("    no client was waiting"),
                }
                Ok(accepted.is_some())
            }
        }
    }

    fn welcome(&mut self, mut stream: UnixStream) -> io::Result<()> {
        let number = number_of(&mut stream)?;
        say(format!("    client {number} is accepted"));
        let token = Token(number);
        self.poll
            .registry()
            .register(&mut stream, token, Interest::READABLE)?;
        self.connections[number] = Some(stream);
        Ok(())
    }

    /// The client has left: it sends nothing but its number.
    fn close(&mut self, number: usize) -> io::Result<()> {
        if self.connections[number].take().is_some() {
            say(format!(
                "  event for client {number}: its connection is closed"
            ));
            self.retry(Some("    a descriptor is free: once more"))?;
        }
        Ok(())
    }

    /// The listener was readable when descriptors ran out, and still is as far as is known.
    fn retry(&mut self, why: Option<&str>) -> io::Result<()> {
        if self.is_out && self.when_out == WhenOut::Retry {
            if let Some(why) = why {
                say(why);
            }
            self.accept_all(why.is_none())?;
        }
        Ok(())
    }
}

/// The first byte that a client sends is its number.
fn number_of(stream: &mut UnixStream) -> io::Result<usize> {
    let mut number = [0];
    stream.read_exact(&mut number)?;
    Ok(usize::from(number[0]))
}

/// The socket of a client, not connected yet: it takes its descriptor before there are none left.
fn client() -> io::Result<Socket> {
    Socket::new(Domain::UNIX, Type::STREAM, None)
}

fn connect(client: &mut Socket, path: &Path, number: u8) -> io::Result<()> {
    client.connect(&SockAddr::unix(path)?)?;
    client.write_all(&[number])
}

/// Leaves this process `count` descriptors, and no more. No privilege is needed to lower a limit.
fn leave(count: usize) -> io::Result<()> {
    let free = (0..count).map(|_| File::open("/dev/null"));
    let free: Vec<File> = free.collect::<io::Result<_>>()?;
    let last = free.iter().map(AsRawFd::as_raw_fd).max().unwrap_or(0);
    let limit = Rlimit {
        current: Some(last as u64 + 1),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn play(path: &Path, when_out: WhenOut) -> io::Result<()> {
    let mut server = Server::new(path, when_out)?;
    let mut clients = (1..=6).map(|_| client()).collect::<io::Result<Vec<_>>>()?;
    leave(3)?;
    say("clients 1 to 5 connect; the server has 3 descriptors left");
    for (client, number) in clients.iter_mut().zip(1..=5) {
        connect(client, path, number)?;
    }
    server.follow()?;
    say("client 1 leaves");
    clients[0].shutdown(std::net::Shutdown::Both)?;
    server.follow()?;
    say("client 6 connects");
    connect(&mut clients[5], path, 6)?;
    server.follow()?;
    let open = (1..=6).filter(|number| server.connections[*number].is_some());
    let open: Vec<String> = open.map(|number| number.to_string()).collect();
    say(format!("connected at the end: {}", open.join(", ")));
    Ok(())
}

/// Where the server listens.
struct TemporaryPath(PathBuf);

impl Drop for TemporaryPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const HELP: &str = "\
A server that runs out of descriptors. The clients are its own; it ends by itself.

Usage: book_11_deaf [OPTIONS]

  --when-out forget|insist|retry|reserve
                what the server does when there are none left: wait for the next event, try a thousand
                times more, try again when a connection closes (and after 100 ms), or give up a
                descriptor that it has in reserve [forget]
  -h, --help    this text

Examples:
  book_11_deaf --when-out retry
";

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let words = ["forget", "insist", "retry", "reserve"];
        let when_out = match flags.one_of("--when-out", &words)? {
            "forget" => WhenOut::Forget,
            "insist" => WhenOut::Insist,
            "retry" => WhenOut::Retry,
            _ => WhenOut::Reserve,
        };
        flags.end()?;
        let name = format!("book_11_deaf.{}", std::process::id());
        let path = TemporaryPath(std::env::temp_dir().join(name));
        play(&path.0, when_out)?;
        Ok(())
    })
}
