//! Time per event of the ring, at three sizes.

use super::options::{Experiment, Options};
use super::peers::{self, Job, Peer};
use super::plot::Plot;
use super::process::{self, Core};
use super::report::Section;
use super::rounds::{in_turn, median, ratio};
use super::table::{Table, cell};
use crate::cli::{Error, Result};

/// Tokens in a ring that has room for them: they have to stay two pairs apart.
pub const TOKENS: usize = 100;
/// Small, middling, and as many as 20,000 descriptors allow.
const PAIRS: [usize; 3] = [100, 1_000, 9_900];
/// The floor of slabloop, which all are divided by.
const BASE: &str = "raw mio";
/// How many events fewer for a loop that asks everyone in every turn.
const PATIENCE: u64 = 10;

/// Runs every peer at every size.
#[must_use]
pub fn measure(options: &Options, all: &[Peer]) -> Section {
    let scale = options.scale;
    let peers = peers::with_job(all, Job::Ring);
    let mut notes = Vec::new();
    let by_size = PAIRS.map(|pairs| {
        let what = format!("ring of {pairs} pairs");
        in_turn(&what, scale.rounds, &peers, &mut notes, |peer| {
            let events = scale.ring_events / if peer.asks_everyone() { PATIENCE } else { 1 };
            run(peer, pairs, events)
        })
    });

    let mut headers = vec!["loop".to_owned()];
    headers
        .extend(PAIRS.map(|pairs| format!("ns per event, {} pairs", cell(Some(pairs as f64), 0))));
    headers.push(format!(
        "× {BASE}, {} pairs",
        cell(Some(PAIRS[2] as f64), 0)
    ));
    let mut table = Table::new(headers);
    let mut rows = Vec::new();
    for (index, peer) in peers.iter().enumerate() {
        let medians: Vec<_> = by_size
            .iter()
            .map(|runs| median(&runs[index], |ns| *ns))
            .collect();
        let mut cells: Vec<_> = medians.iter().map(|ns| cell(*ns, 0)).collect();
        cells.push(cell(
            ratio(&by_size[2], BASE, &by_size[2][index], |ns| *ns),
            2,
        ));
        table.row(peer.name, cells);
        rows.push((peer.name.to_owned(), medians));
    }
    Section {
        experiment: Experiment::Ring,
        title: "Ring: time per event",
        intro: format!(
            "The same ring on the clock. Most of it is the kernel's read and write, the same for \
             all; how the time grows from left to right tells whether a loop's cost follows the \
             sockets that are active, {TOKENS} at a time ({} of {} pairs, where tokens have to \
             stay apart), or all that are registered. (The kernel's own cost grows as well, with \
             the memory it touches: see the floor.)",
            tokens(PAIRS[0]),
            PAIRS[0]
        ),
        commands: vec![format!(
            "taskset -c 0 LOOP_ring --pairs N --tokens {TOKENS} --events {}   # {} tokens with \
             {} pairs",
            scale.ring_events,
            tokens(PAIRS[0]),
            PAIRS[0]
        )],
        table,
        plots: vec![Plot {
            name: "ring".to_owned(),
            title: "Ring: ns per event (less is better)".to_owned(),
            series: PAIRS.iter().map(|pairs| format!("{pairs} pairs")).collect(),
            decimals: 0,
            rows,
        }],
        notes,
    }
}

fn run(peer: &Peer, pairs: usize, events: u64) -> Result<f64> {
    let Some(program) = peer.program(Job::Ring) else {
        return Err(Error::Failed("no program for the ring".to_owned()));
    };
    let mut command = process::command(Core::Server, &[], &program.words);
    command.args(arguments(pairs, events));
    process::figures(command, &program.shown)?.value("ns_per_event")
}

/// The ring's command line.
#[must_use]
pub fn arguments(pairs: usize, events: u64) -> [String; 6] {
    let flag = |name: &str| name.to_owned();
    [
        flag("--pairs"),
        pairs.to_string(),
        flag("--tokens"),
        tokens(pairs).to_string(),
        flag("--events"),
        events.to_string(),
    ]
}

/// As many tokens as stay apart in a ring of so many pairs: `crate::ring` says why they must.
fn tokens(pairs: usize) -> usize {
    TOKENS.min(pairs / 2)
}
