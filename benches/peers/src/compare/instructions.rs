//! Instructions per event of the ring, by callgrind: two lengths, and the difference divided.
//!
//! The difference takes out start-up, registration and tear-down, so what is left is one event: the
//! wait's share, the loop's bookkeeping, the callback, and the C library's wrappers of two system
//! calls. What the kernel does is not counted.

use super::options::{Experiment, Options};
use super::peers::{self, Job, Kind, Peer, Program};
use super::plot::Plot;
use super::process::{self, Core};
use super::report::Section;
use super::ring;
use super::rounds::{in_turn, median};
use super::table::{Table, cell};
use crate::cli::{Error, Result};

/// Events in the shorter run and in the longer one.
const EVENTS: (u64, u64) = (10_000, 40_000);

/// Counts for every native peer.
#[must_use]
pub fn measure(options: &Options, all: &[Peer]) -> Section {
    let sizes = options.scale.instruction_pairs;
    let mut peers = peers::with_job(all, Job::Ring);
    peers.retain(|peer| peer.kind == Kind::Native);
    let mut notes = Vec::new();
    if !process::has("valgrind") {
        notes.push("valgrind is not installed, so nothing was counted".to_owned());
        peers.clear();
    }
    // One round: the same program on the same input counts the same.
    let by_size: Vec<_> = sizes
        .iter()
        .map(|&pairs| {
            let what = format!("instructions, {pairs} pairs");
            in_turn(&what, 1, &peers, &mut notes, |peer| per_event(peer, pairs))
        })
        .collect();

    let name_sizes = |text: &str| -> Vec<String> {
        sizes
            .iter()
            .map(|pairs| format!("{}{text}", cell(Some(*pairs as f64), 0)))
            .collect()
    };
    let mut table = Table::new([vec!["loop".to_owned()], name_sizes(" pairs")].concat());
    let mut rows = Vec::new();
    for (index, peer) in peers.iter().enumerate() {
        let counts: Vec<_> = by_size
            .iter()
            .map(|runs| median(&runs[index], |count| *count))
            .collect();
        table.row(
            peer.name,
            counts.iter().map(|count| cell(*count, 1)).collect(),
        );
        rows.push((peer.name.to_owned(), counts));
    }
    let (short, long) = EVENTS;
    Section {
        experiment: Experiment::Instructions,
        title: "Ring: instructions per event",
        intro: format!(
            "Socket pairs in a ring and {} tokens; a callback reads one byte and passes one on to \
             the next pair. Counted are the instructions of the program and its libraries in user \
             space, between a run of {short} events and one of {long}, so that set-up drops out. \
             Raw epoll makes its calls through the C library alone, raw mio, calloop and tokio \
             through Rust's standard library, whose checks are in their count. Interpreted peers \
             are left out: one would count the interpreter.",
            ring::TOKENS
        ),
        commands: vec![format!(
            "valgrind --tool=callgrind LOOP_ring --pairs N --tokens {} --events {short}   \
             # and {long}",
            ring::TOKENS
        )],
        table,
        plots: vec![Plot {
            name: "instructions".to_owned(),
            title: "Ring: user-space instructions per event (less is better)".to_owned(),
            series: name_sizes(" pairs"),
            decimals: 0,
            rows,
        }],
        notes,
    }
}

fn per_event(peer: &Peer, pairs: usize) -> Result<f64> {
    let Some(program) = peer.program(Job::Ring) else {
        return Err(Error::Failed("no program for the ring".to_owned()));
    };
    let (short, long) = EVENTS;
    let (few_events, few) = count(program, pairs, short)?;
    let (many_events, many) = count(program, pairs, long)?;
    Ok((many - few) / (many_events - few_events))
}

/// Events and instructions of one run.
fn count(program: &Program, pairs: usize, events: u64) -> Result<(f64, f64)> {
    let before = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
    ];
    let mut command = process::command(Core::Client, &before, &program.words);
    command.args(ring::arguments(pairs, events));
    let (out, err) = process::output(command, "valgrind")?;
    // "==123== Collected : 456"
    let counted = err
        .lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    let counted = counted.ok_or_else(|| Error::Failed("valgrind reported no count".to_owned()))?;
    // A turn is finished before the loop stops, so the events are a few more than asked for.
    let seen = out
        .split_whitespace()
        .find_map(|word| word.strip_prefix("events=")?.parse().ok());
    let seen = seen.ok_or_else(|| Error::Failed("the ring reported no events".to_owned()))?;
    Ok((seen, counted))
}
