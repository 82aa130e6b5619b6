//! An echo server with figures for Prometheus: `/metrics` on a second port, served by the same loop.
//!
//! Shows the two lines that are needed, an observer and a snapshot; the rest is HTTP, only as much as a scrape needs.
//! A blocked loop does not answer, and Prometheus detects that: its own figure `up` is the first alert.
//!
//! ```text
//! cargo run --release --features metrics --example metrics
//! curl http://127.0.0.1:9464/metrics
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. What the figures mean: `docs/monitoring.md`.

mod common;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use common::{Failure, Options};
use slabloop::metrics::{CONTENT_TYPE, Metrics};
use slabloop::{Accepted, Context, Dispatcher};

struct Listener {
    tls: common::Tls,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(self.tls.socket(accepted)?, Echo)?;
        Ok(())
    }
}

struct Echo;

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }
}

/// Accepts those who ask for figures.
struct Figures;

impl Dispatcher for Figures {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let scrape = cx.add(accepted, Scrape::default())?;
        if let Some(mut cx) = cx.at(scrape) {
            cx.set_idle_timeout(PATIENCE);
        }
        Ok(())
    }
}

/// One request, and its answer.
#[derive(Default)]
struct Scrape {
    head: Vec<u8>,
}

/// A scraper that says nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A longer head is none that a scraper sends.
const LONGEST_HEAD: usize = 8 * 1024;

impl Dispatcher for Scrape {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, _| {
            self.head.extend_from_slice(bytes);
            Ok(())
        })?;
        let is_whole = self.head.windows(4).any(|four| four == b"\r\n\r\n");
        if !is_whole && self.head.len() < LONGEST_HEAD {
            return Ok(());
        }
        let (status, body) = if self.head.starts_with(b"GET /metrics ") {
            ("200 OK", cx.metrics().to_prometheus())
        } else {
            ("404 Not Found", "try GET /metrics\n".to_owned())
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        cx.send(head.as_bytes())?;
        cx.send(body.as_bytes())?;
        cx.close();
        Ok(())
    }
}

const HELP: &str = "\
An echo server, with figures for Prometheus on a second port.

Usage: metrics [OPTIONS]

  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7006]
  --metrics HOST:PORT      where to answer GET /metrics [127.0.0.1:9464]
  --max-connections N      clients served at once; further ones wait in the kernel [no limit]
  --idle-timeout SECONDS   closes a client after SECONDS without traffic [never]
  --drain SECONDS          time limit for sending queued output at shutdown [5]
  --tls-cert FILE          serve TLS with this certificate (PEM); build with --features tls
  --tls-key FILE           its private key (PEM)
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  metrics --listen 127.0.0.1:0 --metrics 127.0.0.1:0
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut figures = "127.0.0.1:9464".to_owned();
        let options = Options::parse(arguments, "127.0.0.1:7006", |flag, parser| {
            if flag != "metrics" {
                return Ok(false);
            }
            figures = common::host_and_port("--metrics", parser)?;
            Ok(true)
        })?;
        let mut builder = common::builder(&options, 1);
        let reactor = builder.observer(Metrics::new).build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        let listener = Listener {
            tls: options.tls.clone(),
        };
        common::listen(&mut reactor, &options, listener)?;
        let id = reactor.listen(figures.as_str(), Figures);
        let id = id.map_err(Failure::io(&format!("cannot listen on {figures}")))?;
        let address = reactor.local_addr(id);
        let address = address.map_err(Failure::io("cannot tell the address"))?;
        common::say(&format!("metrics on http://{address}/metrics"));
        common::serve(reactor, &options)
    })
}
