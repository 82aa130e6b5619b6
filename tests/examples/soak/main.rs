//! Chaos on real sockets, for as long as you like: thousands of clients that talk, stall, half-close, flood, reset and vanish,
//! signals, and moments in which the process has no descriptor left. What must hold: every echo is exact, memory and
//! descriptors do not grow, the counters add up.
//!
//! ```text
//! cargo run --release --example soak -- --minutes 60 --record soak.csv
//! ```
//!
//! The clients are a loop of their own on bare mio (`clients.rs`), so that the judge is not the accused.

mod clients;
mod disturb;
mod measure;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lexopt::{Arg, ValueExt};
use measure::Measured;
use slabloop::{Accepted, Context, Counters, Dispatcher, Reactor};

const HELP: &str = "\
Runs an echo server and thousands of unruly clients in one process, and checks what they get.

Usage: soak [OPTIONS]

  --minutes N    how long [1]
  --seconds N    the same in seconds
  --clients N    connections open at once, 1 to 9000 [2000]
  --seed N       what the clients do [1]
  --record FILE  a line of figures each second, as CSV
  -h, --help     this text

The exit code is 0 if everything held, 1 if not, 2 for wrong usage. Descriptors: two a client and 100 more
(`ulimit -n`).
";

struct Options {
    length: Duration,
    clients: usize,
    seed: u64,
    record: Option<String>,
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        length: Duration::from_secs(60),
        clients: 2000,
        seed: 1,
        record: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("minutes") => {
                options.length = Duration::from_secs(60 * parser.value()?.parse::<u64>()?);
            }
            Arg::Long("seconds") => options.length = Duration::from_secs(parser.value()?.parse()?),
            Arg::Long("clients") => options.clients = parser.value()?.parse()?,
            Arg::Long("seed") => options.seed = parser.value()?.parse()?,
            Arg::Long("record") => options.record = Some(parser.value()?.string()?),
            Arg::Short('h') | Arg::Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected()),
        }
    }
    if !(1..=9000).contains(&options.clients) {
        return Err(format!("--clients wants 1 to 9000, not {}", options.clients).into());
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}; --help tells the options");
            return ExitCode::from(2);
        }
    };
    match soak(&options) {
        Ok(faults) if faults.is_empty() => {
            println!("everything held");
            ExitCode::SUCCESS
        }
        Ok(faults) => {
            for fault in faults {
                println!("FAULT: {fault}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Door;

impl Dispatcher for Door {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(accepted, Echo).map(|_| ())
    }
}

struct Echo;

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }
}

/// The whole run. What did not hold is returned.
fn soak(options: &Options) -> io::Result<Vec<String>> {
    let mut measured = Measured::new(options.record.as_deref())?;
    let before = measure::descriptors()?;
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen("127.0.0.1:0", Door)?;
    let address = reactor
        .local_addr(listener)
        .expect("a listener has an address");
    println!(
        "{} clients, {:?}, seed {}, server on {address}",
        options.clients, options.length, options.seed
    );

    let ended = Arc::new(AtomicBool::new(false));
    let disturbance = disturb::start(&ended)?;
    let (clients, seed, until) = (options.clients, options.seed, Arc::clone(&ended));
    let clients = thread::spawn(move || clients::run(address, clients, seed, &until));

    let start = Instant::now();
    while start.elapsed() < options.length && !clients.is_finished() {
        reactor.turn(Duration::from_millis(100))?;
        measured.look(start.elapsed(), &reactor.counters(), reactor.count());
    }
    ended.store(true, Ordering::Relaxed);
    while !clients.is_finished() {
        // They leave, some of them after the last bytes of their echo.
        reactor.turn(Duration::from_millis(10))?;
    }
    let report = clients
        .join()
        .expect("the clients' thread does not panic")?;
    let disturbed = disturbance
        .join()
        .expect("nor does that of the disturbances");
    let aborted = reactor.shutdown(Duration::from_secs(5))?;
    let counters = reactor.counters();
    drop(reactor);

    println!("{report}");
    println!("{disturbed}");
    println!("{}", measured.summary());
    let mut faults = report.faults;
    faults.extend(measured.faults());
    faults.extend(unbalanced(&counters));
    if !aborted.is_empty() {
        faults.push(format!(
            "{} connections had to be aborted at the end",
            aborted.len()
        ));
    }
    let after = measure::descriptors()?;
    if after != before {
        faults.push(format!("{before} descriptors before, {after} afterwards"));
    }
    Ok(faults)
}

/// Whatever was added has ended, each for one reason.
fn unbalanced(counters: &Counters) -> Option<String> {
    let ended = counters.closed;
    (counters.added != ended).then(|| format!("{} added, {ended} closed", counters.added))
}
