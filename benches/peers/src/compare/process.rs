//! Starting, pinning and ending the programs that are compared.
//!
//! A [`Server`] ends its process when it goes out of scope, whatever happened in between: no run
//! leaves anything behind. Pinning is by `taskset`, which turns into the program that it starts, so
//! the process number is the program's own.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::peers::{self, Program};
use crate::cli::{Doing, Error, Result};
use crate::load::observe::Process;
use crate::sys;

/// How long a server without a word of its own may take until it accepts.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Which processor a program gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// The program that is measured, alone.
    Server,
    /// Load generator, upstream, and whatever else it takes.
    Client,
    /// A program of several threads: wherever there is room.
    Any,
}

impl Core {
    /// The words before a command that pin it; none on a machine with one processor or without
    /// taskset.
    #[must_use]
    pub fn prefix(self) -> &'static [&'static str] {
        match self {
            _ if !can_pin() => &[],
            Core::Server => &["taskset", "-c", "0"],
            Core::Client => &["taskset", "-c", "1"],
            Core::Any => &[],
        }
    }
}

/// Whether servers and client get a processor each.
#[must_use]
pub fn can_pin() -> bool {
    thread::available_parallelism().is_ok_and(|count| count.get() >= 2) && has("taskset")
}

/// Whether a program can be found in the path.
#[must_use]
pub fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

/// A command on a core, with words before the program such as those of valgrind.
#[must_use]
pub fn command(core: Core, before: &[&str], words: &[OsString]) -> Command {
    let mut all = core
        .prefix()
        .iter()
        .chain(before)
        .map(OsStr::new)
        .chain(words.iter().map(OsStr::new));
    let mut command = Command::new(all.next().unwrap_or_default());
    command.args(all).stdin(Stdio::null());
    command
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts a peer's program and waits for its `listening on ADDR`.
    ///
    /// # Errors
    ///
    /// A program that can't be started or ends without that line.
    pub fn start(
        core: Core,
        before: &[&str],
        program: &Program,
        arguments: &[&str],
    ) -> Result<Self> {
        let mut child = command(core, before, &program.words)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .doing(format!("starting {}", program.shown))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line
            .strip_prefix("listening on ")
            .and_then(|text| text.trim().parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Failed(format!(
                "{} did not tell where it listens",
                program.shown
            )));
        };
        Ok(Server { child, address })
    }

    /// Starts a program that listens where its configuration says, and waits until it does.
    ///
    /// # Errors
    ///
    /// A program that can't be started, ends, or does not accept.
    pub fn start_silent(command: &mut Command, name: &str, address: SocketAddr) -> Result<Self> {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .doing(format!("starting {name}"))?;
        let mut server = Server { child, address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(Error::Failed(format!("{name} ended at once: {status}")));
            }
            if start.elapsed() > START_LIMIT {
                return Err(Error::Failed(format!(
                    "{name} does not accept on {address}"
                )));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// A view of its CPU time and memory.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::new(self.pid())
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago, for programs that can't choose one themselves.
///
/// # Errors
///
/// The kernel's.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Runs a program to its end and returns what it printed on standard output and standard error.
///
/// # Errors
///
/// A program that can't be started or fails; the message is its own last words.
pub fn output(mut command: Command, name: &str) -> Result<(String, String)> {
    let output = command.output().doing(format!("starting {name}"))?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if !output.status.success() {
        let words = err.lines().last().unwrap_or("no message");
        return Err(Error::Failed(format!("{name}: {}: {words}", output.status)));
    }
    Ok((out.into_owned(), err.into_owned()))
}

/// What a program has used from its start to its end.
#[derive(Debug)]
pub struct Used {
    /// CPU time in the program itself.
    pub user: Duration,
    /// In the kernel, on the program's behalf.
    pub system: Duration,
    /// The most memory that was resident.
    pub peak_kib: u64,
    /// Both kinds of CPU time up to the mark.
    pub before_mark: Duration,
}

/// Runs a program that prints its figures as the last line, and looks at what it uses. How it ends does not
/// matter, as long as there are figures: a client that has counted errors may say so by its exit code. `mark`, from the
/// start, divides its time in two.
///
/// # Errors
///
/// A program that can't be started or prints no figures.
pub fn watched(mut command: Command, name: &str, mark: Duration) -> Result<(Figures, Used)> {
    // The peak is the kernel's own; only what the last moment adds to it can be missed.
    const LOOK: Duration = Duration::from_millis(20);
    let before = sys::children_time()?;
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.doing(format!("starting {name}"))?;
    let process = Process::new(child.id());
    let (start, mut peak_kib, mut before_mark) = (Instant::now(), 0, Duration::ZERO);
    while child.try_wait()?.is_none() {
        // It may have ended between the two.
        peak_kib = process.peak_kib().unwrap_or(0).max(peak_kib);
        if let (true, Ok(cpu)) = (start.elapsed() <= mark, process.cpu()) {
            before_mark = Duration::from_nanos(cpu.run_ns);
        }
        thread::sleep(LOOK);
    }
    let after = sys::children_time()?;
    let mut out = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut out)?;
    }
    let figures = out.lines().next_back().map(Figures::parse);
    let figures = figures.filter(|figures| !figures.0.is_empty());
    let figures = figures.ok_or_else(|| Error::Failed(format!("{name} printed no figures")))?;
    let used = Used {
        user: after.0.saturating_sub(before.0),
        system: after.1.saturating_sub(before.1),
        peak_kib,
        before_mark,
    };
    Ok((figures, used))
}

/// The numbers of a `key=value` line.
#[derive(Debug)]
pub struct Figures(HashMap<String, f64>);

impl Figures {
    fn parse(line: &str) -> Self {
        let pairs = line.split_whitespace().filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.to_owned(), value.parse().ok()?))
        });
        Figures(pairs.collect())
    }

    /// A figure by its key.
    ///
    /// # Errors
    ///
    /// A line that does not have it.
    pub fn value(&self, key: &str) -> Result<f64> {
        let value = self.0.get(key).copied();
        value.ok_or_else(|| Error::Failed(format!("no {key} in the result")))
    }
}

/// Runs a program that prints one `key=value` line.
///
/// # Errors
///
/// As [`output`].
pub fn figures(command: Command, name: &str) -> Result<Figures> {
    let (out, _) = output(command, name)?;
    Ok(Figures::parse(&out))
}

/// Runs the load generator against a server; its CPU time and memory are measured.
///
/// # Errors
///
/// As [`output`].
pub fn load(server: &Server, arguments: &[&str]) -> Result<Figures> {
    let words = vec![peers::bin_dir()?.join("load").into_os_string()];
    let mut command = command(Core::Client, &[], &words);
    command.arg("--connect").arg(server.address.to_string());
    command.arg("--pid").arg(server.pid().to_string());
    command.args(arguments);
    figures(command, "load")
}
