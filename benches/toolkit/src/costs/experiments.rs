//! What is measured, with which programs.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use slabloop_peers::cli::{Doing, Result};
use slabloop_peers::compare::peers::bin_dir;
use slabloop_peers::compare::process::{self, Core};
use slabloop_peers::compare::rounds::{Participant, in_turn};

use super::backends::{Backend, OWN_RESOLV_CONF, Running};
use super::lines;
use super::tables::{Sample, table};

/// One kind of work.
#[derive(Debug)]
pub struct Experiment {
    /// For `--only`.
    pub name: &'static str,
    title: &'static str,
    intro: &'static str,
    /// What is done `count` times, for the head of the table.
    what: &'static str,
    count: u64,
    holders: usize,
    shared: usize,
    core: Core,
    backend: Backend,
    contenders: &'static [Contender],
}

/// A program that takes part.
#[derive(Debug)]
struct Contender {
    name: &'static str,
    /// Its file without an ending, in `src/bin`, or in `python` with `.py`.
    file: &'static str,
    extra: &'static [&'static str],
    /// What stands before its command.
    before: &'static [&'static str],
}

const fn contender(name: &'static str, file: &'static str) -> Contender {
    Contender {
        name,
        file,
        extra: &[],
        before: &[],
    }
}

const POOLS: &[Contender] = &[
    contender("slabloop", "slabloop_pool"),
    Contender {
        name: "slabloop, no probe",
        file: "slabloop_pool",
        extra: &["--probe", "false"],
        before: &[],
    },
    contender("tokio, deadpool", "deadpool_pool"),
    contender("tokio, bb8", "bb8_pool"),
    contender("asyncio, own pool", "asyncio_pool.py"),
];

/// All, in the order of the page.
pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "pool",
        title: "A lease of a pooled connection, which others wait for",
        intro: "100 holders share 4 connections to an echo server. A lease is for one line there and back, whose \
                content is checked. All programs keep to 4 connections, give each waiting request a deadline, and \
                reuse no connection that has ended or whose answer is outstanding. To detect an end, slabloop asks \
                the kernel before each lease (`PoolOptions::probe`), which is one system call; the others, and \
                slabloop without the probe, rely on the events that their loop has seen. The rest of slabloop's \
                extra time is `cx.watch` and `unwatch` for each lease, and one more turn before the next holder is \
                called. On tokio the program itself defines how a connection is checked, on asyncio the whole pool.",
        what: "a lease",
        count: 20_000,
        holders: 100,
        shared: 4,
        core: Core::Server,
        backend: Backend::Echo,
        contenders: POOLS,
    },
    Experiment {
        name: "idle",
        title: "A lease of an idle connection",
        intro: "As above, with 4 holders and 4 connections, so that no lease has to wait.",
        what: "a lease",
        count: 20_000,
        holders: 4,
        shared: 4,
        core: Core::Server,
        backend: Backend::Echo,
        contenders: POOLS,
    },
    Experiment {
        name: "workers",
        title: "A job on another thread",
        intro: "1,000 trivial jobs are in flight at any time, to 2 threads and back. `kit::workers`, `spawn_blocking`, \
                `run_in_executor` with a `ThreadPoolExecutor`. slabloop's queue has a bound, the others' have none.",
        what: "a job",
        count: 200_000,
        holders: 1_000,
        shared: 2,
        core: Core::Any,
        backend: Backend::None,
        contenders: &[
            contender("slabloop", "slabloop_workers"),
            contender("tokio", "tokio_workers"),
            contender("asyncio", "asyncio_workers.py"),
        ],
    },
    Experiment {
        name: "buckets",
        title: "A token bucket for each of 10,000 keys",
        intro: "Requests with random keys, 64 in each turn of the loop. A key may make 100 requests a second, so \
                about half are refused. slabloop and the program for asyncio keep at most 10,000 keys and remove old \
                ones as they go. governor keeps every key until the program removes the unused ones, here once a \
                second; it can also be shared between threads.",
        what: "a request",
        count: 1_000_000,
        holders: 1,
        shared: 10_000,
        core: Core::Server,
        backend: Backend::None,
        contenders: &[
            contender("slabloop", "slabloop_buckets"),
            contender("tokio, governor", "governor_buckets"),
            contender("asyncio, own buckets", "asyncio_buckets.py"),
        ],
    },
    Experiment {
        name: "concurrency",
        title: "A limit on what is done at once",
        intro: "1,000 holders share 16 slots, each for one step of the loop; a waiting request has a deadline of 5 s. \
                `kit::limits::Concurrency` (with a bounded queue), tokio's and asyncio's semaphores.",
        what: "a slot",
        count: 300_000,
        holders: 1_000,
        shared: 16,
        core: Core::Server,
        backend: Backend::None,
        contenders: &[
            contender("slabloop", "slabloop_concurrency"),
            contender("tokio", "tokio_concurrency"),
            contender("asyncio", "asyncio_concurrency.py"),
        ],
    },
    Experiment {
        name: "cached",
        title: "A name that is known",
        intro: "64 lookups at a time of 100 names that are in the cache, with a TTL of one hour. (`getaddrinfo`, and \
                therefore asyncio, has no cache: each of its lookups is one of the next table.) slabloop calls back \
                later in the turn; `DnsResolver::known` would return the answer at once.",
        what: "a lookup",
        count: 200_000,
        holders: 64,
        shared: 100,
        core: Core::Server,
        backend: Backend::Names,
        contenders: &[
            contender("slabloop", "slabloop_resolver"),
            contender("tokio, hickory-resolver", "hickory_resolver"),
        ],
    },
    Experiment {
        name: "uncached",
        title: "A name that has to be asked for",
        intro: "64 lookups at a time, each for a name that is in no cache, A records only; the server is dnsmasq. \
                slabloop and hickory-resolver choose the source port, the id and the case of letters at random for \
                each query, and cache up to 4,096 answers; asyncio calls `getaddrinfo` on its threads.",
        what: "a lookup",
        count: 10_000,
        holders: 64,
        shared: 1_000_000_000,
        core: Core::Server,
        backend: Backend::Names,
        contenders: &[
            contender("slabloop", "slabloop_resolver"),
            contender("tokio, hickory-resolver", "hickory_resolver"),
            Contender {
                name: "asyncio, getaddrinfo",
                file: "asyncio_resolver.py",
                extra: &[],
                before: OWN_RESOLV_CONF,
            },
        ],
    },
];

