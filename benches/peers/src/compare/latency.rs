//! Latency of the echo server when messages come by the clock, not when the server is ready for
//! them.

use super::echo;
use super::options::{Experiment, Options};
use super::peers::{self, Job, Peer};
use super::plot::Plot;
use super::report::Section;
use super::rounds::{in_turn, median};
use super::table::{Table, cell};
use crate::cli::Result;

/// Messages per second: a fifth to a half of what most servers here can do on one processor.
const RATE: &str = "20000";
const CONNECTIONS: &str = "1000";
/// Columns, and the load generator's names for them.
const FIGURES: [(&str, &str); 5] = [
    ("p50 µs", "p50_us"),
    ("p99 µs", "p99_us"),
    ("p99.9 µs", "p999_us"),
    ("max µs", "max_us"),
    ("server µs per message", "server_us_per_message"),
];

/// Runs every peer.
#[must_use]
pub fn measure(options: &Options, all: &[Peer]) -> Section {
    let scale = options.scale;
    let peers = peers::with_job(all, Job::Echo);
    let messages = scale.latency_messages.to_string();
    let arguments = [
        "--connections",
        CONNECTIONS,
        "--rate",
        RATE,
        "--messages",
        &messages,
    ];
    let mut notes = Vec::new();
    let runs = in_turn("latency", scale.rounds, &peers, &mut notes, |peer| {
        let figures = echo::run(peer, &arguments)?;
        FIGURES
            .iter()
            .map(|(_, key)| figures.value(key))
            .collect::<Result<Vec<_>>>()
    });

    let mut headers = vec!["server".to_owned()];
    headers.extend(FIGURES.map(|(name, _)| name.to_owned()));
    let mut table = Table::new(headers);
    let mut rows = Vec::new();
    for one in &runs {
        let medians: Vec<_> = (0..FIGURES.len())
            .map(|index| median(one, |sample| sample[index]))
            .collect();
        table.row(
            one.name,
            medians.iter().map(|value| cell(*value, 1)).collect(),
        );
        rows.push((one.name.to_owned(), medians[..3].to_vec()));
    }
    Section {
        experiment: Experiment::Latency,
        title: "Echo: latency at a fixed rate",
        intro: format!(
            "{CONNECTIONS} connections; {RATE} messages of 64 bytes a second go out by the clock, \
             and latency counts from when a message was due. With two processors shared by \
             everything on the machine, p99.9 and the maximum show the machine as much as the \
             server. Few sockets are ready at a wait, so a message costs the server more than \
             under full load."
        ),
        commands: vec![
            "taskset -c 0 SERVER_echo --listen 127.0.0.1:0".to_owned(),
            format!(
                "taskset -c 1 load --connect ADDR --pid PID {}",
                arguments.join(" ")
            ),
        ],
        table,
        plots: vec![Plot {
            name: "latency".to_owned(),
            title: format!("Echo: latency in µs at {RATE} messages a second (less is better)"),
            series: ["p50", "p99", "p99.9"].map(str::to_owned).to_vec(),
            decimals: 0,
            rows,
        }],
        notes,
    }
}
