//! The example `command`: what a child prints, how it exits, and that it does not outlive its time.

#![cfg(target_os = "linux")]

#[path = "../util/programs.rs"]
mod programs;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use programs::*;

/// Runs a command; the exit code, stdout and stderr.
fn command(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = run("command_tested", arguments);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn output_is_passed_on_and_the_exit_is_told() {
    let (code, stdout, stderr) = command(&["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "out\n"));
    assert!(
        stderr.contains("err\n") && stderr.contains("4 bytes"),
        "{stderr}"
    );

    let (code, stdout, stderr) = command(&["sh", "-c", "echo out; exit 3"]);
    assert_eq!((code, stdout.as_str()), (Some(1), "out\n"));
    assert!(stderr.ends_with("sh: exit status: 3\n"), "{stderr}");
}

#[test]
fn flags_behind_the_program_are_its_own() {
    let (code, stdout, _) = command(&["echo", "--time-limit", "--help"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "--time-limit --help\n"));
}

#[test]
fn child_that_takes_too_long_is_asked_to_end() {
    let (code, _, stderr) = command(&["--time-limit", "0.1", "sleep", "3600"]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("took too long") && stderr.contains("SIGTERM"),
        "{stderr}"
    );
}

#[test]
fn child_that_does_not_listen_is_killed() {
    // Only once it has said so does it ignore the signal: the limit is long enough for that, also on a busy machine.
    let deaf = "trap '' TERM; echo deaf; while :; do sleep 0.05; done";
    let (code, stdout, stderr) = command(&["--time-limit", "3", "sh", "-c", deaf]);
    assert_eq!((code, stdout.as_str()), (Some(1), "deaf\n"));
    assert!(stderr.contains("SIGKILL"), "{stderr}");
}

#[test]
fn child_ends_with_the_program() {
    let mut command = Command::new(example("command_tested"));
    command.args(["sh", "-c", "echo $$; exec sleep 3600"]);
    command.stdout(Stdio::piped());
    let mut process = Running(command.spawn().unwrap());
    let mut pid = String::new();
    let mut stdout = BufReader::new(process.0.stdout.take().unwrap());
    stdout.read_line(&mut pid).unwrap();
    process.signal("-INT");
    assert_eq!(process.wait(), Some(0));
    // Killed and waited for: nothing of it is left.
    let left = std::path::Path::new("/proc").join(pid.trim()).exists();
    assert!(!left, "{pid}");
}

#[test]
fn wrong_usage_and_programs_that_are_not_there_are_named() {
    for (arguments, code, part) in [
        (&[][..], 2, "PROGRAM is missing"),
        (&["--nonsense", "ls"], 2, "--nonsense"),
        (&["--time-limit", "0", "ls"], 2, "--time-limit 0"),
        (
            &["/no/such/program"],
            1,
            "cannot start \"/no/such/program\"",
        ),
    ] {
        let (ended, stdout, stderr) = command(arguments);
        assert_eq!((ended, stdout.as_str()), (Some(code), ""), "{stderr}");
        assert!(stderr.contains(part), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
