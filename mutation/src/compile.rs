//! Builds the copy, and finds out which mutants do not compile.
//!
//! Where the compiler sees an error, the mutant whose text is there is taken out, and it is asked again. It finds errors of
//! names and types first and those of borrows when there are none of the others, so this takes some rounds.

use crate::Answer;
use crate::list::{Mutant, Part};
use crate::suite::Program;
use crate::tree::Tree;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LIBRARY: &[&str] = &[
    "check",
    "-p",
    "slabloop",
    "--lib",
    "--features",
    "full,testing",
];
/// Without the examples, which take as long as all the rest: a test that starts one is left out, see `suite`.
const CORE_TESTS: &[&str] = &[
    "test",
    "--no-run",
    "-p",
    "slabloop",
    "-p",
    "slabloop-tests",
    "--lib",
    "--tests",
];
const KIT_TESTS: &[&str] = &[
    "test",
    "--no-run",
    "-p",
    "slabloop",
    "-p",
    "slabloop-kit-tests",
    "--lib",
    "--tests",
];

/// More rounds than this, and something else is wrong.
const MOST_ROUNDS: usize = 60;

/// Builds the tests of `part`. What does not compile is added to `dropped`, and that list kept in the file `known`.
pub(crate) fn programs(
    tree: &mut Tree,
    part: Part,
    mutants: &[Mutant],
    dropped: &mut BTreeSet<u32>,
    known: &Path,
) -> Answer<Vec<Program>> {
    let tests = match part {
        Part::Core => CORE_TESTS,
        Part::Kit => KIT_TESTS,
    };
    let build = tree.path.with_file_name(format!("build-{}", part.name()));
    for arguments in [LIBRARY, tests] {
        for round in 1.. {
            tree.switch(mutants, dropped)?;
            let messages = cargo(tree, &build, arguments)?;
            let errors: Vec<_> = messages.iter().filter_map(error).collect();
            if errors.is_empty() {
                let built = messages
                    .iter()
                    .any(|one| one["reason"] == "build-finished" && one["success"] == true);
                if !built {
                    return Err("cargo fails without an error in a source".into());
                }
                fs::write(known, serde_json::to_vec(&dropped)?)?;
                if arguments == tests {
                    return Ok(messages.iter().filter_map(program).collect());
                }
                break;
            }
            let before = dropped.len();
            for error in &errors {
                dropped.extend(blamed(tree, error));
            }
            println!(
                "  round {round}: {} errors, {} mutants do not compile",
                errors.len(),
                dropped.len()
            );
            if dropped.len() == before || round > MOST_ROUNDS {
                return Err(
                    format!("nothing is left to blame for\n{}", errors[0]["rendered"]).into(),
                );
            }
        }
    }
    unreachable!("the tests are built last")
}

fn cargo(tree: &Tree, build: &Path, arguments: &[&str]) -> Answer<Vec<Value>> {
    let output = Command::new("cargo")
        .args(arguments)
        .args(["--locked", "--quiet", "--message-format=json"])
        .current_dir(&tree.path)
        .env("CARGO_TARGET_DIR", build)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0")
        // A mutant may break what is a rule of style.
        .env("RUSTFLAGS", "--cap-lints=allow")
        .stderr(Stdio::inherit())
        .output()?;
    let lines = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"{"));
    Ok(lines
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()?)
}

fn error(message: &Value) -> Option<&Value> {
    let inner = &message["message"];
    (message["reason"] == "compiler-message"
        && inner["level"] == "error"
        && inner["spans"][0].is_object())
    .then_some(inner)
}

fn program(message: &Value) -> Option<Program> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    Some(Program {
        name: message["target"]["name"].as_str()?.to_owned(),
        path: message["executable"].as_str()?.into(),
        folder: Path::new(message["manifest_path"].as_str()?)
            .parent()?
            .to_owned(),
    })
}

/// The mutants that are at an error.
fn blamed(tree: &Tree, error: &Value) -> BTreeSet<u32> {
    let spans = error["spans"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let children = error["children"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let further = children
        .iter()
        .filter_map(|child| child["spans"].as_array())
        .flatten();
    let primary = spans.iter().filter(|span| span["is_primary"] == true);
    let places: Vec<_> = primary
        .chain(spans)
        .chain(further)
        .filter_map(|span| place(tree, span))
        .collect();
    // What is within a mutant is its fault; what is around a switch, that of one of its mutants.
    for of_places in [false, true] {
        for (file, at) in &places {
            let Some(marks) = tree.marks.get(file) else {
                continue;
            };
            let marks = if of_places {
                &marks.places
            } else {
                &marks.single
            };
            let around = marks
                .iter()
                .filter(|mark| mark.range.start <= at.start && at.end <= mark.range.end);
            if let Some(mark) = around.min_by_key(|mark| mark.range.len()) {
                return mark.mutants.iter().copied().collect();
            }
        }
    }
    // An error in what is unchanged: the last switch before it, or one within.
    for (file, at) in &places {
        let Some(marks) = tree.marks.get(file) else {
            continue;
        };
        let before = marks.single.iter().filter(|mark| mark.range.start < at.end);
        if let Some(mark) = before.max_by_key(|mark| mark.range.start) {
            println!("  by nearness: {:?} for {}", mark.mutants, error["message"]);
            return mark.mutants.iter().copied().collect();
        }
    }
    BTreeSet::new()
}

/// The file and the bytes of a span, or of the macro's call that it comes from.
fn place(tree: &Tree, span: &Value) -> Option<(String, Range<usize>)> {
    let name = span["file_name"].as_str()?;
    let path: PathBuf = tree.path.join(name).canonicalize().ok()?;
    match path.strip_prefix(tree.path.canonicalize().ok()?) {
        Ok(file) if tree.marks.contains_key(file.to_str()?) => {
            let number = |key: &str| usize::try_from(span[key].as_u64()?).ok();
            Some((
                file.to_str()?.to_owned(),
                number("byte_start")?..number("byte_end")?,
            ))
        }
        _ => place(tree, span["expansion"].get("span")?),
    }
}
