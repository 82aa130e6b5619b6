//! What the programs of the book share: the command line, the first lines on stdout, the exit code, and
//! small helpers for the clients that a program brings along.

#![allow(dead_code, reason = "each program uses a part")]
#![allow(unreachable_pub, reason = "a module of each program, not of a crate")]

use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long a program waits before it says that nothing comes. On the loopback interface what comes at
/// all comes within microseconds.
pub const QUIET: Duration = Duration::from_millis(300);

/// How long it waits for what does come, however busy the machine is. It never takes so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Why a program ends early.
#[derive(Debug)]
pub enum Failure {
    /// `--help` was asked for.
    Help,
    /// Wrong usage: exit code 2.
    Usage(String),
    /// It cannot do its work: exit code 1.
    Work(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Work(error.to_string())
    }
}

/// Runs the program, and turns what went wrong into one line on stderr and an exit code.
pub fn run(help: &str, program: impl FnOnce(Flags) -> Result<(), Failure>) -> ExitCode {
    let flags = Flags(std::env::args().skip(1).collect());
    let result = if flags.0.iter().any(|flag| flag == "--help" || flag == "-h") {
        Err(Failure::Help)
    } else {
        program(flags)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Help) => {
            say(help.trim_end());
            ExitCode::SUCCESS
        }
        Err(Failure::Usage(text)) => {
            eprintln!("{text}; see --help");
            ExitCode::from(2)
        }
        Err(Failure::Work(text)) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// What was given on the command line and not looked at yet.
#[derive(Debug)]
pub struct Flags(Vec<String>);

impl Flags {
    /// Whether `--name` was given.
    pub fn has(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|flag| flag != name);
        self.0.len() < before
    }

    /// What stands after `--name`.
    ///
    /// # Errors
    ///
    /// If nothing does, or not a `what`.
    pub fn value<T: FromStr>(&mut self, name: &str, what: &str) -> Result<Option<T>, Failure> {
        let Some(at) = self.0.iter().position(|flag| flag == name) else {
            return Ok(None);
        };
        let given: Vec<String> = self.0.drain(at..(at + 2).min(self.0.len())).collect();
        let Some(given) = given.get(1) else {
            return Err(Failure::Usage(format!("{name} wants {what}")));
        };
        match given.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Failure::Usage(format!("{name} wants {what}, not {given}"))),
        }
    }

    /// Which of `words` stands after `--name`; the first if the flag was not given.
    ///
    /// # Errors
    ///
    /// If it is none of them.
    pub fn one_of<'a>(&mut self, name: &str, words: &[&'a str]) -> Result<&'a str, Failure> {
        let named: Vec<&str> = words
            .iter()
            .copied()
            .filter(|word| !word.is_empty())
            .collect();
        let what = named.join(" or ");
        let Some(given) = self.value::<String>(name, &what)? else {
            return Ok(words[0]);
        };
        let found = words.iter().find(|word| **word == given);
        found
            .copied()
            .ok_or_else(|| Failure::Usage(format!("{name} wants {what}, not {given}")))
    }

    /// Ends the command line.
    ///
    /// # Errors
    ///
    /// If something was given that the program did not ask for.
    pub fn end(self) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some(flag) => Err(Failure::Usage(format!("unknown option {flag}"))),
        }
    }
}

/// Prints a line at once, and ends the program quietly if it is not read any more.
pub fn say(line: impl Display) {
    let mut stdout = io::stdout().lock();
    if writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

/// Listens on `address` and prints the address, and what to try.
///
/// # Errors
///
/// A sentence that names the address, the cause and a way out.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let way_out = "--listen 127.0.0.1:0 takes any free port";
        Failure::Work(format!("cannot listen on {address}: {error}; {way_out}"))
    })?;
    let address = listener.local_addr()?;
    say(format!("listening on {address}"));
    say(format!("try: nc {} {}", address.ip(), address.port()));
    Ok(listener)
}

/// A listener on a free port, for a program that is its own client.
///
/// # Errors
///
/// The system's.
pub fn listen_quietly() -> io::Result<TcpListener> {
    TcpListener::bind("127.0.0.1:0")
}

/// A client of the program itself. Small sends leave at once.
///
/// # Errors
///
/// The system's.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What a client has received after `patience`: some text, the end of the stream (an empty text), or
/// `None`, nothing.
///
/// # Errors
///
/// The stream's.
pub fn hear(stream: &TcpStream, patience: Duration) -> io::Result<Option<String>> {
    stream.set_read_timeout(Some(patience))?;
    let mut buffer = [0; 256];
    let mut stream = stream;
    match stream.read(&mut buffer) {
        Ok(count) => Ok(Some(String::from_utf8_lossy(&buffer[..count]).into_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A sentence on how long a byte takes to the server and back: the median of 200.
///
/// # Errors
///
/// The stream's.
pub fn median_of_200_echoes(client: &mut TcpStream) -> io::Result<String> {
    let mut times = Vec::new();
    for _ in 0..200 {
        let sent = Instant::now();
        client.write_all(b"x")?;
        client.read_exact(&mut [0])?;
        times.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(format!(
        "200 bytes echoed one by one, half of them within {:.3} ms",
        times[100]
    ))
}

/// How long a processor has worked for this program.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
