//! A client of many connections that mostly wait: what it takes to keep ten thousand of them asking.
//!
//! Here the client is what is measured, on the server's processor, and nginx answers from the other.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use super::nginx;
use super::options::{Experiment, Options, Scale};
use super::peers::{self, Job, Peer};
use super::plot::Plot;
use super::process::{self, Core};
use super::report::Section;
use super::rounds::{Runs, in_turn, median};
use super::table::{OURS, Table, cell};
use super::temp::TempDir;
use crate::cli::{Doing, Error, Result};

const INTERVAL: &str = "2..6s";

/// Begun in a second: ten every 10 ms, as in the experiment.
const OPEN_RATE: usize = 1000;

/// The figures of a round, in the table's order. All but the number of requests are better if they are less.
const COLUMNS: [(&str, usize); 10] = [
    ("requests", 0),
    ("errors", 0),
    ("CPU time, s", 2),
    ("in the program, s", 2),
    ("once all are open, s", 2),
    ("µs of CPU time per request", 1),
    ("peak memory, MiB", 1),
    ("p50, ms", 2),
    ("p99, ms", 1),
    ("p99.9, ms", 1),
];
const CPU: usize = 2;
const USER: usize = 3;
const STEADY: usize = 4;
const MEMORY: usize = 6;
/// Their ratios have columns, too.
const RATIOS: [(usize, &str); 4] = [
    (CPU, "CPU time, ×"),
    (USER, "in the program, ×"),
    (STEADY, "once all are open, ×"),
    (MEMORY, "memory, ×"),
];

type Sample = [f64; COLUMNS.len()];

/// Runs every client.
#[must_use]
pub fn measure(options: &Options, all: &[Peer]) -> Section {
    let scale = options.scale;
    let mut notes = Vec::new();
    let mut peers = peers::with_job(all, Job::Head);
    if !process::has("nginx") {
        notes.push("nginx is not installed, so nothing was measured".to_owned());
        peers.clear();
    }
    let runs = in_turn("heads", scale.heads_rounds, &peers, &mut notes, |peer| {
        run(peer, scale)
    });

    let mut headers = vec!["client".to_owned()];
    headers.extend(COLUMNS.map(|(name, _)| name.to_owned()));
    headers.extend(RATIOS.map(|(_, name)| format!("{name} {OURS}")));
    let mut table = Table::new(headers);
    let mut rows = Vec::new();
    let ours = runs.iter().find(|one| one.name == OURS);
    for one in &runs {
        let figures = medians(one);
        let base = ours.map_or([None; COLUMNS.len()], medians);
        let mut cells: Vec<_> = (0..COLUMNS.len())
            .map(|column| {
                let text = cell(figures[column], COLUMNS[column].1);
                match (figures[column], base[column]) {
                    (Some(theirs), Some(ours)) if column > 0 && theirs < ours => {
                        format!("{text} ▼")
                    }
                    _ => text,
                }
            })
            .collect();
        for (column, _) in RATIOS {
            // In a quick run it may be less than can be told.
            let times = figures[column].zip(base[column].filter(|ours| *ours > 0.0));
            cells.push(cell(times.map(|(theirs, ours)| theirs / ours), 1));
        }
        table.row(one.name, cells);
        rows.push((
            one.name.to_owned(),
            vec![figures[CPU], figures[USER], figures[MEMORY]],
        ));
    }
    let connections = scale.heads_connections;
    Section {
        experiment: Experiment::Heads,
        title: "A client of many connections",
        intro: format!(
            "{} connections to nginx (one worker, a file of 12 bytes, keep-alive), begun at {OPEN_RATE} a second; each \
             sends a HEAD, waits up to 3 s for the answer, pauses for a random time between 2 and 6 seconds, and asks \
             again; {} seconds in all. CPU time is the client's from its start to its end, an interpreter's start \
             included; *in the program* is the part of it outside the kernel, as sampled by its clock, *once all are open* the part after the last \
             connection was begun. Over loopback the rest of it, the kernel's, includes a part of nginx's side. Memory is \
             the peak of what was resident. slabloop is the example `head_client` as it is, with its histogram and its line each \
             second; raw epoll and tokio have the same parser and counts, and no buffer for a connection that waits, tokio a task \
             for each; asyncio and uvloop have streams. Latency is counted from the call that sends. Medians of {} rounds \
             in turn; ▼ marks a figure that is better than slabloop's.",
            cell(Some(connections as f64), 0),
            scale.heads_seconds,
            scale.heads_rounds,
        ),
        commands: vec![
            "taskset -c 1 nginx -p FOLDER -c FILE".to_owned(),
            format!(
                "taskset -c 0 CLIENT_head --target http://ADDR/file {}",
                arguments(scale).join(" ")
            ),
        ],
        table,
        plots: vec![Plot {
            name: "heads".to_owned(),
            title: format!(
                "{} connections: the client's CPU time and memory (less is better)",
                cell(Some(connections as f64), 0)
            ),
            series: ["CPU time, s", "in the program, s", "peak memory, MiB"]
                .map(str::to_owned)
                .to_vec(),
            decimals: 1,
            rows,
        }],
        notes,
    }
}

