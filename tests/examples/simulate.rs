//! Plays one run of the random program on the simulated kernel, and tells it step by step.
//!
//! ```text
//! cargo run -p slabloop-tests --example simulate -- --seed 7 --trace
//! ```

#[path = "../sim/mod.rs"]
mod sim;

use std::process::ExitCode;

use lexopt::{Arg, ValueExt};
use sim::run::shrink::describe;
use sim::run::{Plan, Tell, play};

const HELP: &str = "\
Plays one run of the random program on the simulated kernel.

Usage: simulate [OPTIONS]

  --seed N      which run [0]
  --calm        without faults
  --trace       tells each command (--), system call, event, callback, act and fault
  -h, --help    this text

A call of the kernel has the number of its end, and = what it returned (4294967296 is added to an
errno). A callback has the number of its dispatcher. An act is something that is done to a dispatcher,
by the number that it has in tests/sim/program.rs.
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}; --help tells the options");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, lexopt::Error> {
    let (mut seed, mut calm, mut tell) = (0, false, Tell::Nothing);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("seed") => seed = parser.value()?.parse()?,
            Arg::Long("calm") => calm = true,
            Arg::Long("trace") => tell = Tell::Print,
            Arg::Short('h') | Arg::Long("help") => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected()),
        }
    }
    let mut plan = Plan::from_seed(seed);
    if calm {
        plan.mix = sim::faults::Mix::calm();
    }
    println!(
        "seed {seed}: {} commands; faults: {}",
        plan.commands.len(),
        plan.mix
    );
    match play(&plan, tell) {
        Ok(report) => {
            println!(
                "every rule held: {} turns, {} calls of the kernel, {} callbacks, {} dispatchers; trace {:016x}",
                report.turns, report.calls, report.callbacks, report.connections, report.hash
            );
            println!("faults injected:\n{}", report.injected);
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            println!("{}", describe(&plan, &failure));
            Ok(ExitCode::FAILURE)
        }
    }
}
