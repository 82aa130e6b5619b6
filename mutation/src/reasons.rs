//! `survivors.txt`: the mutants that may survive, with the reason.
//!
//! A line `[kind of reason]` stands above its mutants. A mutant is called as cargo-mutants calls it, without line and column, so that
//! the list holds when lines move; what comes after ` # ` says why.

use crate::Answer;
use crate::list::Mutant;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

#[derive(Debug)]
pub(crate) struct Reasons {
    /// Kinds, by mutant.
    kinds: HashMap<String, String>,
}

/// How the survivors compare with the list.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// By kind of reason.
    pub(crate) explained: BTreeMap<String, usize>,
    pub(crate) unexplained: Vec<String>,
    /// Listed, and caught by now, or no mutant at all.
    pub(crate) outdated: Vec<String>,
}

impl Reasons {
    pub(crate) fn read(path: &Path) -> Answer<Reasons> {
        let mut kinds = HashMap::new();
        let mut kind = String::new();
        for line in fs::read_to_string(path)?.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'))
            {
                Some(name) => name.clone_into(&mut kind),
                None => {
                    let mutant = line.split(" # ").next().unwrap_or_default().trim();
                    kinds.insert(mutant.to_owned(), kind.clone());
                }
            }
        }
        Ok(Reasons { kinds })
    }

    pub(crate) fn compare<'a>(&self, survivors: impl Iterator<Item = &'a Mutant>) -> Comparison {
        let mut comparison = Comparison::default();
        let mut seen = HashSet::new();
        for mutant in survivors {
            let name = without_place(mutant);
            match self.kinds.get(&name) {
                Some(kind) => *comparison.explained.entry(kind.clone()).or_default() += 1,
                None => comparison.unexplained.push(mutant.name.clone()),
            }
            seen.insert(name);
        }
        let outdated = self.kinds.keys().filter(|name| !seen.contains(*name));
        comparison.outdated = outdated.cloned().collect();
        comparison.outdated.sort();
        comparison
    }
}

/// `src/slot.rs:12:7: replace ..` without the numbers.
fn without_place(mutant: &Mutant) -> String {
    let what = mutant.name.split_once(": ").map_or("", |(_, what)| what);
    format!("{}: {what}", mutant.file)
}
