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

mod access_log;
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
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use common::{Failure, Options};
use slabloop::kit::workers::Workers;
use slabloop::{Accepted, Context, Dispatcher, Reactor};

use access_log::AccessLog;
use config::Limits;
use connection::Connection;
use http::{answer, body, date, deadlines, head};
use site::{Opener, Site};

/// How long a client may keep a connection that it does not use.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Most files that wait for a thread.
const MOST_JOBS: usize = 4096;

struct Listener {
    site: Rc<Site>,
    tls: common::Tls,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let connection = Connection::new(cx, Rc::clone(&self.site));
        cx.add(self.tls.socket(accepted)?, connection)?;
        Ok(())
    }
}

const HELP: &str = "\
Serves the files of a folder over HTTP/1.1. POST /echo sends a body back, POST /upload counts its bytes.

Usage: http_server [OPTIONS]

  --root DIR               the folder; without it a built-in page is served
  --access-log             prints a line for each request on stdout, in the combined format
  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7008]
  --tls-cert FILE          serve TLS with this certificate (PEM); build with --features examples,tls
  --tls-key FILE           its private key (PEM)

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
  --max-connections N      clients served at once; further ones wait in the kernel [no limit]
  --max-requests N         requests of one connection; 0: no limit [1000]
  --idle-timeout SECONDS   closes a connection after SECONDS without traffic [60]
  --drain SECONDS          time limit for the requests in progress at shutdown [5]

Files:
  --threads N              threads that open files; 0: the loop opens them itself [2]
  --cache-time SECONDS     how long the cached data of a file are valid [1]
  --cache-files N          files in the cache [1024]
  --cache-bytes BYTES      memory for small files [67108864]
  --small-file BYTES       files up to this size are kept in memory [65536]

  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut limits = Limits::default();
        let (mut root, mut wants_log) = (None, false);
        let mut options = Options::parse(arguments, "127.0.0.1:7008", |flag, parser| {
            match flag {
                "root" => root = Some(PathBuf::from(parser.value()?)),
                "access-log" => wants_log = true,
                _ => return limits.take(flag, parser),
            }
            Ok(true)
        })?;
        options.idle_timeout = options.idle_timeout.or(Some(KEEP_ALIVE));
        let mut builder = common::builder(&options, 1);
        builder.stall_timeout(limits.http.send_time);
        let reactor = builder.build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        let site = site(&mut reactor, limits, root, wants_log)?;
        let listener = Listener {
            site: Rc::clone(&site),
            tls: options.tls.clone(),
        };
        common::listen_and_try(&mut reactor, &options, listener, |host, port| match options
            .tls
            .is_on()
        {
            true => format!("curl -ik https://{host}:{port}/"),
            false => format!("curl -i http://{host}:{port}/"),
        })?;
        common::serve(&mut reactor, &options)
    })
}

fn site(
    reactor: &mut Reactor,
    limits: Limits,
    root: Option<PathBuf>,
    wants_log: bool,
) -> Result<Rc<Site>, Failure> {
    let root = match root {
        Some(path) => {
            let text = format!("--root {}", path.display());
            Some(open::root(&path).map_err(Failure::io(&text))?)
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
    let log = match wants_log {
        true => Some(AccessLog::new().map_err(Failure::io("cannot start a thread"))?),
        false => None,
    };
    let site = Rc::new(Site::new(limits, root, workers, log));
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
