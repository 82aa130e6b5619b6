//! What a request costs: `examples/http_server` beside nginx, and the tables of `docs/http.md`.
//!
//! Each server is one process with one thread on its loop, and no log but where it says so; CPU time is that of all its threads. The
//! client is wrk, or ab where each request has a connection of its own.

pub mod clients;
pub mod servers;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Instant;

use slabloop_peers::cli::{Doing, Result};
use slabloop_peers::compare::part::Part;
use slabloop_peers::compare::process;
use slabloop_peers::compare::rounds::{Runs, in_turn, median, ratio};
use slabloop_peers::compare::selection::Selection;
use slabloop_peers::compare::table::cell;
use slabloop_peers::compare::temp::TempDir;

use crate::config;
use crate::costs::{page, tables};
use clients::{Ask, Sample};
use servers::Who;

/// Where the tables stand in the page.
const PART: Part = Part("http_costs");

/// Whose versions the page tells.
const CRATES: [&str; 4] = ["httparse", "mime_guess", "mio", "rustls"];

/// One table.
#[derive(Debug)]
struct Experiment {
    name: &'static str,
    title: &'static str,
    intro: &'static str,
    ask: Ask,
    who: &'static [Who],
}

const FILES: &[Who] = &[Who::Slabloop, Who::Nginx, Who::NginxCache, Who::NginxNoPush];

const EXPERIMENTS: [Experiment; 8] = [
    Experiment {
        name: "page",
        title: "12 bytes, no file",
        intro: "The page that is built in; nginx has it in its configuration (`return 200`).",
        ask: Ask::kept("/", 1000),
        who: &[Who::SlabloopPage, Who::NginxPage],
    },
    Experiment {
        name: "12",
        title: "A file of 12 bytes",
        intro: "`nginx` has `sendfile on; tcp_nopush on;` and opens the file for each request; `nginx, cache` has `open_file_cache` \
                for a second, as slabloop has.",
        ask: Ask::kept("/12", 1000),
        who: FILES,
    },
    Experiment {
        name: "1k",
        title: "A file of 1 KiB",
        intro: "",
        ask: Ask::kept("/1k", 1000),
        who: FILES,
    },
    Experiment {
        name: "100k",
        title: "A file of 100 KiB",
        intro: "Sent by `sendfile`, by nginx as well. `in memory` is slabloop with `--small-file 131072`.",
        ask: Ask::kept("/100k", 1000),
        who: &[
            Who::Slabloop,
            Who::SlabloopMemory,
            Who::Nginx,
            Who::NginxCache,
            Who::NginxNoPush,
        ],
    },
    Experiment {
        name: "log",
        title: "1 KiB, with an access log",
        intro: "In the combined format, to `/dev/null`, gathered in pieces of 32 KiB (nginx: `buffer=32k flush=1s`).",
        ask: Ask::kept("/1k", 1000),
        who: &[
            Who::Slabloop,
            Who::SlabloopLog,
            Who::NginxCache,
            Who::NginxLog,
        ],
    },
    Experiment {
        name: "short",
        title: "A connection for each request",
        intro: "ab without `-k`: HTTP/1.0, 50 at a time, the file of 12 bytes.",
        ask: Ask::Short { path: "/12" },
        who: FILES,
    },
    Experiment {
        name: "open",
        title: "A thousand files of 1 KiB",
        intro: "One after the other, on 50 connections. Without a cache each request opens its file: on one of two threads, or on \
                the loop (`--file-threads 0`).",
        ask: Ask::Many { connections: 50 },
        who: &[
            Who::Slabloop,
            Who::SlabloopThreads,
            Who::SlabloopLoop,
            Who::Nginx,
            Who::NginxCache,
        ],
    },
    Experiment {
        name: "tls",
        title: "1 KiB over TLS 1.3",
        intro: "100 connections, kept; the key and the cipher suite are the same.",
        ask: Ask::Kept {
            path: "/1k",
            connections: 100,
            is_tls: true,
        },
        who: &[Who::SlabloopTls, Who::NginxTls],
    },
];

