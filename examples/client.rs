//! A client: what comes on stdin goes to a server, what the server sends goes to stdout.
//!
//! Shows connecting, and the end of a conversation: after the last line of stdin only the sending side is shut,
//! because the answers are still to come. A server that reads slowly holds up stdin, so memory stays bounded.
//!
//! ```text
//! cargo run --release --example echo_server
//! printf 'one\ntwo\n' | cargo run --release --example client
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. The page: `docs/how-to/client.md`.

mod common;

use std::cell::RefCell;
use std::io::{self, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use common::{Failure, Limit};
use slabloop::{AnyId, Cause, Context, Dispatcher, Reactor};

/// What went wrong, if anything did.
type Outcome = Rc<RefCell<Option<String>>>;

/// The connection.
struct Server {
    name: String,
    error: Option<io::Error>,
    outcome: Outcome,
}

impl Dispatcher for Server {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        log::debug!("{}: connected", cx.label());
        // Whatever is queued for the server, its answers are read. A server that sends before it reads would otherwise
        // wait until we read, while we wait until it does.
        cx.feeds_nobody();
        // Only now is stdin read. It is what waits for a server that does not keep up.
        let server = cx.any_id();
        let input = cx.add(common::stdin_stream()?, Input { server })?;
        if let Some(mut input) = cx.at(input) {
            input.feeds(server);
        }
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| {
            let mut stdout = io::stdout().lock();
            let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
            if written.is_err() {
                // Our output is not read any more, as in `client | head`: no failure of ours.
                cx.close();
            }
            Ok(())
        })
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.error = Some(error);
        cx.abort();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let name = &self.name;
        let failed = match (cx.end_cause(), self.error.take()) {
            (Some(Cause::Reset), _) => Some(format!("{name}: the connection was reset")),
            (Some(Cause::ConnectFailed(_) | Cause::ConnectTimeout), Some(error)) => {
                Some(format!("cannot connect to {name}: {error}"))
            }
            (_, Some(error)) => Some(format!("{name}: {error}")),
            _ => None,
        };
        self.outcome.replace(failed);
        cx.stop();
    }
}

/// Standard input.
struct Input {
    server: AnyId,
}

impl Dispatcher for Input {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| match cx.at(self.server) {
            Some(mut server) => server.send(bytes),
            None => Ok(()),
        })
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        if let Some(mut server) = cx.at(self.server) {
            // The end of our side only. The connection ends when the server has finished, too.
            server.shutdown_write();
        }
    }
}

const HELP: &str = "\
Sends stdin to a server, and prints what the server sends. Ends when the server does.

Usage: client [OPTIONS]

  --connect HOST:PORT      the server [127.0.0.1:7000]
  --connect-unix PATH      a Unix socket in place of that
  --duration SECONDS       ends by itself after so long [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  client --connect localhost:7000
  client --connect-unix /tmp/slabloop.sock < names.txt
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut host = "127.0.0.1:7000".to_owned();
        let (mut path, mut duration) = (None::<String>, None);
        common::flags(arguments, |flag, parser| {
            match flag {
                "--connect" => host = common::host_and_port(flag, parser)?,
                "--connect-unix" => path = Some(common::value(flag, parser, "a path")?),
                "--duration" => duration = Some(common::seconds(flag, parser, Limit::AboveZero)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
        let outcome = Outcome::default();
        let name = path.as_ref().map_or(&host, |path| path);
        let server = Server {
            name: name.clone(),
            error: None,
            outcome: Rc::clone(&outcome),
        };
        let dialled = match &path {
            Some(path) => reactor.connect_unix(path, server),
            None => reactor.connect(common::look_up("--connect", &host)?[0], server),
        };
        dialled.map_err(Failure::io(&format!("cannot connect to {name}")))?;
        common::stop_on_signals(&mut reactor)?;
        if let Some(duration) = duration {
            reactor.call_later(duration, Reactor::stop);
        }
        reactor.run().map_err(Failure::io("the loop failed"))?;
        let drained = reactor.shutdown(Duration::from_secs(1));
        drained.map_err(Failure::io("the loop failed"))?;
        match outcome.take() {
            Some(text) => Err(Failure::Work(text)),
            None => Ok(()),
        }
    })
}
