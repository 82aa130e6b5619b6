//! The tests, how long each takes, and which mutants it reaches.

use crate::Answer;
use crate::process::{self, Ending};
use crate::workers::in_parallel;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

/// A program of tests.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) folder: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) program: usize,
    pub(crate) name: String,
    pub(crate) time: Duration,
    pub(crate) reached: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) programs: Vec<Program>,
    pub(crate) tests: Vec<Test>,
    /// By mutant: the tests that reach it.
    pub(crate) reaching: HashMap<u32, Vec<usize>>,
}

/// What looks at the sources or runs cargo, and is no test of what the crate does.
const LEFT_OUT: &[&str] = &["layers", "public_surface", "book", "howto", "instructions"];

/// A test that takes longer is not worth it.
const LONGEST: Duration = Duration::from_secs(25);

impl Suite {
    /// Runs each test alone, except those that `known` has from an earlier build of the same program.
    pub(crate) fn measure(programs: Vec<Program>, known: &Path) -> Answer<Suite> {
        let programs: Vec<_> = programs
            .into_iter()
            .filter(|one| !LEFT_OUT.contains(&one.name.as_str()))
            .collect();
        let mut earlier = HashMap::new();
        for line in fs::read_to_string(known).unwrap_or_default().lines() {
            let (key, value): (String, Value) = serde_json::from_str(line)?;
            earlier.insert(key, value);
        }
        let mut names = Vec::new();
        for (index, program) in programs.iter().enumerate() {
            names.extend(tests(program)?.into_iter().map(|name| (index, name)));
        }
        println!("  {} tests in {} programs", names.len(), programs.len());
        let folder = known.with_extension("reached");
        fs::create_dir_all(&folder)?;
        let file = Mutex::new(OpenOptions::new().create(true).append(true).open(known)?);
        let measured = in_parallel(&names, |index, (program, name)| {
            let program = &programs[*program];
            let key = key(program, name)?;
            if let Some(value) = earlier.get(&key) {
                return Ok(value.clone());
            }
            let value = measure(program, name, &folder.join(index.to_string()))?;
            let line = format!("{}\n", json!([key, value]));
            file.lock()
                .expect("no worker panics")
                .write_all(line.as_bytes())?;
            Ok(value)
        })?;
        let mut suite = Suite {
            programs,
            tests: Vec::new(),
            reaching: HashMap::new(),
        };
        for ((program, name), value) in names.into_iter().zip(measured) {
            match value["milliseconds"].as_u64() {
                Some(milliseconds) => suite.add(program, name, milliseconds, &value["reached"]),
                None => println!(
                    "  left out: {} {name}: {}",
                    suite.programs[program].name, value["left out"]
                ),
            }
        }
        Ok(suite)
    }

    fn add(&mut self, program: usize, name: String, milliseconds: u64, reached: &Value) {
        let ids = reached
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64);
        let reached: Vec<u32> = ids.filter_map(|id| u32::try_from(id).ok()).collect();
        for id in &reached {
            self.reaching.entry(*id).or_default().push(self.tests.len());
        }
        self.tests.push(Test {
            program,
            name,
            time: Duration::from_millis(milliseconds),
            reached,
        });
    }
}

/// Another build of the program is another key.
fn key(program: &Program, test: &str) -> Answer<String> {
    let built = fs::metadata(&program.path)?
        .modified()?
        .duration_since(UNIX_EPOCH)?
        .as_millis();
    Ok(format!("{} {built} {test}", program.path.display()))
}

/// The names of the tests that are not ignored.
fn tests(program: &Program) -> Answer<BTreeSet<String>> {
    let list = |ignored: &[&str]| -> Answer<BTreeSet<String>> {
        let output = Command::new(&program.path)
            .args(["--list", "--format", "terse"])
            .args(ignored)
            .current_dir(&program.folder)
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text
            .lines()
            .filter_map(|line| Some(line.strip_suffix(": test")?.to_owned()))
            .collect())
    };
    Ok(&list(&[])? - &list(&["--ignored"])?)
}

fn measure(program: &Program, name: &str, reached: &Path) -> Answer<Value> {
    let _ = fs::remove_file(reached);
    let path = reached.to_str().ok_or("a path that is no UTF-8")?;
    let mut run = process::run(
        program,
        &[name],
        &[("SLABLOOP_MUTANT_REACHED", path)],
        LONGEST,
    )?;
    let lines = fs::read_to_string(reached).unwrap_or_default();
    let ids: BTreeSet<u32> = lines.lines().filter_map(|line| line.parse().ok()).collect();
    let _ = fs::remove_file(reached);
    if run.ending != Ending::Passed {
        // Noting takes time, and a file: perhaps it passes without.
        run = process::run(program, &[name], &[], LONGEST)?;
    }
    if run.ending != Ending::Passed {
        return Ok(json!({ "left out": format!("{:?} without a mutant", run.ending) }));
    }
    let milliseconds = u64::try_from(run.time.as_millis())?;
    Ok(json!({ "milliseconds": milliseconds, "reached": ids }))
}
