//! The runner: see `slabloop_toolkit_costs::costs`.

use std::process::ExitCode;

use slabloop_peers::cli;
use slabloop_toolkit_costs::costs;

fn main() -> ExitCode {
    cli::run(costs::main)
}
