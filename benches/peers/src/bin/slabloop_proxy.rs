//! The proxy on slabloop: two dispatchers per connection, each feeding the other.
//!
//! `feeds` is all the flow control there is: a half is not read while the other one's outbox is
//! above its high mark. An end of stream is passed on by itself; the second one closes both.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use slabloop::{Accepted, Context, Dispatcher, Id, Reactor};
use slabloop_peers::cli::{self, Doing};
use slabloop_peers::serve::{self, ProxyOptions, SCRATCH_BYTES};

/// One buffer for all connections: 64 KiB cleared for every read would show.
type Chunk = Rc<RefCell<Vec<u8>>>;

struct Front {
    upstream: SocketAddr,
    chunk: Chunk,
}

impl Dispatcher for Front {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let client = cx.add(accepted, Half::new(&self.chunk, None))?;
        let upstream = match cx.connect(self.upstream, Half::new(&self.chunk, Some(client))) {
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
    chunk: Chunk,
    /// Missing for the moment between accepting and connecting only.
    other: Option<Id<Half>>,
    ended: Ended,
}

impl Half {
    fn new(chunk: &Chunk, other: Option<Id<Half>>) -> Self {
        Half {
            chunk: Rc::clone(chunk),
            other,
            ended: Ended::No,
        }
    }
}

impl Dispatcher for Half {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = self.chunk.borrow_mut();
        let n = cx.recv(&mut chunk)?;
        match self.other.and_then(|other| cx.at(other)) {
            Some(mut other) => other.send(&chunk[..n]),
            None => Ok(()),
        }
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
        let chunk = Rc::new(RefCell::new(vec![0; SCRATCH_BYTES]));
        let mut reactor = Reactor::new()?;
        let front = reactor
            .listen(listen, Front { upstream, chunk })
            .doing(format!("listening on {listen}"))?;
        serve::announce(reactor.local_addr(front))?;
        reactor.run()?;
        Ok(())
    })
}
