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
    /// So many tests were run, of so many that reach it.
    Survived(usize, usize),
    NeverRun,
}

/// How many tests at first; then four times as many, and so on.
const FIRST: usize = 3;

/// What a test that hangs is given beside a multiple of its own time.
const GRACE: Duration = Duration::from_millis(1500);

/// Takes long, reaches nearly all, and looks at more than any other.
const ORACLES: &str = "a_random_program_keeps_every_rule_whatever_goes_wrong";

/// Whether a test notices `mutant`, of those that together take no longer than `budget`.
pub(crate) fn judge(suite: &Suite, mutant: u32, budget: Duration) -> Answer<Verdict> {
    let Some(reaching) = suite.reaching.get(&mutant) else {
        return Ok(Verdict::NeverRun);
    };
    // The cheapest first, and those that are about little else.
    let mut order = reaching.clone();
    order.sort_by_key(|&test| {
        let test = &suite.tests[test];
        test.time.as_millis().max(10) * test.reached.len() as u128
    });
    let mut spent = Duration::ZERO;
    order.retain(|&test| {
        let test = &suite.tests[test];
        spent += test.time;
        spent < budget || test.name == ORACLES
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
    Ok(Verdict::Survived(order.len(), reaching.len()))
}

/// Runs some tests of one program in one process. It has to fail twice, the second time alone, because a test may fail by
/// chance, or come too late on a busy machine.
fn together(suite: &Suite, mutant: u32, tests: &[usize]) -> Answer<Option<Verdict>> {
    let times = tests.iter().map(|&test| suite.tests[test].time);
    let limit = GRACE + times.clone().sum::<Duration>() + times.max().unwrap_or_default() * 4;
    let first = run(suite, mutant, tests, limit)?;
    let mut suspects = tests.to_vec();
    match first.ending {
        Ending::Passed => return Ok(None),
        Ending::TimedOut => {
            suspects.retain(|&test| !first.passed.contains(&suite.tests[test].name))
        }
        Ending::Failed => {
            let is_it = |test: &usize| first.failed.as_ref() == Some(&suite.tests[*test].name);
            suspects.sort_by_key(|test| !is_it(test));
        }
    }
    for test in suspects {
        let one = &suite.tests[test];
        let name = format!("{} {}", suite.programs[one.program].name, one.name);
        match run(suite, mutant, &[test], (GRACE + one.time * 5) * 2)?.ending {
            Ending::Passed => {}
            Ending::Failed => return Ok(Some(Verdict::Failed(name))),
            Ending::TimedOut => return Ok(Some(Verdict::TimedOut(name))),
        }
    }
    Ok(None)
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