/// How much a run does.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Of each table.
    pub rounds: usize,
    /// What each count is divided by.
    divisor: u64,
}

impl Scale {
    /// To see whether it works.
    pub const QUICK: Scale = Scale {
        rounds: 1,
        divisor: 20,
    };
    /// For the page.
    pub const FULL: Scale = Scale {
        rounds: 21,
        divisor: 1,
    };
}

/// What Python does less of.
const PYTHON_DIVISOR: u64 = 10;

impl Participant for &Contender {
    fn name(&self) -> &'static str {
        self.name
    }
}

impl Contender {
    fn is_python(&self) -> bool {
        self.file.ends_with(".py")
    }

    /// The words of its command, and how many lines of it are a user's.
    fn find(&self) -> Result<(Vec<OsString>, usize)> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (source, comment, mut words) = if self.is_python() {
            let source = here.join("python").join(self.file);
            // -B: no compiled files in the source tree.
            let words = vec!["python3".into(), "-B".into(), source.clone().into()];
            (source, "#", words)
        } else {
            let source = here.join("src/bin").join(format!("{}.rs", self.file));
            (source, "//", vec![bin_dir()?.join(self.file).into()])
        };
        let text = fs::read_to_string(&source).doing(source.display())?;
        words.extend(self.extra.iter().map(OsString::from));
        Ok((words, lines::of_user_code(&text, comment)))
    }

    fn run(&self, of: &Experiment, scale: Scale, server: Option<&Running>) -> Result<Sample> {
        let (words, _) = self.find()?;
        let mut count = of.count / scale.divisor;
        if self.is_python() {
            count /= PYTHON_DIVISOR;
        }
        let mut command = process::command(of.core, self.before, &words);
        command.arg("--count").arg(count.to_string());
        command.arg("--holders").arg(of.holders.to_string());
        command.arg("--shared").arg(of.shared.to_string());
        if let Some(server) = server {
            command.arg("--server").arg(server.address().to_string());
        }
        let figures = process::figures(command, self.file)?;
        Ok(Sample {
            each_ns: figures.value("each_ns")?,
            peak_kib: figures.value("peak_kib")?,
        })
    }
}

/// Measures it, and returns its section of the page.
///
/// # Errors
///
/// A source that is not where it was when this program was built.
pub fn measure(experiment: &'static Experiment, scale: Scale) -> Result<String> {
    let server = match experiment.backend.start() {
        Ok(server) => server,
        Err(error) => {
            let title = experiment.title;
            return Ok(format!("### {title}\n\nNot here: {error}.\n\n"));
        }
    };
    let contenders: Vec<_> = experiment.contenders.iter().collect();
    let mut notes = Vec::new();
    let runs = in_turn(
        experiment.name,
        scale.rounds,
        &contenders,
        &mut notes,
        |who| who.run(experiment, scale, server.as_ref()),
    );
    let lines: Result<Vec<_>> = contenders
        .iter()
        .map(|who| who.find().map(|(_, lines)| lines))
        .collect();
    let mut text = format!("### {}\n\n{}\n", experiment.title, experiment.intro);
    let _ = writeln!(text, "\n{}", table(experiment.what, &runs, &lines?));
    for note in notes {
        let _ = writeln!(text, "Note: {note}.\n");
    }
    Ok(text)
}
