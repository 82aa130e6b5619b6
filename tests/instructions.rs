//! What an event costs: instructions in user space, and system calls. Counts, not times, so that they
//! come out alike on a busy machine; a change that makes the hot path dearer fails here.
//!
//! ```text
//! cargo test --test instructions -- --ignored                       compare
//! SLABLOOP_RECORD=1 cargo test --test instructions -- --ignored     record again
//! ```
//!
//! The counts that were agreed to are in `benches/instructions.txt`. Whoever means to change them
//! records again and commits that file with the change; the difference is then there to be read.
//!
//! The work is in `benches/workloads`, a program of its own, because this one is built with the feature
//! `testing`. Each workload runs twice, for two lengths, and the difference is divided: so set-up drops
//! out. Without valgrind or strace, and in a package, which has no `benches`, the tests say so and pass.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// How much dearer a unit may become before somebody has to say that it was meant. The counts repeat to
/// the instruction; this leaves room for another version of the C library.
const TOLERANCE: f64 = 0.03;

/// Units in the shorter run and in the longer one.
const LENGTHS: (u32, u32) = (20_000, 60_000);

/// The workloads, and what a unit of each is.
const WORKLOADS: [(&str, &str); 11] = [
    ("ring-200", "event, 200 socket pairs registered"),
    ("ring-1000", "event, 1,000 registered"),
    ("ring-4000", "event, 4,000 registered"),
    (
        "ring-send",
        "event, 1,000 registered, sent on by the reactor",
    ),
    ("echo", "message read and answered"),
    ("lines", "line of 64 bytes found"),
    ("pipelined-sends", "send, 16 to a write"),
    ("broadcast", "receiver of a line"),
    ("timer-cancelled", "timer set and cancelled"),
    ("timer-fired", "timer set and fired"),
    ("post", "closure posted and run"),
];

/// The largest ring has 8,000 descriptors.
const DESCRIPTORS: u32 = 9_000;

#[test]
#[ignore = "needs valgrind and an optimised build; a minute"]
fn no_unit_of_work_takes_more_instructions_than_recorded() {
    let Some(program) = workloads("valgrind") else {
        return;
    };
    let measured: Vec<_> = WORKLOADS
        .into_iter()
        .map(|(name, unit)| (name, unit, instructions_per_unit(program, name)))
        .collect();
    if std::env::var_os("SLABLOOP_RECORD").is_some() {
        fs::write(record_path(), record(&measured)).expect("benches/ can be written to");
        println!("recorded in {}", record_path().display());
        return;
    }
    let text = fs::read_to_string(record_path()).expect("benches/instructions.txt is there");
    if !text.contains(&format!("# on {}", std::env::consts::ARCH)) {
        println!("skipped: the record is another processor's; record again to compare here");
        return;
    }
    let recorded = parse(&text);
    let mut table = String::new();
    let mut dearer = Vec::new();
    for (name, unit, count) in measured {
        let Some(&before) = recorded.get(name) else {
            let _ = writeln!(table, "{name:18} {:>8}  not on record", shown(count));
            continue;
        };
        let Some(count) = count else {
            let _ = writeln!(table, "{name:18}           not counted here");
            continue;
        };
        let change = count / before - 1.0;
        let _ = writeln!(
            table,
            "{name:18} {count:8.1}  was {before:8.1}  {:+6.1} %  per {unit}",
            change * 100.0
        );
        if change > TOLERANCE {
            dearer.push(name);
        } else if change < -TOLERANCE {
            table.push_str("                   cheaper: record again, so that it stays so\n");
        }
    }
    println!("{table}");
    assert!(
        dearer.is_empty(),
        "dearer than recorded: {}\n\n{table}\nrecorded {}\n   now it is {}\n\nIf it was meant: \
         SLABLOOP_RECORD=1 cargo test --test instructions -- --ignored",
        dearer.join(", "),
        text.lines()
            .find_map(|line| line.strip_prefix("# with "))
            .unwrap_or("with unknown tools"),
        tools(),
    );
}

