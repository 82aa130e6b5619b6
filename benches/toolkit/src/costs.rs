//! The runner: every program, the same work, in turn, and the tables of `docs/benchmarks.md`.
//!
//! As in `benches/peers`, whose parts it uses: medians of several rounds, ratios within a round.

pub mod backends;
pub mod experiments;
pub mod head;
pub mod lines;
pub mod tables;

use std::time::Instant;

use slabloop_peers::cli::Result;
use slabloop_peers::compare::report::TOOLKIT;
use slabloop_peers::compare::selection::Selection;

use experiments::{EXPERIMENTS, Scale};

/// The program `toolkit_costs`.
///
/// # Errors
///
/// A bad command line, or a page that cannot be written. A program that fails is named beside the table instead.
pub fn main() -> Result<()> {
    let selection =
        Selection::from_args(&EXPERIMENTS.iter().map(|one| one.name).collect::<Vec<_>>())?;
    let scale = match selection.is_quick {
        true => Scale::QUICK,
        false => Scale::FULL,
    };
    let start = Instant::now();
    if let Some(page) = &selection.page {
        TOOLKIT.check(page)?;
    }
    let mut text = head::text(scale.rounds);
    for experiment in EXPERIMENTS {
        if !selection.wants(experiment.name) {
            continue;
        }
        let section = experiments::measure(experiment, scale)?;
        println!("{section}");
        text.push_str(&section);
    }
    if let Some(page) = &selection.page {
        TOOLKIT.write(page, &text)?;
    }
    println!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
