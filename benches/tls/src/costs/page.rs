//! The part of `docs/tls.md` that is written by the program: what is between two comments.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use slabloop_peers::cli::{Doing, Error, Result};
use slabloop_peers::compare::machine;
use slabloop_peers::compare::process;
use slabloop_peers::compare::versions::locked_version;

const BEGIN: &str = "<!-- written by tls_costs: begin -->\n";
const END: &str = "<!-- written by tls_costs: end -->\n";

/// What stands before the tables.
#[must_use]
pub fn head(rounds: usize) -> String {
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (key, value) in machine::facts() {
        let _ = writeln!(text, "| {key} | {value} |");
    }
    let crates = ["rustls", "ring", "mio", "tokio", "tokio-rustls"];
    let versions = crates.iter().filter_map(|name| {
        let version = locked_version(name)?;
        Some(format!("{name} {version}"))
    });
    let tools = machine::tools();
    let tools = tools
        .iter()
        .filter(|(name, _)| ["HAProxy", "nginx"].contains(name))
        .map(|(name, version)| format!("{name} {version}"));
    let all: Vec<_> = versions.chain(tools).collect();
    let _ = writeln!(text, "| versions | {} |", all.join(", "));
    let pinning = if process::can_pin() {
        "server on processor 0, client on processor 1"
    } else {
        "none"
    };
    let _ = writeln!(text, "| pinning | {pinning} |");
    let _ = writeln!(
        text,
        "| rounds | {rounds}, in turn; medians; ratios to the first row, within a round |\n"
    );
    text
}

/// Whether the page has a place for the text.
///
/// # Errors
///
/// A page that is not there, or has none.
pub fn check(page: &Path) -> Result<()> {
    let text = fs::read_to_string(page).doing(page.display())?;
    split(&text).map(|_| ()).ok_or_else(|| no_place(page))
}

/// Puts the text into the page.
///
/// # Errors
///
/// As [`check`].
pub fn write(page: &Path, tables: &str) -> Result<()> {
    let text = fs::read_to_string(page).doing(page.display())?;
    let (before, after) = split(&text).ok_or_else(|| no_place(page))?;
    let text = format!("{before}{BEGIN}\n{}\n\n{END}{after}", tables.trim_end());
    fs::write(page, text).doing(page.display())
}

fn split(text: &str) -> Option<(&str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some((before, after))
}

fn no_place(page: &Path) -> Error {
    Error::Usage(format!(
        "--page {}: it has no lines {BEGIN:?} and {END:?}",
        page.display()
    ))
}
