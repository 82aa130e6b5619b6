//! An echo server that sends its figures to a StatsD server every few seconds, over UDP.
//!
//! Shows a periodic hook: `metrics::every` calls it with a snapshot, it writes lines and sends datagrams. If no
//! server is listening, that is no error and costs nothing. StatsD sums counters up by itself, so each counter is
//! sent as its increase since the last time; StatsD has no histograms, so quantiles of the last interval are sent.
//!
//! ```text
//! nc -u -l 127.0.0.1 8125 &
//! cargo run --release --features metrics --example statsd -- --every 1
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. What the figures mean: `docs/monitoring.md`.

mod common;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use common::{Failure, Limit, Options};
use slabloop::metrics::{self, Durations, Kind, Metrics, Sample, Snapshot, Value};
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

/// What fits an Ethernet frame behind the headers of IPv6 and UDP, with room for a tunnel's. A datagram in fragments
/// is lost if one of these is.
const LARGEST_DATAGRAM: usize = 1_432;

/// Whom to send to, and what was sent before.
struct Statsd {
    socket: UdpSocket,
    counters: HashMap<String, f64>,
    before: Option<Snapshot>,
    datagram: String,
}

impl Statsd {
    fn new(server: SocketAddr) -> io::Result<Statsd> {
        let any = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        // A full send buffer loses a datagram. It must not block the loop.
        socket.set_nonblocking(true)?;
        Ok(Statsd {
            socket,
            counters: HashMap::new(),
            before: None,
            datagram: String::new(),
        })
    }

    fn push(&mut self, snapshot: &Snapshot) {
        for family in snapshot.families() {
            for sample in &family.samples {
                let name = name(family.name, sample);
                match (family.kind, number(&sample.value)) {
                    (Kind::Counter, Some(total)) => self.counter(&name, total),
                    (Kind::Gauge, Some(value)) => self.line(&format!("{name}:{value}|g")),
                    _ => {}
                }
            }
        }
        for (callback, durations) in &snapshot.callbacks {
            let earlier = self
                .before
                .as_ref()
                .and_then(|before| before.callback(*callback));
            let name = format!("slabloop.callback_ms.{}", callback.name());
            self.quantiles(&name, &since(durations, earlier));
        }
        let earlier = self.before.as_ref().map(|before| &before.timer_lag);
        let lag = since(&snapshot.timer_lag, earlier);
        self.quantiles("slabloop.timer_lag_ms", &lag);
        self.send();
        self.before = Some(snapshot.clone());
    }

    /// What came since the last time, if something did.
    fn counter(&mut self, name: &str, total: f64) {
        let before = self.counters.insert(name.to_owned(), total).unwrap_or(0.0);
        if total > before {
            self.line(&format!("{name}:{}|c", total - before));
        }
    }

    fn quantiles(&mut self, name: &str, durations: &Durations) {
        if durations.count() == 0 {
            return;
        }
        for (suffix, part) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let millis = durations.quantile(part).as_secs_f64() * 1e3;
            self.line(&format!("{name}.{suffix}:{millis:.3}|g"));
        }
    }

    /// Adds a line to the datagram, which is sent before it grows too large.
    fn line(&mut self, line: &str) {
        if self.datagram.len() + 1 + line.len() > LARGEST_DATAGRAM {
            self.send();
        }
        if !self.datagram.is_empty() {
            self.datagram.push('\n');
        }
        self.datagram.push_str(line);
    }

    fn send(&mut self) {
        if let Err(error) = self.socket.send(self.datagram.as_bytes()) {
            log::debug!("figures were lost: {error}");
        }
        self.datagram.clear();
    }
}

/// `slabloop.dispatchers_closed.reset` of `slabloop_dispatchers_closed_total{cause="reset"}`.
fn name(family: &str, sample: &Sample) -> String {
    let name = family.trim_end_matches("_total").replacen('_', ".", 1);
    match sample.label {
        Some((_, value)) => format!("{name}.{value}"),
        None => name,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Count(count) => Some(*count as f64),
        Value::Amount(amount) => Some(*amount),
        _ => None,
    }
}

fn since(now: &Durations, earlier: Option<&Durations>) -> Durations {
    earlier.map_or_else(|| now.clone(), |earlier| now.since(earlier))
}

const HELP: &str = "\
An echo server that sends its figures to StatsD.

Usage: statsd [OPTIONS]

  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7007]
  --statsd HOST:PORT       where to send figures, over UDP [127.0.0.1:8125]
  --every SECONDS          interval [10]
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
  statsd --listen 127.0.0.1:0 --statsd 127.0.0.1:8125 --every 1
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut server = "127.0.0.1:8125".to_owned();
        let mut period = Duration::from_secs(10);
        let options = Options::parse(arguments, "127.0.0.1:7007", |flag, parser| {
            match flag {
                "statsd" => server = common::host_and_port("--statsd", parser)?,
                "every" => period = common::seconds("--every", parser, Limit::AboveZero)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let address = common::look_up("--statsd", &server)?[0];
        let statsd = Statsd::new(address);
        let mut statsd = statsd.map_err(Failure::io(&format!("cannot send to {address}")))?;

        let mut builder = common::builder(&options, 1);
        let reactor = builder.observer(Metrics::new).build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        metrics::every(&mut reactor, period, move |_, snapshot| {
            statsd.push(snapshot)
        });
        let listener = Listener {
            tls: options.tls.clone(),
        };
        common::listen(&mut reactor, &options, listener)?;
        common::serve(reactor, &options)
    })
}
