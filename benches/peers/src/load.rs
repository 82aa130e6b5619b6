//! The client: many connections, messages that walk over all of them, and what the server spent on
//! it.
//!
//! It is a process of its own on raw epoll, so that it costs little and the same for every server,
//! and it checks every byte that comes back. *Closed loop:* `--in-flight` messages are on their way
//! at any time; when one is home, the next goes out on the connection that has been idle longest,
//! so that in time all connections take part. That is a server's everyday life, many connected and
//! few talking. *Open loop:* `--rate` messages a second go out by the clock, and latency counts
//! from the moment that a message was due, not from when it could be sent: a server that stalls
//! can't hide what it kept waiting. *Arrivals:* with `--arrive` the connections themselves are the
//! load, see [`arrivals`].
//!
//! Of the server (`--pid`) it reads the CPU time that the kernel's scheduler counted, before
//! and after the messages, and its memory before the first connection and after each has had one
//! message (a connection that never spoke is not what is met in practice). Result: one line of
//! `key=value` on standard output.
//!
//! Reading order: [`options`], [`traffic`], [`arrivals`], [`observe`].

pub mod arrivals;
pub mod observe;
pub mod options;
pub mod traffic;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::cli::Result;
use arrivals::Arrivals;
use observe::{Cpu, Process};
use options::{Meeting, Options, Pace, Work};
use traffic::Traffic;

/// Messages on their way while warming up, whatever is measured afterwards.
const WARM_UP_IN_FLIGHT: usize = 500;

/// How long the server may take to become idle after the last connection.
const IDLE_LIMIT: Duration = Duration::from_secs(5);

/// The program `load`.
///
/// # Errors
///
/// A bad command line, a server that goes away, and bytes that came back changed.
pub fn main() -> Result<()> {
    let options = Options::from_args()?;
    let server = options.pid.map(Process::new);
    let mut line = Line::default();
    line.add("connections", options.connections);
    line.add("size", options.size);
    match options.work {
        Work::Messages { count, pace } => {
            exchange(&options, count, pace, server.as_ref(), &mut line)?;
        }
        Work::Arrivals(meeting) => arrive(&options, meeting, server.as_ref(), &mut line)?,
    }
    println!("{}", line.0);
    Ok(())
}

/// All connections first, then the messages.
fn exchange(
    options: &Options,
    messages: u64,
    pace: Pace,
    server: Option<&Process>,
    line: &mut Line,
) -> Result<()> {
    let rss_before = server.map(Process::rss_kib).transpose()?;
    let connecting = Instant::now();
    let mut traffic = Traffic::connect(options)?;
    let connect_seconds = connecting.elapsed().as_secs_f64();
    if let Some(server) = server {
        // A server may look at a new connection once more or once less, depending on whether its
        // first message is there already. Let all of them find none, so that every run is alike.
        server.wait_until_idle(IDLE_LIMIT)?;
    }
    // One message each, unmeasured: afterwards the server has accepted all, and knows all.
    let everyone = options.connections as u64;
    let at_once = options.connections.min(WARM_UP_IN_FLIGHT);
    traffic.run(
        everyone,
        Pace::Closed { in_flight: at_once },
        &mut progress("warming up"),
    )?;
    let rss_after = server.map(Process::rss_kib).transpose()?;
    traffic.forget_latencies();

    let cpu_before = server.map(Process::cpu).transpose()?;
    let start = Instant::now();
    traffic.run(messages, pace, &mut progress("messages"))?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_after = server.map(Process::cpu).transpose()?;

    match pace {
        Pace::Closed { in_flight } => line.add("in_flight", in_flight),
        Pace::Open { rate } => line.add("rate", rate),
    }
    line.add("messages", messages);
    line.add("seconds", format!("{seconds:.4}"));
    line.add("per_second", format!("{:.0}", messages as f64 / seconds));
    let latency = traffic.latency_ns();
    for (key, quantile) in [
        ("p50_us", 0.5),
        ("p90_us", 0.9),
        ("p99_us", 0.99),
        ("p999_us", 0.999),
    ] {
        line.add(
            key,
            format!("{:.1}", latency.value_at_quantile(quantile) as f64 / 1e3),
        );
    }
    line.add("max_us", format!("{:.1}", latency.max() as f64 / 1e3));
    line.add(
        "connects_per_second",
        format!("{:.0}", everyone as f64 / connect_seconds),
    );
    if let (Some(before), Some(after)) = (cpu_before, cpu_after) {
        let Cpu {
            run_ns,
            user_ms,
            system_ms,
        } = after.since(before);
        line.add(
            "server_us_per_message",
            format!("{:.3}", run_ns as f64 / 1e3 / messages as f64),
        );
        line.add("server_user_ms", user_ms);
        line.add("server_system_ms", system_ms);
    }
    if let (Some(before), Some(after)) = (rss_before, rss_after) {
        line.add("rss_before_kib", before);
        line.add("rss_after_kib", after);
        let per_connection = (after as f64 - before as f64) / options.connections as f64;
        line.add("kib_per_connection", format!("{per_connection:.3}"));
    }
    Ok(())
}

/// All connections at once, and one message on each.
fn arrive(
    options: &Options,
    meeting: Meeting,
    server: Option<&Process>,
    line: &mut Line,
) -> Result<()> {
    let mut arrivals = Arrivals::prepare(options)?;
    let cpu_before = server.map(Process::cpu).transpose()?;
    let outcome = match (meeting, server) {
        (Meeting::Stopped, Some(server)) => arrivals.run_from_queue(server)?,
        _ => arrivals.run()?,
    };
    line.add("seconds", format!("{:.4}", outcome.elapsed.as_secs_f64()));
    let answered = options.connections - outcome.lost;
    let per_second = answered as f64 / outcome.elapsed.as_secs_f64();
    line.add("per_second", format!("{per_second:.0}"));
    line.add(
        "slowest_ms",
        format!("{:.1}", outcome.slowest.as_secs_f64() * 1e3),
    );
    line.add("delayed", outcome.delayed);
    line.add("lost", outcome.lost);
    if let (Some(server), Some(before)) = (server, cpu_before) {
        // A thread that runs is counted up to its last switch: let it come to rest first.
        server.wait_until_idle(IDLE_LIMIT)?;
        let spent = server.cpu()?.since(before);
        let us = spent.run_ns as f64 / 1e3 / options.connections as f64;
        line.add("server_us_per_connection", format!("{us:.3}"));
    }
    Ok(())
}

/// The result as it grows.
#[derive(Default)]
struct Line(String);

impl Line {
    fn add(&mut self, key: &str, value: impl std::fmt::Display) {
        let separator = if self.0.is_empty() { "" } else { " " };
        self.0.push_str(&format!("{separator}{key}={value}"));
    }
}

/// Tells a person how far things are; says nothing where nobody watches.
fn progress(what: &'static str) -> impl FnMut(u64, u64) {
    let watched = io::stderr().is_terminal();
    let mut told = Instant::now();
    move |done, of| {
        if !watched || (done < of && told.elapsed().as_millis() < 200) {
            return;
        }
        told = Instant::now();
        let end = if done == of { "\n" } else { "" };
        // A terminal that went away is no reason to stop measuring.
        let _ = write!(io::stderr(), "\r{what}: {done} of {of}{end}");
    }
}
