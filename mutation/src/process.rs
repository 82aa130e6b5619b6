//! Runs some tests of one program, in a process group of its own, with an end in any case.

use crate::suite::Program;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How a run of tests ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Passed,
    Failed,
    TimedOut,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) ending: Ending,
    /// The first that failed, if it said so.
    pub(crate) failed: Option<String>,
    pub(crate) passed: BTreeSet<String>,
    pub(crate) time: Duration,
}

/// What a test may take of memory (KiB), and write into a file (blocks): a mutant may want all that there is.
const LIMITS: &str = "ulimit -v 6000000; ulimit -f 2000000; ulimit -c 0; exec \"$@\"";

/// Runs `tests` of `program`, until one fails.
pub(crate) fn run(
    program: &Program,
    tests: &[&str],
    set: &[(&str, &str)],
    limit: Duration,
) -> io::Result<Run> {
    let began = Instant::now();
    let mut child = Command::new("sh")
        .args(["-c", LIMITS, "sh"])
        .arg(&program.path)
        .arg("--exact")
        .args(tests)
        .arg(format!("--test-threads={}", tests.len().clamp(1, 4)))
        .current_dir(&program.folder)
        // Quickly, and as in the configuration of cargo-mutants otherwise.
        .env("SLABLOOP_SIM_SEEDS", "0..20")
        .env_remove("RUST_BACKTRACE")
        .envs(set.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let output = child.stdout.take().expect("it is piped");
    let (lines, heard) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { break };
            if lines
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
        }
    });
    let mut run = Run {
        ending: Ending::Failed,
        failed: None,
        passed: BTreeSet::new(),
        time: Duration::ZERO,
    };
    loop {
        match heard.recv_timeout(limit.saturating_sub(began.elapsed())) {
            Ok(line) => {
                if let Some((test, word)) = verdict(&line) {
                    if word == "ok" {
                        run.passed.insert(test);
                    } else {
                        run.failed = Some(test);
                        break;
                    }
                }
                // Not at the pipe's end: a program that a test has left behind would hold it.
                if line.starts_with("test result:") {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                run.ending = Ending::TimedOut;
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let group = Pid::from_child(&child);
    if run.failed.is_none()
        && run.ending != Ending::TimedOut
        && !has_ended(group, Duration::from_secs(3))?
    {
        run.ending = Ending::TimedOut;
    }
    run.time = began.elapsed();
    // Its children as well, if any are left. It has not been waited for, so its number is still its own.
    let _ = kill_process_group(group, Signal::KILL);
    let status = child.wait()?;
    if run.failed.is_none() && run.ending != Ending::TimedOut && status.success() {
        run.ending = Ending::Passed;
    }
    Ok(run)
}

/// Waits for its end, and leaves it to be waited for.
fn has_ended(process: Pid, limit: Duration) -> io::Result<bool> {
    let began = Instant::now();
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    loop {
        if waitid(WaitId::Pid(process), options)?.is_some() {
            return Ok(true);
        }
        if began.elapsed() > limit {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// `test a::b ... ok`, or FAILED.
fn verdict(line: &str) -> Option<(String, &str)> {
    let (name, word) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let name = name.trim_end_matches(" - should panic");
    (word == "ok" || word == "FAILED").then(|| (name.to_owned(), word))
}
