//! The client: see `slabloop_tls_costs::load`.

use std::process::ExitCode;

fn main() -> ExitCode {
    slabloop_peers::cli::run(slabloop_tls_costs::load::main)
}
