//! A web server of files: HTTP/1.1, for the open Internet.
//!
//! Shows the toolkit in a kind of program that is used everywhere: a protocol that is parsed without copying, files that
//! the kernel sends, threads for the disk, deadlines against slow clients, limits for everything that clients send.
//! `docs/http.md` describes what it does and what it costs.
//!
//! ```text
//! cargo run --release --features examples --example http_server -- --root .
//! curl -i http://127.0.0.1:7008/README.md
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/http/mod.rs"]
mod http;
#[path = "../common/rate_limit/mod.rs"]
mod rate_limit;

mod access_log;
mod admitting;
mod answering;
mod cache;
mod conditions;
mod config;
mod connection;
mod entry;
mod files;
mod input;
mod open;
mod receiving;
mod routes;
mod site;
mod target;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common::{Failure, Options};
use slabloop::kit::workers::Workers;
use slabloop::{Accepted, Context, Dispatcher, Reactor};

use access_log::{AccessLog, LogThread};
use config::Limits;
use connection::Connection;
use http::{answer, body, date, deadlines, head};
use rate_limit::{RateFlags, RateLimit};
use site::{Opener, Site};

/// How long a client may keep a connection that it does not use.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Most files that wait for a thread.
const MOST_JOBS: usize = 4096;

struct Listener {
    site: Rc<Site>,
    tls: common::Tls,
    proxied: common::Proxied,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        common::accept(self, cx, accepted)
    }
}

impl common::Welcome for Listener {
    fn proxied(&self) -> &common::Proxied {
        &self.proxied
    }

    fn welcome(&mut self, cx: &mut Context<'_>, client: common::Client) -> io::Result<()> {
        let connection = Connection::new(cx, Rc::clone(&self.site));
        client.serve(cx, &self.tls, connection)?;
        Ok(())
    }
}

const HELP: &str = "\
Serves the files of a folder over HTTP/1.1. POST /echo sends a body back, POST /upload counts its bytes.

Usage: http_server [OPTIONS]

  --root DIR               the folder; without it a built-in page is served
  --access-log             prints a line for each request on stdout, in the combined format
  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7008]
  --threads N              threads, each with a loop, a listener, and the files below of its own [1]
  --tls-cert FILE          serve TLS with this certificate (PEM); build with --features examples,tls
  --tls-key FILE           its private key (PEM)
  --proxy-protocol         clients come through a load balancer that names them in a PROXY header (v1 or v2)
  --proxy-from ADDRESSES   whose headers are believed, such as 10.0.0.0/8,10.1.0.5; all others are turned away.
                           Name your load balancers and no one else: a header can name any client
                           [127.0.0.0/8,::1]
  --proxy-timeout SECONDS  time limit for the header [5]

Limits of a request:
  --max-head BYTES         size of its head, else 431 [16384]
  --max-target BYTES       size of the target, else 414 [8192]
  --max-headers N          fields of the head, at most 128, else 431 [64]
  --max-body BYTES         size of its body, else 413 [67108864]
  --header-timeout SECONDS from the first byte of its head to the last, else 408 [10]
  --body-timeout SECONDS   from the end of its head to the end of its body, else 408 [300]
  --request-timeout SECONDS  from its first byte to the end of its answer, else a reset [600]
  --send-timeout SECONDS   without the client reading any of the answer, else a reset [60]

Limits of connections:
  --max-connections N      clients of each thread at once; further ones wait in the kernel [no limit]
  --max-requests N         requests of one connection; 0: no limit [1000]
  --idle-timeout SECONDS   closes a connection after SECONDS without traffic [60]
  --drain SECONDS          time limit for the requests in progress at shutdown [5]

Restart without downtime:
  --linger SECONDS         after SIGUSR2, once a new process has taken over: how long open connections are served before
                           they are drained [10]
  --ready-timeout SECONDS  how long that new process may take to be ready [10]

Rate of one client, which is an address (IPv6: a /64):
  --rate N                 requests per second, else 429; 0: no limit [0]
  --burst N                requests at once after a quiet time [N of --rate]
  --shared-limit URL       redis://HOST:PORT: the rate is that over all processes that use this Redis
  --shared-wait SECONDS    for its answer; else the process decides by itself [0.05]
  --shared-by N            processes that share it; without Redis each gives an Nth of the rate [1]
  --shared-name NAME       what is shared: processes with the same name share it [http_server]

