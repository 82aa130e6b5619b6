//! The runner: see `slabloop_tls_costs::proxied`.

use std::process::ExitCode;

fn main() -> ExitCode {
    slabloop_peers::cli::run(slabloop_tls_costs::proxied::main)
}
