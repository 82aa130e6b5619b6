//! The runner: see `slabloop_tls_costs::costs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    slabloop_peers::cli::run(slabloop_tls_costs::costs::main)
}
