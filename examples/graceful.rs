//! A server that finishes what it has begun before it ends, and tells how it does on SIGHUP.
//!
//! Shows signals as callbacks on the loop, and a graceful shutdown: no new clients, no new requests, every request
//! that was taken is answered, and only then the connections close. The answers here take a second each.
//!
//! ```text
//! cargo run --release --example graceful
//! printf 'one\ntwo\n' | nc 127.0.0.1 7012      # and Ctrl-C in the other terminal
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. The page: `docs/how-to/signals-and-shutdown.md`.

mod common;

use std::collections::VecDeque;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use common::{Failure, Limit, Options};
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::kit::signals::SIGHUP;
use slabloop::{Accepted, Context, Dispatcher, TimerId};

/// Lines of one client that are not answered yet. With so many its next ones wait in the socket.
const MOST_IN_HAND: usize = 16;

struct Listener {
    tls: common::Tls,
    work: Duration,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let client = Client {
            work: self.work,
            requests: VecDeque::new(),
            leaving: false,
        };
        cx.add(
            self.tls.socket(accepted)?,
            Framed::new(Terminator::Line, client)?,
        )?;
        Ok(())
    }
}

struct Client {
    work: Duration,
    /// Taken, and not answered yet.
    requests: VecDeque<String>,
    /// No request is taken any more: closes after the last answer.
    leaving: bool,
}

impl Client {
    fn leave(&mut self, cx: &mut Context<'_>, framing: &mut Framing) {
        self.leaving = true;
        cx.pause_reading();
        if self.requests.is_empty() {
            framing.close_when_done(cx);
        }
    }
}

impl Handler for Client {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        self.requests
            .push_back(String::from_utf8_lossy(line).into_owned());
        cx.set_timer(self.work);
        if self.requests.len() == MOST_IN_HAND {
            cx.pause_reading();
        }
        Ok(())
    }

    fn handle_timer(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        _: TimerId,
    ) -> io::Result<()> {
        if let Some(request) = self.requests.pop_front() {
            framing.push(cx, format!("done: {request}\n").as_bytes())?;
        }
        if !self.leaving {
            cx.resume_reading();
        } else if self.requests.is_empty() {
            framing.close_when_done(cx);
        }
        Ok(())
    }

    /// The client sends no more, and still waits for answers.
    fn handle_eof(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        self.leave(cx, framing);
        Ok(())
    }

    /// Once, when the reactor shuts down.
    fn handle_shutdown(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        let notice = format!("* shutting down; {} to be answered\n", self.requests.len());
        framing.push(cx, notice.as_bytes())?;
        self.leave(cx, framing);
        Ok(())
    }
}

const HELP: &str = "\
Answers each line after some time. The first Ctrl-C or SIGTERM has it answer what it has taken, and then end;
the second ends it at once. SIGHUP has it log how things stand.

Usage: graceful [OPTIONS]

  --listen HOST:PORT       where to listen; port 0 takes any free one [127.0.0.1:7012]
  --work SECONDS           how long an answer takes [1]
  --max-connections N      clients served at once; more wait until others leave [no limit]
  --idle-timeout SECONDS   closes a client after SECONDS without traffic [never]
  --drain SECONDS          how long the answers may take at the end [5]
  --tls-cert FILE          serve TLS with this certificate (PEM); build with --features tls
  --tls-key FILE           its private key (PEM)
  --duration SECONDS       ends by itself after so long [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  graceful --listen 127.0.0.1:0 --work 3 --drain 10
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut work = Duration::from_secs(1);
        let options = Options::parse(arguments, "127.0.0.1:7012", |flag, parser| {
            if flag == "work" {
                work = common::seconds("--work", parser, Limit::Any)?;
            }
            Ok(flag == "work")
        })?;
        let reactor = common::builder(&options, 1).build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        let told = reactor.signals([SIGHUP], |cx: &mut Context<'_>, _: i32| {
            let (now, ever) = (cx.gauges(), cx.counters());
            let (open, bytes) = (now.connections, ever.bytes_in);
            log::info!("{open} connections, {bytes} bytes in");
            Ok(())
        });
        told.map_err(Failure::io("cannot watch for SIGHUP"))?;
        let listener = Listener {
            tls: options.tls.clone(),
            work,
        };
        common::listen(&mut reactor, &options, listener)?;
        // Stops at the first signal, and then calls `Reactor::shutdown` with the time that `--drain` gives.
        common::serve(reactor, &options)
    })
}
