//! The part of `docs/tls.md` that is written by the program: what is between two comments.

use std::fmt::Write;

use slabloop_peers::compare::machine;
use slabloop_peers::compare::part::Part;
use slabloop_peers::compare::process;
use slabloop_peers::compare::versions::locked_version;

/// Where it stands.
pub const PART: Part = Part("tls_costs");

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
