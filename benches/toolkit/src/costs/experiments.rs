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
        intro: "100 holders share 4 connections to an echo server. A lease is for one line there and back, compared. No more \
                connections than that, a deadline for those that wait, no connection lent whose answer is outstanding or \
                that has ended. slabloop asks the kernel for such an end each time (`PoolOptions::probe`), one system call \
                for a lease; the others know what their loop has been told, and so does slabloop without it. \
                The rest of what slabloop takes longer is `cx.watch` and `unwatch` for each lease, and a turn more \
                before the next holder is called. The programs on tokio have to say themselves how a connection is \
                checked, the one on asyncio how a pool works.",
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
        intro: "The same with as many connections as holders, 4 of each: nobody waits.",
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
        intro: "1,000 trivial jobs are on their way at any time, to 2 threads and back. `kit::workers`, `spawn_blocking`, \
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
        intro: "Requests of keys by chance, 64 in a turn of the loop, 100 a second for each key: about half are refused. \
                slabloop and the one written for asyncio know 10,000 keys at most, whoever comes, and forget while they \
                work; governor keeps all keys until a task of the program, once a second here, has it forget some; and it \
                may be used by several threads at once.",
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
        intro: "1,000 holders share 16 slots, each for one step of the loop; a deadline of 5 s for those that wait. \
                `kit::limits::Concurrency` (whose queue has a bound), tokio's and asyncio's semaphores.",
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
        intro: "64 at a time look up 100 names, whose addresses hold for an hour. (`getaddrinfo`, and with it asyncio, keeps \
                nothing; each of its lookups is one of the table below.) slabloop calls back later in the turn; \
                `DnsResolver::known` would answer on the spot.",
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
        intro: "64 at a time look up names that nobody has asked for before, A records alone, of dnsmasq. slabloop and \
                hickory-resolver draw port, id and the case of letters by chance for each query, and keep up to 4,096 \
                answers; asyncio calls `getaddrinfo` on its threads.",
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
