//! The runner: every server, the same work, in turn, and the tables of `docs/tls.md`.
//!
//! As in `benches/peers`, whose parts it uses: server on one processor and client on the other, medians of several
//! rounds, ratios within a round.

pub mod experiments;
pub mod page;
pub mod servers;
pub mod tables;

use std::time::Instant;

use slabloop_peers::cli::Result;
use slabloop_peers::compare::part::Part;
use slabloop_peers::compare::selection::Selection;
use slabloop_peers::compare::temp::TempDir;

use crate::config;
use experiments::{Experiment, Scale};

/// Where the tables stand in the page.
const PART: Part = Part("tls_costs");

/// Whose versions the page tells.
const CRATES: [&str; 5] = ["rustls", "ring", "mio", "tokio", "tokio-rustls"];

/// The program `tls_costs`.
///
/// # Errors
///
/// A bad command line, or a page that cannot be written. A server that fails is named beside the table instead.
pub fn main() -> Result<()> {
    let selection = Selection::from_args(&Experiment::ALL.map(Experiment::name))?;
    let scale = match selection.is_quick {
        true => Scale::QUICK,
        false => Scale::FULL,
    };
    let start = Instant::now();
    if let Some(page) = &selection.page {
        PART.check(page)?;
    }
    let folder = TempDir::new()?;
    config::write_certificate(folder.path())?;
    let mut text = page::head(scale.rounds, &CRATES, &["HAProxy", "nginx"]);
    for experiment in Experiment::ALL {
        if !selection.wants(experiment.name()) {
            continue;
        }
        let section = experiments::measure(experiment, scale, folder.path());
        println!("{section}");
        text.push_str(&section);
    }
    if let Some(page) = &selection.page {
        PART.write(page, &text)?;
    }
    println!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