fn medians(runs: &Runs<Sample>) -> [Option<f64>; COLUMNS.len()] {
    std::array::from_fn(|column| median(runs, |sample| sample[column]))
}

fn arguments(scale: &Scale) -> Vec<String> {
    let (connections, seconds) = (scale.heads_connections, scale.heads_seconds);
    let words = [
        "--connections",
        &connections.to_string(),
        "--interval",
        INTERVAL,
        "--duration",
        &format!("{seconds}s"),
        "--timeout",
        "3s",
        "--open-rate",
        &OPEN_RATE.to_string(),
    ];
    words.map(str::to_owned).to_vec()
}

/// How long it takes until the last connection is begun.
fn opening(scale: &Scale) -> Duration {
    Duration::from_secs_f64(scale.heads_connections as f64 / OPEN_RATE as f64)
}

fn run(peer: &Peer, scale: &Scale) -> Result<Sample> {
    let Some(program) = peer.program(Job::Head) else {
        return Err(Error::Failed("no program for heads".to_owned()));
    };
    let folder = TempDir::new()?;
    let file = folder.path().join("file");
    fs::write(&file, "hello world\n").doing(format!("writing {}", file.display()))?;
    let address = process::free_address()?;
    // Both ends of a connection are descriptors, in two processes.
    // With less than a sixteenth of its connections free nginx closes those that are idle.
    let room = scale.heads_connections / 4 * 5;
    let body = configuration(address, &folder.path().display().to_string());
    let server = nginx::start_on(Core::Client, room, folder.path(), &body, address)?;
    let mut command = process::command(Core::Server, &[], &program.words);
    command
        .arg("--target")
        .arg(format!("http://{address}/file"));
    command.args(arguments(scale));
    let (figures, used) = process::watched(command, &program.shown, opening(scale))?;
    drop(server);
    let requests = figures.value("answered")?;
    let cpu = (used.user + used.system).as_secs_f64();
    let milliseconds = |key: &str| Ok::<f64, Error>(figures.value(key)? / 1e3);
    Ok([
        requests,
        figures.value("errors")?,
        cpu,
        used.user.as_secs_f64(),
        cpu - used.before_mark.as_secs_f64(),
        cpu * 1e6 / requests,
        used.peak_kib as f64 / 1024.0,
        milliseconds("p50_us")?,
        milliseconds("p99_us")?,
        milliseconds("p999_us")?,
    ])
}

fn configuration(address: SocketAddr, root: &str) -> String {
    format!(
        "http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n  server {{\n    \
         listen {address} backlog=4096;\n    root {root};\n  }}\n}}\n"
    )
}
