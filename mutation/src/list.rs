//! The mutants, as cargo-mutants lists them: names and places are its, so that each can be looked at again with
//! `cargo mutants --re`.

use crate::Answer;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Whose tests are configured apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Core,
    Kit,
}

impl Part {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Core => "core",
            Part::Kit => "kit",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Part::Core => &[],
            Part::Kit => &["--config", ".cargo/mutants-kit.toml"],
        }
    }
}

/// A line, and a column in characters, both from 1.
pub(crate) type Place = (usize, usize);

#[derive(Debug)]
pub(crate) struct Mutant {
    /// What its switch is called in the built program: from 1, over both parts.
    pub(crate) id: u32,
    pub(crate) part: Part,
    pub(crate) name: String,
    pub(crate) file: String,
    /// Empty outside of functions.
    pub(crate) function: String,
    pub(crate) genre: String,
    pub(crate) replacement: String,
    pub(crate) start: Place,
    /// Its function returns `impl Trait`, of which there can be one type only.
    pub(crate) is_opaque: bool,
}

/// The mutants of both parts.
pub(crate) fn mutants(root: &Path) -> Answer<Vec<Mutant>> {
    let mut mutants = Vec::new();
    for part in [Part::Core, Part::Kit] {
        let output = Command::new("cargo")
            .args(["mutants", "--list", "--json"])
            .args(part.arguments())
            .current_dir(root)
            .output()?;
        if !output.status.success() {
            return Err(format!(
                "cargo mutants --list: {}",
                String::from_utf8_lossy(&output.stderr)
            )
            .into());
        }
        let listed: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        for one in &listed {
            let id = u32::try_from(mutants.len())? + 1;
            mutants.push(mutant(id, part, one).ok_or_else(|| format!("cannot read {one}"))?);
        }
    }
    Ok(mutants)
}

fn mutant(id: u32, part: Part, one: &Value) -> Option<Mutant> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let number = |value: &Value| usize::try_from(value.as_u64()?).ok();
    let function = &one["function"];
    let start = &one["span"]["start"];
    Some(Mutant {
        id,
        part,
        name: text(&one["name"])?,
        file: text(&one["file"])?,
        function: text(&function["function_name"]).unwrap_or_default(),
        genre: text(&one["genre"])?,
        replacement: text(&one["replacement"])?,
        start: (number(&start["line"])?, number(&start["column"])?),
        is_opaque: function["return_type"]
            .as_str()
            .is_some_and(|returns| returns.contains("impl ")),
    })
}
