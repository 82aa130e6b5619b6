//! What came of each mutant, a line of JSON each; the last one of a mutant counts.

use crate::Answer;
use crate::list::Mutant;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

/// All outcomes, as they are called in the file and in the table.
pub(crate) const OUTCOMES: [&str; 7] = [
    "caught",
    "timeout",
    "does not compile",
    "no switch",
    "survived",
    "not caught yet",
    "never run",
];

#[derive(Debug)]
pub(crate) struct Results {
    file: Mutex<File>,
    known: HashMap<String, String>,
}

impl Results {
    pub(crate) fn open(path: &Path) -> Answer<Results> {
        let mut known = HashMap::new();
        for line in fs::read_to_string(path).unwrap_or_default().lines() {
            let value: Value = serde_json::from_str(line)?;
            if let (Some(name), Some(outcome)) = (value["name"].as_str(), value["outcome"].as_str())
            {
                known.insert(name.to_owned(), outcome.to_owned());
            }
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = Mutex::new(OpenOptions::new().create(true).append(true).open(path)?);
        Ok(Results { file, known })
    }

    pub(crate) fn outcome(&self, mutant: &Mutant) -> Option<&str> {
        self.known.get(&mutant.name).map(String::as_str)
    }

    /// Writes one down at once, so that a run which is stopped goes on from here.
    pub(crate) fn add(&self, mutant: &Mutant, outcome: &str, by: &str, seconds: f64) -> Answer<()> {
        let line = json!({
            "name": mutant.name,
            "file": mutant.file,
            "function": mutant.function,
            "genre": mutant.genre,
            "id": mutant.id,
            "outcome": outcome,
            "by": by,
            "seconds": (seconds * 100.0).round() / 100.0,
        });
        let mut file = self.file.lock().expect("no worker panics");
        Ok(file.write_all(format!("{line}\n").as_bytes())?)
    }

    /// A table by file, and their sum.
    pub(crate) fn table(&self, mutants: &[&Mutant]) -> String {
        let mut rows: BTreeMap<&str, [usize; 7]> = BTreeMap::new();
        for mutant in mutants {
            let outcome = self.outcome(mutant);
            if let Some(column) = OUTCOMES.iter().position(|one| Some(*one) == outcome) {
                rows.entry(mutant.file.as_str()).or_default()[column] += 1;
                rows.entry("~ all").or_default()[column] += 1;
            }
        }
        let mut table = format!(
            "{:<44}{}\n",
            "",
            OUTCOMES.map(|outcome| format!("{outcome:>18}")).concat()
        );
        for (file, row) in rows {
            table.push_str(&format!(
                "{file:<44}{}\n",
                row.map(|count| format!("{count:>18}")).concat()
            ));
        }
        table
    }
}