/// What a user's own build may cost over one with link-time optimisation: what a callback calls has to be
/// marked for inlining. What remains is 20 instructions an echo in the `socket2` crate's `recv` and `send`. (Not
/// counted here: workloads whose far ends call the standard library, which is not inlined either.)
const MOST_WITHOUT_LTO: f64 = 1.10;

/// The same for the ring, whose callback itself calls the standard library's `write`: half of the difference.
const MOST_WITHOUT_LTO_IN_THE_RING: f64 = 1.16;

#[test]
#[ignore = "needs valgrind and two optimised builds"]
fn a_build_by_cargos_default_profile_costs_little_more_than_one_with_lto() {
    let Some(with_lto) = workloads("valgrind") else {
        return;
    };
    let outside = build(
        Command::new(env!("CARGO"))
            .args(["build", "--locked", "--release"])
            .arg("--target-dir")
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside"))
            .current_dir(root().join("benches/outside")),
    );
    for (name, most) in [
        ("ring-1000", MOST_WITHOUT_LTO_IN_THE_RING),
        ("ring-send", MOST_WITHOUT_LTO),
        ("echo-both-ends", MOST_WITHOUT_LTO),
        ("lines", MOST_WITHOUT_LTO),
        ("pipelined-sends", MOST_WITHOUT_LTO),
        ("broadcast-both-ends", MOST_WITHOUT_LTO),
    ] {
        let default = instructions_per_unit(&outside, name);
        let best = instructions_per_unit(with_lto, name);
        let (Some(default), Some(best)) = (default, best) else {
            continue;
        };
        println!("{name:18} {default:8.1}  with LTO {best:8.1}");
        assert!(
            default <= best * most,
            "{name}: {default:.1} instructions by the default profile, {best:.1} with LTO"
        );
    }
}

/// What a unit may cost more where the feature `observer` is on and nobody observes.
const MOST_UNOBSERVED: f64 = 2.0;

#[test]
#[ignore = "needs valgrind and two optimised builds"]
fn an_observer_costs_nothing_as_long_as_there_is_none() {
    let Some(without) = workloads("valgrind") else {
        return;
    };
    let with = build(
        Command::new(env!("CARGO"))
            .args(["build", "--locked", "--package", "slabloop-workloads"])
            .args(["--bin", "slabloop-workloads", "--profile", "bench-peers"])
            .args(["--features", "observer"])
            // Not over the other one, which is being counted.
            .arg("--target-dir")
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("observer"))
            .current_dir(root()),
    );
    println!("                    off    unset  by nothing   by a ring");
    for name in ["ring-1000", "ring-send", "echo"] {
        let counts = [
            instructions_per_unit(without, name),
            instructions_per_unit(&with, name),
            instructions_per_unit(&with, &format!("{name} by-nothing")),
            instructions_per_unit(&with, &format!("{name} by-a-ring")),
        ];
        let [Some(off), Some(unset), Some(nothing), Some(ring)] = counts else {
            continue;
        };
        println!("{name:14} {off:8.1} {unset:8.1} {nothing:11.1} {ring:11.1}");
        assert!(
            unset <= off + MOST_UNOBSERVED,
            "{name}: {unset:.1} instructions with the feature `observer`, {off:.1} without"
        );
    }
}

#[test]
#[ignore = "needs valgrind and an optimised build"]
fn the_cost_of_an_event_does_not_follow_the_number_of_sockets() {
    let Some(program) = workloads("valgrind") else {
        return;
    };
    let few = instructions_per_unit(program, "ring-200");
    let many = instructions_per_unit(program, "ring-4000");
    let (Some(few), Some(many)) = (few, many) else {
        return;
    };
    assert!(
        many <= few * 1.02,
        "{few:.1} instructions per event with 200 sockets, {many:.1} with 4,000"
    );
}

