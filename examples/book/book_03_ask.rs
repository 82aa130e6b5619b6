//! An echo server that sleeps until the kernel says which of its sockets are ready.
//!
//! Chapter 3 of the book: `docs/book/03-ask-the-kernel.md`.
//!
//! ```text
//! cargo run --example book_03_ask
//! cargo run --example book_03_ask -- --demo
//! cargo run --example book_03_ask -- --demo --write
//! ```

mod shared;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::process::{Resource, getrlimit, setrlimit};
use shared::{
    Failure, QUIET, connect, cpu_time, listen, listen_quietly, median_of_200_echoes, run, say,
};

static WAITS: AtomicU64 = AtomicU64::new(0);

/// The question, in two forms.
enum Kernel {
    Poll,
    Epoll(OwnedFd),
}

/// One line of the answer: the name of a socket, and what it is ready for.
struct Event {
    name: usize,
    readable: bool,
    writable: bool,
}

enum Socket {
    Listener(TcpListener),
    Client(TcpStream),
    Idle(UnixDatagram),
}

struct Server {
    kernel: Kernel,
    /// The index is the name.
    sockets: Vec<Option<Socket>>,
    /// Whether clients are also asked about room for writing.
    write: bool,
    is_silent: bool,
}

impl Kernel {
    fn new(which: &str) -> io::Result<Kernel> {
        Ok(match which {
            "poll" => Kernel::Poll,
            _ => Kernel::Epoll(epoll::create(epoll::CreateFlags::CLOEXEC)?),
        })
    }

    /// Epoll wants to know each socket once; poll is shown all of them at each question.
    fn add(&self, name: usize, socket: &Socket, write: bool) -> io::Result<()> {
        if let Kernel::Epoll(epoll) = self {
            let mut flags = EventFlags::IN;
            flags.set(EventFlags::OUT, write);
            let name = epoll::EventData::new_u64(name as u64);
            epoll::add(epoll, socket, name, flags)?;
        }
        Ok(())
    }
}

impl Server {
    fn new(which: &str, write: bool) -> io::Result<Server> {
        let kernel = Kernel::new(which)?;
        Ok(Server {
            kernel,
            sockets: Vec::new(),
            write,
            is_silent: false,
        })
    }

    fn add(&mut self, socket: Socket) -> io::Result<usize> {
        let name = self.sockets.len();
        self.kernel
            .add(name, &socket, self.asks_to_write(&socket))?;
        self.sockets.push(Some(socket));
        Ok(name)
    }

    /// Sleeps until a socket is ready, or until the time is over.
    fn ask(&self, timeout: Option<Duration>) -> io::Result<Vec<Event>> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match &self.kernel {
            Kernel::Poll => self.ask_poll(timeout.as_ref()),
            Kernel::Epoll(epoll) => ask_epoll(epoll, timeout.as_ref()),
        }
    }

    fn ask_poll(&self, timeout: Option<&Timespec>) -> io::Result<Vec<Event>> {
        let (mut names, mut asked) = (Vec::new(), Vec::new());
        for (name, socket) in self.sockets.iter().enumerate() {
            let Some(socket) = socket else { continue };
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, self.asks_to_write(socket));
            names.push(name);
            asked.push(PollFd::new(socket, flags));
        }
        poll(&mut asked, timeout)?;
        let mut events = Vec::new();
        for (name, asked) in names.into_iter().zip(asked) {
            let flags = asked.revents();
            if !flags.is_empty() {
                let readable = flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
                let writable = flags.contains(PollFlags::OUT);
                events.push(Event {
                    name,
                    readable,
                    writable,
                });
            }
        }
        Ok(events)
    }

    fn asks_to_write(&self, socket: &Socket) -> bool {
        self.write && matches!(socket, Socket::Client(_))
    }

    /// One event of a listener takes one connection; one of a client, one read.
    fn handle(&mut self, event: &Event) -> io::Result<()> {
        match &mut self.sockets[event.name] {
            Some(Socket::Listener(listener)) => match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    let name = self.add(Socket::Client(stream))?;
                    self.tell(format!("  accepted client {name}"));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            },
            Some(Socket::Client(stream)) if event.readable => {
                if let Err(error) = echo(stream) {
                    // Closing a socket takes it out of epoll as well.
                    self.sockets[event.name] = None;
                    self.tell(format!("  client {} is gone: {error}", event.name));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Asks once, says what the answer was, and does what it says.
    fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let events = self.ask(timeout)?;
        WAITS.fetch_add(1, Relaxed);
        self.tell(match events.len() {
            0 => "wait: nothing".to_owned(),
            1 => "wait: 1 event".to_owned(),
            count => format!("wait: {count} events"),
        });
        for event in events {
            let who = match &self.sockets[event.name] {
                Some(Socket::Listener(_)) => "listener".to_owned(),
                _ => format!("client {}", event.name),
            };
            let what = match (event.readable, event.writable) {
                (true, true) => "readable, writable",
                (true, false) => "readable",
                (false, _) => "writable",
            };
            self.tell(format!("  {who}: {what}"));
            self.handle(&event)?;
        }
        Ok(())
    }

    fn tell(&self, line: String) {
        if !self.is_silent {
            say(line);
        }
    }
}

fn ask_epoll(epoll: &OwnedFd, timeout: Option<&Timespec>) -> io::Result<Vec<Event>> {
    let mut answers = Vec::with_capacity(1024);
    epoll::wait(epoll, spare_capacity(&mut answers), timeout)?;
    let mut events = Vec::new();
    for answer in answers {
        // The kernel's struct is packed: its fields are copied out, since they cannot be borrowed.
        let (name, flags) = (answer.data, answer.flags);
        let name = usize::try_from(name.u64()).expect("it was one");
        let readable = flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR);
        let writable = flags.contains(EventFlags::OUT);
        events.push(Event {
            name,
            readable,
            writable,
        });
    }
    Ok(events)
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        // Chapter 2 says what is wrong with `write_all`; chapter 7 goes on from there.
        Ok(count) => stream.write_all(&buffer[..count]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Listener(listener) => listener.as_fd(),
            Socket::Client(stream) => stream.as_fd(),
            Socket::Idle(socket) => socket.as_fd(),
        }
    }
}

