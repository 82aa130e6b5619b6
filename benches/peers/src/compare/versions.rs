//! The versions of programs and crates.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The first line that a program prints on either output, if it runs and succeeds.
pub(crate) fn first_line(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    // nginx -v writes to standard error.
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    Some(
        String::from_utf8_lossy(&text)
            .lines()
            .next()?
            .trim()
            .to_owned(),
    )
}

/// The version of a crate in the lock file, which lies here or, in a workspace, further up.
#[must_use]
pub fn locked_version(name: &str) -> Option<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lock = here
        .ancestors()
        .find_map(|dir| fs::read_to_string(dir.join("Cargo.lock")).ok())?;
    let entry = lock
        .split("[[package]]")
        .find(|entry| entry.contains(&format!("name = \"{name}\"\n")))?;
    let version = entry
        .lines()
        .find_map(|line| line.strip_prefix("version = "))?;
    Some(version.trim_matches('"').to_owned())
}
