//! What the report says of the machine and of the programs' versions.

use std::fs;
use std::process::Command;
use std::thread;

use super::versions::first_line;

/// Key and value, in the order of the report.
#[must_use]
pub fn facts() -> Vec<(&'static str, String)> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown");
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .unwrap_or("0 kB");
    let memory: u64 = memory
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let rustc = first_line(Command::new("rustc").arg("--version")).unwrap_or_default();
    let gcc = first_line(Command::new("gcc").arg("--version")).unwrap_or_default();
    vec![
        (
            "date",
            first_line(Command::new("date").args(["-u", "+%F"])).unwrap_or_default(),
        ),
        (
            "processor",
            format!("{} × {}", processors, cpu.trim_matches([' ', '\t', ':'])),
        ),
        (
            "memory",
            format!("{:.0} GiB", memory as f64 / f64::from(1 << 20)),
        ),
        // The build's suffix names a host and tells nothing about speed.
        (
            "kernel",
            format!(
                "Linux {}",
                kernel.split('-').next().unwrap_or_default().trim()
            ),
        ),
        ("compilers", [rustc, gcc].join("; ")),
    ]
}

/// The finished programs that are compared or that measure, with what they say of their version.
#[must_use]
pub fn tools() -> Vec<(&'static str, String)> {
    let asked = [
        ("HAProxy", "haproxy", "-v"),
        ("nginx", "nginx", "-v"),
        ("valgrind", "valgrind", "--version"),
        ("strace", "strace", "--version"),
    ];
    let told = asked.into_iter().filter_map(|(name, program, flag)| {
        let line = first_line(Command::new(program).arg(flag))?;
        // Names and addresses of the projects are left out: the first word with a digit is the
        // version.
        let version = line
            .split([' ', '/', '-'])
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        Some((name, version.unwrap_or(&line).to_owned()))
    });
    told.collect()
}
