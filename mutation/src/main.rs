//! Mutation tests of slabloop in one build: all of cargo-mutants' mutants are compiled at once, each behind a switch, and one
//! is switched on by an environment variable. docs/testing.md says how it is used and what came of it.
//!
//! 1. `list`: cargo-mutants says which mutants there are;
//! 2. `tree`, `switch`, `splice`: a copy of the repository with the switches in its sources;
//! 3. `compile`: what does not compile is taken out, and the tests are built;
//! 4. `suite`: each test alone, to see how long it takes and which mutants it reaches;
//! 5. `judge`, `process`: for each mutant the tests that reach it, until one fails;
//! 6. `results`, `reasons`: a line each, a table, and a comparison with the survivors that are explained.

mod compile;
mod judge;
mod list;
mod process;
mod reasons;
mod results;
mod splice;
mod suite;
mod switch;
mod tree;
mod workers;

use judge::Verdict;
use lexopt::{Arg, ValueExt as _};
use list::{Mutant, Part};
use reasons::Reasons;
use results::Results;
use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use suite::Suite;
use tree::Tree;

type Answer<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "\
cargo run --release -p slabloop-mutation -- [options]

  --part core|kit     the mutants of one part (default: core)
  --file TEXT         only those in files whose name contains it
  --name TEXT         only those whose name contains it
  --shard K/N         every N-th, from the K-th, which counts from 0
  --budget SECONDS    the time of the tests that are tried on a mutant, at most (default: 30)
  --again OUTCOME     those of this outcome once more: survived, 'not caught yet', 'never run', caught
  --results PATH      a line of JSON for each (default: target/mutation/PART.jsonl)
  --build             builds and measures, and judges none
  --summary           what is in the results, by file; runs nothing
  --unswitched        those that have no switch, as a pattern for `cargo mutants --re`; runs nothing
";

struct Options {
    part: Part,
    file: String,
    name: String,
    shard: (usize, usize),
    budget: Duration,
    again: Vec<String>,
    results: Option<PathBuf>,
    only_build: bool,
    only_summary: bool,
    only_unswitched: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Answer<Options> {
    let mut options = Options {
        part: Part::Core,
        file: String::new(),
        name: String::new(),
        shard: (0, 1),
        budget: Duration::from_secs(30),
        again: Vec::new(),
        results: None,
        only_build: false,
        only_summary: false,
        only_unswitched: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("part") => {
                options.part = match parser.value()?.string()?.as_str() {
                    "core" => Part::Core,
                    "kit" => Part::Kit,
                    other => return Err(format!("--part core or kit, not {other}").into()),
                }
            }
            Arg::Long("file") => options.file = parser.value()?.string()?,
            Arg::Long("name") => options.name = parser.value()?.string()?,
            Arg::Long("shard") => options.shard = shard(&parser.value()?.string()?)?,
            Arg::Long("budget") => options.budget = Duration::from_secs(parser.value()?.parse()?),
            Arg::Long("again") => options.again.push(parser.value()?.string()?),
            Arg::Long("results") => options.results = Some(parser.value()?.into()),
            Arg::Long("build") => options.only_build = true,
            Arg::Long("summary") => options.only_summary = true,
            Arg::Long("unswitched") => options.only_unswitched = true,
            Arg::Long("help") => return Err(USAGE.into()),
            other => return Err(format!("{}\n\n{USAGE}", other.unexpected()).into()),
        }
    }
    Ok(options)
}

fn shard(text: &str) -> Answer<(usize, usize)> {
    let (which, of) = text.split_once('/').ok_or("--shard K/N")?;
    let (which, of) = (which.parse()?, of.parse()?);
    if which >= of {
        return Err("--shard K/N: K is less than N".into());
    }
    Ok((which, of))
}

