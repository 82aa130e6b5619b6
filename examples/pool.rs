//! A client that sends lines over pooled connections and checks that each comes back: a small load generator, and an
//! example of a client that survives restarts of its server.
//!
//! Shows `kit::pool`: a task leases a connection from the pool, sends a line, and releases it after the answer. There
//! are more tasks than connections, so they wait for each other. When the server is down, the pool tries again after
//! a pause, up to a deadline, and the line whose answer was lost is sent again.
//!
//! ```text
//! cargo run --release --example echo_server
//! cargo run --release --features pool --example pool -- --requests 100000 --connections 4
//! ```

mod common;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::kit::pool::{
    Acquired, AfterFailure, Lease, Pool, PoolOptions, Refused, ReusableHandler, Seat,
};
use slabloop::{AnyId, Cause, Context, Dispatcher, Id, Reactor, TimerId};

use common::{Failure, Limit};

type Connection = Framed<Line>;
type Connections = Pool<SocketAddr, Connection>;

/// A connection: a line is sent, and a line comes back for the sender.
#[derive(Default)]
struct Line {
    asker: Option<Id<Task>>,
}

impl Line {
    fn ask(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        asker: Id<Task>,
        line: &str,
    ) -> io::Result<()> {
        self.asker = Some(asker);
        framing.push_record(cx, line.as_bytes())
    }
}

impl Handler for Line {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        let Some(asker) = self.asker.take() else {
            return Err(io::Error::other("an unsolicited line"));
        };
        let _ = cx.call(asker, |task, cx| task.answered(cx, line));
        Ok(())
    }
}

impl ReusableHandler for Line {
    fn is_reusable(&mut self, _: &mut Context<'_>, _: &mut Framing) -> bool {
        self.asker.is_none()
    }
}

/// Sends one line after another, each over the connection that the pool gives it.
struct Task {
    name: usize,
    plan: Plan,
    tally: Id<Tally>,
    lease: Option<Lease<SocketAddr, Connection>>,
    line: String,
}

/// What all tasks are to do.
#[derive(Clone, Copy)]
struct Plan {
    pool: Id<Connections>,
    server: SocketAddr,
}

impl Task {
    /// The next line, if there is one.
    fn go_on(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let number = cx.with(self.tally, |tally, cx| tally.next(cx)).flatten();
        let Some(number) = number else {
            cx.close();
            return Ok(());
        };
        self.line = format!("line {number} of task {}", self.name);
        self.acquire(cx)
    }

    fn acquire(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Plan { pool, server } = self.plan;
        match Pool::acquire(cx, pool, &server, cx.id::<Task>(), Task::acquired) {
            Acquired::Now(outcome) => self.acquired(cx, outcome),
            Acquired::Later(_) => Ok(()),
        }
    }

    fn acquired(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Result<Lease<SocketAddr, Connection>, Refused>,
    ) -> io::Result<()> {
        let lease = match outcome {
            Ok(lease) => lease,
            Err(refused) => {
                cx.with(self.tally, |tally, cx| tally.give_up(cx, &refused));
                cx.close();
                return Ok(());
            }
        };
        let me = cx.id::<Task>();
        // If the server goes before it answers: `handle_gone`.
        cx.watch(lease.id());
        let asked = lease.with(cx, |connection, cx| {
            let (line, framing) = connection.parts();
            line.ask(cx, framing, me, &self.line)
        });
        self.lease = Some(lease);
        asked.map_err(io::Error::other)?
    }

    fn answered(&mut self, cx: &mut Context<'_>, line: &[u8]) -> io::Result<()> {
        if line != self.line.as_bytes() {
            let got = String::from_utf8_lossy(line);
            let text = format!("{:?} came back as {got:?}", self.line);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        cx.with(self.tally, |tally, _| tally.answered += 1);
        if let Some(lease) = self.lease.take() {
            cx.unwatch(lease.id());
            lease.release(cx);
        }
        self.go_on(cx)
    }
}

impl Dispatcher for Task {
    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, _: Cause) -> io::Result<()> {
        if self
            .lease
            .as_ref()
            .is_none_or(|lease| lease.id().any() != id)
        {
            return Ok(());
        }
        self.lease = None;
        cx.with(self.tally, |tally, _| tally.repeated += 1);
        self.acquire(cx)
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.with(self.tally, |tally, cx| tally.give_up(cx, &error));
        cx.close();
    }
}

/// How many lines there are to send, and what became of them.
struct Tally {
    pool: Id<Connections>,
    requests: u64,
    begun: u64,
    answered: u64,
    repeated: u64,
    failure: Option<String>,
}

impl Tally {
    fn next(&mut self, cx: &mut Context<'_>) -> Option<u64> {
        if self.begun == self.requests || self.failure.is_some() {
            if self.answered == self.requests {
                cx.stop();
            }
            return None;
        }
        self.begun += 1;
        Some(self.begun)
    }

    fn give_up(&mut self, cx: &mut Context<'_>, error: &dyn std::error::Error) {
        self.failure.get_or_insert_with(|| error.to_string());
        cx.stop();
    }

    fn report(&self, cx: &mut Context<'_>, elapsed: Duration) {
        let (answered, repeated) = (self.answered, self.repeated);
        common::say(&format!(
            "requests: answered={answered} repeated={repeated} seconds={:.3}",
            elapsed.as_secs_f64()
        ));
        if let Some(gauges) = Pool::gauges(cx, self.pool) {
            common::say(&format!(
                "pool: open={} idle={} leased={} connecting={} waiting={} longest_wait_ms={} made={} reused={} \
                 discarded={} failed={} refused={}",
                gauges.open,
                gauges.idle,
                gauges.leased,
                gauges.connecting,
                gauges.waiting,
                gauges.longest_wait.as_millis(),
                gauges.made,
                gauges.reused,
                gauges.discarded.total(),
                gauges.failed,
                gauges.refused.total(),
            ));
        }
    }
}

