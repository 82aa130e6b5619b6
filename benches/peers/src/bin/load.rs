//! The client of all echo and proxy comparisons: see `slabloop_peers::load`.

use std::process::ExitCode;

use slabloop_peers::{cli, load};

fn main() -> ExitCode {
    cli::run(load::main)
}
