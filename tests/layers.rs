//! The order of the layers in `src/`: a file imports only from its own layer and from those below it. And
//! that no file of `tests/` is left out.
//!
//! The compiler keeps the wall itself: what is below `turn/` is generic over what sits in a slot, and cannot
//! call a dispatcher. This test keeps the rest of the order, by reading the source's paths.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. What shares a line forms one layer.
const LAYERS: [&[&str]; 10] = [
    // (The crate hands on the mio that it is built on.)
    &["world", "mio"],
    &["time"],
    &["watch"],
    &["slot"],
    &["state"],
    &["dispatcher", "context", "turn"],
    &["reactor", "builder", "handle", "observe"],
    &["framing", "inspector", "kit", "metrics", "tls", "trace"],
    &["test"],
    &["testing"],
];

#[test]
fn no_layer_names_one_above_it() {
    let mut wrong = BTreeSet::new();
    for (name, source) in sources() {
        let own = layer_of(&name);
        for target in imports(&source) {
            if layer_of(&target) > own {
                wrong.insert(format!("{name} names crate::{target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn callbacks_are_called_from_the_turn_only() {
    let mut callers = BTreeSet::new();
    for (name, source) in sources() {
        // What stands on the public face are dispatchers that hand callbacks on to their handlers.
        let above = name.starts_with("framing/") || name.starts_with("kit/");
        if !above && source.contains(".handle_") {
            callers.insert(name);
        }
    }
    assert!(!callers.is_empty(), "this test finds calls of callbacks");
    let elsewhere: Vec<_> = callers
        .iter()
        .filter(|name| !name.starts_with("turn/"))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn every_log_line_names_its_topic() {
    let mut without = BTreeSet::new();
    // A part of the kit that could be a program's own has the target that a program's lines have: its module's.
    let sources = sources();
    for (name, source) in sources.iter().filter(|(name, _)| !is_portable(name)) {
        for level in ["trace", "debug", "info", "warn", "error"] {
            let call = format!("log::{level}!(");
            let wrong = source
                .split(&call)
                .skip(1)
                .any(|call| !call.trim_start().starts_with("target: topics::"));
            if wrong {
                without.insert(format!("{name}: log::{level}!"));
            }
        }
    }
    assert!(without.is_empty(), "{without:#?}");
}

#[test]
fn the_kit_names_what_a_program_could_name() {
    let mut wrong = BTreeSet::new();
    let mut looked_at = 0;
    for (name, source) in sources().iter().filter(|(name, _)| is_portable(name)) {
        looked_at += 1;
        for private in names_of_modules(source) {
            if !PUBLIC_MODULES.contains(&private.as_str()) {
                wrong.insert(format!("{name} names crate::{private}"));
            }
        }
    }
    assert!(looked_at > 0, "there are such files");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_module_is_found_in_a_list_and_a_public_type_is_none() {
    let source = "use crate::{\n    Context, state::flow,\n    world,\n};\nuse crate::Id;\ncrate::time::now();\n";
    let found: Vec<_> = names_of_modules(source).into_iter().collect();
    assert_eq!(found, ["state", "time", "world"]);
}

#[test]
fn a_path_in_code_is_found_and_one_in_a_comment_is_not() {
    let source = "use crate::state::{closing, flow};\n\
                  // crate::reactor is not named\n\
                  fn f() { crate::turn::call::f(); }\n";
    let found: Vec<_> = imports(&without_comments(source)).into_iter().collect();
    assert_eq!(found, ["state", "turn"]);
}

#[test]
fn every_file_of_tests_is_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let names = files.map(|entry| entry.file_name().into_string().unwrap());
    let missing: Vec<_> = names
        .filter(|name| name.ends_with(".rs"))
        .filter(|name| !manifest.contains(&format!("path = \"{name}\"")))
        .collect();
    assert!(missing.is_empty(), "not in tests/Cargo.toml: {missing:?}");
}

/// The modules of the crate that a program can name.
const PUBLIC_MODULES: [&str; 9] = [
    "framing",
    "inspector",
    "kit",
    "metrics",
    "mio",
    "observe",
    "test",
    "tls",
    "trace",
];

/// Parts of the kit that need something of the crate's inside, or extend the reactor's own verbs.
const BUILT_IN: [&str; 3] = ["child", "numbers", "signals"];

/// Whether a file is one of the inspector's, or one of the kit's that stand on the public API alone.
/// (`tests/kit/public_api.rs` compiles them outside of the crate, which sees methods as well; this names the culprit.)
fn is_portable(name: &str) -> bool {
    if name.starts_with("inspector") {
        return true;
    }
    let part = name
        .strip_prefix("kit/")
        .and_then(|rest| rest.split(['/', '.']).next());
    part.is_some_and(|part| !BUILT_IN.contains(&part))
}

/// The first names of all paths that begin with `crate::`, those in a list of a `use` included, as far as they are
/// modules.
fn names_of_modules(source: &str) -> BTreeSet<String> {
    let mut names = imports(source);
    for list in source.split("crate::{").skip(1) {
        let list = list.split(';').next().unwrap_or_default();
        let items = list.split(',').map(|item| item.trim_start());
        let items = items.map(|item| {
            let name = item
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_');
            name.collect::<String>()
        });
        names.extend(items.filter(|name| name.starts_with(|c: char| c.is_lowercase())));
    }
    names
}

/// Every file of `src/` but the crate root, with its comments taken out.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 40, "the source is there: {files:?}");
    let relative = |file: &PathBuf| file.strip_prefix(&root).unwrap().display().to_string();
    let sources = files
        .iter()
        .map(|file| (relative(file), fs::read_to_string(file).unwrap()));
    sources
        .filter(|(name, _)| name != "lib.rs")
        .map(|(name, source)| (name, without_comments(&source)))
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

fn without_comments(source: &str) -> String {
    let lines = source.lines().map(|line| {
        let code = line.split("//").next().unwrap_or_default();
        format!("{code}\n")
    });
    lines.collect()
}

/// The first names of all paths that begin with `crate::`.
fn imports(source: &str) -> BTreeSet<String> {
    let paths = source.split("crate::").skip(1);
    paths
        .map(|path| {
            path.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        })
        .filter(|name| name.starts_with(|c: char| c.is_lowercase()))
        .collect()
}

/// The place in the order of a file or of a module at the crate's root.
fn layer_of(name: &str) -> usize {
    let module = name.split('/').next().unwrap_or_default();
    let module = module.strip_suffix(".rs").unwrap_or(module);
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("{name} belongs to no layer: put it into the list above"))
}
