//! The proxy on slabloop: two dispatchers per connection, each feeding the other.
//!
//! `feeds` is all the flow control there is: a half is not read while the other one's outbox is
//! above its high mark. An end of stream is passed on by itself; the second one closes both.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use slabloop::{Accepted, Context, Dispatcher, Id, Reactor};
use slabloop_peers::cli::{self, Doing};
use slabloop_peers::serve::{self, ProxyOptions, SCRATCH_BYTES};

struct Front {
    upstream: SocketAddr,
}

impl Dispatcher for Front {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let client = cx.add(accepted, Half::new(None))?;
        let upstream = match cx.connect(self.upstream, Half::new(Some(client))) {
            Ok(upstream) => upstream,
            Err(error) => {
                // Nobody will ever answer this client.
                if let Some(mut client) = cx.at(client) {
                    client.close();
                }
                return Err(error);
            }
        };
        cx.with(upstream, |_, cx| cx.feeds(client));
        cx.with(client, |half, cx| {
            half.other = Some(upstream);
            cx.feeds(upstream);
        });
        Ok(())
    }
}

/// Whether this half's end of stream has been passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    No,
    Yes,
}

struct Half {
    /// Missing for the moment between accepting and connecting only.
    other: Option<Id<Half>>,
    ended: Ended,
}

impl Half {
    fn new(other: Option<Id<Half>>) -> Self {
        Half {
            other,
            ended: Ended::No,
        }
    }
}

impl Dispatcher for Half {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_up_to(SCRATCH_BYTES, |bytes, cx| {
            match self.other.and_then(|other| cx.at(other)) {
                Some(mut other) => other.send(bytes),
                None => Ok(()),
            }
        })
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.ended = Ended::Yes;
        let Some(other) = self.other else {
            cx.close();
            return Ok(());
        };
        if let Some(mut other) = cx.at(other) {
            other.shutdown_write();
        }
        if cx.with(other, |half, _| half.ended) != Some(Ended::No) {
            cx.close();
        }
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        if let Some(mut other) = self.other.and_then(|other| cx.at(other)) {
            other.close();
        }
    }
}

fn main() -> ExitCode {
    cli::run(|| {
        let ProxyOptions { listen, upstream } = ProxyOptions::from_args()?;
        let mut reactor = Reactor::new()?;
        let front = reactor
            .listen(listen, Front { upstream })
            .doing(format!("listening on {listen}"))?;
        serve::announce(reactor.local_addr(front))?;
        reactor.run()?;
        Ok(())
    })
}