impl Dispatcher for Tally {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        log::info!("{} of {} answered", self.answered, self.requests);
        cx.set_timer(PROGRESS);
        Ok(())
    }
}

/// A log line comes so often.
const PROGRESS: Duration = Duration::from_secs(5);

/// The pause after the first failed attempt; each further one doubles it, up to 32 times.
const PAUSE: Duration = Duration::from_millis(25);

/// The command line, parsed.
struct Wanted {
    server: SocketAddr,
    requests: u64,
    connections: usize,
    tasks: usize,
    patience: Duration,
}

fn parse(mut parser: lexopt::Parser) -> Result<Wanted, Failure> {
    let mut name = "127.0.0.1:7000".to_owned();
    let (mut requests, mut connections, mut tasks) = (10_000, 4, 32);
    let mut patience = Duration::from_secs(10);
    let count = |flag: &str, parser: &mut lexopt::Parser| -> Result<u32, Failure> {
        let right = "a whole number of at least 1";
        match common::value(flag, parser, right)? {
            0 => Err(Failure::Usage(format!("{flag} 0: expected {right}"))),
            number => Ok(number),
        }
    };
    while let Some(argument) = parser.next()? {
        let flag = match argument {
            lexopt::Arg::Short('h') => return Err(Failure::Help),
            lexopt::Arg::Long(flag) => flag.to_owned(),
            unexpected => return Err(unexpected.unexpected().into()),
        };
        match flag.as_str() {
            "help" => return Err(Failure::Help),
            "version" => return Err(Failure::Version),
            "connect" => name = common::host_and_port("--connect", &mut parser)?,
            "requests" => requests = u64::from(count("--requests", &mut parser)?),
            "connections" => connections = count("--connections", &mut parser)? as usize,
            "tasks" => tasks = count("--tasks", &mut parser)? as usize,
            "patience" => {
                patience = common::seconds("--patience", &mut parser, Limit::AboveZero)?;
            }
            other => return Err(Failure::Usage(format!("unknown option --{other}"))),
        }
    }
    Ok(Wanted {
        server: common::look_up("--connect", &name)?[0],
        requests,
        connections,
        tasks,
        patience,
    })
}

fn run(wanted: &Wanted) -> Result<(), Failure> {
    let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
    let mut options = PoolOptions::new();
    options
        .max_connections(wanted.connections)
        .max_per_destination(wanted.connections)
        .max_waiting(wanted.tasks)
        .wait_timeout(wanted.patience);
    let connect = |cx: &mut Context<'_>, server: &SocketAddr, seat: Seat<_, _>| {
        let connection = Framed::new(Terminator::Line, Line::default())?;
        cx.connect(*server, seat.hold(connection))
    };
    let pool = Connections::new(&options, connect).map_err(Failure::io("--connections"))?;
    let pool = pool.after_failure(|server, error, failures| {
        let pause = PAUSE * (1 << failures.saturating_sub(1).min(5));
        log::info!("cannot connect to {server}: {error}; again in {pause:?}");
        AfterFailure::Retry(pause)
    });
    let cannot_add = "cannot add a dispatcher";
    let pool = reactor.add_service(pool).map_err(Failure::io(cannot_add))?;
    let tally = Tally {
        pool,
        requests: wanted.requests,
        begun: 0,
        answered: 0,
        repeated: 0,
        failure: None,
    };
    let tally = reactor
        .add_service(tally)
        .map_err(Failure::io(cannot_add))?;
    if let Some(mut cx) = reactor.at(tally) {
        cx.set_timer(PROGRESS);
    }
    common::stop_on_signals(&mut reactor)?;
    let started = Instant::now();
    for name in 0..wanted.tasks {
        let task = Task {
            name,
            plan: Plan {
                pool,
                server: wanted.server,
            },
            tally,
            lease: None,
            line: String::new(),
        };
        let task = reactor.add_service(task).map_err(Failure::io(cannot_add))?;
        let begun = reactor.with(task, |task, cx| task.go_on(cx));
        begun
            .unwrap_or(Ok(()))
            .map_err(Failure::io("cannot begin"))?;
    }
    reactor.run().map_err(Failure::io("the loop failed"))?;
    let failure = reactor.with(tally, |tally, cx| {
        tally.report(cx, started.elapsed());
        let unanswered = tally.requests - tally.answered;
        let failure = tally.failure.take();
        failure.or_else(|| {
            (unanswered > 0).then(|| format!("stopped with {unanswered} requests unanswered"))
        })
    });
    reactor
        .shutdown(Duration::from_secs(1))
        .map_err(Failure::io("the loop failed"))?;
    match failure.flatten() {
        Some(text) => Err(Failure::Work(text)),
        None => Ok(()),
    }
}

const HELP: &str = "\
Sends lines to an echo server over pooled connections and checks that each comes back.

Usage: pool [OPTIONS]

  --connect HOST:PORT      the server [127.0.0.1:7000]
  --requests N             lines to send [10000]
  --connections N          maximum number of connections [4]
  --tasks N                senders, each with one line in flight [32]
  --patience SECONDS       how long a sender waits for a connection, for example while the server
                           restarts; then the program gives up [10]
  -h, --help               this text
      --version            the version of slabloop

A line whose connection ends before the answer is sent again: the server may see it twice. At the end
it prints the counters of the pool. RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  pool --requests 100000 --connections 8
  pool --connect localhost:7000 --tasks 1000 --patience 60
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| run(&parse(arguments)?))
}
