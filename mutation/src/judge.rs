//! Runs the tests that reach a mutant, until one fails.

use crate::Answer;
use crate::process::{self, Ending};
use crate::suite::Suite;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug)]
pub(crate) enum Verdict {
    /// By this test.
    Failed(String),
    TimedOut(String),
    Survived,
    NeverRun,
}

/// How many tests at first; then four times as many, and so on.
const FIRST: usize = 3;

/// What a test that hangs is given beside a multiple of its own time.
const GRACE: Duration = Duration::from_secs(5);

/// Whether a test notices `mutant`.
pub(crate) fn judge(suite: &Suite, mutant: u32) -> Answer<Verdict> {
    let Some(reaching) = suite.reaching.get(&mutant) else {
        return Ok(Verdict::NeverRun);
    };
    // The cheapest first, and those that are about little else.
    let mut order = reaching.clone();
    order.sort_by_key(|&test| {
        let test = &suite.tests[test];
        test.time.as_millis().max(10) * test.reached.len() as u128
    });
    let mut left = order.as_slice();
    let mut count = FIRST;
    while !left.is_empty() {
        let (now, later) = left.split_at(count.min(left.len()));
        let mut by_program: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &test in now {
            by_program
                .entry(suite.tests[test].program)
                .or_default()
                .push(test);
        }
        for tests in by_program.values() {
            if let Some(verdict) = together(suite, mutant, tests)? {
                return Ok(verdict);
            }
        }
        left = later;
        count *= 4;
    }
    Ok(Verdict::Survived)
}

/// Runs some tests of one program in one process; and alone those of which that says nothing for sure.
fn together(suite: &Suite, mutant: u32, tests: &[usize]) -> Answer<Option<Verdict>> {
    let mut suspects = tests.to_vec();
    if tests.len() > 1 {
        let times = tests.iter().map(|&test| suite.tests[test].time);
        let limit = GRACE + times.clone().sum::<Duration>() + times.max().unwrap_or_default() * 4;
        let run = run(suite, mutant, tests, limit)?;
        match run.ending {
            Ending::Passed => return Ok(None),
            Ending::TimedOut => {
                suspects.retain(|&test| !run.passed.contains(&suite.tests[test].name))
            }
            Ending::Failed => {
                let is_it = |test: &usize| run.failed.as_ref() == Some(&suite.tests[*test].name);
                suspects.sort_by_key(|test| !is_it(test));
            }
        }
    }
    for test in suspects {
        if let Some(verdict) = alone(suite, mutant, test)? {
            return Ok(Some(verdict));
        }
    }
    Ok(None)
}

/// It has to fail twice, because a test may fail by chance, or come too late on a busy machine.
fn alone(suite: &Suite, mutant: u32, test: usize) -> Answer<Option<Verdict>> {
    let one = &suite.tests[test];
    let limit = GRACE + one.time * 5;
    let first = run(suite, mutant, &[test], limit)?.ending;
    if first == Ending::Passed {
        return Ok(None);
    }
    let name = format!("{} {}", suite.programs[one.program].name, one.name);
    Ok(match run(suite, mutant, &[test], limit * 2)?.ending {
        Ending::Passed => None,
        Ending::Failed => Some(Verdict::Failed(name)),
        Ending::TimedOut => Some(Verdict::TimedOut(name)),
    })
}

fn run(suite: &Suite, mutant: u32, tests: &[usize], limit: Duration) -> Answer<process::Run> {
    let program = &suite.programs[suite.tests[tests[0]].program];
    let names: Vec<&str> = tests
        .iter()
        .map(|&test| suite.tests[test].name.as_str())
        .collect();
    Ok(process::run(
        program,
        &names,
        &[("SLABLOOP_MUTANT", &mutant.to_string())],
        limit,
    )?)
}
