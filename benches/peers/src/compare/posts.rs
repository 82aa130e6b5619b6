//! Posts: closures from another thread, per second.

use super::options::{Experiment, Options};
use super::peers::{self, Job, Kind, Peer};
use super::plot::Plot;
use super::process::{self, Core};
use super::report::Section;
use super::rounds::{in_turn, median};
use super::table::{Table, cell};
use crate::cli::{Error, Result};

/// Millions take a Python loop long.
const PATIENCE: usize = 10;

struct Sample {
    per_second: f64,
    ns_per_post: f64,
}

/// Runs every peer.
#[must_use]
pub fn measure(options: &Options, all: &[Peer]) -> Section {
    let scale = options.scale;
    let peers = peers::with_job(all, Job::Posts);
    let mut notes = Vec::new();
    let runs = in_turn("posts", scale.rounds, &peers, &mut notes, |peer| {
        run(peer, scale.posts)
    });

    let headers = ["loop", "posts per second", "ns of CPU time per post"];
    let mut table = Table::new(headers.map(str::to_owned).to_vec());
    let mut rows = Vec::new();
    for one in &runs {
        let time = median(one, |sample| sample.ns_per_post);
        let rate = median(one, |sample| sample.per_second);
        table.row(one.name, vec![cell(rate, 0), cell(time, 0)]);
        rows.push((one.name.to_owned(), vec![time]));
    }
    Section {
        experiment: Experiment::Posts,
        title: "Posts: closures from another thread",
        intro: format!(
            "One thread posts {} closures to the loop on another (Python a tenth of that), as fast \
             as it can; from the first post until the last closure has run, by the clock, and the \
             CPU time of both threads together. Not pinned: each thread has a processor. \
             The queue has room for all. `Handle::post` with slabloop, boxed closures through its \
             channel with calloop and through an unbounded one with tokio, a queue under a lock \
             and `uv_async_send` with libuv, `call_soon_threadsafe` in Python.",
            cell(Some(scale.posts as f64), 0)
        ),
        commands: vec![format!("LOOP_posts --posts {}", scale.posts)],
        table,
        plots: vec![Plot {
            name: "posts".to_owned(),
            title: "Posts: ns of CPU time per post (less is better)".to_owned(),
            series: vec!["both threads".to_owned()],
            decimals: 0,
            rows,
        }],
        notes,
    }
}

fn run(peer: &Peer, posts: usize) -> Result<Sample> {
    let Some(program) = peer.program(Job::Posts) else {
        return Err(Error::Failed("no program for posts".to_owned()));
    };
    let posts = match peer.kind {
        Kind::Native => posts,
        Kind::Python => (posts / PATIENCE).max(1),
    };
    let mut command = process::command(Core::Any, &[], &program.words);
    command.arg("--posts").arg(posts.to_string());
    let figures = process::figures(command, &program.shown)?;
    Ok(Sample {
        per_second: figures.value("per_second")?,
        ns_per_post: figures.value("ns_per_post")?,
    })
}
