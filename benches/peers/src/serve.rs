//! The command lines of the servers, how they listen, and the line by which they tell that they are
//! ready.
//!
//! A server takes `--listen`, a proxy `--upstream` as well. The first line on standard output is
//! `listening on ADDR`: with port 0 it is the only way to learn the port, and whoever started the
//! server need not guess when it is up. SIGTERM ends a server by the signal's default action.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};

use crate::cli::{self, Doing, Error, Result};
use crate::sys;

/// What one read can bring in, in the Rust peers that have one buffer for all connections, and in slabloop's
/// proxy: half of it makes messages of 1 MiB a third dearer, twice of it less than a tenth cheaper.
pub const SCRATCH_BYTES: usize = 128 * 1024;

/// A buffer of [`SCRATCH_BYTES`] that begins at a cache line.
///
/// What is so large the allocator puts 16 bytes behind the start of a page, and there the kernel's copy takes
/// five times as long on some processors: it would be that which is measured.
#[derive(Debug)]
pub struct Scratch(Vec<u8>);

impl Scratch {
    const LINE: usize = 64;

    fn start(&self) -> usize {
        self.0.as_ptr().align_offset(Self::LINE).min(Self::LINE)
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch(vec![0; SCRATCH_BYTES + Self::LINE])
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0[self.start()..][..SCRATCH_BYTES]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.start();
        &mut self.0[start..][..SCRATCH_BYTES]
    }
}

/// What a listener may hold of finished handshakes before they are accepted; the kernel caps it.
pub const BACKLOG: i32 = 4_096;

/// The address of an echo server, from `--listen`.
///
/// # Errors
///
/// Unknown flags and unusable values.
pub fn echo_address() -> Result<SocketAddr> {
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut parser = lexopt::Parser::from_env();
    while let Some(flag) = cli::next_flag(&mut parser)? {
        match flag.as_str() {
            "listen" => listen = address(&mut parser, &flag)?,
            _ => return Err(cli::unknown(&flag, "--listen ADDR")),
        }
    }
    Ok(listen)
}

/// What a server with several threads does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Sends every byte back.
    Echo,
    /// Answers every request with twelve bytes.
    Http,
}

/// The command line of a server with several threads.
#[derive(Debug, Clone, Copy)]
pub struct ThreadsOptions {
    /// `--listen ADDR`
    pub listen: SocketAddr,
    /// `--threads N`
    pub threads: usize,
    /// `--job echo` or `--job http`
    pub job: Job,
}

/// `--listen`, `--threads` and `--job`.
///
/// # Errors
///
/// Unknown flags and unusable values.
pub fn threads_options() -> Result<ThreadsOptions> {
    let mut options = ThreadsOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        threads: 1,
        job: Job::Echo,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(flag) = cli::next_flag(&mut parser)? {
        match flag.as_str() {
            "listen" => options.listen = address(&mut parser, &flag)?,
            "threads" => options.threads = cli::value(&mut parser, &flag, "a number of threads")?,
            "job" => match cli::value::<String>(&mut parser, &flag, "echo or http")?.as_str() {
                "echo" => options.job = Job::Echo,
                "http" => options.job = Job::Http,
                other => {
                    return Err(Error::Usage(format!(
                        "--job {other}: expected echo or http"
                    )));
                }
            },
            _ => {
                return Err(cli::unknown(
                    &flag,
                    "--listen ADDR, --threads N, --job echo|http",
                ));
            }
        }
    }
    if options.threads == 0 {
        return Err(Error::Usage("--threads 0: expected at least 1".to_owned()));
    }
    Ok(options)
}

/// The addresses of a proxy: `--listen` and `--upstream`.
#[derive(Debug, Clone, Copy)]
pub struct ProxyOptions {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where their bytes go.
    pub upstream: SocketAddr,
}

impl ProxyOptions {
    /// Takes the options from the command line.
    ///
    /// # Errors
    ///
    /// Unknown flags, unusable values, and a missing `--upstream`.
    pub fn from_args() -> Result<Self> {
        let mut listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut upstream = None;
        let mut parser = lexopt::Parser::from_env();
        while let Some(flag) = cli::next_flag(&mut parser)? {
            match flag.as_str() {
                "listen" => listen = address(&mut parser, &flag)?,
                "upstream" => upstream = Some(address(&mut parser, &flag)?),
                _ => return Err(cli::unknown(&flag, "--listen ADDR and --upstream ADDR")),
            }
        }
        let upstream = upstream.ok_or_else(|| {
            Error::Usage("--upstream is missing: where should the bytes go".to_owned())
        })?;
        Ok(ProxyOptions { listen, upstream })
    }
}

/// The value of a flag that takes an address with its port.
///
/// # Errors
///
/// A value that is no such address.
pub fn address(parser: &mut lexopt::Parser, flag: &str) -> Result<SocketAddr> {
    cli::value(
        parser,
        flag,
        "an address with a port, such as 127.0.0.1:7000",
    )
}

/// Listens as all Rust peers do: without blocking, and with the same backlog, which mio and others
/// would choose for themselves.
///
/// # Errors
///
/// The kernel's.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).doing(format!("listening on {address}"))?;
    sys::deepen_backlog(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts until nobody is left in the queue, and hands each over without blocking and without delay.
///
/// # Errors
///
/// What `take` says, and the kernel about the options. A client that left while it waited is told and
/// ends the round, no more.
pub fn accept_all(
    listener: &TcpListener,
    mut take: impl FnMut(TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                take(stream)?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                eprintln!("accept: {error}");
                return Ok(());
            }
        }
    }
}

/// Tells the address on standard output.
///
/// # Errors
///
/// A closed standard output.
pub fn announce(address: io::Result<SocketAddr>) -> Result<()> {
    let address = address.doing("asking for the listener's address")?;
    let mut out = io::stdout();
    writeln!(out, "listening on {address}")?;
    // Into a pipe Rust's stdout is line-buffered all the same; flushing says that we rely on it.
    out.flush()?;
    Ok(())
}
