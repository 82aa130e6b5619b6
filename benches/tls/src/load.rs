//! The client: one kind of work at a time, and what it took the server.
//!
//! ```text
//! tls_load --connect ADDR --pid PID --work full --version 1.3 --ca cert.pem --count 1000
//! ```

pub mod idle;
pub mod link;
pub mod messages;
pub mod openings;

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use slabloop_peers::cli::{self, Error, Result};
use slabloop_peers::load::observe::Process;

use crate::config::Version;
use link::Opener;

/// Who does not come to rest in so long never will.
pub(crate) const REST_LIMIT: Duration = Duration::from_secs(5);

const FLAGS: &str = "--connect ADDR, --pid PID, --work full|resumed|messages|idle, --version plain|1.2|1.3, --ca FILE, \
                     --count N, --connections N and --size BYTES";

/// What is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Connections with full handshakes, each closed after a byte was echoed.
    Full,
    /// The same with resumed ones.
    Resumed,
    /// Messages, echoed.
    Messages,
    /// Connections that say one word and are idle from then on.
    Idle,
}

impl FromStr for Work {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Work, ()> {
        match text {
            "full" => Ok(Work::Full),
            "resumed" => Ok(Work::Resumed),
            "messages" => Ok(Work::Messages),
            "idle" => Ok(Work::Idle),
            _ => Err(()),
        }
    }
}

/// The command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub connect: SocketAddr,
    /// The process that is measured.
    pub pid: u32,
    /// What it has to do.
    pub work: Work,
    /// Without TLS if none.
    pub version: Option<Version>,
    /// The server's certificate.
    pub ca: String,
    /// How many handshakes, messages or idle connections.
    pub count: usize,
    /// How many connections the messages are on.
    pub connections: usize,
    /// A message's length.
    pub size: usize,
}

impl Options {
    fn from_args() -> Result<Options> {
        let (mut connect, mut pid, mut work) = (None, None, None);
        let mut version = None;
        let mut ca = String::new();
        let (mut count, mut connections, mut size) = (1_000, 50, 64);
        let mut parser = lexopt::Parser::from_env();
        while let Some(flag) = cli::next_flag(&mut parser)? {
            let parser = &mut parser;
            match flag.as_str() {
                "connect" => connect = Some(slabloop_peers::serve::address(parser, &flag)?),
                "pid" => pid = Some(cli::value(parser, &flag, "a process number")?),
                "work" => work = Some(cli::value(parser, &flag, "a kind of work")?),
                "version" => version = version_of(parser, &flag)?,
                "ca" => ca = cli::value(parser, &flag, "a file")?,
                "count" => count = cli::value(parser, &flag, "a whole number")?,
                "connections" => connections = cli::value(parser, &flag, "a whole number")?,
                "size" => size = cli::value(parser, &flag, "a number of bytes")?,
                _ => return Err(cli::unknown(&flag, FLAGS)),
            }
        }
        let missing = |flag: &str| Error::Usage(format!("--{flag} is missing"));
        Ok(Options {
            connect: connect.ok_or_else(|| missing("connect"))?,
            pid: pid.ok_or_else(|| missing("pid"))?,
            work: work.ok_or_else(|| missing("work"))?,
            version,
            ca,
            count,
            connections,
            size,
        })
    }
}

fn version_of(parser: &mut lexopt::Parser, flag: &str) -> Result<Option<Version>> {
    let text: String = cli::value(parser, flag, "a version")?;
    match text.as_str() {
        "plain" => Ok(None),
        "1.2" => Ok(Some(Version::Tls12)),
        "1.3" => Ok(Some(Version::Tls13)),
        _ => Err(cli::wrong(flag, text, "plain, 1.2 or 1.3")),
    }
}

/// The program `tls_load`. Prints one line of `key=value`.
///
/// # Errors
///
/// A bad command line; a server that does not do what it should.
pub fn main() -> Result<()> {
    let options = Options::from_args()?;
    let resumes = options.work == Work::Resumed;
    let opener = Opener::new(options.connect, &options.ca, options.version, resumes)?;
    match options.work {
        Work::Full | Work::Resumed => openings::run(&options, &opener),
        Work::Messages => messages::run(&options, &opener),
        Work::Idle => idle::run(&options, &opener),
    }
}

/// Lets the server do `count` things, and prints what one of them took.
pub(crate) fn measured(
    options: &Options,
    count: usize,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let process = Process::new(options.pid);
    process.wait_until_idle(REST_LIMIT)?;
    let (before, start) = (process.cpu()?, Instant::now());
    work()?;
    let seconds = start.elapsed().as_secs_f64();
    process.wait_until_idle(REST_LIMIT)?;
    let us = process.cpu()?.since(before).run_ns as f64 / 1e3 / count as f64;
    println!(
        "count={count} seconds={seconds:.3} each_us={us:.3} per_second={:.1}",
        count as f64 / seconds
    );
    Ok(())
}
