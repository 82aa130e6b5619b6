//! A client that keeps its connection: lines from stdin, or a heartbeat, to a server that may restart at any time.
//!
//! Shows [`Reconnect`]: the client itself is a dispatcher without code for reconnecting, and a new one for each
//! connection. Each attempt and each end of a connection is a log line.
//!
//! ```text
//! cargo run --release --example echo_server
//! cargo run --release --features retry --example reconnect -- --heartbeat 1
//! # Now stop the server, watch the log, and start the server again.
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`.

mod common;

use std::cell::Cell;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use common::{Failure, Limit};
use lexopt::Arg;
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::kit::bucket::Quota;
use slabloop::kit::retry::{Backoff, Budget, Reconnect};
use slabloop::{AnyId, Context, Handle, Id, Reactor, TimerId};

type Keeper = Id<Reconnect<Framed<Client>>>;

/// A longer line of the server's ends the connection.
const LONGEST_LINE: usize = 64 * 1024;

/// How long stdin is not read because the loop has no time for its lines.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
struct Client {
    heartbeat: Option<Duration>,
    beats: u64,
    /// Who makes the next one. When that has ended, this was the last.
    keeper: AnyId,
}

impl Handler for Client {
    fn handle_connect(&mut self, cx: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
        log::info!("{}: connected", cx.label());
        if let Some(period) = self.heartbeat {
            cx.set_interval(period);
        }
        Ok(())
    }

    fn found_terminator(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        common::say(&String::from_utf8_lossy(line));
        Ok(())
    }

    fn handle_timer(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        _: TimerId,
    ) -> io::Result<()> {
        self.beats += 1;
        cx.send(format!("heartbeat {}\n", self.beats).as_bytes())
    }

    /// The end is reported by the keeper of the connection.
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        log::debug!("{}: {error}", cx.label());
        cx.close();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        if cx.at(self.keeper).is_none() {
            cx.stop();
        }
    }
}

/// Sends the lines of stdin, on a thread of its own, for reading it blocks.
fn read_stdin(handle: &Handle, keeper: Keeper) {
    for line in io::stdin().lock().split(b'\n').map_while(Result::ok) {
        let send = move |reactor: &mut Reactor| {
            let link = reactor.with(keeper, |keeper, _| keeper.link()).flatten();
            let sent = link.and_then(|link| {
                let mut link = reactor.at(link).filter(|link| !link.is_connecting())?;
                link.send(&[&line, &b"\n"[..]].concat()).ok()
            });
            if sent.is_none() {
                let line = String::from_utf8_lossy(&line);
                log::warn!("not connected; not sent: {line}");
            }
        };
        if handle.post_wait(send, PATIENCE).is_err() {
            return;
        }
    }
    // The server answers what it has, and then ends the connection, which is not opened again.
    let _ = handle.post(move |reactor| {
        let link = reactor.with(keeper, |keeper, cx| {
            cx.close();
            keeper.link()
        });
        match link.flatten().and_then(|link| reactor.at(link)) {
            Some(mut link) => link.shutdown_write(),
            None => reactor.stop(),
        }
    });
}

const HELP: &str = "\
Keeps a connection to a line server: sends the lines of stdin, or a heartbeat, and prints the answers.

Usage: reconnect [OPTIONS]

  --connect HOST:PORT      the server [127.0.0.1:7000]
  --heartbeat SECONDS      interval of a line that is sent; stdin is not read
  --base SECONDS           the longest delay before the first retry [0.1]
  --cap SECONDS            the longest delay [30]
  --attempts N             gives up after N retries without success [never]
  --stable SECONDS         how long a connection must be up to count as a success [10]
  --budget N               at most N retries per second in the long run [no limit]
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.
";

struct Options {
    connect: String,
    heartbeat: Option<Duration>,
    base: Duration,
    cap: Duration,
    attempts: Option<u32>,
    stable: Duration,
    budget: Option<u32>,
    duration: Option<Duration>,
}

fn parse(mut parser: lexopt::Parser) -> Result<Options, Failure> {
    let mut options = Options {
        connect: "127.0.0.1:7000".to_owned(),
        heartbeat: None,
        base: Duration::from_millis(100),
        cap: Duration::from_secs(30),
        attempts: None,
        stable: Duration::from_secs(10),
        budget: None,
        duration: None,
    };
    while let Some(argument) = parser.next()? {
        let flag = match argument {
            Arg::Short('h') => return Err(Failure::Help),
            Arg::Long(flag) => format!("--{flag}"),
            unexpected => return Err(unexpected.unexpected().into()),
        };
        let parser = &mut parser;
        let whole = "a whole number";
        match flag.as_str() {
            "--help" => return Err(Failure::Help),
            "--version" => return Err(Failure::Version),
            "--connect" => options.connect = common::host_and_port(&flag, parser)?,
            "--heartbeat" => {
                options.heartbeat = Some(common::seconds(&flag, parser, Limit::AboveZero)?);
            }
            "--base" => options.base = common::seconds(&flag, parser, Limit::AboveZero)?,
            "--cap" => options.cap = common::seconds(&flag, parser, Limit::AboveZero)?,
            "--attempts" => options.attempts = Some(common::value(&flag, parser, whole)?),
            "--stable" => options.stable = common::seconds(&flag, parser, Limit::Any)?,
            "--budget" => options.budget = Some(common::value(&flag, parser, whole)?),
            "--duration" => {
                options.duration = Some(common::seconds(&flag, parser, Limit::AboveZero)?);
            }
            flag => return Err(Failure::Usage(format!("unknown option {flag}"))),
        }
    }
    Ok(options)
}

/// What keeps the connection to `address`.
fn keeper(
    options: &Options,
    address: SocketAddr,
    gave_up: &Rc<Cell<bool>>,
) -> io::Result<Reconnect<Framed<Client>>> {
    let mut backoff = Backoff::builder().base(options.base).cap(options.cap);
    if let Some(attempts) = options.attempts {
        backoff = backoff.limit(attempts);
    }
    let heartbeat = options.heartbeat;
    let gave_up = Rc::clone(gave_up);
    let dial = move |cx: &mut Context<'_>| {
        let client = Client {
            heartbeat,
            beats: 0,
            keeper: cx.any_id(),
        };
        let client = Framed::new(Terminator::Line, client)?;
        cx.connect(address, client.max_record(LONGEST_LINE))
    };
    let mut keeper = Reconnect::new(dial)
        .backoff(backoff.build()?)
        .stable_after(options.stable)
        .report(move |cx, event| {
            log::info!("{address}: {event}");
            if event.is_last() {
                gave_up.set(true);
                cx.stop();
            }
        });
    if let Some(retries) = options.budget {
        keeper = keeper.budget(Budget::new(10, 10, Quota::per_second(retries))?);
    }
    Ok(keeper)
}

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let options = parse(arguments)?;
        let address = common::look_up("--connect", &options.connect)?[0];
        let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
        common::stop_on_signals(&mut reactor)?;
        let gave_up = Rc::default();
        let keeper = keeper(&options, address, &gave_up)
            .and_then(|keeper| keeper.start(&mut reactor))
            .map_err(|error| Failure::Usage(error.to_string()))?;
        if options.heartbeat.is_none() {
            let handle = reactor.handle();
            thread::spawn(move || read_stdin(&handle, keeper));
        }
        if let Some(duration) = options.duration {
            reactor.call_later(duration, Reactor::stop);
        }
        reactor.run().map_err(Failure::io("the loop failed"))?;
        reactor
            .shutdown(Duration::from_secs(5))
            .map_err(Failure::io("the loop failed"))?;
        if gave_up.get() {
            return Err(Failure::Work(format!("gave up on {address}")));
        }
        Ok(())
    })
}
