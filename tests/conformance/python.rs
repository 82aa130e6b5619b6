//! Finding a Python that still has asyncore, and running a script with it.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The first Python that can import asyncore and asynchat, or none, which is said on stderr.
pub(crate) fn with_asyncore() -> Option<String> {
    let candidates = [
        "python3.11",
        "python3",
        "python3.10",
        "python3.9",
        "python3.8",
    ];
    let named = std::env::var("PYTHON").ok();
    let found = named
        .iter()
        .map(String::as_str)
        .chain(candidates)
        .find(|python| {
            let tried = Command::new(python)
                .args(["-W", "ignore", "-c", "import asyncore, asynchat"])
                .stderr(Stdio::null())
                .status();
            tried.is_ok_and(|status| status.success())
        });
    if found.is_none() {
        eprintln!("SKIPPED: no Python here has asyncore (3.11 was the last); nothing was compared");
    }
    found.map(str::to_owned)
}

/// Starts one of the scripts beside this file.
pub(crate) fn start(python: &str, script: &str, arguments: &[&str]) -> Child {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "conformance", script]
        .iter()
        .collect();
    Command::new(python)
        .args(["-W", "ignore"])
        .arg(path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was found a moment ago")
}

/// Runs one to its end; what it prints.
pub(crate) fn run(python: &str, script: &str, arguments: &[&str], input: Option<&str>) -> String {
    let mut child = start(python, script, arguments);
    let mut stdin = child.stdin.take().expect("piped");
    if let Some(input) = input {
        stdin
            .write_all(input.as_bytes())
            .expect("it reads all of it");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("it was started here");
    assert!(
        output.status.success(),
        "{script} failed: {}",
        output.status
    );
    String::from_utf8(output.stdout).expect("it prints text")
}