#[test]
#[ignore = "needs strace and an optimised build"]
fn a_message_takes_one_read_and_one_write_and_a_connection_no_call_to_spare() {
    let Some(program) = workloads("strace") else {
        return;
    };
    let Some(start) = Calls::of_an_echo(program, 20, 10) else {
        println!("skipped: strace may not trace here");
        return;
    };
    let more_messages = Calls::of_an_echo(program, 20, 60).expect("strace worked a moment ago");
    let more_connections = Calls::of_an_echo(program, 60, 10).expect("strace worked a moment ago");

    // Twenty connections, fifty messages more on each.
    let messages = 1_000;
    assert_eq!(more_messages.reads() - start.reads(), messages, "reads");
    assert_eq!(more_messages.writes() - start.writes(), messages, "writes");
    assert_eq!(
        more_messages.control(),
        start.control(),
        "epoll_ctl, which no message may take"
    );
    let waits = more_messages.waits() - start.waits();
    assert!(waits <= messages, "{waits} waits for {messages} messages");

    // Forty connections more, ten messages on each; reading the end of the stream is a read, too.
    let connections = 40;
    let reads = more_connections.reads() - start.reads();
    assert_eq!(reads, connections * 11, "reads of more connections");
    assert_eq!(
        more_connections.control() - start.control(),
        connections * 2,
        "epoll_ctl: one to add, one to delete"
    );
    assert_eq!(
        more_connections.count("close") - start.count("close"),
        connections
    );
    for option in ["setsockopt", "getsockopt", "fcntl", "getpeername", "ioctl"] {
        assert_eq!(
            more_connections.count(option),
            start.count(option),
            "{option}"
        );
    }
    // A batch that took everything ends in a call that finds nothing.
    let accepts = more_connections.count("accept4") + more_connections.count("accept");
    assert!(
        accepts <= 60 + more_connections.waits(),
        "{accepts} accepts for 60 connections in {} turns",
        more_connections.waits()
    );
}

/// The workloads, built as the comparison with others is; `None`, with a word why, if they or `tool`
/// are missing.
fn workloads(tool: &str) -> Option<&'static Path> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if !root().join("benches/workloads/Cargo.toml").is_file() {
        println!("skipped: benches/workloads is not here");
        return None;
    }
    if Command::new(tool).arg("--version").output().is_err() {
        println!("skipped: {tool} is not installed");
        return None;
    }
    Some(BUILT.get_or_init(|| {
        build(
            Command::new(env!("CARGO"))
                .args(["build", "--locked", "--package", "slabloop-workloads"])
                .args(["--bin", "slabloop-workloads", "--profile", "bench-peers"])
                .current_dir(root()),
        )
    }))
}

/// Builds one program, and says where it is.
fn build(cargo: &mut Command) -> PathBuf {
    let output = cargo
        .args(["--message-format", "json"])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo is where it was when it built this");
    assert!(output.status.success(), "it does not build");
    // The one message that names a program; the rest of it does not matter here.
    let messages = String::from_utf8_lossy(&output.stdout);
    let (_, rest) = messages
        .split_once("\"executable\":\"")
        .expect("cargo names the program that it built");
    PathBuf::from(rest.split('"').next().unwrap_or_default())
}

fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ is in the root")
}

fn record_path() -> PathBuf {
    root().join("benches/instructions.txt")
}

fn instructions_per_unit(program: &Path, workload: &str) -> Option<f64> {
    let (short, long) = LENGTHS;
    let first = instructions(program, workload, short)?;
    let second = instructions(program, workload, long)?;
    Some((second - first) / f64::from(long - short))
}

/// All instructions of one run of `workload`, a name and perhaps who observes; `None` where it may not have the descriptors it needs.
fn instructions(program: &Path, workload: &str, length: u32) -> Option<f64> {
    let (name, observed) = workload.split_once(' ').unwrap_or((workload, ""));
    let wanted = if workload.starts_with("ring") {
        DESCRIPTORS
    } else {
        0
    };
    // The soft limit is 1,024 on most systems, and a shell may raise it to the hard one.
    let script = "limit=$(ulimit -Sn); [ \"$limit\" = unlimited ] || [ \"$limit\" -ge \"$1\" ] || \
                  ulimit -Sn \"$1\" || exit 77; shift; exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh", &wanted.to_string()])
        .args([
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
        ])
        .arg(program)
        .args([name, &length.to_string(), observed])
        .output()
        .expect("there is a shell");
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        println!("{workload} is not counted: it takes {wanted} descriptors");
        return None;
    }
    assert!(output.status.success(), "{workload} failed:\n{text}");
    let (_, rest) = text
        .split_once("Collected :")
        .expect("callgrind tells what it collected");
    let count = rest.split_whitespace().next().unwrap_or_default();
    Some(count.parse().expect("a number of instructions"))
}

