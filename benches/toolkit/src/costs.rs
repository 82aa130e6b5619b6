//! The runner: every program, the same work, in turn, and the tables of `docs/benchmarks.md`.
//!
//! As in `benches/peers`, whose parts it uses: medians of several rounds, ratios within a round.

pub mod backends;
pub mod experiments;
pub mod head;
pub mod lines;
pub mod tables;

use std::path::PathBuf;
use std::time::Instant;

use slabloop_peers::cli::{self, Error, Result};
use slabloop_peers::compare::report::TOOLKIT;

use experiments::{EXPERIMENTS, Scale};

const FLAGS: &str = "--page FILE, --quick and --only EXPERIMENT,…";

/// The command line.
#[derive(Debug)]
struct Options {
    page: Option<PathBuf>,
    only: Option<Vec<String>>,
    scale: Scale,
}

impl Options {
    fn from_args() -> Result<Options> {
        let (mut page, mut only) = (None, None::<Vec<String>>);
        let mut scale = Scale::FULL;
        let mut parser = lexopt::Parser::from_env();
        while let Some(flag) = cli::next_flag(&mut parser)? {
            match flag.as_str() {
                "page" => page = Some(cli::value(&mut parser, &flag, "a file")?),
                "quick" => scale = Scale::QUICK,
                "only" => {
                    let list: String = cli::value(&mut parser, &flag, "a list")?;
                    only = Some(list.split(',').map(str::to_owned).collect());
                }
                _ => return Err(cli::unknown(&flag, FLAGS)),
            }
        }
        let known: Vec<_> = EXPERIMENTS.iter().map(|one| one.name).collect();
        for name in only.iter().flatten().map(String::as_str) {
            if !known.contains(&name) {
                return Err(cli::wrong("only", name, &format!("one of {known:?}")));
            }
        }
        if page.is_some() && only.is_some() {
            let text = "--page is written as a whole: not with --only";
            return Err(Error::Usage(text.to_owned()));
        }
        Ok(Options { page, only, scale })
    }
}

/// The program `toolkit_costs`.
///
/// # Errors
///
/// A bad command line, or a page that cannot be written. A program that fails is named beside the table instead.
pub fn main() -> Result<()> {
    let options = Options::from_args()?;
    let start = Instant::now();
    if let Some(page) = &options.page {
        TOOLKIT.check(page)?;
    }
    let mut text = head::text(options.scale.rounds);
    for experiment in EXPERIMENTS {
        let wanted = options.only.as_ref();
        if wanted.is_some_and(|only| !only.iter().any(|name| name == experiment.name)) {
            continue;
        }
        let section = experiments::measure(experiment, options.scale)?;
        println!("{section}");
        text.push_str(&section);
    }
    if let Some(page) = &options.page {
        TOOLKIT.write(page, &text)?;
    }
    println!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
