//! Many connections that arrive at once: whether all are served, how soon, and what one costs.
//!
//! Two runs for each server. In the first it runs, and the client connects as fast as it can: that
//! shows who is lost or turned away by a full backlog. But over loopback the client pays for both
//! ends of the handshake, and so sets the pace. In the second the server is stopped while its queue
//! fills, and the clock starts when it goes on: that shows the pace of the server.

use std::fs;

use super::echo;
use super::options::{Experiment, Options};
use super::peers::{self, Job, Peer};
use super::plot::Plot;
use super::process;
use super::report::Section;
use super::rounds::{Runs, in_turn, median};
use super::table::{Table, cell};
use crate::cli::Result;
use crate::serve::BACKLOG;

/// Connections that fill the queue of a stopped server: a few less than [`BACKLOG`], which all
/// peers ask for.
const QUEUED: usize = 4_000;

/// The figures of a round.
struct Sample {
    lost: f64,
    delayed: f64,
    slowest_ms: f64,
    per_second: f64,
    us: f64,
    queued_per_second: f64,
    queued_us: f64,
}

/// Runs every peer.
#[must_use]
pub fn measure(options: &Options, all: &[Peer]) -> Section {
    let peers = peers::with_job(all, Job::Echo);
    let mut notes = Vec::new();
    let somaxconn = somaxconn();
    // A shorter queue would turn away the rest, and their second attempt would be what is measured.
    let connections = options.scale.arrivals;
    let queued = somaxconn.unwrap_or(QUEUED).min(QUEUED).min(connections);
    let runs = in_turn(
        "arrivals",
        options.scale.rounds,
        &peers,
        &mut notes,
        |peer| run(peer, connections, queued),
    );

    let headers = [
        "server",
        "lost",
        "delayed",
        "delayed, worst round",
        "slowest, ms",
        "connections per second",
        "µs per connection",
        "per second, from the queue",
        "µs, from the queue",
    ];
    let mut table = Table::new(headers.map(str::to_owned).to_vec());
    let mut rows = Vec::new();
    for one in &runs {
        let us = median(one, |sample| sample.us);
        let queued_us = median(one, |sample| sample.queued_us);
        table.row(
            one.name,
            vec![
                cell(worst(one, |sample| sample.lost), 0),
                cell(median(one, |sample| sample.delayed), 0),
                cell(worst(one, |sample| sample.delayed), 0),
                cell(median(one, |sample| sample.slowest_ms), 0),
                cell(median(one, |sample| sample.per_second), 0),
                cell(us, 1),
                cell(median(one, |sample| sample.queued_per_second), 0),
                cell(queued_us, 1),
            ],
        );
        rows.push((one.name.to_owned(), vec![us, queued_us]));
    }
    let limit = somaxconn.map_or("unknown".to_owned(), |limit| cell(Some(limit as f64), 0));
    Section {
        experiment: Experiment::Arrivals,
        title: "Echo: connections that arrive at once",
        intro: format!(
            "{} TCP connections, begun as fast as one client can, to a server that has just \
             started; each sends 64 bytes as soon as it is connected and waits for them to come \
             back. All servers ask for a backlog of {}; this kernel's limit (`somaxconn`) is \
             {limit}. A full backlog silently drops new connections, and they try again after \
             a second: *delayed* are those that had to send anything twice (a tenth of a second of \
             other work on the processor fills a backlog, too, hence the worst round \
             beside the median); *lost*, in the worst round, are those that were refused, reset or \
             never answered; *slowest* waited longest for its answer. Connections per second are \
             counted from the first connect to the last answer, and depend as much on the client, \
             which over loopback pays for both ends of the handshake. So for the last two columns {} \
             connections queue up, each with its message, while the server is stopped, and the \
             clock starts when it continues. µs are the server's own CPU time for accepting, \
             reading and answering one connection.",
            cell(Some(connections as f64), 0),
            cell(Some(f64::from(BACKLOG)), 0),
            cell(Some(queued as f64), 0),
        ),
        commands: vec![
            "taskset -c 0 SERVER_echo --listen 127.0.0.1:0".to_owned(),
            format!(
                "taskset -c 1 load --connect ADDR --pid PID --connections {connections} --arrive \
                 running"
            ),
            format!(
                "taskset -c 1 load --connect ADDR --pid PID --connections {queued} --arrive stopped"
            ),
        ],
        table,
        plots: vec![Plot {
            name: "arrivals".to_owned(),
            title: "Arrivals: µs of CPU time per connection (less is better)".to_owned(),
            series: vec![
                format!("{connections} at once"),
                format!("{queued} from the queue"),
            ],
            decimals: 1,
            rows,
        }],
        notes,
    }
}

/// A server of its own for each run, as a restart meets its clients.
fn run(peer: &Peer, connections: usize, queued: usize) -> Result<Sample> {
    let arrive = |count: usize, meeting: &str| {
        let count = count.to_string();
        let arguments = ["--connections", &count, "--arrive", meeting];
        process::load(&echo::start(peer, &[])?, &arguments)
    };
    let at_once = arrive(connections, "running")?;
    let from_queue = arrive(queued, "stopped")?;
    Ok(Sample {
        lost: at_once.value("lost")? + from_queue.value("lost")?,
        delayed: at_once.value("delayed")? + from_queue.value("delayed")?,
        slowest_ms: at_once.value("slowest_ms")?,
        per_second: at_once.value("per_second")?,
        us: at_once.value("server_us_per_connection")?,
        queued_per_second: from_queue.value("per_second")?,
        queued_us: from_queue.value("server_us_per_connection")?,
    })
}

/// The longest queue that the kernel allows, if it tells.
fn somaxconn() -> Option<usize> {
    let text = fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?;
    text.trim().parse().ok()
}

/// The largest over the rounds: what must not happen must not happen once.
fn worst<T>(runs: &Runs<T>, figure: impl Fn(&T) -> f64) -> Option<f64> {
    runs.samples.iter().map(figure).reduce(f64::max)
}