Files:
  --file-threads N         threads that open files; 0: the loop opens them itself [2]
  --cache-time SECONDS     how long the cached data of a file are valid [1]
  --cache-files N          files in the cache [1024]
  --cache-bytes BYTES      memory for small files [67108864]
  --small-file BYTES       files up to this size are kept in memory [65536]

  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

REDISCLI_AUTH has the password of Redis, if it wants one. So may the URL, redis://USER:PASSWORD@HOST:PORT, but a
command line can be read by other users of the machine.
RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut limits = Limits::default();
        let mut rate = RateFlags::new("http_server", 0);
        let (mut root, mut wants_log, mut threads) = (None, false, 1);
        let mut proxied = common::Proxied::default();
        let mut hand_over = common::HandOver::default();
        let mut options = Options::parse(arguments, "127.0.0.1:7008", |flag, parser| {
            match flag {
                "root" => root = Some(PathBuf::from(parser.value()?)),
                "access-log" => wants_log = true,
                "threads" => return common::threads_flag(flag, parser, &mut threads),
                _ if rate.take(flag, parser)? => {}
                _ if proxied.take(flag, parser)? => {}
                _ if hand_over.take(flag, parser)? => {}
                _ => return limits.take(flag, parser),
            }
            Ok(true)
        })?;
        options.hand_over = hand_over.on_signal();
        options.idle_timeout = options.idle_timeout.or(Some(KEEP_ALIVE));
        let proxied = proxied.checked()?;
        let log = match wants_log {
            true => Some(LogThread::start().map_err(Failure::io("cannot start a thread"))?),
            false => None,
        };
        let scheme = match options.tls.is_on() {
            true => "curl -ik https",
            false => "curl -i http",
        };
        let command = |host: &str, port| format!("{scheme}://{host}:{port}/");
        let own = options.clone();
        common::serve_on_threads(&options, threads, command, move || {
            let mut builder = common::builder(&own, 1);
            builder.stall_timeout(limits.http.send_time);
            let reactor = builder.build();
            let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
            let leaving = own.hand_over.leaving();
            let rate = rate.build(&mut reactor)?;
            let (log, root) = (log.as_ref(), root.as_deref());
            let site = site(&mut reactor, limits.clone(), (rate, log), root, leaving)?;
            let listener = Listener {
                site,
                tls: own.tls.clone(),
                proxied: proxied.clone(),
            };
            Ok((reactor, listener))
        })
    })
}

fn site(
    reactor: &mut Reactor,
    limits: Limits,
    (rate, log): (Option<RateLimit>, Option<&LogThread>),
    root: Option<&Path>,
    leaving: Arc<AtomicBool>,
) -> Result<Rc<Site>, Failure> {
    let root = match root {
        Some(path) => {
            let text = format!("--root {}", path.display());
            Some(open::root(path).map_err(Failure::io(&text))?)
        }
        None => None,
    };
    let workers = match limits.threads {
        0 => None,
        _ if root.is_none() => None,
        threads => {
            let pool = Workers::builder()
                .threads(threads)
                .queue(MOST_JOBS)
                .name("files");
            Some(
                pool.build(reactor)
                    .map_err(Failure::io("cannot start threads"))?,
            )
        }
    };
    let log = log.map(AccessLog::new);
    let site = Rc::new(Site::new(limits, rate, root, workers, log, leaving));
    let opener = Opener {
        site: Rc::clone(&site),
    };
    let opener = reactor
        .add_service(opener)
        .map_err(Failure::io("cannot add a service"))?;
    site.set_opener(opener);
    if site.log.is_some() {
        let site = Rc::clone(&site);
        let timer = reactor.call_every(Duration::from_secs(1), move |_| {
            if let Some(log) = &site.log {
                log.borrow_mut().tick(std::time::Instant::now());
            }
        });
        reactor.unref_timer(timer);
    }
    Ok(site)
}
