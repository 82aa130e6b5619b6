//! Commands of cargo on a page, and what in the workspace they name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::pages::{Page, file_name, root};

/// Each command on a page that begins with `cargo`, in code or between backticks, with its line's number.
pub(crate) fn commands(page: &Page) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in page.lines.iter().enumerate() {
        for rest in line.split("cargo ").skip(1) {
            let command = rest
                .split(['`', '#', '|', '>', ';'])
                .next()
                .unwrap_or_default();
            found.push((at + 1, format!("cargo {}", command.trim())));
        }
    }
    found
}

/// The example that a command runs, and the arguments that it gives to it.
pub(crate) fn example_of(command: &str) -> Option<(String, Vec<String>)> {
    let (cargo, arguments) = command.split_once(" -- ").unwrap_or((command, ""));
    let words: Vec<&str> = cargo.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "--example")?;
    let name = words.get(at + 1)?;
    (words.get(1) == Some(&"run")).then(|| {
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        ((*name).to_owned(), arguments)
    })
}

/// What commands can name.
pub(crate) struct Targets {
    /// Features, by package.
    packages: BTreeMap<String, BTreeSet<String>>,
    tests: BTreeSet<String>,
    /// Sources, by name.
    examples: BTreeMap<String, PathBuf>,
}

impl Targets {
    /// Reads all manifests.
    pub(crate) fn of_the_workspace() -> Targets {
        let mut targets = Targets {
            packages: BTreeMap::new(),
            tests: BTreeSet::new(),
            examples: BTreeMap::new(),
        };
        let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
        let members = manifest
            .lines()
            .find_map(|line| line.strip_prefix("members = ["));
        let members = members.expect("the members, in one line");
        targets.add(&root());
        for member in members.split('"').skip(1).step_by(2) {
            targets.add(&root().join(member));
        }
        assert!(targets.examples.len() > 3, "the examples have moved");
        targets
    }

    fn add(&mut self, folder: &Path) {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a member's manifest");
        let (mut section, mut package, mut target) = ("", String::new(), String::new());
        let mut features = BTreeSet::new();
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line.trim();
                continue;
            }
            let Some((key, value)) = line.split_once(" = ") else {
                continue;
            };
            let value = value.trim_matches('"');
            match (section, key) {
                ("[package]", "name") => value.clone_into(&mut package),
                ("[features]", feature) => {
                    features.insert(feature.to_owned());
                }
                ("[[test]]", "name") => {
                    self.tests.insert(value.to_owned());
                }
                ("[[example]]", "name") => value.clone_into(&mut target),
                ("[[example]]", "path") => {
                    self.examples.insert(target.clone(), folder.join(value));
                }
                _ => {}
            }
        }
        if !manifest.contains("autoexamples = false") {
            self.find_examples(&folder.join("examples"));
        }
        self.packages.insert(package, features);
    }

    fn find_examples(&mut self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = file_name(&path);
            if let Some(name) = name.strip_suffix(".rs") {
                self.examples.insert(name.to_owned(), path);
            } else if path.join("main.rs").exists() {
                self.examples.insert(name, path.join("main.rs"));
            }
        }
    }

    /// The names of the book's programs.
    pub(crate) fn of_the_book(&self) -> impl Iterator<Item = &String> {
        self.examples
            .keys()
            .filter(|name| name.starts_with("book_"))
    }

    /// What a command names that does not exist, a sentence each.
    pub(crate) fn complaints(&self, command: &str) -> Vec<String> {
        let mut complaints = Vec::new();
        let cargo = command.split(" -- ").next().unwrap_or_default();
        let words: Vec<&str> = cargo.split_whitespace().collect();
        let after = |flag: &str| {
            let at = words.iter().position(|word| *word == flag)?;
            words.get(at + 1).copied()
        };
        let package = after("-p").unwrap_or("slabloop");
        let Some(features) = self.packages.get(package) else {
            return vec![format!("no package {package}")];
        };
        for feature in after("--features").unwrap_or_default().split(',') {
            if !feature.is_empty() && !feature.contains('/') && !features.contains(feature) {
                complaints.push(format!("{package} has no feature {feature}"));
            }
        }
        if let Some(test) = after("--test") {
            let is_name = test
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if is_name && !self.tests.contains(test) {
                complaints.push(format!("no test {test}"));
            }
        }
        if let Some((name, arguments)) = example_of(command) {
            match self.examples.get(&name) {
                // A name such as book_NN_NAME stands for many.
                None if name.chars().any(|c| c.is_ascii_uppercase()) => {}
                None => complaints.push(format!("no example {name}")),
                Some(source) => {
                    let text = with_what_it_shares(source);
                    let flags = arguments.iter().filter(|word| word.starts_with("--"));
                    for flag in flags.filter(|flag| !has_flag(&text, flag)) {
                        complaints.push(format!("{name} has no {flag}"));
                    }
                }
            }
        }
        complaints
    }
}

/// The source of an example, with that of the folder `common` or the file `shared.rs` beside it, and of its own folder.
fn with_what_it_shares(source: &Path) -> String {
    let mut text = fs::read_to_string(source).expect("an example's source");
    let folder = source.parent().expect("a folder");
    if let Ok(entries) = fs::read_dir(folder.join("common")) {
        for entry in entries {
            text += &fs::read_to_string(entry.expect("an entry").path()).unwrap_or_default();
        }
    }
    text + &fs::read_to_string(folder.join("shared.rs")).unwrap_or_default()
}

fn has_flag(source: &str, flag: &str) -> bool {
    let flag = flag.split('=').next().unwrap_or_default();
    source.split(flag).skip(1).any(|rest| {
        let next = rest.chars().next().unwrap_or(' ');
        !next.is_ascii_alphanumeric() && next != '-'
    })
}
