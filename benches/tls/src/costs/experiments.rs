//! What is measured, with each version of TLS.

use std::fmt::Write;
use std::path::Path;

use slabloop_peers::cli::Result;
use slabloop_peers::compare::peers;
use slabloop_peers::compare::process::{self, Core};
use slabloop_peers::compare::rounds::in_turn;

use super::servers::{ECHOES, PROXIES, Who};
use super::tables;

/// In the order of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Experiment {
    /// Full handshakes.
    Full,
    /// Resumed ones.
    Resumed,
    /// Messages of 64 bytes.
    Small,
    /// Messages of 1 MiB.
    Large,
    /// Memory of idle connections.
    Idle,
}

/// How much a run does.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Of each table.
    pub rounds: usize,
    handshakes: usize,
    small: usize,
    large: usize,
    idle: usize,
}

impl Scale {
    /// To see whether it works.
    pub const QUICK: Scale = Scale {
        rounds: 1,
        handshakes: 200,
        small: 5_000,
        large: 20,
        idle: 500,
    };
    /// For the page.
    pub const FULL: Scale = Scale {
        rounds: 5,
        handshakes: 600,
        small: 20_000,
        large: 60,
        idle: 2_000,
    };
}

/// What the client's command line says of the version.
pub const VERSIONS: [&str; 2] = ["1.3", "1.2"];

impl Experiment {
    /// All, in the order of the page.
    pub const ALL: [Experiment; 5] = [
        Experiment::Full,
        Experiment::Resumed,
        Experiment::Small,
        Experiment::Large,
        Experiment::Idle,
    ];

    /// For `--only`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Experiment::Full => "full",
            Experiment::Resumed => "resumed",
            Experiment::Small => "small",
            Experiment::Large => "large",
            Experiment::Idle => "idle",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Experiment::Full => "A connection with a full handshake",
            Experiment::Resumed => "A connection with a resumed handshake",
            Experiment::Small => "A message of 64 bytes",
            Experiment::Large => "A message of 1 MiB",
            Experiment::Idle => "An idle connection",
        }
    }

    fn intro(self, scale: Scale) -> String {
        match self {
            Experiment::Full => format!(
                "µs of the server's CPU time for a connection: accepted, handshake, one byte echoed, closed. \
                 {} connections, eight at a time.",
                scale.handshakes
            ),
            Experiment::Resumed => {
                "The same with clients that come again. Rustls keeps sessions in memory by \
                 default, OpenSSL in tickets."
                    .to_owned()
            }
            Experiment::Small => format!(
                "µs of the server's CPU time for one message echoed. {} messages on 50 connections.",
                scale.small
            ),
            Experiment::Large => format!(
                "µs of the server's CPU time for one message echoed. {} messages on 10 connections.",
                scale.large
            ),
            Experiment::Idle => format!(
                "KiB of resident memory for a connection that has echoed one byte: what {} more of them add.",
                scale.idle
            ),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Experiment::Idle => "KiB",
            _ => "µs",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Experiment::Idle => "each_kib",
            _ => "each_us",
        }
    }

    fn load(self, scale: Scale) -> Vec<String> {
        let (work, count, connections, size) = match self {
            Experiment::Full => ("full", scale.handshakes, 0, 0),
            Experiment::Resumed => ("resumed", scale.handshakes, 0, 0),
            Experiment::Small => ("messages", scale.small, 50, 64),
            Experiment::Large => ("messages", scale.large, 10, 1 << 20),
            Experiment::Idle => ("idle", scale.idle, 0, 0),
        };
        let mut words = vec!["--work".to_owned(), work.to_owned()];
        words.extend(["--count".to_owned(), count.to_string()]);
        if connections > 0 {
            words.extend(["--connections".to_owned(), connections.to_string()]);
            words.extend(["--size".to_owned(), size.to_string()]);
        }
        words
    }
}

/// Runs an experiment, and returns its section of the page.
#[must_use]
pub fn measure(experiment: Experiment, scale: Scale, folder: &Path) -> String {
    let mut notes = Vec::new();
    let mut columns = Vec::new();
    for kind in [ECHOES, PROXIES] {
        let missing = |who: &&Who| match who {
            Who::Nginx => !process::has("nginx"),
            Who::HaProxy => !process::has("haproxy"),
            _ => false,
        };
        let present: Vec<Who> = kind.iter().filter(|who| !missing(who)).copied().collect();
        for version in VERSIONS {
            let what = format!("{}, TLS {version}", experiment.name());
            let runs = in_turn(&what, scale.rounds, &present, &mut notes, |who| {
                run(*who, experiment, scale, version, folder)
            });
            columns.push(runs);
        }
    }
    let mut text = format!(
        "### {}\n\n{}\n\n",
        experiment.title(),
        experiment.intro(scale)
    );
    let per_second = experiment == Experiment::Full || experiment == Experiment::Resumed;
    for pair in columns.chunks(VERSIONS.len()) {
        let rows = tables::rows(pair, experiment.unit(), per_second);
        text.push_str(&rows);
        text.push('\n');
    }
    for note in notes {
        let _ = writeln!(text, "- {note}\n");
    }
    text
}

fn run(
    who: Who,
    experiment: Experiment,
    scale: Scale,
    version: &str,
    folder: &Path,
) -> Result<f64> {
    let running = who.start(folder)?;
    let words = vec![peers::bin_dir()?.join("tls_load").into_os_string()];
    let mut command = process::command(Core::Client, &[], &words);
    let version = if who == Who::Plain { "plain" } else { version };
    command
        .arg("--connect")
        .arg(running.server.address.to_string())
        .arg("--pid")
        .arg(running.server.pid().to_string())
        .args(["--version", version, "--ca"])
        .arg(folder.join("cert.pem"))
        .args(experiment.load(scale));
    process::figures(command, "tls_load")?.value(experiment.key())
}