fn run(options: &Options) -> Answer<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("it is a folder of the repository");
    let folder = root.join("target/mutation");
    fs::create_dir_all(&folder)?;
    let path = options
        .results
        .clone()
        .unwrap_or_else(|| folder.join(options.part.name()).with_extension("jsonl"));

    if !options.only_unswitched {
        println!("listing the mutants");
    }
    let mutants = list::mutants(root)?;
    let chosen = |mutant: &&Mutant| {
        mutant.part == options.part
            && mutant.file.contains(&options.file)
            && mutant.name.contains(&options.name)
    };
    if options.only_unswitched {
        let results = Results::open(&path)?;
        let unswitched = mutants.iter().filter(chosen);
        let unswitched = unswitched.filter(|mutant| results.outcome(mutant) == Some("no switch"));
        println!("{}", pattern(unswitched));
        return Ok(());
    }
    if options.only_summary {
        return summary(root, &path, mutants.iter().filter(chosen));
    }

    // Each part has a copy of its own, so that one can be built while tests of the other run.
    let part = options.part.name();
    println!("building all {}", mutants.len());
    let mut tree = Tree::copy(root, folder.join(format!("tree-{part}")))?;
    // As long as the list is the same, what did not compile need not be found out again.
    let known = folder.join(format!("dropped-{part}-{:x}.json", fingerprint(&mutants)));
    let mut dropped: BTreeSet<u32> = match fs::read(&known) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(_) => BTreeSet::new(),
    };
    let programs = compile::programs(&mut tree, options.part, &mutants, &mut dropped, &known)?;

    println!("running each test without a mutant");
    let suite = Suite::measure(programs, &folder.join(format!("tests-{part}.jsonl")))?;
    if options.only_build {
        return Ok(());
    }

    let results = Results::open(&path)?;
    let due = mutants
        .iter()
        .filter(chosen)
        .enumerate()
        .filter(|(index, mutant)| {
            let outcome = results.outcome(mutant);
            index % options.shard.1 == options.shard.0
                && outcome.is_none_or(|outcome| options.again.iter().any(|again| again == outcome))
        });
    let due: Vec<&Mutant> = due.map(|(_, mutant)| mutant).collect();
    println!("judging {}", due.len());
    workers::in_parallel(&due, |_, mutant| {
        let began = Instant::now();
        // A field's switch asks for the rest of the value twice, which may not compile where the mutant does.
        let has_no_switch = !tree.switched.contains(&mutant.id);
        let (outcome, by) = if dropped.contains(&mutant.id) && mutant.genre != "StructField" {
            ("does not compile", String::new())
        } else if has_no_switch {
            ("no switch", String::new())
        } else {
            match judge::judge(&suite, mutant.id, options.budget)? {
                Verdict::Failed(test) => ("caught", test),
                Verdict::TimedOut(test) => ("timeout", test),
                Verdict::Survived(run, of) => {
                    let outcome = if run == of {
                        "survived"
                    } else {
                        "not caught yet"
                    };
                    (outcome, format!("{run} of {of} tests"))
                }
                Verdict::NeverRun => ("never run", String::new()),
            }
        };
        results.add(mutant, outcome, &by, began.elapsed().as_secs_f64())
    })?;
    summary(root, &path, mutants.iter().filter(chosen))
}

fn summary<'a>(
    root: &Path,
    results: &Path,
    mutants: impl Iterator<Item = &'a Mutant>,
) -> Answer<()> {
    let results = Results::open(results)?;
    let mutants: Vec<&Mutant> = mutants.collect();
    print!("{}", results.table(&mutants));
    let survivors = mutants.into_iter().filter(|mutant| {
        matches!(
            results.outcome(mutant),
            Some("survived" | "not caught yet" | "never run")
        )
    });
    let comparison = Reasons::read(&root.join("mutation/survivors.txt"))?.compare(root, survivors);
    for (kind, count) in &comparison.explained {
        println!("{count:>5} explained: {kind}");
    }
    println!("{:>5} unexplained", comparison.unexplained.len());
    for name in &comparison.unexplained {
        println!("      {name}");
    }
    for name in &comparison.outdated {
        println!("not among the survivors of this run, but in the list: {name}");
    }
    Ok(())
}

/// What matches the names of these, and no others.
fn pattern<'a>(mutants: impl Iterator<Item = &'a Mutant>) -> String {
    const SPECIAL: &str = r"\.+*?()|[]{}^$";
    let escaped = mutants.map(|mutant| {
        let mut escaped = String::new();
        for letter in mutant.name.chars() {
            if SPECIAL.contains(letter) {
                escaped.push('\\');
            }
            escaped.push(letter);
        }
        escaped
    });
    format!("^({})$", escaped.collect::<Vec<_>>().join("|"))
}

fn fingerprint(mutants: &[Mutant]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for mutant in mutants {
        mutant.name.hash(&mut hasher);
    }
    hasher.finish()
}
