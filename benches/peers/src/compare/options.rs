//! The runner's command line, and how much a quick and a full run do.

use std::path::PathBuf;

use super::part::Part;
use crate::cli::{self, Result};

const FLAGS: &str = "--out FILE, --page FILE, --quick, --only EXPERIMENT,… and --peers NAME,…";

/// What can be measured, in the order of the report: counts first, then times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Experiment {
    /// User-space instructions per event of the ring.
    Instructions,
    /// System calls per echoed message.
    Calls,
    /// Time per event of the ring.
    Ring,
    /// CPU time to arm, cancel and fire a timer.
    Timers,
    /// Closures from another thread.
    Posts,
    /// CPU time and memory of an echo server.
    Echo,
    /// Latency of an echo server at a fixed rate.
    Latency,
    /// Connections that arrive at once.
    Arrivals,
    /// CPU time of a proxy.
    Proxy,
    /// Requests per second over HTTP.
    Http,
    /// Clients of many connections.
    Heads,
}

impl Experiment {
    /// All of them.
    pub const ALL: [Experiment; 11] = [
        Experiment::Instructions,
        Experiment::Calls,
        Experiment::Ring,
        Experiment::Timers,
        Experiment::Posts,
        Experiment::Echo,
        Experiment::Latency,
        Experiment::Arrivals,
        Experiment::Proxy,
        Experiment::Http,
        Experiment::Heads,
    ];

    /// Its name on the command line and in file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Experiment::Instructions => "instructions",
            Experiment::Calls => "calls",
            Experiment::Ring => "ring",
            Experiment::Timers => "timers",
            Experiment::Posts => "posts",
            Experiment::Echo => "echo",
            Experiment::Latency => "latency",
            Experiment::Arrivals => "arrivals",
            Experiment::Proxy => "proxy",
            Experiment::Http => "http",
            Experiment::Heads => "heads",
        }
    }

    /// Its place in a report.
    #[must_use]
    pub fn part(self) -> Part {
        Part(self.name())
    }
}

/// How much of everything one run does.
#[derive(Debug)]
pub struct Scale {
    /// Rounds of everything that takes time; counts need one.
    pub rounds: usize,
    /// Events per ring run.
    pub ring_events: u64,
    /// Ring sizes at which instructions are counted.
    pub instruction_pairs: &'static [usize],
    /// Timers armed at a time.
    pub timers: usize,
    /// The milliseconds within which they are due, and that a run has to wait.
    pub timers_spread_ms: usize,
    /// Closures posted in a run.
    pub posts: usize,
    /// Connections of the echo runs, and messages on their way.
    pub echo_connections: usize,
    /// Messages on their way in the echo runs.
    pub echo_in_flight: usize,
    /// Messages per echo run.
    pub echo_messages: u64,
    /// Messages of the shorter of two runs under strace; the longer has three times as many.
    pub calls_messages: u64,
    /// Messages per latency run.
    pub latency_messages: u64,
    /// Connections that arrive at once.
    pub arrivals: usize,
    /// Connections of the proxy runs.
    pub proxy_connections: usize,
    /// Messages on their way in the proxy runs.
    pub proxy_in_flight: usize,
    /// Sizes and numbers of the messages in the proxy runs.
    pub proxy_messages: &'static [(usize, u64)],
    /// Seconds per HTTP run.
    pub http_seconds: u64,
    /// Connections of a client.
    pub heads_connections: usize,
    /// Seconds per run of a client, of which one for each thousand connections goes for opening them.
    pub heads_seconds: u64,
    /// Rounds of the clients' runs.
    pub heads_rounds: usize,
}

/// Under two minutes: to see that all works, and roughly where one stands.
const QUICK: Scale = Scale {
    rounds: 2,
    ring_events: 30_000,
    instruction_pairs: &[1_000],
    timers: 100_000,
    timers_spread_ms: 100,
    posts: 200_000,
    echo_connections: 1_000,
    echo_in_flight: 100,
    echo_messages: 20_000,
    calls_messages: 2_000,
    latency_messages: 5_000,
    arrivals: 2_000,
    proxy_connections: 100,
    proxy_in_flight: 20,
    proxy_messages: &[(64, 10_000), (64 << 10, 1_000), (1 << 20, 100)],
    http_seconds: 1,
    heads_connections: 1_000,
    heads_seconds: 4,
    heads_rounds: 1,
};

