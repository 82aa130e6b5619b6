//! The copy of the repository that has the mutants in it.

use crate::Answer;
use crate::list::Mutant;
use crate::splice::Mark;
use crate::switch::switch;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MODULE: &str = include_str!("mutant.rs.txt");

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) path: PathBuf,
    root: PathBuf,
    /// By file: where in its text which mutant is.
    pub(crate) marks: HashMap<String, Marks>,
    /// Those that have a switch.
    pub(crate) switched: BTreeSet<u32>,
}

#[derive(Debug)]
pub(crate) struct Marks {
    /// Of one mutant.
    pub(crate) single: Vec<Mark>,
    /// Of a place, which may have several.
    pub(crate) places: Vec<Mark>,
}

impl Tree {
    /// Copies what git knows, and what it would take, from `root` to `path`.
    pub(crate) fn copy(root: &Path, path: PathBuf) -> Answer<Tree> {
        let listed = Command::new("git")
            .args([
                "ls-files",
                "--cached",
                "--others",
                "--exclude-standard",
                "-z",
            ])
            .current_dir(root)
            .output()?;
        let tree = Tree {
            path,
            root: root.to_owned(),
            marks: HashMap::new(),
            switched: BTreeSet::new(),
        };
        for name in String::from_utf8(listed.stdout)?.split_terminator('\0') {
            if !root.join(name).is_file() {
                continue;
            }
            let content = fs::read(root.join(name))?;
            if name.starts_with("src/") {
                tree.write(&format!("plain/{name}"), &content)?;
            }
            // Those with mutants have their turn when the mutants are known.
            if !(name.starts_with("src/") && name.ends_with(".rs")) {
                tree.write(name, &with_plain_sources(name, content))?;
            }
        }
        tree.write("src/mutant.rs", MODULE.as_bytes())?;
        Ok(tree)
    }

    /// Writes the sources with `mutants`, but those that are `dropped`.
    pub(crate) fn switch(&mut self, mutants: &[Mutant], dropped: &mut BTreeSet<u32>) -> Answer<()> {
        let mut by_file: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
        for mutant in mutants
            .iter()
            .filter(|mutant| !dropped.contains(&mutant.id))
        {
            by_file.entry(&mutant.file).or_default().push(mutant);
        }
        self.switched.clear();
        for name in sources(&self.root, Path::new("src"))? {
            let mut text = fs::read_to_string(self.root.join(&name))?;
            if let Some(mutants) = by_file.get(name.as_str()) {
                let (splice, impossible) =
                    switch(&text, mutants).map_err(|error| format!("{name}: {error}"))?;
                dropped.extend(impossible);
                let (spliced, single, places) = splice.apply(&text);
                text = spliced;
                self.switched.extend(splice.mutants());
                self.marks.insert(name.clone(), Marks { single, places });
            }
            if name == "src/lib.rs" {
                text.push_str("\nmod mutant;\n");
            }
            self.write(&name, text.as_bytes())?;
        }
        Ok(())
    }

    /// What is as it was keeps its time, so that it is not built again.
    fn write(&self, name: &str, content: &[u8]) -> Answer<()> {
        let path = self.path.join(name);
        if fs::read(&path).ok().as_deref() != Some(content) {
            fs::create_dir_all(path.parent().expect("it has a name"))?;
            fs::write(&path, content)?;
            let permissions =
                fs::metadata(self.root.join(name)).map(|metadata| metadata.permissions());
            permissions.map_or(Ok(()), |permissions| {
                fs::set_permissions(&path, permissions)
            })?;
        }
        Ok(())
    }
}

/// A test that has parts of the crate as modules of its own gets them without mutants: they have no `crate::mutant` there.
fn with_plain_sources(name: &str, content: Vec<u8>) -> Vec<u8> {
    if !(name.starts_with("tests/") && name.ends_with(".rs")) {
        return content;
    }
    let text = String::from_utf8(content).expect("sources are UTF-8");
    text.replace("\"../../src", "\"../../plain/src")
        .into_bytes()
}

fn sources(root: &Path, folder: &Path) -> Answer<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            names.extend(sources(root, &name)?);
        } else if name.extension().is_some_and(|extension| extension == "rs") {
            names.push(name.to_str().ok_or("a name that is no UTF-8")?.to_owned());
        }
    }
    Ok(names)
}
