//! Twelve bytes over HTTP on slabloop, for the comparison with nginx.
//!
//! See `slabloop_peers::http` for how little HTTP that is.

use std::io;
use std::process::ExitCode;

use slabloop::{Accepted, Context, Dispatcher, Reactor};
use slabloop_peers::cli::{self, Doing};
use slabloop_peers::http::{RESPONSE, Requests};
use slabloop_peers::serve;

struct Listener;
impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(
            accepted,
            Connection {
                requests: Requests::default(),
            },
        )?;
        Ok(())
    }
}

struct Connection {
    requests: Requests,
}

impl Dispatcher for Connection {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let n = cx.recv(&mut chunk)?;
        // All answers of a turn leave in one write, so there is nothing to gather here.
        for _ in 0..self.requests.feed(&chunk[..n]) {
            cx.send(RESPONSE)?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    cli::run(|| {
        let address = serve::echo_address()?;
        let mut reactor = Reactor::new()?;
        let listener = reactor
            .listen(address, Listener)
            .doing(format!("listening on {address}"))?;
        serve::announce(reactor.local_addr(listener))?;
        reactor.run()?;
        Ok(())
    })
}
