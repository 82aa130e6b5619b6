//! An echo server: every byte comes back.
//!
//! Shows the whole model in twenty lines: a listener that gives each connection a dispatcher, and a
//! dispatcher that answers on its own socket. The reactor itself handles clients that
//! half-close or never read, thousands of clients at once, and a shortage of descriptors.
//!
//! ```text
//! cargo run --release --example echo_server
//! printf hi | nc -N 127.0.0.1 7000
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`.

pub(crate) mod common;

use std::io;
use std::process::ExitCode;

use slabloop::{Accepted, Context, Dispatcher};

pub(crate) struct Listener {
    pub(crate) tls: common::Tls,
    pub(crate) proxied: common::Proxied,
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
        client.serve(cx, &self.tls, Echo)?;
        Ok(())
    }
}

struct Echo;

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }
}

const HELP: &str = "\
Sends every byte back to the client that sent it.

Usage: echo_server [OPTIONS]

  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7000]
  --threads N              threads, each with a loop and a listener of its own [1]
  --max-connections N      clients of each thread at once; further ones wait in the kernel [no limit]
  --idle-timeout SECONDS   closes a client after SECONDS without traffic [never]
  --drain SECONDS          time limit for sending queued output at shutdown [5]
  --linger SECONDS         after SIGUSR2, once a new process has taken over: how long open connections are served before
                           they are drained; build with --features restart [10]
  --ready-timeout SECONDS  how long that new process may take to be ready [10]
  --tls-cert FILE          serve TLS with this certificate (PEM); build with --features tls
  --tls-key FILE           its private key (PEM)
  --proxy-protocol         clients come through a load balancer that names them in a PROXY header (v1 or v2)
  --proxy-from ADDRESSES   whose headers are believed, such as 10.0.0.0/8,10.1.0.5; all others are turned away.
                           Name your load balancers and no one else: a header can name any client
                           [127.0.0.0/8,::1]
  --proxy-timeout SECONDS  time limit for the header [5]
  --inspect HOST:PORT      shows the loop in a browser; build with --features inspector
  --replay FILE            shows a recording of the inspector instead of the loop
  --trace FILE             writes a trace of the loop, for ui.perfetto.dev; build with --features trace
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  echo_server --listen 127.0.0.1:0
  echo_server --listen [::]:7000 --max-connections 10000 --idle-timeout 60 --threads 2
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut threads = 1;
        let mut proxied = common::Proxied::default();
        let mut hand_over = common::HandOver::default();
        let mut options = common::Options::parse(arguments, "127.0.0.1:7000", |flag, parser| {
            Ok(proxied.take(flag, parser)?
                || hand_over.take(flag, parser)?
                || common::threads_flag(flag, parser, &mut threads)?)
        })?;
        options.hand_over = hand_over.on_signal();
        let proxied = proxied.checked()?;
        let (own, command) = (options.clone(), common::try_bytes(&options));
        common::serve_on_threads(&options, threads, command, move || {
            let reactor = common::builder(&own, 1).build();
            let reactor = reactor.map_err(common::Failure::io("cannot make a reactor"))?;
            let listener = Listener {
                tls: own.tls.clone(),
                proxied: proxied.clone(),
            };
            Ok((reactor, listener))
        })
    })
}
