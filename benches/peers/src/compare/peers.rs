//! Who takes part, and where their programs are.
//!
//! Rust peers were built beside the runner and are found by the pattern of their names; C peers are
//! compiled here, if their library's header is; Python peers run on the first interpreter that can
//! import what they need. To add a peer, add its row.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::options::Options;
use super::versions::{self, first_line};
use crate::cli::{Doing, Error, Result};

/// Rust peers: the name in the tables, and the first half of their programs' names.
const RUST: &[(&str, &str)] = &[
    ("raw epoll", "epoll"),
    ("raw mio", "mio"),
    ("slabloop", "slabloop"),
    ("slabloop outbox", "slabloop_outbox"),
    ("calloop", "calloop"),
    ("tokio", "tokio"),
];

/// C peers: name, the header that shows that the library is there, the linker's name for it.
const C: &[(&str, &str, &str)] = &[
    ("libuv", "uv.h", "uv"),
    ("libev", "ev.h", "ev"),
    ("libevent", "event2/event.h", "event"),
];

/// Python peers: name, what must be importable, the first half of the script's name, its extra
/// arguments.
const PYTHON: &[(&str, &str, &str, &[&str])] = &[
    ("uvloop", "uvloop", "asyncio", &["--loop", "uvloop"]),
    ("asyncio", "asyncio", "asyncio", &[]),
    ("Twisted", "twisted", "twisted", &[]),
    ("asyncore", "asyncore", "asyncore", &[]),
];

/// Interpreters to try: the one in the path may lack what the distribution installs for its own.
const INTERPRETERS: &[&str] = &["python3", "/usr/bin/python3"];

/// The jobs that a peer can have a program for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// `PEER_ring`
    Ring,
    /// `PEER_timers`
    Timers,
    /// `PEER_posts`
    Posts,
    /// `PEER_echo`
    Echo,
    /// `PEER_proxy`
    Proxy,
    /// `PEER_http`
    Http,
    /// `PEER_head`
    Head,
}

impl Job {
    const ALL: [Job; 7] = [
        Job::Ring,
        Job::Timers,
        Job::Posts,
        Job::Echo,
        Job::Proxy,
        Job::Http,
        Job::Head,
    ];

    fn name(self) -> &'static str {
        match self {
            Job::Ring => "ring",
            Job::Timers => "timers",
            Job::Posts => "posts",
            Job::Echo => "echo",
            Job::Proxy => "proxy",
            Job::Http => "http",
            Job::Head => "head",
        }
    }
}

/// What a peer's programs are written in, as far as it matters to the runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Machine code: its instructions can be counted.
    Native,
    /// An interpreter would be what is counted.
    Python,
}

/// A program and the arguments that it always takes.
#[derive(Debug, Clone)]
pub struct Program {
    /// Program first.
    pub words: Vec<OsString>,
    /// As the report prints it: without the paths of this machine.
    pub shown: String,
}

/// One peer.
#[derive(Debug)]
pub struct Peer {
    /// Its name in the tables.
    pub name: &'static str,
    /// Machine code or not.
    pub kind: Kind,
    /// The version of the library, where one can be told.
    pub version: String,
    programs: Vec<(Job, Program)>,
}

impl Peer {
    /// Its program for a job, if it has one.
    #[must_use]
    pub fn program(&self, job: Job) -> Option<&Program> {
        self.programs
            .iter()
            .find(|(has, _)| *has == job)
            .map(|(_, program)| program)
    }

    /// Its loop looks at every registered socket in every turn, so that it needs shorter runs.
    #[must_use]
    pub fn asks_everyone(&self) -> bool {
        self.name == "asyncore"
    }

    /// It looks through all its timers to add one and to cancel one, so that a million would take
    /// it days.
    #[must_use]
    pub fn searches_timers(&self) -> bool {
        self.name == "calloop"
    }
}

/// Those that have a program for a job.
#[must_use]
pub fn with_job(peers: &[Peer], job: Job) -> Vec<&Peer> {
    peers
        .iter()
        .filter(|peer| peer.program(job).is_some())
        .collect()
}

/// Who is here, and who is not, with the reason.
#[derive(Debug)]
pub struct Found {
    /// In the order of the tables.
    pub peers: Vec<Peer>,
    /// A line each.
    pub absent: Vec<String>,
}

/// Looks for all peers and builds those in C.
///
/// # Errors
///
/// A name in `--peers` that nobody has, or a C peer that does not compile although its library is
/// there.
pub fn find(options: &Options) -> Result<Found> {
    let names = RUST
        .iter()
        .map(|peer| peer.0)
        .chain(C.iter().map(|peer| peer.0));
    options.check_peers(names.chain(PYTHON.iter().map(|peer| peer.0)))?;
    let mut found = Found {
        peers: Vec::new(),
        absent: Vec::new(),
    };
    let bin = bin_dir()?;
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for &(name, stem) in RUST.iter().filter(|(name, _)| options.wants_peer(name)) {
        find_rust(&mut found, name, stem, &bin);
    }
    for &(name, header, library) in C.iter().filter(|(name, ..)| options.wants_peer(name)) {
        find_c(
            &mut found,
            name,
            header,
            library,
            &sources.join("c"),
            &bin.join("peers-c"),
        )?;
    }
    for &(name, module, stem, extra) in PYTHON.iter().filter(|(name, ..)| options.wants_peer(name))
    {
        find_python(
            &mut found,
            name,
            module,
            stem,
            extra,
            &sources.join("python"),
        );
    }
    Ok(found)
}