/// Three clients, who connect before the server asks for the first time.
fn demo(which: &str, write: bool) -> Result<(), Failure> {
    let listener = listen_quietly()?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let mut server = Server::new(which, write)?;
    server.add(Socket::Listener(listener))?;
    let mut clients = [connect(address)?, connect(address)?, connect(address)?];
    say("three clients have connected");
    for _ in 0..3 {
        server.turn(Some(QUIET))?;
    }
    server.turn(Some(QUIET))?;
    clients[1].write_all(b"hello")?;
    say("client 2 has sent 5 bytes");
    server.turn(Some(QUIET))?;
    server.turn(Some(QUIET))?;
    Ok(())
}

/// One client that plays 200 rounds of ping-pong, and then is silent for a second.
fn demo_idle(which: &str) -> Result<(), Failure> {
    let listener = listen_quietly()?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let mut server = Server::new(which, false)?;
    server.is_silent = true;
    server.add(Socket::Listener(listener))?;
    thread::spawn(move || while server.turn(None).is_ok() {});

    let mut client = connect(address)?;
    say(median_of_200_echoes(&mut client)?);
    let before = (WAITS.load(Relaxed), cpu_time());
    thread::sleep(Duration::from_secs(1));
    let waits = WAITS.load(Relaxed) - before.0;
    let busy = cpu_time() - before.1;
    say("then one second without traffic:");
    say(format!(
        "{waits} waits that ended, {:.0} ms of CPU time",
        busy.as_secs_f64() * 1e3
    ));
    Ok(())
}

/// What one question costs, by the number of sockets that have nothing to say.
fn measure() -> Result<(), Failure> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).map_err(io::Error::from)?;
    say("sockets   poll, us   epoll, us");
    for count in [10, 100, 1000, 10_000] {
        let mut times = Vec::new();
        for which in ["poll", "epoll"] {
            let mut server = Server::new(which, false)?;
            let (busy, other) = UnixDatagram::pair()?;
            other.send(b"x")?;
            server.add(Socket::Idle(busy))?;
            for _ in 1..count {
                server.add(Socket::Idle(UnixDatagram::unbound()?))?;
            }
            let rounds = 200_000 / (count + 100);
            // The best of ten: other programs can only make it slower.
            let best = (0..10).map(|_| time_of(&server, rounds));
            times.push(best.min_by(f64::total_cmp).expect("ten times"));
        }
        say(format!("{count:7}   {:8.1}   {:9.1}", times[0], times[1]));
    }
    Ok(())
}

/// How long one question takes, in microseconds.
fn time_of(server: &Server, rounds: usize) -> f64 {
    let start = Instant::now();
    for _ in 0..rounds {
        let events = server.ask(None).expect("it can be asked");
        assert_eq!(events.len(), 1, "one of them is readable");
    }
    start.elapsed().as_secs_f64() * 1e6 / rounds as f64
}

const HELP: &str = "\
An echo server that asks the kernel which sockets are ready, and sleeps until one is.

Usage: book_03_ask [OPTIONS]

  --listen HOST:PORT   where to listen; port 0 takes any free one [127.0.0.1:7000]
  --with poll|epoll    which question to ask; epoll as it is by default, level-triggered [poll]
  --write              asks whether clients are writable, too
  --demo               brings three clients of its own and ends
  --idle               one client that is silent most of the time, then ends
  --measure            what one question costs with 10 to 10,000 sockets, then ends
  -h, --help           this text

Examples:
  book_03_ask --listen 127.0.0.1:0 --with epoll
  book_03_ask --demo --write
";

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let address = flags.value("--listen", "an address such as 127.0.0.1:0")?;
        let which = flags.one_of("--with", &["poll", "epoll"])?;
        let write = flags.has("--write");
        let (alone, costs) = (flags.has("--demo"), flags.has("--measure"));
        let idle = flags.has("--idle");
        flags.end()?;
        if alone {
            return demo(which, write);
        }
        if idle {
            return demo_idle(which);
        }
        if costs {
            return measure();
        }
        let listener = listen(address.unwrap_or(([127, 0, 0, 1], 7000).into()))?;
        listener.set_nonblocking(true)?;
        let mut server = Server::new(which, write)?;
        server.add(Socket::Listener(listener))?;
        loop {
            server.turn(None)?;
        }
    })
}
