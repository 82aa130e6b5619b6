//! The shortest list of commands that still fails, and how a failure is told.

use super::{Command, Failure, Plan, Tell, play};
use crate::sim::faults::{FAULTS, Fault};

/// The shortest list of commands, and the fewest kinds of faults, with which a run still fails.
pub(crate) fn shrink(plan: &Plan) -> Plan {
    let Err(failure) = play(plan, Tell::Nothing) else {
        return plan.clone();
    };
    let kind = kind_of(&failure.rule);
    let fails = |plan: &Plan| {
        play(plan, Tell::Nothing).is_err_and(|failure| kind_of(&failure.rule) == kind)
    };
    let mut best = plan.clone();
    if failure.after + 1 < plan.commands.len() {
        best.commands.truncate(failure.after + 1);
        if !fails(&best) {
            best.commands.clone_from(&plan.commands);
        }
    }
    best.commands = fewest(&best.commands, 1_000, |commands| {
        fails(&Plan {
            commands: commands.to_vec(),
            ..best.clone()
        })
    });
    for fault in FAULTS
        .into_iter()
        .filter(|fault: &Fault| plan.mix.has(*fault))
    {
        let candidate = Plan {
            mix: best.mix.without(fault),
            ..best.clone()
        };
        if fails(&candidate) {
            best = candidate;
        }
    }
    best
}

/// The shortest part of a list with which something still fails, as far as so many tries find it.
pub(crate) fn fewest<T: Clone>(all: &[T], mut budget: u32, fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut best = all.to_vec();
    let mut size = best.len().div_ceil(2);
    while size > 0 && budget > 0 {
        let mut start = 0;
        let mut shorter = false;
        while start < best.len() && budget > 0 {
            let mut candidate = best.clone();
            candidate.drain(start..(start + size).min(best.len()));
            budget -= 1;
            if fails(&candidate) {
                best = candidate;
                shorter = true;
            } else {
                start += size;
            }
        }
        if size > 1 || !shorter {
            size /= 2;
        }
    }
    best
}

/// What is left of a rule without its numbers: a shorter list has to fail in the same way.
pub(crate) fn kind_of(rule: &str) -> String {
    let words = rule.split_whitespace();
    let words = words.filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.take(8).collect::<Vec<_>>().join(" ")
}

/// What a failure looks like to who has to find it.
pub(crate) fn describe(plan: &Plan, failure: &Failure) -> String {
    let short = shrink(plan);
    let last = play(&short, Tell::Keep).err();
    let commands: Vec<String> = short.commands.iter().map(Command::to_string).collect();
    let (rule, trace) = match &last {
        Some(failure) => (failure.rule.as_str(), failure.trace.join("\n    ")),
        None => ("(not when shortened)", String::new()),
    };
    format!(
        "seed {}: {}\n  shortest: {rule}\n  faults: {}\n  commands: {}\n  last steps:\n    {trace}",
        plan.seed,
        failure.rule,
        short.mix,
        commands.join(" "),
    )
}