/// Where this program and so its siblings lie.
///
/// # Errors
///
/// A system that does not tell.
pub fn bin_dir() -> Result<PathBuf> {
    let own = env::current_exe().doing("looking for the peers beside this program")?;
    Ok(own.parent().map(Path::to_path_buf).unwrap_or_default())
}

fn find_rust(found: &mut Found, name: &'static str, stem: &str, bin: &Path) {
    let mut programs = Vec::new();
    for job in Job::ALL {
        let file = format!("{stem}_{}", job.name());
        let path = bin.join(&file);
        if path.is_file() {
            programs.push((
                job,
                Program {
                    words: vec![path.into()],
                    shown: file,
                },
            ));
        }
    }
    if programs.is_empty() {
        found.absent.push(format!(
            "{name}: no program {stem}_* beside this one; build with --profile bench-peers -p slabloop-peers"
        ));
        return;
    }
    let package = stem.split('_').next().unwrap_or(stem);
    let version = versions::locked_version(package).unwrap_or_default();
    found.peers.push(Peer {
        name,
        kind: Kind::Native,
        version,
        programs,
    });
}

fn find_c(
    found: &mut Found,
    name: &'static str,
    header: &str,
    library: &str,
    sources: &Path,
    bin: &Path,
) -> Result<()> {
    let probe = format!("#include <{header}>\n");
    if !compiles(&probe) {
        // Debian numbers this one.
        let package = if name == "libuv" {
            "libuv1-dev".to_owned()
        } else {
            format!("{name}-dev")
        };
        found.absent.push(format!(
            "{name}: gcc or <{header}> is missing (Debian: {package})"
        ));
        return Ok(());
    }
    fs::create_dir_all(bin).doing(format!("making {}", bin.display()))?;
    let mut programs = Vec::new();
    for job in Job::ALL {
        let file = format!("{name}_{}", job.name());
        let source = sources.join(format!("{file}.c"));
        if !source.is_file() {
            continue;
        }
        let path = bin.join(&file);
        let output = Command::new("gcc")
            .args(["-O2", "-Wall", "-o"])
            .arg(&path)
            .arg(&source)
            .arg(format!("-l{library}"))
            .output()
            .doing("running gcc")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Error::Failed(format!("{}: {text}", source.display())));
        }
        programs.push((
            job,
            Program {
                words: vec![path.into()],
                shown: file,
            },
        ));
    }
    let version = programs
        .first()
        .and_then(|(_, program)| first_line(Command::new(&program.words[0]).arg("--version")))
        .unwrap_or_default();
    found.peers.push(Peer {
        name,
        kind: Kind::Native,
        version,
        programs,
    });
    Ok(())
}

/// Whether a few lines of C pass the compiler.
fn compiles(source: &str) -> bool {
    use std::io::Write;

    let child = Command::new("gcc")
        .args(["-xc", "-fsyntax-only", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    if let Some(mut stdin) = child.stdin.take() {
        // If gcc went away, its exit status says so below.
        let _ = stdin.write_all(source.as_bytes());
    }
    child.wait().is_ok_and(|status| status.success())
}

fn find_python(
    found: &mut Found,
    name: &'static str,
    module: &str,
    stem: &str,
    extra: &[&str],
    sources: &Path,
) {
    // asyncore and asyncio are as old as their Python; the others tell their own version.
    let probe = format!(
        "import warnings; warnings.simplefilter('ignore'); import {module}, platform; \
         print(getattr({module}, '__version__', 'of Python ' + platform.python_version()))"
    );
    let interpreter = INTERPRETERS.iter().find_map(|interpreter| {
        let version = first_line(Command::new(interpreter).args(["-c", &probe]))?;
        Some((*interpreter, version))
    });
    let Some((interpreter, version)) = interpreter else {
        found
            .absent
            .push(format!("{name}: no Python here can import {module}"));
        return;
    };
    let mut programs = Vec::new();
    for job in Job::ALL {
        let file = format!("{stem}_{}.py", job.name());
        let path = sources.join(&file);
        if !path.is_file() {
            continue;
        }
        // -B: no compiled files in the source tree.
        let mut words: Vec<OsString> = vec![interpreter.into(), "-B".into(), path.into()];
        words.extend(extra.iter().map(OsString::from));
        let shown = [&["python3", &file], extra].concat().join(" ");
        programs.push((job, Program { words, shown }));
    }
    found.peers.push(Peer {
        name,
        kind: Kind::Python,
        version,
        programs,
    });
}
