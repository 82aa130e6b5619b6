//! A server that does not wait for ever: a time limit for the first line, and another one between lines.
//!
//! Shows both ways. The request timeout is the reactor's: it runs whatever moves, because a client that sends a byte a second
//! is not idle, and still too slow; it ends the connection, and there is no goodbye. The other limit is a timer, which
//! each line puts off: it asks first, and says goodbye.
//!
//! ```text
//! cargo run --release --example idle -- --first 5 --idle-timeout 10
//! nc 127.0.0.1 7013
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. The page: `docs/how-to/idle-timeout.md`.

mod common;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use common::{Failure, Limit, Options};
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::{Accepted, Context, Dispatcher, Timeout, TimerId};

/// A longer line ends its client's connection.
const LONGEST_LINE: usize = 1024;

struct Listener {
    tls: common::Tls,
    first: Duration,
    idle: Duration,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let client = Client {
            idle: self.idle,
            timer: None,
            asked: false,
        };
        let client = Framed::new(Terminator::Line, client)?.max_record(LONGEST_LINE);
        let client = cx.add(self.tls.socket(accepted)?, client)?;
        if let Some(mut client) = cx.at(client) {
            client.set_timeout(Timeout::Request, self.first);
            client.send(b"* your name?\n")?;
        }
        Ok(())
    }
}

struct Client {
    idle: Duration,
    /// From the first line on. Due when half of the time is over, and then at its end.
    timer: Option<TimerId>,
    asked: bool,
}

impl Handler for Client {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        let line = String::from_utf8_lossy(line);
        self.asked = false;
        if let Some(timer) = self.timer {
            cx.reset_timer(timer, self.idle / 2);
            return framing.push(cx, format!("{line}\n").as_bytes());
        }
        cx.set_timeout(Timeout::Request, None);
        // An interval, so that it has a second time, and one id.
        self.timer = Some(cx.set_interval(self.idle / 2));
        framing.push(cx, format!("* hello, {line}\n").as_bytes())
    }

    fn handle_timer(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        _: TimerId,
    ) -> io::Result<()> {
        if !self.asked {
            self.asked = true;
            return framing.push(cx, b"* still there?\n");
        }
        log::info!("{}: idle", cx.label());
        framing.push(cx, b"* goodbye\n")?;
        framing.close_when_done(cx);
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        match Timeout::of(&error) {
            // It names the connection and the limit.
            Some(_) => log::info!("{error}"),
            None => cx.log_fault(&error),
        }
        cx.close();
    }
}

const HELP: &str = "\
Asks for a name, and then sends every line back. A client that takes too long is disconnected.

Usage: idle [OPTIONS]

  --listen HOST:PORT       where to listen; port 0 takes any free one [127.0.0.1:7013]
  --first SECONDS          how long the first line may take as a whole [10]
  --idle-timeout SECONDS   how long a client may then say nothing [60]
  --max-connections N      clients served at once; more wait until others leave [no limit]
  --drain SECONDS          how long queued output may take to leave at the end [5]
  --tls-cert FILE          serve TLS with this certificate (PEM); build with --features tls
  --tls-key FILE           its private key (PEM)
  --duration SECONDS       ends by itself after so long [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  idle --listen 127.0.0.1:0 --first 2 --idle-timeout 5
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut first = Duration::from_secs(10);
        let mut options = Options::parse(arguments, "127.0.0.1:7013", |flag, parser| {
            if flag == "first" {
                first = common::seconds("--first", parser, Limit::AboveZero)?;
            }
            Ok(flag == "first")
        })?;
        // Not the reactor's for all connections, as in the other examples, but each client's own.
        let idle = options.idle_timeout.take();
        let reactor = common::builder(&options, 1).build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        let listener = Listener {
            tls: options.tls.clone(),
            first,
            idle: idle.unwrap_or(Duration::from_secs(60)),
        };
        common::listen(&mut reactor, &options, listener)?;
        common::serve(reactor, &options)
    })
}
