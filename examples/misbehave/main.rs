//! Faults in the inspector: a healthy echo server with clients of its own, and one faulty dispatcher for each flag.
//!
//! ```text
//! cargo run --release --features inspector --example misbehave -- --block 800 --inspect 127.0.0.1:7006
//! ```
//!
//! and open <http://127.0.0.1:7006/>. Each flag triggers a lint of its own; without a flag there is no lint. Compare
//! `--spin`, which wastes CPU time while all clients are still served, with `--block`, which uses none and serves no
//! client.

#[path = "../common/mod.rs"]
mod common;

mod burning;
mod ghost;
mod healthy;
mod slowing;
mod waiting;

use std::process::ExitCode;
use std::time::Duration;

use common::Failure;
use slabloop::Reactor;

const HELP: &str = "\
A healthy echo server with clients of its own, and one faulty dispatcher for each flag.

Usage: misbehave [FAULT]... [OPTIONS]

  --block MS               sleeps MS milliseconds in handle_read, every two seconds; over 100 it is a slow callback
  --spin                   calls start_writing, and has nothing to write
  --no-drain               returns from handle_read without having read
  --greedy                 reads for 4 ms in each callback, again and again
  --slow-client            sends to a client that does not read, without backpressure
  --leak                   keeps 120 connections whose clients have finished
  --timers                 has a periodic timer of 0 ms
  --posts                  has a thread that posts without pause

  --ghost                  has a source that is closed and stays registered: stale events, and no lint
  --turn-delay MS          sleeps MS milliseconds after every turn, so that the batches grow visibly
  --clients N              how many clients there are [4]
  --every MS               how often each of them sends something [25]

  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7011]
  --inspect HOST:PORT      shows the loop in a browser
  --trace FILE             writes what the loop does, for ui.perfetto.dev; build with --features inspector,trace
  --drain SECONDS          time limit for sending queued output at shutdown [5]
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

Examples:
  misbehave --inspect 127.0.0.1:7006
  misbehave --block 800 --inspect 127.0.0.1:7006
  misbehave --spin --turn-delay 50 --inspect 127.0.0.1:7006
";

/// Adds what is wrong to the reactor.
type Fault = Box<dyn FnOnce(&mut Reactor) -> std::io::Result<()>>;

/// The fault that a flag stands for. `None` if it stands for none.
fn fault(flag: &str, parser: &mut lexopt::Parser) -> Result<Option<Fault>, Failure> {
    Ok(Some(match flag {
        "block" => {
            let time = millis("--block", parser)?;
            Box::new(move |reactor| waiting::block(reactor, time))
        }
        "slow-client" => Box::new(waiting::slow_client),
        "leak" => Box::new(waiting::leak),
        "spin" => Box::new(burning::spin),
        "no-drain" => Box::new(burning::no_drain),
        "greedy" => Box::new(burning::greedy),
        "timers" => Box::new(burning::timers),
        "posts" => Box::new(burning::posts),
        "ghost" => Box::new(ghost::haunt),
        "turn-delay" => {
            let time = millis("--turn-delay", parser)?;
            Box::new(move |reactor| slowing::delay(reactor, time))
        }
        _ => return Ok(None),
    }))
}

fn millis(flag: &str, parser: &mut lexopt::Parser) -> Result<Duration, Failure> {
    let millis: u32 = common::value(flag, parser, "a whole number of milliseconds")?;
    Ok(Duration::from_millis(u64::from(millis)))
}

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut faults = Vec::new();
        let (mut count, mut period) = (4, Duration::from_millis(25));
        let options = common::Options::parse(arguments, "127.0.0.1:7011", |flag, parser| {
            match flag {
                "clients" => count = common::number("--clients", parser, 0)?,
                "every" => period = millis("--every", parser)?.max(Duration::from_millis(1)),
                _ => match fault(flag, parser)? {
                    Some(fault) => faults.push(fault),
                    None => return Ok(false),
                },
            }
            Ok(true)
        })?;
        let reactor = common::builder(&options, 1).build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        let server = common::listen(&mut reactor, &options, healthy::Listener)?;
        healthy::clients(&mut reactor, server.any(), count, period)
            .map_err(Failure::io("cannot start the clients"))?;
        for fault in faults {
            fault(&mut reactor).map_err(Failure::io("cannot start a fault"))?;
        }
        common::serve(reactor, &options)
    })
}
