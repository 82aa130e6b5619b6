//! `survivors.txt`: the mutants that may survive, with the reason.
//!
//! A line `[kind of reason]` stands above its mutants. A mutant is called as cargo-mutants calls it, with the text of
//! its line in place of the numbers, so that the list holds when lines move; what comes after the last ` # ` says why.

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
                    let mutant = line
                        .rsplit_once(" # ")
                        .map_or(line, |(name, _)| name)
                        .trim();
                    kinds.insert(mutant.to_owned(), kind.clone());
                }
            }
        }
        Ok(Reasons { kinds })
    }

    pub(crate) fn compare<'a>(
        &self,
        root: &Path,
        survivors: impl Iterator<Item = &'a Mutant>,
    ) -> Comparison {
        let mut comparison = Comparison::default();
        let mut seen = HashSet::new();
        let mut sources = HashMap::new();
        for mutant in survivors {
            let name = without_place(&mut sources, root, mutant);
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

/// `src/slot.rs: replace .. in .. @ the line that it begins in`: the numbers would be others with each change of the file.
fn without_place(
    sources: &mut HashMap<String, Vec<String>>,
    root: &Path,
    mutant: &Mutant,
) -> String {
    let lines = sources.entry(mutant.file.clone()).or_insert_with(|| {
        let text = fs::read_to_string(root.join(&mutant.file)).unwrap_or_default();
        text.lines().map(|line| line.trim().to_owned()).collect()
    });
    let line = lines.get(mutant.start.0 - 1).map_or("", String::as_str);
    let what = mutant.name.split_once(": ").map_or("", |(_, what)| what);
    format!("{}: {what} @ {line}", mutant.file)
}