/// How much a run does.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub(crate) rounds: usize,
    /// Of wrk.
    pub(crate) seconds: u32,
    /// Of ab.
    pub(crate) requests: usize,
}

impl Scale {
    pub(crate) const FULL: Scale = Scale {
        rounds: 5,
        seconds: 1,
        requests: 10_000,
    };
    /// Just to see whether it works.
    pub(crate) const QUICK: Scale = Scale {
        rounds: 1,
        seconds: 1,
        requests: 5_000,
    };
}

/// The program `http_costs`.
///
/// # Errors
///
/// A bad command line, a client that is missing, or a page that cannot be written. A server that fails is named beside
/// the table instead.
pub fn main() -> Result<()> {
    let selection = Selection::from_args(&EXPERIMENTS.each_ref().map(|one| one.name))?;
    let scale = match selection.is_quick {
        true => Scale::QUICK,
        false => Scale::FULL,
    };
    if let Some(page) = &selection.page {
        PART.check(page)?;
    }
    let start = Instant::now();
    let folder = TempDir::new()?;
    write_files(folder.path())?;
    let mut text = page::head(scale.rounds, &CRATES, &["nginx"]);
    for experiment in &EXPERIMENTS {
        if selection.wants(experiment.name) {
            let section = measure(experiment, scale, folder.path());
            println!("{section}");
            text.push_str(&section);
        }
    }
    if let Some(page) = &selection.page {
        PART.write(page, &text)?;
    }
    println!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// The root that all serve, and a certificate beside it.
pub(crate) fn write_files(folder: &Path) -> Result<()> {
    let root = servers::root(folder);
    fs::create_dir_all(&root).doing(root.display())?;
    let bytes = |count: u32| (0..count).map(|at| at.to_le_bytes()[0]).collect::<Vec<_>>();
    for (name, content) in [
        ("12", b"hello world\n".to_vec()),
        ("1k", bytes(1024)),
        ("100k", bytes(100 * 1024)),
    ] {
        fs::write(root.join(name), content).doing(name)?;
    }
    fs::create_dir_all(root.join("many")).doing(root.display())?;
    for number in 0..1000 {
        let name = root.join("many").join(number.to_string());
        fs::write(&name, bytes(1024)).doing(name.display())?;
    }
    fs::write(folder.join(clients::SCRIPT), clients::MANY).doing(clients::SCRIPT)?;
    config::write_certificate(folder)
}

fn measure(experiment: &Experiment, scale: Scale, folder: &Path) -> String {
    let mut notes = Vec::new();
    let is_missing = |who: &&Who| who.is_nginx() && !process::has("nginx");
    let who: Vec<_> = experiment
        .who
        .iter()
        .filter(|who| !is_missing(who))
        .collect();
    let who: Vec<Who> = who.into_iter().copied().collect();
    let runs = in_turn(experiment.name, scale.rounds, &who, &mut notes, |who| {
        let server = who.start(folder)?;
        let ask = experiment.ask;
        ask.run(&server, scale.seconds, scale.requests, folder)
    });
    let mut text = format!("### {}\n\n", experiment.title);
    if !experiment.intro.is_empty() {
        let _ = writeln!(text, "{}\n", experiment.intro);
    }
    let _ = writeln!(
        text,
        "`{}`\n",
        experiment.ask.shown(scale.seconds, scale.requests)
    );
    text.push_str(&rows(&runs));
    text.push('\n');
    for note in notes {
        let _ = writeln!(text, "- {note}\n");
    }
    text
}

pub(crate) fn rows(all: &[Runs<Sample>]) -> String {
    let mut text = "| | µs of CPU time a request | ratio | least to most | requests a second |\n\
                    |---|---:|---:|---|---:|\n"
        .to_owned();
    for runs in all {
        let us = Runs {
            name: runs.name,
            samples: runs.samples.iter().map(|sample| sample.us).collect(),
        };
        let ratio = ratio(all, all[0].name, runs, |sample| sample.us);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            runs.name,
            cell(median(runs, |sample| sample.us), 2),
            tables::marked(ratio),
            tables::spread(&us, 2),
            cell(median(runs, |sample| sample.per_second), 0),
        );
    }
    text
}
