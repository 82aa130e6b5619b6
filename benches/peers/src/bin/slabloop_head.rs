//! The client of many connections on slabloop: the example of the crate, as it is.

#[path = "../../../../examples/head_client/main.rs"]
mod head_client;

use std::process::ExitCode;

fn main() -> ExitCode {
    head_client::main()
}
