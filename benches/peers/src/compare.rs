//! The runner: every peer, the same load, side by side, and a report with tables and plots.
//!
//! *Side by side* means in turn, A B C A B C, so that a machine that gets slower does so for all;
//! the server on one processor and the client on another; medians of several rounds; and ratios
//! within a round, because a lone absolute time says little on a machine that others share.
//! Instruction and system-call counts need none of that care: they come out the same every time,
//! and so they stand first.
//!
//! What is missing on a machine (a library, a tool, a program) is left out and named in the report.
//! Rows are never left out because of what they show.
//!
//! Reading order: [`options`] (with the scale of a run), [`peers`], [`process`], one file per
//! experiment ([`ring`], [`instructions`], [`timers`], [`posts`], [`echo`], [`calls`], [`latency`], [`arrivals`],
//! [`proxy`], [`http`], [`heads`]),
//! then [`report`], [`plot`] and [`machine`]; [`part`] is for other programs' tables.

pub mod arrivals;
pub mod calls;
pub mod echo;
pub mod heads;
pub mod http;
pub mod instructions;
pub mod latency;
pub mod machine;
pub mod nginx;
pub mod options;
pub mod part;
pub mod peers;
pub mod plot;
pub mod posts;
pub mod process;
pub mod proxy;
pub mod report;
pub mod ring;
pub mod rounds;
pub mod selection;
pub mod table;
pub mod temp;
pub mod timers;
pub mod versions;

use std::time::Instant;

use crate::cli::{Error, Result};
use options::{Experiment, Options};
use peers::Found;
use report::Report;

/// The program `compare`.
///
/// # Errors
///
/// A bad command line, a C peer that does not compile, or a report that can't be written. A peer
/// that fails in a run is named in the report instead.
pub fn main() -> Result<()> {
    let options = Options::from_args()?;
    let start = Instant::now();
    let Found { peers, absent } = peers::find(&options)?;
    for line in &absent {
        println!("skipped: {line}");
    }
    if peers.is_empty() {
        return Err(Error::Usage(
            "--peers: none of those named is here".to_owned(),
        ));
    }

    if let Some(page) = &options.page {
        let wanted = Experiment::ALL.into_iter();
        let mut wanted = wanted.filter(|experiment| options.wants(*experiment));
        wanted.try_for_each(|experiment| experiment.part().check(page))?;
    }
    let mut report = Report::new(&options, &peers, absent);
    for experiment in Experiment::ALL {
        if !options.wants(experiment) {
            continue;
        }
        let begun = Instant::now();
        let section = match experiment {
            Experiment::Instructions => instructions::measure(&options, &peers),
            Experiment::Calls => calls::measure(&options, &peers),
            Experiment::Ring => ring::measure(&options, &peers),
            Experiment::Timers => timers::measure(&options, &peers),
            Experiment::Posts => posts::measure(&options, &peers),
            Experiment::Echo => echo::measure(&options, &peers),
            Experiment::Latency => latency::measure(&options, &peers),
            Experiment::Arrivals => arrivals::measure(&options, &peers),
            Experiment::Proxy => proxy::measure(&options, &peers),
            Experiment::Http => http::measure(&options, &peers),
            Experiment::Heads => heads::measure(&options, &peers),
        };
        println!("{}", section.to_terminal());
        println!(
            "{}: {:.0} s, {:.0} s in all",
            experiment.name(),
            begun.elapsed().as_secs_f64(),
            start.elapsed().as_secs_f64()
        );
        report.add(section);
    }
    let written = match &options.page {
        Some(page) => {
            report.write_into(page, &options.typed.join(" "))?;
            page
        }
        None => {
            report.write(&options.out, start.elapsed())?;
            &options.out
        }
    };
    println!(
        "written to {} in {:.0} s",
        written.display(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
