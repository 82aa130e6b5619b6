//! The echo server on slabloop: the crate's own first example, and nothing tuned.

use std::io;
use std::process::ExitCode;

use slabloop::{Accepted, Context, Dispatcher, Reactor};
use slabloop_peers::cli::{self, Doing};
use slabloop_peers::serve;

struct Listener;
impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(accepted, Echo)?;
        Ok(())
    }
}

struct Echo;
impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
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
