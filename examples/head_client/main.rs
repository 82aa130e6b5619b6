//! Ten thousand connections to a web server from one thread: each asks with a HEAD, waits for the answer, pauses for a
//! random time, and asks again. An experiment that was once published for asyncio.
//!
//! Shows what a client of many connections needs: a bounded rate of opening (`kit::bucket`), backoff and a budget for
//! attempts after a failure (`kit::retry`), a timeout for each answer, little memory for a connection that waits, and
//! counters that count each request once. docs/ten-thousand-connections.md describes the limits that it reaches.
//!
//! ```text
//! cargo run --release --features examples --example head_client -- --target http://127.0.0.1:8080/ --duration 60
//! ```
//!
//! Reading order: [`options`], [`director`], which opens connections, [`connection`], [`answer`], [`tally`],
//! [`report`], [`plot`].

pub(crate) mod answer;
#[path = "../common/mod.rs"]
pub(crate) mod common;
mod connection;
mod descriptors;
pub(crate) mod director;
pub(crate) mod options;
mod plot;
pub(crate) mod random;
mod report;
pub(crate) mod tally;

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use common::Failure;
use director::{Director, Plan};
use options::{Options, Target};
use random::Random;
use slabloop::Reactor;
use tally::Tally;

const HELP: &str = "\
Opens many connections to a web server and sends a HEAD over each, again and again, with a random pause in between.

Usage: head_client [OPTIONS]

  --connections N          connections [10000]
  --target URL             http://HOST:PORT/PATH, or https:// for TLS [http://127.0.0.1:8080/]
  --interval A..B          pause between an answer and the next request, such as 1..60s or 100..500ms [1..60s]
  --timeout TIME           timeout of an answer, such as 3s, and of connecting [3s]
  --open-rate N            opens at most N connections per second [1000]
  --duration TIME          stops after this time [never]
  --plot FILE              writes a plot of the latencies, an SVG file
  --tls                    uses TLS also with http://
  --tls-name NAME          the name in the server's certificate [the host of the URL]
  --tls-ca FILE            certificates to trust, in PEM format [the system's]
  -h, --help               this text
      --version            the version of slabloop

A request without an answer in time is lost, and its connection is closed. Lost connections are opened again, after
a delay if the server caused the loss, with budget and backoff. Ctrl-C stops: the program waits for the requests in
flight, then it prints latencies and totals. The exit code is 0 if requests were answered and none failed, and 1
otherwise.
RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  head_client --target http://127.0.0.1:8080/ --duration 60s --plot latency.svg
  head_client --connections 100 --interval 10..20ms --duration 5s
";

fn plan(options: &Options) -> Result<Plan, Failure> {
    let Target {
        server, host, path, ..
    } = &options.target;
    let server = server.clone();
    // Once, and before the loop runs: looking up a name blocks.
    let address = common::look_up("--target", &server)?[0];
    let dialer = options.tls.dialers(&[server])?.remove(0);
    let request =
        format!("HEAD {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: head_client\r\n\r\n");
    Ok(Plan {
        address,
        dialer,
        request: request.into_bytes(),
        interval: options.interval.clone(),
        timeout: options.timeout,
        budget: director::budget(options.open_rate).map_err(Failure::io("--open-rate"))?,
        random: RefCell::new(Random::new()),
        tally: RefCell::new(Tally::new()),
    })
}

fn run(options: &Options) -> Result<(), Failure> {
    descriptors::provide_for(options.connections)?;
    let plan = Rc::new(plan(options)?);
    let mut reactor = Reactor::builder()
        .connect_timeout(options.timeout)
        .handshake_timeout(options.timeout)
        // A request is 100 bytes, and has its own time limit.
        .stall_timeout(None)
        .build()
        .map_err(Failure::io("cannot make a reactor"))?;
    common::stop_on_signals(&mut reactor)?;
    report::show_progress(&mut reactor, &plan);
    if let Some(duration) = options.duration {
        reactor.call_later(duration, Reactor::stop);
    }
    Director::start(
        &mut reactor,
        Rc::clone(&plan),
        options.connections,
        options.open_rate,
    )
    .map_err(Failure::io("--open-rate"))?;
    let failed = "the loop failed";
    reactor.run().map_err(Failure::io(failed))?;
    // What is in flight is answered or lost within its time.
    reactor
        .shutdown(options.timeout + Duration::from_secs(1))
        .map_err(Failure::io(failed))?;
    report::finish(&plan);

    let tally = plan.tally.borrow();
    if let Some(file) = &options.plot {
        let title = format!(
            "{} connections, {} answers",
            options.connections, tally.answered
        );
        plot::draw(file, &title, tally.latency())
            .map_err(|error| Failure::Work(format!("--plot {file}: {error}")))?;
    }
    match (tally.answered, tally.errors()) {
        (0, _) => Err(Failure::Work("no request was answered".to_owned())),
        (_, 0) => Ok(()),
        (_, errors) => Err(Failure::Work(format!("{errors} errors, see the totals"))),
    }
}

pub(crate) fn main() -> ExitCode {
    common::run(HELP, |arguments| run(&Options::parse(arguments)?))
}
