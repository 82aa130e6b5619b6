//! The echo server or the twelve bytes over HTTP, on several reactors with a listener each.
//!
//! As `slabloop_echo` and `slabloop_http`, but for `--threads N` and `--job echo|http`.

use std::io;
use std::process::ExitCode;

use slabloop::kit::group::{Group, SharedPort};
use slabloop::{Accepted, Context, Dispatcher, Reactor};
use slabloop_peers::cli;
use slabloop_peers::http::{RESPONSE, Requests};
use slabloop_peers::serve::{self, Job};

struct Listener(Job);

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        match self.0 {
            Job::Echo => cx.add(accepted, Echo).map(drop),
            Job::Http => cx.add(accepted, Web::default()).map(drop),
        }
    }
}

struct Echo;

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }
}

#[derive(Default)]
struct Web {
    requests: Requests,
}

impl Dispatcher for Web {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let n = cx.recv(&mut chunk)?;
        for _ in 0..self.requests.feed(&chunk[..n]) {
            cx.send(RESPONSE)?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    cli::run(|| {
        let options = serve::threads_options()?;
        let port = SharedPort::new(options.listen)?;
        let listeners = port.clone();
        let group = Group::builder().threads(options.threads);
        let group = group.start(move |member| {
            let mut reactor = Reactor::new()?;
            listeners.listen(&mut reactor, Listener(options.job))?;
            member.run(&mut reactor)?;
            Ok(())
        });
        let group = group.map_err(io::Error::from)?;
        let address = port.local_addr();
        serve::announce(address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into()))?;
        group.join().map_err(io::Error::from)?;
        Ok(())
    })
}
