//! Work that outlives a request: jobs are posted over HTTP, queued in Redis, and done by processes of their own.
//!
//! Shows how a program on one loop hands work on without losing any: a job is confirmed to its client when Redis has
//! it, and done by whichever worker takes it, again if that one ends; what fails is tried again later, and put aside
//! after some attempts; a job that is delivered twice is recorded once. `docs/jobs.md` says what is promised, and why.
//!
//! | file | content |
//! |---|---|
//! | `scripts.rs` | what Redis does in one step: the rules of the queue are here |
//! | `names.rs`, `queue.rs` | what there is in Redis, and how it is reached |
//! | `job.rs`, `address.rs` | what may be asked for, and where callbacks may go |
//! | `front.rs`, `front/` | the HTTP server |
//! | `worker.rs`, `worker/` | the worker: `asking.rs` takes entries, `recording.rs` tells outcomes |
//!
//! ```text
//! redis-server --port 6379 --appendonly yes --appendfsync always
//! cargo run --release --features examples,metrics --example jobs -- front
//! cargo run --release --features examples,metrics --example jobs -- worker
//! curl -i -H 'Idempotency-Key: one' -d '{"do": "primes", "below": 1000000}' http://127.0.0.1:7020/jobs
//! ```
//!
//! To see more: `RUST_LOG=info,jobs=debug,slabloop=debug`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/http/mod.rs"]
mod http;
#[path = "../common/redis/mod.rs"]
mod redis;

mod address;
mod front;
mod job;
mod names;
mod queue;
mod scripts;
mod worker;

use std::process::ExitCode;

use common::Failure;

const HELP: &str = "\
A queue of jobs in Redis. `jobs front` takes them over HTTP, `jobs worker` does them; start as many of each as needed.

Usage: jobs front [OPTIONS]
       jobs worker [OPTIONS]

Both:
  --redis HOST:PORT        the server with the queue, or redis://USER:PASSWORD@HOST:PORT [127.0.0.1:6379]
  --redis-timeout SECONDS  the longest time from a request to its answer [2]
  --queue NAME             what the names of its keys begin with [jobs]
  --callback-to HOST:PORT  outcomes may be posted there; may be given several times [nowhere]
  --keep SECONDS           how long a job and its idempotency key are kept when all is done [86400]
  --max-dead N             dead letters kept, more or less; the oldest are dropped [100000]
  --drain SECONDS          time limit for what is in hand at shutdown [5]
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

front:
  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7020]
  --max-backlog N          with so many unfinished jobs no more are taken, but 503 [10000]
  --retry-after SECONDS    when those that got the 503 may try again [5]
  --max-body BYTES         size of a job, else 413 [65536]
  --max-connections N      clients served at once; further ones wait in the kernel [no limit]
  --idle-timeout SECONDS   closes a connection after SECONDS without traffic [60]
  --tls-cert FILE, --tls-key FILE   serve TLS (PEM); build with --features examples,metrics,tls
  and --max-head, --max-target, --max-headers, --max-requests, --header-timeout, --body-timeout,
  --request-timeout, --send-timeout as http_server has them

worker:
  --jobs N                 jobs done at once, each on a thread [as many as run in parallel]
  --callbacks N            callbacks made at once [16]
  --callback-timeout SECONDS  the longest time for one [10]
  --tries N                attempts at a job before it is put aside [5]
  --callback-tries N       attempts at its callback [20]
  --pause SECONDS          the longest pause after the first attempt; doubled with each [1]
  --longest-pause SECONDS  and up to this [60]
  --visibility SECONDS     a worker not heard of for so long has lost what it has in hand [30]

REDISCLI_AUTH has the password of Redis, if it wants one and it is not in --redis; a command line can be read by other
users of the machine.
RUST_LOG sets the log level, for example RUST_LOG=info,jobs=debug.

Examples:
  jobs front --listen 127.0.0.1:0 --callback-to 127.0.0.1:8080
  jobs worker --jobs 4 --callback-to 127.0.0.1:8080
";

fn main() -> ExitCode {
    common::run(HELP, |mut parser| {
        let role = match parser.next()? {
            Some(lexopt::Arg::Value(role)) => role,
            Some(lexopt::Arg::Short('h') | lexopt::Arg::Long("help")) => return Err(Failure::Help),
            Some(lexopt::Arg::Long("version")) => return Err(Failure::Version),
            _ => return Err(Failure::Usage("expected front or worker first".to_owned())),
        };
        match role.to_str() {
            Some("front") => front::run(parser),
            Some("worker") => worker::run(parser),
            _ => {
                let text = format!("{}: expected front or worker", role.to_string_lossy());
                Err(Failure::Usage(text))
            }
        }
    })
}
