//! What stands before the tables of a page: the machine, the versions, how it was measured.

use std::fmt::Write;

use slabloop_peers::compare::machine;
use slabloop_peers::compare::process;
use slabloop_peers::compare::versions::locked_version;

/// What stands before the tables.
#[must_use]
pub fn head(rounds: usize, crates: &[&str], tools: &[&str]) -> String {
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (key, value) in machine::facts() {
        let _ = writeln!(text, "| {key} | {value} |");
    }
    let versions = crates.iter().filter_map(|name| {
        let version = locked_version(name)?;
        Some(format!("{name} {version}"))
    });
    let all_tools = machine::tools();
    let tools = all_tools
        .iter()
        .filter(|(name, _)| tools.contains(name))
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