fn record(measured: &[(&str, &str, Option<f64>)]) -> String {
    let mut text = format!(
        "# Instructions in user space per unit of work, counted by callgrind: what the change at hand\n\
         # is compared with by tests/instructions.rs. Do not edit; after a change that was meant to cost\n\
         # or to save something, record again and commit:\n\
         #\n\
         #     SLABLOOP_RECORD=1 cargo test --test instructions -- --ignored\n\
         #\n\
         # The far ends' own system calls are in the figures of echo, lines, sends and broadcast.\n\
         # with {}\n\
         # on {}\n",
        tools(),
        std::env::consts::ARCH
    );
    for (name, unit, count) in measured {
        let _ = writeln!(text, "{name:18} {:>8}  {unit}", shown(*count));
    }
    text
}

fn shown(count: Option<f64>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| format!("{count:.1}"))
}

fn parse(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?.parse().ok()?))
        })
        .collect()
}

/// What the counts depend on besides the source.
fn tools() -> String {
    let versions = ["rustc", "valgrind"].map(|tool| {
        let output = Command::new(tool).arg("--version").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.unwrap_or_default()
    });
    versions.join(", ")
}

/// How often each system call was made in one run of the echo server.
struct Calls(BTreeMap<String, u64>);

impl Calls {
    /// `rounds` messages on each of `connections`, all of which are under way at once.
    fn of_an_echo(program: &Path, connections: usize, rounds: usize) -> Option<Calls> {
        let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "calls-{}-{connections}-{rounds}",
            std::process::id()
        ));
        let child = Command::new("strace")
            .args(["-c", "-f", "-U", "name,calls", "-o"])
            .arg(&report)
            .arg(program)
            .args(["serve", &connections.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is installed");
        let mut server = Server(child);
        let mut line = String::new();
        let stdout = server.0.stdout.take().expect("it was asked for");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("a pipe can be read");
        // Where tracing is forbidden strace says so and starts nothing.
        let address: SocketAddr = line.trim().parse().ok()?;

        let mut clients: Vec<_> = (0..connections)
            .map(|_| {
                let client = TcpStream::connect(address).expect("the server listens");
                client
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .expect("a time-out that is not zero");
                client
            })
            .collect();
        let message = [b'm'; 64];
        let mut answer = [0; 64];
        for _ in 0..rounds {
            for client in &mut clients {
                client.write_all(&message).expect("the server reads");
            }
            for client in &mut clients {
                client.read_exact(&mut answer).expect("the server answers");
            }
        }
        drop(clients);
        let status = server.0.wait().expect("it is our own child");
        assert!(status.success(), "the server ended with {status}");
        let text = fs::read_to_string(&report).expect("strace wrote its report");
        // A file that is left behind does no harm in a folder for such files.
        let _ = fs::remove_file(&report);
        let counted = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        });
        Some(Calls(counted.collect()))
    }

    fn count(&self, call: &str) -> u64 {
        self.0.get(call).copied().unwrap_or(0)
    }

    fn sum(&self, calls: &[&str]) -> u64 {
        calls.iter().map(|call| self.count(call)).sum()
    }

    fn reads(&self) -> u64 {
        self.sum(&["recvfrom", "recvmsg", "read", "readv"])
    }

    fn writes(&self) -> u64 {
        self.sum(&["sendto", "sendmsg", "write", "writev"])
    }

    fn waits(&self) -> u64 {
        self.sum(&["epoll_wait", "epoll_pwait", "epoll_pwait2"])
    }

    fn control(&self) -> u64 {
        self.count("epoll_ctl")
    }
}

/// The traced server, ended with the test at the latest.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Mostly it has ended by itself. Killing strace lets go what it traces; the server ends itself
        // when its clients have gone, or after a minute.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
