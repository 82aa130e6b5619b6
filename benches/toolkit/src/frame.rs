//! What each program has around its work: the command line, and a line with the figures.
//!
//! A program is two parts. Above the line [`MARK`] stands what a user would write; those lines are counted. Below it
//! `main` calls it by [`measure`].

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::process::ExitCode;

use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::sys;

/// The comment between the two parts, without what begins a comment.
pub const MARK: &str = " The measuring frame.";

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// How often it is done.
    pub count: u64,
    /// How many are at it at a time.
    pub holders: usize,
    /// How many of what they share there are: connections, threads, slots, keys.
    pub shared: usize,
    /// Whom to ask.
    pub server: SocketAddr,
    /// Whether a pool asks the kernel before it lends.
    pub probe: bool,
}

impl Work {
    fn from_args() -> Result<Work> {
        let expected = "a whole number of at least 1";
        let mut work = Work {
            count: 10_000,
            holders: 100,
            shared: 4,
            server: SocketAddr::from(([127, 0, 0, 1], 7000)),
            probe: true,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(flag) = cli::next_flag(&mut parser)? {
            match flag.as_str() {
                "count" => work.count = cli::value(&mut parser, &flag, expected)?,
                "holders" => work.holders = cli::value(&mut parser, &flag, expected)?,
                "shared" => work.shared = cli::value(&mut parser, &flag, expected)?,
                "server" => work.server = cli::value(&mut parser, &flag, "an address")?,
                "probe" => work.probe = cli::value(&mut parser, &flag, "true or false")?,
                _ => {
                    let known = "--count N, --holders N, --shared N, --server ADDR, --probe BOOL";
                    return Err(cli::unknown(&flag, known));
                }
            }
        }
        if work.count == 0 || work.holders == 0 || work.shared == 0 {
            let text = "--count, --holders and --shared are to be at least 1";
            return Err(cli::Error::Usage(text.to_owned()));
        }
        Ok(work)
    }

    /// Keys by chance, the same in each run and each program.
    pub fn keys(&self) -> impl Iterator<Item = u64> + use<> {
        let (count, keys) = (self.count, self.shared as u64);
        let mut state = 1_u64;
        (0..count).map(move |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % keys
        })
    }
}

/// Runs the work, which says how often it was done, and prints CPU time for each and the peak of resident memory.
pub fn measure<E: Display>(work: impl FnOnce(&Work) -> std::result::Result<u64, E>) -> ExitCode {
    cli::run(|| {
        let wanted = Work::from_args()?;
        let begun_ns = sys::processor_time_ns()?;
        let done = work(&wanted).doing("the work")?;
        let spent_ns = sys::processor_time_ns()? - begun_ns;
        if done != wanted.count {
            let text = format!("done {done} times, not {}", wanted.count);
            return Err(cli::Error::Failed(text));
        }
        let each_ns = spent_ns as f64 / done as f64;
        println!("each_ns={each_ns:.1} peak_kib={}", peak_kib()?);
        Ok(())
    })
}

/// The most memory that this process has had resident.
fn peak_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    line.ok_or_else(|| cli::Error::Failed("/proc/self/status has no VmHWM".to_owned()))
}