/// Under forty minutes: what goes into the documentation.
const FULL: Scale = Scale {
    rounds: 5,
    ring_events: 100_000,
    instruction_pairs: &[200, 1_000, 9_900],
    timers: 1_000_000,
    timers_spread_ms: 1_000,
    posts: 2_000_000,
    echo_connections: 10_000,
    echo_in_flight: 500,
    echo_messages: 100_000,
    calls_messages: 10_000,
    latency_messages: 40_000,
    arrivals: 10_000,
    proxy_connections: 1_000,
    proxy_in_flight: 100,
    proxy_messages: &[(64, 50_000), (64 << 10, 5_000), (1 << 20, 500)],
    http_seconds: 4,
    heads_connections: 10_000,
    heads_seconds: 30,
    heads_rounds: 3,
};

/// What to measure and where to write it.
#[derive(Debug)]
pub struct Options {
    /// The Markdown file; plots go into a folder of the same name beside it.
    pub out: PathBuf,
    /// An earlier report, in which what is measured now takes the place of what was, and all else stays.
    pub page: Option<PathBuf>,
    /// How much of it.
    pub scale: &'static Scale,
    /// The flags as they were typed, for the report.
    pub typed: Vec<String>,
    only: Vec<String>,
    peers: Vec<String>,
}

impl Options {
    /// Takes the options from the command line.
    ///
    /// # Errors
    ///
    /// Unknown flags and unusable values.
    pub fn from_args() -> Result<Self> {
        let mut options = Options {
            out: PathBuf::from("benchmarks.md"),
            page: None,
            scale: &FULL,
            typed: std::env::args().skip(1).collect(),
            only: Vec::new(),
            peers: Vec::new(),
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(flag) = cli::next_flag(&mut parser)? {
            match flag.as_str() {
                "out" => options.out = cli::value(&mut parser, &flag, "a path")?,
                "page" => options.page = Some(cli::value(&mut parser, &flag, "a path")?),
                "quick" => options.scale = &QUICK,
                "only" => options.only = list(&mut parser, &flag)?,
                "peers" => options.peers = list(&mut parser, &flag)?,
                _ => return Err(cli::unknown(&flag, FLAGS)),
            }
        }
        if options.out.file_stem().is_none() {
            return Err(cli::wrong(
                "out",
                options.out.display(),
                "the name of a file",
            ));
        }
        let known = Experiment::ALL.map(Experiment::name);
        if let Some(name) = options
            .only
            .iter()
            .find(|name| !known.contains(&name.as_str()))
        {
            return Err(cli::wrong(
                "only",
                name,
                &format!("one of {}", known.join(", ")),
            ));
        }
        Ok(options)
    }

    /// Whether an experiment is asked for.
    #[must_use]
    pub fn wants(&self, experiment: Experiment) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == experiment.name())
    }

    /// Whether a peer is asked for: by its name in the tables, without "raw", or by its first word.
    #[must_use]
    pub fn wants_peer(&self, name: &str) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|wanted| names_peer(wanted, name))
    }

    /// Makes sure that every name in `--peers` is somebody's.
    ///
    /// # Errors
    ///
    /// The first that is not, with those that are.
    pub fn check_peers(&self, names: impl Iterator<Item = &'static str>) -> Result<()> {
        let names: Vec<_> = names.collect();
        let nobody = |wanted: &&String| !names.iter().any(|name| names_peer(wanted, name));
        match self.peers.iter().find(nobody) {
            None => Ok(()),
            Some(wanted) => Err(cli::wrong(
                "peers",
                wanted,
                &format!("one of {}", names.join(", ")),
            )),
        }
    }
}

fn names_peer(wanted: &str, name: &str) -> bool {
    let short = name.strip_prefix("raw ").unwrap_or(name);
    let first = short.split(' ').next().unwrap_or(short);
    [name, short, first]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(wanted))
}

fn list(parser: &mut lexopt::Parser, flag: &str) -> Result<Vec<String>> {
    let text: String = cli::value(parser, flag, "a list")?;
    Ok(text.split(',').map(str::to_owned).collect())
}
