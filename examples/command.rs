//! Runs a command, passes on what it prints, and ends it if it takes too long.
//!
//! Shows a child process in the loop: its output as callbacks, its exit as another, and a time limit in two stages, a
//! signal that asks and one that does not. Nothing blocks, and no zombie is left.
//!
//! ```text
//! cargo run --release --features process --example command -- date
//! cargo run --release --features process --example command -- --time-limit 1 sleep 10
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. The page: `docs/how-to/subprocess.md`.

mod common;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use common::{Failure, Limit};
use lexopt::Arg;
use slabloop::kit::child::{ChildHandler, Process, SIGKILL, SIGTERM};
use slabloop::{Context, Reactor, TimerId};

/// How long a child may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// What is called for the child.
struct Watch {
    bytes: usize,
    asked_to_end: bool,
    outcome: Rc<RefCell<Option<String>>>,
}

impl ChildHandler for Watch {
    fn handle_stdout(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Process,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.bytes += bytes.len();
        // If our output is not read any more, the child's is thrown away.
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
        Ok(())
    }

    /// The time limit, and then the time of grace.
    fn handle_timer(
        &mut self,
        cx: &mut Context<'_>,
        process: &mut Process,
        _: TimerId,
    ) -> io::Result<()> {
        if self.asked_to_end {
            return process.kill(SIGKILL);
        }
        log::info!("process {}: takes too long", process.pid());
        self.asked_to_end = true;
        cx.set_timer(GRACE);
        process.kill(SIGTERM)
    }

    fn handle_exit(
        &mut self,
        _: &mut Context<'_>,
        process: &mut Process,
        status: ExitStatus,
    ) -> io::Result<()> {
        log::info!("process {}: {status}, {} bytes", process.pid(), self.bytes);
        self.outcome.replace(if self.asked_to_end {
            Some(format!("took too long, and was ended: {status}"))
        } else if !status.success() {
            Some(status.to_string())
        } else {
            None
        });
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        cx.stop();
    }
}

const HELP: &str = "\
Runs a command, and passes on what it prints.

Usage: command [OPTIONS] PROGRAM [ARGUMENT...]

  --time-limit SECONDS     ends the command after so long: by SIGTERM, and 2 seconds later by SIGKILL [none]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  command date
  command --time-limit 1 sleep 10
";

/// The time limit, the program and its arguments. What follows the program is its own, flags included.
fn parse(
    mut parser: lexopt::Parser,
) -> Result<(Option<Duration>, OsString, Vec<OsString>), Failure> {
    let mut limit = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Err(Failure::Help),
            Arg::Long("version") => return Err(Failure::Version),
            Arg::Long("time-limit") => {
                limit = Some(common::seconds(
                    "--time-limit",
                    &mut parser,
                    Limit::AboveZero,
                )?);
            }
            Arg::Value(program) => return Ok((limit, program, parser.raw_args()?.collect())),
            unexpected => return Err(unexpected.unexpected().into()),
        }
    }
    Err(Failure::Usage("PROGRAM is missing".to_owned()))
}

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let (limit, program, arguments) = parse(arguments)?;
        let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
        common::stop_on_signals(&mut reactor)?;
        let outcome = Rc::default();
        let watch = Watch {
            bytes: 0,
            asked_to_end: false,
            outcome: Rc::clone(&outcome),
        };
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = reactor
            .spawn_child(&mut command, watch)
            .map_err(|error| Failure::Work(error.to_string()))?;
        if let (Some(limit), Some(mut cx)) = (limit, reactor.at(child)) {
            cx.set_timer(limit);
        }
        reactor.run().map_err(Failure::io("the loop failed"))?;
        match outcome.take() {
            Some(why) => Err(Failure::Work(format!(
                "{}: {why}",
                program.to_string_lossy()
            ))),
            // The child, if it runs, ends with the reactor.
            None => Ok(()),
        }
    })
}
