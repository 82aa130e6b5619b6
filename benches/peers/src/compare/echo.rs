//! The echo server with many connections: CPU time per message, throughput, latency, memory.

use std::time::Duration;

use super::options::{Experiment, Options};
use super::peers::{self, Job, Peer};
use super::plot::Plot;
use super::process::{self, Core, Figures, Server};
use super::report::Section;
use super::rounds::{in_turn, median, ratio};
use super::table::{Table, cell};
use crate::cli::{Error, Result};

/// Bytes in a message.
const SIZE: usize = 64;
/// The floor that all are divided by.
const BASE: &str = "raw epoll";

/// How many messages fewer for a loop that looks at all connections each time.
const PATIENCE: u64 = 10;
/// Messages of the run that has one in flight.
const ALONE: &str = "3000";
/// The same for a loop that looks at all connections each time.
const ALONE_SLOW: &str = "100";
/// How long a server may take to close all connections before it gets new ones.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The figures of a run that the table shows.
struct Sample {
    us_per_message: f64,
    us_alone: f64,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    kib_per_connection: f64,
}

/// Runs every peer.
#[must_use]
pub fn measure(options: &Options, all: &[Peer]) -> Section {
    let scale = options.scale;
    let peers = peers::with_job(all, Job::Echo);
    let mut notes = Vec::new();
    let load = |messages: u64| {
        [
            "--connections".to_owned(),
            scale.echo_connections.to_string(),
            "--in-flight".to_owned(),
            scale.echo_in_flight.to_string(),
            "--size".to_owned(),
            SIZE.to_string(),
            "--messages".to_owned(),
            messages.to_string(),
        ]
    };
    let connections = scale.echo_connections.to_string();
    let runs = in_turn("echo", scale.rounds, &peers, &mut notes, |peer| {
        let server = start(peer, &[])?;
        let (messages, messages_alone) = if peer.asks_everyone() {
            (scale.echo_messages / PATIENCE, ALONE_SLOW)
        } else {
            (scale.echo_messages, ALONE)
        };
        let load = load(messages);
        let arguments: Vec<_> = load.iter().map(String::as_str).collect();
        let figures = process::load(&server, &arguments)?;
        server.process().wait_until_idle(END_LIMIT)?;
        let alone = [
            "--connections",
            &connections,
            "--in-flight",
            "1",
            "--messages",
            messages_alone,
        ];
        let alone = process::load(&server, &alone)?;
        Ok(Sample {
            us_per_message: figures.value("server_us_per_message")?,
            us_alone: alone.value("server_us_per_message")?,
            per_second: figures.value("per_second")?,
            p50_us: figures.value("p50_us")?,
            p99_us: figures.value("p99_us")?,
            kib_per_connection: figures.value("kib_per_connection")?,
        })
    });

    let headers = [
        "server",
        "µs per message",
        "× raw epoll",
        "µs, 1 in flight",
        "messages per second",
        "p50 µs",
        "p99 µs",
        "KiB per connection",
    ];
    let mut table = Table::new(headers.map(str::to_owned).to_vec());
    let mut time_rows = Vec::new();
    let mut memory_rows = Vec::new();
    for one in &runs {
        let time = median(one, |sample| sample.us_per_message);
        let alone = median(one, |sample| sample.us_alone);
        let memory = median(one, |sample| sample.kib_per_connection);
        table.row(
            one.name,
            vec![
                cell(time, 2),
                cell(ratio(&runs, BASE, one, |sample| sample.us_per_message), 2),
                cell(alone, 1),
                cell(median(one, |sample| sample.per_second), 0),
                cell(median(one, |sample| sample.p50_us), 0),
                cell(median(one, |sample| sample.p99_us), 0),
                cell(memory, 2),
            ],
        );
        time_rows.push((one.name.to_owned(), vec![time, alone]));
        memory_rows.push((one.name.to_owned(), vec![memory]));
    }
    Section {
        experiment: Experiment::Echo,
        title: "Echo: CPU time and memory",
        intro: format!(
            "{} TCP connections, of which {} have a message of {SIZE} bytes in flight at any \
             time, walking over all of them. First the CPU time that the server itself took \
             per message (the scheduler's count), then that over {BASE}'s in the same round, then \
             the same figure with a single message in flight, when each has to pay for \
             a wait of its own. User-space memory is the server's growth from before the first \
             connection to after each has had one message. Every byte that came back was compared.",
            cell(Some(scale.echo_connections as f64), 0),
            scale.echo_in_flight
        ),
        commands: vec![
            "taskset -c 0 SERVER_echo --listen 127.0.0.1:0".to_owned(),
            format!(
                "taskset -c 1 load --connect ADDR --pid PID {}",
                load(scale.echo_messages).join(" ")
            ),
        ],
        table,
        plots: vec![
            Plot {
                name: "echo-time".to_owned(),
                title: "Echo: µs of CPU time per message (less is better)".to_owned(),
                series: vec![
                    format!("{} in flight", scale.echo_in_flight),
                    "1 in flight".to_owned(),
                ],
                decimals: 1,
                rows: time_rows,
            },
            Plot {
                name: "echo-memory".to_owned(),
                title: "Echo: KiB of memory per idle connection (less is better)".to_owned(),
                series: vec![format!("{} connections", scale.echo_connections)],
                decimals: 2,
                rows: memory_rows,
            },
        ],
        notes,
    }
}

/// Starts a peer's echo server and loads it.
///
/// # Errors
///
/// A peer without such a server, or one that does not start or fails under the load.
pub fn run(peer: &Peer, arguments: &[&str]) -> Result<Figures> {
    process::load(&start(peer, &[])?, arguments)
}

/// Starts a peer's echo server, with words before it such as those of strace.
///
/// # Errors
///
/// A peer without such a server, or one that does not start.
pub fn start(peer: &Peer, before: &[&str]) -> Result<Server> {
    let Some(program) = peer.program(Job::Echo) else {
        return Err(Error::Failed("no program for echo".to_owned()));
    };
    Server::start(Core::Server, before, program, &["--listen", "127.0.0.1:0"])
}
