//! What stands before the tables: the rules, the machine, the versions.

use std::fmt::Write;
use std::process::Command;

use slabloop_peers::compare::machine;
use slabloop_peers::compare::process;
use slabloop_peers::compare::versions::locked_version;

const RULES: &str = "\
## The toolkit

`slabloop::kit` beside the same written for tokio and asyncio. The programs of a table do the same work, in the way that
their libraries want it done; they are in [benches/toolkit](../benches/toolkit), and each checks what it gets.

```sh
cargo build --profile bench-peers -p slabloop-peers -p slabloop-toolkit-costs
target/bench-peers/toolkit_costs --page docs/benchmarks.md
```

*Lines* are those of a program that are neither blank nor comments, formatted by rustfmt or black with their defaults, from
the first to the line `The measuring frame.`, below which are the command line and the clock. *CPU time* is that of the
process, user and system, all threads, from the first statement of the work to its last, divided by how often the work
is done; servers are other processes. *× slabloop* is that over slabloop's in the same round, the median of all
rounds, and in brackets the quartiles: above 1 is what costs more than slabloop. Where the upper quartile is below 1,
slabloop is slower, and the table says so. *Peak* is the most memory that the process had resident, code and
interpreter included. tokio is its current-thread runtime throughout. Not compared is `kit::retry`, which waits most of the
time.

";

/// The text.
#[must_use]
pub fn text(rounds: usize) -> String {
    let mut text = RULES.to_owned();
    text.push_str("| machine | |\n|---|---|\n");
    for (key, value) in machine::facts() {
        let _ = writeln!(text, "| {key} | {value} |");
    }
    let crates = [
        "slabloop",
        "tokio",
        "deadpool",
        "bb8",
        "governor",
        "hickory-resolver",
    ];
    let mut versions: Vec<_> = crates
        .iter()
        .filter_map(|name| Some(format!("{name} {}", locked_version(name)?)))
        .collect();
    let python = Command::new("python3").arg("--version").output();
    versions.extend(python.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned()));
    let dnsmasq = Command::new("dnsmasq").arg("--version").output();
    let dnsmasq = dnsmasq.map(|told| String::from_utf8_lossy(&told.stdout).into_owned());
    let dnsmasq = dnsmasq.unwrap_or_default();
    let dnsmasq = dnsmasq.split_whitespace().nth(2);
    versions.extend(dnsmasq.map(|version| format!("dnsmasq {version}")));
    let _ = writeln!(text, "| versions | {} |", versions.join(", "));
    let pinning = if process::can_pin() {
        "on processor 0, servers on processor 1; with workers none"
    } else {
        "none"
    };
    let _ = writeln!(text, "| pinning | {pinning} |");
    let _ = writeln!(text, "| rounds | {rounds}, in turn |\n");
    text
}
