//! Timers: what it costs to arm, cancel and fire one among a million.

use super::options::{Experiment, Options};
use super::peers::{self, Job, Kind, Peer};
use super::plot::Plot;
use super::process::{self, Core};
use super::report::Section;
use super::rounds::{in_turn, median};
use super::table::{Table, cell};
use crate::cli::{Error, Result};

/// Columns, and the programs' names for them.
const FIGURES: [(&str, &str); 3] = [
    ("arm", "arm_ns"),
    ("cancel", "cancel_ns"),
    ("fire", "fire_ns"),
];
/// How many times fewer an interpreted loop gets, which takes some 10 µs for each.
const PATIENCE: usize = 10;
/// How many timers a loop gets that searches all of them for each.
const FEW: usize = 10_000;
/// How many of them it cancels, which takes it longest.
const FEW_CANCELLED: usize = 200;

/// Runs every peer.
#[must_use]
pub fn measure(options: &Options, all: &[Peer]) -> Section {
    let scale = options.scale;
    let timers = scale.timers;
    let peers = peers::with_job(all, Job::Timers);
    let mut notes = Vec::new();
    let runs = in_turn("timers", scale.rounds, &peers, &mut notes, |peer| {
        let (timers, cancel) = match peer.kind {
            _ if peer.searches_timers() => (FEW, FEW_CANCELLED),
            Kind::Python => (timers / PATIENCE, timers / PATIENCE),
            Kind::Native => (timers, timers),
        };
        run(peer, timers, cancel, scale.timers_spread_ms)
    });

    let mut headers = vec!["loop".to_owned()];
    headers.extend(FIGURES.map(|(name, _)| format!("ns to {name}")));
    let mut table = Table::new(headers);
    let mut rows = Vec::new();
    for one in &runs {
        let medians: Vec<_> = (0..FIGURES.len())
            .map(|index| median(one, |sample| sample[index]))
            .collect();
        table.row(
            one.name,
            medians.iter().map(|value| cell(*value, 0)).collect(),
        );
        rows.push((one.name.to_owned(), medians));
    }
    let count = cell(Some(timers as f64), 0);
    for peer in peers.iter().filter(|peer| peer.searches_timers()) {
        notes.push(format!(
            "{} looks through all its timers to add one and to remove one; it had {} of them, and \
             {FEW_CANCELLED} were cancelled",
            peer.name,
            cell(Some(FEW as f64), 0)
        ));
    }
    Section {
        experiment: Experiment::Timers,
        title: "Timers: CPU time to arm, cancel and fire",
        intro: format!(
            "{count} timers (Python a tenth of that) due at random within {} ms are armed, in memory that was not used \
             before, and all cancelled, in the order of arming; then as many are armed again and, \
             once all are due, the loop is let run until the last has fired. CPU time of the \
             program divided by the number of timers. Each loop has the form of timer that its \
             users have one of for each client: a timer of a dispatcher with slabloop, set in a turn, a source \
             with calloop, a boxed `Sleep` with tokio and for firing a task, a `uv_timer_t`, an \
             `ev_timer` and an `event` in one block of memory, `call_later` in Python, where \
             clearing away the cancelled in the next turn is part of cancelling. libuv and tokio \
             count in milliseconds. Raw epoll and mio have no timers.",
            cell(Some(scale.timers_spread_ms as f64), 0)
        ),
        commands: vec![format!(
            "taskset -c 0 LOOP_timers --timers {timers} --cancel {timers} --spread-ms {}",
            scale.timers_spread_ms
        )],
        table,
        plots: vec![Plot {
            name: "timers".to_owned(),
            title: "Timers: ns of CPU time per timer (less is better)".to_owned(),
            series: FIGURES.map(|(name, _)| name.to_owned()).to_vec(),
            decimals: 0,
            rows,
        }],
        notes,
    }
}

fn run(peer: &Peer, timers: usize, cancel: usize, spread_ms: usize) -> Result<Vec<f64>> {
    let Some(program) = peer.program(Job::Timers) else {
        return Err(Error::Failed("no program for timers".to_owned()));
    };
    let mut command = process::command(Core::Server, &[], &program.words);
    for (flag, value) in [
        ("--timers", timers),
        ("--cancel", cancel),
        ("--spread-ms", spread_ms),
    ] {
        command.arg(flag).arg(value.to_string());
    }
    let figures = process::figures(command, &program.shown)?;
    FIGURES
        .iter()
        .map(|(_, key)| figures.value(key))
        .collect::<Result<Vec<_>>>()
}
