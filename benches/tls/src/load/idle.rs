//! Connections that only are there.

use slabloop_peers::cli::Result;
use slabloop_peers::load::observe::Process;

use super::link::Opener;
use super::{Options, REST_LIMIT};

/// With these, what a server makes once is made.
const FIRST: usize = 500;

/// Opens connections, and prints what each of the last `count` adds to the server's resident memory.
///
/// # Errors
///
/// The first connection that fails.
pub fn run(options: &Options, opener: &Opener) -> Result<()> {
    let process = Process::new(options.pid);
    let mut links = Vec::new();
    let mut open_up_to = |number: usize| -> Result<u64> {
        while links.len() < number {
            links.push(opener.open(links.len())?);
        }
        process.wait_until_idle(REST_LIMIT)?;
        process.rss_kib()
    };
    let before = open_up_to(FIRST)?;
    let after = open_up_to(FIRST + options.count)?;
    let kib = after.saturating_sub(before) as f64 / options.count as f64;
    println!("count={} each_kib={kib:.3}", options.count);
    Ok(())
}
