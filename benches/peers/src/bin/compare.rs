//! The runner of all comparisons: see `slabloop_peers::compare`.

use std::process::ExitCode;

use slabloop_peers::{cli, compare};

fn main() -> ExitCode {
    cli::run(compare::main)
}
