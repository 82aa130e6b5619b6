//! One accepts, many serve: an echo server whose first thread hands its clients over.
//!
//! Shows several reactors on threads of their own without anything shared between their dispatchers; a `Crew` that
//! chooses the thread with the fewest clients; and one shutdown for all, in which no client is lost on the way. (With
//! `--threads`, `echo_server` lets the kernel choose instead.)
//!
//! ```text
//! cargo run --example group -- --threads 3
//! printf hi | nc -N 127.0.0.1 7016
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`.

mod common;

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use common::{Failure, Options};
use slabloop::kit::group::{Choice, Crew, Member, Place};
use slabloop::{Accepted, Context, Detached, Dispatcher};

/// The only listener.
struct Front {
    crew: Crew,
}

impl Dispatcher for Front {
    fn handle_accept(&mut self, _: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        // If all are full, this closes the client, and the reason is in the log.
        Ok(self.crew.hand_over(accepted.try_into()?)?)
    }
}

struct Echo {
    thread: usize,
    /// Counts this client, until it is dropped.
    _place: Place,
}

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let thread = self.thread;
        cx.recv_with(|bytes, cx| {
            cx.send(format!("{thread}: ").as_bytes())?;
            cx.send(bytes)
        })
    }
}

const HELP: &str = "\
Sends back what a client sends, with the number of the thread that serves it. One thread accepts for all.

Usage: group [OPTIONS]

  --threads N              threads that serve [2]
  --choose WHICH           the thread of a client: turn (one after the other), fewest (with the fewest clients) [fewest]
  --max-connections N      clients of each thread at once; further ones are closed [10000]
  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7016]
  --idle-timeout SECONDS   closes a client after SECONDS without traffic [never]
  --drain SECONDS          time limit for sending queued output at shutdown [5]
  --tls-cert FILE          serve TLS with this certificate (PEM); build with --features tls
  --tls-key FILE           its private key (PEM)
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let (mut threads, mut choice) = (2, Choice::FewestConnections);
        let mut options = Options::parse(arguments, "127.0.0.1:7016", |flag, parser| {
            if flag != "choose" {
                return common::threads_flag(flag, parser, &mut threads);
            }
            choice = match common::value::<String>("--choose", parser, "a word")?.as_str() {
                "turn" => Choice::RoundRobin,
                "fewest" => Choice::FewestConnections,
                other => {
                    let text = format!("--choose {other}: expected turn or fewest");
                    return Err(Failure::Usage(text));
                }
            };
            Ok(true)
        })?;
        // The bound is the crew's: a listener that waits for room would wait for one thread.
        let most = options.max_connections.take().unwrap_or(10_000);
        let crew = Crew::new(choice, most).map_err(Failure::io("--max-connections"))?;
        let (own, counted) = (options.clone(), crew.clone());
        let address = Arc::new(OnceLock::new());
        let bound = Arc::clone(&address);
        let set_up = move |member: &Member| {
            let reactor = common::builder(&own, 1).build();
            let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
            let (thread, tls) = (member.index(), own.tls.clone());
            let serve = move |cx: &mut Context<'_>, client: Detached, place: Place| {
                let _place = place;
                cx.add(tls.socket(client)?, Echo { thread, _place })?;
                Ok(())
            };
            let enrolled = crew.enroll(&mut reactor, serve);
            enrolled.map_err(Failure::io("cannot add a service"))?;
            if thread == 0 {
                let crew = crew.clone();
                let asked = &own.listen;
                let front = reactor.listen(asked.as_str(), Front { crew });
                let front = front.map_err(Failure::io(&format!("cannot listen on {asked}")))?;
                let local = reactor.local_addr(front);
                // Nobody else sets it.
                let _ = bound.set(local.map_err(Failure::io("cannot tell the address"))?);
            }
            Ok(reactor)
        };
        let command = common::try_bytes(&options);
        common::serve_as_group(&options, threads, set_up, || {
            if let Some(&address) = address.get() {
                common::say_where(address, command);
            }
        })?;
        log::info!("{:?}", counted.gauges());
        Ok(())
    })
}
